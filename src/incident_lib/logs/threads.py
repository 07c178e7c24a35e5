"""The families of rejected inserts beside the threads of their environment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from incident_lib.analysis import count_threads
from incident_lib.database import fetch_all, read_catalog
from incident_lib.logs.rejections import WITH_PURPOSE

if TYPE_CHECKING:
    from incident_lib.database import Connection
    from incident_lib.logs.tally import FamilyTally, Group, Rejections
    from incident_lib.model import Catalog, Family, RejectedInserts

BATCH = 5000  # families that one query asks for


@dataclass(frozen=True)
class RejectedFamily:
    """A family with rejected inserts, and what its threads show now."""

    family: Family
    attempts: int
    first: datetime | None
    last: datetime | None
    threads: int  # 0: it has none in this table
    blocked: bool | None  # for chat, now; None: an enforced index cannot be read
    ended: bool  # it has had chats, and none of them is active now
    chat_at: datetime | None  # when it got a chat after its first rejected insert; None: not yet
    tries: int | None  # its rejected inserts before that chat


@dataclass(frozen=True)
class RejectionsAndThreads:
    """The families of some logs beside the threads of an environment, in one snapshot.

    Attributes:
        rejections: of the logs, without those whose key a thread of the same purpose had.
    """

    rejections: Rejections
    families: tuple[RejectedFamily, ...]
    blocked: int | None  # families blocked for chat now, with rejected inserts or not; None: an index cannot be read
    at: datetime  # the server's clock

    @property
    def hit_and_blocked(self) -> int | None:
        """How many families have rejected inserts, and are blocked for chat now."""
        return None if self.blocked is None else sum(bool(each.blocked) for each in self.families)

    @property
    def hit_not_blocked(self) -> int | None:
        """How many families have rejected inserts, and are not blocked for chat now."""
        return None if self.hit_and_blocked is None else len(self.families) - self.hit_and_blocked

    @property
    def blocked_never_hit(self) -> int | None:
        """How many families are blocked for chat now, without a rejected insert in these logs."""
        return None if self.blocked is None else self.blocked - (self.hit_and_blocked or 0)

    @property
    def without_threads(self) -> int:
        """How many families have no thread in this table: it may be the log of another database."""
        return sum(each.threads == 0 for each in self.families)

    @property
    def without_their_chat(self) -> int:
        """How many families have had a chat that was ended, perhaps before a rejected insert, and have none now."""
        return sum(each.ended for each in self.families)

    @property
    def tries(self) -> dict[int, int]:
        """Of the families that got a chat in the end: how many did so after how many rejected inserts."""
        return dict(sorted(Counter(each.tries for each in self.families if each.tries is not None).items()))

    def counts(self) -> dict[str, Any]:
        """The counts as a run record holds them."""
        names = (
            *("blocked", "hit_and_blocked", "hit_not_blocked"),
            *("blocked_never_hit", "without_their_chat", "without_threads"),
        )
        got_a_chat = sum(self.tries.values())
        return {name: getattr(self, name) for name in names} | {
            "got_a_chat": got_a_chat,
            "without_a_chat": len(self.families) - got_a_chat,
            "tries": list(self.tries.items()),
        }

    def as_record(self) -> RejectedInserts:
        """The counts of the logs together with those of the threads."""
        return msgspec.structs.replace(self.rejections.as_record(), **self.counts(), joined_at=self.at)


def join_threads(connection: Connection, rejections: Rejections) -> RejectionsAndThreads:
    """What the threads show of the families with rejected inserts.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.
        rejections: of that environment's logs.
    """
    catalog = read_catalog(connection)
    rejections = _without_same_purpose(connection, rejections)
    found: list[RejectedFamily] = []
    tallies = rejections.tallies()
    while batch := [*islice(tallies, BATCH)]:
        values = {
            "roots": [tally.family.root for tally in batch],
            "owners": [tally.family.owner for tally in batch],
            "firsts": [tally.first for tally in batch],
        }
        rows = fetch_all(connection, "logs/rejected_families", values)
        found += (_beside(tally, row, catalog) for tally, row in zip(batch, rows, strict=True))
    blocked = count_threads(connection, catalog).blocked.chat
    (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return RejectionsAndThreads(rejections, tuple(found), blocked, at)


def _without_same_purpose(connection: Connection, rejections: Rejections) -> Rejections:
    """Those whose key a thread of another purpose had: not those of the fixed index, nor runs beside another run."""
    beside_a_run: set[tuple[Family | None, float]] = set()
    runs = iter(rejections.times_of_runs())
    while batch := [*islice(runs, BATCH)]:
        values = {
            "roots": [family.root for family, _ in batch],
            "owners": [family.owner for family, _ in batch],
            "times": [datetime.fromtimestamp(at, UTC) for _, at in batch],
        }
        rows = fetch_all(connection, "logs/key_purposes", values)
        beside_a_run.update(run for run, row in zip(batch, rows, strict=True) if row["purpose"] == "run")

    def is_same(group: Group, family: Family | None, at: float) -> bool:
        return group.kind in WITH_PURPOSE or (group.is_run and (family, at) in beside_a_run)

    return rejections.without_same_purpose(is_same)


def _beside(tally: FamilyTally, row: dict[str, Any], catalog: Catalog) -> RejectedFamily:
    chat_at = row["chat_at"]
    return RejectedFamily(
        family=tally.family,
        attempts=tally.attempts,
        first=tally.first,
        last=tally.last,
        threads=row["threads"],
        blocked=None if catalog.blocks is None else catalog.blocks and row["blocked"],
        ended=row["ended"],
        chat_at=chat_at,
        tries=sum(at < chat_at for at in tally.times) if chat_at else None,
    )
