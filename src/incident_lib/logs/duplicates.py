"""Which unique indexes rejected rows, by the names that server logs have: those of all tables."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.logs.coverage import Coverage
from incident_lib.logs.entries import entries
from incident_lib.logs.entry import Entry
from incident_lib.logs.messages import LANGUAGES, duplicate_patterns
from incident_lib.logs.rejections import OURS, REJECTED
from incident_lib.logs.source import open_log
from incident_lib.model import UnreadLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from incident_lib.logs.entry import Damaged

# What every such message has in it, without the index's name and the quotes around it.
_NEEDLES = tuple(
    max(words.duplicate.split("%s"), key=len).strip(' "«»\N{NO-BREAK SPACE}') for words in LANGUAGES.values()
)
_MESSAGE = duplicate_patterns(r".+?")
_QUOTED = re.compile(r"[\"«»]\s?(.+?)\s?[\"«»]")


class Duplicates(NamedTuple):
    """How often each unique index rejected a row, by its name without a schema; and the logs that were not read.

    Attributes:
        is_read: at least one of them.
        is_complete: whether a pass for this question alone would find no more.
    """

    rejected: dict[str, int]
    unread: list[UnreadLog]
    is_read: bool
    is_complete: bool = True


class DuplicateCounter:
    """Counts the rejections of every unique index among the entries of some logs."""

    needles = _NEEDLES  # that an entry has one of

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()

    def add(self, entry: Entry | Damaged) -> None:
        """Count an entry, if it says that an index rejected a row."""
        if isinstance(entry, Entry) and (index := rejecting_index(entry)):
            self._found[index] += 1

    def result(self, coverages: Sequence[Coverage]) -> Duplicates:
        """What was counted, and what of the logs was read."""
        unread = [UnreadLog(file=each.name, lines=each.seen) for each in coverages if not each.recognised]
        return Duplicates(
            dict(self._found.most_common()),
            unread,
            is_read=len(unread) < len(coverages),
            is_complete=not any(each.others_missed for each in coverages),
        )


def read_duplicates(names: Iterable[str], listener: Callable[[int], None] = lambda done: None) -> Duplicates:  # noqa: ARG005
    """Count the rejections of every unique index in these logs. They are read as streams.

    Args:
        names: files, compressed, in archives or not; `-` is standard input.
        listener: is called with the number of bytes read of a log.

    Raises:
        Failed: a file cannot be read.
    """
    counter = DuplicateCounter()
    coverages: list[Coverage] = []
    for name in names:
        with open_log(name, listener) as log:
            for member in log.members():
                coverage = Coverage(member.name, member.layers)
                coverages.append(coverage)
                for entry in entries(member, counter.needles, coverage=coverage):
                    coverage.found += isinstance(entry, Entry)
                    counter.add(entry)
    return counter.result(coverages)


def rejecting_index(entry: Entry) -> str | None:
    """The index that rejected a row by an entry of a log; None: the entry says something else, or is of a probe."""
    if entry.state not in {None, REJECTED} or entry.builds or (entry.application or "").startswith(OURS):
        return None
    return _named(entry.message.strip())


@lru_cache(maxsize=1024)  # most entries have the same message
def _named(message: str) -> str | None:
    bare = message.replace('\\"', '"')  # what carries it may have more behind it, and quotes in quotes
    if not _MESSAGE.match(bare):
        return None
    quoted = _QUOTED.search(bare)
    return quoted[1] if quoted else None
