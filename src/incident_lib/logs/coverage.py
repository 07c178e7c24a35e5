"""What was recognised of a log, in all of it or, of a large one, in samples: whether it was read at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from incident_lib.logs.messages import ERRORS
from incident_lib.logs.pieces import Piece
from incident_lib.logs.record import raw_text
from incident_lib.logs.times import parse_log_time

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.logs.decoding import Decoder
    from incident_lib.logs.pieces import Pieces, Rest
    from incident_lib.logs.record import Record

SAMPLES = 3  # of what was not understood
LEADS = 3  # shapes that are noted
_FAILED = ERRORS | {"FATAL", "PANIC"}


@dataclass
class Coverage:
    """What one log is, and how much of it was understood.

    Attributes:
        name: of the file.
        layers: its compressions and its encoding, if it is not UTF-8.
        lines: lines or other records, all of them.
        seen: how many of these were looked at; understood: how many of those are PostgreSQL's.
        severities: entries that were seen, by severity.
        first, last: the earliest and the latest time that was seen.
        carried: entries that were seen, whose time is that of what carries them.
        wrapping: what carries its entries; leads: the shapes of what stands before them; prefix: the log_line_prefix.
        samples: records that were not understood.
        found: entries that were looked for and found.
        others_missed: whether lines of another format may be entries of the other question of the same pass.
        compression: by what its bytes are compressed, if they are not read for that reason.
    """

    name: str
    layers: tuple[str, ...] = ()
    lines: int = 0
    seen: int = 0
    understood: int = 0
    severities: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    carried: int = 0
    wrapping: str = ""
    leads: tuple[str, ...] = ()
    prefix: str = ""
    samples: list[str] = field(default_factory=list)
    found: int = 0
    others_missed: bool = False
    compression: str | None = None

    @property
    def recognised(self) -> bool:
        """Whether it has an entry of a server's log."""
        return self.severities.total() > 0 or self.found > 0

    @property
    def exact(self) -> bool:
        """Whether all of it was looked at."""
        return self.seen >= self.lines

    @property
    def entries(self) -> int:
        """How many entries it has; if it was not looked at as a whole, about so many."""
        return round(self.severities.total() * self.lines / self.seen) if self.seen else 0

    @property
    def not_understood(self) -> int:
        """How many lines are not PostgreSQL's; if it was not looked at as a whole, about so many."""
        return round((self.seen - self.understood) * self.lines / self.seen) if self.seen else 0

    @property
    def errors_logged(self) -> bool:
        """Whether an error was seen: a server that logs no errors logs no rejected inserts."""
        return any(self.severities[severity] for severity in _FAILED)

    def see_pieces(self, pieces: Pieces) -> None:
        """Note what stands before the lines, the most frequent first."""
        self.leads = tuple(lead.decode("utf-8", "replace") for lead, _ in pieces.leads.most_common(LEADS) if lead)
        self.prefix = next((prefix for prefix, _ in pieces.prefixes.most_common(1)), "")

    def see(self, record: Record, found: list[Piece | Rest], decoder: Decoder, zone: str | None) -> None:
        """Note what a record is."""
        self.seen += 1
        pieces = decoder.pieces
        accepted = [each for each in found if pieces.is_own(each)]
        blank = isinstance(record, bytes) and not record.strip()
        if accepted or blank:
            self.understood += 1
        elif len(self.samples) < SAMPLES:
            self.samples.append(raw_text(record)[:200])
        for piece in accepted:
            if isinstance(piece, Piece) and piece.begins:
                self.severities[piece.label] += 1
                self.carried += piece.carried
                self.see_time(piece.time, zone)

    def see_time(self, text: str, zone: str | None) -> None:
        """Note the time of an entry."""
        if at := parse_log_time(text, zone):
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)
