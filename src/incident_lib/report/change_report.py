"""The short report of a change of another table: what it is, the index before, the steps, the index after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.model import (
    ChangeDefinition,
    Column,
    IndexKind,
    RunStatus,
    Status,
    UsageError,
    as_type,
    change_command,
    format_duration,
    format_minute,
    format_server,
    format_timestamp,
    make_table,
    plural,
    sanitize,
)
from incident_lib.records import latest_rehearsal, read_changes
from incident_lib.report.chapter import checks
from incident_lib.report.document import Bullets, Card, Code, Paragraph, Part, Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.model import ChangeRecord, IndexChange, Indexes, RehearsalReport, StepResult, Table
    from incident_lib.report.document import Block

DEFINITIONS = (Column("index"), Column("definition", code=True), Column("flags"))
STEPS = (
    Column("step"),
    Column("began", "began (UTC)"),
    Column("seconds", dtype="Float64", decimals=3),
    Column("outcome"),
)
_NOT_SHOWN = (
    "No row, no value of a key and no id is in this report, and nothing of what other sessions sent.",
    "It is made from the records of the commands that made the change: a change by other means is not in it.",
)


@dataclass(frozen=True)
class ChangeReport:
    """What was done to one index in one environment.

    Attributes:
        attempts: the commands of the change that is told, the earliest first: the last one ended it, or did not.
        earlier: the commands before them: the change was made, rolled back, or tried.
        rehearsal: of the same change, before it.
    """

    attempts: tuple[ChangeRecord, ...]
    earlier: tuple[ChangeRecord, ...] = ()
    rehearsal: RehearsalReport | None = None

    @property
    def kind(self) -> str:
        """What it is."""
        return "Change of an index"

    @property
    def unfinished(self) -> list[str]:
        """Nothing: people write nothing into it."""
        return []

    @property
    def last(self) -> ChangeRecord:
        """The command that ended the change, or did not."""
        return self.attempts[-1]

    @property
    def change(self) -> ChangeDefinition:
        """What changes."""
        return self.last.change

    @property
    def is_done(self) -> bool:
        """Whether the last command succeeded, and its verification holds."""
        found = self.last.verification or []
        return self.last.status is RunStatus.SUCCEEDED and all(check.status is not Status.FAIL for check in found)

    @property
    def status(self) -> str:
        """How it ended, in a word or two."""
        if self.is_done:
            return "applied" if self.last.target is IndexKind.FIXED else "rolled back"
        return {RunStatus.RUNNING: "not finished", RunStatus.SUCCEEDED: "not verified"}.get(
            self.last.status, str(self.last.status)
        )

    @property
    def title(self) -> str:
        """The finding: which key the index has, and since when; or that it was not changed."""
        where = f"{self.change.table}: {self.change.index}"
        if not self.is_done:
            return f"{where}: the change is {self.status}"
        key = self.change.key_after if self.last.target is IndexKind.FIXED else self.change.key_before
        again = "" if self.last.target is IndexKind.FIXED else "again "
        at = self.last.ended_at or self.last.finished_at
        since = f" since {format_minute(at)} UTC" if at else ""
        return f"{where} {again}has the key ({', '.join(key)}){since}"

    @property
    def head(self) -> ChangeReport:
        """The cards are its own."""
        return self

    @property
    def steps(self) -> list[StepResult]:
        """The steps of all attempts."""
        return [step for attempt in self.attempts for step in attempt.steps]

    @property
    def cards(self) -> tuple[Card, ...]:
        """How it ended, the steps, how long they took, how large the index is."""
        seconds = sum(step.seconds for step in self.steps)
        names = ", ".join(dict.fromkeys(step.name for step in self.steps)) or "none was run"
        began = f"begun {format_minute(self.attempts[0].started_at)} UTC"
        return (
            Card("Status", self.status, f"environment {self.last.environment}"),
            Card("Steps", str(len(self.steps)), names),
            Card("Duration of the steps", format_duration(seconds), began),
            Card("Rows in the index", f"{self.attempts[0].rows:,}", "about, by the statistics"),
        )

    @property
    def table(self) -> Table:
        """The cards as a table."""
        return make_table(
            [card.label for card in self.cards], [[f"{card.number} ({card.detail})" for card in self.cards]]
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Where, when, and what made the report."""
        versions = self.last.versions.get("incident-lib", "unknown")
        finished = self.last.finished_at
        return [
            ("Environment", self.last.environment),
            ("Change", self.change.name),
            ("Began (UTC)", format_timestamp(self.attempts[0].started_at)),
            ("Ended (UTC)", format_timestamp(finished) if finished else "not known: the command did not end"),
            ("Server", format_server(self.last.server_version)),
            ("Made from", f"incident-lib {versions}, {plural(len(self.attempts) + len(self.earlier), 'record')}"),
        ]

    @property
    def sections(self) -> tuple[Section, ...]:
        """Every section that has something to say."""
        found = (
            Section("change", "What changes", tuple(self._what())),
            Section("before", "Before", tuple(self._before())),
            Section("steps", "Steps", tuple(self._steps())),
            Section("after", "After", tuple(self._after())),
            Section("earlier", "Earlier", self._earlier()),
            Section("not-shown", "What is not in this report", (Bullets(_NOT_SHOWN),)),
        )
        return tuple(section for section in found if section.blocks)

    def _what(self) -> Iterator[Block]:
        change = self.change
        added = ", ".join(part for part in change.key_after if part not in change.key_before)
        what = "UNIQUE constraint" if change.constraint else "unique index"
        yield Paragraph(
            f"The key of the {what} {change.index} of {change.table} gets {added}: rows that differ in {added} alone "
            "are accepted beside each other."
        )
        rows = change.predicate or "all"
        keys = (
            ("before", change.key_before, change.nulls_not_distinct_before),
            ("after", change.key_after, change.nulls_not_distinct_after),
        )
        yield make_table(
            ("", "key", "rows", "NULL in the key"),
            [(when, f"({', '.join(key)})", rows, _nulls(not_distinct)) for when, key, not_distinct in keys],
        )
        if self.last.error:
            error = self.last.error
            yield Paragraph(f"{error.what} {error.why} {error.next}", "failed")

    def _before(self) -> Iterator[Block]:
        first = self.attempts[0]
        yield _definitions(first.before)
        if found := checks([check for check in first.preflight if check.status in {Status.WARN, Status.FAIL}]):
            yield Part("What the preflight warned of", (found,))
        if every := checks(first.preflight):
            yield Part("Every check of the preflight", (every,), folded=True)
        if self.rehearsal:
            at = format_timestamp(self.rehearsal.rehearsed_at)
            yield Paragraph(f"Rehearsed {at} UTC. {self.rehearsal.why}")

    def _steps(self) -> Iterator[Block]:
        if not self.steps:
            yield Paragraph("No step was run.")
            return
        rows = ((s.name, format_timestamp(s.started_at), s.seconds, s.outcome) for s in self.steps)
        yield make_table(STEPS, rows)
        if ended := self.last.ended_at:
            which = "before" if self.last.target is IndexKind.FIXED else "after"
            yield Paragraph(
                f"The index {which} the change rejects no insert any more since {format_timestamp(ended)} UTC."
            )
        yield Code("The SQL of the steps", "".join(f"{text};\n" for step in self.steps for text in step.sql))

    def _after(self) -> Iterator[Block]:
        if self.last.after is None:
            yield Paragraph("The indexes were not read after the steps.", "note")
            return
        yield _definitions(self.last.after)
        if verification := checks(self.last.verification):
            yield Part("Verification", (verification,))

    def _earlier(self) -> tuple[Block, ...]:
        acts = {IndexKind.FIXED: "apply", IndexKind.ORIGINAL: "rollback"}
        rows = [(format_timestamp(r.started_at), acts[r.target], str(r.status), len(r.steps)) for r in self.earlier]
        columns = ("began (UTC)", "command", "outcome", Column("steps", dtype="Int64"))
        return (make_table(columns, rows),) if rows else ()


