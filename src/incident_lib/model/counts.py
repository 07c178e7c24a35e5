"""The counts of one snapshot."""

from __future__ import annotations

import msgspec

_BECAUSE = "because of an active thread of another purpose"
# Each fits on two lines beside the counts in a terminal of 80 columns.
COUNT_MEANINGS = {
    "families": "root prompt and user with an active thread",
    "active_threads": "those with a root prompt: the rows of the unique index",
    "blocked_families": "for chat, for run, or for both",
    "blocked for chat": f"a new chat is rejected {_BECAUSE}",
    "blocked for run": f"a new run is rejected {_BECAUSE}",
    "affected_owners": "users with a blocked family",
    "coexisting_families": "they prevent a rollback",
    "residual_conflicts": "block another provider's thread, also after the fix: the same error",
    "unguarded_threads": "NULL equals no other NULL: the unique index rejects none of them",
}
# The names of counts in texts, where they are not those of the record's keys.
_NAMES = {
    "coexisting_families": "families with several active threads",
    "residual_conflicts": "provider conflicts",
    "unguarded_threads": "active threads without an owner",
}


def count_name(key: str) -> str:
    """The name of a count in texts, by its key in COUNT_MEANINGS."""
    return _NAMES.get(key, key.replace("_", " "))


class PerPurpose(msgspec.Struct, frozen=True):
    """A count for each purpose. None: an enforced index has a definition that this project cannot read."""

    chat: int | None
    run: int | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one snapshot. None: not known, never 0.

    Attributes:
        blocked: blocked families, by the purpose that is rejected.
        blocked_owners: users with a blocked family, likewise.
        duplicate_keys: keys that several active threads share, for the original and for the fixed index.
    """

    families: int
    active_threads: int
    active_by_purpose: dict[str, int]
    blocked_families: int | None
    blocked: PerPurpose
    affected_owners: int | None
    blocked_owners: PerPurpose
    coexisting_families: int
    residual_conflicts: int
    unguarded_threads: int
    duplicate_keys: dict[str, int]

    def by_name(self) -> dict[str, int | None]:
        """Each count under its name in COUNT_MEANINGS, in that order."""
        plain = {name: getattr(self, name, None) for name in COUNT_MEANINGS}
        return plain | {"blocked for chat": self.blocked.chat, "blocked for run": self.blocked.run}
