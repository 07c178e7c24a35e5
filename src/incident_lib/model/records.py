"""The files that runs and experiments leave, as types: record.json, claims.json, rehearsal.json.

These types are the only definition of the files. `data/schemas/*.json` is generated from them (`make schemas`). All
keys are always there; null means not known, or not done. No file holds a raw id, an address or a secret.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from incident_lib.model.catalog import Catalog, IndexState
from incident_lib.model.change import PURPOSE, IndexChange, IndexKind
from incident_lib.model.checks import Check
from incident_lib.model.counts import Counts
from incident_lib.model.errors import IncidentError
from incident_lib.model.plan import StepResult
from incident_lib.model.scan import ScanFindings

SCHEMA_VERSION = 2
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
T = TypeVar("T")


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of the files share: they are immutable, and are made by keyword."""


class BeforeAfter(_Part, Generic[T], frozen=True, kw_only=True):
    """The same thing in the snapshot before the fix and in the one after it; null: no such snapshot was taken."""

    before: T | None = None
    after: T | None = None

    def merge(self, other: BeforeAfter[T]) -> BeforeAfter[T]:
        """The other's halves; where it has none, those of this one."""
        before = self.before if other.before is None else other.before
        return BeforeAfter(before=before, after=self.after if other.after is None else other.after)


# record.json


