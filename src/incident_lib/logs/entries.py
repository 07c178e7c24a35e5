"""Read PostgreSQL's server logs, in any of their formats, as a stream: the entries whose message has a needle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.logs import exports
from incident_lib.logs.entry import BEGINS_WITHIN, UNREADABLE, Damaged, Entry, line_end
from incident_lib.logs.scan import AFTER, BEFORE, CHUNK, scan
from incident_lib.logs.source import Log
from incident_lib.logs.stderr import Stderr
from incident_lib.logs.structured import Csvlog, Jsonlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.logs.entry import Format

BYTES_OF_A_LINE = 5000  # that are looked at
FORMATS = ("stderr", "csvlog", "jsonlog", "export")
HEAD = 1 << 16  # bytes of a log by which its format is recognised


def entries(
    log: Log,
    needle: str,
    *,
    prefix: str | None = None,
    form: str | None = None,
    chunk: int = CHUNK,
    after: int = AFTER,
) -> Iterator[Entry | Damaged]:
    """The entries whose message contains the needle, in order, and damage that may have been such entries.

    Args:
        log: as `opened` yields it.
        needle: what the message must contain, in its first line.
        prefix: the server's log_line_prefix; None: any of the usual ones.
        form: one of FORMATS; None: recognised by the beginning of the log.
        chunk: how many bytes are read at a time.
        after: how many bytes after a needle belong to its entry at most.
    """
    head = log.peek(HEAD)
    form = form or recognise_format(head)
    if form == "export":
        yield from exports.entries(log.read, needle, chunk)
    else:
        kind = _format(form, prefix)
        first = head[: line_end(head, 0)]
        if kind.begins_within(first[:BEFORE], needle.encode()):
            yield Damaged(BEGINS_WITHIN)
            log.skip(len(first))
        yield from scan(log.read, needle.encode(), kind, size=chunk, after=after)
    if log.broken:
        yield Damaged(UNREADABLE)


def _format(form: str, prefix: str | None) -> Format:
    if form == "stderr":
        return Stderr(prefix)
    return Csvlog() if form == "csvlog" else Jsonlog()


def recognises(head: bytes, *, prefix: str | None = None, form: str | None = None) -> bool:
    """Whether the beginning of a log has an entry of a PostgreSQL server, or is an export that has messages.

    Args:
        head: the beginning.
        prefix: the server's log_line_prefix; None: any of the usual ones.
        form: one of FORMATS; None: recognised by the beginning.
    """
    form = form or recognise_format(head)
    if form == "export":
        return exports.has_messages(head)
    kind = _format(form, prefix)
    return any(kind.is_entry(line[:BYTES_OF_A_LINE]) for line in head.split(b"\n"))


def recognise_format(head: bytes) -> str:
    """The format of a log, one of FORMATS, by its beginning: a line or record may be cut off."""
    begins = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if exports.HEADER.match(begins) or (exports.OBJECTS.match(begins) and not Jsonlog.first.match(begins)):
        return "export"
    places = {"csvlog": Csvlog.first.search(head), "jsonlog": Jsonlog.first.search(head)}
    return min(((found.start(), form) for form, found in places.items() if found), default=(0, "stderr"))[1]
