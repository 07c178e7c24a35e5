"""A stream as records: its lines, the elements of JSON documents, rows of CSV, documents of YAML; in any order."""

from __future__ import annotations

import codecs
import csv
import re
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from incident_lib.logs.documents import LARGEST, Documents
from incident_lib.logs.parts import has_parts, join_parts
from incident_lib.logs.record import Block, Row
from incident_lib.logs.structured import Csvlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.logs.record import Record

BATCH = 1000  # records that are given at a time, if they are not lines
HEADERS_WITHIN = 50  # lines at the beginning, one of which may be the header of CSV

_OPENERS = frozenset({b"{", b"["})
_SPECIAL = _OPENERS | {b"-"}
_BEGINNINGS = frozenset({b"[{", b"[[", b'["', b"[", b"[\r", b"[ ", b"{", b"{\r", b"--"})  # of what is no line by itself
_JSON = re.compile(rb"\s*(?:\[\s*(?:[\[{\"]|\Z)|\{\s*(?:\"|\Z))")
_MESSAGES = (
    rb"event_message|_raw|sql_state_code|@?message|textPayload|jsonPayload|log|line|Line|msg|body|Message|properties\w*"
)
_CELL = rb"\"?[\w@. ()\[\]']*"
_HEADERS = {
    sign.decode(): re.compile(
        rb"(?![\w./-]+\.log\Z)(?:%(cell)b\"?%(sign)b)*%(cell)b\b(?:%(names)b)\b[\w'\])]*\"?(?:%(sign)b%(cell)b\"?)*\r?\Z"
        % {b"cell": _CELL, b"sign": sign, b"names": _MESSAGES}
    )
    for sign in (b",", b";", b"\t")
}
_YAML_KEY = re.compile(rb"(?P<item> *- )?[\w@.-]+:(?: |\r?\Z)")
_YAML_LIST = re.compile(rb"[\w@.-]+:\s*\Z")
_ANSI = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")  # a colour
_CUT_ANSI = re.compile(rb"\x1b(?:\[[0-9;]*)?\Z")
_FIRST_TWO = itemgetter(slice(2))


def is_header(line: bytes) -> bool:
    """Whether a line may be the header of CSV that has a server's messages."""
    return any(header.match(line) for header in _HEADERS.values())


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
        documents = Documents(self)
        yield from documents.elements()
        self.held = documents.rest()

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
