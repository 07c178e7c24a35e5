"""One notebook at work: what it may do, and what of it goes into the run record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from incident_lib.model import IncidentError, RunStatus, pseudonyms_for
from incident_lib.records import error_message, status_after

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.model import Pseudonyms
    from incident_lib.records import RunFolder

MIGRATION = "02_migrate"  # the only notebook that may change an environment


@dataclass(kw_only=True)
class Session:
    """One notebook at work in one environment.

    Attributes:
        confirm: the environment's name once more, where the notebook may change it.
        names: pseudonyms for what is displayed; None where `redact` is off.
        alone: no `incident run` around it, so that this notebook ends the run itself.
        recorded: whether its run feeds reports.
    """

    notebook: str
    environment: Environment
    confirm: str
    run: RunFolder
    names: Pseudonyms | None
    alone: bool
    recorded: bool = True
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def dry_run(self) -> bool:
        """Whether this notebook must not change the environment."""
        return self.confirm != self.environment.name

    def open(self) -> None:
        """Print what this notebook may do, and start the record of it."""
        if self.names is None:
            print("DO NOT SHARE: redact is off, and the outputs below hold raw ids.")  # noqa: T201
        if self.notebook == MIGRATION:
            print(self._intent())  # noqa: T201
        if not self.recorded:
            print("Not recorded: reports leave this session out. Set record to True to record it.")  # noqa: T201
        self.run.note_notebook(self.notebook, "running")
        self.run.start_heart()

    def _intent(self) -> str:
        name = self.environment.name
        if self.dry_run:
            return f"DRY RUN: nothing will be changed in {name!r}. Set confirm to {name!r} to allow changes."
        return f"This notebook may change {name!r}: confirm allows it."

    def failed(self, error: BaseException) -> None:
        """Record that a cell raised an error."""
        known = error if isinstance(error, IncidentError) else None
        self.run.note_notebook(self.notebook, status_after(error).value, self._seconds())
        if known:
            self.note(error=error_message(known))
        if self.alone:
            self.run.finish(status_after(error), known)

    def _seconds(self) -> float:
        return (datetime.now(UTC) - self.started).total_seconds()

    @property
    def shared_names(self) -> Pseudonyms:
        """Pseudonyms for what is shared whether or not `redact` is off: the record."""
        return self.names or pseudonyms_for(self.environment.name)

    def note(self, **values: Any) -> None:
        """Set fields of the run's record, with pseudonyms for whatever looks like an id."""
        self.run.set(names=self.shared_names, **values)

    def finish(self) -> None:
        """Mark this notebook as done; its run too, where this notebook began it."""
        self.run.note_notebook(self.notebook, "done", self._seconds())
        if self.alone:
            dry = self.dry_run and self.notebook == MIGRATION
            self.run.finish(RunStatus.DRY_RUN if dry else RunStatus.SUCCEEDED)
