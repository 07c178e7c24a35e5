"""A stream as records: its lines, the elements of JSON documents, rows of CSV, documents of YAML; in any order."""

from __future__ import annotations

import codecs
import csv
import json
import re
from bisect import bisect_right
from functools import partial
from itertools import accumulate, groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from incident_lib.logs.parts import has_parts, join_parts
from incident_lib.logs.structured import Csvlog
from incident_lib.logs.unwrapping import decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LARGEST = 1 << 22  # bytes of one record
ALIKE = 16  # elements that are as far apart, after which they are no longer parsed to find their ends
BATCH = 1000  # records that are given at a time, if they are not lines
HEADERS_WITHIN = 50  # lines at the beginning, one of which may be the header of CSV

_OPENERS = frozenset({b"{", b"["})
_SPECIAL = _OPENERS | {b"-"}
_BEGINNINGS = frozenset({b"[{", b"[[", b'["', b"[", b"[\r", b"[ ", b"{", b"{\r", b"--"})  # of what is no line by itself
_JSON = re.compile(rb"\s*(?:\[\s*(?:[\[{\"]|\Z)|\{\s*(?:\"|\Z))")
_MESSAGES = (
    rb"event_message|sql_state_code|@?message|textPayload|jsonPayload|log|line|Line|msg|body|Message|properties\w*"
)
_CELL = rb"\"?[\w@. ()\[\]']*"
_HEADERS = {
    sign.decode(): re.compile(
        rb"(?:%(cell)b\"?%(sign)b)*%(cell)b\b(?:%(names)b)\b[\w'\])]*\"?(?:%(sign)b%(cell)b\"?)*\r?\Z"
        % {b"cell": _CELL, b"sign": sign, b"names": _MESSAGES}
    )
    for sign in (b",", b";", b"\t")
}
_YAML_KEY = re.compile(rb"(?P<item> *- )?[\w@.-]+:(?: |\r?\Z)")
_YAML_LIST = re.compile(rb"[\w@.-]+:\s*\Z")
_NEXT = re.compile(r"[\n,]\s*\{")
_SPACE = re.compile(r"[\s,:]*")
_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*\"\s*:\s*")
_BETWEEN = re.compile(r",\s*\n\s*\{\s*\"[^\"\\]+\"")
_NEXT_DOCUMENT = re.compile(r"[\s\x1e]*(?=\{\s*\"|\[\s*[\[{\"])")
_ANSI = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")  # a colour
_CUT_ANSI = re.compile(rb"\x1b(?:\[[0-9;]*)?\Z")
_FIRST_TWO = itemgetter(slice(2))
_DECODER = json.JSONDecoder(strict=False)


class Element(NamedTuple):
    """An object of a JSON document, or what is left of one: its text."""

    raw: str

    @property
    def value(self) -> Any:
        """The object; None: it is damaged."""
        return decode_json(self.raw)


class Row(NamedTuple):
    """A row of CSV: its cells by the names of the columns; None for one of another length."""

    raw: tuple[str, ...]
    value: dict[str, str] | None


class Block(NamedTuple):
    """A document, or an item of a list, of YAML."""

    raw: bytes


Record = bytes | Element | Row | Block


def hits(records: list[Record], begin: int, end: int, texts: Sequence[str]) -> list[int]:
    """The places of the records, from one to another, that have one of some texts in them."""
    found: set[int] = set()
    for _, run in groupby(islice(records, begin, max(begin, end)), key=type):
        alike = [*run]
        found.update(begin + place for text in texts for place in _places(alike, text))
        begin += len(alike)
    return sorted(found)


def _places(records: list[Record], text: str) -> Iterator[int]:
    """The places of the records, all of one type, that have a text in them: they are searched as one."""
    raws: Any = records if isinstance(records[0], bytes) else [*map(attrgetter("raw"), records)]
    if isinstance(records[0], Row):
        raws = [*map("\n".join, raws)]
    bare: Any = text if isinstance(raws[0], str) else text.encode()
    whole = bare[:0].join(raws)
    at = whole.find(bare)
    ends = [*accumulate(map(len, raws))] if at >= 0 else []
    while at >= 0:
        place = bisect_right(ends, at)
        if bare in raws[place]:
            yield place
        at = whole.find(bare, ends[place])


def raw_text(record: Record) -> str:
    """The text of a record, as it is."""
    raw = record if isinstance(record, bytes) else record.raw
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return raw if isinstance(raw, str) else "\n".join(raw)


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := [*islice(records, BATCH)]:
        yield batch


