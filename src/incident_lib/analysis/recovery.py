"""Did users recover? The first chat after the fix, in each family that was blocked for chat when it was applied."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from incident_lib import paths
from incident_lib.database import fetch_all
from incident_lib.model import Family, RecoveryCount, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from incident_lib.database import Connection

BATCH = 5_000  # families that one query asks for
MOST_POINTS = 30
NOT_YET = "not_recovered.csv"  # raw ids, beside blocked.csv


@dataclass(frozen=True)
class Recovery:
    """How many of the families that were blocked for chat have got a chat since the fix, and when."""

    blocked: int
    since: datetime  # when the incident ended
    at: datetime  # when the table was read, by the server's clock
    first_chats: tuple[datetime, ...]  # the first chat of each family that has got one, the earliest first

    @property
    def recovered(self) -> int:
        """How many families have got a chat."""
        return len(self.first_chats)

    @property
    def share(self) -> float:
        """The share of the blocked families that have got one; 1 where none was blocked."""
        return self.recovered / self.blocked if self.blocked else 1.0

    def __str__(self) -> str:
        whole = 100 * self.recovered // self.blocked if self.blocked else 100  # 100 only once all of them have one
        percent = "under 1%" if self.recovered and not whole else f"{whole}%"
        return (
            f"{self.recovered:,} of {self.blocked:,} families that were blocked have a chat ({percent}); "
            f"{self.blocked - self.recovered:,} not yet."
        )

    def as_record(self) -> RecoveryCount:
        """The recovery as a run record holds it: the sum up to as many times as a chart can show."""
        points = list(enumerate(self.first_chats, start=1))
        step = -(-len(points) // MOST_POINTS) or 1
        kept = [*points[step - 1 :: step], *(points[-1:] if len(points) % step else [])]
        return RecoveryCount(
            blocked=self.blocked,
            recovered=self.recovered,
            since=self.since,
            at=self.at,
            over_time=[(at, count) for count, at in kept],
        )


def read_recovery(connection: Connection, run: Path, since: datetime) -> Recovery:
    """Read which of a run's blocked families have got a chat since the incident ended.

    Those that have not are written to `not_recovered.csv` in the run's folder: raw ids, mode 0600, never shared.

    Args:
        connection: as `database.reading` yields it.
        run: the run's folder, with its `blocked.csv`.
        since: when the incident ended.

    Raises:
        UsageError: the folder holds no list of blocked families.
    """
    total, chats = 0, list["datetime"]()
    with paths.replacing(run / NOT_YET, private=True) as out:
        out.write(b"root_prompt_row_id,owner_id\n")
        for families in _batches(blocked_for_chat(run / "blocked.csv")):
            values = {"roots": [f.root for f in families], "owners": [f.owner for f in families], "since": since}
            rows = fetch_all(connection, "analysis/recovered", values)
            found = {Family(row["root"], row["owner"]): row["at"] for row in rows}
            out.writelines(f"{f.root},{f.owner}\n".encode() for f in families if f not in found)
            total += len(families)
            chats += found.values()
    (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return Recovery(total, since, at, tuple(sorted(chats)))


def blocked_for_chat(file: Path) -> Iterator[Family]:
    """The families of a run's `blocked.csv` that were blocked for chat."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["blocked_for"] == "chat":
                    yield Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"]))
    except (OSError, KeyError, ValueError):
        raise UsageError(
            f"{file.parent.name} lists no blocked families.",
            f"Its {file.name} is missing, or cannot be read.",
            "Name the folder of a run that took a snapshot before the fix.",
        ) from None


def _batches(families: Iterable[Family]) -> Iterator[list[Family]]:
    rest = iter(families)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch
