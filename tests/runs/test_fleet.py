"""Runs over many environments in parallel: each end is reported correctly, and affects no other environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import psycopg
import pytest
from click.testing import CliRunner
from msgspec import structs
from psycopg import sql

from incident_lib import experiments, paths
from incident_lib.cli import cli
from incident_lib.model import Failed, RunStatus
from incident_lib.records import RunFolder, error_message, read_claims, status_of
from incident_lib.runs.fleet import FleetProgress, LocalProcesses, run_fleet
from incident_lib.runs.runner import NOTEBOOKS, Job, RunResult, run_environment
from tests.support import clusters, tcp
from tests.support.command import INTERRUPTED, message, shell, streams
from tests.support.kernel import is_fork_server, is_kernel
from tests.support.notebooks import AFTER_BEGIN, insert, instead, write_short
from tests.support.reports import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.model import ClaimsReport

AWAY = "postgresql://me:s3cret@127.0.0.1:1/db"
HEARING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);from incident_lib.cli import main; main()"
)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of this test."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@contextmanager
def copies(server: str, *names: str) -> Iterator[dict[str, str]]:
    """The address of a copy of the demo's threads, for each name."""
    with psycopg.connect(server, autocommit=True) as connection:
        databases = {name: f"test_{uuid4().hex[:12]}" for name in names}
        for database in databases.values():
            made = sql.SQL("CREATE DATABASE {} TEMPLATE incident_template")
            connection.execute(made.format(sql.Identifier(database)))
        yield {name: clusters.at(server, database) for name, database in databases.items()}
        for database in databases.values():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def variables(addresses: dict[str, str]) -> dict[str, str]:
    """The variables with the addresses of these environments."""
    return {f"INCIDENT_{name.upper()}_URL": address for name, address in addresses.items()}


def records(runs: Path) -> dict[str, dict[str, Any]]:
    """The record of each environment's latest run."""
    latest = {folder.name: max(folder.glob("*/record.json"), default=None) for folder in runs.glob("*")}
    return {name: json.loads(file.read_text("utf-8")) for name, file in sorted(latest.items()) if file}


def table(stdout: str) -> list[tuple[str, ...]]:
    """The rows of the final table: environment, before, after, outcome; the seconds are checked to be numbers."""
    _, *rows = stdout[stdout.index("environment\t") :].partition("Report: ")[0].splitlines()
    cells = [tuple(row.split("\t")) for row in rows if row]
    assert [row for row in cells if not re.fullmatch(r"\d+\.\d", row[4])] == []
    return [row[:4] for row in cells]


# One process for each call


def test_it_is_an_executor() -> None:
    """`LocalProcesses` is an executor of `concurrent.futures`."""
    assert isinstance(LocalProcesses(1), Executor)


def test_calls_run_in_other_processes() -> None:
    """Parallel calls run in one process each, and none in this process."""
    code = "import os, time; time.sleep(0.5) or os._exit(os.getpid() % 100 + 1)"
    with LocalProcesses(2) as workers:
        pids = {future.result() for future in [workers.submit(os.getpid) for _ in range(4)]}
        lost = [workers.submit(exec, code) for _ in range(2)]

    assert os.getpid() not in pids
    assert [type(future.exception()) for future in lost] == [BrokenExecutor] * 2


def test_a_dying_process_does_not_affect_other_calls() -> None:
    """The future of a call whose process dies is broken; other calls, running or waiting, are not affected."""
    with LocalProcesses(2) as workers:
        dying, *others = [workers.submit(os._exit, 1), *(workers.submit(abs, -n) for n in range(3))]

    assert isinstance(dying.exception(), BrokenExecutor)
    assert [other.result() for other in others] == [0, 1, 2]


def test_what_a_call_raises_is_raised() -> None:
    """The error of a call is the exception of its future."""
    with LocalProcesses(1) as workers:
        future = workers.submit(int, "x")

    assert isinstance(future.exception(), ValueError)


