"""Exported logs: the CSV and JSON of Supabase's log explorer, and JSON with csvlog's columns."""

from __future__ import annotations

import codecs
import csv
import json
import re
from typing import TYPE_CHECKING, Any

from incident_lib.logs.entry import DAMAGED, NO_MESSAGE, Damaged, Entry
from incident_lib.logs.messages import ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The first line of the CSV of a query.
HEADER = re.compile(rb"(?:[^\r\n,:]*,)*\"?(?:\w+\.)*(?:event_message|sql_state_code)\"?(?:,[^\r\n:]*)?\r?\n")
OBJECTS = re.compile(rb"\[\s*[{\]]|\{\s*\"")  # how JSON begins
BEGINNING = 1 << 10  # characters from which the format is recognized
LARGEST = 1 << 24  # characters of one event

# The names of each field in queries, BigQuery's and ClickHouse's tables, log drains and CloudNativePG.
_NAMES = {
    "time": ("timestamp", "log_time", "time", "ts"),
    "message": ("event_message", "message", "msg"),
    "state": ("sql_state_code", "state_code"),
    "detail": ("detail",),
    "role": ("user_name", "user"),
    "process": ("process_id", "pid"),
    "application": ("application_name",),
    "command": ("command_tag", "ps", "query", "statement"),
    "statement": ("query", "statement"),
}
_MESSAGES, _RECORDS = frozenset(_NAMES["message"]), {"metadata", "log_attributes", "record", "parsed"}
_NOTHING = frozenset({"", "null", "NULL"})
_PREFIX = re.compile(rf"\A.*?(?:^|\s)(?:{'|'.join(map(re.escape, sorted(ERRORS)))}):  ")  # of a line as it was
_LIST = re.compile(r"\s*(?:\{\s*\"\w+\"\s*:\s*)?\[")  # [event, …] or {"result": [event, …]}
_NEXT = re.compile(r"[\n,]\s*\{")


def has_messages(head: bytes) -> bool:
    """Whether the beginning of an export names a field that may be the message."""
    return any(re.search(rb"\b%b\b" % name.encode(), head) for name in sorted(_MESSAGES | _RECORDS))


def entries(read: Callable[[int], bytes], needle: str, size: int) -> Iterator[Entry | Damaged]:
    """The events whose message has the needle, and damage that contains the needle.

    Args:
        read: the next bytes, so many at most; none at the end.
        needle: what the message must have.
        size: how many bytes are read at a time.
    """
    texts, first = _decoded(read, size), ""
    while len(first) < BEGINNING and (more := next(texts, "")):
        first += more
    yield from (_from_json if first.lstrip()[:1] in {"{", "["} else _from_csv)(first, texts, needle)


def _decoded(read: Callable[[int], bytes], size: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    while raw := read(size):
        if text := decoder.decode(raw):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _from_csv(first: str, rest: Iterator[str], needle: str) -> Iterator[Entry | Damaged]:
    csv.field_size_limit(LARGEST)
    rows = csv.reader(_lines(first, rest))
    try:
        header = [_column(name) for name in next(rows, [])]
        if set(header).isdisjoint(_MESSAGES | _RECORDS):
            yield Damaged(NO_MESSAGE)
        for row in rows:
            if not any(needle in value for value in row):
                continue
            if len(row) == len(header):
                yield from _entry(dict(zip(header, row, strict=True)), needle)
            else:
                yield Damaged(DAMAGED)
    except csv.Error:
        yield Damaged(DAMAGED)


def _lines(first: str, rest: Iterator[str]) -> Iterator[str]:
    held = first
    for more in rest:
        *lines, held = (held + more).split("\n")
        yield from (f"{line}\n" for line in lines)
    yield from held.splitlines(keepends=True)


def _column(name: str) -> str:
    """`log_attributes['parsed.detail']`, `parsed.detail` and `detail` are all `detail`."""
    words = re.findall(r"\w+", name)
    return words[-1] if words else ""


def _from_json(first: str, rest: Iterator[str], needle: str) -> Iterator[Entry | Damaged]:
    for place, (raw, event) in enumerate(_events(first, rest)):
        if place == 0 and not any(f'"{name}"' in raw for name in _MESSAGES):
            yield Damaged(NO_MESSAGE)
        if needle in raw:
            yield from [Damaged(DAMAGED)] if event is None else _entry(event, needle)


def _events(held: str, rest: Iterator[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each object of a list, or of a text with one after the other, and its text; None for one that is damaged."""
    begins = _LIST.match(held)
    at, more = begins.end() if begins else 0, True
    while True:
        start = held.find("{", at)
        begun = start if start >= 0 else len(held)
        if start >= 0 and (found := _object(held, start)):
            event, at = found
            yield held[start:at], event
        elif more and len(held) - begun < LARGEST:
            piece = next(rest, None)
            held, at, more = held[begun:] + (piece or ""), 0, piece is not None
        elif start < 0:
            return
        else:
            following = _NEXT.search(held, start)
            at = following.end() - 1 if following else len(held)
            yield held[start:at], None


def _object(held: str, start: int) -> tuple[dict[str, Any], int] | None:
    try:
        return json.JSONDecoder(strict=False).raw_decode(held, start)
    except (ValueError, RecursionError):
        return None


def _entry(event: Mapping[str, Any], needle: str) -> Iterator[Entry]:
    values: dict[str, str] = {}
    _flatten(event, values)
    had = {name: next((values[key] for key in keys if key in values), None) for name, keys in _NAMES.items()}
    message = _PREFIX.sub("", had["message"] or "", count=1)
    if needle in message.partition("\n")[0]:
        yield Entry.of({**had, "message": message})


def _flatten(thing: Any, into: dict[str, str]) -> None:
    """The values of an event by the last part of their keys; of several, the outermost."""
    pairs = list(thing.items()) if isinstance(thing, dict) else [("", each) for each in thing]
    nested = []
    for key, value in pairs:
        inner = _parsed(value)
        if isinstance(inner, dict | list):
            nested.append(inner)
        elif value is not None and str(value) not in _NOTHING:
            into.setdefault(key.rpartition(".")[2], str(value))
    for each in nested:
        _flatten(each, into)


def _parsed(value: Any) -> Any:
    """The value of a text that is JSON: a cell of the CSV may be a record."""
    if not isinstance(value, str) or value[:1] not in {"{", "["}:
        return value
    try:
        return json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return value
