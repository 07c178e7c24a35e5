"""Read PostgreSQL's server logs as streams, as they really come: the entries whose message has a needle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.logs.coverage import Coverage
from incident_lib.logs.decoding import SEVERAL
from incident_lib.logs.entry import BEGINS_WITHIN, UNREADABLE, Damaged, Entry, Unknown, line_end
from incident_lib.logs.native import NATIVE, Native, native_format
from incident_lib.logs.pieces import Pieces
from incident_lib.logs.records import is_header
from incident_lib.logs.rewrapping import Rewrapped, width_of
from incident_lib.logs.sampling import Sampler
from incident_lib.logs.scan import AFTER, BEFORE, CHUNK, Left, scan
from incident_lib.logs.stderr import Stderr
from incident_lib.logs.structured import Csvlog, Jsonlog
from incident_lib.logs.wrapped import Wrapped, is_descending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.logs.source import Log

WRAPPINGS = ("lines", "json", "csv", "yaml")
FORMATS = (*NATIVE, *WRAPPINGS)
HEAD = 1 << 16  # bytes of a log by which its format is recognised
_LINES = 200  # of these at most


def entries(
    log: Log,
    needles: Sequence[str],
    *,
    also: Sequence[str] = (),
    prefix: str | None = None,
    form: str | None = None,
    chunk: int = CHUNK,
    after: int = AFTER,
    coverage: Coverage | None = None,
    zone: str | None = None,
) -> Iterator[Entry | Damaged]:
    """The entries whose message contains a needle, in order, and damage that may have been such entries.

    Args:
        log: as `open_log` yields it, or a member of it.
        needles: the message must contain one of them, in its first line.
        also: more needles, for another question of the same pass. They change nothing of what is found by the others:
            `coverage` says where a pass for them alone would find more.
        prefix: the server's log_line_prefix; None: any.
        form: one of FORMATS; None: recognised, wherever it changes.
        chunk: how many bytes are read at a time.
        after: how many bytes after a needle belong to its entry at most, in PostgreSQL's own formats.
        coverage: to note what was recognised.
        zone: the server's log_timezone, for the times that `coverage` notes.
    """
    coverage = coverage or Coverage(log.name)
    if log.unknown:
        return
    head = log.peek(HEAD)
    native = form if form in NATIVE else None if form else recognise_format(head, prefix)
    width = None if form else width_of(head)
    if width:
        read = Rewrapped(log.read, width).read
        yield from Wrapped(needles, coverage, prefix, zone, also=also).entries(read, chunk, form)
    elif native:
        yield from _native(log, (needles, also), native, coverage, (prefix, form, zone), (chunk, after))
    else:
        yield from Wrapped(needles, coverage, prefix, zone, also=also).entries(log.read, chunk, form)
    if log.broken:
        yield Damaged(UNREADABLE)


def _native(
    log: Log,
    sought: tuple[Sequence[str], Sequence[str]],
    native: str,
    coverage: Coverage,
    given: tuple[str | None, str | None, str | None],
    sizes: tuple[int, int],
) -> Iterator[Entry | Damaged]:
    (needles, also), (prefix, form, zone) = sought, given
    kind = native_format(native, prefix) if form else Native(native, prefix)
    head, encoded, more = log.peek(HEAD), [each.encode() for each in needles], [each.encode() for each in also]
    first = head[: line_end(head, 0)]
    sampler = Sampler(log.read, coverage, prefix, zone)
    sampler.wrapping = native
    if kind.begins_within(first[:BEFORE], encoded):
        yield Damaged(BEGINS_WITHIN)
        log.skip(len(first))
    for found in scan(sampler.read, encoded, kind, also=more, size=sizes[0], after=sizes[1]):
        if isinstance(found, Left):
            log.unread(found.data)
            sampler.leave(len(found.data))
            yield from Wrapped(needles, coverage, prefix, zone, also=also).entries(log.read, sizes[0], None)
            return
        if isinstance(found, Unknown):
            coverage.others_missed = True
        else:
            yield found
    sampler.end()


def recognise_format(head: bytes, prefix: str | None = None) -> str | None:
    """Which of PostgreSQL's own formats a log begins with, as it is; None: something is around each line.

    Args:
        head: its first bytes; the first line may be cut off.
        prefix: the server's log_line_prefix, if it is known.
    """
    stderr = Stderr(prefix)
    if _latest_first(head, prefix):
        return None
    for line in head.split(b"\n", _LINES)[:_LINES]:
        bare = line.strip(b"\0\r")
        if Csvlog.line.match(bare):
            return "csvlog"
        if Jsonlog.line.match(bare):
            return "jsonlog"
        if not bare.startswith(b"\t") and stderr.is_own(bare[:5000]):
            return None if SEVERAL.search(bare) else "stderr"
        if bare[:1] in {b"{", b"["} or is_header(bare[:5000]):
            return None  # a cell may have several lines
    return None


def _latest_first(head: bytes, prefix: str | None) -> bool:
    pieces = Pieces(prefix)
    found = [piece for line in head.split(b"\n", _LINES)[:_LINES] if line[:1] != b"\t" and (piece := pieces.read(line))]
    return len(found) > 1 and is_descending(found)
