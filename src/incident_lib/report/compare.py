"""The environments of a report beside each other: the finding over all of them, and a row for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.model import (
    PURPOSES,
    Column,
    format_blocked,
    format_minute,
    format_server,
    format_timestamp,
    join_names,
    make_table,
    plural,
)
from incident_lib.report import charts
from incident_lib.report.recorded import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from incident_lib.model import RunRecord, Table
    from incident_lib.report.chapter import Chapter


MOST_NAMED = 4  # environments that a row names; of more, how many


def number(name: str) -> Column:
    """A column of whole numbers, which stand for themselves; a text in it says why there is no number."""
    return Column(name, name, "Int64")


def headline(chapters: tuple[Chapter, ...]) -> str:
    """The finding over all environments, as a title."""
    if len(chapters) == 1 and chapters[0].has_provider and chapters[0].is_fixed:
        return _both_changes(chapters[0])
    if len(chapters) == 1 and chapters[0].latest:
        if told := _exception(chapters[0]):
            return told
        title = charts.before_after(chapters[0].before, chapters[0].after, chapters[0].ended).title
        return f"{title} by another purpose{remaining}" if (remaining := _still_conflicting(chapters)) else title
    counted = [chapter.before.blocked.chat for chapter in chapters if chapter.before]
    known = [families for families in counted if families is not None]
    if not known:
        return "No blocked families were counted in any environment" if chapters else "No run has been recorded"
    fixed = sum(chapter.is_fixed for chapter in chapters)
    where = f" in {plural(len(known), 'environment')}"
    least = "At least " if any(chapter.hides_rows for chapter in chapters) else ""
    found = f"{least}{format_blocked(sum(known), where=where)}"
    return f"{found}; fixed in {fixed} of {len(chapters)}{_still_conflicting(chapters)}"


def _exception(chapter: Chapter) -> str:
    """The finding where no snapshot is from before the fix, where it is gone, or rows are hidden; empty elsewhere."""
    if chapter.is_fixed and chapter.before is None:
        seen = "No family is blocked for chat now; no snapshot is from before the fix"
        return f"{seen}{_still_conflicting((chapter,))}"
    now = chapter.latest.blocked.chat if chapter.latest else None
    if chapter.is_undone and now is not None:
        return f"{format_blocked(now, ('is', 'are'))} again: the fix is not in place any more"
    if not chapter.hides_rows or chapter.is_fixed:
        return ""
    if now is None:
        return "It cannot be told which families are blocked: row level security hides rows"
    return f"At least {format_blocked(now, ('is', 'are'))}: row level security hides rows"


def _both_changes(chapter: Chapter) -> str:
    """What there is of both causes now, and since when, where `provider` has been applied after the fix."""
    was = chapter.before.blocked.chat if chapter.before else None
    fixed_at = chapter.record.incident_ended_at
    since = f" since {format_minute(fixed_at)} UTC" if fixed_at else ""
    by_purpose, provider = f"0 blocked by purpose{since}", chapter.following
    by_provider = f"{provider.conflicts:,} conflicts by provider{provider.since}" if provider else ""
    return "; ".join(filter(None, (format_blocked(was) if was else "", by_purpose, by_provider)))


def _still_conflicting(chapters: tuple[Chapter, ...]) -> str:
    """What the fix leaves, where it was applied in every environment; empty where it leaves nothing."""
    if not all(chapter.is_fixed and chapter.now and (chapter.after or chapter.has_provider) for chapter in chapters):
        return ""
    conflicts = sum(chapter.now.residual_conflicts for chapter in chapters if chapter.now)
    if chapters and all(chapter.has_provider for chapter in chapters):
        return f"; {plural(conflicts, 'conflict')} by provider"
    return (
        f"; {plural(conflicts, 'thread')} still {'conflicts' if conflicts == 1 else 'conflict'} by provider"
        if conflicts
        else ""
    )


def of_one(chapters: Sequence[Chapter], table: Table) -> Table:
    """The same table without the environment's column where the report is about one alone."""
    names = [column.name for column in table.columns if column.name != "environment"]
    return table.only(*names) if len(chapters) == 1 else table


def group_rows(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows that begin with an environment; equal rows of several environments become one row that names them."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for environment, *cells in rows:
        found.setdefault(tuple(cells), []).append(str(environment))
    return [(join_names(names, MOST_NAMED), *cells) for cells, names in found.items()]


def blocked_by_environment(chapters: tuple[Chapter, ...]) -> Table:
    """The families blocked in each environment, before and after."""
    headings = [f"{purpose} {snapshot}" for purpose in PURPOSES for snapshot in SNAPSHOTS]
    return make_table(
        ("environment", *map(number, headings)),
        (
            (c.environment, *(c.number(snapshot, purpose) for purpose in PURPOSES for snapshot in SNAPSHOTS))
            for c in chapters
        ),
    )


def comparison_table(chapters: tuple[Chapter, ...]) -> Table:
    """The environments beside each other: outcome, unique index, families blocked for chat, and their size."""
    columns: tuple[Column | str, ...] = (
        *("environment", "outcome", "unique index before", "unique index after"),
        *map(number, ("blocked before", "blocked after", "families", "active threads")),
    )
    return make_table(
        columns,
        (
            (
                c.environment,
                c.ended or "succeeded",
                *(c.state(snapshot) for snapshot in SNAPSHOTS),
                *(c.number(snapshot, "chat") for snapshot in SNAPSHOTS),
                *((c.latest.families, c.latest.active_threads) if c.latest else ("–", "–")),
            )
            for c in chapters
        ),
    )


def runs_tables(chapters: tuple[Chapter, ...]) -> tuple[Table, Table]:
    """The runs that the report is made of, a row each; and the notebooks and versions of each."""
    ran = (
        (
            c.environment,
            folder,
            format_timestamp(record.started_at),
            format_timestamp(record.finished_at) if record.finished_at else "–",
            outcome,
            format_server(record.server_version),
        )
        for c in chapters
        for folder, record, outcome in _all_runs(c)
    )
    made = (
        (
            c.environment,
            ", ".join(f"{notebook.name} {notebook.outcome}" for notebook in c.record.notebooks) or "none",
            c.record.git_commit,
            ", ".join(f"{name} {version}" for name, version in c.record.versions.items()),
        )
        for c in chapters
    )
    return (
        make_table(("environment", "run", "started (UTC)", "finished (UTC)", "outcome", "server"), ran),
        make_table(("environment", "notebooks", "commit", "versions"), made),
    )


def _all_runs(chapter: Chapter) -> list[tuple[str, RunRecord, str]]:
    """The runs of the fix, and those of the change after it that are not among them."""
    named = {folder for folder, _, _ in chapter.runs}
    of_provider = chapter.following.runs if chapter.following else []
    return [*chapter.runs, *(run for run in of_provider if run[0] not in named)]
