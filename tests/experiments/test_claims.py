"""The fix plan's claims: tested with its own SQL, with ours, and with other SQL, which changes the verdicts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.database import demo
from incident_lib.experiments.claims.claim import CLAIMS, Claim, Outcome, Verdict
from incident_lib.experiments.claims.results import claims_contents, claims_json, read_claims, write_claims
from incident_lib.experiments.claims.run import ClaimsRun
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
from incident_lib.experiments.claims.traffic import BIN, Pace, TrafficResult, Write, longest_by_bin, run_traffic
from incident_lib.experiments.claims.trials import (
    ClientsResult,
    IntegrityResult,
    LoadResult,
    RollbackResult,
    Trial,
    try_clients,
    try_integrity,
    try_rollback,
    try_under_load,
)
from incident_lib.experiments.scratch import scratch_database
from incident_lib.experiments.synthetic import fill_threads
from incident_lib.model.errors import UsageError
from incident_lib.report import claim_chart
from tests.cli.test_cli import INTERRUPTED, message, shell, streams

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from incident_lib.database import Environment

THREADS, TRIED = 400, 20
QUICK = Pace(clients=3, every=0.01, reader=0.4, lead=0.1, tail=0.1)
BY_CLAIM = {claim.claim: claim for claim in CLAIMS}

END_ALL = "UPDATE public.q_threads SET is_active = false WHERE is_active"
END_CHATS = "UPDATE public.q_threads SET is_active = false WHERE is_active AND purpose = 'chat'"
CREATE_BY_PROVIDER = CREATE_FIXED.replace("purpose)", "purpose, provider)")
CONCURRENTLY = CREATE_FIXED.replace("INDEX idx", "INDEX CONCURRENTLY new_idx")

# Other SQL than the plan's, and what is wrong with it, or better.
ENDING = Strategy("ends every thread first", (END_ALL, DROP, CREATE_FIXED), (DROP, CREATE_ORIGINAL))
AGAIN = Strategy("makes the same unique index again", (DROP, CREATE_ORIGINAL), (DROP, CREATE_ORIGINAL))
NONE = Strategy("makes none", (DROP,), (DROP, CREATE_ORIGINAL))
PROVIDER = Strategy("lets providers apart", (DROP, CREATE_BY_PROVIDER), (DROP, CREATE_ORIGINAL))
SETTLING = Strategy("ends the chats to go back", (DROP, CREATE_FIXED), (END_CHATS, DROP, CREATE_ORIGINAL))
BESIDE = Strategy("builds it beside", (CONCURRENTLY, "DROP INDEX CONCURRENTLY idx_q_threads_family_unique"))


@pytest.fixture
def threads(environment: Environment) -> Environment:
    """A database of this test alone with threads that were made by rule, under the original index."""
    fill_threads(environment, THREADS)
    return environment


def ids(ways: Iterable[Strategy]) -> list[str]:
    """The names of ways, as ids of tests."""
    return [way.name for way in ways]


# What the ways do to threads


@pytest.mark.parametrize("way", [*STRATEGIES, AGAIN, NONE, PROVIDER], ids=lambda way: way.name)
def test_the_indexes_ways_keep_every_thread(threads: Environment, way: Strategy) -> None:
    """Whatever is done to the unique index alone, every thread is the same afterwards."""
    assert try_integrity(threads, way) == IntegrityResult("done", THREADS, same=True)


def test_a_way_that_ends_threads_is_seen(threads: Environment) -> None:
    """SQL that also changes threads is not taken for one that loses nothing."""
    assert try_integrity(threads, ENDING) == IntegrityResult("done", THREADS, same=False)


def test_sql_that_fails_says_its_sqlstate(threads: Environment) -> None:
    """The answer of SQL that fails is its SQLSTATE."""
    assert try_integrity(threads, Strategy("fails", ("DROP INDEX nothing",))) == IntegrityResult(
        "42704", THREADS, same=True
    )


# What clients are answered

SERVED = ClientsResult(
    tried=TRIED,
    chats_before=0,
    chats=TRIED,
    runs_found=TRIED,
    seconds=0,
    ownerless=TRIED,
    other_providers=0,
    upsert_before="",
    upsert="42P10",
    verified=0.0,
)


def served(environment: Environment, way: Strategy) -> ClientsResult:
    """What clients were answered, without how long it took."""
    return replace(try_clients(environment, way), verified=0.0)


@pytest.mark.parametrize("way", STRATEGIES, ids=lambda way: way.name)
def test_the_fixed_index_serves_alike(threads: Environment, way: Strategy) -> None:
    """Once the fixed index stands, clients are answered the same, by whatever way it came."""
    assert served(threads, way) == SERVED


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (AGAIN, replace(SERVED, chats=0, upsert="")),
        (NONE, replace(SERVED, seconds=2 * TRIED, other_providers=TRIED)),
        (PROVIDER, replace(SERVED, other_providers=TRIED)),
        (ENDING, replace(SERVED, runs_found=0, seconds=TRIED)),
    ],
    ids=lambda thing: getattr(thing, "name", ""),
)
def test_other_sql_serves_otherwise(threads: Environment, way: Strategy, expected: ClientsResult) -> None:
    """Under other SQL clients are answered otherwise, and that is seen."""
    assert served(threads, way) == expected


# Going back


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (BY_STATEMENT, RollbackResult("done", "original", "23505", "missing", in_the_way=1, ended=0)),
        (IN_ONE_TRANSACTION, RollbackResult("done", "original", "23505", "fixed", in_the_way=1, ended=0)),
        (THIS_PROJECT, RollbackResult("done", "original", "refused", "fixed", in_the_way=1, ended=0)),
        (AGAIN, RollbackResult("done", "original", "done", "original", in_the_way=0, ended=0)),
        (SETTLING, RollbackResult("done", "original", "done", "original", in_the_way=1, ended=1)),
    ],
    ids=lambda thing: getattr(thing, "name", ""),
)
def test_going_back(threads: Environment, way: Strategy, expected: RollbackResult) -> None:
    """Going back works until one family has had its chat; then it fails, is refused, or costs a thread."""
    assert try_rollback(threads, way) == expected


# Under load


def test_by_statement_duplicates_get_in(threads: Environment) -> None:
    """The plan's SQL by statement lets second runs in, which then keep its index from being made."""
    load = try_under_load(threads, BY_STATEMENT, QUICK)

    assert (load.seen.answer, load.state) == ("23505", "missing")
    assert load.seen.duplicates > 0
    assert load.keys > 0
    assert load.seen.held_up > 0


