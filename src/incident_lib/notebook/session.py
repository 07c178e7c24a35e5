"""One notebook at work: what of it goes into the record of its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from incident_lib.model import IncidentError, RunStatus
from incident_lib.records import error_message, status_after

if TYPE_CHECKING:
    import threading

    from incident_lib.model import Pseudonyms
    from incident_lib.records import RunFolder

MIGRATION = "02_migrate"  # the notebook that may change an environment


@dataclass(kw_only=True)
class Recording:
    """The record of one notebook's run, from `open` to `finish`; afterwards nothing of the notebook changes it.

    Attributes:
        notebook: its name.
        run: the folder of the run.
        names: pseudonyms for whatever looks like an id.
        alone: no `incident run` around it, so that this notebook ends the run itself.
        recorded: whether its run feeds reports.
    """

    notebook: str
    run: RunFolder
    names: Pseudonyms
    alone: bool
    recorded: bool = True
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _heart: threading.Event | None = None

    def open(self) -> None:
        """Note that the notebook runs, and start the heartbeat."""
        self.run.note_notebook(self.notebook, "running")
        self._heart = self.run.start_heart()

    def close(self) -> None:
        """Leave the record as it is: from now on nothing is noted."""
        if self._heart:
            self._heart.set()
            self._heart = None

    def note(self, **values: Any) -> None:
        """Set fields of the record, with pseudonyms for whatever looks like an id; nothing once it is closed."""
        if self._heart:
            self.run.set(names=self.names, **values)

    def failed(self, error: BaseException) -> None:
        """Note that a cell raised an error."""
        if self._heart is None:
            return
        known = error if isinstance(error, IncidentError) else None
        self.run.note_notebook(self.notebook, status_after(error).value, self._seconds())
        if known:
            self.note(error=error_message(known))
        if self.alone:
            self.run.finish(status_after(error), known)

    def finish(self, *, dry_run: bool) -> None:
        """Note that the notebook is done; its run too, where this notebook began it."""
        if self._heart is None:
            return
        self.run.note_notebook(self.notebook, "done", self._seconds())
        if self.alone:
            self.run.finish(RunStatus.DRY_RUN if dry_run else RunStatus.SUCCEEDED)
        self.close()

    def _seconds(self) -> float:
        return (datetime.now(UTC) - self.started).total_seconds()