class RunStatus(StrEnum):
    """The status of a run in its record; `running` without a heartbeat for a minute is shown as killed."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DRY_RUN = "dry-run"
    REFUSED = "refused"
    FAILED = "failed"


class ChangeDefinition(_Part, frozen=True, kw_only=True):
    """A change of a unique index: its name, the index, and its key before and after.

    Attributes:
        name: `purpose`, `provider`, or that of the file that describes it.
        key_before, key_after: columns, and expressions in parentheses.
        predicate: of the rows that the index covers, before and after; null: all of them.
        nulls_not_distinct_before, nulls_not_distinct_after: whether NULL is equal to NULL in the key.
        constraint: whether the index backs a UNIQUE constraint.
    """

    name: str
    table: str
    index: str
    key_before: list[str]
    key_after: list[str]
    predicate: str | None
    nulls_not_distinct_before: bool
    nulls_not_distinct_after: bool
    constraint: bool

    @classmethod
    def of(cls, change: IndexChange) -> ChangeDefinition:
        """That of a change."""
        return cls(
            name=change.name,
            table=change.path,
            index=change.index,
            key_before=list(change.before.parts),
            key_after=list(change.after.parts),
            predicate=change.predicate,
            nulls_not_distinct_before=change.before.nulls_not_distinct,
            nulls_not_distinct_after=change.after.nulls_not_distinct,
            constraint=change.constraint,
        )


class IndexDefinition(_Part, frozen=True, kw_only=True):
    """A unique index as the catalog defines it; flags: `valid`, or what is missing."""

    name: str
    kind: IndexKind
    definition: str
    flags: str


class Indexes(_Part, frozen=True, kw_only=True):
    """The unique indexes of the table in one snapshot, and the state that they are in together."""

    state: IndexState
    definitions: list[IndexDefinition]

    @classmethod
    def of(cls, catalog: Catalog) -> Indexes:
        """Those of a catalog."""
        definitions = [
            IndexDefinition(name=i.name, kind=i.kind, definition=i.definition, flags=i.flags())
            for i in catalog.relevant_indexes
        ]
        return cls(state=catalog.state, definitions=definitions)


class ErrorMessage(_Part, frozen=True, kw_only=True):
    """What stopped a run: what happened, why, and what to do next."""

    what: str
    why: str
    next: str

    @classmethod
    def of(cls, error: IncidentError) -> ErrorMessage:
        """That of an error."""
        return cls(what=error.what, why=error.why, next=error.next)


class NotebookResult(_Part, frozen=True, kw_only=True):
    """How one notebook of a run ended; seconds are null while it runs."""

    name: str
    seconds: float | None
    outcome: str


class NotebookProgress(_Part, frozen=True, kw_only=True):
    """How many cells of a notebook have been executed."""

    notebook: str
    done: int
    total: int


class BlockerCount(_Part, frozen=True, kw_only=True):
    """How many families are blocked for a purpose by threads of one purpose and provider."""

    blocked_for: str
    purpose: str | None
    provider: str | None
    families: int


Points = list[tuple[Timestamp, int]]  # a sum, growing over time


class BlockedSince(_Part, frozen=True, kw_only=True):
    """How many of the families that are blocked had been blocked by each time, for chat and for run."""

    chat: Points
    run: Points


class ExampleFamily(_Part, frozen=True, kw_only=True):
    """The family of the worked example, by pseudonyms (the fix plan's own: by its published ids)."""

    root: str | None
    owner: str | None


class ExampleThread(_Part, frozen=True, kw_only=True):
    """A thread of the worked example; blocks: the purposes that PostgreSQL rejects because of it."""

    thread: str
    created_at: str | None
    purpose: str | None
    provider: str | None
    is_active: bool | None
    blocks: list[str] | None
    would_block: list[str]


class LogsRead(_Part, frozen=True, kw_only=True):
    """What was read of the logs: how many entries of a PostgreSQL server, and what of them was not understood.

    Attributes:
        entries: of a server; lines: of the logs in which it was recognised.
        not_understood: of these lines, those that are no part of an entry.
        exact: whether all lines were looked at; if not, the three numbers are estimates.
        first, last: the earliest and the latest time that was seen.
        errors_logged: whether an error of any kind was seen: a server that logs none logs no rejected inserts.
    """

    entries: int
    lines: int
    not_understood: int
    exact: bool
    first: Timestamp | None
    last: Timestamp | None
    errors_logged: bool


class RejectedInserts(_Part, frozen=True, kw_only=True):
    """Inserts that the unique index rejected, from server logs, and what the threads say of their families.

    Attributes:
        families: families with rejected inserts, as far as the logs name them; owners: their users.
        first, last: when the first and the last insert was rejected.
        by_index: rejected inserts by the kind of index; `unknown` where its key is not logged.
        per: `hour` or `day`; per_hour: the rejected inserts of each.
        not_understood: entries that could not be read, or not completely, by reason.
        duplicates: entries that another file has, too. ours: rejections of this project's own probes.
        before_purpose: rejected inserts before the column purpose, in no other count; null: its time is unknown.
        by_provider: rejected because of a thread of the same purpose, of another provider, in no other count;
            null: unknown.
        runs: how many of the rejected inserts are runs, as far as their statements are logged.
        read: what was read of the logs; null in the records of earlier versions.
        blocked: families blocked for chat when the logs were read.
        hit_and_blocked, hit_not_blocked: of the families with rejected inserts: blocked for chat then, or not.
        blocked_never_hit: blocked for chat then, without a rejected insert.
        tries: of the families that got a chat later: rejected inserts before it, and how many families.
    """

    failed_attempts: int
    families: int
    owners: int
    first: Timestamp | None
    last: Timestamp | None
    by_index: dict[str, int]
    per: Literal["hour", "day"]
    per_hour: Points
    not_understood: dict[str, int]
    duplicates: int
    ours: int
    bytes_read: int
    files: list[str]
    blocked: int | None = None
    hit_and_blocked: int | None = None
    hit_not_blocked: int | None = None
    blocked_never_hit: int | None = None
    got_a_chat: int | None = None
    without_a_chat: int | None = None
    without_their_chat: int | None = None
    without_threads: int | None = None
    tries: list[tuple[int, int]] | None = None
    joined_at: Timestamp | None = None
    before_purpose: int | None = None
    by_provider: int | None = None
    runs: int | None = None
    read: LogsRead | None = None

    @property
    def lost(self) -> int:
        """How many entries may be rejected inserts, but could not be read."""
        return sum(count for reason, count in self.not_understood.items() if reason.startswith("not "))


class UnreadLog(_Part, frozen=True, kw_only=True):
    """A log in which no entry of a PostgreSQL server was recognised, in so many lines."""

    file: str
    lines: int


class RecoveryCount(_Part, frozen=True, kw_only=True):
    """How many of the families that were blocked for chat have a chat since the fix; the sum over time."""

    blocked: int
    recovered: int
    since: Timestamp
    at: Timestamp
    over_time: Points


class ProviderConflicts(_Part, frozen=True, kw_only=True):
    """Active threads of one provider (null: none) that block another provider in their family."""

    provider: str | None
    active_threads: int
    families: int


class ProviderThread(_Part, frozen=True, kw_only=True):
    """A thread of the family that shows a provider conflict."""

    created_at: str | None
    purpose: str | None
    provider: str | None
    is_active: bool | None


class ProviderExample(_Part, frozen=True, kw_only=True):
    """A family with a provider conflict, without its ids: which provider has the key, and which one needs it."""

    held_by: str | None
    asked_for: str
    purpose: str | None
    threads: list[ProviderThread]


class ProposedIndex(_Part, frozen=True, kw_only=True):
    """An index that would end the provider conflicts; nothing here builds it.

    Attributes:
        finding: whether it could be built, in a sentence.
        keys: keys that several active threads share; ownerless_keys: those of them without an owner.
        too_many: active threads beyond one for each key.
    """

    sql: str
    buildable: bool
    finding: str
    server_version: int
    keys: int
    ownerless_keys: int
    too_many: int


class ResidualConflicts(_Part, frozen=True, kw_only=True):
    """What the fix does not change: provider conflicts, and threads that no index covers.

    Attributes:
        created_since: how many of the provider conflicts are threads created since the fix; null: not counted.
    """

    residual_conflicts: int
    by_provider: list[ProviderConflicts]
    without_provider: int
    unguarded_threads: int
    example: ProviderExample | None
    proposal: ProposedIndex
    created_since: int | None = None


class SettledThreads(_Part, frozen=True, kw_only=True):
    """Active threads that were ended, so that a change can be applied: of several with one key the newest stayed.

    Attributes:
        at: when, by the server's clock.
        ended: how many.
    """

    at: Timestamp
    ended: int


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did and saw: record.json.

    Attributes:
        started_by: the command or the notebook that began the run.
        snapshot_at: when each snapshot was taken, by the server's clock.
        verdict: the headline of the latest snapshot.
        indexes: judged by `purpose`, whichever change the run makes.
        incident_ended_at: when the index from before the change stopped rejecting inserts; null: not by this run.
        purpose_since: when the column purpose came, as far as it was given.
        blocked_by, blocked_since: what blocks the families, and since when; null: an index cannot be read.
        probes: the answers to each probe, and whether it was sent before the steps or after them.
        verified: whether the fixed index alone was enforced at the end.
        integrity: whether the migration's steps changed a thread. retries: what the demo's clients got on trying again.
        unknown: what the latest snapshot does not show, a sentence each.
        unread_logs: logs from which nothing was understood: what they hold is unknown, not nothing.
        recorded: whether it feeds reports; false: a notebook that somebody opened, without asking to record it.
        change: the change of the index that the run plans and makes.
        scan: whether this could happen elsewhere in the database; null: it was not asked.
        settled: what the run ended before the change, on the demo alone; null: it ended nothing. What people do by
            their own SQL is not known to a record.
    """

    schema_version: Literal[2]
    environment: str
    status: RunStatus
    started_by: str
    started_at: Timestamp
    heartbeat_at: Timestamp
    finished_at: Timestamp | None
    versions: dict[str, str]
    git_commit: str | None
    server_version: int | None
    indexes: BeforeAfter[Indexes]
    counts: BeforeAfter[Counts]
    snapshot_at: BeforeAfter[Timestamp]
    verdict: str | None
    preflight: list[Check] | None
    purpose_since: Timestamp | None
    blocked_by: list[BlockerCount] | None
    blocked_since: BlockedSince | None
    example: ExampleFamily | None
    example_threads: BeforeAfter[list[ExampleThread]]
    rejected_inserts: RejectedInserts | None
    residual: ResidualConflicts | None
    steps: list[StepResult]
    incident_ended_at: Timestamp | None
    probes: list[str]
    verified: bool | None
    verification: list[Check] | None
    integrity: str | None
    retries: str | None
    recovery: RecoveryCount | None
    unknown: list[str] | None
    progress: NotebookProgress | None
    notebooks: list[NotebookResult]
    error: ErrorMessage | None
    unread_logs: list[UnreadLog] = msgspec.field(default_factory=list)
    recorded: bool = True
    change: ChangeDefinition = msgspec.field(default_factory=lambda: ChangeDefinition.of(PURPOSE))
    scan: ScanFindings | None = None
    settled: SettledThreads | None = None


# change-<time>.json


class ChangeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one `incident apply` or `incident rollback` did to an index of another table than the incident's.

    Attributes:
        target: `fixed` for the change, `original` for its rollback.
        status: `running` while the command runs, or where it was killed.
        rows: about how many rows the index covers.
        before, after: the unique indexes of the table, judged by the change; null: not read after the steps.
        ended_at: when the other index stopped rejecting inserts; null: not by this command.
        verification: whether the index of the target alone was enforced at the end.
    """

    schema_version: Literal[2]
    environment: str
    change: ChangeDefinition
    target: IndexKind
    status: RunStatus
    started_at: Timestamp
    finished_at: Timestamp | None
    versions: dict[str, str]
    server_version: int
    rows: int
    before: Indexes
    preflight: list[Check]
    steps: list[StepResult]
    ended_at: Timestamp | None
    after: Indexes | None
    verification: list[Check] | None
    error: ErrorMessage | None


# claims.json


class Verdict(StrEnum):
    """What the trials showed of a claim of the fix plan."""

    HOLDS = "holds"
    ONLY_HERE = "holds only with this project's method"
    NO = "does not hold"


class ClaimResult(_Part, frozen=True, kw_only=True):
    """One claim: its words in the fix plan (source), how it was tested, the result, and figures by strategy."""

    claim: str
    source: str
    how: str
    result: str
    verdict: Verdict
    figures: dict[str, dict[str, Any]]


class StrategyLatency(_Part, frozen=True, kw_only=True):
    """What clients measured while one strategy changed the index; times are seconds since the change began.

    Attributes:
        ours: whether it is this project's strategy.
        reader: when a reader's transaction was open.
        longest_ms: the longest write that the change could delay.
        duplicates: second active threads of a family and purpose that were admitted.
        errors: answers by SQLSTATE.
        points: of each bin of 50 ms its begin, and its longest write in milliseconds.
    """

    name: str
    ours: bool
    begin: float
    end: float
    reader: tuple[float, float]
    longest_ms: float
    duplicates: int
    errors: dict[str, int]
    points: list[tuple[float, float]]


class Latency(_Part, frozen=True, kw_only=True):
    """The latency of writes, strategy by strategy, with so many threads and clients."""

    threads: int
    clients: int
    strategies: list[StrategyLatency]


class ClaimsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of the fix plan, tested: claims.json."""

    schema_version: Literal[2]
    tested_at: Timestamp
    server_version: int
    seconds: float
    claims: list[ClaimResult]
    latency: Latency


# rehearsal.json


class RehearsalStep(_Part, frozen=True, kw_only=True):
    """One step of a rehearsal: its seconds, its outcome."""

    name: str
    seconds: float
    outcome: str


class ClientCounts(_Part, frozen=True, kw_only=True):
    """What synthetic clients got while the migration ran on the copy.

    Attributes:
        writes: calls that PostgreSQL admitted.
        rejected: calls by purpose that an index rejected before the migration had ended; rejected_after: after it.
        errors: any other answer, by SQLSTATE, or that the connection was lost.
        longest_stall: seconds of the slowest call.
    """

    writes: int
    rejected: dict[str, int]
    rejected_after: dict[str, int]
    errors: dict[str, int]
    longest_stall: float


class RollbackOutcome(_Part, frozen=True, kw_only=True):
    """Whether the rollback worked on the copy, and why; null: it was not tried."""

    possible: bool | None
    why: str


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """A rehearsal of the fix on a copy of an environment's threads: rehearsal.json.

    Attributes:
        server_version: of the environment; rehearsal_version: of the copy's server.
        threads, bytes: how much was copied; active_threads: of them.
        works: whether the fix will work there; why, and what to do next.
        build_seconds_per_million: of the first build, by active threads; null: too few to tell.
        waits: the environment's own preflight checks that would make the fix wait, or refuse it.
        not_reproduced: what the copy does not have of the environment's indexes, a phrase each.
    """

    schema_version: Literal[2]
    rehearsed_at: Timestamp
    environment: str
    server_version: int
    rehearsal_version: int
    threads: int
    active_threads: int
    bytes: int
    works: bool
    why: str
    next: str
    steps: list[RehearsalStep]
    build_seconds_per_million: float | None
    clients: ClientCounts
    rollback: RollbackOutcome
    waits: list[Check]
    not_reproduced: list[str]
    copied_in_seconds: float
    change: ChangeDefinition = msgspec.field(default_factory=lambda: ChangeDefinition.of(PURPOSE))
