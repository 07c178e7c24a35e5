"""Monitor a session from a second connection: its progress, the sessions that block it, and a wall-clock budget."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from incident_lib.database import connecting, fetch_all, read_catalog
from incident_lib.model import IncidentError, describe_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from incident_lib.database import Connection, Environment

SECONDS_BETWEEN_QUERIES = 0.1


@dataclass(frozen=True)
class Progress:
    """The progress of a step: its phase, the share of that phase (None: unknown), the sessions that block it."""

    step: str
    phase: str
    share: float | None = None
    blockers: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The phase, and the sessions that block it."""
        return "; ".join((self.phase, *(f"waits for {who}" for who in self.blockers)))


@dataclass
class Monitor:
    """Reads the progress of a backend every tenth of a second, and cancels it once the budget has ended.

    Attributes:
        xids: the backend's transactions.
        released_at: when the index `retiring` was first not enforced any more, by the server's clock.
        gave_up: whether the budget ended.
        blockers: the sessions that it waited for, in words.
    """

    environment: Environment
    pid: int
    step: str
    listener: Callable[[Progress], None]
    deadline: float  # of time.monotonic()
    retiring: str | None = None
    xids: set[str] = field(default_factory=set)
    released_at: datetime | None = None
    gave_up: bool = False
    blockers: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                with connecting(self.environment, "watch") as connection:
                    while not self._done.wait(SECONDS_BETWEEN_QUERIES):
                        self._query(connection)
            except IncidentError:  # such as a restart of the server: the executor gets it, too, and reports it
                self._done.wait(1)

    def _query(self, connection: Connection) -> None:
        for row in fetch_all(connection, "migration/backend_activity", {"pid": self.pid}):
            self._note(row)
        if self.retiring and not self.released_at:
            self.released_at = released_at(connection, self.retiring)
        if time.monotonic() > self.deadline and not self.gave_up:
            self.gave_up = True
            connection.execute("SELECT pg_cancel_backend(%s)", [self.pid])

    def _note(self, row: dict[str, Any]) -> None:
        if row["xid"]:
            self.xids.add(row["xid"])
        self.blockers = tuple(map(describe_session, row["blockers"]))
        share = row["done"] / row["total"] if row["total"] else None
        phase = row["phase"] or ("waiting" if self.blockers else "working")
        self.listener(Progress(self.step, phase, share, self.blockers))


def released_at(connection: psycopg.Connection[Any], name: str) -> datetime | None:
    """The server's time now, if no index of that name is enforced; else None."""
    if any(index.enforced for index in read_catalog(connection).indexes if index.name == name):
        return None
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    return row[0] if row else None
