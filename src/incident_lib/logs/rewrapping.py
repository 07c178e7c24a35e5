"""Lines that a terminal or a mail program has wrapped at some width: joined again."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.logs.pieces import TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WIDEST = 250  # characters of a line that was wrapped
LEAST = 3  # lines that begin with a time, and lines that do not
MOST_OF = 0.9  # of the lines that do not, whose first word had no place in the line before
_LINES = 200
_LONGEST = 1 << 16  # bytes without a line that begins with a time
_QUOTED = re.compile(rb"(?:> ?)+")


class Width(NamedTuple):
    """How a log was wrapped.

    Attributes:
        columns: bytes that a line has at most.
        within_words: as terminals do; else at blanks.
        quoted: whether each line begins with the sign of a quotation.
    """

    columns: int
    within_words: bool
    quoted: bool

    def goes_on(self, line: bytes, following: bytes) -> bool:
        """Whether a line goes on in the next, since that, or its first word, had no place in it."""
        if not line or not following.strip() or TIMES.match(following) or following[:1] == b"\t":
            return False
        if self.within_words:
            return len(line) >= self.columns - 1
        return following[:1] != b" " and len(line) + 1 + len(following.split(maxsplit=1)[0]) > self.columns


def width_of(head: bytes) -> Width | None:
    """How a log that begins so was wrapped; None: it was not."""
    lines = [line.rstrip(b"\r") for line in head.split(b"\n", _LINES)[:_LINES]]
    quoted = all(line.startswith(b">") for line in lines if line)
    if quoted:
        lines = [_QUOTED.sub(b"", line, count=1) for line in lines]
    columns = max(map(len, lines))
    if columns > WIDEST or sum(TIMES.match(line) is not None for line in lines) < LEAST:
        return None
    at_blanks = Width(columns, within_words=False, quoted=quoted)
    others = [
        (line, following)
        for line, following in pairwise(lines)
        if line and following[:1].strip() and not TIMES.match(following)
    ]
    wrapped = [line for line, following in others if at_blanks.goes_on(line, following)]
    if len(wrapped) < max(LEAST, MOST_OF * len(others)):
        return None
    return at_blanks._replace(within_words=all(len(line) >= columns - 1 for line in wrapped))


class Rewrapped:
    """The bytes of a log that was wrapped, with its lines as they were."""

    def __init__(self, read: Callable[[int], bytes], width: Width) -> None:
        self._read, self._width, self._held = read, width, b""

    def read(self, size: int) -> bytes:
        """The next bytes, about so many; none at the end."""
        while raw := self._read(size):
            lines = (self._held + raw).split(b"\n")
            last = max(self._beginnings(lines), default=0)
            if not last and len(self._held) > _LONGEST:
                last = len(lines) - 1
            self._held = b"\n".join(lines[last:])
            if last:
                return b"".join(line + b"\n" for line in self._joined(lines[:last]))
        left, self._held = self._held, b""
        return b"\n".join(self._joined(left.split(b"\n"))) if left else b""

    def _beginnings(self, lines: list[bytes]) -> Iterator[int]:
        """The lines that begin with a time; not the last, which may be cut off."""
        return (place for place, line in enumerate(lines[:-1]) if TIMES.match(self._bare(line)))

    def _bare(self, line: bytes) -> bytes:
        return _QUOTED.sub(b"", line, count=1) if self._width.quoted else line

    def _joined(self, lines: Iterable[bytes]) -> list[bytes]:
        joined: list[bytes] = []
        before = b""
        for line in (self._bare(each.rstrip(b"\r")) for each in lines):
            if joined and self._width.goes_on(before, line):
                whole = self._width.within_words and len(before) >= self._width.columns
                joined[-1] += line if whole else b" " + line
            else:
                joined.append(line)
            before = line
        return joined
