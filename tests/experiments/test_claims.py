"""The fix plan's claims: tested with the plan's SQL, with this project, and with SQL that changes the verdicts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner

from incident_lib import experiments
from incident_lib.cli import cli
from incident_lib.database import Environment, demo
from incident_lib.experiments.claims.claim import CLAIMS, Claim, Outcome
from incident_lib.experiments.claims.run import make_report
from incident_lib.experiments.claims.strategies import (
    BY_STATEMENT,
    CREATE_FIXED,
    CREATE_ORIGINAL,
    DROP,
    IN_ONE_TRANSACTION,
    STRATEGIES,
    THIS_PROJECT,
    Strategy,
)
from incident_lib.experiments.claims.trials import (
    ClientsResult,
    IntegrityResult,
    Load,
    LoadResult,
    RollbackResult,
    Trial,
    try_clients,
    try_integrity,
    try_rollback,
    try_under_load,
)
from incident_lib.experiments.synthetic import fill_threads
from incident_lib.experiments.traffic import Call, TrafficResult
from incident_lib.model import ClaimsReport, Failed, IndexState, StrategyLatency, Verdict
from incident_lib.records import read_claims, to_json, write_claims
from tests.support import clusters
from tests.support.command import INTERRUPTED, Ran, message, shell, streams
from tests.support.scratch import scratch_databases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

THREADS, FAMILIES = 400, 20
LOAD = Load(clients=3, every=0.01, reader=0.2, answers=5)
BY_CLAIM = {claim.claim: claim for claim in CLAIMS}

END_ALL = "UPDATE public.q_threads SET is_active = false WHERE is_active"
END_CHATS = "UPDATE public.q_threads SET is_active = false WHERE is_active AND purpose = 'chat'"
CREATE_BY_PROVIDER = CREATE_FIXED.replace("purpose)", "purpose, provider)")
CONCURRENTLY = CREATE_FIXED.replace("INDEX idx", "INDEX CONCURRENTLY new_idx")
RESTORE = (DROP, CREATE_ORIGINAL)

# Other SQL than the plan's, worse or better
ENDING = Strategy("ends every thread first", (END_ALL, DROP, CREATE_FIXED), RESTORE)
SAME = Strategy("creates the original index again", (DROP, CREATE_ORIGINAL), RESTORE)
NONE = Strategy("creates no index", (DROP,), RESTORE)
PROVIDER = Strategy("has the provider in the key", (DROP, CREATE_BY_PROVIDER), RESTORE)
ENDING_CHATS = Strategy("ends the chats to roll back", (DROP, CREATE_FIXED), (END_CHATS, *RESTORE))
BESIDE = Strategy("builds beside", (CONCURRENTLY, "DROP INDEX CONCURRENTLY idx_q_threads_family_unique"))


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[Environment]:
    """A database of this module."""
    with clusters.database(server, "empty_template") as address:
        yield Environment("staging", "INCIDENT_STAGING_URL", address)


@pytest.fixture
def threads(database: Environment) -> Environment:
    """`database` with synthetic threads, under the original index."""
    fill_threads(database, THREADS)
    return database


@pytest.fixture(scope="module")
def clients_result(database: Environment) -> Callable[[Strategy], ClientsResult]:
    """The answers to clients before and after a strategy, without `verify_seconds`; each strategy is tried once."""

    @cache
    def result(strategy: Strategy) -> ClientsResult:
        fill_threads(database, THREADS)
        return replace(try_clients(database, strategy), verify_seconds=0.0)

    return result


def name(thing: object) -> str:
    """The name of a strategy, as the test's id."""
    return getattr(thing, "name", "")


# Integrity


@pytest.mark.parametrize("strategy", [*STRATEGIES, SAME, NONE, PROVIDER], ids=name)
def test_an_index_change_changes_no_thread(threads: Environment, strategy: Strategy) -> None:
    """A strategy that only changes indexes changes no thread."""
    assert try_integrity(threads, strategy) == IntegrityResult("done", THREADS, equal=True)


