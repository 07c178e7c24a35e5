"""Two questions to one snapshot at the same time: of a large table, that takes as long as the longer of them.

The second question is sent by a connection of its own, which imports the snapshot (SET TRANSACTION SNAPSHOT).
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import copy_context
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from incident_lib.database.connections import bounded, set_local
from incident_lib.database.queries import fetch_one
from incident_lib.model import Failed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from incident_lib.database.connections import Connection

A = TypeVar("A")
B = TypeVar("B")

LARGE = 1_000_000  # threads, by the statistics: with fewer, a second connection takes longer than it saves
OPEN_SECONDS = 2.0  # a pooler may have no second backend
ALONE = "max_parallel_workers_per_gather", "0"  # two busy processes are enough: workers would double what they take
ALIVE_SECONDS = 20.0  # the server ends a transaction that is idle for a minute: see `read_settings`


def side_by_side(
    connection: Connection, first: Callable[[Connection], A], second: Callable[[Connection], B]
) -> tuple[A, B]:
    """Ask two questions to one snapshot: at the same time where the table is large, else one after the other.

    One after the other, too, where the role may not export a snapshot, and where no second connection is open in time,
    or it sees another snapshot: a role's connection limit, a pooler with one backend, an address of several servers;
    or another session waits for a lock until the first connection is done, so that a second one would wait behind it.

    Args:
        connection: as `reading` yields it, outside of any savepoint: PostgreSQL exports no snapshot from there.
        first: is asked by this connection; while both are asked, PostgreSQL uses no parallel workers.
        second: may be asked by another connection, in another thread; it is cancelled if `first` fails.

    Returns:
        Both answers.

    Raises:
        psycopg.Error, Failed: what the questions raise; that of the first, if both do.
    """
    again = getattr(connection, "again", None)
    if again is None or not all(fetch_one(connection, "database/shares_snapshot", {"large": LARGE}).values()):
        return first(connection), second(connection)
    other = _Other(connection, again, second)
    try:
        other.begin()
        with connection.transaction(force_rollback=True):  # of the setting
            set_local(connection, *ALONE)
            answer = first(connection)
        if other.was_asked():
            return answer, other.answer()
    finally:
        other.cancel()
    return answer, second(connection)


class _Other(Generic[B]):
    """A second connection to the snapshot of the first one, and its question, in a thread of their own."""

    def __init__(
        self,
        connection: Connection,
        again: Callable[[str], AbstractContextManager[Connection]],
        ask: Callable[[Connection], B],
    ) -> None:
        """Export the snapshot."""
        self._first, self._again, self._ask = connection, again, ask
        self._asked = False
        self._lock = Lock()  # of _asked
        self._cancelled = Event()
        self._answers: list[B] = []
        self._errors: list[BaseException] = []
        exported = fetch_one(connection, "database/export_snapshot")
        run = copy_context().run  # with the deadline of `bounded`
        self._thread = Thread(target=run, args=(self._run, exported), daemon=True)

    def begin(self) -> None:
        """Open the second connection, and ask, without waiting for either."""
        self._thread.start()

    def _run(self, exported: dict[str, str]) -> None:
        try:
            with ExitStack() as opened:
                other = self._open(opened, exported)
                if other and self._begins():
                    self._answers.append(self._ask(other))
        except BaseException as error:  # noqa: BLE001 - `answer` raises it
            self._errors.append(error)

    def _open(self, opened: ExitStack, exported: dict[str, str]) -> Connection | None:
        try:
            with bounded(OPEN_SECONDS):
                other = opened.enter_context(self._again(exported["snapshot"]))
                same = fetch_one(other, "database/same_snapshot", exported)["same"]
                set_local(other, *ALONE)
                other.execute("SELECT FROM public.q_threads LIMIT 0")  # locks it, or there is no second connection
        except Failed:
            return None
        other.deadline, other.stop = self._first.deadline, self._cancelled.is_set
        return other if same else None

    def _begins(self) -> bool:
        with self._lock:
            self._asked = not self._cancelled.is_set()
            return self._asked

    def was_asked(self) -> bool:
        """Whether the question was sent; if it was not, it never will be."""
        with self._lock:
            if not self._asked:
                self._cancelled.set()
            return self._asked

    def answer(self) -> B:
        """Wait for the answer, and keep the first connection's transaction alive.

        Raises:
            psycopg.Error, Failed: what the question raised.
        """
        while self._thread.is_alive():
            self._thread.join(ALIVE_SECONDS)
            if self._thread.is_alive():
                self._first.execute("SELECT")
        for error in self._errors:
            raise error
        return self._answers[0]

    def cancel(self) -> None:
        """End the question, if it was sent, and wait until its connection is closed."""
        self._cancelled.set()
        if self.was_asked():
            self._thread.join()
