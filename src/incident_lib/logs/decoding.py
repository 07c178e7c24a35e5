"""One record of a log as the pieces of a server's log that it carries, out of whatever is around them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.logs.pieces import SEVERITIES, TABS, TIMES, Carrier, Piece, Pieces, Rest, mask
from incident_lib.logs.record import Block, Element, Row
from incident_lib.logs.structured import Csvlog, csv_fields
from incident_lib.logs.unwrapping import decode_json, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.logs.record import Record


SEVERAL = re.compile(rb"#012(?!#011)|\t(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")  # between lines: syslog, aws --output text
_NO_BREAK = "\N{NO-BREAK SPACE}".encode()  # what a browser or a chat makes of a blank


class Decoder:
    """Reads the records of one log; knows what usually stands before its lines."""

    def __init__(self, prefix: str | None = None) -> None:
        """Prefix: the server's log_line_prefix; None: any."""
        self.pieces = Pieces(prefix)
        self.carriers: dict[str, int] = {}

    def decode(self, record: Record) -> list[Piece | Rest]:
        """The pieces that a record carries, in its order; none if it is of no server's log, or damaged."""
        if isinstance(record, bytes):
            line = record.strip(b"\0\r\n").replace(_NO_BREAK, b" ")
            return [*self._several(line)] if SEVERAL.search(line) else [*self._line(line)]
        kind, value = _value(record)
        found = self._unwrapped(value, Carrier(), kind)
        if found or not isinstance(record, Block):
            return found
        return [piece for line in record.raw.split(b"\n") for piece in self.decode(line)]  # as YAML only at first sight

    def _unwrapped(self, value: object, carrier: Carrier, kind: str) -> list[Piece | Rest]:
        found: list[Piece | Rest] = [*unwrap(value, self.pieces, carrier)]
        if found:
            self.carriers[kind] = self.carriers.get(kind, 0) + 1
        return found

    def _several(self, line: bytes) -> Iterator[Piece | Rest]:
        """The pieces of a line that has several of the server's, with what stands before the first."""
        lines = SEVERAL.split(line)
        first = self.pieces.read(lines[0])
        if first is None and not line.startswith(b"\t"):
            yield from self._line(line)
            return
        yield from [first] if first else self._line(lines[0])
        for piece in filter(None, map(self.pieces.read, lines[1:])):
            had = first or piece
            yield piece._replace(source=had.source, process=piece.process or had.process, lead=had.lead)

    def _line(self, line: bytes) -> Iterator[Piece | Rest]:
        if (
            line.rstrip(b", ")[-1:] == b"}"
            and (start := line.find(b"{")) >= 0
            and not self.pieces.is_continued(line[:start])
        ):
            found = decode_json(line[start:].rstrip(b", "))
            if isinstance(found, dict | list) and (
                carried := self._unwrapped(found, _carrier(line[:start]), "JSON lines")
            ):
                yield from carried
                return
        begins = Csvlog.line.search(line)
        if (
            begins
            and not self.pieces.is_continued(line[: begins.start()])
            and (fields := csv_fields(line, begins.start()))
        ):
            self.carriers["csvlog"] = self.carriers.get("csvlog", 0) + 1
            yield _of_csvlog(fields, _carrier(line[: begins.start()]))
        elif piece := self.pieces.read(line):
            yield piece
        elif places := [place for tab in TABS if (place := line.find(tab)) >= 0]:
            at = min(places)
            yield Rest(mask(line[:at]), line[at:].removeprefix(b"#011").removeprefix(b"\t"))


def _value(record: Element | Row | Block) -> tuple[str, object]:
    if isinstance(record, Block):
        import yaml  # few logs need it

        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        try:
            return "YAML", yaml.load(record.raw.decode("utf-8", "replace"), loader)  # noqa: S506 - texts only
        except yaml.YAMLError:
            return "YAML", None
    return ("JSON" if isinstance(record, Element) else "CSV"), record.value


def _carrier(lead: bytes) -> Carrier:
    times = TIMES.findall(lead)
    return Carrier(times[0].decode() if times else "", mask(lead).decode("utf-8", "replace"))


def _of_csvlog(had: dict[str, str | None], carrier: Carrier) -> Piece:
    severity = had["severity"] or ""
    return Piece(
        label=severity if severity in SEVERITIES else "LOG" if had["state"] == "00000" else "ERROR",
        text=(had["message"] or "").encode("utf-8", "replace"),
        source=carrier.source,
        time=had["time"] or "",
        process=had["process"],
        state=had["state"],
        role=had["role"],
        application=had["application"],
        command=had["tag"],
        detail=had["detail"],
        statement=had["query"],
    )