def test_a_strategy_that_ends_threads_is_detected(threads: Environment) -> None:
    """SQL that also changes threads is reported as a change of threads."""
    assert try_integrity(threads, ENDING) == IntegrityResult("done", THREADS, equal=False)


def test_the_answer_of_failed_sql_is_its_sqlstate(threads: Environment) -> None:
    """The answer of failed SQL is its SQLSTATE."""
    failing = Strategy("fails", ("DROP INDEX nothing",))

    assert try_integrity(threads, failing) == IntegrityResult("42704", THREADS, equal=True)


# Clients

FIXED = ClientsResult(
    families=FAMILIES,
    chats_before=0,
    chats=FAMILIES,
    runs_found=FAMILIES,
    second_threads=0,
    ownerless=FAMILIES,
    other_providers=0,
    upsert_before="",
    upsert="42P10",
    verify_seconds=0.0,
)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        *((strategy, FIXED) for strategy in STRATEGIES),
        (SAME, replace(FIXED, chats=0, upsert="")),
        (NONE, replace(FIXED, second_threads=2 * FAMILIES, other_providers=FAMILIES)),
        (PROVIDER, replace(FIXED, other_providers=FAMILIES)),
        (ENDING, replace(FIXED, runs_found=0, second_threads=FAMILIES)),
    ],
    ids=name,
)
def test_the_answers_to_clients(
    clients_result: Callable[[Strategy], ClientsResult], strategy: Strategy, expected: ClientsResult
) -> None:
    """Each strategy that creates the fixed index has the same result for clients; other SQL has another result."""
    assert clients_result(strategy) == expected


# Rollback


@pytest.mark.parametrize(
    ("strategy", "after_chat", "state", "preventing", "ended"),
    [
        (BY_STATEMENT, "23505", IndexState.MISSING, 1, 0),
        (IN_ONE_TRANSACTION, "23505", IndexState.FIXED, 1, 0),
        (THIS_PROJECT, "refused", IndexState.FIXED, 1, 0),
        (SAME, "done", IndexState.ORIGINAL, 0, 0),
        (ENDING_CHATS, "done", IndexState.ORIGINAL, 1, 1),
    ],
    ids=name,
)
def test_a_rollback(
    threads: Environment, strategy: Strategy, after_chat: str, state: IndexState, preventing: int, ended: int
) -> None:
    """A rollback works until a family has a second active thread; then it fails, is refused, or ends a thread."""
    assert try_rollback(threads, strategy) == RollbackResult(
        "done", IndexState.ORIGINAL, after_chat, state, preventing_families=preventing, ended_threads=ended
    )


# Under load


def test_by_statement_duplicates_are_admitted(threads: Environment) -> None:
    """The plan's SQL by statement admits second runs, which then violate the fixed index."""
    load = try_under_load(threads, BY_STATEMENT, LOAD)

    assert (load.answer, load.state) == ("23505", IndexState.MISSING)
    assert load.duplicates > 0
    assert load.duplicate_keys > 0
    assert load.waiting_clients > 0


def test_in_one_transaction_clients_wait(threads: Environment) -> None:
    """The plan's SQL in one transaction admits no duplicate, but clients wait."""
    load = try_under_load(threads, IN_ONE_TRANSACTION, LOAD)

    assert (load.answer, load.state, load.duplicates, load.duplicate_keys) == ("done", IndexState.FIXED, 0, 0)
    assert load.waiting_clients > 0


def test_with_this_project_clients_do_not_wait(threads: Environment) -> None:
    """This project admits no duplicate, no client waits, and each kind of client writes before and after the change."""
    load = try_under_load(threads, THIS_PROJECT, LOAD)

    assert (load.answer, load.state) == ("done", IndexState.FIXED)
    assert (load.duplicates, load.duplicate_keys, load.waiting_clients) == (0, 0, 0)
    calls, end = load.traffic.calls, load.traffic.end
    assert {call.kind for call in calls if call.due < 0} == {"chat", "new run", "second run"}
    assert {call.kind for call in calls if call.due > end} == {"chat", "new run", "second run"}


