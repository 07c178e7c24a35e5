"""What each way of changing the unique index does, tried on scratch databases: to the threads, to clients, and going back."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from incident_lib.analysis import count_threads
from incident_lib.database import NewThread, clients, connecting, fetch_all, fetch_one, read_catalog
from incident_lib.experiments.claims.traffic import Pace, TrafficResult, run_traffic
from incident_lib.migration import probe_semantics, verify_catalog
from incident_lib.model import PURPOSES, Family, IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from incident_lib.database import Connection, Environment
    from incident_lib.experiments.claims.strategies import Strategy
    from incident_lib.model import Counts

TRIED = 20  # families


@dataclass(frozen=True)
class IntegrityResult:
    """What a way did to the threads that stood there, nobody else being at them."""

    answer: str
    threads: int
    same: bool  # all of them, by count and checksum


@dataclass(frozen=True)
class ClientsResult:
    """What unchanged clients were answered before and after a way."""

    tried: int
    chats_before: int  # admitted beside an active run
    chats: int
    runs_found: int  # by the run client, the very thread that it had found before, with the new chat beside it
    seconds: int  # of a purpose that the family has already: admitted
    ownerless: int  # the same without an owner: admitted
    other_providers: int  # runs of another provider: admitted
    upsert_before: str  # on the original key: empty, or the SQLSTATE
    upsert: str
    verified: float  # seconds that it took to verify, by definition and by probe


@dataclass(frozen=True)
class RollbackResult:
    """How going back ended: at once, and once one family has had its chat."""

    at_once: str
    state_at_once: str
    later: str
    state_later: str
    in_the_way: int  # families, then
    ended: int  # active threads that going back cost


@dataclass(frozen=True)
class LoadResult:
    """What clients saw while it went on, and what it left."""

    seen: TrafficResult
    state: str
    keys: int  # of the fixed index that several active threads hold


@dataclass(frozen=True)
class Trial:
    """All that was tried of one way."""

    way: Strategy
    kept: IntegrityResult
    served: ClientsResult
    back: RollbackResult
    load: LoadResult


def try_integrity(environment: Environment, way: Strategy) -> IntegrityResult:
    """Are the threads the same before and after?"""
    with connecting(environment, "look") as connection:
        before = fetch_one(connection, "analysis/checksum")
        answer = way.go(environment)
        return IntegrityResult(answer, before["threads"], fetch_one(connection, "analysis/checksum") == before)


def try_clients(environment: Environment, way: Strategy) -> ClientsResult:
    """What are the product's clients answered, as they are?"""
    with connecting(environment, "look") as connection:
        families = _families(connection)
        found = _runs(connection, families)
        chats_before, upsert_before = _admitted(connection, _chat, families), _upsert(connection, families[0])
        way.go(environment)
        verified = _verified(connection, families)
        return ClientsResult(
            tried=len(families),
            chats_before=chats_before,
            chats=_admitted(connection, _chat, families),
            runs_found=sum(one == other for one, other in zip(_runs(connection, families), found, strict=True)),
            seconds=sum(_admitted(connection, _second(purpose), families) for purpose in PURPOSES),
            ownerless=_ownerless(connection, families),
            other_providers=_admitted(connection, _other_provider, families),
            upsert_before=upsert_before,
            upsert=_upsert(connection, families[0]),
            verified=verified,
        )


def try_rollback(environment: Environment, way: Strategy) -> RollbackResult:
    """Does the way back work at once, and once one family has a chat beside its run?"""
    with connecting(environment, "look") as connection:
        way.go(environment)
        at_once, state_at_once = way.go(environment, IndexKind.ORIGINAL), _state(connection)
        way.go(environment)
        _admitted(connection, _chat, _families(connection, 1))
        before = _counts(connection)
        later = way.go(environment, IndexKind.ORIGINAL)
        ended = before.active_threads - _counts(connection).active_threads
        return RollbackResult(at_once, state_at_once, later, _state(connection), before.coexisting_families, ended)


def try_under_load(environment: Environment, way: Strategy, pace: Pace) -> LoadResult:
    """How long do writers wait, and what gets in meanwhile?"""
    seen = run_traffic(environment, lambda: way.go(environment), pace)
    with connecting(environment, "look") as connection:
        return LoadResult(seen, _state(connection), _counts(connection).duplicate_keys[IndexKind.FIXED])


def _state(connection: Connection) -> str:
    return read_catalog(connection).state.value


def _counts(connection: Connection) -> Counts:
    return count_threads(connection, read_catalog(connection))


def _families(connection: Connection, most: int = TRIED) -> list[Family]:
    return [Family(**row) for row in fetch_all(connection, "migration/families_without_chat", {"most": most})]


def _verified(connection: Connection, families: Sequence[Family]) -> float:
    began = time.monotonic()
    verify_catalog(read_catalog(connection))
    probe_semantics(connection, families)
    return time.monotonic() - began


def _admitted(connection: Connection, send: Callable[[Connection, Family], object], families: Sequence[Family]) -> int:
    """In how many of these families no unique index rejects what a client sends."""
    admitted = 0
    for family in families:
        with suppress(psycopg.errors.UniqueViolation):
            send(connection, family)
            admitted += 1
    return admitted


def _chat(connection: Connection, family: Family) -> None:
    clients.create_chat(connection, NewThread(*family))


def _other_provider(connection: Connection, family: Family) -> None:
    clients.get_or_create_run(connection, NewThread(*family, provider="manus"))


def _second(purpose: str) -> Callable[[Connection, Family], object]:
    return lambda connection, family: clients.insert_thread(connection, NewThread(*family, purpose=purpose))


def _ownerless(connection: Connection, families: Sequence[Family]) -> int:
    nobodys = [Family(family.root, None) for family in families]
    _admitted(connection, _second("run"), nobodys)
    return _admitted(connection, _second("run"), nobodys)


def _runs(connection: Connection, families: Sequence[Family]) -> list[UUID | None]:
    return [clients.find_active(connection, family, "openai", "run") for family in families]


def _upsert(connection: Connection, family: Family) -> str:
    try:
        fetch_all(connection, "experiments/upsert", family._asdict())
    except psycopg.Error as error:
        return error.sqlstate or ""
    return ""
