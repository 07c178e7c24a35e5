"""A stream as records: its lines, the elements of JSON documents, rows of CSV, documents of YAML; in any order."""

from __future__ import annotations

import codecs
import csv
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from incident_lib.logs.structured import Csvlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LARGEST = 1 << 22  # bytes of one record
HEADERS_WITHIN = 50  # lines at the beginning, one of which may be the header of CSV

_OPENERS = frozenset({b"{", b"["})
_JSON = re.compile(rb"\s*(?:\[\s*(?:[\[{\"]|\Z)|\{\s*(?:\"|\Z))")
_MESSAGES = (
    rb"event_message|sql_state_code|@?message|textPayload|jsonPayload|log|line|Line|msg|body|Message|properties\w*"
)
_CELL = rb"\"?[\w@. ()\[\]']*"
_HEADER = re.compile(rb"(?:%b\"?,)*%b\b(?:%b)\b[\w'\])]*\"?(?:,%b\"?)*\r?\Z" % (_CELL, _CELL, _MESSAGES, _CELL))
_YAML_KEY = re.compile(rb"(?P<item> *- )?[\w@.-]+:(?: |\r?\Z)")
_YAML_LIST = re.compile(rb"[\w@.-]+:\s*\Z")
_NEXT = re.compile(r"[\n,]\s*\{")
_SPACE = re.compile(r"[\s,:]*")
_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*\"\s*:\s*")
_DECODER = json.JSONDecoder(strict=False)


class Element(NamedTuple):
    """An object of a JSON document: its text, and itself; None for one that is damaged."""

    raw: str
    value: Any


class Row(NamedTuple):
    """A row of CSV: its cells by the names of the columns; None for one of another length."""

    raw: tuple[str, ...]
    value: dict[str, str] | None


class Block(NamedTuple):
    """A document, or an item of a list, of YAML."""

    raw: bytes


Record = bytes | Element | Row | Block


def has(record: Record, texts: Sequence[str], encoded: Sequence[bytes]) -> bool:
    """Whether a record has one of some texts in it; encoded: the same as bytes."""
    if isinstance(record, bytes):
        return any(text in record for text in encoded)
    if isinstance(record, Row):
        return any(text in cell for text in texts for cell in record.raw)
    if isinstance(record, Element):
        return any(text in record.raw for text in texts)
    return any(text in record.raw for text in encoded)


class Stream:
    """Bytes that are taken as lines, or as text."""

    def __init__(self, read: Callable[[int], bytes], size: int) -> None:
        self._read, self._size, self.held, self.more = read, size, b"", True

    def fill(self) -> bool:
        """Hold more; False at the end."""
        piece = self._read(self._size)
        self.held, self.more = self.held + piece, bool(piece)
        return self.more

    def records(self, form: str | None = None) -> Iterator[Record]:
        """The records, in order; form: `lines`, `json`, `csv` or `yaml`, or None: recognised."""
        number = 0
        while self.held or self.more:
            end = self.held.rfind(b"\n") + 1
            if self.more and (not end or (number == 0 and len(self.held) < self._size)):
                if not end and len(self.held) > LARGEST and self.held[:1] not in _OPENERS:
                    yield self.held[:LARGEST]  # the rest of such a line holds nothing that is read
                    self._skip_line()
                    continue
                if end or len(self.held) <= LARGEST:
                    self.fill()
                    continue
            block, self.held = self.held[: end or len(self.held)], self.held[end or len(self.held) :]
            lines = block.split(b"\n")
            if not lines[-1]:
                lines.pop()
            for place, line in enumerate(lines):
                number += 1
                if reader := self._special(lines, place, number, form):
                    rest = b"\n".join(lines[place:]) + (b"\n" if block.endswith(b"\n") else b"")
                    self.held = rest + self.held
                    yield from reader()
                    break
                yield line

    def _skip_line(self) -> None:
        self.held = b""
        while self.fill():
            if end := self.held.find(b"\n") + 1:
                self.held = self.held[end:]
                return
            self.held = b""

    def _special(
        self, lines: list[bytes], place: int, number: int, form: str | None
    ) -> Callable[[], Iterator[Record]] | None:
        """What reads the records that begin with a line; None: it is a record itself."""
        line = lines[place]
        if form == "lines":
            return None
        if (line[:1] in _OPENERS or form == "json") and _JSON.match(line):
            whole = line[:1] == b"{" and len(line) < LARGEST and line.rstrip().endswith((b"}", b"},"))
            return None if whole else self._document
        if form == "csv" or (
            number <= HEADERS_WITHIN and b"," in line and _HEADER.match(line.removeprefix(b"\xef\xbb\xbf"))
        ):
            return None if Csvlog.line.match(line) else self._table
        following = lines[place + 1] if place + 1 < len(lines) else b""
        if form == "yaml" or (line[:3] == b"---" and line.rstrip() == b"---" and _YAML_KEY.match(following)):
            return self._yaml
        if number <= HEADERS_WITHIN and _YAML_LIST.match(line) and following.lstrip().startswith(b"- "):
            return self._yaml
        return None

    # JSON

    def _document(self) -> Iterator[Record]:
        text = _Text(self)
        yield from text.values()
        self.held = text.rest()

    # CSV

    def _table(self) -> Iterator[Record]:
        csv.field_size_limit(1 << 24)
        rows = csv.reader(self._text_lines())
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
            if len(lines) > 10_000:  # noqa: PLR2004 - it is no YAML
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

    def values(self) -> Iterator[Element]:
        """The document as one element, or, if it is large or damaged, each of its elements."""
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
            value, end = _DECODER.raw_decode(self.held, self.at)
        except (ValueError, RecursionError):
            return None
        if end - self.at > LARGEST:
            return None
        raw, self.at = self.held[self.at : end], end
        return Element(raw, value)

    def _elements(self) -> Iterator[Element]:
        """The elements of a container that is not read as a whole; of one within it, too, if that is large."""
        self.at += 1
        depth = 1
        while depth:
            self.at = _SPACE.match(self.held, self.at).end()  # type: ignore[union-attr] - it matches nothing, too
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
                if found := self._element():
                    yield found
                else:
                    depth, self.at = depth + 1, self.at + 1
            else:
                self._scalar()

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
            found, self.at = Element(self.held[self.at : end], None), end
            return found
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