def test_with_concurrent_sql_clients_do_not_wait(threads: Environment) -> None:
    """With other SQL that builds and drops concurrently, no client waits either."""
    load = try_under_load(threads, BESIDE, LOAD)

    assert (load.answer, load.state, load.duplicates, load.waiting_clients) == ("done", IndexState.FIXED, 0, 0)


def test_a_trial_fails_if_a_client_loses_its_connection(threads: Environment) -> None:
    """If a client loses its connection, the trial fails, since its numbers would be incomplete."""
    terminate = """DO $$ BEGIN LOOP
        PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE application_name = 'incident_lib client' AND datname = current_database();
        EXIT WHEN FOUND;  -- a client may not have connected yet
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP; END $$"""

    with pytest.raises(Failed) as raised:
        try_under_load(threads, Strategy("terminates", (terminate,)), LOAD)
    assert raised.value.what == "A client's connection was lost in the environment 'staging'."


# Verdicts


def trial(strategy: Strategy, **changes: object) -> Trial:
    """A successful trial with these changes, for example `integrity__equal=False`."""
    calls = (Call("chat", 0.01, 0.012, "23505"), Call("new run", 0.06, 0.004, ""))
    traffic = TrafficResult(calls, end=1.5)
    original = IndexState.ORIGINAL
    parts = {
        "integrity": IntegrityResult("done", 2000, equal=True),
        "clients": replace(FIXED, other_providers=FAMILIES, verify_seconds=0.02),
        "rollback": RollbackResult("done", original, "done", original, preventing_families=0, ended_threads=0),
        "load": LoadResult("done", traffic, (0.0, 1.5), 0, IndexState.FIXED, 0),
    }
    for key, value in changes.items():
        part, _, attribute = key.partition("__")
        if part == "traffic":
            parts["load"] = replace(parts["load"], traffic=replace(parts["load"].traffic, **{attribute: value}))
        else:
            parts[part] = replace(parts[part], **{attribute: value})
    return Trial(strategy, **parts)


def verdicts(*trials: Trial) -> dict[str, Verdict]:
    """The claims with a verdict other than "holds"."""
    found = {claim.claim: claim.verdict(trials) for claim in CLAIMS}
    return {claim: verdict for claim, verdict in found.items() if verdict is not Verdict.HOLDS}


WAITING = {"load__waiting_clients": 6}
DUPLICATE = {"traffic__calls": (Call("second run", 0.1, 0.1, ""),)}
NOT_FIXED = {"load__answer": "23505", "load__state": IndexState.MISSING}


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, set()),
        ({"integrity__equal": False}, {"Data loss: none", "Runs are unaffected"}),
        (WAITING, {"Downtime: none"}),
        ({"rollback__at_once": "23505"}, {"Rollback complexity: low"}),
        ({"rollback__after_chat": "refused"}, {"Rollback complexity: low"}),
        ({"rollback__state_after_chat": IndexState.MISSING}, {"Rollback complexity: low"}),
        ({"rollback__ended_threads": 1}, {"Rollback complexity: low"}),
        ({"clients__other_providers": 0}, {"No code changes"}),
        ({"clients__chats": 19}, {"No code changes", "Chats beside runs"}),
        ({"clients__runs_found": 19}, {"No code changes", "Runs are unaffected"}),
        ({"clients__second_threads": 1}, {"Each purpose stays single-active"}),
        (DUPLICATE, {"Each purpose stays single-active"}),
        (NOT_FIXED, {"Effort: 5 + 10 minutes"}),
        ({"traffic__end": 301.0}, {"Effort: 5 + 10 minutes"}),
        ({"clients__verify_seconds": 601.0}, {"Effort: 5 + 10 minutes"}),
        ({"clients__upsert": "42P10"}, set()),
        ({"clients__ownerless": 20}, set()),
    ],
)
def test_the_results_that_decide_a_claim(changes: dict[str, object], claims: set[str]) -> None:
    """A result that is good with this project only gives "only with this project"; one that is bad with both, "no"."""
    good, bad = trial(THIS_PROJECT), trial(BY_STATEMENT, **changes)

    assert verdicts(bad, good) == dict.fromkeys(claims, Verdict.ONLY_HERE)
    assert verdicts(bad, trial(THIS_PROJECT, **changes)) == dict.fromkeys(claims, Verdict.NO)