def test_in_one_transaction_clients_wait(threads: Environment) -> None:
    """The plan's SQL in one transaction lets nothing in, and makes clients wait."""
    load = try_under_load(threads, IN_ONE_TRANSACTION, QUICK)

    assert (load.seen.answer, load.state, load.seen.duplicates, load.keys) == ("done", "fixed", 0, 0)
    assert load.seen.held_up > 0


def test_ours_neither_lets_in_nor_holds_up(threads: Environment) -> None:
    """Our way lets nothing in, and no client waits for it."""
    load = try_under_load(threads, THIS_PROJECT, QUICK)

    assert (load.seen.answer, load.state) == ("done", "fixed")
    assert (load.seen.duplicates, load.keys, load.seen.held_up) == (0, 0, 0)


def test_other_sql_that_holds_nobody_up(threads: Environment) -> None:
    """Other SQL that builds beside and drops concurrently is seen to hold nobody up."""
    load = try_under_load(threads, BESIDE, QUICK)

    assert (load.seen.answer, load.state, load.seen.duplicates, load.seen.held_up) == ("done", "fixed", 0, 0)


def test_clients_write_before_and_after(threads: Environment) -> None:
    """Each kind of client is seen before the change begins and after it has ended."""
    seen = run_traffic(threads, lambda: "done", QUICK)

    for side in (-1, 1):
        met = {write.kind for write in seen.writes if (write.due > seen.end if side > 0 else write.due < 0)}
        assert met == {"chat", "new run", "second run"}


def test_what_is_due_does_not_wait_for_answers(threads: Environment) -> None:
    """A client that stands still is late for what was due meanwhile: its writes are due at even distances."""
    seen = run_traffic(threads, lambda: IN_ONE_TRANSACTION.go(threads), QUICK)
    due = [write.due for write in seen.writes if write.kind == "new run"]

    assert [later - earlier for earlier, later in pairwise(due)] == pytest.approx([QUICK.every] * (len(due) - 1))


def test_a_change_that_fails_stops_the_clients(threads: Environment) -> None:
    """Where the change raises, its error is what comes out, and no session is left behind."""

    def change() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_traffic(threads, change, QUICK)
    with psycopg.connect(threads.address) as connection:
        left = connection.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'incident_lib%' AND state <> 'idle'"
        ).fetchall()

    assert left == []


