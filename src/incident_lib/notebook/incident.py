"""One incident in one environment, as a notebook sees it: looked at, changed, and recorded cell by cell."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from incident_lib.analysis import (
    PLAN_FAMILY,
    checksum,
    choose_example,
    compare_threads,
    example_record,
    explain_family,
    list_blocked,
    read_recovery,
    read_residual,
    summarize_blockers,
    write_blocked,
)
from incident_lib.database import DEMO, connecting, demo, engine, read_catalog, reading
from incident_lib.logs import log_files, read_attempts
from incident_lib.migration import FAMILIES, Probe, apply, holds, probe_families, verify_catalog, verify_probes
from incident_lib.model import format_bytes, list_unknowns, to_iso
from incident_lib.notebook import frames
from incident_lib.notebook.session import Session
from incident_lib.notebook.snapshot import Snapshot, checks_as_record, take_snapshot
from incident_lib.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from pandas.io.formats.style import Styler

    from incident_lib.database import Connection
    from incident_lib.migration import MigrationResult
    from incident_lib.model import Catalog


@dataclass(kw_only=True)
class Incident(Session):
    """The incident in one environment, as one notebook sees it; all that it does goes into the run record.

    Attributes:
        purpose_since: when the column `purpose` came, where that is known.
        show: is told how far something is: its name, its share (None: unknown), and a note.
        last: the last look.
        chosen: the family of the worked example.
    """

    purpose_since: datetime | None = None
    show: Callable[[str, float | None, str], None] = lambda name, share, note: None  # noqa: ARG005
    last: Snapshot | None = None
    migration: MigrationResult | None = None
    probes: list[Probe] = field(default_factory=list)
    checksum: dict[str, Any] | None = None
    chosen: Family = PLAN_FAMILY

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read-only snapshot of the environment; where it takes a while, a line says so."""
        with waiting(f"looking at {self.environment.name} …"), reading(self.environment) as connection:
            yield connection

    def look(self, moment: str = "before") -> Snapshot:
        """Look at the guards, count, and run the preflight; it becomes the record's `before` or `after`."""
        with self.reading() as connection:
            self.last = take_snapshot(self.environment, connection)
            if moment == "before":
                self._look_closer(connection, self.last.found.catalog)
            left = read_residual(connection).as_record()
        if moment == "before" or not self.dry_run:
            self.note(**self.last.as_record(moment), unknown=self.unknown(self.last), remains=left)
            self._note_example(moment)
        return self.last

    def _look_closer(self, connection: Connection, catalog: Catalog) -> None:
        """List the blocked families, sum up what blocks them, and choose the worked example among them."""
        write_blocked(connection, catalog, self.record.folder / "blocked.csv", self.purpose_since)
        self.chosen = choose_example(connection, catalog, self.purpose_since)
        self.note(**summarize_blockers(connection, catalog, self.purpose_since))

    def blocked(self, limit: int = 10) -> Styler:
        """The families that have been blocked longest, and what blocks them; chat first."""
        with self.reading() as connection:
            found = list_blocked(connection, read_catalog(connection), purpose_since=self.purpose_since, limit=limit)
        return frames.styled(frames.blocked(found, self.names))

    def example(self) -> Styler:
        """One family, thread by thread: the fix plan's own, whose ids are published, where it has threads here."""
        return self._explained(self.chosen)

    def _note_example(self, moment: str) -> None:
        with self.reading() as connection:
            threads = explain_family(connection, *self.chosen)
        self.note(example=example_record(self.chosen, moment, threads, self.shared_names))

    def attempts(self, log: str = "") -> Styler | str:
        """Who really tried, by the servers' logs; on the demo, without a name, by the log of its own server.

        Args:
            log: the files' names, several apart by spaces; each may be a pattern.
        """
        if not (files := log_files(self.environment.name, log)):
            return "No log was given: who tried is not known."
        found = read_attempts(
            self.environment, files, lambda done, total: self.show("logs", total and done / total, format_bytes(done))
        )
        self.note(failures=found)
        if self.last:
            self.note(unknown=self.unknown(self.last))
        return frames.styled(frames.attempts(found))

    def explain(self, root: str, owner: str) -> Styler:
        """One family, thread by thread: what blocks what now, and what would under the fixed guard."""
        return self._explained(Family(UUID(root), UUID(owner)))

    def _explained(self, which: Family) -> Styler:
        with self.reading() as connection:
            found = explain_family(connection, *which)
        return frames.styled(frames.explained(found, self.names))

    def probe(self) -> str:
        """Let PostgreSQL answer what a chat client would ask for a few families; all of it is rolled back."""
        if self.dry_run:
            return "Not probed: this is a dry run, and a probe is a writer."
        with connecting(self.environment, "probe") as connection:
            self.probes.append(probe_families(connection, self._probed_families()))
        self.note(probes=[str(answer) for answer in self.probes])
        return str(self.probes[-1])

    def _probed_families(self) -> list[Family]:
        """Those of blocked.csv's head: the same families before and after."""
        if not hasattr(self, "_families"):
            with self.reading() as connection:
                found = list_blocked(connection, read_catalog(connection), limit=FAMILIES)
            self._families = [
                Family(f.root_prompt_row_id, f.owner_id) for f in found if f.blocked_for == "chat"
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
            return frames.styled(frames.steps([]))
        look.checks.require(self.environment.name)
        if self.environment.name == DEMO:
            self.checksum = checksum(self.environment)
        self.migration = apply(
            self.environment,
            confirm=self.confirm,
            listener=lambda step: self.show(step.step, step.share, step.note),
            done=self._record_steps,
        )
        self._record_steps(self.migration)
        return frames.styled(frames.steps(self.migration.steps))

    def _record_steps(self, migration: MigrationResult) -> None:
        ended = migration.ended_at and to_iso(migration.ended_at)
        self.note(steps=[step.as_dict() for step in migration.steps], incident_ended_at=ended)

    def verify(self) -> Styler:
        """Definition, flags, and the probe's answer; what fails is marked `stop`."""
        with self.reading() as connection:
            checks = verify_catalog(read_catalog(connection))
        if len(self.probes) > 1:
            checks += (verify_probes(self.probes[0], self.probes[-1]),)
        self.note(verified=holds(checks), verification=checks_as_record(checks))
        return frames.styled(frames.checks(checks))

    def unchanged(self) -> str:
        """Whether the migration left every thread as it was.

        On the demo the checksums over all rows are equal; elsewhere, where clients go on writing, no row
        version carries a transaction of ours.
        """
        if self.migration is None:
            return "Nothing was applied, so there is nothing to compare."
        with waiting("looking whether any thread was changed …"):
            said = compare_threads(self.environment, self.checksum, self.migration.xids)
        self.note(unchanged=said)
        return said

    def retry(self) -> str:
        """Let the demo's clients try again what had failed; elsewhere nobody but the users themselves can."""
        if self.environment.name != DEMO:
            return "Only the demo's clients are ours to call; elsewhere users try again by themselves."
        came = demo.retry_chats(self.environment.address)
        said = (
            f"{came.families:,} families had failed to get a chat; tried again, {came.succeeded:,} succeeded, "
            f"{came.rejected:,} were rejected."
        )
        self.note(retries=said)
        self._note_example("after")
        return said

    def recovery(self) -> str:
        """How many of the families that were blocked for chat have got one since the fix, as the table tells."""
        if self.migration is None or self.migration.ended_at is None:
            return "Nothing was applied, so nobody can have recovered from it."
        with self.reading() as connection:
            found = read_recovery(connection, self.record.folder, self.migration.ended_at)
        self.note(recovery=found.as_record())
        return str(found)

    def ask(self, question: str, **values: Any) -> pd.DataFrame:
        """Ask a question of one's own, read-only: SQL with `:name` for each value. Its answer may hold raw ids."""
        import pandas as pd
        from sqlalchemy import text

        with engine(self.environment).connect() as connection:
            return pd.read_sql(text(question), connection, params=values)

    def unknown(self, look: Snapshot) -> list[str]:
        """What a look did not see, a sentence each."""
        return list_unknowns(
            self.environment.name,
            look.counts,
            hides_rows=look.found.rights.hides_rows,
            since_known=self.purpose_since is not None,
            tried_known="failures" in self.record.read(),
        )
