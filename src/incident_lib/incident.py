"""One incident in one environment, as a notebook sees it: looked at, changed, and recorded cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from incident_lib import (
    clients,
    demo,
    environments,
    family,
    guards,
    investigate,
    migrate,
    probe,
    pseudonyms,
    queries,
    tables,
    verify,
    words,
)
from incident_lib.environments import DEMO
from incident_lib.errors import IncidentError
from incident_lib.look import Look, look
from incident_lib.record import status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from pandas.io.formats.style import Styler

    from incident_lib.environments import Environment
    from incident_lib.pseudonyms import Pseudonyms
    from incident_lib.record import Record
    from incident_lib.walk import Migration
    from incident_lib.watch import Progress


MIGRATION = "02_migrate"  # the one notebook that may change an environment


@dataclass
class Incident:
    """The incident in one environment, as one notebook sees it; all that it does goes into the run record."""

    notebook: str
    environment: Environment
    confirm: str
    record: Record
    names: Pseudonyms | None
    purpose_since: datetime | None
    alone: bool  # no `incident run` around it: this notebook ends the run itself
    listener: Callable[[Progress], None] = lambda _: None
    last: Look | None = None
    migration: Migration | None = None
    probes: list[probe.Probe] = field(default_factory=list)
    checksum: dict[str, Any] | None = None
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
            self._note(error=told.as_dict())
        if self.alone:
            self.record.finish(status_of(error), told)

    def _seconds(self) -> float:
        return (datetime.now(UTC) - self.started).total_seconds()

    def look(self, moment: str = "before") -> Look:
        """Look at the guards, count, and run the preflight; it becomes the record's `before` or `after`."""
        with environments.reading(self.environment) as connection:
            self.last = look(self.environment, connection)
            if moment == "before":
                file = self.record.folder / "blocked.csv"
                investigate.write_blocked(connection, self.last.found.catalog, file, self.purpose_since)
        if moment == "before" or not self.dry_run:
            unknown, own = self.unknown(self.last), self._plan_family()
            self._note(**self.last.as_record(moment), unknown=unknown, plan_family={moment: own})
        return self.last

    def blocked(self, limit: int = 10) -> Styler:
        """The families that have been blocked longest, and what blocks them; chat first."""
        with environments.reading(self.environment) as connection:
            found = investigate.blocked(
                connection, guards.read(connection), purpose_since=self.purpose_since, limit=limit
            )
        return tables.shown(tables.blocked(found, self.names))

    def plan_family(self) -> Styler:
        """The threads of the fix plan's own family, the oldest first; its ids are published."""
        return tables.shown(tables.family(self._plan_family().items()))

    def _plan_family(self) -> dict[str, dict[str, Any]]:
        values = {"root": pseudonyms.PLAN_ROOT, "owner": pseudonyms.PLAN_OWNER}
        with environments.reading(self.environment) as connection:
            found = queries.rows(connection, "family", values)
        for row in found:
            row["created_at"] = f"{row['created_at']:%Y-%m-%d %H:%M}" if row["created_at"] else None
        return {str(self._shared_names.name("thread", row.pop("row_id"))): row for row in found}

    @property
    def _shared_names(self) -> Pseudonyms:
        """For what is shared whatever `redact` says: the record."""
        return self.names or pseudonyms.for_environment(self.environment.name, demo.KEY)

    def _note(self, **values: Any) -> None:
        """Set keys of the record; whatever looks like an id in them is named first."""
        self.record.set(**self._shared_names.scrub(values))

    def explain(self, root: str, owner: str) -> Styler:
        """One family, thread by thread: what blocks what now, and what would under the fixed guard."""
        with environments.reading(self.environment) as connection:
            found = family.explain(connection, UUID(root), UUID(owner))
        return tables.shown(tables.explained(found, self.names))

    def probe(self) -> str:
        """Let PostgreSQL answer what a chat client would ask for a few families; all of it is rolled back."""
        if self.dry_run:
            return "Not probed: this is a dry run, and a probe is a writer."
        with environments.connecting(self.environment, "probe") as connection:
            self.probes.append(probe.probe(connection, self._probed_families()))
        self._note(probes=[str(answer) for answer in self.probes])
        return str(self.probes[-1])

    def _probed_families(self) -> list[clients.Family]:
        """Those of blocked.csv's head: the same families before and after."""
        if not hasattr(self, "_families"):
            with environments.reading(self.environment) as connection:
                found = investigate.blocked(connection, guards.read(connection), limit=probe.FAMILIES)
            self._families = [
                clients.Family(f.root_prompt_row_id, f.owner_id) for f in found if f.blocked_for == "chat"
            ]
        return self._families

    def apply(self) -> Styler:
        """Apply the plan, if confirm says so; else change nothing, and say so.

        Raises:
            Refused: the preflight says stop.
            Failed: a step failed; what was done stands in the record.
        """
        look = self.last or self.look()
        if self.dry_run:
            print(f"Dry run: nothing was changed. To apply it, set confirm to {self.environment.name!r}.")  # noqa: T201
            return tables.shown(tables.steps([]))
        look.checks.require(self.environment.name)
        if self.environment.name == DEMO:
            self.checksum = self._checksum()
        self.migration = migrate.apply(
            self.environment, confirm=self.confirm, listener=self.listener, done=self._record_steps
        )
        self._record_steps(self.migration)
        return tables.shown(tables.steps(self.migration.steps))

    def _record_steps(self, migration: Migration) -> None:
        ended = migration.ended_at.isoformat(timespec="milliseconds") if migration.ended_at else None
        self._note(steps=[step.as_dict() for step in migration.steps], incident_ended_at=ended)

    def verify(self) -> Styler:
        """Definition, flags, and the probe's answer; what fails is marked `stop`."""
        with environments.reading(self.environment) as connection:
            checks = verify.verify(guards.read(connection))
        if len(self.probes) > 1:
            checks += (verify.verify_probes(self.probes[0], self.probes[-1]),)
        self._note(verified=verify.holds(checks))
        return tables.shown(tables.checks(checks))

    def unchanged(self) -> str:
        """Whether the migration left every thread as it was.

        On the demo the checksums over all rows are equal; elsewhere, where clients go on writing, no row
        version carries a transaction of ours.
        """
        if self.migration is None:
            return "Nothing was applied, so there is nothing to compare."
        if self.checksum:
            same = self.checksum == self._checksum()
            return f"{self.checksum['threads']:,} threads, checksum {'equal' if same else 'CHANGED'} before and after."
        with environments.reading(self.environment) as connection:
            row = queries.row(connection, "own_versions", {"xids": sorted(self.migration.xids)})
        return f"{row['versions']:,} row versions carry a transaction of ours."

    def _checksum(self) -> dict[str, Any]:
        with environments.reading(self.environment) as connection:
            return queries.row(connection, "checksum")

    def retry(self) -> str:
        """Let the demo's clients try again what had failed; elsewhere nobody but the users themselves can."""
        if self.environment.name != DEMO:
            return "Only the demo's clients are ours to call; elsewhere users try again by themselves."
        came = demo.retry_chats(self.environment.address)
        said = (
            f"{came.families:,} families had failed to get a chat; tried again, {came.succeeded:,} succeeded, "
            f"{came.rejected:,} were rejected."
        )
        self._note(retries=said, plan_family={"after": self._plan_family()})
        return said

    def ask(self, question: str, **values: Any) -> pd.DataFrame:
        """Ask a question of one's own, read-only: SQL with `:name` for each value. Its answer may hold raw ids."""
        import pandas as pd
        from sqlalchemy import text

        with environments.engine(self.environment).connect() as connection:
            return pd.read_sql(text(question), connection, params=values)

    def unknown(self, look: Look) -> list[str]:
        """What a look did not see, a sentence each."""
        return words.unknowns(
            self.environment.name,
            look.counts,
            hides_rows=look.found.rights.hides_rows,
            since_known=self.purpose_since is not None,
        )

    def finish(self) -> None:
        """Mark this notebook as done; its run too, where it is a run of its own."""
        self.record.note_notebook(self.notebook, "done", self._seconds())
        if self.alone:
            self.record.finish("dry-run" if self.dry_run and self.notebook == MIGRATION else "succeeded")
