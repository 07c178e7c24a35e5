"""Rejected inserts: what the unique index rejected, from the logs of servers, and what the threads say of those families."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from incident_lib.analysis import count_threads
from incident_lib.database import fetch_all, read_catalog
from incident_lib.logs.entries import entries
from incident_lib.logs.entry import Damaged, Entry
from incident_lib.logs.rejections import Rejection, judge_entry
from incident_lib.logs.source import open_log, total_size
from incident_lib.logs.tally import Rejections
from incident_lib.logs.times import check_zone
from incident_lib.model import INDEX_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from incident_lib.database import Connection
    from incident_lib.logs.tally import FamilyTally
    from incident_lib.model import Catalog, Family

BATCH = 5000  # families that are asked about at a time


def read_rejections(
    names: Iterable[str],
    *,
    prefix: str | None = None,
    form: str | None = None,
    zone: str | None = None,
    listener: Callable[[int, int | None], None] = lambda done, total: None,  # noqa: ARG005 - nobody looks
) -> Rejections:
    """The rejections in these logs, read as streams: what is kept of a log does not grow with its size.

    Args:
        names: files, compressed by gzip or not; `-` is standard input.
        prefix: the server's log_line_prefix; None: any of the usual ones.
        form: one of `logs.FORMATS`; None: recognised, for each file.
        zone: the server's log_timezone, where its abbreviation stands for several.
        listener: told how many bytes were read, and of how many; None where that is not known.

    Raises:
        Failed: a file cannot be read.
        UsageError: there is no such zone.
    """
    names, failures = list(names), Rejections()
    check_zone(zone)
    total = total_size(names)
    for name in names:
        with open_log(name, partial(_told, listener, failures.bytes_read, total)) as log:
            failures.begin(log.name)
            for found in entries(log, INDEX_NAME, prefix=prefix, form=form):
                count_entry(failures, found, zone)
            failures.bytes_read += log.done
    return failures


def _told(listener: Callable[[int, int | None], None], before: int, total: int | None, done: int) -> None:
    listener(before + done, total)


def count_entry(failures: Rejections, found: Entry | Damaged, zone: str | None = None) -> None:
    """Count what was found in a log: a rejection, something that cannot be understood, or neither."""
    said = judge_entry(found, zone) if isinstance(found, Entry) else found.reason
    if isinstance(said, Rejection):
        failures.add(said)
    elif said:
        failures.not_understood[said] += 1


@dataclass(frozen=True)
class RejectedFamily:
    """A family whose attempts were rejected, and what its threads say now."""

    family: Family
    attempts: int
    first: datetime | None
    last: datetime | None
    threads: int  # 0: it has none in this table
    blocked: bool | None  # for chat, now; None where a unique index cannot be read
    ended: bool  # it has had chats, and none of them is active now
    chat_at: datetime | None  # when it got a chat after its first attempt; None: not yet
    tries: int | None  # its attempts before that chat


@dataclass(frozen=True)
class RejectionsAndThreads:
    """The families of some logs beside the threads of an environment, in one snapshot."""

    families: tuple[RejectedFamily, ...]
    blocked: int | None  # families blocked for chat now, hit or not; None where a unique index cannot be read

    @property
    def hit_and_blocked(self) -> int | None:
        """How many were rejected, and are blocked for chat now."""
        return None if self.blocked is None else sum(bool(each.blocked) for each in self.families)

    @property
    def hit_not_blocked(self) -> int | None:
        """How many were rejected, and are not blocked for chat now."""
        return None if self.hit_and_blocked is None else len(self.families) - self.hit_and_blocked

    @property
    def blocked_never_hit(self) -> int | None:
        """How many are blocked for chat now, without an attempt in these logs."""
        return None if self.blocked is None else self.blocked - (self.hit_and_blocked or 0)

    @property
    def without_threads(self) -> int:
        """How many have no thread in this table: it may be the log of another database."""
        return sum(each.threads == 0 for each in self.families)

    @property
    def without_their_chat(self) -> int:
        """How many have had a chat that was ended, perhaps just before an attempt, and have none now."""
        return sum(each.ended for each in self.families)

    @property
    def tries(self) -> dict[int, int]:
        """Of the families that got a chat in the end: how many did so after how many attempts."""
        return dict(sorted(Counter(each.tries for each in self.families if each.tries is not None).items()))

    def as_record(self) -> dict[str, Any]:
        """What a run record carries of it: counts."""
        names = (
            "blocked",
            "hit_and_blocked",
            "hit_not_blocked",
            "blocked_never_hit",
            "without_their_chat",
            "without_threads",
        )
        got_a_chat = sum(self.tries.values())
        return {name: getattr(self, name) for name in names} | {
            "got_a_chat": got_a_chat,
            "without_a_chat": len(self.families) - got_a_chat,
            "tries": [[tries, families] for tries, families in self.tries.items()],
        }


def join_threads(connection: Connection, failures: Rejections) -> RejectionsAndThreads:
    """What the threads say of the families that were rejected.

    Args:
        connection: as `environments.reading` yields it, so that all is of one snapshot.
        failures: of that environment's logs.
    """
    catalog = read_catalog(connection)
    found: list[RejectedFamily] = []
    hits = failures.hits()
    while batch := [*islice(hits, BATCH)]:
        values = {
            "roots": [hit.family.root for hit in batch],
            "owners": [hit.family.owner for hit in batch],
            "firsts": [hit.first for hit in batch],
        }
        rows = fetch_all(connection, "logs/rejected_families", values)
        found += (_beside(hit, row, catalog) for hit, row in zip(batch, rows, strict=True))
    return RejectionsAndThreads(tuple(found), count_threads(connection, catalog).blocked.chat)


def _beside(hit: FamilyTally, row: dict[str, Any], catalog: Catalog) -> RejectedFamily:
    chat_at = row["chat_at"]
    return RejectedFamily(
        family=hit.family,
        attempts=hit.attempts,
        first=hit.first,
        last=hit.last,
        threads=row["threads"],
        blocked=None if catalog.blocks is None else catalog.blocks and row["blocked"],
        ended=row["ended"],
        chat_at=chat_at,
        tries=sum(at < chat_at for at in hit.times) if chat_at else None,
    )
