"""Every table that the project shows: its columns are defined here once, for DataFrames, terminal, HTML and Markdown.

A function takes typed values and returns a `Table`: columns, and rows of raw values. Who shows it decides how:
`notebook.frames` makes a DataFrame of it, `cli.terminal` prints it, the report renders it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from incident_lib.model.counts import COUNT_MEANINGS, Counts, count_name
from incident_lib.model.timestamps import format_minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from incident_lib.model.catalog import Catalog
    from incident_lib.model.checks import Check
    from incident_lib.model.plan import Plan, StepResult
    from incident_lib.model.pseudonyms import Pseudonyms
    from incident_lib.model.records import BlockerCount, ClaimResult, RehearsalStep, RejectedInserts, ResidualConflicts
    from incident_lib.model.scan import RedundantRule, ScanFindings, Suspect, UniqueRule
    from incident_lib.model.threads import BlockedFamily, Thread

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in a DataFrame, in CSV and in JSON.
        title: the heading that people read; the name with spaces if empty.
        dtype: in a DataFrame; whole numbers are aligned to the right.
        code: whether its cells are code.
        missing: what stands for None.
        decimals: of a number that is not whole; None: as many as it has.
    """

    name: str
    title: str = ""
    dtype: str = "str"
    code: bool = False
    missing: str = UNKNOWN
    decimals: int | None = None

    @property
    def heading(self) -> str:
        """The heading that people read."""
        return self.title or self.name.replace("_", " ")

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers, which are aligned to the right."""
        return self.dtype in {"Int64", "Float64"}

    def format(self, value: object) -> str:
        """A cell as people read it: thousands separated, times in UTC to the minute, lists with commas."""
        if value is None:
            return self.missing
        for kind, form in _FORMATS:
            if isinstance(value, kind):
                return form(value)
        if isinstance(value, float) and self.decimals is not None:
            return f"{value:,.{self.decimals}f}"
        return str(value)


_FORMATS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (bool, lambda value: "yes" if value else "no"),
    (int, "{:,}".format),
    (datetime, format_minute),
    ((tuple, list), lambda values: ", ".join(map(str, values)) or "nothing"),
)


@dataclass(frozen=True)
class Table:
    """A table: its columns, and a row of raw values for each thing in it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """The rows as people read them."""
        return [tuple(c.format(v) for c, v in zip(self.columns, row, strict=True)) for row in self.rows]

    def only(self, *names: str) -> Table:
        """The columns of these names alone."""
        places = [place for place, column in enumerate(self.columns) if column.name in names]
        rows = (tuple(row[place] for place in places) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in places), rows=tuple(rows))

    def titled(self, title: str) -> Table:
        """The same table under a title."""
        return replace(self, title=title)

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the columns."""
        return tuple(column.heading for column in self.columns)


def make_table(columns: Sequence[Column | str], rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """A table of these columns, of which those that are only text may be given by their heading."""
    made = tuple(Column(column) if isinstance(column, str) else column for column in columns)
    return Table(made, tuple(tuple(row) for row in rows), title)


def number(name: str, title: str = "", *, missing: str = UNKNOWN) -> Column:
    """A column of whole numbers."""
    return Column(name, title, "Int64", missing=missing)


CHECKS = (Column("check"), Column("status"), Column("finding"), Column("action", missing="–"))
INDEXES = (Column("index"), Column("kind"), Column("key"), Column("flags"), Column("enforced", dtype="boolean"))
PURPOSES = (Column("purpose"), number("active_threads"))
BLOCKED = (
    Column("root"),
    Column("owner"),
    Column("blocked_for"),
    Column("since", dtype="datetime64[us, UTC]"),
    Column("blocking_thread"),
    Column("blocking_purpose"),
    Column("blocking_provider", missing="none"),
)
BLOCKERS = (
    Column("blocked_for"),
    Column("purpose", "purpose of the blocking thread", missing="none"),
    Column("provider", missing="none"),
    number("families"),
)
RESIDUAL = (Column("provider", missing="none"), number("active_threads"), number("families"))
ATTEMPTS = (
    Column("root"),
    Column("owner", missing="none"),
    Column("first", "first (UTC)", "datetime64[us, UTC]"),
    Column("last", "last (UTC)", "datetime64[us, UTC]"),
    number("attempts"),
    Column("succeeded_at", "got a chat (UTC)", "datetime64[us, UTC]", missing="not yet"),
)
PLAN = (Column("step"), Column("sql", "SQL", code=True), Column("lock", "strongest lock"), Column("why"))
STEPS = (
    Column("step"),
    Column("sql", "SQL", code=True),
    Column("seconds", dtype="Float64", decimals=3),
    Column("outcome"),
)
CLAIMS = (Column("claim", "the plan's claim"), Column("verdict"), Column("result"), Column("how", "how it was tested"))
REHEARSAL = (Column("step"), Column("outcome"), Column("seconds", dtype="Float64"))
THREADS = (
    Column("thread"),
    Column("created_at", "created (UTC)", "datetime64[us, UTC]"),
    Column("purpose"),
    Column("provider", missing="none"),
    Column("is_active", "active", "boolean"),
    Column("blocks", "blocks now"),
    Column("would_block", "blocks with the fixed index"),
)
REDUNDANT = (
    Column("table"),
    Column("narrow", "the narrower rule"),
    Column("wide", "without effect"),
    Column("remark", missing="–"),
)
SUSPECTS = (Column("index"), Column("column"), Column("speaks", "for/against"), Column("reason"))


def counts_table(**snapshots: Counts | None) -> Table:
    """The counts by name, a column for each snapshot, and what each count means."""
    by_snapshot = {name: counts.by_name() if counts else {} for name, counts in snapshots.items()}
    columns = (Column("count"), *(number(name) for name in snapshots), Column("meaning", "what it counts"))
    rows = [
        (count_name(name), *(by_snapshot[snapshot].get(name) for snapshot in snapshots), meaning)
        for name, meaning in COUNT_MEANINGS.items()
    ]
    return make_table(columns, rows)


def purposes_table(counts: Counts) -> Table:
    """The active threads by purpose, whatever the column holds."""
    return make_table(PURPOSES, counts.active_by_purpose.items())


def indexes_table(catalog: Catalog) -> Table:
    """The unique indexes of the table: name, kind, key, flags, whether PostgreSQL enforces it."""
    rows = [
        (
            index.name,
            index.kind.value,
            ", ".join(c or "(expression)" for c in index.columns),
            index.flags(),
            index.enforced,
        )
        for index in catalog.relevant_indexes
    ]
    return make_table(INDEXES, rows)


def checks_table(checks: Iterable[Check]) -> Table:
    """Checks: name, status, finding, action."""
    return make_table(CHECKS, ((c.name, c.status.value, c.finding, c.action or None) for c in checks))


def plan_table(plan: Plan) -> Table:
    """The steps of a plan: its SQL, the strongest lock, the reason."""
    return make_table(PLAN, ((s.name, ";\n".join(s.sql), s.lock, s.why) for s in plan.steps))


def steps_table(steps: Iterable[StepResult]) -> Table:
    """The steps that were run: SQL, seconds, outcome."""
    return make_table(STEPS, ((s.name, ";\n".join(s.sql), round(s.seconds, 3), s.outcome) for s in steps))


def blocked_table(families: Iterable[BlockedFamily], names: Pseudonyms | None) -> Table:
    """Blocked families; ids as pseudonyms or, where `names` is None, raw."""

    def name(word: str, value: Any) -> Any:
        return str(value) if names is None else names.name(word, value)

    def scrub(text: str | None) -> Any:
        return text if names is None or text is None else names.scrub(text)

    rows = [
        (
            name("root", f.root_prompt_row_id),
            name("owner", f.owner_id),
            f.blocked_for,
            f.since,
            name("thread", f.blocking_thread),
            scrub(f.blocking_purpose),
            scrub(f.blocking_provider),
        )
        for f in families
    ]
    return make_table(BLOCKED, rows)


def blockers_table(kinds: Iterable[BlockerCount]) -> Table:
    """How many families are blocked by each kind of thread."""
    return make_table(BLOCKERS, ((k.blocked_for, k.purpose, k.provider, k.families) for k in kinds))


def residual_table(residual: ResidualConflicts) -> Table:
    """The provider conflicts, by the provider whose threads have the key."""
    return make_table(RESIDUAL, ((c.provider, c.active_threads, c.families) for c in residual.by_provider))


def threads_table(threads: Iterable[Thread], names: Pseudonyms | None) -> Table:
    """The threads of a family, and the purposes that each blocks now and with the fixed index."""
    rows = [
        (
            str(t.row_id) if names is None else names.name("thread", t.row_id),
            t.created_at,
            t.purpose,
            t.provider,
            t.is_active,
            t.blocks,
            t.would_block,
        )
        for t in threads
    ]
    return make_table(THREADS, rows)


def claims_table(claims: Iterable[ClaimResult]) -> Table:
    """The claims of the fix plan: the verdict, the results, how each was tested."""
    return make_table(CLAIMS, ((c.claim, c.verdict.value, c.result, c.how) for c in claims))


def rehearsal_table(steps: Iterable[RehearsalStep]) -> Table:
    """The steps of a rehearsal: outcome and seconds."""
    return make_table(REHEARSAL, ((s.name, s.outcome, s.seconds) for s in steps))


REJECTED_INSERT_MEANINGS = {
    "failed_attempts": "inserts that the unique index rejected, from the server logs",
    "families": "families with rejected inserts",
    "owners": "users with rejected inserts",
    "hit_and_blocked": "families with rejected inserts that were blocked for chat when the logs were read",
    "hit_not_blocked": "families with rejected inserts that were not blocked for chat then",
    "blocked_never_hit": "families that were blocked for chat then, without a rejected insert",
    "got_a_chat": "families with rejected inserts that got a chat later",
    "without_a_chat": "families with rejected inserts that have not got a chat since",
    "without_their_chat": "families with rejected inserts whose chats have all been ended",
    "without_threads": "families with rejected inserts that have no thread in this table",
    "runs": "of the rejected inserts, those that name a provider, as runs do and chats never do",
    "before_purpose": "rejected inserts before the column purpose was added: not the incident's, in no other count",
    "by_provider": "rejected because of a thread of the same purpose, of another provider; in no other count",
}
_REJECTED_NAMES = {
    "failed_attempts": "rejected inserts",
    "owners": "users",
    "hit_and_blocked": "rejected and blocked",
    "hit_not_blocked": "rejected, not blocked",
    "blocked_never_hit": "blocked, never rejected",
}


def rejected_inserts_table(found: Mapping[str, RejectedInserts]) -> Table:
    """Rejected inserts, a column for each environment (or for the only one), and what each count means."""
    columns = (Column("count"), *(number(name, name) for name in found), Column("meaning", "what it counts"))
    rows = [
        (_REJECTED_NAMES.get(name, name.replace("_", " ")), *(getattr(each, name) for each in found.values()), meaning)
        for name, meaning in REJECTED_INSERT_MEANINGS.items()
    ]
    return make_table(columns, rows)


def redundant_table(findings: ScanFindings) -> Table:
    """Two unique rules of a table, of which the wider one has no effect."""
    rows = [(r.table, _rule(r.narrow), _rule(r.wide), " ".join(_remarks(r)) or None) for r in findings.redundant]
    return make_table(REDUNDANT, rows)


def _remarks(pair: RedundantRule) -> list[str]:
    answered = [f"Answered: both are needed, on {pair.answered_both}."] if pair.answered_both else []
    return [*answered, *pair.remarks]


def _rule(rule: UniqueRule) -> str:
    return f"{rule.index} ({', '.join(rule.key)}){', partial' if rule.partial else ''}"


def suspects_table(findings: ScanFindings) -> Table:
    """The columns that may belong in the keys of the examined indexes: a row for each reason, for it or against it."""
    rows = [
        (index.index, suspect.column, *reason)
        for index in findings.examined
        for suspect in index.suspects
        for reason in _reasons(suspect)
    ]
    return make_table(SUSPECTS, rows)


def _reasons(suspect: Suspect) -> list[tuple[str, str]]:
    answered = [("answered", f"no, on {suspect.answered_no}")] if suspect.answered_no else []
    return [
        *answered,
        *(("for", text) for text in suspect.reasons),
        *(("against", text) for text in suspect.objections),
    ]
