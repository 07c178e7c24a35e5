"""What commands answer with `--format json`, as types: one envelope, and the result of each command in it.

These types are the only definition; `data/schemas/answers.schema.json` is generated from them (`make schemas`). Raw
ids are in the results of `investigate`, `explain` and `failures` alone. All times are ISO 8601, in UTC.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

from incident_lib.model.change import IndexKind
from incident_lib.model.checks import Check
from incident_lib.model.counts import Counts
from incident_lib.model.plan import StepResult
from incident_lib.model.records import (
    ChangeDefinition,
    ClaimsReport,
    ErrorMessage,
    Indexes,
    RehearsalReport,
    RejectedInserts,
    Timestamp,
    UnreadLog,
)
from incident_lib.model.scan import ScanFindings
from incident_lib.model.threads import BlockedFamily, Thread

T = TypeVar("T")


class Envelope(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a command answers.

    Attributes:
        command: without options, e.g. `runs compare`.
        environment: its name; null: the command is about several, or about none.
        at: when it was answered, by the clock of this machine.
        exit_code: of the command: 0 done; 1 the answer is no, or not known; 3 not done.
        answer: in one sentence, as people read it.
        next: the command that follows, as one would type it; null: none does.
        result: by command, see the types below.
        error: what prevents a yes; also on standard error.
    """

    schema_version: Literal[1] = 1
    command: str
    environment: str | None
    at: Timestamp
    exit_code: int
    answer: str
    next: str | None
    result: T
    error: ErrorMessage | None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What standard error holds with `--format json` where a command ends with another code than 0."""

    schema_version: Literal[1] = 1
    exit_code: int
    error: ErrorMessage


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the results share: they are immutable, and are made by keyword."""


class StandbyAge(Result, frozen=True, kw_only=True):
    """What a standby has replayed; see `analysis.Standby`. Null: not known."""

    replayed_at: Timestamp | None
    age_seconds: float | None
    receiving: bool
    caught_up: bool | None


class InvestigateResult(Result, frozen=True, kw_only=True):
    """The unique indexes, the counts, and the first blocked families, with raw ids.

    Attributes:
        standby: how old the answer is; null: the server is the primary.
        complete: false: row level security hides rows from the role, and the counts are too low.
        safe: whether the preflight lets the fix be applied now.
    """

    standby: StandbyAge | None
    complete: bool
    safe: bool
    indexes: Indexes
    counts: Counts
    blocked: list[BlockedFamily]


class ExplainResult(Result, frozen=True, kw_only=True):
    """The threads of one family, with raw ids; null and empty: it was not found."""

    root: UUID | None
    owner: UUID | None
    threads: list[Thread]


class PlannedStep(Result, frozen=True, kw_only=True):
    """A step that would be run: its SQL, the strongest lock that it takes, the reason."""

    name: str
    sql: list[str]
    lock: str
    why: str


class PlanResult(Result, frozen=True, kw_only=True):
    """The preflight and the steps to a target; duplicates: the file with the keys that prevent it."""

    change: ChangeDefinition
    target: IndexKind
    safe: bool
    checks: list[Check]
    steps: list[PlannedStep]
    duplicates: str | None


class ChangeResult(Result, frozen=True, kw_only=True):
    """The steps of `apply` and `rollback` that were run, and the verification after them.

    Attributes:
        incident_ended_at: when the original index stopped rejecting inserts; null: this command did not end it.
    """

    change: ChangeDefinition
    target: IndexKind
    steps: list[StepResult]
    incident_ended_at: Timestamp | None
    verification: list[Check]


class VerifyResult(Result, frozen=True, kw_only=True):
    """Whether the fixed index is the only one enforced, by definition, flags and, where asked for, probes."""

    change: ChangeDefinition
    enforced: bool
    standby: StandbyAge | None
    verification: list[Check]


class NamedEnvironment(Result, frozen=True, kw_only=True):
    """An environment, and how its name resolves; never its address."""

    environment: str
    resolves_by: str


