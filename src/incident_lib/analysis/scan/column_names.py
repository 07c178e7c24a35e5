"""What the name of a column says: whose row it is, of what kind, which state it is in, or what people write in it."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SUFFIXES = frozenset({"id", "ids", "uuid", "guid", "key", "code", "slug", "fk", "ref", "oid", "nid", "row", "pk"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TENANTS = _words(
    "tenant tenancy org orgs organization organisation account workspace team company business merchant project site "
    "shop store realm domain customer client user owner member group network installation application app instance "
    "cluster database namespace space repository repo department branch vendor seller"
)
KINDS = _words(
    "kind type subtype purpose category class mode scope channel source origin provider platform environment env "
    "stage region zone locale language lang country currency version revision variant role method gateway backend "
    "service context direction format level tier plan period interval dimension protocol medium driver engine"
)
STATES = _words(
    "status state active enabled disabled deleted archived visible hidden locked verified confirmed published paused "
    "completed done failed processed default primary count counter total amount size attempts retries progress score "
    "priority position order sort rank balance price quantity"
)
TEXTS = _words(
    "title description note notes comment body content text message summary url uri link path image avatar icon "
    "display label bio subject prompt instructions reason error json metadata meta data payload config settings "
    "options attributes"
)
TOKENS = _words("token hash secret nonce digest checksum fingerprint jti signature etag")


def words(name: str) -> list[str]:
    """The words of a name, in lower case: `tenantId` and `tenant_id` have the same."""
    return [word.lower() for word in _WORD.findall(name)]


def subject(name: str) -> str:
    """The word that says what a column holds: `tenant` of `owner_tenant_id`; empty where there is none."""
    found = words(name)
    while len(found) > 1 and found[-1] in _SUFFIXES:
        found.pop()
    return found[-1] if found else ""


def is_actor(name: str) -> bool:
    """Whether it names who did something: `created_by`, `updatedByUserId`."""
    return "by" in words(name)[1:]


def is_flag(name: str) -> bool:
    """Whether it names a state that a row is in or not: `is_active`, `has_errors`."""
    return words(name)[:1] in (["is"], ["has"], ["was"], ["can"], ["should"])


def is_time(name: str) -> bool:
    """Whether it names when something happened: `deleted_at`."""
    return words(name)[-1:] in (["at"], ["on"], ["time"], ["timestamp"], ["date"])
