"""Search any amount of bytes for a needle, in constant memory, and parse only what is around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from incident_lib.logs.entry import ENDS_WITHIN, Damaged, Entry, Unknown, line_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.logs.entry import Format

CHUNK = 1 << 20  # bytes that are read at a time
BEFORE = 1 << 12  # no message has it further from the beginning of its line
AFTER = 1 << 18  # nor its DETAIL and its statement from the message
BACKLOG = 1 << 14  # bytes before a line of another format that are read again with it
LEAST = 8  # bytes of a needle that tell that it is one, where a file is cut off within it


class Left(NamedTuple):
    """What was read and is left, from before a line that is not of the format."""

    data: bytes


def scan(
    read: Callable[[int], bytes],
    needles: Sequence[bytes],
    form: Format,
    *,
    also: Sequence[bytes] = (),
    size: int = CHUNK,
    after: int = AFTER,
) -> Iterator[Entry | Damaged | Unknown | Left]:
    """The entries that a format finds around each of some needles; it ends at a line of another format, with the rest.

    A line of another format that has one of `also` alone does not end it: it is unknown.

    Args:
        read: the next bytes, so many at most; none at the end.
        needles: an entry's first line must have one of them; they have no line break in them.
        form: the format of the bytes.
        also: more needles, of which an entry may have one as well; damage is that of a line with one of the others.
        size: how many bytes are read at a time.
        after: how many bytes after a needle belong to its entry at most.
    """
    data, at, within = b"", 0, False  # within: the data begins amid a line
    names = [needle.decode() for needle in (*needles, *also)]
    longest = max(map(len, (*needles, *also)))
    while True:
        more = read(size)
        data += more
        places = _Places(data, (*needles, *also))
        while (hit := places.next(at)) >= 0:
            begin = data.rfind(b"\n", 0, hit) + 1
            if more and len(data) - begin < after:
                break
            wanted = _first(data, needles, hit) if also else hit  # -1: of another question alone
            hit = max(hit, wanted)
            if (within and begin == 0) or hit - begin > BEFORE:
                at = line_end(data, hit)
                continue
            before, (at, found) = at, form.find(data, begin, hit)
            if isinstance(found, Unknown) and wanted >= 0:
                yield Left(data[_line_after(data, max(before, begin - BACKLOG), begin) :])
                return
            if found and _is_sought(found, names, wanted):
                yield found
        if not more:
            break
        kept = max(0, (begin if hit >= 0 else len(data)) - BACKLOG)
        at = max(at, kept if hit >= 0 else len(data) - longest)
        within = (within and kept == 0) or (kept > 0 and data[kept - 1 : kept] != b"\n")
        data, at = data[kept:], max(0, at - kept)
    last = data[data.rfind(b"\n") + 1 :]
    if not (within and last == data) and any(_ends_within(last, needle, form) for needle in needles):
        yield Damaged(ENDS_WITHIN)


class _Places:
    """Where the needles are in some bytes: each is searched once."""

    def __init__(self, data: bytes, needles: Sequence[bytes]) -> None:
        self._data, self._next = data, dict.fromkeys(needles, -2)  # -2: not searched yet

    def next(self, at: int) -> int:
        """The first place of one of them from here on; -1: there is none."""
        for needle, place in self._next.items():
            if place == -2 or 0 <= place < at:
                self._next[needle] = self._data.find(needle, at)
        return min((place for place in self._next.values() if place >= 0), default=-1)


def _first(data: bytes, needles: Sequence[bytes], at: int) -> int:
    """The first place of a needle from here on in this line; -1: it has none."""
    end = line_end(data, at)
    return min((place for needle in needles if (place := data.find(needle, at, end)) >= 0), default=-1)


def _is_sought(found: Entry | Damaged | Unknown, names: Sequence[str], wanted: int) -> bool:
    return (_names(found, names) if isinstance(found, Entry) else wanted >= 0) or isinstance(found, Unknown)


def _names(entry: Entry, names: Sequence[str]) -> bool:
    first = entry.message.partition("\n")[0]
    return any(name in first for name in names)


def _line_after(data: bytes, at: int, most: int) -> int:
    """Where the first line begins at or after a place, but not after another."""
    begins = at == 0 or data[at - 1 : at] == b"\n"
    return at if begins else min(line_end(data, at), most)


def _ends_within(last: bytes, needle: bytes, form: Format) -> bool:
    """Whether the last line of a file has no end, and the beginning of what is looked for."""
    if needle in last:
        return False
    return form.cut.fullmatch(last) is not None or any(
        last.endswith(needle[:length]) for length in range(LEAST, len(needle))
    )
