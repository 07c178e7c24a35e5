"""Try every way of changing the guard on scratch databases of the embedded server, which are dropped at the end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from incident_lib.claims.threads import fill
from incident_lib.claims.traffic import Pace
from incident_lib.claims.trials import Trial, goes_back, keeps, serves, under_load
from incident_lib.claims.ways import WAYS
from incident_lib.environments import connecting
from incident_lib.record import now
from incident_lib.scratch import database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from incident_lib.claims.trials import Back, Kept, Served
    from incident_lib.claims.ways import Way
    from incident_lib.environments import Environment

MANY, FEW = 200_000, 2_000  # threads: for writers to stand still, and for what does not depend on the amount

T = TypeVar("T")


@dataclass(frozen=True)
class Tested:
    """All trials of one run, and when, where and on how much they were made."""

    trials: tuple[Trial, ...]
    tested_at: str
    server_version: int
    seconds: float
    threads: int
    pace: Pace


def run(
    ways: Sequence[Way] = WAYS,
    *,
    many: int = MANY,
    few: int = FEW,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    listener: Callable[[str, float], None] = lambda what, share: None,  # noqa: ARG005 - nobody listens
) -> Tested:
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
    began, tested_at, trials = time.monotonic(), now(), []
    with database("claims") as large, ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill, large, many)
        listener("on small tables", 0.0)
        version, quiet = _quiet(ways, few)
        filling.result()
        for place, (way, found) in enumerate(zip(ways, quiet, strict=True), 1):
            listener(way.name, place / (len(ways) + 1))
            with database("claims", copy_of=large) as loaded:
                trials.append(Trial(way, *found, under_load(loaded, way, pace)))
    return Tested(tuple(trials), tested_at, version, time.monotonic() - began, many, pace)


def _quiet(ways: Sequence[Way], threads: int) -> tuple[int, list[tuple[Kept, Served, Back]]]:
    """The server's version, and what each way does where nobody else is."""
    with database("claims") as small:
        found = [
            (
                _anew(keeps, small, way, threads),
                _anew(serves, small, way, threads),
                _anew(goes_back, small, way, threads),
            )
            for way in ways
        ]
        with connecting(small, "look") as connection:
            return connection.info.server_version, found


def _anew(test: Callable[[Environment, Way], T], environment: Environment, way: Way, threads: int) -> T:
    """What a test finds on threads that were made for it."""
    fill(environment, threads)
    return test(environment, way)
