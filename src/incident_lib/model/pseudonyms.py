"""Stable names in place of ids in all that is shared: the same id, the same key, the same name."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from typing import Any
from uuid import UUID

VARIABLE = "INCIDENT_PSEUDONYM_KEY"
_PASSING = "INCIDENT_PASSING_KEY"  # made here, for this process and those it starts
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)

# The fix plan's own thread: its ids are published there, and stay as they are.
PLAN_THREAD = UUID("8be3a08f-10f5-4b30-af5f-39c4656368f0")
PLAN_ROOT = UUID("0d69b830-8837-4281-8801-051c1a1ee4ee")
PLAN_OWNER = UUID("1da78055-6734-4b6e-8a50-9833d644cfca")
PUBLISHED = frozenset({PLAN_THREAD, PLAN_ROOT, PLAN_OWNER})


class Pseudonyms:
    """Names ids by HMAC-SHA256 under a key; without the key nobody gets from a name to its id."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def name(self, word: str, value: UUID | None) -> str | None:
        """`owner-3f9a1c2b7d` for an id, as it stands for a published one, None for None."""
        if value is None:
            return None
        if value in PUBLISHED:
            return str(value)
        return f"{word}-{hmac.digest(self._key, value.bytes, 'sha256').hex()[:10]}"

    def scrub(self, thing: Any) -> Any:
        """The same text, list or dict with every id in it named."""
        if isinstance(thing, str):
            return _UUID.sub(lambda found: str(self.name("id", UUID(found[0]))), thing)
        if isinstance(thing, dict):
            return {self.scrub(key): self.scrub(value) for key, value in thing.items()}
        if isinstance(thing, list | tuple):
            return [self.scrub(value) for value in thing]
        return thing


def hide_ids(text: str) -> str:
    """The same text without any raw id but the published ones: the last look at what is shared."""
    return _UUID.sub(lambda found: found[0] if UUID(found[0]) in PUBLISHED else "(an id, hidden)", text)


def pseudonyms_for(environment: str, demo_key: str) -> Pseudonyms:
    """The key of INCIDENT_PSEUDONYM_KEY; on the demo, where it is unset, the committed one.

    Elsewhere an unset key means a random one: names then hold within this process and those it starts.
    """
    if VARIABLE in os.environ:
        return Pseudonyms(os.environ[VARIABLE])
    if environment == "demo":
        return Pseudonyms(demo_key)
    return Pseudonyms(os.environ.setdefault(_PASSING, secrets.token_hex(32)))