def read_change_report(environment: str, change: IndexChange) -> ChangeReport:
    """The report of a change in one environment, from the records of its commands.

    Raises:
        UsageError: none was recorded, or a record cannot be read.
    """
    definition = ChangeDefinition.of(change)
    records = [sanitize_record(record) for record in read_changes(environment, definition)]
    if not records:
        raise UsageError(
            f"No command has made the change {change.name} in {environment!r}.",
            "Its report is made from the records of `incident apply` and `incident rollback`.",
            f"Read first: {change_command('plan', environment, change.name)}",
        )
    told = _attempts(records)
    return ChangeReport(
        tuple(records[-told:]), tuple(records[:-told]), _rehearsed(environment, definition, records[-told])
    )


def sanitize_record(record: ChangeRecord) -> ChangeRecord:
    """The same with every text in it made safe to show."""
    import msgspec

    plain = msgspec.json.decode(msgspec.json.encode(record))  # noqa: TID251 - to no type
    return as_type(sanitize(plain), type(record))


def _attempts(records: Sequence[ChangeRecord]) -> int:
    """How many of the last commands are one change: the last one, and those before it that did not end it."""
    count = 1
    for record in reversed(records[:-1]):
        if record.status is RunStatus.SUCCEEDED or record.target is not records[-1].target:
            break
        count += 1
    return count


def _rehearsed(environment: str, change: ChangeDefinition, first: ChangeRecord) -> RehearsalReport | None:
    """The rehearsal of the same change, where it was before it."""
    found = latest_rehearsal(environment)
    same = found and found.change.table == change.table and found.change.key_after == change.key_after
    return found if found and same and found.rehearsed_at <= first.started_at else None


def _definitions(indexes: Indexes) -> Table:
    return make_table(DEFINITIONS, ((index.name, index.definition, index.flags) for index in indexes.definitions))


def _nulls(not_distinct: bool) -> str:
    return "equal to NULL" if not_distinct else "never equal to NULL"
