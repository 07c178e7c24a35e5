"""Synthetic clients that create chats and runs while a migration goes on, and what PostgreSQL answered them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from incident_lib.database import NewThread, connecting, create_chat, get_or_create_run
from incident_lib.experiments.rehearsal.results import ClientResults
from incident_lib.model import Family, IncidentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from incident_lib.database import Environment

CLIENTS = 2
PAUSE = 0.005  # seconds between two families: they are clients, no load test
ROUNDS = 10  # families for each client to go through before the migration, and after it
NEW_FAMILIES = 5  # for each client, before those that are there
NAME = "a rehearsal's client"  # of what they create, too
_FORGET = "DELETE FROM public.q_threads WHERE name = %s"
_LOST = "connection lost"
_CALLS = {"chat": create_chat, "run": get_or_create_run}


@dataclass
class Client:
    """One client, in a thread of its own, with families of its own: it meets the unique indexes, never its like."""

    environment: Environment
    families: Sequence[Family]
    over: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)  # the migration, not the client
    rounds: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_after: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with connecting(self.environment, "client") as connection:
                for family in cycle(self.families):
                    for purpose in _CALLS:
                        self._call(connection, purpose, NewThread(*family, name=NAME))
                    self.rounds += 1
                    if self.over.wait(PAUSE) or connection.broken:
                        return
        except IncidentError:
            self.errors[_LOST] += 1

    def _call(self, connection: psycopg.Connection[Any], purpose: str, thread: NewThread) -> None:
        rejected = self.rejected_after if self.ended.is_set() else self.rejected
        began = time.monotonic()
        try:
            _CALLS[purpose](connection, thread)
            self.writes += 1
        except psycopg.errors.UniqueViolation:
            rejected[purpose] += 1
        except psycopg.Error as error:
            self.errors[error.sqlstate or _LOST] += 1
        self.longest = max(self.longest, time.monotonic() - began)

    def wait(self, rounds: int) -> None:
        """Wait until it has gone through so many more families, or has broken off."""
        until = self.rounds + rounds
        while self.rounds < until and self.thread.is_alive():
            time.sleep(PAUSE)


@contextmanager
def clients_running(environment: Environment, families: Sequence[Family]) -> Iterator[list[Client]]:
    """Let clients run before, while and after what stands within, then delete what they created.

    Args:
        environment: a scratch database: they write.
        families: with an active run and no chat; families without any thread are added.

    Yields:
        The clients; what they met is whole once all is over.
    """
    made_up = [Family(uuid4(), uuid4()) for _ in range(CLIENTS * NEW_FAMILIES)]
    shares = [[*made_up[number::CLIENTS], *families[number::CLIENTS]] for number in range(CLIENTS)]
    clients = [Client(environment, share) for share in shares]
    try:
        _wait(clients)
        yield clients
        for client in clients:
            client.ended.set()
        _wait(clients)
    finally:
        for client in clients:
            client.over.set()
        for client in clients:
            client.thread.join()
    with connecting(environment, "client") as connection:
        connection.execute(_FORGET, [NAME])


def _wait(clients: list[Client]) -> None:
    for client in clients:
        client.wait(ROUNDS)


def client_results(clients: list[Client]) -> ClientResults:
    """What all of them met together."""
    return ClientResults(
        writes=sum(client.writes for client in clients),
        rejected=dict(sum((client.rejected for client in clients), Counter())),
        rejected_after=dict(sum((client.rejected_after for client in clients), Counter())),
        errors=dict(sum((client.errors for client in clients), Counter())),
        longest_stall=max(client.longest for client in clients),
    )