class Stream:
    """Bytes that are taken as lines, or as text."""

    def __init__(self, read: Callable[[int], bytes], size: int) -> None:
        self._read, self._size, self.held, self.more = read, size, b"", True
        self._cut = b""  # what may be the beginning of a colour
        self._parts: list[bytes] = []  # of a line that has not ended

    def fill(self) -> bool:
        """Hold more, without colours; False at the end."""
        piece = self._cut + self._read(self._size)
        self.more = len(piece) > len(self._cut)
        self._cut = b""
        if b"\x1b" in piece:
            piece = _ANSI.sub(b"", piece)
            if self.more and (cut := _CUT_ANSI.search(piece)):
                piece, self._cut = piece[: cut.start()], cut[0]
        self.held += piece
        return self.more

    def records(self, form: str | None = None) -> Iterator[list[Record]]:
        """The records, in order, some at a time; form: `lines`, `json`, `csv` or `yaml`, or None: recognised."""
        number = 0
        while self.held or self.more:
            end = self.held.rfind(b"\n") + 1
            if self.more and (not end or (number == 0 and len(self.held) < self._size)):
                if not end and len(self.held) > LARGEST and self.held[:1] not in _OPENERS:
                    yield [self.held[:LARGEST]]  # the rest of such a line holds nothing that is read
                    self._skip_line()
                    continue
                if end or len(self.held) <= LARGEST:
                    self.fill()
                    continue
            block, self.held = self.held[: end or len(self.held)], self.held[end or len(self.held) :]
            lines = block.split(b"\n")
            if not lines[-1]:
                lines.pop()
            if self._parts or has_parts(block, lines):
                lines, self._parts = join_parts([*self._parts, *lines])
            if number > HEADERS_WITHIN and form is None and _BEGINNINGS.isdisjoint(map(_FIRST_TWO, lines)):
                special = None  # nearly always
            else:
                special = self._special(lines, number, form)
            number += len(lines)
            if special is None:
                yield cast("list[Record]", lines)
                continue
            place, reader = special
            yield cast("list[Record]", lines[:place])
            self.held = b"\n".join(lines[place:]) + (b"\n" if block.endswith(b"\n") else b"") + self.held
            yield from _batches(reader())
        yield cast("list[Record]", self._parts)

    def _skip_line(self) -> None:
        self.held = b""
        while self.fill():
            if end := self.held.find(b"\n") + 1:
                self.held = self.held[end:]
                return
            self.held = b""

    def _special(
        self, lines: list[bytes], number: int, form: str | None
    ) -> tuple[int, Callable[[], Iterator[Record]]] | None:
        """The first line with which something else than lines begins, and what reads it."""
        if form == "lines":
            return None
        for place, line in enumerate(lines):
            if number + place >= HEADERS_WITHIN and form is None and line[:1] not in _SPECIAL:
                continue
            if reader := self._reader(line, lines[place + 1] if place + 1 < len(lines) else b"", number + place, form):
                return place, reader
        return None

    def _reader(
        self, line: bytes, following: bytes, number: int, form: str | None
    ) -> Callable[[], Iterator[Record]] | None:
        """What reads the records that begin with a line; None: it is a record itself."""
        early = number < HEADERS_WITHIN
        if (line[:1] in _OPENERS or form == "json") and _JSON.match(line):
            whole = line[:1] == b"{" and len(line) < LARGEST and line.rstrip().endswith((b"}", b"},"))
            return None if whole else self._document
        delimiter = next((sign for sign, header in _HEADERS.items() if early and header.match(line)), None)
        if form == "csv" or delimiter:
            return None if Csvlog.line.match(line) else partial(self._table, delimiter or ",")
        begins = line.rstrip() == b"---" and _YAML_KEY.match(following)
        listed = early and _YAML_LIST.match(line) and following.lstrip().startswith(b"- ")
        return self._yaml if begins or listed or form == "yaml" else None

    # JSON

    def _document(self) -> Iterator[Record]:
        text = _Text(self)
        yield from text.values()
        while text.is_followed():
            yield from text.values()
        self.held = text.rest()

    # CSV

    def _table(self, delimiter: str) -> Iterator[Record]:
        csv.field_size_limit(1 << 24)
        rows = csv.reader(self._text_lines(), delimiter=delimiter)
        try:
            header = next(rows, [])
            for row in rows:
                if row:
                    yield Row(tuple(row), dict(zip(header, row, strict=True)) if len(row) == len(header) else None)
        except csv.Error as error:
            yield Row((str(error),), None)

    def _text_lines(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        held = ""
        while self.held or self.more:
            *lines, held = (held + decoder.decode(self.held)).split("\n")
            self.held = b""
            yield from (f"{line}\n" for line in lines)
            if not self.fill():
                break
        if held := held + decoder.decode(self.held, final=True):
            self.held = b""
            yield held

    # YAML

    def _yaml(self) -> Iterator[Record]:
        lines: list[bytes] = []
        item = None
        for line in self._lines():
            if item is None and (key := _YAML_KEY.match(line)) and key["item"]:
                item = key["item"]
                lines = []
            if line.rstrip() == b"---" or (item and line.startswith(item)):
                if lines:
                    yield Block(b"\n".join(lines))
                lines = [line.replace(b"- ", b"  ", 1)] if item and line.startswith(item) else []
            else:
                lines.append(line)
            if len(lines) > 10_000:
                lines = []
        if lines:
            yield Block(b"\n".join(lines))

    def _lines(self) -> Iterator[bytes]:
        while self.held or self.more:
            end = self.held.rfind(b"\n") + 1
            if self.more and not end and len(self.held) < LARGEST:
                self.fill()
                continue
            block, self.held = self.held[: end or len(self.held)], self.held[end or len(self.held) :]
            yield from block.splitlines()


class _Text:
    """A JSON document at the beginning of a stream, value by value."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held, self.at = self._decoder.decode(stream.held), 0
        self._torn = False  # whether something was damaged: brackets say no more where it ends
        self._boundary, self._alike = "", 0
        stream.held = b""

    def rest(self) -> bytes:
        """What is after the document."""
        return self.held[self.at :].lstrip("\r\n").encode("utf-8", "replace") + self._stream.held

    def _fill(self) -> bool:
        while self._stream.fill():
            text, self._stream.held = self._decoder.decode(self._stream.held), b""
            if text:
                self.held, self.at = self.held[self.at :] + text, 0
                return True
        return False

    def is_followed(self) -> bool:
        """Whether another document follows, other than on a line of its own."""
        if len(self.held) - self.at < BATCH:
            self._fill()
        begins = _NEXT_DOCUMENT.match(self.held, self.at)
        if not begins:
            return False
        self.at = begins.end()
        return "\n" not in begins[0] or not self._is_line()

    def _is_line(self) -> bool:
        """Whether the object that begins here is a line of its own."""
        while (end := self.held.find("\n", self.at)) < 0 and len(self.held) - self.at < LARGEST and self._fill():
            pass
        line = self.held[self.at : end if end >= 0 else self.at + LARGEST]
        return line.startswith("{") and line.rstrip().endswith(("}", "},"))

    def values(self) -> Iterator[Element]:
        """The document as one element, or, if it is large or damaged, each of its elements."""
        if self.at and (found := self._complete()):
            yield found
            return
        while len(self.held) - self.at < LARGEST and self._stream.more:
            if not self._fill():
                break
            if len(self.held) > 1 << 16 and (found := self._complete()):
                yield found
                return
        if found := self._complete():
            yield found
        else:
            yield from self._elements()

    def _complete(self) -> Element | None:
        """The value that begins here, if all of it is held and it is not too large."""
        try:
            _, end = _DECODER.raw_decode(self.held, self.at)
        except (ValueError, RecursionError):
            return None
        if end - self.at > LARGEST:
            return None
        raw, self.at = self.held[self.at : end], end
        return Element(raw)

    def _elements(self) -> Iterator[Element]:
        """The elements of a container that is not read as a whole; of one within it, too, if that is large."""
        self.at += 1
        depth = 1
        while depth:
            if space := _SPACE.match(self.held, self.at):
                self.at = space.end()
            if self.at >= len(self.held) - 1 and self._fill():
                continue
            sign = self.held[self.at : self.at + 1]
            if not sign:
                return
            if sign in "]}":
                depth, self.at = depth - (not self._torn), self.at + 1
            elif sign == '"' and (key := _KEY.match(self.held, self.at)):
                self.at = key.end()
            elif sign in "{[":
                if many := self._until_boundary():
                    yield from many
                elif found := self._element():
                    yield found
                else:
                    depth, self.at = depth + 1, self.at + 1
            else:
                self._scalar()

    def _until_boundary(self) -> list[Element]:
        """The next elements of an indented list, by where the one after each begins: without a look into them."""
        end = self.held.rfind(self._boundary, self.at) if self._alike >= ALIKE else -1
        if end < 0:
            return []
        opening = self._boundary[self._boundary.index("{") :]
        first, *others = self.held[self.at : end].split(self._boundary)
        self.at = end + 1
        return [Element(first + "}"), *(Element(f"{opening}{each}}}") for each in others)]

    def _learn(self, element: Element) -> None:
        """Note what is between two elements, and how the next begins, until it has been the same often enough."""
        between = _BETWEEN.match(self.held, self.at)
        boundary = f"}}{between[0]}" if between else ""
        same = bool(boundary) and boundary == self._boundary and boundary not in element.raw
        self._alike, self._boundary = (self._alike + 1 if same else 0), boundary

    def _element(self) -> Element | None:
        """The next element; None if it is too large: then its own elements come."""
        while not (found := self._complete()):
            if len(self.held) - self.at < LARGEST and self._fill():
                continue
            if len(self.held) - self.at >= LARGEST and not self._damaged():
                return None
            following = _NEXT.search(self.held, self.at)
            end = following.end() - 1 if following else len(self.held)
            self._torn = True
            found, self.at = Element(self.held[self.at : end]), end
            return found
        self._learn(found)
        return found

    def _damaged(self) -> bool:
        """Whether the value that begins here is damaged, and not just longer than what is held."""
        try:
            _DECODER.raw_decode(self.held, self.at)
        except json.JSONDecodeError as error:
            return error.pos < len(self.held) - 1 and not error.msg.startswith("Unterminated string")
        except RecursionError:
            return True
        return False

    def _scalar(self) -> None:
        found = self._complete()
        while not found and len(self.held) - self.at < LARGEST and self._fill():
            found = self._complete()
        if not found:
            following = _NEXT.search(self.held, self.at)
            self.at = following.end() - 1 if following else len(self.held)
