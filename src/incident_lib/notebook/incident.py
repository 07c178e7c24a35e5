"""The incident in one environment, as a notebook works on it; each snapshot and change goes into the run record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from incident_lib.analysis import checksum, compare_threads, read_recovery
from incident_lib.database import DEMO, demo, engine, read_catalog, reading, sending
from incident_lib.logs import log_files, read_attempts
from incident_lib.migration import FAMILIES, Probe, apply, holds, probe_families, verify_catalog, verify_probes
from incident_lib.model import (
    checks_table,
    format_bytes,
    left_out,
    make_table,
    rejected_inserts_table,
    steps_table,
    unread_sentence,
)
from incident_lib.notebook.display import bullets
from incident_lib.notebook.frames import styled
from incident_lib.notebook.session import Session
from incident_lib.notebook.snapshot import Snapshot, take_snapshot
from incident_lib.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd
    from pandas.io.formats.style import Styler

    from incident_lib.migration import MigrationResult
    from incident_lib.model import Table


def _no_progress(name: str, share: float | None, note: str) -> None:
    """Show nothing."""


@dataclass(kw_only=True, repr=False)
class Incident(Session):
    """The incident in one environment, as one notebook works on it; what it does goes into the run record.

    Attributes:
        purpose_since: when the column purpose came, as far as it is known.
        show: is called with a name, its share (None: unknown) and a note, several times a second.
        last: the latest snapshot.
    """

    purpose_since: datetime | None = None
    show: Callable[[str, float | None, str], None] = _no_progress
    last: Snapshot | None = None
    migration: MigrationResult | None = None
    probes: list[Probe] = field(default_factory=list)
    checksum: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Incident in {self.environment.name}, run {self.run.folder.name}>"

    def snapshot(self, moment: str = "before") -> Snapshot:
        """Take one snapshot: indexes, counts, blocked families, preflight, what remains; all of one transaction.

        It becomes the record's `before` or `after`; in a dry run there is no `after`. A snapshot `before` writes
        blocked.csv into the run's folder: every blocked family, with raw ids.

        Args:
            moment: `before` or `after` the migration.
        """
        before = moment == "before"
        with waiting(f"reading {self.environment.name} …"):
            self.last = take_snapshot(
                self.environment,
                purpose_since=self.purpose_since,
                names=self.names,
                blocked_file=self.run.folder / "blocked.csv" if before else None,
                example=None if before or self.last is None else self.last.example_family,
            )
        if before or not self.dry_run:
            self.note(**self.last.as_record(moment, self.shared_names), unknown=self.unknown())
        return self.last

    def unknown(self) -> list[str]:
        """What the latest snapshot does not show, a sentence each."""
        latest = self.last or self.snapshot()
        return latest.unknown(logs_read=self.run.read().rejected_inserts is not None)

    def attempts(self, log: str = "") -> Styler | str:
        """The incident's rejected inserts from the server logs; on the demo, without a name, from its own server's.

        What is not the incident's is displayed above the table; a log that was not read is no log without any.

        Args:
            log: the files' names, separated by spaces; each may be a pattern.
        """
        if not (files := self._logs(log)):
            return "No log was given: rejected inserts are unknown."
        found = read_attempts(
            self.environment,
            files,
            lambda done, total: self.show("logs", total and done / total, format_bytes(done)),
            self.purpose_since,
        )
        self.note(rejected_inserts=found.rejected, unread_logs=found.unread)
        if self.last:
            self.note(unknown=self.unknown())
        unread = unread_sentence(found.unread)
        if found.rejected is None:
            return f"{unread} Rejected inserts are unknown."
        bullets([line for line in (unread, *left_out(found.rejected)) if line])
        return styled(rejected_inserts_table({"number": found.rejected}))

    def _logs(self, named: str) -> list[str]:
        """The logs of these names; without a name the demo's own, on the clock of its database."""
        if not named and self.environment.name == DEMO:
            return [str(demo.server_log(self.environment.address))]
        return log_files(named)

    def probe(self) -> str:
        """Send what a chat client sends, for a few blocked families; PostgreSQL's answers; all of it is rolled back."""
        if self.dry_run:
            return "Not probed: this is a dry run, and a probe writes."
        families = [each.family for each in self._first_blocked() if each.blocked_for == "chat"][:FAMILIES]
        with sending(self.environment, "probe") as connection:
            self.probes.append(probe_families(connection, families))
        self.note(probes=[str(answer) for answer in self.probes])
        return str(self.probes[-1])

    def _first_blocked(self) -> tuple[Any, ...]:
        """The first families of the snapshot before: the same before and after the migration."""
        if not hasattr(self, "_blocked"):
            self._blocked = (self.last or self.snapshot()).blocked_head
        return self._blocked

    def apply(self) -> Styler:
        """Apply the plan where `confirm` allows it; a dry run changes nothing, and says so.

        Raises:
            Refused: a preflight check fails.
            Failed: a step failed; the steps before it are in the record.
        """
        latest = self.last or self.snapshot()
        if self.dry_run:
            print(f"Dry run: nothing was changed. Set confirm to {self.environment.name!r} to apply the fix.")  # noqa: T201
            return styled(_outcomes(steps_table([])))
        latest.checks.require(self.environment.name)
        if self.environment.name == DEMO:
            self.checksum = checksum(self.environment)
        self.migration = apply(
            self.environment,
            confirm=self.confirm,
            listener=lambda step: self.show(step.step, step.share, step.note),
            done=self._record_steps,
        )
        self._record_steps(self.migration)
        return styled(_outcomes(steps_table(self.migration.steps)))

    def _record_steps(self, migration: MigrationResult) -> None:
        self.note(steps=list(migration.steps), incident_ended_at=migration.ended_at)

    def verify(self) -> Styler:
        """Check definition, flags, and the answers to the probes."""
        with reading(self.environment) as connection:
            checks = verify_catalog(read_catalog(connection))
        if len(self.probes) > 1:
            checks += (verify_probes(self.probes[0], self.probes[-1]),)
        self.note(verified=holds(checks), verification=list(checks))
        return styled(checks_table(checks))

    def integrity(self) -> str:
        """Whether the migration changed a thread.

        On the demo the checksums over all rows are compared; elsewhere, where clients go on writing, the row versions
        that carry a transaction of the migration are counted.
        """
        if self.migration is None:
            return "Nothing was applied: there is nothing to compare."
        with waiting("comparing the threads …"):
            finding = compare_threads(self.environment, self.checksum, self.migration.xids)
        self.note(integrity=finding)
        return finding

    def retry(self) -> str:
        """Let the demo's clients try again where their chat was rejected; elsewhere only the users can try again."""
        if self.environment.name != DEMO:
            return "Only the demo's clients are simulated; in this environment users try again by themselves."
        result = demo.retry_chats(self.environment.address)
        finding = (
            f"The chats of {result.families:,} families had been rejected; tried again, {result.succeeded:,} were "
            f"created, {result.rejected:,} were rejected."
        )
        self.note(retries=finding)
        return finding

    def recovery(self) -> str:
        """How many of the families that were blocked for chat have got one since the fix, from the table."""
        if self.migration is None or self.migration.ended_at is None:
            return "Nothing was applied: no family can have recovered."
        with reading(self.environment) as connection:
            found = read_recovery(connection, self.run.folder, self.migration.ended_at)
        self.note(recovery=found.as_record())
        return str(found)

    def ask(self, query: str, **values: Any) -> pd.DataFrame:
        """Send a query of your own, read-only: SQL with `:name` for each value. Its result may hold raw ids."""
        import pandas as pd
        from sqlalchemy import text

        with engine(self.environment).connect() as connection:
            return pd.read_sql(text(query), connection, params=values)


def _outcomes(steps: Table) -> Table:
    """The steps with their outcomes alone: SQL and seconds are in the report."""
    wanted = [place for place, column in enumerate(steps.columns) if column.name in {"step", "outcome"}]
    return make_table([steps.columns[p] for p in wanted], ([row[p] for p in wanted] for row in steps.rows))
