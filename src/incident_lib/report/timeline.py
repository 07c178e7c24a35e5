"""The timeline: what happened when, in UTC, and the source of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import IndexState, format_families, format_timestamp, make_table
from incident_lib.records import status_of
from incident_lib.report.compare import group_rows
from incident_lib.report.document import Bullets, Paragraph
from incident_lib.report.notes import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.model import RunRecord
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block
    from incident_lib.report.notes import Notes

SERVER, HERE = "the server's clock", "the clock of the computer that ran it"
MOST_IN_FULL = 3  # environments whose every step is a row


def timeline(chapters: Sequence[Chapter], notes: Notes) -> tuple[Block, ...]:
    """The events that people know and those of the runs, in one table, the earliest first."""
    in_full = len(chapters) <= MOST_IN_FULL
    found = [("", event) for event in notes.events]
    found += [(chapter.environment, event) for chapter in chapters for event in _events(chapter, in_full=in_full)]
    if not found:
        return (Paragraph("The time of no event is known.", "note"),)
    found.sort(key=lambda pair: pair[1].at)
    same = group_rows((where or "–", format_timestamp(e.at), e.what, e.source) for where, e in found)
    rows = ((at, where, what, source) for where, at, what, source in same)
    shown = make_table(("UTC", "environment", "what happened", "source"), rows)
    more = "With more than three environments only the main events are listed; the steps are under Resolution."
    return (shown,) if in_full else (shown, Bullets((more,)))


def _events(chapter: Chapter, *, in_full: bool) -> Iterator[Event]:
    """The events of one environment; those of the run itself only if wanted."""
    yield from _story(chapter)
    yield from (_other(record, "Looked") for _, record in chapter.earlier)
    yield from (_other(record, "Looked again") for _, record in chapter.later)
    if in_full:
        yield from _work(chapter)


def _story(chapter: Chapter) -> Iterator[Event]:
    record = chapter.record
    if since := record.purpose_since:
        what = "The column purpose was added; the threads that existed became runs."
        yield Event(since, what, "parameter purpose_since")
    if line := chapter.line:
        first, count = line.points[0]
        what = f"By now {format_families(count)} of those that were later blocked for chat were blocked."
        yield Event(first, what, "q_threads")
    if found := record.rejected_inserts:
        for which, at in (("first", found.first), ("last", found.last)):
            if at:
                yield Event(
                    at, f"The unique index rejected the {which} insert of this incident in the log.", "server log"
                )
    if ended := record.incident_ended_at:
        what = "The incident ended: the original index rejects no insert any more."
        yield Event(ended, what, f"pg_index and pg_locks, {SERVER}")
    status = status_of(record)
    if chapter.failed and status != "running":
        yield Event(record.finished_at or record.heartbeat_at, f"The run ended: {status}.", f"run record, {HERE}")


def _other(record: RunRecord, looked: str) -> Event:
    """What another run than the one that is shown found or did."""
    counts, indexes = record.counts.after or record.counts.before, record.indexes.after or record.indexes.before
    at = record.snapshot_at.after or record.snapshot_at.before
    status = status_of(record)
    if not counts or not at:
        why = f" {record.error.what}" if record.error else ""
        return Event(record.finished_at or record.heartbeat_at, f"A run ended: {status}.{why}", f"run record, {HERE}")
    blocked = counts.blocked.chat
    if blocked is None:
        found = "it is not known how many families are blocked for chat"
    else:
        found = f"{format_families(blocked)} blocked for chat" if blocked else "no family is blocked for chat"
    if record.incident_ended_at:
        what = f"The fix was applied again: {found}."
    elif looked == "Looked again" and indexes and indexes.state is IndexState.ORIGINAL:
        what = f"The original index is enforced: {found}."
    else:
        what = f"{looked}: {found}."
    if status not in {"succeeded", "dry-run"}:
        what += f" This run ended: {status}."
    return Event(at, what, f"q_threads, {SERVER}")


def _work(chapter: Chapter) -> Iterator[Event]:
    at = chapter.record.snapshot_at
    for name, taken, counts in (("before", at.before, chapter.before), ("after", at.after, chapter.after)):
        if counts and taken:
            blocked = counts.blocked.chat
            result = "the number of blocked families is unknown"
            if blocked is not None:
                result = f"{format_families(blocked)} blocked for chat"
            yield Event(taken, f"Snapshot {name}: {result}.", f"q_threads, {SERVER}")
    for step in chapter.record.steps:
        what = f"Step {step.name}: {step.outcome} in {step.seconds:.3f} s."
        yield Event(step.started_at, what, f"run record, {HERE}")
