"""The list items of notes that are more than text: events, action items, and the incident's metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from incident_lib.report.commonmark import without_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.report.commonmark import Item

_DATED = re.compile(r"[*_~`]*\d{4}-\d{1,2}-\d{1,2}")
_ZONE = r"Z|UTC|GMT|[+-]\d\d(?::?\d\d)?"
_TIME = rf"(?P<day>\d{{4}}-\d\d-\d\d)(?:T| +)(?P<hour>\d\d:\d\d(?::\d\d)?) ?(?P<zone>{_ZONE})"
_EVENT = re.compile(rf"{_TIME}[:,]? +(?P<what>.*?)(?: +\((?P<source>[^()]*)\))?")
_BOX = re.compile(r"\[[ xX*✓v✔-]{0,3}\](?![(\[])")
_ACTION = re.compile(r"\[([ xX])\] +(.+?)(?: +\(((?:owner|due):.*)\))?", re.IGNORECASE)
_FACT = re.compile(r"(?P<key>[^:]*?) *: *(?P<value>.*)")

_WRITE_EVENT = "Write it like `- 2025-10-13 08:18 UTC: what (source)`; another zone as an offset, like +02:00."
_WRITE_ACTION = "Write it like `- [ ] What to do (owner: a name or a team, due: 2026-01-31)`."
_WRITE_DUE = "Write it like `due: 2026-01-31`."


class ItemError(Exception):
    """An item or another line of notes that cannot be read: its line, why, and how to write it."""

    def __init__(self, line: int, why: str, action: str) -> None:
        super().__init__(line, why, action)
        self.line, self.why, self.action = line, why, action


@dataclass(frozen=True)
class Event:
    """An event of the timeline that people wrote."""

    at: datetime
    what: str
    source: str


@dataclass(frozen=True)
class Action:
    """An action item."""

    what: str
    owner: str
    due: str
    done: bool

    @property
    def lacks(self) -> str:
        """What it still needs: an owner, a due date; empty: nothing."""
        missing = [name for name, value in (("owner", self.owner), ("due date", self.due)) if not value]
        return f"no {' and no '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Metadata:
    """What people's tracker knows of the incident; empty or None: not written."""

    severity: str = ""
    owner: str = ""
    detected: datetime | None = None
    mitigated: datetime | None = None
    resolved: datetime | None = None


_FACTS: dict[str, str | None] = {field.name: field.default for field in fields(Metadata)}  # type: ignore[misc]
_WRITE_FACT = f"Use items like `- Severity: SEV2`; their names are {', '.join(_FACTS)}."


def read_events(lines: Sequence[str], first: int, items: Sequence[Item]) -> tuple[tuple[Event, ...], str]:
    """The items that begin with a date, and the rest of the section.

    Args:
        lines: of the section, without comments.
        first: the number of the first of them.
        items: the lists of the section.

    Raises:
        ItemError: one of them cannot be read.
    """
    dated = [item for item in _all(items) if item.texts and _DATED.match(item.texts[0][1])]
    return tuple(_event(item, dated) for item in dated), without_lines(lines, first, iter(dated))


def _event(item: Item, dated: Sequence[Item]) -> Event:
    strange = [line for line, _ in item.texts[1:]] + [inner.line for inner in item.items if inner not in dated]
    if item.other or strange:
        raise ItemError(min(filter(None, (item.other, *strange))), "an event is one paragraph", _WRITE_EVENT)
    line, text = item.texts[0]
    found = _EVENT.fullmatch(text)
    at = _time(found) if found else None
    if not found or not at or not found["what"]:
        raise ItemError(line, "the time cannot be read", _WRITE_EVENT)
    return Event(at, found["what"], found["source"] or "people")


def _time(found: re.Match[str]) -> datetime | None:
    """The time in UTC; None where there is no such time."""
    zone = "+00:00" if found["zone"][0].isalpha() else found["zone"]
    try:
        return datetime.fromisoformat(f"{found['day']}T{found['hour']}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_actions(lines: Sequence[str], first: int, items: Sequence[Item]) -> tuple[tuple[Action, ...], str]:
    """The items that are tasks, at any depth, and the rest of the section; for the arguments see `read_events`.

    Raises:
        ItemError: one of them cannot be read.
    """
    tasks = [item for item in _all(items) if item.texts and _BOX.match(item.texts[0][1])]
    return tuple(_action(item, tasks) for item in tasks), without_lines(lines, first, iter(tasks))


def _action(item: Item, tasks: Sequence[Item]) -> Action:
    line, text = item.texts[0]
    found = _ACTION.fullmatch(text)
    if not found:
        raise ItemError(line, "the task cannot be read", _WRITE_ACTION)
    if other := next((each.other for each in _within(item, tasks) if each.other), 0):
        raise ItemError(other, "a task has only text and other tasks in it", "Put this below the list.")
    done, what, said = found.groups()
    named = {name.lower(): value.strip() for name, value in re.findall(r"(owner|due): *([^,]*)", said or "", re.I)}
    if (due := named.get("due", "")) and not _is_date(due):
        raise ItemError(line, f"{due!r} is no date", _WRITE_DUE)
    details = [text for each in _within(item, tasks) for _, text in each.texts][1:]
    return Action(" ".join([what, *details]), named.get("owner", ""), due, done in "xX")


def read_metadata(lines: Sequence[str], first: int, items: Sequence[Item]) -> tuple[Metadata, str]:
    """The section's facts, each an item; the section has nothing else. For the arguments see `read_events`.

    Raises:
        ItemError: one of them is unknown, is there twice or cannot be read, or there is other text.
    """
    found: dict[str, Any] = {}
    for item in items:
        line, text = item.texts[0] if item.texts else (item.line, "")
        fact = _FACT.fullmatch(text)
        name = fact["key"].lower() if fact else ""
        if not fact or name not in _FACTS or item.items or item.other or len(item.texts) > 1:
            raise ItemError(line, "this is no fact of an incident", _WRITE_FACT)
        if name in found:
            raise ItemError(line, f"{name} is there twice", "Keep one of them.")
        found[name] = _fact(line, name, fact["value"])
    rest = without_lines(lines, first, iter(items))
    if rest:
        line = next(n for n, text in enumerate(lines, start=first) if text.strip() and not _covered(items, n))
        raise ItemError(line, "this is no fact of an incident", _WRITE_FACT)
    return Metadata(**found), rest


def _fact(line: int, name: str, value: str) -> str | datetime | None:
    if isinstance(_FACTS[name], str) or not value:
        return value or _FACTS[name]
    written = re.fullmatch(_TIME, value)
    if not written or not (at := _time(written)):
        raise ItemError(
            line, "the time cannot be read", f"Write it like `- {name.capitalize()}: 2025-10-13 08:18 UTC`."
        )
    return at


def _covered(items: Sequence[Item], line: int) -> bool:
    return any(item.line <= line < item.end for item in items)


def _all(items: Sequence[Item]) -> Iterator[Item]:
    """The items, and those within them, in order."""
    for item in items:
        yield item
        yield from _all(item.items)


def _within(item: Item, tasks: Sequence[Item]) -> Iterator[Item]:
    """The item, and those within it that belong to no other task."""
    yield item
    for inner in item.items:
        if inner not in tasks:
            yield from _within(inner, tasks)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == len("2026-01-31")
