"""Entries of a log in which other programs have put something around each line: read record by record."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from incident_lib.logs.decoding import Decoder
from incident_lib.logs.entry import DAMAGED, Damaged
from incident_lib.logs.joining import join
from incident_lib.logs.messages import ERRORS, duplicate_patterns
from incident_lib.logs.pieces import Piece
from incident_lib.logs.record import Element, Row, hits, raw_text
from incident_lib.logs.records import Stream
from incident_lib.logs.stderr import REJECTION
from incident_lib.logs.times import parse_log_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.logs.coverage import Coverage
    from incident_lib.logs.entry import Entry
    from incident_lib.logs.pieces import Rest
    from incident_lib.logs.record import Record

NEIGHBOURS = 60  # records of others that may be between the pieces of an entry
SAMPLE = 400  # at the beginning, by which the order and what stands before the lines is known
EVERY = 400  # of a large log one of so many records is looked at


_NAME_AT_END = re.compile(r"[\"«»“”„]\s?\w+\\?[\"«»“”](?:\s*\Z|\",)")  # of a line, or of a text within JSON


class Wrapped:
    """The entries of one log about some needles."""

    def __init__(
        self,
        needles: Sequence[str],
        coverage: Coverage,
        prefix: str | None = None,
        zone: str | None = None,
        *,
        also: Sequence[str] = (),
    ) -> None:
        self._words, self._other_words, self._zone = _words(needles), _words(also), zone
        self._encoded = [needle.encode() for needle in (*needles, *also)]
        self._coverage, self.decoder = coverage, Decoder(prefix)
        self._known: dict[int, list[Piece | Rest]] = {}
        self._descending, self._looked_at = False, 0
        named = duplicate_patterns(rf"\w*(?:{'|'.join(map(re.escape, needles))})\w*").pattern
        self._error = re.compile(
            rf"(?:{'|'.join(ERRORS)})\s?:\s{{1,2}}(?:\[[\w.]+:\d+\]\s+)?(?:\w{{5}}:\s)?(?:{named})"
        )

    def entries(self, read: Callable[[int], bytes], size: int, form: str | None) -> Iterator[Entry | Damaged]:
        """The entries whose message has a needle, and records that may have been such entries."""
        records = Stream(read, size).records(form)
        held: list[Record] = []
        begin = 0  # how many of these were searched
        while True:
            added = next(records, None)
            held += added or []
            self._look(held, len(held) - len(added or []))
            end = len(held) - (0 if added is None else NEIGHBOURS)
            wanted = set(hits(held, begin, end, self._words))
            others = hits(held, begin, end, self._other_words) if self._other_words else ()
            for at in sorted(wanted.union(others)):
                yield from (each for each in self._at(held, at) if at in wanted or not isinstance(each, Damaged))
            if added is None:
                break
            dropped = max(0, end - NEIGHBOURS)
            held, begin = held[dropped:], max(begin, end) - dropped
            self._known = {place - dropped: known for place, known in self._known.items() if place >= dropped}
        self._coverage.wrapping = self._wrapping()
        self._coverage.see_pieces(self.decoder.pieces)

    def _wrapping(self) -> str:
        return ", ".join(self.decoder.carriers) or "lines"

    def _look(self, held: list[Record], at: int) -> None:
        """Look at new records: at all in the beginning, later at some; the first tell in which order they are."""
        coverage, first = self._coverage, self._looked_at < SAMPLE
        coverage.lines += len(held) - at
        self._looked_at += len(held) - at
        places = range(at, len(held))
        if not first:
            places = range(at, len(held), EVERY)
        found = [(place, self._decoded(held, place)) for place in places]
        if first and found:
            self._descending = is_descending(
                [p for _, each in found[:SAMPLE] for p in each if isinstance(p, Piece)], self._zone
            )
        for place, each in found:
            coverage.see(held[place], each, self.decoder, self._zone)

    def _decoded(self, held: list[Record], place: int) -> list[Piece | Rest]:
        if place not in self._known:
            self._known[place] = self.decoder.decode(held[place])
        return self._known[place]

    def _at(self, held: list[Record], at: int) -> Iterator[Entry | Damaged]:
        """The entries about the needles in a record."""
        own = self._decoded(held, at)
        understood = found = False
        for place, piece in enumerate(own):
            if not isinstance(piece, Piece) or not self._accepts(piece, held, at):
                continue
            understood = True
            first = piece.text.partition(b"\n")[0]
            if piece.label in ERRORS and any(needle in first for needle in self._encoded):
                after = chain(own[place + 1 :], self._pieces(held, range(at + 1, len(held))))
                before = chain(
                    (p for p in reversed(own[:place]) if isinstance(p, Piece)),
                    self._pieces(held, range(at - 1, -1, -1), backwards=True),
                )
                found = True
                yield join(piece, *((before, after) if self._descending else (after, before)))
        if not found and (self._has_error(held[at]) or (not understood and _may_be_entry(held[at], own))):
            yield Damaged(DAMAGED)

    def _has_error(self, record: Record) -> bool:
        """Whether an error that is looked for is in a record, in whatever."""
        return self._error.search(raw_text(record).replace("\\", "").replace('""', '"')) is not None

    def _accepts(self, piece: Piece, held: list[Record], at: int) -> bool:
        """Whether a piece is the server's; what is unusual before it may be before the lines that follow, too."""
        if self.decoder.pieces.accepts(piece):
            return True
        for place in range(at + 1, min(len(held), at + NEIGHBOURS)):
            self._decoded(held, place)
        return self.decoder.pieces.accepts(piece)

    def _pieces(self, held: list[Record], places: range, *, backwards: bool = False) -> Iterator[Piece | Rest]:
        for place in places[:NEIGHBOURS]:
            found = self._decoded(held, place)
            yield from (each for each in reversed(found) if isinstance(each, Piece)) if backwards else found


def _words(needles: Sequence[str]) -> list[str]:
    """The longest word of each: YAML may begin a new line between two words."""
    return sorted({max(needle.split(), key=len) for needle in needles})


def _may_be_entry(record: Record, pieces: list[Piece | Rest]) -> bool:
    """Whether a record that is not understood is damaged, reads like a rejection, or ends with a name in quotes."""
    if isinstance(record, Element | Row):
        return record.value is None
    text = raw_text(record)
    return not text.startswith("\t") and (
        REJECTION.search(text[:5000]) is not None or (not pieces and _NAME_AT_END.search(text) is not None)
    )


def is_descending(sample: list[Piece], zone: str | None = None) -> bool:
    """Whether the latest entries come first: by their times, else by the parts of entries."""
    times = [parse_log_time(piece.time, zone) for piece in sample if piece.begins]
    known = [at for at in times if at]
    order = Counter((a < b) - (a > b) for a, b in pairwise(known))
    if order[1] != order[-1]:
        return order[-1] > order[1]
    marks = "".join(_mark(piece) for piece in sample)
    return sum(map(marks.count, ("SD", "DE", "SE"))) > sum(map(marks.count, ("DS", "ED", "ES")))


def _mark(piece: Piece) -> str:
    if piece.begins:
        return "E" if piece.label in ERRORS else "-"
    return "S" if piece.ends else "D"