def test_a_claim_must_hold_for_both_forms_of_the_plans_sql() -> None:
    """A claim holds for the plan's SQL only if it holds by statement and in one transaction."""
    assert verdicts(trial(BY_STATEMENT), trial(IN_ONE_TRANSACTION, **WAITING), trial(THIS_PROJECT)) == {
        "Downtime: none": Verdict.ONLY_HERE
    }


@pytest.mark.parametrize(
    ("claim", "strategy", "verdict"),
    [
        ("Chats beside runs", SAME, Verdict.NO),
        ("Chats beside runs", NONE, Verdict.HOLDS),
        ("Each purpose stays single-active", NONE, Verdict.NO),
        ("No code changes", PROVIDER, Verdict.HOLDS),
        ("No code changes", BY_STATEMENT, Verdict.NO),
        ("Runs are unaffected", ENDING, Verdict.NO),
    ],
    ids=lambda thing: getattr(thing, "name", str(thing)),
)
def test_a_verdict_depends_on_the_sql(
    clients_result: Callable[[Strategy], ClientsResult], claim: str, strategy: Strategy, verdict: Verdict
) -> None:
    """A verdict depends on the effect of the SQL on clients."""
    plan = replace(trial(strategy), clients=clients_result(strategy))

    assert BY_CLAIM[claim].verdict([plan, replace(plan, strategy=THIS_PROJECT)]) is verdict


def test_results_are_listed_by_strategy() -> None:
    """Strategies with the same result are named together, in their order."""
    texts = {BY_STATEMENT: "ten", IN_ONE_TRANSACTION: "two", THIS_PROJECT: "two"}
    claim = Claim("", "", "", lambda trial: Outcome(holds=True, text=texts[trial.strategy], figures={}))

    assert claim.result([trial(strategy) for strategy in STRATEGIES]) == (
        "The plan's SQL by statement: ten. The plan's SQL in one transaction, this project: two."
    )
    assert claim.result([trial(strategy) for strategy in STRATEGIES[1:]]) == "Each strategy: two."


RESULTS = {
    "Data loss: none": "2,000 threads, checksum equal",
    "Downtime: none": ("longest write 12 ms, 0 ms before; no client waited for a lock of the change, which took 1.5 s"),
    "Rollback complexity: low": "at once: done; after the first chat: done, index state original",
    "No code changes": (
        "20 of 20 chats and 20 of 20 runs admitted, 20 of 20 runs of another provider; "
        "the upsert: done before, SQLSTATE 42P10 after"
    ),
    "Runs are unaffected": "20 of 20 run clients found their thread again, no row changed",
    "Chats beside runs": "0 of 20 admitted before, 20 of 20 after",
    "Each purpose stays single-active": (
        "0 duplicates admitted under load, index state fixed; afterwards 0 of 40 second threads admitted, "
        "without an owner 20 of 20"
    ),
    "Effort: 5 + 10 minutes": "done at the first attempt under load, after 1.5 s; verified in 20 ms",
}


@pytest.mark.parametrize(("claim", "text"), RESULTS.items())
def test_the_result_of_a_claim(claim: str, text: str) -> None:
    """A result has numbers."""
    assert BY_CLAIM[claim].result([trial(BY_STATEMENT), trial(THIS_PROJECT)]) == f"Each strategy: {text}."


