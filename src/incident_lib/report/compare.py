"""The environments of a report beside each other: the finding over all, and a row of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import PURPOSES, format_families, format_server, join_names, plural
from incident_lib.report import charts
from incident_lib.report.document import table

if TYPE_CHECKING:
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Table

MOMENTS = ("before", "after")


def latest_chapters(chapters: tuple[Chapter, ...]) -> tuple[Chapter, ...]:
    """The latest run of each environment, in the order of the first."""
    found: dict[str, Chapter] = {}
    for chapter in chapters:
        known = found.get(chapter.environment)
        if known is None or chapter.record["started_at"] >= known.record["started_at"]:
            found[chapter.environment] = chapter
    return tuple(found.values())


def headline(chapters: tuple[Chapter, ...]) -> str:
    """The finding over all environments, as a title."""
    chapters = latest_chapters(chapters)
    if len(chapters) == 1 and chapters[0].before:
        return charts.before_after(chapters[0].before, chapters[0].after, chapters[0].ended).title
    seen = [chapter.before.blocked.chat for chapter in chapters if chapter.before]
    known = [number for number in seen if number is not None]
    if not known:
        return "Nothing was seen in any environment" if chapters else "No run has been recorded"
    fixed = sum(chapter.is_fixed for chapter in chapters)
    return (
        f"{format_families(sum(known))} in {plural(len(known), 'environment')} could not start a chat; "
        f"fixed in {fixed} of {len(chapters)}"
    )


def group_rows(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Rows that begin with an environment; those that say the same of several as one."""
    found: dict[tuple[object, ...], list[str]] = {}
    for environment, *said in rows:
        found.setdefault(tuple(said), []).append(str(environment))
    return [(join_names(names), *said) for said, names in found.items()]


def blocked_table(chapters: tuple[Chapter, ...]) -> Table:
    """The families blocked in each environment, before and after."""
    rows: list[tuple[object, ...]] = [
        (c.environment, *(c.number(moment, purpose) for purpose in PURPOSES for moment in MOMENTS)) for c in chapters
    ]
    numbers = "chat before|chat after|run before|run after"
    return table(f"environment|{numbers}", rows, numbers=numbers)


def comparison_table(chapters: tuple[Chapter, ...]) -> Table:
    """The environments beside each other: outcome, unique index, families blocked for chat, and how large they are."""
    rows: list[tuple[object, ...]] = [
        (
            c.environment,
            c.ended or "succeeded",
            *(c.state(moment) for moment in MOMENTS),
            *(c.number(moment, "chat") for moment in MOMENTS),
            *(f"{getattr(c.last, word):,}" if c.last else "–" for word in ("families", "active_threads")),
        )
        for c in chapters
    ]
    numbers = "blocked before|after|families|active threads"
    return table(f"environment|outcome|unique index before|unique index after|{numbers}", rows, numbers=numbers)


def runs_tables(chapters: tuple[Chapter, ...]) -> tuple[Table, Table]:
    """The runs that the report was made from, a row each; and what each was made with."""
    ran: list[tuple[object, ...]] = [
        (
            c.environment,
            c.folder,
            c.record["started_at"],
            c.record["finished_at"] or "–",
            c.ended or "succeeded",
            format_server(c.record["server_version"]),
        )
        for c in chapters
    ]
    made: list[tuple[object, ...]] = [
        (
            c.environment,
            ", ".join(f"{n['name']} {n['outcome']}" for n in c.record["notebooks"]) or "none",
            c.record["git_commit"] or "unknown",
            ", ".join(f"{name} {number}" for name, number in c.record["versions"].items()),
        )
        for c in chapters
    ]
    return (
        table("environment|run|started (UTC)|finished (UTC)|outcome|server", ran),
        table("environment|notebooks|commit|versions", made),
    )
