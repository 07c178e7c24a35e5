"""Read server logs: which inserts the unique index rejected."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from incident_lib.logs.entries import entries
from incident_lib.logs.entry import UNREADABLE, Damaged, Entry
from incident_lib.logs.rejections import NAMES, Rejection, judge_entry
from incident_lib.logs.source import open_log, total_size
from incident_lib.logs.tally import Rejections
from incident_lib.logs.times import check_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from incident_lib.logs.duplicates import DuplicateCounter


def _no_progress(done: int, total: int | None) -> None:
    """Show nothing."""


def read_rejections(
    names: Iterable[str],
    *,
    prefix: str | None = None,
    form: str | None = None,
    zone: str | None = None,
    listener: Callable[[int, int | None], None] = _no_progress,
    duplicates: DuplicateCounter | None = None,
) -> Rejections:
    """The rejected inserts in these logs. They are read as streams: memory does not grow with the size of a log.

    Args:
        names: files, compressed, in archives or not; `-` is standard input.
        prefix: the server's log_line_prefix; None: any of the usual ones.
        form: one of `logs.FORMATS`; None: recognised, for each file.
        zone: the server's log_timezone, where its abbreviation stands for several.
        listener: is called with the number of bytes read, and of all bytes; None where that is unknown.
        duplicates: counts the rejections of every unique index in the same pass.

    Raises:
        Failed: a file cannot be read.
        UsageError: there is no such zone.
    """
    names, found = list(names), Rejections()
    check_zone(zone)
    total, also = total_size(names), duplicates.needles if duplicates else ()
    for name in names:
        with open_log(name, partial(_progress, listener, found.bytes_read, total)) as log:
            found.begin(log.name)
            for member in log.members():
                coverage = found.cover(member)
                for entry in entries(member, NAMES, also=also, prefix=prefix, form=form, coverage=coverage, zone=zone):
                    coverage.found += isinstance(entry, Entry)
                    count_entry(found, entry, zone)
                    if duplicates:
                        duplicates.add(entry)
            if log.broken and log.is_archive:
                found.not_understood[UNREADABLE] += 1
            found.bytes_read += log.done
    return found


def _progress(listener: Callable[[int, int | None], None], before: int, total: int | None, done: int) -> None:
    listener(before + done, total)


def count_entry(found: Rejections, entry: Entry | Damaged, zone: str | None = None) -> None:
    """Count an entry of a log: a rejection, an entry that cannot be understood, or neither."""
    judged = judge_entry(entry, zone) if isinstance(entry, Entry) else entry.reason
    if isinstance(judged, Rejection):
        found.add(judged)
    elif judged:
        found.not_understood[judged] += 1
