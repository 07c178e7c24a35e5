"""What each strategy does on a scratch database: to the threads, to clients, to a rollback, and under load."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from incident_lib.analysis import count_threads, probe_semantics
from incident_lib.database import NewThread, clients, connecting, fetch_all, fetch_one, read_catalog
from incident_lib.experiments import traffic
from incident_lib.experiments.traffic import Client, chat, families_without_chat, in_thread, run_clients
from incident_lib.migration import verify_catalog
from incident_lib.model import PURPOSES, Failed, Family, IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from incident_lib.database import Connection, Environment
    from incident_lib.experiments.claims.strategies import Strategy
    from incident_lib.experiments.traffic import TrafficResult
    from incident_lib.model import Counts, IndexState

FAMILIES = 20  # of a trial without load
LOAD_FAMILIES = 300  # that the clients under load share
SECOND_RUN = "second run"
ASK_SECONDS = 0.02
OPEN_SECONDS = 10


@dataclass(frozen=True)
class Load:
    """The load around a change.

    Attributes:
        clients: how many.
        every: seconds between two calls of a client.
        reader: seconds for which a reader's transaction stays open.
        answers: how many answers each client gets before the change, and after it.
    """

    clients: int = 6
    every: float = 0.025
    reader: float = 1.5
    answers: int = 12


@dataclass(frozen=True)
class IntegrityResult:
    """What a strategy did to the threads, without other clients.

    Attributes:
        answer: see `Strategy.apply`.
        equal: whether count and checksum of all threads are the same as before.
    """

    answer: str
    threads: int
    equal: bool


@dataclass(frozen=True)
class ClientsResult:
    """What the product's clients got before and after a strategy, in some families with an active run.

    Attributes:
        families: how many.
        chats_before, chats: chats that were admitted, before and after.
        runs_found: run clients that found the same thread as before, with the new chat beside it.
        second_threads: admitted threads of a purpose that the family had already; ownerless: those without an owner.
        other_providers: admitted runs of another provider.
        upsert_before, upsert: the answer to an upsert on the original index's key: empty, or the SQLSTATE.
        verify_seconds: of verifying by definition and by probe.
    """

    families: int
    chats_before: int
    chats: int
    runs_found: int
    second_threads: int
    ownerless: int
    other_providers: int
    upsert_before: str
    upsert: str
    verify_seconds: float


@dataclass(frozen=True)
class RollbackResult:
    """What a rollback did at once, and after one family had got a chat beside its run.

    Attributes:
        at_once, after_chat: see `Strategy.apply`; state_…: of the indexes then.
        preventing_families: families that had several active threads after that chat.
        ended_threads: active threads that the rollback ended.
    """

    at_once: str
    state_at_once: IndexState
    after_chat: str
    state_after_chat: IndexState
    preventing_families: int
    ended_threads: int


@dataclass(frozen=True)
class LoadResult:
    """What happened under load.

    Attributes:
        answer: see `Strategy.apply`.
        traffic: the clients' calls.
        reader: when the reader's transaction was open, in seconds since the change began.
        waiting_clients: the most clients that waited at once for a lock of another session.
        state: of the indexes afterwards.
        duplicate_keys: keys of the fixed index that several active threads share.
    """

    answer: str
    traffic: TrafficResult
    reader: tuple[float, float]
    waiting_clients: int
    state: IndexState
    duplicate_keys: int

    @property
    def duplicates(self) -> int:
        """The second runs that were admitted."""
        return self.traffic.admitted[SECOND_RUN]

    @property
    def sqlstates(self) -> dict[str, int]:
        """The answers to calls that were due since the change began, by SQLSTATE."""
        return dict(sorted(Counter(c.answer for c in self.traffic.calls if c.answer and c.due >= 0).items()))


@dataclass(frozen=True)
class Trial:
    """All results of one strategy."""

    strategy: Strategy
    integrity: IntegrityResult
    clients: ClientsResult
    rollback: RollbackResult
    load: LoadResult


def try_integrity(environment: Environment, strategy: Strategy) -> IntegrityResult:
    """Are the threads the same before and after?"""
    with connecting(environment, "trial") as connection:
        before = fetch_one(connection, "analysis/checksum")
        answer = strategy.apply(environment)
        return IntegrityResult(answer, before["threads"], fetch_one(connection, "analysis/checksum") == before)


def try_clients(environment: Environment, strategy: Strategy) -> ClientsResult:
    """What do the product's clients get, as they are?"""
    with connecting(environment, "trial") as connection:
        families = families_without_chat(connection, FAMILIES)
        runs = _find_runs(connection, families)
        chats_before, upsert_before = _count_admitted(connection, chat, families), _upsert(connection, families[0])
        strategy.apply(environment)
        verify_seconds = _time_verification(connection, families)
        return ClientsResult(
            families=len(families),
            chats_before=chats_before,
            chats=_count_admitted(connection, chat, families),
            runs_found=sum(a == b for a, b in zip(_find_runs(connection, families), runs, strict=True)),
            second_threads=sum(_count_admitted(connection, _second(purpose), families) for purpose in PURPOSES),
            ownerless=_count_ownerless(connection, families),
            other_providers=_count_admitted(connection, _run_of_other_provider, families),
            upsert_before=upsert_before,
            upsert=_upsert(connection, families[0]),
            verify_seconds=verify_seconds,
        )


