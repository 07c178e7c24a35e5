"""The runs of one change in one environment, as they recorded it: how they ended, counts, indexes, steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.model import HIDDEN_ROWS, Status, steps_table
from incident_lib.records import status_of

if TYPE_CHECKING:
    from incident_lib.model import Counts, RunRecord, Table

SNAPSHOTS = ("before", "after")
NOTHING_SEEN = "The run ended before its first snapshot."
_STATUS = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing but what its steps list.",
    "failed": "The run FAILED. The numbers below are from before the failure.",
    "killed": "The run was KILLED: its heartbeat stopped. The numbers below are from before that.",
    "running": "The run has not ended yet.",
}
_NO_SNAPSHOT = {"failed": "The run FAILED.", "killed": "The run was KILLED: its heartbeat stopped."}
# What a cell holds in place of a number that the run did not measure.
ENDED = {"dry-run": "dry run", "refused": "refused", "failed": "FAILED", "killed": "KILLED", "running": "running"}


def hides_rows(record: RunRecord) -> bool:
    """Whether row level security hid rows from the role of a run: each of its counts may be too low."""
    checked = any(
        check.name == "row level security" and check.status is Status.FAIL for check in record.preflight or ()
    )
    return checked or HIDDEN_ROWS in (record.unknown or ())


@dataclass(frozen=True)
class Recorded:
    """The runs of one change in one environment.

    Attributes:
        record: of the run that applied the change, with the last snapshot before it and the latest since.
        folder: the name of that run's folder.
        earlier, later: the other runs, the earliest first: the names of their folders, and their records.
    """

    record: RunRecord
    folder: str
    earlier: tuple[tuple[str, RunRecord], ...] = ()
    later: tuple[tuple[str, RunRecord], ...] = ()

    @property
    def runs(self) -> list[tuple[str, RunRecord, str]]:
        """The runs that this is made of: the folder's name, the record, the outcome in a word."""
        found = [*self.earlier, (self.folder, self.record), *self.later]
        return [(folder, record, ENDED.get(status_of(record), "succeeded")) for folder, record in found]

    @property
    def environment(self) -> str:
        """The environment's name."""
        return self.record.environment

    @property
    def status(self) -> str:
        """How the run ended, in a sentence; with the error that stopped it, if there was one."""
        error, status = self.record.error, status_of(self.record)
        how = _STATUS[status] if self.latest else _NO_SNAPSHOT.get(status, _STATUS[status])
        return " ".join([how, *([error.what, error.why, error.next] if error else [])])

    @property
    def ended(self) -> str:
        """How the run ended, in a word; empty where it succeeded."""
        return ENDED.get(status_of(self.record), "")

    @property
    def failed(self) -> bool:
        """Whether the numbers are not those of a finished run."""
        return status_of(self.record) not in ("succeeded", "dry-run")

    @property
    def before(self) -> Counts | None:
        """The counts before."""
        return self.record.counts.before

    @property
    def after(self) -> Counts | None:
        """The counts after; None where nothing was applied."""
        return self.record.counts.after

    @property
    def latest(self) -> Counts | None:
        """The counts of the latest snapshot."""
        return self.after or self.before

    @property
    def indexes(self) -> list[tuple[Any, ...]]:
        """The unique indexes before and after: environment, snapshot, state, definition, flags."""
        return [
            (self.environment, snapshot, str(indexes.state), index.definition, index.flags)
            for snapshot in SNAPSHOTS
            if (indexes := getattr(self.record.indexes, snapshot))
            for index in indexes.definitions
        ]

    @property
    def steps(self) -> Table | None:
        """The steps that were run; None where there were none."""
        return steps_table(self.record.steps) if self.record.steps else None