# Latencies

SECONDS = st.floats(0, 100, allow_nan=False)
WRITES = st.lists(st.tuples(st.floats(-100, 100, allow_nan=False), SECONDS), max_size=200)


@given(WRITES)
def test_no_write_is_longer_than_its_bin(writes: list[tuple[float, float]]) -> None:
    """Each write lies in a bin, and took no longer than the bin says."""
    longest = dict(map(tuple, longest_by_bin(writes)))

    assert all(round(seconds * 1000, 1) <= longest[due * 1000 // BIN * BIN / 1000] for due, seconds in writes)


@given(WRITES)
def test_each_bin_is_a_write(writes: list[tuple[float, float]]) -> None:
    """What a bin says is what a write that was due in it took; no bin is empty."""
    took = {(due * 1000 // BIN * BIN / 1000, round(seconds * 1000, 1)) for due, seconds in writes}

    assert {(at, ms) for at, ms in longest_by_bin(writes)} <= took


@given(WRITES)
def test_bins_are_in_order(writes: list[tuple[float, float]]) -> None:
    """The bins ascend, one for each 50 ms in which a write was due."""
    moments = [at for at, _ in longest_by_bin(writes)]

    assert moments == sorted({due * 1000 // BIN * BIN / 1000 for due, _ in writes})


@given(WRITES, st.randoms())
def test_bins_do_not_depend_on_the_order(writes: list[tuple[float, float]], random) -> None:
    """Writes of several clients may come in any order."""
    shuffled = random.sample(writes, len(writes))

    assert longest_by_bin(shuffled) == longest_by_bin(writes)


@given(WRITES, WRITES)
def test_more_writes_make_no_bin_lower(some: list[tuple[float, float]], more: list[tuple[float, float]]) -> None:
    """A bin of more writes is at least as high."""
    fewer, all_of_them = (dict(map(tuple, longest_by_bin(writes))) for writes in (some, some + more))

    assert all(all_of_them[at] >= ms for at, ms in fewer.items())


def test_the_longest_is_of_what_the_change_could_hold_up() -> None:
    """A write that was over before the change began, or due after it had ended, is not counted as its doing."""
    writes = (
        Write("chat", -0.3, 0.25, ""),
        Write("chat", -0.02, 0.4, ""),
        Write("second run", 0.1, 0.2, "23505"),
        Write("second run", 1.1, 0.9, ""),
    )
    seen = TrafficResult(writes, end=1.0, reader=(0.0, 0.5), held_up=1, answer="done")

    assert (seen.longest, seen.longest_before, seen.duplicates, seen.errors) == (0.4, 0.25, 1, {"23505": 1})


# Verdicts


def trial(way: Strategy, **changes: object) -> Trial:
    """A trial in which all went well, but for what is changed: `kept__same=False`, say."""
    writes = (Write("chat", 0.01, 0.012, "23505"), Write("new run", 0.06, 0.004, ""))
    seen = TrafficResult(writes, end=1.5, reader=(0.0, 1.5), held_up=0, answer="done")
    parts = {
        "kept": IntegrityResult("done", 2000, same=True),
        "served": replace(SERVED, other_providers=TRIED, verified=0.02),
        "back": RollbackResult("done", "original", "done", "original", in_the_way=0, ended=0),
        "load": LoadResult(seen, "fixed", 0),
    }
    for name, value in changes.items():
        part, _, attribute = name.partition("__")
        if part == "seen":
            parts["load"] = replace(parts["load"], seen=replace(parts["load"].seen, **{attribute: value}))
        else:
            parts[part] = replace(parts[part], **{attribute: value})
    return Trial(way, **parts)


def verdicts(*trials: Trial) -> dict[str, str]:
    """The claims that do not simply hold, and their verdicts."""
    found = {claim.claim: claim.verdict(trials) for claim in CLAIMS}
    return {name: verdict.value for name, verdict in found.items() if verdict is not Verdict.HOLDS}


STALLED = {"seen__held_up": 6}
LET_IN = {"seen__writes": (Write("second run", 0.1, 0.1, ""),)}
UNFIXED = {"seen__answer": "23505", "load__state": "missing"}


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, set()),
        ({"kept__same": False}, {"Data loss: none", "Runs are unaffected"}),
        (STALLED, {"Downtime: none"}),
        ({"back__at_once": "23505"}, {"Rollback complexity: low"}),
        ({"back__later": "refused"}, {"Rollback complexity: low"}),
        ({"back__state_later": "missing"}, {"Rollback complexity: low"}),
        ({"back__ended": 1}, {"Rollback complexity: low"}),
        ({"served__other_providers": 0}, {"No code changes"}),
        ({"served__chats": 19}, {"No code changes", "Chats beside runs"}),
        ({"served__runs_found": 19}, {"No code changes", "Runs are unaffected"}),
        ({"served__seconds": 1}, {"Each purpose stays single-active"}),
        (LET_IN, {"Each purpose stays single-active"}),
        (UNFIXED, {"Effort: 5 + 10 minutes"}),
        ({"seen__end": 301.0}, {"Effort: 5 + 10 minutes"}),
        ({"served__verified": 601.0}, {"Effort: 5 + 10 minutes"}),
        ({"served__upsert": "42P10"}, set()),
        ({"served__ownerless": 20}, set()),
    ],
)
def test_what_decides_a_claim(changes: dict[str, object], claims: set[str]) -> None:
    """What goes well by our way alone holds only for it; what goes wrong by both does not hold."""
    good, bad = trial(THIS_PROJECT), trial(BY_STATEMENT, **changes)

    assert verdicts(bad, good) == dict.fromkeys(claims, "holds only for our way")
    assert verdicts(bad, trial(THIS_PROJECT, **changes)) == dict.fromkeys(claims, "does not hold")


def test_the_plan_does_not_say_how_its_sql_is_sent() -> None:
    """A claim holds for the plan's SQL only where it holds however that is sent."""
    assert verdicts(trial(BY_STATEMENT), trial(IN_ONE_TRANSACTION, **STALLED), trial(THIS_PROJECT)) == {
        "Downtime: none": "holds only for our way"
    }


@pytest.mark.parametrize(
    ("claim", "way", "verdict"),
    [
        ("Chats beside runs", AGAIN, "does not hold"),
        ("Chats beside runs", NONE, "holds"),
        ("Each purpose stays single-active", NONE, "does not hold"),
        ("No code changes", PROVIDER, "holds"),
        ("No code changes", BY_STATEMENT, "does not hold"),
        ("Runs are unaffected", ENDING, "does not hold"),
    ],
    ids=lambda thing: getattr(thing, "name", thing),
)
def test_a_verdict_changes_with_the_sql(threads: Environment, claim: str, way: Strategy, verdict: str) -> None:
    """What a claim is judged by is what the SQL did to clients."""
    tried = replace(trial(way), served=try_clients(threads, way))

    assert BY_CLAIM[claim].verdict([tried, replace(tried, way=THIS_PROJECT)]) == verdict


def test_what_came_out_is_told_way_by_way() -> None:
    """Ways of which the same is to be said are named together, in their order."""
    told = {BY_STATEMENT: "ten", IN_ONE_TRANSACTION: "two", THIS_PROJECT: "two"}
    claim = Claim("", "", "", lambda trial: Outcome(holds=True, told=told[trial.way], figures={}))

    assert claim.result([trial(way) for way in STRATEGIES]) == (
        "The plan's SQL by statement: ten. The plan's SQL in one transaction, ours: two."
    )
    assert claim.result([trial(way) for way in STRATEGIES[1:]]) == "Each way: two."


RESULTS = {
    "Data loss: none": "2,000 threads, checksum equal",
    "Downtime: none": "longest write 12 ms, 0 ms before; no client seen waiting for it (1.5 s in all)",
    "Rollback complexity: low": "at once: done; after the first chat: done, unique index then original",
    "No code changes": (
        "20 of 20 chats and 20 of 20 runs served, 20 of 20 runs of another provider; "
        "the upsert: done before, SQLSTATE 42P10 after"
    ),
    "Runs are unaffected": "20 of 20 run clients found their thread again, no row changed",
    "Chats beside runs": "0 of 20 admitted before, 20 of 20 after",
    "Each purpose stays single-active": (
        "0 duplicates got in under load, unique index then fixed; afterwards 0 of 40 second threads admitted, "
        "without an owner 20 of 20"
    ),
    "Effort: 5 + 10 minutes": "done at the first attempt under load, after 1.5 s; verified in 20 ms",
}


@pytest.mark.parametrize(("claim", "told"), RESULTS.items())
def test_what_is_told_of_a_claim(claim: str, told: str) -> None:
    """What came out is told in figures."""
    assert BY_CLAIM[claim].result([trial(BY_STATEMENT), trial(THIS_PROJECT)]) == f"Each way: {told}."


# The file


def a_run(*trials: Trial) -> ClaimsRun:
    """What a run of these trials would hand over."""
    return ClaimsRun(trials, "2026-01-02T03:04:05Z", 180004, 12.34, 200_000, Pace())


SLOW = (Write("chat", -0.2, 0.009, "23505"), Write("second run", 0.03, 1.48, ""), Write("new run", 1.6, 0.002, ""))
STORY = (
    trial(BY_STATEMENT, **STALLED, **UNFIXED, seen__writes=SLOW, load__keys=1),
    trial(IN_ONE_TRANSACTION, **STALLED, seen__writes=(Write("chat", 0.03, 1.5, "23505"),)),
    trial(THIS_PROJECT),
)


def test_the_keys_of_the_file() -> None:
    """claims.json has the keys that the report reads."""
    found = claims_contents(a_run(*STORY))

    assert list(found) == ["schema_version", "tested_at", "server_version", "seconds", "claims", "latency"]
    assert {tuple(claim) for claim in found["claims"]} == {
        ("claim", "source", "how", "result", "verdict", "figures"),
    }
    assert found["latency"]["ways"][0] == {
        "name": "the plan's SQL by statement",
        "ours": False,
        "begin": 0.0,
        "end": 1.5,
        "reader": [0.0, 1.5],
        "longest_ms": 1480.0,
        "duplicates": 1,
        "errors": {},
        "points": [[-0.2, 9.0], [0.0, 1480.0], [1.6, 2.0]],
    }


def test_the_file_can_be_read_again(tmp_path: Path) -> None:
    """What is written is what is read; nothing is left beside it."""
    found = claims_contents(a_run(*STORY))
    write_claims(found, tmp_path / "new" / "claims.json")

    assert read_claims(tmp_path / "new" / "claims.json") == json.loads(json.dumps(found))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["claims.json"]


def test_a_point_is_a_line() -> None:
    """Each point of a latency stands on a line of its own."""
    assert "\n     [-0.2, 9.0],\n     [0.0, 1480.0],\n" in claims_json(claims_contents(a_run(*STORY)))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"schema_version": 2}'])
def test_a_file_that_is_none(tmp_path: Path, text: str | None) -> None:
    """What cannot be read is said, with the command that makes it."""
    file = tmp_path / "claims.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_claims(file)

    assert str(raised.value) == (
        f"{file} does not hold the plan's claims, tested.\n"
        "  why:  It is not there, or this version cannot read it.\n"
        "  next: Make it: incident claims"
    )


# The chart

ALT = (
    "A write took up to 1.5 s under the plan's SQL, up to 12 ms under ours. "
    "The plan's SQL by statement: up to 1.5 s, 1 duplicate let in; over after 1.5 s. "
    "The plan's SQL in one transaction: up to 1.5 s; over after 1.5 s. "
    "Ours: up to 12 ms; over after 1.5 s."
)


def drawn():
    """The chart of the story, from what its file holds."""
    return claim_chart.write_latency(json.loads(claims_json(claims_contents(a_run(*STORY)))))


def test_the_chart_says_its_numbers() -> None:
    """The title is the conclusion, and the text in the picture's place says it and every way's numbers."""
    assert (drawn().title, drawn().alt) == (ALT.partition(". ")[0], ALT)


def test_the_chart_draws_its_points() -> None:
    """Each way is a line through its points, in seconds."""
    lines = drawn().figure().axes[0].lines

    assert [line.get_xydata().tolist() for line in lines] == [
        [[-0.2, 0.009], [0.0, 1.48], [1.6, 0.002]],
        [[0.0, 1.5]],
        [[0.0, 0.012], [0.05, 0.004]],
    ]


def test_the_chart_can_be_read_in_grey() -> None:
    """No two lines are drawn alike, colours aside; each has its name beside it."""
    axes = drawn().figure().axes[0]

    assert len({str(line._unscaled_dash_pattern) for line in axes.lines}) == 3
    assert [text.get_text() for text in axes.texts] == [
        "a reader's transaction is open  ",
        "The plan's SQL by statement: up to 1.5 s, 1 duplicate let in",
        "The plan's SQL in one transaction: up to 1.5 s",
        "Ours: up to 12 ms",
    ]


def test_the_same_chart_is_the_same_svg() -> None:
    """A chart that is drawn twice is the same bytes."""
    assert drawn().svg() == drawn().svg()


# Scratch databases


def left() -> list[str]:
    """The scratch databases of the embedded server."""
    with psycopg.connect(demo.url("postgres")) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'incident_scratch_%'")
        return [name for (name,) in rows]


def test_a_scratch_database_is_gone_afterwards() -> None:
    """A scratch database is there while it is needed, with copies of it, and gone afterwards."""
    with scratch_database("a test") as one:
        fill_threads(one, THREADS)
        with scratch_database("a test", copy_of=one) as two, psycopg.connect(two.address) as connection:
            assert connection.execute("SELECT count(*) FROM public.q_threads").fetchone() == (THREADS,)
            assert len(left()) == 2

    assert left() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_scratch_database_is_gone_whatever_ends_it(error: type[BaseException]) -> None:
    """An error and Ctrl-C take the scratch database away, too, though somebody is still connected to it."""
    with pytest.raises(error), scratch_database("a test") as one, psycopg.connect(one.address):
        raise error

    assert left() == []


KILLED = "from incident_lib import scratch\nwith scratch.database('x'):\n    print('made', flush=True)\n    input()"


def test_what_a_killed_process_left_is_dropped_by_the_next() -> None:
    """A killed process cannot drop its database: the next one does, and leaves alone those in use."""
    with scratch_database("a test") as mine:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "made\n"
            assert len(left()) == 2
            child.kill()
        wait_until_alone()
        with scratch_database("a test"), psycopg.connect(mine.address):
            assert len(left()) == 2

    assert left() == []


def wait_until_alone() -> None:
    """Wait until the server has noticed that a client is gone."""
    with psycopg.connect(demo.url("postgres"), autocommit=True) as connection:
        for _ in range(200):
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'incident_lib incident_scratch_%'"
            ).fetchone()
            if found == (1,):
                return
            time.sleep(0.02)
    raise AssertionError("the killed client's session is still there")


# The command

EXPECTED = {
    "Data loss: none": "holds",
    "Downtime: none": "holds only for our way",
    "Rollback complexity: low": "does not hold",
    "No code changes": "does not hold",
    "Runs are unaffected": "holds",
    "Chats beside runs": "holds",
    "Each purpose stays single-active": "holds only for our way",
    "Effort: 5 + 10 minutes": "holds only for our way",
}
ID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path) -> None:
    """`incident claims` exits with 0 whatever it found, and prints what it wrote; no id, no database stays."""
    ran = shell("claims", "--format", "json", INCIDENT_RUNS=str(tmp_path))
    found = json.loads(ran.stdout)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert found == read_claims(tmp_path / "claims.json")
    assert {claim["claim"]: claim["verdict"] for claim in found["claims"]} == EXPECTED
    assert [way["name"] for way in found["latency"]["ways"]] == ids(STRATEGIES)
    assert re.findall(ID, ran.stdout) == []
    assert left() == []


