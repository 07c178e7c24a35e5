"""Pseudonyms: stable names in place of ids in everything that is shared."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from typing import Any
from uuid import UUID

VARIABLE = "INCIDENT_PSEUDONYM_KEY"
DEMO_KEY = "the demo's pseudonyms may be recomputed by anybody"
_INHERITED = "INCIDENT_PASSING_KEY"  # made here, for this process and those it starts
# With hyphens also next to other digits, as in several ids without a separator; 32 digits alone, since checksums and
# commits have more.
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", re.IGNORECASE)

# The fix plan's own thread: its ids are published there, and stay as they are.
PLAN_THREAD = UUID("8be3a08f-10f5-4b30-af5f-39c4656368f0")
PLAN_ROOT = UUID("0d69b830-8837-4281-8801-051c1a1ee4ee")
PLAN_OWNER = UUID("1da78055-6734-4b6e-8a50-9833d644cfca")
PUBLISHED = frozenset({PLAN_THREAD, PLAN_ROOT, PLAN_OWNER})


class Pseudonyms:
    """Pseudonyms by HMAC-SHA256 with a key; without the key no id can be found from its pseudonym."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def name(self, word: str, value: UUID | None) -> str | None:
        """`owner-3f9a1c2b7d` for an id, as it stands for a published one, None for None."""
        if value is None:
            return None
        if value in PUBLISHED:
            return str(value)
        return f"{word}-{hmac.digest(self._key, value.bytes, 'sha256').hex()[:10]}"

    def name_text(self, word: str, text: str) -> str:
        """`gid-3f9a1c2b7d` for a name that users or programs gave, and that may hold an id."""
        return f"{word}-{hmac.digest(self._key, text.encode(), 'sha256').hex()[:10]}"

    def scrub(self, thing: Any) -> Any:
        """The same text, list or dict with a pseudonym in place of every id."""
        if isinstance(thing, str):
            return _UUID.sub(lambda found: str(self.name("id", UUID(found[0]))), thing)
        if isinstance(thing, dict):
            return {self.scrub(key): self.scrub(value) for key, value in thing.items()}
        if isinstance(thing, list | tuple):
            return [self.scrub(value) for value in thing]
        return thing


def hide_ids(text: str) -> str:
    """The same text without any raw id but the published ones: the last check of everything that is shared."""
    if len(text) < 32:  # as most texts of a report
        return text
    return _UUID.sub(lambda found: found[0] if UUID(found[0]) in PUBLISHED else "(an id, hidden)", text)


def pseudonyms_for(environment: str) -> Pseudonyms:
    """The pseudonyms of an environment, by the key in INCIDENT_PSEUDONYM_KEY; on the demo, without it, by DEMO_KEY.

    Elsewhere an unset key means a random one: the pseudonyms are the same within this process and those it starts.
    """
    if VARIABLE in os.environ:
        return Pseudonyms(os.environ[VARIABLE])
    if environment == "demo":
        return Pseudonyms(DEMO_KEY)
    return Pseudonyms(os.environ.setdefault(_INHERITED, secrets.token_hex(32)))