BAD_RESULTS = {
    "Data loss: none": "2,000 threads, checksum CHANGED",
    "Downtime: none": (
        "longest write 12 ms, 0 ms before; up to 6 clients at once waited for a lock of the change, which took 1.5 s"
    ),
    "Rollback complexity: low": (
        "at once: done; after the first chat: done, index state original, 1 active thread ended"
    ),
    "Runs are unaffected": "20 of 20 run clients found their thread again, rows CHANGED",
    "Effort: 5 + 10 minutes": (
        "NOT done (SQLSTATE 23505) at the first attempt under load, after 1.5 s; verified in 20 ms"
    ),
}


@pytest.mark.parametrize(("claim", "text"), BAD_RESULTS.items())
def test_the_result_of_a_failed_claim(claim: str, text: str) -> None:
    """The result of a failed claim names the failure."""
    bad = trial(BY_STATEMENT, **WAITING, **NOT_FIXED, integrity__equal=False, rollback__ended_threads=1)

    assert BY_CLAIM[claim].result([bad]) == f"Each strategy: {text}."


# The report


def report(*trials: Trial) -> ClaimsReport:
    """The report of a run with these trials."""
    return make_report(
        trials,
        tested_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        server_version=180004,
        seconds=12.34,
        threads=200_000,
        load=Load(),
    )


SLOW = (Call("chat", -0.2, 0.009, "23505"), Call("second run", 0.03, 1.48, ""), Call("new run", 1.6, 0.002, ""))
STORY = (
    trial(BY_STATEMENT, **WAITING, **NOT_FIXED, traffic__calls=SLOW, load__duplicate_keys=1),
    trial(IN_ONE_TRANSACTION, **WAITING, traffic__calls=(Call("chat", 0.03, 1.5, "23505"),)),
    trial(THIS_PROJECT),
)


def test_the_latencies_of_a_report() -> None:
    """A report has the latencies of each strategy's clients, in the order of the strategies."""
    latency = report(*STORY).latency

    assert (latency.threads, latency.clients) == (200_000, 6)
    assert latency.strategies[0] == StrategyLatency(
        name="the plan's SQL by statement",
        ours=False,
        begin=0.0,
        end=1.5,
        reader=(0.0, 1.5),
        longest_ms=1480.0,
        duplicates=1,
        errors={},
        points=[(-0.2, 9.0), (0.0, 1480.0), (1.6, 2.0)],
    )
    assert [(each.name, each.ours, each.errors) for each in latency.strategies[1:]] == [
        ("the plan's SQL in one transaction", False, {"23505": 1}),
        ("this project", True, {"23505": 1}),
    ]


def test_a_report_says_how_a_claim_was_tested() -> None:
    """The description of a test has the numbers of the load, and its results by strategy."""
    downtime = next(claim for claim in report(*STORY).claims if claim.claim == "Downtime: none")

    assert downtime.how.startswith("6 clients wrote to 200,000 threads before, during and after the change, and a ")
    assert "{" not in "".join(claim.how for claim in report(*STORY).claims)
    assert downtime.verdict is Verdict.ONLY_HERE
    assert downtime.figures["this project"] == {
        "longest_ms": 12.0,
        "longest_before_ms": 0.0,
        "waiting_clients": 0,
        "seconds": 1.5,
        "writes": 2,
    }


def test_a_report_can_be_written_and_read(tmp_path: Path) -> None:
    """A report is equal after writing and reading it; no other file is left."""
    file = tmp_path / "new" / "claims.json"
    write_claims(report(*STORY), file)

    assert read_claims(file) == report(*STORY)
    assert [each.name for each in file.parent.iterdir()] == ["claims.json"]


def test_each_point_is_on_its_own_line() -> None:
    """Each point of a latency is on its own line of the file."""
    lines = [line.strip() for line in to_json(report(*STORY)).splitlines()]

    assert {"[-0.2, 9.0],", "[0.0, 1480.0],", "[1.6, 2.0]"} <= set(lines)


