"""The timeline: what happened when, in UTC, and the source of each row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from incident_lib.model import (
    IndexState,
    format_duration,
    format_families,
    format_minute,
    format_timestamp,
    make_table,
    plural,
    settled_sentence,
)
from incident_lib.records import status_of
from incident_lib.report.compare import group_rows, of_one
from incident_lib.report.document import Paragraph, Part
from incident_lib.report.notes import Event
from incident_lib.report.recorded import hides_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from incident_lib.model import RunRecord, StepResult
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block
    from incident_lib.report.notes import Notes
    from incident_lib.report.recorded import Recorded
    from incident_lib.report.second_change import SecondChange

SERVER, HERE = "the server's clock", "the clock of the computer that ran it"
MOST_IN_FULL = 3  # environments whose every step is a row of the folded table
_FIX = f"run record, {HERE}: its steps together"


def timeline(chapters: Sequence[Chapter], notes: Notes) -> tuple[Block, ...]:
    """What happened when, by the minute; and folded, the same with every step, exact times and sources."""
    main = [("", event) for event in notes.events]
    main += [(chapter.environment, event) for chapter in chapters for event in _events(chapter)]
    if not main:
        return (Paragraph("The time of no event is known.", "note"),)
    several = len(chapters) > 1
    rows = _rows(main, format_minute)
    if several:
        shown = make_table(("UTC", "environment", "what happened"), [row[:3] for row in rows])
    else:
        shown = make_table(("UTC", "what happened"), [(at, what) for at, _, what, _ in rows])
    in_full = len(chapters) <= MOST_IN_FULL
    exact = [event for event in main if event[1].source != _FIX or not in_full]
    if in_full:
        exact += [(chapter.environment, event) for chapter in chapters for event in _work(chapter)]
    full = of_one(
        chapters, make_table(("UTC", "environment", "what happened", "source"), _rows(exact, format_timestamp))
    )
    note = Paragraph("With more than three environments the steps are under Resolution.", "note")
    title = "The steps of the fix, exact times and sources" if in_full else "Exact times and sources"
    return (shown, Part(title, (full,) if in_full else (full, note), folded=True))


def _rows(events: list[tuple[str, Event]], form: Callable[[datetime], str]) -> list[tuple[str, str, str, str]]:
    """A row for each event, the earliest first; equal ones of several environments are one row."""
    ordered = sorted(events, key=lambda pair: pair[1].at)
    same = group_rows((where or "–", form(event.at), event.what, event.source) for where, event in ordered)
    return [(at, where, what, source) for where, at, what, source in same]


def _events(chapter: Chapter) -> Iterator[Event]:
    """The events of one environment: the story, the fix as one row, and what other runs found."""
    yield from _story(chapter)
    yield from _applied(chapter, "The fix", "Steps")
    yield from (_other(record, "Looked") for _, record in chapter.earlier)
    yield from (_other(record, "Looked again") for _, record in chapter.later)
    if following := chapter.following:
        yield from _second_change(following)


def _second_change(following: SecondChange) -> Iterator[Event]:
    """The events of the change after the fix."""
    record = following.record
    if settled := record.settled:
        yield Event(settled.at, settled_sentence(settled, following.name), f"the demo's own step, {SERVER}")
    yield from _applied(following, f"The change {following.name}", f"Steps of {following.name}")
    if ended := record.incident_ended_at:
        what = "Providers block each other no more: the index before the change rejects no insert any more."
        yield Event(ended, what, f"pg_index and pg_locks, {SERVER}")
    else:
        yield _looked(record, following.name)
    yield from (_looked(other, following.name) for _, other in (*following.earlier, *following.later))


def _looked(record: RunRecord, change: str) -> Event:
    """What a run about the change after the fix found, and how it ended, where that is no success."""
    counts, at = record.counts.after or record.counts.before, record.snapshot_at.after or record.snapshot_at.before
    status = status_of(record)
    ended = "" if status == "succeeded" else f" The run ended: {status}."
    if not counts or not at:
        why = f" {record.error.what}" if record.error else ""
        return Event(
            record.finished_at or record.heartbeat_at, f"A run of {change}.{ended}{why}", f"run record, {HERE}"
        )
    conflicts = counts.residual_conflicts
    found = f"{plural(conflicts, 'thread')} {'blocks' if conflicts == 1 else 'block'} another provider"
    again = "was applied again" if record.incident_ended_at else "was planned"
    return Event(at, f"The change {change} {again}: {found}.{ended}", f"q_threads, {SERVER}")


def _applied(chapter: Recorded, act: str, steps_of: str) -> Iterator[Event]:
    """The steps that were run, as one event."""
    steps = chapter.record.steps
    if steps:
        seconds = sum(step.seconds for step in steps)
        names = ", ".join(dict.fromkeys(step.name for step in steps))
        done = all(step.outcome.startswith("done") for step in steps)
        what = f"{act} was applied" if done and chapter.record.incident_ended_at else f"{steps_of} were run"
        yield Event(steps[0].started_at, f"{what} in {format_duration(seconds)}: {names}.", _FIX)


def _story(chapter: Chapter) -> Iterator[Event]:
    record = chapter.record
    if since := record.purpose_since:
        what = "The column purpose was added; the threads that existed became runs."
        yield Event(since, what, "parameter purpose_since")
    if line := chapter.line:
        first, count = line.points[0]
        if count:
            yield Event(
                first, f"{count:,} of the {format_families(line.total)} had become blocked for chat.", "q_threads"
            )
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
    is_fixed = indexes is not None and indexes.state is IndexState.FIXED
    if blocked is None or (not blocked and hides_rows(record) and not is_fixed):
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
    """Each snapshot and each step, of the fix and of the change after it."""
    yield from _steps(chapter, "Step")
    if chapter.following:
        yield from _steps(chapter.following, f"Step of {chapter.following.name}:")
    at = chapter.record.snapshot_at
    for name, taken, counts in (("before", at.before, chapter.before), ("after", at.after, chapter.after)):
        if counts and taken:
            blocked = counts.blocked.chat
            result = "the number of blocked families is unknown"
            if blocked is not None:
                result = f"{format_families(blocked)} blocked for chat"
            yield Event(taken, f"Snapshot {name}: {result}.", f"q_threads, {SERVER}")


def _ended_at(step: StepResult) -> datetime:
    return step.started_at + timedelta(seconds=step.seconds)


def _steps(chapter: Recorded, label: str) -> Iterator[Event]:
    for step in chapter.record.steps:
        what = f"{label} {step.name}: {step.outcome}, {step.seconds:.3f} s after it began."
        yield Event(_ended_at(step), what, f"run record, {HERE}")
