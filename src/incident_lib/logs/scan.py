"""Search any amount of bytes for a needle, in constant memory, and parse only what is around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.logs.entry import ENDS_WITHIN, Damaged, line_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.logs.entry import Entry, Format

CHUNK = 1 << 20  # bytes that are read at a time
BEFORE = 1 << 12  # no message has it further from the beginning of its line
AFTER = 1 << 18  # nor its DETAIL and its statement from the message
LEAST = 8  # bytes of a needle that tell that it is one, where a file is cut off within it


def scan(
    read: Callable[[int], bytes], needle: bytes, form: Format, *, size: int = CHUNK, after: int = AFTER
) -> Iterator[Entry | Damaged]:
    """The entries that a format finds around each needle.

    Args:
        read: the next bytes, so many at most; none at the end.
        needle: what an entry's first line must have; it has no line break in it.
        form: the format of the bytes.
        size: how many bytes are read at a time.
        after: how many bytes after a needle belong to its entry at most.
    """
    data, within, name = b"", False, needle.decode()  # within: the data begins amid a line
    while True:
        more = read(size)
        data += more
        at = 0
        while (hit := data.find(needle, at)) >= 0:
            begin = data.rfind(b"\n", at, hit) + 1 or at
            if more and len(data) - begin < after:
                break
            if (within and begin == 0) or hit - begin > BEFORE:
                at = line_end(data, hit)
                continue
            at, found = form.find(data, begin, hit)
            if isinstance(found, Damaged) or (found and name in found.message.partition("\n")[0]):
                yield found
        kept = begin if hit >= 0 else max(at, data.rfind(b"\n") + 1, len(data) - BEFORE)
        if not more:
            break
        within = (within and kept == 0) or (kept > 0 and data[kept - 1 : kept] != b"\n")
        data = data[kept:]
    last = data[data.rfind(b"\n") + 1 :]
    if not within and _ends_within(last, needle, form):
        yield Damaged(ENDS_WITHIN)


def _ends_within(last: bytes, needle: bytes, form: Format) -> bool:
    """Whether the last line of a file has no end, and the beginning of what is looked for."""
    if needle in last:
        return False
    return form.cut.fullmatch(last) is not None or any(
        last.endswith(needle[:length]) for length in range(LEAST, len(needle))
    )