# The command

EXPECTED = {
    "Data loss: none": "holds",
    "Downtime: none": "holds only with this project's method",
    "Rollback complexity: low": "does not hold",
    "No code changes": "does not hold",
    "Runs are unaffected": "holds",
    "Chats beside runs": "holds",
    "Each purpose stays single-active": "holds only with this project's method",
    "Effort: 5 + 10 minutes": "holds only with this project's method",
}
ID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, ClaimsReport]:
    """`incident claims` as a shell sees it, once, and what it wrote."""
    folder = tmp_path_factory.mktemp("claims")
    ran = shell("claims", "--format", "json", INCIDENT_RUNS=str(folder))
    return ran, read_claims(folder / "claims.json")


@pytest.mark.slow
def test_the_whole_command(whole: tuple[Ran, ClaimsReport]) -> None:
    """`incident claims` exits with 0 for any verdicts and prints what it wrote; no id and no database is left."""
    ran, found = whole

    assert (ran.returncode, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)["result"]
    assert told == json.loads(to_json(found))
    assert {claim["claim"]: claim["verdict"] for claim in told["claims"]} == EXPECTED
    assert [each.name for each in found.latency.strategies] == [strategy.name for strategy in STRATEGIES]
    assert re.findall(ID, ran.stdout) == []
    assert scratch_databases() == []


@pytest.mark.slow
def test_the_table_of_the_command(
    whole: tuple[Ran, ClaimsReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of claims for each verdict and the time come first, then each claim with its verdict, and the file."""
    monkeypatch.setattr(experiments, "run_claims", lambda listener: whole[1])  # noqa: ARG005 - by its name
    ran = CliRunner().invoke(cli, ["claims", "--out", str(tmp_path / "mine.json")])
    lines = [line.split("\t") for line in ran.stdout.splitlines()]
    found = read_claims(tmp_path / "mine.json")

    assert (ran.exit_code, ran.stderr, found) == (0, "", whole[1])
    assert {line[0]: line[1] for line in lines if line[0] in EXPECTED} == EXPECTED
    assert lines[0] == [
        f"3 claims hold, 3 hold only with this project's method, 2 do not hold. Tested in {found.seconds:.0f} s."
    ]
    assert lines[-1] == [f"  {tmp_path / 'mine.json'}"]


# The command with fewer threads: clients write sooner.
SMALL = f"""
from incident_lib.experiments.claims.run import run_claims
run_claims.__kwdefaults__["load_threads"] = {THREADS}
from incident_lib.cli import main
main()"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_the_command_interrupted(tmp_path: Path, signal_: signal.Signals) -> None:
    """If it is interrupted under load, it exits with 130, and leaves no database and no file."""
    demo.url()
    command = [sys.executable, "-c", SMALL, "claims", "--out", str(tmp_path / "claims.json")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        wait_for_clients()
        child.send_signal(signal_)
        _, stderr = child.communicate(timeout=60)

    assert (child.returncode, stderr.strip()) == (130, INTERRUPTED)
    assert (scratch_databases(), list(tmp_path.iterdir())) == ([], [])


def wait_for_clients() -> None:
    """Wait until the command's clients write."""
    with psycopg.connect(demo.url("postgres"), autocommit=True) as connection:
        for _ in range(1500):
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'incident_lib client'"
            ).fetchone()
            if found and found[0]:
                return
            time.sleep(0.02)
    raise AssertionError("no client ever wrote")


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """If the embedded server cannot start, the command exits with 3 and a message."""
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "demo"

    assert streams(shell("claims", INCIDENT_DEMO_DIR=str(folder))) == (
        3,
        "",
        message(
            "The embedded server of `demo` has no folder.",
            f"{folder} cannot be made or written by this user.",
            "Point INCIDENT_DEMO_DIR at a folder that you may write, with a short path.",
        ),
    )
