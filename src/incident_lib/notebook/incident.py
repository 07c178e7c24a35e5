"""The incident in one environment, as a notebook works on it: snapshots, families, queries, the fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.analysis import (
    FAMILIES,
    BlockedFilter,
    Probe,
    Wanted,
    checksum,
    compare_threads,
    explain_family,
    families_to_probe,
    probe_families,
    probe_semantics,
    read_recovery,
    scan,
    verify_probes,
)
from incident_lib.database import DEMO, demo, read_catalog, reading, sending
from incident_lib.logs import log_files, read_attempts, read_duplicates
from incident_lib.migration import apply, verify_catalog, verify_commits
from incident_lib.model import (
    ATTEMPTS,
    PURPOSE,
    PURPOSES,
    Column,
    Family,
    UsageError,
    describe_reading,
    format_bytes,
    left_out,
    pseudonyms_for,
    rejected_inserts_table,
    threads_table,
    unread_sentence,
    without_ids,
)
from incident_lib.notebook.access import Access, Revocable
from incident_lib.notebook.display import bullets
from incident_lib.notebook.families import find_id, read_families
from incident_lib.notebook.frames import make_frame, to_frame
from incident_lib.notebook.own_query import run_query
from incident_lib.notebook.parameters import as_log
from incident_lib.notebook.results import Applied, Probed, Recovered, Scanned, Verified
from incident_lib.notebook.session import MIGRATION
from incident_lib.notebook.snapshot import take_snapshot
from incident_lib.notebook.snapshot_frames import Snapshot
from incident_lib.progress import waiting
from incident_lib.records import read_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from incident_lib.database import Environment
    from incident_lib.logs import Attempts, Duplicates
    from incident_lib.migration import MigrationResult
    from incident_lib.model import IndexChange, Pseudonyms
    from incident_lib.notebook.frames import Frame
    from incident_lib.notebook.session import Recording
    from incident_lib.notebook.snapshot import SnapshotData
    from incident_lib.records import RunFolder

PHASES = ("before", "after")


def _no_progress(name: str, share: float | None, note: str) -> None:
    """Show nothing."""


def _sizes(files: list[str]) -> list[tuple[str, int]]:
    """Files with their sizes; -1: it cannot be known, and reading it says why."""
    return [(file, path.stat().st_size if (path := Path(file)).is_file() else -1) for file in files]


class Incident(Revocable):
    """The incident in one environment. `il.connect` and `il.begin` return it.

    Every look is one read-only transaction with time-outs, and returns pandas DataFrames with typed columns. Ids are
    pseudonyms, unless `redact` is off. Only `apply`, `probe` and, on the demo, `retry` write, and only where `confirm`
    is the environment's name.

    Attributes:
        environment: the name, and how it resolved.
        dry_run: whether nothing may be changed.
        purpose_since: when the column `purpose` came, as far as it is known.
        change: which change of the unique index is planned and made: `purpose` or `provider`.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        confirm: str = "",
        names: Pseudonyms | None = None,
        purpose_since: datetime | None = None,
        recording: Recording | None = None,
        show: Callable[[str, float | None, str], None] = _no_progress,
        change: IndexChange = PURPOSE,
    ) -> None:
        self._access = Access()
        self.environment = environment
        self.dry_run = confirm != environment.name
        self.purpose_since = purpose_since
        self.change = change.name
        self._change = change
        self._confirm, self._names, self._recording, self._show = confirm, names, recording, show
        self._latest: SnapshotData | None = None
        self._to_probe: list[Family] | None = None
        self._attempts: Attempts | None = None
        self._duplicates: tuple[list[tuple[str, int]], Duplicates] | None = None  # of which files, with their sizes
        self._migration: MigrationResult | None = None
        self._probes: list[Probe] = []
        self._probed: list[str] = []
        self._when = "before"  # or after the steps
        self._checksum: dict[str, Any] | None = None

    @property
    def run(self) -> RunFolder | None:
        """The folder of the run that this session is recorded in; None: nothing is recorded."""
        return self._recording.run if self._recording else None

    @property
    def _notebook(self) -> str:
        return self._recording.notebook if self._recording else ""

    def __repr__(self) -> str:
        record = f"run {self._recording.run.folder.name}" if self._recording else "not recorded"
        return f"<Incident in {self.environment.name}, {record}>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    # Look

    def snapshot(self, phase: str = "before") -> Snapshot:
        """Take one snapshot: indexes, counts, blocked families, preflight, what remains; all of one transaction.

        It becomes the record's `before` or `after`, where this session is recorded; in a dry run there is no `after`.
        A recorded snapshot `before` writes blocked.csv into the run's folder: every blocked family, with raw ids.

        Args:
            phase: `before` or `after` the migration.

        Raises:
            UsageError: another phase.
            Failed: the environment cannot be reached, or cannot be read.
        """
        if phase not in PHASES:
            raise UsageError(f"There is no phase {phase!r}.", "A snapshot is `before` or `after`.", "Correct the name.")
        return Snapshot(self._take_snapshot(before=phase == "before"), self._access)

    def _take_snapshot(self, *, before: bool) -> SnapshotData:
        folder = self._recording.run.folder if self._recording and before else None
        with waiting(f"reading {self.environment.name} …"):
            found = take_snapshot(
                self.environment,
                purpose_since=self.purpose_since,
                names=self._names,
                blocked_file=folder / "blocked.csv" if folder else None,
                example=None if before or self._latest is None else self._latest.example_family,
                fixed_at=self._migration.ended_at if self._migration else None,
                change=self._change,
            )
        self._latest = found
        if before or not self.dry_run:
            record = found.as_record("before" if before else "after", self._shared_names)
            self._note(**record, unknown=self.unknown())
        return found

    @property
    def _shared_names(self) -> Pseudonyms:
        """Pseudonyms also where `redact` is off: the record's, and those that `threads` and `families` take."""
        return self._names or pseudonyms_for(self.environment.name)

    def _note(self, **values: Any) -> None:
        if self._recording:
            self._recording.note(**values)

    def families(
        self,
        limit: int | None = None,
        *,
        owner: str | UUID | None = None,
        root: str | UUID | None = None,
        provider: str | None = None,
        blocked_for: str | None = None,
    ) -> Frame:
        """The blocked families: one row for each family and each purpose that is blocked in it.

        Chat first, then those that have been blocked longest. It is read as a stream, in a transaction of its own; how
        large the DataFrame will be is said first where it has more than 100,000 rows. It is empty where no family is
        blocked, or an enforced index cannot be read (then `snapshot().verdict` says so).

        Args:
            limit: at most so many rows.
            owner: only this user's: a UUID, or the pseudonym shown.
            root: only this root prompt's: a UUID, or the pseudonym shown.
            provider: only those blocked by a thread of this provider.
            blocked_for: only those blocked for this purpose: `chat` or `run`.

        Returns:
            Columns: root, owner, blocked_for (str), since (datetime64[us, UTC]; NaT: unknown), blocking_thread,
            blocking_purpose, blocking_provider (str; missing: none). `root` and `owner` are those of `attempts`.

        Raises:
            UsageError: an id or a purpose that is not one, or a pseudonym that no thread has.
            Failed: the environment cannot be reached, or cannot be read.
        """
        if blocked_for is not None and blocked_for not in PURPOSES:
            raise UsageError(
                f"No family is blocked for {blocked_for!r}.", "The purposes are chat and run.", "Correct blocked_for."
            )
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise UsageError("limit must be a number of rows.", f"It is {limit!r}.", "Write it like limit=100.")
        with waiting(f"reading {self.environment.name} …"), reading(self.environment) as connection:
            only = BlockedFilter(
                root=None if root is None else find_id(connection, self._shared_names, "root", root),
                owner=None if owner is None else find_id(connection, self._shared_names, "owner", owner),
                blocked_for=blocked_for,
                provider=provider,
            )
            return read_families(connection, self._names, purpose_since=self.purpose_since, limit=limit, only=only)

    def threads(self, root: str | UUID, owner: str | UUID) -> Frame:
        """One family, thread by thread: what blocks what with the enforced indexes, and with the fixed index.

        Args:
            root: the family's root prompt: a UUID, or the pseudonym shown.
            owner: its user: a UUID, or the pseudonym shown.

        Returns:
            The oldest first; no row where the family has no thread. Columns: thread (str), created_at (datetime64[us,
            UTC]), purpose, provider (str), is_active (boolean), blocks, would_block (str: the purposes that the thread
            blocks now, and with the fixed index).

        Raises:
            UsageError: an id is neither a UUID nor a pseudonym that a thread has.
            Failed: the environment cannot be reached, or cannot be read.
        """
        with waiting(f"reading {self.environment.name} …"), reading(self.environment) as connection:
            family = Family(
                find_id(connection, self._shared_names, "root", root),
                find_id(connection, self._shared_names, "owner", owner),
            )
            found = explain_family(connection, read_catalog(connection), family)
        return to_frame(threads_table(found, self._names))

    def attempts(self, log: str | Sequence[str] = "") -> Frame:
        """The families with rejected inserts, from the server logs: one row for each, those with most first.

        On the demo, without a name, its own server's log is read. What is not the incident's, and logs that could not
        be read, are named above the table. `rejected_inserts` has the sums.

        Args:
            log: the files' names, as a list, or in one text, separated by spaces; each may be a pattern.

        Returns:
            Columns: root, owner (str), first, last (datetime64[us, UTC]: of the rejected inserts), attempts (Int64: how
            many), succeeded_at (datetime64[us, UTC]: when the family got a chat later; NaT: not yet). `root` and
            `owner` are those of `families`. No row where no log was given.

        Raises:
            UsageError: a name leads to no file, or `log` is neither a text nor a list of texts.
            Failed: a log or the environment cannot be read.
        """
        found = self._read_attempts(as_log(log))
        families = found.families if found else ()
        names = self._names
        rows = [
            (
                str(each.family.root) if names is None else names.name("root", each.family.root),
                each.family.owner
                and (str(each.family.owner) if names is None else names.name("owner", each.family.owner)),
                each.first,
                each.last,
                each.attempts,
                each.chat_at,
            )
            for each in families
        ]
        return make_frame(ATTEMPTS, rows)

    def _read_attempts(self, log: str) -> Attempts | None:
        if not (files := self._logs(log)):
            bullets(["No log was given: rejected inserts are unknown."])
            return None
        sizes = _sizes(files)
        found = read_attempts(
            self.environment,
            files,
            lambda done, total: self._show("logs", total and done / total, format_bytes(done)),
            self.purpose_since,
        )
        self._attempts = found
        self._duplicates = (sizes, found.duplicates) if found.duplicates.is_complete else None
        self._note(rejected_inserts=found.rejected, unread_logs=found.unread)
        if self._latest:
            self._note(unknown=self.unknown())
        unread = unread_sentence(found.unread)
        if found.rejected is None:
            bullets([f"{unread} Rejected inserts are unknown."])
        else:
            bullets([line for line in (unread, describe_reading(found.rejected), *left_out(found.rejected)) if line])
        return found

    def _logs(self, named: str) -> list[str]:
        """The logs of these names; without a name the demo's own, on the clock of its database."""
        if not named and self.environment.name == DEMO:
            return [str(demo.server_log(self.environment.address))]
        return log_files(named)

    @property
    def rejected_inserts(self) -> Frame:
        """The sums over the rejected inserts that `attempts` read last, one a row; no row where it read none.

        Columns: count (str), number (Int64), meaning (str).
        """
        rejected = self._attempts.rejected if self._attempts else None
        if rejected is None:
            count, meaning = rejected_inserts_table({}).columns
            return make_frame((count, Column("number", dtype="Int64"), meaning), [])
        return to_frame(rejected_inserts_table({"number": rejected}))

    def scan(self, log: str | Sequence[str] = "", *, index: str | Sequence[str] = ()) -> Scanned:
        """Ask whether this could happen elsewhere: from the catalog and the statistics alone, in its own transaction.

        Which unique index has no effect, since another one of its table allows less? And, of the unique indexes that
        rejected rows: which columns may belong in their keys? Answers that people gave to `incident scan --no` are in.

        Args:
            log: as `attempts` takes it: server logs, which say which indexes rejected rows.
            index: unique indexes to examine all the same, by name.

        Raises:
            UsageError: a name leads to no file.
            Refused: there is no such unique index.
            Failed: a log or the environment cannot be read.
        """
        named = [index] if isinstance(index, str) else [*index]
        answered = read_answers(paths.ANSWERS)
        duplicates = self._read_duplicates(self._logs(as_log(log)))
        rejected = duplicates.rejected if duplicates and duplicates.is_read else None
        with waiting(f"reading {self.environment.name} …"), reading(self.environment) as connection:
            found = without_ids(scan(connection, Wanted(named, rejected, answered.no, answered.both)))
        self._note(scan=found)
        return Scanned(self.environment.name, found)

    def _read_duplicates(self, files: list[str]) -> Duplicates | None:
        """How often each unique index rejected a row; `attempts` has read it from these files already, if they are so.

        A log that has grown since is read again.
        """
        if not files:
            return None
        sizes = _sizes(files)
        if self._duplicates is None or self._duplicates[0] != sizes:
            with waiting("reading the logs …"):
                self._duplicates = (sizes, read_duplicates(files))
        return self._duplicates[1]

    def sql(self, query: str, **values: Any) -> Frame:
        """Send a query of your own: one statement in a read-only transaction, with the time-outs of every other look.

        Args:
            query: SQL, with `:name` for each value.
            values: by name; a list, or a column of a DataFrame, is an array: `= ANY(:names)`.

        Returns:
            Typed also without a row: boolean, Int64, Float64, datetime64[us, UTC] (of a timestamp without zone:
            datetime64[us]), timedelta64[us], else str. Ids are pseudonyms, also within texts, unless `redact` is off.

        Raises:
            UsageError: a name without a value, or a value without a name.
            Failed: PostgreSQL rejected the query, or it took too long. Where the text is wrong (class 42), it has
                PostgreSQL's own message.
        """
        with waiting(f"querying {self.environment.name} …"):
            return run_query(self.environment, query, values, self._names)

    def unknown(self) -> list[str]:
        """What the latest snapshot does not show, a sentence each."""
        latest = self._latest or self._take_snapshot(before=True)
        read = (
            self._recording.run.read().rejected_inserts
            if self._recording
            else (self._attempts and self._attempts.rejected)
        )
        return latest.unknown(logs_read=read is not None)

    # Fix

    def probe(self) -> Probed:
        """Send what a client sends that is rejected before the change, for a few families; all of it is rolled back.

        Of `purpose` that is a chat, in families that are blocked for chat; of `provider` a run of another provider, in
        families with a run. The families are the same before and after the migration.

        Returns:
            PostgreSQL's answers; in a dry run there are none, since a probe writes.

        Raises:
            Failed: the environment cannot be reached, or the role may not write.
        """
        if self.dry_run:
            return Probed(None)
        if self._to_probe is None:
            self._to_probe = self._families_to_probe()
        with sending(self.environment, "probe") as connection:
            if self._change == PURPOSE:
                self._probes.append(probe_families(connection, self._to_probe))
            else:
                self._probes.append(probe_semantics(connection, self._to_probe, self._change)[0])
        self._probed.append(f"{self._when} the steps: {self._probes[-1]}")
        self._note(probes=list(self._probed))
        return Probed(self._probes[-1])

    def _families_to_probe(self) -> list[Family]:
        if self._change != PURPOSE:
            with reading(self.environment) as connection:
                return families_to_probe(connection)
        head = (self._latest or self._take_snapshot(before=True)).blocked_head
        return [each.family for each in head if each.blocked_for == "chat"][:FAMILIES]

    def apply(self) -> Applied:
        """Apply the plan where `confirm` allows it; a dry run changes nothing, and says so.

        Raises:
            Refused: a preflight check fails.
            Failed: a step failed; the steps before it are in the record.
        """
        latest = self._latest or self._take_snapshot(before=True)
        if self.dry_run:
            return Applied(self.environment.name, None, self._change)
        latest.checks.require(self.environment.name)
        if self.environment.name == DEMO:
            self._checksum = checksum(self.environment)
        self._when = "after"
        self._migration = apply(
            self.environment,
            confirm=self._confirm,
            change=self._change,
            listener=lambda step: self._show(step.step, step.share, step.note),
            done=self._record_steps,
        )
        self._record_steps(self._migration)
        return Applied(self.environment.name, self._migration, self._change)

    def _record_steps(self, migration: MigrationResult) -> None:
        self._note(steps=list(migration.steps), incident_ended_at=migration.ended_at)

    def verify(self) -> Verified:
        """Check definition and flags of the indexes, and the answers to the probes.

        Raises:
            Failed: the environment cannot be reached, or cannot be read.
        """
        with reading(self.environment) as connection:
            checks = verify_catalog(read_catalog(connection, self._change))
        if len(self._probes) > 1:
            checks += (verify_probes(self._probes[0], self._probes[-1]),)
        if self._migration:
            checks += verify_commits(self._migration.steps)
        found = Verified(self.environment.name, checks)
        self._note(verified=found.holds, verification=list(checks))
        return found

    def integrity(self) -> str:
        """Whether the steps of the migration changed a thread, in a sentence.

        On the demo the checksums over all rows are compared; elsewhere, where clients go on writing, the row versions
        that carry a transaction of the migration are counted.
        """
        if self._migration is None:
            return "Nothing was applied: there is nothing to compare."
        with waiting("comparing the threads …"):
            finding = compare_threads(self.environment, self._checksum, self._migration.xids)
        self._note(integrity=finding)
        return finding

    def retry(self) -> str:
        """Let the demo's clients try again where their chat was rejected; elsewhere only the users can try again."""
        if self.environment.name != DEMO:
            return "Only the demo's clients are simulated; in this environment users try again by themselves."
        if self._change != PURPOSE:
            return "The clients had got their chats before this change; it is about the providers of runs and chats."
        if self.dry_run:
            return "The clients did not try again: this is a dry run, and they write."
        result = demo.retry_chats(self.environment.address)
        finding = (
            f"The chats of {result.families:,} families had been rejected; tried again, {result.succeeded:,} were "
            f"created, {result.rejected:,} were rejected. "
            f"Of those created, {result.were_blocked:,} are in families that were blocked when the fix was applied; "
            f"the other {result.succeeded - result.were_blocked:,} are in families that were not blocked any more."
        )
        self._note(retries=finding)
        return finding

    def recovery(self) -> Recovered:
        """How many of the families that were blocked for chat have got one since the fix, from the table.

        Raises:
            UsageError: the fix was applied in a session without a record, which has no list of those families.
            Failed: the environment cannot be reached, or cannot be read.
        """
        if self._change != PURPOSE or self._migration is None or self._migration.ended_at is None:
            return Recovered(None)
        if self._recording is None:
            raise UsageError(
                "The recovery needs the list of the families that were blocked.",
                "It is in the folder of a run, and this session has none.",
                f"Apply in a recorded session, such as 02_migrate, or `incident run --env {self.environment.name}`.",
            )
        with reading(self.environment) as connection:
            found = read_recovery(connection, self._recording.run.folder, self._migration.ended_at)
        self._note(recovery=found.as_record())
        return Recovered(found)

    # The record

    def finish(self) -> None:
        """Mark this notebook as done in the record of its run; what comes after it is not recorded."""
        if self._recording:
            self._recording.finish(dry_run=self.dry_run and self._recording.notebook == MIGRATION)
