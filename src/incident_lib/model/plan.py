"""A plan of a change of the unique index, and the result of each step of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from incident_lib.model.catalog import IndexKind, UniqueIndex


@dataclass(frozen=True)
class Step:
    """One step of a plan: the SQL, the lock that it takes, and the reason for it.

    Attributes:
        builds: the index that is there once the step has succeeded.
        drops: the name of the index that is gone then.
        renames: old and new names.
        waits_for: the index that another session is building.
        attaches: the path of a partition's index, and of the index that it is attached to.
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
    blocks_clients: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps from what the catalog holds to a target, or the reason why there are none."""

    target: IndexKind
    steps: tuple[Step, ...]
    refusal: str | None = None


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was run: its SQL, when it began by the clock here, its seconds, its outcome."""

    name: str
    sql: tuple[str, ...]
    seconds: float
    outcome: str
    started_at: datetime