UNPICKLABLE = """
class Error(Exception):
    pass

raise Error(lambda: None)
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os._exit(3)", "BrokenExecutor: Its process exited (3)."),
        ("import os; os.abort()", "BrokenExecutor: Its process was killed by SIGABRT."),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError: "),
        (UNPICKLABLE, "RuntimeError: Error"),
    ],
    ids=["exit", "signal", "BaseException", "an error that cannot be pickled"],
)
def test_how_a_call_was_lost_is_said(code: str, said: str) -> None:
    """The exception of a call without a result says how its process ended, or what it raised."""
    with LocalProcesses(1) as workers:
        error = workers.submit(exec, code, {}).exception()

    assert f"{type(error).__name__}: {error}" == said


def test_results_come_in_order() -> None:
    """`map` returns the results in the order of the calls."""
    with LocalProcesses(2) as workers:
        assert list(workers.map(divmod, [7, 8, 9], [2, 3, 4])) == [(3, 1), (2, 2), (2, 1)]


def test_keyword_arguments_are_passed() -> None:
    """Keyword arguments are passed to a call."""
    with LocalProcesses(1) as workers:
        assert workers.submit(int, "ff", base=16).result() == 255


def test_processes_that_are_begun_early() -> None:
    """Processes begin with their initializer before there is a call; one without a call ends at once."""
    seconds = time.monotonic()
    with LocalProcesses(3) as workers:
        workers.begin(2, partial(exec, "import os; os.environ['BEGUN'] = 'yes'"))
        assert workers.submit(os.getenv, "BEGUN").result() == "yes"
        early = psutil.Process().children()
        workers.begin(3, partial(time.sleep, 60))

    assert time.monotonic() - seconds < 30
    assert {one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in early[-2:]} == {False}


def test_an_initializer_that_fails() -> None:
    """A process whose initializer failed handles its calls."""
    with LocalProcesses(1) as workers:
        workers.begin(1, partial(exec, "1 / 0"))
        assert workers.submit(abs, -1).result() == 1


MARK = """
import pathlib, time
here = pathlib.Path({folder!r})
mine = here / {name!r}
mine.touch()
time.sleep(0.3)
(here / "most").open("a").write(str(len(list(here.glob("n*")))) + " ")
mine.unlink()
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_number_of_parallel_calls_equals_the_limit(tmp_path: Path, jobs: int) -> None:
    """The number of parallel calls equals the limit."""
    with LocalProcesses(jobs) as workers:
        for n in range(4):
            workers.submit(exec, MARK.format(folder=str(tmp_path), name=f"n{n}"))

    assert max(map(int, (tmp_path / "most").read_text().split())) == jobs


