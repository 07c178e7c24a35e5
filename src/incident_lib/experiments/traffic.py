"""Synthetic clients that send calls while an index is changed: what each call got, and how long it took."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg

from incident_lib.database import NewThread, clients, connecting, fetch_all
from incident_lib.model import Family, IncidentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from incident_lib.database import Connection, Environment

BIN = 50  # milliseconds
ACTIVITY = "client"  # in the application_name of each client
NAME = "synthetic client"  # of the threads that clients create, and of the threads that run the clients
OTHER_PROVIDER = "provider of a synthetic client"
ADMITTED, REJECTED, LOST = "", "23505", "connection lost"
POLL_SECONDS = 0.005

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """A client of the product.

    Attributes:
        calls: what it sends for each family, in this order, by kind.
        families: the families, in turn, again and again; no other client has them. Of another table: keys.
    """

    calls: Mapping[str, Callable[[Connection, Any], object]]
    families: Sequence[Any]


class Call(NamedTuple):
    """A call that a client sent.

    Attributes:
        due: when its user asked for it, in seconds since the change began.
        seconds: from then to its answer: the calls that were due while a client waited are late, too.
        answer: ADMITTED, the SQLSTATE, or LOST.
    """

    kind: str
    due: float
    seconds: float
    answer: str


@dataclass(frozen=True)
class TrafficResult:
    """All calls around a change, in the order in which they were due; the change began at 0, and ended at `end`."""

    calls: tuple[Call, ...]
    end: float

    @property
    def longest(self) -> float:
        """The seconds of the longest call that the change could delay."""
        delayed = (call for call in self.calls if call.due + call.seconds >= 0 and call.due <= self.end)
        return max((call.seconds for call in delayed), default=0.0)

    @property
    def longest_before(self) -> float:
        """The seconds of the longest call that was answered before the change: what the machine itself needs."""
        return max((call.seconds for call in self.calls if call.due + call.seconds < 0), default=0.0)

    @property
    def admitted(self) -> Counter[str]:
        """The calls that were admitted, by kind."""
        return Counter(call.kind for call in self.calls if call.answer == ADMITTED)

    @property
    def rejected(self) -> Counter[str]:
        """The calls that a unique index rejected and that were due before the change ended, by kind."""
        return Counter(call.kind for call in self.calls if call.answer == REJECTED and call.due < self.end)

    @property
    def rejected_after(self) -> Counter[str]:
        """The calls that a unique index rejected and that were due after the change, by kind."""
        return Counter(call.kind for call in self.calls if call.answer == REJECTED and call.due >= self.end)

    @property
    def errors(self) -> Counter[str]:
        """All other answers, by SQLSTATE or LOST."""
        return Counter(call.answer for call in self.calls if call.answer not in (ADMITTED, REJECTED))

    @property
    def points(self) -> list[tuple[float, float]]:
        """The longest call of each bin of 50 ms; see `longest_by_bin`."""
        return longest_by_bin((call.due, call.seconds) for call in self.calls)


def longest_by_bin(calls: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The longest of the calls that were due within each bin of 50 ms.

    Args:
        calls: when each was due, and how long it took, in seconds.

    Returns:
        (begin of the bin in seconds, longest call in milliseconds), ascending; nothing for a bin without a call.
    """
    longest: dict[int, float] = {}
    for due, seconds in calls:
        place = int(due * 1000 // BIN)
        longest[place] = max(longest.get(place, 0.0), round(seconds * 1000, 1))
    return [(place * BIN / 1000, longest[place]) for place in sorted(longest)]


class Traffic:
    """Clients that are running, and the time of the change that is made meanwhile."""

    def __init__(self, sent: Sequence[list[Call]], threads: Sequence[Future[None]]) -> None:
        self._sent, self._threads = sent, threads
        self._began = self._ended = 0.0

    @contextmanager
    def change(self) -> Iterator[None]:
        """Note when the change begins and ends."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._ended = time.monotonic()

    def wait_for_answers(self, answers: int) -> None:
        """Wait until each client has got so many answers to calls that were due after now, or has stopped."""
        since = time.monotonic()
        for sent, thread in zip(self._sent, self._threads, strict=True):
            while not thread.done() and (len(sent) < answers or sent[-answers].due < since):
                time.sleep(POLL_SECONDS)

    def result(self) -> TrafficResult:
        """All calls; complete once the clients have stopped."""
        for thread in self._threads:
            thread.result()  # raises what the client raised
        calls = (call._replace(due=call.due - self._began) for sent in self._sent for call in sent)
        return TrafficResult(tuple(sorted(calls, key=lambda call: call.due)), self._ended - self._began)


@contextmanager
def run_clients(
    environment: Environment, clients: Sequence[Client], *, every: float, answers: int
) -> Iterator[Traffic]:
    """Let clients send calls before, during and after the block, each in a thread of its own.

    Args:
        environment: a scratch database: the clients write.
        clients: which calls, for which families.
        every: seconds between two calls of a client; a call is due at its time, whatever the calls before it wait for.
        answers: how many answers each client gets before the block, and after it.
    """
    sent: list[list[Call]] = [[] for _ in clients]
    with ExitStack() as running:
        threads = [
            running.enter_context(in_thread(partial(_send, environment, client, every, calls)))
            for client, calls in zip(clients, sent, strict=True)
        ]
        traffic = Traffic(sent, threads)
        traffic.wait_for_answers(answers)
        yield traffic
        traffic.wait_for_answers(answers)


@contextmanager
def in_thread(function: Callable[[threading.Event], T]) -> Iterator[Future[T]]:
    """Run a function in a thread; the event is set when the block ends, and tells the function to return."""
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix=NAME) as pool:
        try:
            yield pool.submit(function, stop)
        finally:
            stop.set()


def _send(environment: Environment, client: Client, every: float, sent: list[Call], stop: threading.Event) -> None:
    """Send the calls of one client; it stops where its connection is lost."""
    due = time.monotonic()
    try:
        with connecting(environment, ACTIVITY) as connection:
            due = time.monotonic()
            for family in cycle(client.families):
                for kind, call in client.calls.items():
                    answer = _answer(connection, call, family)
                    sent.append(Call(kind, due, time.monotonic() - due, answer))
                    due += every
                    if stop.wait(max(0.0, due - time.monotonic())) or connection.broken:
                        return
    except IncidentError:
        sent.append(Call(next(iter(client.calls)), due, time.monotonic() - due, LOST))


def _answer(connection: Connection, call: Callable[[Connection, Any], object], family: Any) -> str:
    try:
        call(connection, family)
    except psycopg.Error as error:
        return LOST if connection.broken else error.sqlstate or LOST
    return ADMITTED


def chat(connection: Connection, family: Family) -> None:
    """A call of the chat client: end the chats of the family, then create one."""
    clients.create_chat(connection, NewThread(*family, name=NAME))


def run(connection: Connection, family: Family) -> None:
    """A call of the run client: find the run of the family, or create one."""
    clients.get_or_create_run(connection, NewThread(*family, name=NAME))


def other_run(connection: Connection, family: Family) -> None:
    """A call of the run client of another provider."""
    clients.get_or_create_run(connection, NewThread(*family, provider=OTHER_PROVIDER, name=NAME))


def families_without_chat(connection: Connection, limit: int) -> list[Family]:
    """Families with an active run and no chat."""
    return [Family(**row) for row in fetch_all(connection, "analysis/families_without_chat", {"most": limit})]
