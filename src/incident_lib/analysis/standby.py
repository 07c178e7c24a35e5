"""Whether a server is a standby, which answers for the past, and how old its answers are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from incident_lib.database import fetch_one
from incident_lib.model import format_timestamp

if TYPE_CHECKING:
    from incident_lib.database import Connection


@dataclass(frozen=True)
class Standby:
    """What a standby has replayed.

    Attributes:
        replayed_at: the time of the last transaction that it has replayed, by the primary's clock; None: not known.
        age_seconds: how long ago that was, by the standby's clock; None: not known.
        receiving: whether a server sends WAL to it now.
        caught_up: whether it has replayed all WAL that it has received; None: not known.
    """

    replayed_at: datetime | None
    age_seconds: float | None
    receiving: bool
    caught_up: bool | None

    def __str__(self) -> str:
        age = "It is not known how old its answers are: it has replayed no transaction since it started"
        if self.replayed_at is not None and self.age_seconds is not None:
            at = format_timestamp(self.replayed_at.replace(microsecond=0))
            age = f"The last transaction that it has replayed is of {at} UTC, {self.age_seconds:,.0f} s ago"
        replay = {
            True: "it has replayed all that it has received",
            False: "it has received more than it has replayed",
            None: "it is not known what it has received",
        }[self.caught_up]
        source = "" if self.receiving else "; no server sends to it now"
        return f"This server is a standby. {age}; {replay}{source}."


def read_standby(connection: Connection) -> Standby | None:
    """Read how old the answers of this server are; None where it is the primary.

    Args:
        connection: as `database.reading` yields it, before any other query: what is read later is no older.
    """
    row = fetch_one(connection, "analysis/standby")
    if not row["standby"]:
        return None
    at, age = row["replayed_at"] and datetime.fromisoformat(row["replayed_at"]), row["age_seconds"]
    return Standby(at, None if age is None else round(max(age, 0), 3), row["receiving"], row["caught_up"])
