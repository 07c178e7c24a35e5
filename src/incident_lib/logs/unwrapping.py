"""Objects that carry a server's lines or the fields of its entries: JSON, rows of CSV, YAML, of any nesting."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from operator import gt, itemgetter, lt
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from incident_lib.logs.messages import LATER, duplicate_patterns
from incident_lib.logs.pieces import SEVERITIES, Carrier, Piece, Rest
from incident_lib.logs.times import parse_log_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from incident_lib.logs.pieces import Pieces

MOST_DEPTH = 12
ALIKE = 3  # objects with the same names are events, not parts of one
STREAM_APART = timedelta(minutes=1)  # further back than entries of one stream are out of order
_DUPLICATE = duplicate_patterns(r"\w+")

# Names, in small letters without punctuation: of PostgreSQL's own fields, then as services call them.
_STATE = ("sqlstatecode", "statecode", "sqlerrcode", "sqlstate", "sqlerrorcode")
_SEVERITY = ("errorseverity", "errorlevel")
_OWN_NAMES = frozenset({"sqlstatecode", "statecode", "sqlerrcode", "eventmessage"})  # no other program's
_FIELDS = {
    "state": _STATE,
    "detail": ("detail", "errordetail"),
    "role": ("username", "user", "usename", "dbuser"),
    "process": ("processid", "pid", "procid", "backendpid"),
    "application": ("applicationname",),
    "command": ("commandtag", "ps"),
    "statement": ("query", "statement"),
}
_TIME = (
    *("timestamp", "logtime", "time", "ts", "timegenerated", "eventtime", "timeunixnano", "datetime", "date"),
    *("realtimetimestamp", "sourcerealtimetimestamp", "syslogtimestamp", "observedtimeunixnano", "tsns"),
    *("receivetimestamp", "ingestiontime"),
)
_MESSAGE = ("fullmessage", "eventmessage", "message", "msg", "textpayload", "log", "line", "body", "logmessage")
_PLACE = re.compile(r"pod|container|host|instance|logstream|logname|node|database ?id|filename|stack|service|machine")
_ZONES = frozenset({"UTC", "Local"})  # `TimeGenerated [UTC]`
_PAIRS = (("field", "value"), ("key", "value"), ("name", "value"))
_TYPED = frozenset({"stringValue", "intValue", "boolValue", "doubleValue", "kvlistValue", "arrayValue", "values"})
_DECODER, _SPACE = json.JSONDecoder(strict=False), re.compile(r"[\s\0\x1e]*")  # GELF ends with a NUL
_NOTHING = frozenset({"", "null", "NULL"})


class _Event(NamedTuple):
    """What one object says, by the names of its values, those of what contains it behind its own."""

    values: Mapping[str, str]
    texts: tuple[str, ...]  # every text in it, those under usual names of a message first


def decode_json(raw: bytes | str) -> Any:
    """A JSON text as an object; None if it is damaged."""
    try:
        return msgspec.json.decode(raw)  # noqa: TID251 - to no type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return _documents(raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw)
        except (ValueError, RecursionError):
            return None


def _documents(text: str) -> Any:
    """The object of a text, or the list of those that follow each other in it without anything between."""
    found, at = [], 0
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        found.append(value)
        if space := _SPACE.match(text, at):
            at = space.end()
    return found[0] if len(found) == 1 else found


def unwrap(thing: Any, pieces: Pieces, carrier: Carrier) -> Iterator[Piece | Rest]:
    """The pieces of a server's log that an object carries, in order."""
    for event in _in_order([*_events(_normal(thing), {}, 0)]):
        yield from _pieces(event, pieces, carrier)


def _in_order(events: list[_Event]) -> list[_Event]:
    """The events of several streams as one: Loki gives those of each level apart, each from its beginning."""
    if len(events) == 1:
        return events
    timed = [(time, event) for event in events if (time := _first(event.values, _TIME))]
    written = [time for time, _ in timed]
    falling, rising = (sum(map(compare, written, written[1:])) for compare in (gt, lt))
    if not min(falling, rising) or len(set(map(len, written))) > 1:
        return events
    times = [parse_log_time(text) for text in written]
    pairs = [(a, b) if falling <= rising else (b, a) for a, b in pairwise(times) if a and b]
    if not any(earlier - later > STREAM_APART for earlier, later in pairs):
        return events
    return [event for _, event in sorted(timed, key=itemgetter(0), reverse=falling > rising)]


@lru_cache(maxsize=1024)
def _name(key: str) -> str:
    """`log_attributes['parsed.detail']`, `parsed.detail` and `detail` are all `detail`; so is Azure's `detail_s`."""
    words = [word for word in re.findall(r"\w+", key) if word not in _ZONES]
    return re.sub(r"_[sdgbt]$", "", words[-1]).replace("_", "").lower() if words else ""


def _normal(thing: Any, depth: int = 0) -> Any:
    """An object without the ways in which services write names and types of values."""
    if depth > MOST_DEPTH:
        return None
    if isinstance(thing, str):
        return _normal(inner, depth + 1) if (inner := _parsed(thing)) is not None else thing
    if isinstance(thing, dict):
        if len(thing) == 1 and (only := next(iter(thing))) in _TYPED and only != "values":
            return _normal(thing[only], depth + 1)
        return {key: _normal(value, depth + 1) for key, value in thing.items()}
    return _normal_list(thing, depth) if isinstance(thing, list) else thing


def _normal_list(thing: list[Any], depth: int) -> Any:
    for name, value in _PAIRS:
        if thing and all(isinstance(each, dict) and name in each and value in each for each in thing):
            return {str(each[name]): _normal(each[value], depth + 1) for each in thing}
    if len(thing) > MOST_DEPTH and all(isinstance(each, int) and 0 <= each < 256 for each in thing):
        return bytes(thing).decode("utf-8", "replace")  # as journald writes a text with control characters
    return [_normal(each, depth + 1) for each in thing]


def _parsed(text: str) -> Any:
    """The object of a text that is JSON: a cell of a table, or a log, may be a record."""
    bare = text.strip()
    if bare[:1] not in {"{", "["} or bare[-1:] not in {"}", "]"} or len(bare) < 3:
        return None
    found = decode_json(bare)
    return found if isinstance(found, dict | list) else None


@lru_cache(maxsize=1024)
def _is_place(name: str) -> bool:
    """Whether values of a name tell servers apart."""
    return _PLACE.search(name) is not None


def _events(thing: Any, around: dict[str, str], depth: int) -> Iterator[_Event]:
    if depth > MOST_DEPTH:
        return
    if isinstance(thing, list):
        for each in _list_items(thing):
            yield from _events(each, around, depth + 1)
    elif isinstance(thing, dict):
        yield from _object_events(thing, around, depth)


def _list_items(thing: list[Any]) -> Iterator[Any]:
    """The events of a list; a pair of a time and a line, as Loki has them, is one."""
    if len(thing) in {2, 3} and isinstance(thing[0], str) and thing[0].isdigit() and isinstance(thing[1], str | dict):
        yield {"timestamp": thing[0], "line": thing[1]}
        return
    yield from ({"line": each} if isinstance(each, str) else each for each in thing)


def _object_events(thing: dict[str, Any], around: dict[str, str], depth: int) -> Iterator[_Event]:
    own: dict[str, str] = {}
    texts: list[tuple[int, str]] = []
    lists = _collect(thing, own, texts)
    values = {**around, **own}
    inner = [each for nested in lists for each in _events(nested, values, depth + 1)]
    if texts:
        yield _Event(values, tuple(text for _, text in sorted(texts, key=lambda each: each[0])))
    yield from inner


def _collect(thing: Any, own: dict[str, str], texts: list[tuple[int, str]]) -> list[list[Any]]:
    """Gather the values of an object by name, the outermost first; lists of several events are returned."""
    lists, nested = [], []
    if many := _values_alike(thing):
        lists.append(many)
    for key, value in thing.items():
        if isinstance(value, dict):
            if not many:
                nested.append(value)
        elif isinstance(value, list):
            if len(value) == 1 and isinstance(value[0], dict):
                nested.append(value[0])
            else:
                lists.append(value)
        elif value is not None and (text := str(value)) not in _NOTHING:
            name = _name(key)
            own.setdefault(name, text)
            if isinstance(value, str):
                texts.append((0 if name == _MESSAGE[0] else 1 if name in _MESSAGE else 2, text))
    for each in nested:
        lists += _collect(each, own, texts)
    return lists


def _values_alike(thing: Mapping[str, Any]) -> list[Any]:
    """The values of an object that has one under each id; none if it has other objects within it."""
    nested = [value for value in thing.values() if isinstance(value, dict)]
    return nested if len(nested) >= ALIKE and all(value.keys() == nested[0].keys() for value in nested) else []


def _pieces(event: _Event, pieces: Pieces, carrier: Carrier) -> Iterator[Piece | Rest]:
    values = event.values
    time = _first(values, _TIME) or carrier.time
    place = "|".join(value for name, value in sorted(values.items()) if _is_place(name))
    within = Carrier(time, carrier.source + place, _first(values, _FIELDS["process"]) or carrier.process)
    had = {name: _first(values, keys) for name, keys in _FIELDS.items()}
    for text in event.texts:
        if found := [*_lines(text, pieces, within)]:
            yield from _with_fields(found, had)
            return
    if whole := _of_fields(values, had, within):
        yield whole
    elif event.texts[0].startswith("\t"):
        yield Rest(b"", event.texts[0].rstrip("\n").encode("utf-8", "replace")[1:], within.source)


def _lines(text: str, pieces: Pieces, carrier: Carrier) -> Iterator[Piece]:
    """The pieces of a text, which may be a whole log; a line without a label continues the one before."""
    last: Piece | None = None
    for line in text.encode("utf-8", "replace").split(b"\n"):
        found = None if line[:1] == b"\t" else pieces.read(line.rstrip(b"\r"), carrier)
        if found:
            if last:
                yield last
            last = found
        elif last:
            last = last._replace(text=last.text + b"\n" + line.removeprefix(b"\t"))
    if last:
        yield last


def _with_fields(found: list[Piece], had: dict[str, str | None]) -> Iterator[Piece]:
    """The pieces of a line with what the fields beside it say of its entry."""
    for piece in found:
        more: dict[str, Any] = {
            name: had[name] for name in ("state", "role", "application", "command") if getattr(piece, name) is None
        }
        if piece.begins and len(found) == 1:
            more |= {"detail": had["detail"], "statement": had["statement"]}
        yield piece._replace(**more)


def _of_fields(values: Mapping[str, str], had: dict[str, str | None], carrier: Carrier) -> Piece | None:
    """The piece that fields are: an entry of a server's log names its severity, its SQLSTATE or its event_message."""
    message = _first(values, _MESSAGE)
    label = (_first(values, _SEVERITY) or "").strip()
    own = label in SEVERITIES | LATER or not _OWN_NAMES.isdisjoint(values)
    if not message or not own:
        return None
    failed = had["state"] not in {None, "00000"} or _DUPLICATE.fullmatch(message)
    return Piece(
        label=label if label in SEVERITIES | LATER else "ERROR" if failed else "LOG",
        text=message.encode("utf-8", "replace"),
        source=carrier.source,
        time=carrier.time,
        **cast("Any", {**had, "process": carrier.process}),
    )


def _first(values: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((values[name] for name in names if name in values), None)
