"""Clients that write while the unique index is changed under them: how long each write took, and what it was answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from incident_lib.database import NewThread, clients, connecting, fetch_all, fetch_one
from incident_lib.model import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from incident_lib.database import Connection, Environment

BIN = 50  # milliseconds
LOOK_SECONDS = 0.02
OPEN_SECONDS = 10
FAMILIES = 300  # that the clients share
CLIENT, READER = "client", "reader"
SECOND_RUN = "second run"


@dataclass(frozen=True)
class Pace:
    """How much goes on around a change: enough to see writers stand still, or little for a test."""

    clients: int = 6
    every: float = 0.025  # seconds between two writes of a client
    reader: float = 1.5  # seconds that a reader's transaction stays open
    lead: float = 0.3
    tail: float = 0.3


@dataclass(frozen=True)
class Write:
    """What a client sent for one thread.

    Attributes:
        due: when its user asked for it, in seconds since the change began.
        seconds: from then to its answer; a client that stood still is late for what was due meanwhile, too.
        answer: empty, or the SQLSTATE.
    """

    kind: str
    due: float
    seconds: float
    answer: str


@dataclass(frozen=True)
class TrafficResult:
    """What was seen around a change; times are seconds since it began."""

    writes: tuple[Write, ...]
    end: float
    reader: tuple[float, float]
    held_up: int  # the most clients that were seen waiting for the change's locks at once
    answer: str  # the change's own

    @property
    def longest(self) -> float:
        """The longest that a write took, in seconds, of those that the change could have held up."""
        met = (write for write in self.writes if write.due + write.seconds >= 0 and write.due <= self.end)
        return max((write.seconds for write in met), default=0.0)

    @property
    def longest_before(self) -> float:
        """The longest that one took before it: what this machine does by itself."""
        return max((write.seconds for write in self.writes if write.due + write.seconds < 0), default=0.0)

    @property
    def duplicates(self) -> int:
        """The second runs of a family that were let in."""
        return sum(write.kind == SECOND_RUN and not write.answer for write in self.writes)

    @property
    def errors(self) -> dict[str, int]:
        """The SQLSTATEs that clients were answered from the change's begin on, and how often."""
        return dict(sorted(Counter(write.answer for write in self.writes if write.answer and write.due >= 0).items()))

    @property
    def points(self) -> list[list[float]]:
        """The longest write of each bin of 50 ms; see `binned`."""
        return longest_by_bin((write.due, write.seconds) for write in self.writes)


def longest_by_bin(writes: Iterable[tuple[float, float]]) -> list[list[float]]:
    """The longest of the writes that were due within each bin of 50 ms.

    Args:
        writes: when each was due, and how long it took, in seconds.

    Returns:
        [begin of the bin in seconds, longest write in milliseconds], ascending; nothing for a bin without a write.
    """
    longest: dict[int, float] = {}
    for due, seconds in writes:
        place = int(due * 1000 // BIN)
        longest[place] = max(longest.get(place, 0.0), round(seconds * 1000, 1))
    return [[place * BIN / 1000, longest[place]] for place in sorted(longest)]


def run_traffic(environment: Environment, change: Callable[[], str], pace: Pace) -> TrafficResult:
    """Let clients write before, while and after a change, with a reader's transaction open when it begins.

    Args:
        environment: a scratch database with threads: this writes.
        change: what happens; its answer is kept.
        pace: how much goes on.

    Raises:
        Failed: the database is not to be reached, a query failed, or a client's connection was lost.
    """
    families, over = _families(environment), threading.Event()
    with ThreadPoolExecutor(pace.clients + 2) as pool, _set_at_last(over):
        writing = [
            pool.submit(_write, environment, kind, families[place :: pace.clients], pace, over)
            for place, kind in zip(range(pace.clients), cycle(_SENT), strict=False)
        ]
        looking = pool.submit(_look, environment, over)
        time.sleep(pace.lead)
        reading = _open_reader(pool, environment, pace.reader, over)
        began = time.monotonic()
        answer = change()
        ended = time.monotonic()
        reader = reading.result()
        time.sleep(pace.tail)
    writes = tuple(replace(write, due=write.due - began) for one in writing for write in one.result())
    return TrafficResult(
        tuple(sorted(writes, key=lambda write: write.due)),
        ended - began,
        (reader[0] - began, reader[1] - began),
        looking.result(),
        answer,
    )


def _families(environment: Environment) -> list[Family]:
    """Families with an active run and no chat."""
    with connecting(environment, "look") as connection:
        return [Family(**row) for row in fetch_all(connection, "migration/families_without_chat", {"most": FAMILIES})]


@contextmanager
def _set_at_last(over: threading.Event) -> Iterator[None]:
    """Whatever ends it, whoever watches the event ends, too."""
    try:
        yield
    finally:
        over.set()


def _write(
    environment: Environment, kind: str, families: list[Family], pace: Pace, over: threading.Event
) -> list[Write]:
    """One client: a write each time that one is due, as soon as the last one is answered; times of the clock."""
    writes = []
    with connecting(environment, CLIENT) as connection:
        due = time.monotonic()
        for family in cycle(families):
            answer = _answer(connection, _SENT[kind], family)
            writes.append(Write(kind, due, time.monotonic() - due, answer))
            due += pace.every
            if over.wait(max(0.0, due - time.monotonic())):
                break
    return writes


def _answer(connection: Connection, send: Callable[[Connection, Family], object], family: Family) -> str:
    try:
        send(connection, family)
    except psycopg.Error as error:
        if not error.sqlstate:
            raise
        return error.sqlstate
    return ""


def _chat(connection: Connection, family: Family) -> None:
    clients.create_chat(connection, NewThread(*family))


def _new_run(connection: Connection, family: Family) -> None:
    """The first run of a user: no unique index ever has a reason to reject it."""
    clients.get_or_create_run(connection, NewThread(family.root, uuid4()))


def _second_run(connection: Connection, family: Family) -> None:
    """What a run client sends whose lookup found nothing, since it named another provider, or looked too early."""
    clients.insert_thread(connection, NewThread(*family, provider="manus", purpose="run"))


_SENT = {"chat": _chat, "new run": _new_run, SECOND_RUN: _second_run}


def _open_reader(
    pool: ThreadPoolExecutor, environment: Environment, seconds: float, over: threading.Event
) -> Future[tuple[float, float]]:
    """Open a reader's transaction, and leave it open: it holds the lock that every SELECT takes."""
    opened = threading.Event()

    def read() -> tuple[float, float]:
        with connecting(environment, READER) as connection, connection.transaction():
            fetch_all(connection, "migration/families_without_chat", {"most": 1})
            began = time.monotonic()
            opened.set()
            over.wait(seconds)
            return began, time.monotonic()

    reading = pool.submit(read)
    opened.wait(OPEN_SECONDS)
    return reading


def _look(environment: Environment, over: threading.Event) -> int:
    """The most clients that were seen waiting at once for a lock of somebody who is none of them."""
    most, who = 0, {"client": f"incident_lib {CLIENT}"}
    with connecting(environment, "look") as connection:
        while not over.wait(LOOK_SECONDS):
            most = max(most, fetch_one(connection, "experiments/clients_waiting", who)["waiting"])
    return most
