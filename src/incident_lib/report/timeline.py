"""The timeline: what happened when, in UTC, and how each row is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import format_families, format_timestamp
from incident_lib.records import status_now
from incident_lib.report.compare import group_rows
from incident_lib.report.document import Bullets, Paragraph, table
from incident_lib.report.notes import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block
    from incident_lib.report.notes import Notes

SERVER, HERE = "the server's clock", "the clock where it ran"
MOST_IN_FULL = 3  # environments whose every step is a row


def timeline(chapters: Sequence[Chapter], notes: Notes) -> tuple[Block, ...]:
    """What people know and what the runs saw, in one table, the earliest first."""
    in_full = len(chapters) <= MOST_IN_FULL
    found = [("", event) for event in notes.events]
    found += [(chapter.environment, event) for chapter in chapters for event in _events(chapter, in_full=in_full)]
    if not found:
        return (Paragraph("No moment is known.", "note"),)
    found.sort(key=lambda pair: pair[1].at)
    same = group_rows([(where or "–", format_timestamp(e.at), e.what, e.source) for where, e in found])
    rows: list[tuple[object, ...]] = [(at, where, what, source) for where, at, what, source in same]
    more = "" if in_full else "Of so many environments only what matters most is here; steps are under Resolution."
    return (table("UTC|environment|what happened|source", rows), *((Bullets((more,)),) if more else ()))


def _events(chapter: Chapter, *, in_full: bool) -> Iterator[Event]:
    """The moments of one run, those of its own making only if wanted."""
    yield from _story(chapter)
    if in_full:
        yield from _work(chapter)


def _story(chapter: Chapter) -> Iterator[Event]:
    if since := chapter.moment("purpose_since"):
        yield Event(since, "The column purpose came; threads that existed became runs.", "parameter purpose_since")
    if line := chapter.line:
        first, count = line.points[0]
        yield Event(
            first, f"{format_families(count)} of those blocked later for chat were blocked by now.", "q_threads"
        )
    for which in ("first", "last"):
        if at := chapter.record.get("failures", {}).get(which):
            yield Event(from_iso(at), f"The {which} attempt that the unique index rejected.", "server log")
    if ended := chapter.moment("incident_ended_at"):
        what = "The incident ended: from here on the original index rejected nothing."
        yield Event(ended, what, f"pg_index and pg_locks, {SERVER}")
    if (
        chapter.failed
        and status_now(chapter.record) != "running"
        and (finished := chapter.moment("finished_at") or chapter.moment("heartbeat_at"))
    ):
        yield Event(finished, f"The run ended: {status_now(chapter.record)}.", f"run record, {HERE}")


def _work(chapter: Chapter) -> Iterator[Event]:
    looks = (("before", "Looked", chapter.before), ("after", "Looked again", chapter.after))
    for moment, did, look in looks:
        if look and (at := chapter.seen_at(moment)):
            count = look.blocked.chat
            seen = (
                "how many are blocked is not known" if count is None else f"{format_families(count)} blocked for chat"
            )
            yield Event(at, f"{did}: {seen}.", f"q_threads, {SERVER}")
    for step in chapter.record["steps"]:
        if step.get("started_at"):
            what = f"Step {step['name']}: {step['outcome']} in {step['seconds']:.3f} s."
            yield Event(from_iso(step["started_at"]), what, f"run record, {HERE}")
