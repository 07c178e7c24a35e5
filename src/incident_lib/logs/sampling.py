"""Samples of a stream that is searched, not read line by line: what it is, and how much of it was understood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.logs.decoding import Decoder
from incident_lib.logs.structured import Csvlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.logs.coverage import Coverage

WHOLE = 1 << 17  # bytes at the beginning that are looked at as a whole
EVERY = 1 << 24  # then a piece of so many bytes:
PIECE = 1 << 13


class Sampler:
    """Passes a stream on, and notes what its samples are.

    Attributes:
        wrapping: what the stream is.
    """

    def __init__(
        self, read: Callable[[int], bytes], coverage: Coverage, prefix: str | None = None, zone: str | None = None
    ) -> None:
        self._read, self._coverage, self._zone = read, coverage, zone
        self._decoder = Decoder(prefix)
        self.wrapping = ""
        self._done = self._next = self._lines = self._bytes = 0  # bytes passed on; where the next sample is; of samples
        self._cut = b""  # the beginning of a line that goes on in the next bytes
        self._last = b""
        self._quoted = False

    def read(self, size: int) -> bytes:
        """The next bytes."""
        given = self._read(size)
        if self._done < WHOLE:
            whole = self._cut + given
            most = WHOLE if len(given) == size else len(whole)  # a shorter one may be all that there is
            end = whole.rfind(b"\n", 0, most) + 1
            self._look(whole[:end])
            self._cut = whole[end:] if most == len(whole) else b""
            self._next = self._done + len(given) + EVERY
        elif self._done >= self._next:
            self._cut = b""
            self._look(given[given.find(b"\n") + 1 : PIECE].rpartition(b"\n")[0])
            self._next = self._done + EVERY
        self._done += len(given)
        self._last = given or self._last
        return given

    def leave(self, unread: int) -> None:
        """The rest of the stream is read by another: so many bytes of what was passed on, too."""
        self._done -= unread
        self._coverage.lines += self._estimated()

    def end(self) -> None:
        """Note how many lines it had, and the time of its last."""
        if self._done > self._bytes + len(self._cut):
            for line in self._last[-PIECE:].split(b"\n")[1:]:
                for piece in self._decoder.decode(line):
                    if time := getattr(piece, "time", None):
                        self._coverage.see_time(time, self._zone)
        else:
            self._look(self._cut)
        self._coverage.lines += self._estimated()
        self._coverage.wrapping = self.wrapping
        self._coverage.see_pieces(self._decoder.pieces)

    def _estimated(self) -> int:
        return round(self._lines * max(self._done, self._bytes) / self._bytes) if self._bytes else 0

    def _look(self, text: bytes) -> None:
        lines = text.split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        for line in lines:
            if self.wrapping == "csvlog" and not self._continues(line):
                continue
            self._coverage.see(line, self._decoder.decode(line), self._decoder, self._zone)
        self._lines += len(lines)
        self._bytes += len(text)

    def _continues(self, line: bytes) -> bool:
        """Whether a line of csvlog is to be judged: not within a field that began in a line before."""
        begun = self._quoted and not Csvlog.line.match(line)
        self._quoted = (line.count(b'"') % 2 == 1) != begun
        if begun:
            self._coverage.seen += 1
            self._coverage.understood += 1
        return not begun