def try_rollback(environment: Environment, strategy: Strategy) -> RollbackResult:
    """Does the rollback work at once, and after one family has got a chat beside its run?"""
    with connecting(environment, "trial") as connection:
        strategy.apply(environment)
        at_once, state_at_once = strategy.apply(environment, IndexKind.ORIGINAL), _state(connection)
        strategy.apply(environment)
        _count_admitted(connection, chat, families_without_chat(connection, 1))
        before = _counts(connection)
        after_chat, state_after_chat = strategy.apply(environment, IndexKind.ORIGINAL), _state(connection)
        ended = before.active_threads - _counts(connection).active_threads
        return RollbackResult(at_once, state_at_once, after_chat, state_after_chat, before.coexisting_families, ended)


def try_under_load(environment: Environment, strategy: Strategy, load: Load) -> LoadResult:
    """How long do clients wait, and what is admitted meanwhile? A reader opens a transaction just before the change.

    Raises:
        Failed: the database cannot be reached, a query failed, or a client's connection was lost.
    """
    reader_opened = threading.Event()

    def read(stop: threading.Event) -> tuple[float, float]:
        """Open a transaction, and leave it open: it holds the lock that every SELECT takes."""
        with connecting(environment, "reader") as connection, connection.transaction():
            families_without_chat(connection, 1)
            opened_at = time.monotonic()
            reader_opened.set()
            stop.wait(load.reader)
            return opened_at, time.monotonic()

    def count_waiting(stop: threading.Event) -> int:
        """Count the clients that wait for a lock of a session that is no client; return the most at once."""
        most, values = 0, {"client": f"incident_lib {traffic.ACTIVITY}"}
        with connecting(environment, "trial") as connection:
            while not stop.wait(ASK_SECONDS):
                most = max(most, fetch_one(connection, "experiments/clients_waiting", values)["waiting"])
        return most

    with connecting(environment, "trial") as connection:
        senders = _senders(families_without_chat(connection, LOAD_FAMILIES), load.clients)
        with (
            run_clients(environment, senders, every=load.every, answers=load.answers) as running,
            in_thread(count_waiting) as waiting,
            in_thread(read) as reading,
        ):
            reader_opened.wait(OPEN_SECONDS)
            began = time.monotonic()
            with running.change():
                answer = strategy.apply(environment)
            opened_at, closed_at = reading.result()
        result = running.result()
        if traffic.LOST in result.errors:
            raise Failed(
                f"A client's connection was lost in the environment {environment.name!r}.",
                "The server ended it while the index was changed.",
                "Try again; the log of the embedded server says more.",
            )
        return LoadResult(
            answer,
            result,
            (opened_at - began, closed_at - began),
            waiting.result(),
            _state(connection),
            _counts(connection).duplicate_keys[IndexKind.FIXED],
        )


def _senders(families: Sequence[Family], number: int) -> list[Client]:
    """Clients that create chats, new runs and second runs, each one of the three kinds."""
    calls = {"chat": chat, "new run": _new_run, SECOND_RUN: _second("run", provider="manus")}
    kinds = zip(range(number), cycle(calls), strict=False)
    return [Client({kind: calls[kind]}, families[place::number]) for place, kind in kinds]


def _state(connection: Connection) -> IndexState:
    return read_catalog(connection).state


def _counts(connection: Connection) -> Counts:
    return count_threads(connection, read_catalog(connection))


def _time_verification(connection: Connection, families: Sequence[Family]) -> float:
    began = time.monotonic()
    verify_catalog(read_catalog(connection))
    probe_semantics(connection, families)
    return time.monotonic() - began


def _count_admitted(
    connection: Connection, call: Callable[[Connection, Family], object], families: Sequence[Family]
) -> int:
    """In how many of these families no unique index rejects what a client sends."""
    admitted = 0
    for family in families:
        with suppress(psycopg.errors.UniqueViolation):
            call(connection, family)
            admitted += 1
    return admitted


def _new_run(connection: Connection, family: Family) -> None:
    """The first run of another user: no unique index has a reason to reject it."""
    traffic.run(connection, Family(family.root, uuid4()))


def _second(purpose: str, provider: str | None = None) -> Callable[[Connection, Family], object]:
    """A second thread of a purpose: what a run client sends whose lookup found no run of its provider, or was early."""
    return lambda connection, family: clients.insert_thread(
        connection, NewThread(*family, purpose=purpose, provider=provider)
    )


def _run_of_other_provider(connection: Connection, family: Family) -> None:
    clients.get_or_create_run(connection, NewThread(*family, provider="manus"))


def _count_ownerless(connection: Connection, families: Sequence[Family]) -> int:
    without_owner = [Family(family.root, None) for family in families]
    _count_admitted(connection, _second("run"), without_owner)
    return _count_admitted(connection, _second("run"), without_owner)


def _find_runs(connection: Connection, families: Sequence[Family]) -> list[UUID | None]:
    return [clients.find_active(connection, family, "openai", "run") for family in families]


def _upsert(connection: Connection, family: Family) -> str:
    try:
        fetch_all(connection, "experiments/upsert", family._asdict())
    except psycopg.Error as error:
        return error.sqlstate or ""
    return ""
