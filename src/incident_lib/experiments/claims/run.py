"""Try each strategy on scratch databases of the embedded server, and judge the plan's claims by the results."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from incident_lib.database import connecting
from incident_lib.experiments.claims.claim import CLAIMS, milliseconds
from incident_lib.experiments.claims.strategies import STRATEGIES
from incident_lib.experiments.claims.trials import (
    Load,
    Trial,
    try_clients,
    try_integrity,
    try_rollback,
    try_under_load,
)
from incident_lib.experiments.scratch import scratch_database
from incident_lib.experiments.synthetic import fill_threads
from incident_lib.model import ClaimResult, ClaimsReport, Latency, StrategyLatency, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from incident_lib.database import Environment
    from incident_lib.experiments.claims.claim import Claim
    from incident_lib.experiments.claims.strategies import Strategy
    from incident_lib.experiments.claims.trials import ClientsResult, IntegrityResult, RollbackResult

LOAD_THREADS = 200_000  # enough for clients to wait while an index is built
THREADS = 2_000

T = TypeVar("T")


def run_claims(
    strategies: Sequence[Strategy] = STRATEGIES,
    *,
    load_threads: int = LOAD_THREADS,
    threads: int = THREADS,
    load: Load = Load(),  # noqa: B008 - frozen
    listener: Callable[[str, float], None] = lambda name, share: None,  # noqa: ARG005
) -> ClaimsReport:
    """Try each strategy, first without load, while the threads for the load are made, then under load.

    Args:
        strategies: what to try.
        load_threads: threads under load.
        threads: threads of the other trials, whose results do not depend on the number.
        load: the load around each change.
        listener: gets what is tried, and the share that is finished.

    Raises:
        Failed: the embedded server cannot be started or reached, or a query failed.
    """
    began, tested_at, trials = time.monotonic(), utc_now(), []
    with scratch_database("claims") as large, ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill_threads, large, load_threads)
        listener("without load", 0.0)
        server_version, results = _try_without_load(strategies, threads)
        filling.result()
        for place, (strategy, result) in enumerate(zip(strategies, results, strict=True), 1):
            listener(strategy.name, place / (len(strategies) + 1))
            with scratch_database("claims", copy_of=large) as loaded:
                trials.append(Trial(strategy, *result, try_under_load(loaded, strategy, load)))
    listener("done", 1.0)
    return make_report(
        trials,
        tested_at=tested_at,
        server_version=server_version,
        seconds=time.monotonic() - began,
        threads=load_threads,
        load=load,
    )


def _try_without_load(
    strategies: Sequence[Strategy], threads: int
) -> tuple[int, list[tuple[IntegrityResult, ClientsResult, RollbackResult]]]:
    """The server's version, and the results of each strategy without other clients."""
    with scratch_database("claims") as small:

        def refilled(trial: Callable[[Environment, Strategy], T], strategy: Strategy) -> T:
            fill_threads(small, threads)
            return trial(small, strategy)

        results = [
            (refilled(try_integrity, each), refilled(try_clients, each), refilled(try_rollback, each))
            for each in strategies
        ]
        with connecting(small, "trial") as connection:
            return connection.info.server_version, results


def make_report(
    trials: Sequence[Trial],
    *,
    tested_at: datetime,
    server_version: int,
    seconds: float,
    threads: int,
    load: Load,
) -> ClaimsReport:
    """The report on all trials, as claims.json holds it."""
    values = {"threads": threads, "clients": load.clients, "reader": load.reader}
    return ClaimsReport(
        schema_version=2,
        tested_at=tested_at,
        server_version=server_version,
        seconds=round(seconds, 1),
        claims=[_result(claim, trials, values) for claim in CLAIMS],
        latency=Latency(threads=threads, clients=load.clients, strategies=[_latency(trial) for trial in trials]),
    )


def _result(claim: Claim, trials: Sequence[Trial], values: dict[str, float]) -> ClaimResult:
    return ClaimResult(
        claim=claim.claim,
        source=claim.source,
        how=claim.how.format_map(values),
        result=claim.result(trials),
        verdict=claim.verdict(trials),
        figures={trial.strategy.name: claim.judge(trial).figures for trial in trials},
    )


def _latency(trial: Trial) -> StrategyLatency:
    load, traffic = trial.load, trial.load.traffic
    opened, closed = (round(at, 3) + 0.0 for at in load.reader)  # no -0.0
    return StrategyLatency(
        name=trial.strategy.name,
        ours=trial.strategy.ours,
        begin=0.0,
        end=round(traffic.end, 3),
        reader=(opened, closed),
        longest_ms=milliseconds(traffic.longest),
        duplicates=load.duplicates,
        errors=load.sqlstates,
        points=traffic.points,
    )