class EnvironmentsResult(Result, frozen=True, kw_only=True):
    """The environments that resolve here."""

    environments: list[NamedEnvironment]


class AccessResult(Result, frozen=True, kw_only=True):
    """What the role may do in an environment, a check for each right."""

    checks: list[Check]


class WatchResult(Result, frozen=True, kw_only=True):
    """The recovery at one time; rejected: inserts since the fix, null without a log."""

    blocked: int
    recovered: int
    since: Timestamp
    rejected: int | None


class ReportResult(Result, frozen=True, kw_only=True):
    """The files of a report, the page first, and what people have still to write in it."""

    files: list[str]
    unfinished: list[str]


class RunSummary(Result, frozen=True, kw_only=True):
    """A run of an environment: when, by what, how it ended, and what a report takes from it.

    Attributes:
        change: that it planned and made.
        blocked_before, blocked_after: families blocked for chat in the two snapshots; null: unknown, or no snapshot.
        use: what a report over the environment takes from the run.
        counts_before, counts_after: all counts, in `runs compare` alone.
    """

    run: str
    environment: str
    folder: str
    started_at: Timestamp
    started_by: str
    change: str
    status: str
    recorded: bool
    blocked_before: int | None
    blocked_after: int | None
    use: str
    counts_before: Counts | None = None
    counts_after: Counts | None = None


class RunsResult(Result, frozen=True, kw_only=True):
    """Runs, the latest first (`runs`), or the two that were named (`runs compare`)."""

    runs: list[RunSummary]


class DeletedResult(Result, frozen=True, kw_only=True):
    """The run whose folder was deleted."""

    run: str


class EndedRun(Result, frozen=True, kw_only=True):
    """How the run of one environment ended.

    Attributes:
        change: that it planned and made.
        blocked_before, blocked_after: families blocked for chat; null: unknown, or no snapshot.
        conflicts_before, conflicts_after: provider conflicts, likewise.
    """

    environment: str
    folder: str
    status: str
    seconds: float
    change: str
    blocked_before: int | None
    blocked_after: int | None
    conflicts_before: int | None
    conflicts_after: int | None
    error: ErrorMessage | None


class RunResults(Result, frozen=True, kw_only=True):
    """How the run of each environment ended, and the report over all of them."""

    runs: list[EndedRun]
    report: str


class FamilyAttempts(Result, frozen=True, kw_only=True):
    """The rejected inserts of one family; what its threads say of it: null without an environment."""

    root_prompt_row_id: UUID
    owner_id: UUID | None
    attempts: int
    first: Timestamp | None
    last: Timestamp | None
    threads: int | None = None
    blocked: bool | None = None
    chat_at: Timestamp | None = None
    tries: int | None = None


class FailuresResult(Result, frozen=True, kw_only=True):
    """The rejected inserts of some logs, with raw ids.

    Attributes:
        rejected_inserts: their numbers; with an environment, also what the threads of their families show.
        unread: logs from which nothing was understood.
        by_role: rejected inserts by the server's role; by_purpose: as far as their statements are logged.
        attempts: a family each, those with most rejected inserts first.
    """

    rejected_inserts: RejectedInserts
    unread: list[UnreadLog]
    by_role: dict[str, int]
    by_purpose: dict[str, int]
    attempts: list[FamilyAttempts]


RESULTS: dict[str, Any] = {
    "investigate": InvestigateResult,
    "explain": ExplainResult,
    "failures": FailuresResult,
    "scan": ScanFindings,
    "plan": PlanResult,
    "apply": ChangeResult,
    "rollback": ChangeResult,
    "verify": VerifyResult,
    "rehearse": RehearsalReport,
    "claims": ClaimsReport,
    "env list": EnvironmentsResult,
    "env check": AccessResult,
    "watch": WatchResult,
    "report": ReportResult,
    "run": RunResults,
    "runs": RunsResult,
    "runs compare": RunsResult,
    "runs delete": DeletedResult,
}
