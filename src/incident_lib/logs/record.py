"""One record of a stream: a line, an element of JSON, a row of CSV, a document of YAML; and which have a text."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from incident_lib.logs.unwrapping import decode_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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