# Bad usage


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--env", "demo", "--env", "demo"],
            message("demo is named twice.", "One command runs each environment once.", "Name each --env once."),
        ),
        (
            ["--confirm", "prod"],
            message(
                "--confirm prod confirms nothing.",
                "'prod' is not among the environments to run.",
                "Add --env prod, or remove --confirm.",
            ),
        ),
        (
            ["--env", "staging", "--confirm", "*"],
            message(
                "--confirm * confirms nothing.",
                "'*' is not among the environments to run.",
                "Add --env *, or remove --confirm.",
            ),
        ),
        (
            ["--env", "demo", "--env", "nowhere"],
            message(
                "The environment 'nowhere' is not known.",
                "The variable INCIDENT_NOWHERE_URL is not set, and no pg_service.conf has a service [nowhere].",
                "Set INCIDENT_NOWHERE_URL=postgresql://… , or add [nowhere] to ~/.pg_service.conf, or use `demo`.",
            ),
        ),
    ],
    ids=["twice", "confirm without env", "a pattern", "one is unknown"],
)
def test_with_a_bad_name_no_run_begins(runs: Path, words: list[str], said: str) -> None:
    """A wrong name is one error, and no run of any environment begins."""
    ran = shell("run", *words, INCIDENT_STAGING_URL=AWAY)

    assert streams(ran) == (2, "", said)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--jobs", "0"], "Error: Invalid value for '--jobs': 0 is not in the range x>=1.\n"),
        (["--jobs", "x"], "Error: Invalid value for '--jobs': 'x' is not a valid integer range.\n"),
        (["--env-timeout", "0"], "Error: Invalid value for '--env-timeout': 0.0 is not in the range x>=1.\n"),
        (["--env"], "Error: Option '--env' requires an argument.\n"),
    ],
)
def test_with_a_bad_number_no_run_begins(runs: Path, words: list[str], said: str) -> None:
    """A wrong number is bad usage, and no run begins."""
    ran = shell("run", *words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(said)
    assert not runs.exists()


def test_a_confirmation_is_case_sensitive(runs: Path) -> None:
    """A confirmation with other upper and lower case is refused, although both names have the same variable."""
    ran = shell("run", "--env", "staging", "--confirm", "STAGING", INCIDENT_STAGING_URL=AWAY)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("incident: --confirm STAGING confirms nothing.\n")


@pytest.mark.slow
def test_a_cluster_that_does_not_answer(runs: Path) -> None:
    """If the scheduler of a cluster does not answer, the command exits with 3 and one message, and no run begins."""
    address = f"tcp://127.0.0.1:{tcp.free_port()}"

    assert streams(shell("run", "--dask", address)) == (
        3,
        "",
        message("The cluster cannot be reached.", f"No scheduler answers at {address}.", "Is it up?"),
    )
    assert not runs.exists()


# One environment that does not succeed


@pytest.fixture
def notebooks(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Short notebooks, which the runner uses instead of the project's."""
    folder = write_short(tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    return folder


def run_here(timeout: float = 60.0, *, confirmed: bool = False) -> tuple[RunResult, dict[str, Any]]:
    """Run the notebooks on the demo in this process; returns the result and the record."""
    run = RunFolder.create("demo", started_by="incident run")
    ended = run_environment(Job("demo", confirmed, "", run.folder, timeout))
    return ended, json.loads(run.file.read_text("utf-8"))


ENDS = {
    "a killed kernel": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 60),
    "sys.exit(0)": ("import sys\nsys.exit(0)", 60),
    "sys.exit()": ("raise SystemExit", 60),
    "os._exit(0)": ("import os\nos._exit(0)", 60),
    "a terminated kernel": ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nimport time\ntime.sleep(5)", 60),
    "a time-out": ("import time\ntime.sleep(60)", 4),
    "an interrupt": ("raise KeyboardInterrupt", 60),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_cell_that_ends_early_is_a_failure(notebooks: Path, end: str) -> None:
    """If a cell ends its notebook early, result and record are `failed`, and the next notebooks do not begin."""
    source, timeout = ENDS[end]
    insert(notebooks, "01_investigate", source)
    ended, record = run_here(timeout)

    assert (ended.status, record["status"], ended.error.exit_code) == ("failed", "failed", 3)
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [("01_investigate", "failed")]
    assert record["error"] == structs.asdict(error_message(ended.error))
    assert record["finished_at"]


# The place before the last cell, where 02_migrate has the cell that applies the fix.
LAST = {"02_migrate": AFTER_BEGIN + 1, "03_postmortem": AFTER_BEGIN}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAST)
def test_an_exit_before_the_last_cell_is_a_failure(notebooks: Path, name: str) -> None:
    """A notebook that exits before its last cell is not done, whether the fix was applied or not."""
    insert(notebooks, "02_migrate", "before = incident.snapshot()\nincident.apply()\nincident.verify()")
    insert(notebooks, name, "import sys\nsys.exit(0)", LAST[name])
    ended, record = run_here(confirmed=True)

    assert [(step["name"], step["outcome"]) for step in record["steps"]] == [
        ("build", "done"),
        ("swap", "done"),
        ("drop", "done"),
    ]
    assert (ended.status, record["status"]) == ("failed", "failed")
    assert (record["notebooks"][-1]["name"], record["notebooks"][-1]["outcome"]) == (name, "failed")


@pytest.mark.slow
def test_a_time_out_says_what_to_do(notebooks: Path) -> None:
    """The error of a notebook that exceeds its timeout has the timeout, and how to increase it."""
    insert(notebooks, "01_investigate", "import time\ntime.sleep(60)")
    ended, record = run_here(4)

    assert ended.seconds < 20
    assert record["error"] == {
        "what": "01_investigate was stopped.",
        "why": "It took longer than the 4 s of --env-timeout.",
        "next": "Allow more with --env-timeout. "
        f"Open 01_investigate.ipynb in {Path(ended.folder).name}: its last output has the details.",
    }


@pytest.mark.slow
def test_the_timeout_is_the_total_of_all_cells(notebooks: Path) -> None:
    """The timeout is the total of all cells, not of each cell."""
    for _ in range(4):
        insert(notebooks, "01_investigate", "import time\ntime.sleep(4)")
    ended, record = run_here(7)

    assert (ended.status, record["status"]) == ("failed", "failed")
    assert ended.seconds < 14


@pytest.mark.slow
def test_an_environment_that_hangs_is_stopped(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that hangs is stopped at its timeout, without a process left; the parallel run is not affected."""
    with tcp.silent() as port:
        monkeypatch.setenv("INCIDENT_HANGS_URL", f"postgresql://me@{tcp.HOST}:{port}/db?connect_timeout=600")
        monkeypatch.setenv("INCIDENT_AWAY_URL", AWAY)
        before = set(psutil.Process().children(recursive=True))
        ended = run_fleet(["hangs", "away"], timeout=5, executor=LocalProcesses(2))
    left = set(psutil.Process().children(recursive=True)) - before

    assert [(one.environment, one.status, str(one.error).splitlines()[:2]) for one in ended] == [
        (
            "hangs",
            "failed",
            ["01_investigate was stopped.", "  why:  It took longer than the 5 s of --env-timeout."],
        ),
        (
            "away",
            "failed",
            ["The environment 'away' cannot be reached.", "  why:  No server listens at that address."],
        ),
    ]
    assert {name: record["status"] for name, record in records(runs).items()} == {"hangs": "failed", "away": "failed"}
    assert [process for process in left if is_kernel(process)] == []


# Interrupted runs


@contextmanager
def hanging(runs: Path) -> Iterator[tuple[subprocess.Popen[str], set[psutil.Process]]]:
    """`incident run` over an environment that does not answer, after its kernel has started, and its processes."""
    with tcp.silent() as port:
        url = f"postgresql://me:s3cret@{tcp.HOST}:{port}/db?connect_timeout=600"
        with subprocess.Popen(
            [sys.executable, "-c", HEARING, "run", "--env", "staging", "--out", str(runs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "INCIDENT_STAGING_URL": url},
        ) as process:
            progress = tcp.wait_for(lambda: records(runs).get("staging", {}).get("notebooks"))
            assert progress == [{"name": "01_investigate", "seconds": None, "outcome": "running"}]
            time.sleep(0.5)
            family = set(psutil.Process(process.pid).children(recursive=True))
            try:
                yield process, family
            finally:
                for one in family:
                    with suppress(psutil.Error):
                        one.kill()
                if process.poll() is None:
                    process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_run(runs: Path, how: str) -> None:
    """Ctrl-C to all processes, or SIGTERM to one, ends a run soon, with 130, one message, and no kernel left."""
    with hanging(runs) as (process, family):
        assert [one for one in family if is_kernel(one)]
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=40)
        _, alive = psutil.wait_procs(family, timeout=10)

    record = records(runs)["staging"]
    assert (process.returncode, stdout, stderr.strip()) == (130, "", INTERRUPTED)
    assert (record["status"], record["error"]) == (
        "failed",
        {
            "what": "The run of 'staging' was interrupted.",
            "why": "It got Ctrl-C or SIGTERM.",
            "next": "Run it again: it continues from the catalog.",
        },
    )
    assert alive == []


@pytest.mark.parametrize("where", ["listener", "meanwhile"])
def test_an_interrupt_before_a_worker_has_begun(runs: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A run that is interrupted before its worker has begun with it is recorded as interrupted."""

    def interrupt(*progress: FleetProgress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("INCIDENT_AWAY_URL", AWAY)
    with LocalProcesses(1) as workers:
        workers.begin(1, partial(time.sleep, 60))
        with pytest.raises(KeyboardInterrupt):
            run_fleet(["away"], executor=workers, **{where: interrupt})

    assert (records(runs)["away"]["status"], records(runs)["away"]["error"]["what"]) == (
        "failed",
        "The run of 'away' was interrupted.",
    )


# What runs meanwhile


def test_the_report_is_written_after_what_runs_meanwhile(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the notebooks end first, the report waits, and has what was made meanwhile."""

    def meanwhile() -> None:
        while records(runs)["away"]["status"] == "running":
            time.sleep(0.05)
        shutil.copy(paths.EXAMPLE_RUN / "claims.json", runs)

    monkeypatch.setenv("INCIDENT_AWAY_URL", AWAY)
    run_fleet(["away"], meanwhile=meanwhile)

    assert "3 claims hold" in (runs / "postmortem.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("found", [True, False], ids=["tested", "failed"])
def test_the_claims_are_tested_meanwhile(
    server: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, found: bool
) -> None:
    """`run --claims` says what the verdicts are; if they cannot be tested, why; the run goes on."""
    tested = read_claims(paths.EXAMPLE_RUN / "claims.json")

    def run_claims(listener: Callable[[str, float], None]) -> ClaimsReport:
        listener("without load", 0.0)
        if found:
            return tested
        raise Failed("What happened.", "Why.", "What to do.")

    monkeypatch.setattr(experiments, "run_claims", run_claims)
    for name, value in instead(tmp_path, write_short(tmp_path / "notebooks")).items():
        monkeypatch.setenv(name, value)
    with copies(server, "staging") as addresses:
        monkeypatch.setenv("INCIDENT_STAGING_URL", addresses["staging"])
        ran = CliRunner().invoke(cli, ["run", "--env", "staging", "--claims"], standalone_mode=False)

    assert records(runs)["staging"]["status"] == "dry-run"
    assert (ran.return_value, (runs / "claims.json").exists()) == ((0, True) if found else (3, False))
    assert ("3 claims hold, 3 hold only with this project's method, 2 do not hold." in ran.stdout) is found
    assert ("incident: What happened." in ran.stderr) is not found


@pytest.mark.slow
def test_a_killed_run_is_shown_as_killed(runs: Path) -> None:
    """The record of a run that was killed is shown as killed after a minute, and no kernel is left."""
    with hanging(runs) as (process, family):
        workers = [one for one in family if not is_kernel(one) and not is_fork_server(one)]
        process.kill()
        for worker in workers:
            worker.kill()
        process.communicate(timeout=30)
        _, alive = psutil.wait_procs(family, timeout=10)
    contents = records(runs)["staging"]
    later = datetime.fromisoformat(contents["heartbeat_at"]) + timedelta(seconds=61)

    assert contents["status"] == "running"
    assert status_of(record_of(contents), at=later) == "killed"
    assert alive == []


# Parallel runs


@dataclass
class Fleet:
    """The runs of some environments: exit code, output and records."""

    runs: Path
    code: int = 0
    stdout: str = ""
    stderr: str = ""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    again: Fleet | None = None
    orphans: list[psutil.Process] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  # of the runs of each environment
    markdown: str = ""  # of the report


CONFLICTING = """
CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO q_threads (is_active) VALUES (true) ON CONFLICT (root_prompt_row_id, owner_id) DO NOTHING;
END $$
"""


def earlier_run(name: str, status: str) -> Path:
    """An earlier run of an environment with this status; `killed` has no end."""
    run = RunFolder.create(name, started_by="incident run")
    if status == "killed":
        long_ago = datetime(2025, 1, 1, tzinfo=UTC)
        run.update(lambda record: structs.replace(record, heartbeat_at=long_ago, started_at=long_ago), beats=False)
    else:
        run.finish(RunStatus(status))
    return run.folder


BEFORE = {
    ("succeeded", True): "succeeded before",
    ("succeeded", False): "succeeded before",
    ("dry-run", False): "dry-run before",
    ("dry-run", True): "failed",
    ("refused", True): "failed",
    ("failed", False): "failed",
    ("killed", False): "failed",
}


@pytest.mark.slow
def test_the_runs_that_resume_repeats(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Successful runs, and dry runs without --confirm, are not repeated; all others run again."""
    names = {(status, confirm): f"{status}-{confirm}".replace("-", "_").lower() for status, confirm in BEFORE}
    for (status, _), name in names.items():
        earlier_run(name, status)
        monkeypatch.setenv(f"INCIDENT_{name.upper()}_URL", AWAY)
    confirmed = [name for (_, confirm), name in names.items() if confirm]
    here = ThreadPoolExecutor(1)
    ended = run_fleet(list(names.values()), confirm=confirmed, resume=True, executor=here)

    assert dict(zip(BEFORE, [one.status for one in ended], strict=True)) == BEFORE


@pytest.mark.slow
def test_resume_uses_the_latest_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose latest run failed runs again, whatever its earlier runs are."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    earlier_run("staging", "succeeded")
    earlier_run("staging", "failed")
    (ended,) = run_fleet(["staging"], resume=True, executor=ThreadPoolExecutor(1))

    assert ended.status == "failed"


def test_resume_after_all_have_succeeded(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all environments have succeeded, `resume` begins no run."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    folder = earlier_run("staging", "succeeded")
    (ended,) = run_fleet(["staging"], resume=True)

    assert (ended.status, ended.error, Path(ended.folder)) == ("succeeded before", None, folder.resolve())
    assert len(list((runs / "staging").iterdir())) == 1


@pytest.mark.slow
def test_progress_is_reported(notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener gets the progress of each environment, up to 1."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    for name in NOTEBOOKS:
        for _ in range(3):
            insert(notebooks, name, "import time; time.sleep(0.5)")
    progress: list[FleetProgress] = []
    run_fleet(["demo", "staging"], executor=ThreadPoolExecutor(1), listener=progress.append)

    assert {one.environment for one in progress} == {"demo", "staging"}
    assert [one.share for one in progress if one.environment == "demo"][-1] == 1.0
    shares = [one.share for one in progress if one.environment == "demo"]
    assert shares == sorted(shares)
    assert len(set(shares)) > 5


# Six environments


GOOD = ("ok1", "ok2")
BAD = ("away", "norights", "killed")
ALL = (*GOOD, "refused", *BAD)
REFUSED = message(
    "Nothing was changed in 'refused'.",
    "ON CONFLICT: these functions need the original key, and would fail without it (42P10): upsert().",
    "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
)


@contextmanager
def six(server: str) -> Iterator[dict[str, str]]:
    """The addresses of six copies; `norights` has a role without privileges, `refused` a function in the way."""
    role = f"stranger_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection, copies(server, *ALL) as addresses:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        with psycopg.connect(addresses["refused"], autocommit=True) as refused:
            refused.execute(CONFLICTING)
        yield addresses | {"norights": addresses["norights"].replace("//postgres:@", f"//{role}@")}
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def worker_of(port: int, process: int) -> tuple[psutil.Process, psutil.Process] | None:
    """The kernel with a connection to that port, and the process that runs its notebook."""
    for one in psutil.Process(process).children(recursive=True):
        with suppress(psutil.Error):
            if [c for c in one.net_connections("tcp") if c.raddr and c.raddr.port == port]:
                parent = one.parent()
                return one, parent.parent() if is_fork_server(parent) else parent
    return None


MEET = """
import pathlib, time
here, until = pathlib.Path({folder!r}), time.monotonic() + 60
if environment in {names!r}:
    (here / environment).touch()
    while len(list(here.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
"""


def short_notebooks(folder: Path) -> dict[str, str]:
    """The variables of processes that run short notebooks: with snapshots and the fix, and a wait for each other."""
    short, meeting = write_short(folder / "notebooks"), folder / "meeting"
    meeting.mkdir()
    insert(short, "01_investigate", MEET.format(folder=str(meeting), names=GOOD))
    insert(short, "01_investigate", "incident.snapshot()")
    insert(short, "02_migrate", "incident.snapshot()\nincident.apply()\nincident.verify()\nincident.snapshot('after')")
    return instead(folder, short)


def confirmed_run(runs: Path, *names: str, jobs: int = 1) -> list[str]:
    """A command line: a confirmed run over these environments."""
    words = [word for name in names for word in ("--env", name, "--confirm", name)]
    return [sys.executable, "-m", "incident_lib", "run", "--out", str(runs), "--jobs", str(jobs), *words]


@pytest.fixture(scope="module")
def fleet(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two good environments, a refused, an unreachable one, one without privileges, one whose worker is killed.

    Then again with `--resume`: all of them, where the unreachable and the killed one can be reached; then those alone
    of which none can fail.
    """
    runs = tmp_path_factory.mktemp("fleet")
    with six(server) as good, ExitStack() as stack:
        port = stack.enter_context(tcp.silent())
        hangs = f"postgresql://me:s3cret@{tcp.HOST}:{port}/db?connect_timeout=600"
        command = confirmed_run(runs, *ALL, jobs=2)
        short = short_notebooks(tmp_path_factory.mktemp("short"))
        environ = {**os.environ, **short, **variables(good | {"away": AWAY, "killed": hangs})}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        ) as process:
            kernel, worker = tcp.wait_for(lambda: worker_of(port, process.pid), 240)
            status = records(runs)["killed"]["status"]
            worker.kill()
            stdout, stderr = process.communicate(timeout=400)
        assert status == "running"
        _, orphans = psutil.wait_procs([kernel], timeout=10)
        for orphan in orphans:
            orphan.kill()
        fleet = Fleet(runs, process.returncode, stdout, stderr, records(runs), orphans=orphans)
        fleet.states = {name: state_of(good[name]) for name in (*GOOD, "refused", "away", "killed")}
        fleet.again = resumed(runs, short | variables(good), *ALL)
        fleet.again.again = resumed(runs, short | variables(good), "refused", "ok1")
        yield fleet


def resumed(runs: Path, environ: dict[str, str], *names: str) -> Fleet:
    """A confirmed run with `--resume` over these environments."""
    command = [*confirmed_run(runs, *names), "--resume"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, env={**os.environ, **environ}
    )
    resumed = Fleet(runs, ran.returncode, ran.stdout, ran.stderr, records(runs), counts=counts_of(runs))
    resumed.markdown = (runs / "postmortem.md").read_text("utf-8")
    return resumed


def counts_of(runs: Path) -> dict[str, int]:
    """The number of runs of each environment."""
    return {folder.name: len(list(folder.glob("*/record.json"))) for folder in runs.iterdir() if folder.name in ALL}


def state_of(address: str) -> str:
    """Whether the table's unique index has the purpose in its key."""
    with psycopg.connect(address) as connection:
        rows = connection.execute(
            "SELECT indexdef ~ 'purpose' FROM pg_indexes WHERE indexname = 'idx_q_threads_family_unique'"
        )
        return "fixed" if rows.fetchall() == [(True,)] else "original"


@pytest.mark.slow
def test_the_fleet_in_a_table(fleet: Fleet) -> None:
    """The table has all environments in the order of --env, each with its own outcome."""
    ends = {
        **{name: (name, "1,088", "0", "succeeded") for name in GOOD},
        "refused": ("refused", "1,088", "refused", "refused"),
        **{name: (name, "FAILED", "FAILED", "failed") for name in BAD},
    }

    assert table(fleet.stdout) == [ends[name] for name in ALL]
    assert fleet.code == 3


@pytest.mark.slow
def test_parallel_runs_overlap(fleet: Fleet) -> None:
    """With two jobs, each of the first two runs begins before the other one has ended."""
    first = [fleet.records[name] for name in GOOD]

    assert max(record["snapshot_at"]["before"] for record in first) < min(record["finished_at"] for record in first)


@pytest.mark.slow
def test_the_fleets_messages(fleet: Fleet) -> None:
    """Standard error has a message for each of the four that did not succeed, and no other."""
    assert fleet.stderr == (
        REFUSED
        + message(
            "The environment 'away' cannot be reached.",
            "No server listens at that address.",
            "Is the server up, and the port right? "
            "Check INCIDENT_AWAY_URL; `psql` with the same address shows the server's own message.",
        )
        + message(
            "This role may not read public.q_threads.",
            "It has no SELECT right on it.",
            "Ask the owner: GRANT SELECT ON public.q_threads TO the role of this environment.",
        )
        + message(
            "The run of 'killed' was lost.",
            "Its process was killed by SIGKILL.",
            "Run it again: --resume --env killed",
        )
    )


@pytest.mark.slow
def test_the_fleets_records(fleet: Fleet) -> None:
    """Each record has the status of its run, including the killed worker's."""
    assert {name: record["status"] for name, record in fleet.records.items()} == {
        **dict.fromkeys(GOOD, "succeeded"),
        "refused": "refused",
        **dict.fromkeys(BAD, "failed"),
    }
    assert fleet.records["killed"]["error"]["what"] == "The run of 'killed' was lost."


@pytest.mark.slow
def test_runs_do_not_affect_each_other(fleet: Fleet) -> None:
    """The good ones have the fixed index; the databases of the others are unchanged."""
    assert fleet.states == {
        **dict.fromkeys(GOOD, "fixed"),
        **dict.fromkeys(("refused", "away", "killed"), "original"),
    }


@pytest.mark.slow
def test_a_killed_worker_leaves_no_kernel(fleet: Fleet) -> None:
    """The kernel of a killed worker ends by itself."""
    assert fleet.orphans == []


@pytest.mark.slow
def test_the_fleet_resumed(fleet: Fleet) -> None:
    """`--resume` runs the four again and no other; the refused one and the one without privileges fail again."""
    outcomes = {row[0]: row[3] for row in table(fleet.again.stdout)}

    assert fleet.again.counts == {**dict.fromkeys(GOOD, 1), "refused": 2, **dict.fromkeys(BAD, 2)}
    assert outcomes == {
        **dict.fromkeys(GOOD, "succeeded before"),
        "refused": "refused",
        "away": "succeeded",
        "killed": "succeeded",
        "norights": "failed",
    }
    assert fleet.again.code == 3


@pytest.mark.slow
def test_a_refusal_alone(fleet: Fleet) -> None:
    """Where the others have succeeded, the exit code is that of the refusal, which is printed once."""
    last = fleet.again.again

    assert last.counts == fleet.again.counts | {"refused": 3}
    assert table(last.stdout) == [("refused", "1,088", "refused", "refused"), ("ok1", "1,088", "0", "succeeded before")]
    assert (last.code, last.stderr) == (1, REFUSED)


@pytest.mark.slow
def test_one_report_over_the_fleet(fleet: Fleet) -> None:
    """One report compares all of them, and has a part for each in the resolution."""
    markdown = fleet.again.markdown
    compared = markdown.partition("\n## Environments compared\n")[2].partition("\n## ")[0]
    resolved = markdown.partition("\n## Resolution and verification\n")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| (\w+) \|", compared, re.MULTILINE)) == sorted(["environment", *ALL])
    assert [name for name in ALL if f"<summary>{name}</summary>" not in resolved] == []


# A cluster


@pytest.fixture(scope="module")
def cluster(server: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A cluster of one worker process with the variables of two environments, and their addresses."""
    distributed = pytest.importorskip("distributed", reason="the extra `fleet` is not installed")
    with copies(server, "far", "further") as addresses, pytest.MonkeyPatch.context() as patch:
        for variable, address in variables(addresses).items():
            patch.setenv(variable, address)
        with distributed.LocalCluster(
            processes=True, n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as made:
            yield made, addresses


@pytest.mark.slow
def test_a_fleet_on_a_cluster(cluster: tuple[Any, dict[str, str]], runs: Path, monkeypatch: Any) -> None:
    """A distributed cluster runs environments with its own executor, and changes confirmed ones."""
    from distributed import Client

    for variable, address in variables(cluster[1]).items():
        monkeypatch.setenv(variable, address)
    with Client(cluster[0]) as client:
        ended = run_fleet(["far", "further"], confirm=["far"], executor=client.get_executor(pure=False))

    assert [(one.environment, one.status, one.error) for one in ended] == [
        ("far", "succeeded", None),
        ("further", "dry-run", None),
    ]
    assert {name: state_of(address) for name, address in cluster[1].items()} == {"far": "fixed", "further": "original"}


@pytest.mark.slow
def test_a_worker_without_the_environments_variable(cluster: tuple[Any, dict[str, str]], runs: Path) -> None:
    """An environment that only this machine knows fails on the cluster with exit code 3: addresses are not sent."""
    ran = shell("run", "--env", "here", "--dask", cluster[0].scheduler_address, INCIDENT_HERE_URL=AWAY)

    assert table(ran.stdout) == [("here", "FAILED", "FAILED", "failed")]
    assert ran.stderr == message(
        "The environment 'here' is not known.",
        "The variable INCIDENT_HERE_URL is not set, and no pg_service.conf has a service [here].",
        "Set INCIDENT_HERE_URL=postgresql://… , or add [here] to ~/.pg_service.conf, or use `demo`.",
    )
    assert ran.returncode == 3
