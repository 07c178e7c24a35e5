"""Monitor the migration's session from a second one: its progress, the sessions that block it, and those it blocks."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from incident_lib.database import connecting, fetch_all, read_catalog
from incident_lib.model import IncidentError, describe_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from incident_lib.database import Connection, Environment
    from incident_lib.model import IndexChange

SECONDS_BETWEEN_QUERIES = 0.1
MAX_BLOCK = 2.0  # seconds that another session may wait for the migration
LEAST_BLIND = 1.0  # seconds: on a busy machine a query may take as long
BLIND = "for too long it could not be seen who waits for it"
CLOSE_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """The progress of a step: its phase, its share (None: unknown), the sessions that block it or wait for it."""

    step: str
    phase: str
    share: float | None = None
    blockers: tuple[str, ...] = ()
    waiters: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The phase, the sessions that block the step, and those that it blocks."""
        waits = (f"waits for {who}" for who in self.blockers)
        return "; ".join((self.phase, *waits, *(f"blocks {who}" for who in self.waiters)))


@dataclass
class Monitor:
    """Reads every tenth of a second what a backend does, what it waits for, and who waits for it.

    Without its own connection it cannot see who waits; the step must then stop, too.

    Attributes:
        max_block: how many seconds another session may wait for the backend.
        xids: the backend's transactions.
        released_at: when the index `retiring` was first not enforced any more, by the server's clock.
        blockers: the sessions that it waited for last, in words.
        waiters: the sessions that waited for it last, in words.
        stopped_because: why the step must stop, in words; None: it may go on.
    """

    environment: Environment
    pid: int
    step: str
    listener: Callable[[Progress], None]
    change: IndexChange
    retiring: str | None = None
    max_block: float = MAX_BLOCK
    xids: set[str] = field(default_factory=set)
    released_at: datetime | None = None
    blockers: tuple[str, ...] = ()
    waiters: tuple[str, ...] = ()
    stopped_because: str | None = None

    @property
    def must_stop(self) -> bool:
        """Whether another session has waited too long, or for as long nothing was seen, or a deadlock is near."""
        if not self.stopped_because and time.monotonic() > self._seen_at + max(self.max_block, LEAST_BLIND):
            self.stopped_because = BLIND
        return self.stopped_because is not None

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._connections = ExitStack()
        first = self._connections.enter_context(connecting(self.environment, "watch"))
        self._seen_at = time.monotonic()
        run = copy_context().run  # with the deadline of this thread
        self._thread = threading.Thread(target=run, args=[self._run, first], daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(CLOSE_SECONDS)  # a line may be dead; the thread ends with the process

    def _run(self, connection: Connection | None) -> None:
        """Query until the step has ended; after an error, such as a restart of the server, connect again."""
        while not self._done.is_set():
            try:
                with self._connections as opened:
                    connection = connection or opened.enter_context(connecting(self.environment, "watch"))
                    while not self._done.wait(SECONDS_BETWEEN_QUERIES):
                        self._query(connection)
                        self._seen_at = time.monotonic()
            except IncidentError:
                connection = None
                self._done.wait(SECONDS_BETWEEN_QUERIES)

    def _query(self, connection: Connection) -> None:
        for row in fetch_all(connection, "migration/backend_activity", {"pid": self.pid}):
            self._note(row)
        if self.retiring and not self.released_at:
            self.released_at = released_at(connection, self.change, self.retiring)

    def _note(self, row: dict[str, Any]) -> None:
        if row["xid"]:
            self.xids.add(row["xid"])
        blockers = tuple(map(describe_session, row["blockers"]))
        self.blockers = blockers or self.blockers
        waiters = tuple(map(describe_session, row["waiters"]))
        self.waiters = waiters or self.waiters
        if {each["pid"] for each in row["blockers"]} & {each["pid"] for each in row["waiters"]}:
            self.stopped_because = "another session and this step waited for each other"
        elif any((waiter["waits"] or 0) > self.max_block for waiter in row["waiters"]):
            self.stopped_because = f"another session waited for it for more than {self.max_block:g} s"
        share = row["done"] / row["total"] if row["total"] else None
        phase = row["phase"] or ("waiting" if blockers else "working")
        self.listener(Progress(self.step, phase, share, blockers, waiters))


def released_at(connection: Connection, change: IndexChange, name: str) -> datetime | None:
    """The server's time now, if no index of that name is enforced; else None."""
    if any(index.enforced for index in read_catalog(connection, change).indexes if index.name == name):
        return None
    return server_time(connection)


def server_time(connection: Connection) -> datetime | None:
    """The server's time now."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    return row[0] if row else None
