"""A plan of a change of the unique index, and the result of each step of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from incident_lib.model.catalog import UniqueIndex
    from incident_lib.model.change import IndexChange, IndexKind


@dataclass(frozen=True)
class Step:
    """One step of a plan: the SQL, the lock that it takes, and the reason for it.

    Attributes:
        builds: the index that is there once the step has succeeded.
        drops: the name of the index that is gone then.
        renames: old and new names.
        waits_for: the index that another session is building.
        attaches: the path of a partition's index, and of the index that it is attached to.
        constrains: the name of the index that backs the UNIQUE constraint then.
        blocks_clients: reads or writes wait while it waits for its lock: each try is short, and pauses are long.
    """

    name: str
    sql: tuple[str, ...]
    lock: str
    transaction: bool
    why: str
    builds: UniqueIndex | None = None
    drops: str | None = None
    renames: tuple[tuple[str, str], ...] = ()
    waits_for: str | None = None
    attaches: tuple[str, str] | None = None
    constrains: str | None = None
    blocks_clients: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps from what the catalog holds to a target, or the reason why there are none.

    Attributes:
        first: the command and the change that come first, as `apply` and `purpose`; None: nothing does.
    """

    change: IndexChange
    target: IndexKind
    steps: tuple[Step, ...]
    refusal: str | None = None
    first: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        """What messages call the index of the target."""
        return self.change.label(self.target)


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was run: its SQL, when it began by the clock here, its seconds, its outcome."""

    name: str
    sql: tuple[str, ...]
    seconds: float
    outcome: str
    started_at: datetime
