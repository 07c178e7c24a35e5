"""One notebook at work: what it may do, and what of it goes into the run record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from incident_lib.model import IncidentError, pseudonyms_for
from incident_lib.records import status_of

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.model import Pseudonyms
    from incident_lib.records import RunRecord

MIGRATION = "02_migrate"  # the one notebook that may change an environment


@dataclass(kw_only=True)
class Session:
    """One notebook at work in one environment.

    Attributes:
        confirm: the environment's name once more, where the notebook may change it.
        names: pseudonyms for what is shown; None where `redact` is off.
        alone: no `incident run` around it, so that this notebook ends the run itself.
    """

    notebook: str
    environment: Environment
    confirm: str
    record: RunRecord
    names: Pseudonyms | None
    alone: bool
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def dry_run(self) -> bool:
        """Whether this notebook must not change the environment."""
        return self.confirm != self.environment.name

    def open(self) -> None:
        """Say what this notebook may do, and see to it that no end of it goes unrecorded."""
        if self.names is None:
            print("NOT TO BE SHARED: redact is off, and the outputs below hold raw ids.")  # noqa: T201
        if self.notebook == MIGRATION:
            print(self._intent())  # noqa: T201
        self.record.note_notebook(self.notebook, "running")
        self.record.start_heart()

    def _intent(self) -> str:
        name = self.environment.name
        if self.dry_run:
            return f"DRY RUN: nothing will be changed in {name!r}, since confirm is {self.confirm!r} and not its name."
        return f"This notebook may change {name!r}: confirm says so."

    def failed(self, error: BaseException) -> None:
        """Record that a cell raised."""
        told = error if isinstance(error, IncidentError) else None
        self.record.note_notebook(self.notebook, status_of(error), self._seconds())
        if told:
            self.note(error=told.as_dict())
        if self.alone:
            self.record.finish(status_of(error), told)

    def _seconds(self) -> float:
        return (datetime.now(UTC) - self.started).total_seconds()

    @property
    def shared_names(self) -> Pseudonyms:
        """For what is shared whatever `redact` says: the record."""
        return self.names or pseudonyms_for(self.environment.name)

    def note(self, **values: Any) -> None:
        """Set keys of the record; whatever looks like an id in them is named first."""
        self.record.set(**self.shared_names.scrub(values))

    def finish(self) -> None:
        """Mark this notebook as done; its run too, where it is a run of its own."""
        self.record.note_notebook(self.notebook, "done", self._seconds())
        if self.alone:
            self.record.finish("dry-run" if self.dry_run and self.notebook == MIGRATION else "succeeded")