@pytest.mark.slow
def test_the_table_of_the_command(tmp_path: Path) -> None:
    """As a table it names every claim and its verdict, then the time and the file."""
    ran = shell("claims", "--out", str(tmp_path / "mine.json"))
    lines = [re.split(r"\s{2,}", line.strip()) for line in ran.stdout.splitlines()]
    found = read_claims(tmp_path / "mine.json")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert {line[0]: line[1] for line in lines if line[0] in EXPECTED} == EXPECTED
    assert lines[-1] == [f"Tested in {found['seconds']} s: {tmp_path / 'mine.json'}"]


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_the_command_interrupted(tmp_path: Path, signal_: signal.Signals) -> None:
    """Interrupted while clients write, it exits with 130; neither a database nor a file is left."""
    demo.url()
    command = [sys.executable, "-m", "incident_lib", "claims", "--out", str(tmp_path / "claims.json")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        wait_for_clients()
        child.send_signal(signal_)
        _, said = child.communicate(timeout=60)

    assert (child.returncode, said.strip()) == (130, INTERRUPTED)
    assert (left(), list(tmp_path.iterdir())) == ([], [])


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
    """Where the embedded server cannot start, nothing could be tested: 3, and a message."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "demo"

    assert streams(shell("claims", INCIDENT_DEMO_DIR=str(place))) == (
        3,
        "",
        message(
            "The embedded server of `demo` has no folder.",
            f"{place} cannot be made or written by this user.",
            "Point INCIDENT_DEMO_DIR at a folder that you may write, with a short path.",
        ),
    )
