"""Try every way of changing the unique index on scratch databases of the embedded server, which are dropped at the end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from incident_lib.database import connecting
from incident_lib.experiments.claims.strategies import STRATEGIES
from incident_lib.experiments.claims.traffic import Pace
from incident_lib.experiments.claims.trials import Trial, try_clients, try_integrity, try_rollback, try_under_load
from incident_lib.experiments.scratch import scratch_database
from incident_lib.experiments.synthetic import fill_threads
from incident_lib.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from incident_lib.database import Environment
    from incident_lib.experiments.claims.strategies import Strategy
    from incident_lib.experiments.claims.trials import ClientsResult, IntegrityResult, RollbackResult

MANY, FEW = 200_000, 2_000  # threads: for writers to stand still, and for what does not depend on the amount

T = TypeVar("T")


@dataclass(frozen=True)
class ClaimsRun:
    """All trials of one run, and when, where and on how much they were made."""

    trials: tuple[Trial, ...]
    tested_at: str
    server_version: int
    seconds: float
    threads: int
    pace: Pace


def run_claims(
    ways: Sequence[Strategy] = STRATEGIES,
    *,
    many: int = MANY,
    few: int = FEW,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    listener: Callable[[str, float], None] = lambda what, share: None,  # noqa: ARG005 - nobody listens
) -> ClaimsRun:
    """Try each way: what does not depend on the amount while many threads are being made, then each under load.

    Args:
        ways: what is to be tried.
        many: threads where writers are to be seen standing still.
        few: threads where the amount does not matter.
        pace: how much goes on around each change.
        listener: is told what is done, and what share of all is behind it.

    Raises:
        Failed: the embedded server cannot be started or reached, or a query failed.
    """
    began, tested_at, trials = time.monotonic(), utc_now(), []
    with scratch_database("claims") as large, ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill_threads, large, many)
        listener("on small tables", 0.0)
        version, quiet = _quiet(ways, few)
        filling.result()
        for place, (way, found) in enumerate(zip(ways, quiet, strict=True), 1):
            listener(way.name, place / (len(ways) + 1))
            with scratch_database("claims", copy_of=large) as loaded:
                trials.append(Trial(way, *found, try_under_load(loaded, way, pace)))
    return ClaimsRun(tuple(trials), tested_at, version, time.monotonic() - began, many, pace)


def _quiet(
    ways: Sequence[Strategy], threads: int
) -> tuple[int, list[tuple[IntegrityResult, ClientsResult, RollbackResult]]]:
    """The server's version, and what each way does where nobody else is."""
    with scratch_database("claims") as small:
        found = [
            (
                _anew(try_integrity, small, way, threads),
                _anew(try_clients, small, way, threads),
                _anew(try_rollback, small, way, threads),
            )
            for way in ways
        ]
        with connecting(small, "look") as connection:
            return connection.info.server_version, found


def _anew(test: Callable[[Environment, Strategy], T], environment: Environment, way: Strategy, threads: int) -> T:
    """What a test finds on threads that were made for it."""
    fill_threads(environment, threads)
    return test(environment, way)
