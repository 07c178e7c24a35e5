"""Many environments side by side: what ends one of them, however it ends, is told truthfully and touches no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import nbformat
import psutil
import psycopg
import pytest
from msgspec import structs
from psycopg import sql

from incident_lib import paths
from incident_lib.model import RunStatus
from incident_lib.records import RunFolder, error_message, status_of
from incident_lib.runs.fleet import FleetProgress, LocalProcesses, run_fleet
from incident_lib.runs.runner import Job, RunResult, run_environment
from tests.support import clusters, tcp
from tests.support.command import INTERRUPTED, message, shell, streams
from tests.support.reports import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

AWAY = "postgresql://me:s3cret@127.0.0.1:1/db"
HEARING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);from incident_lib.cli import main; main()"
)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of this test alone."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@contextmanager
def copies(server: str, *names: str) -> Iterator[dict[str, str]]:
    """A copy of the demo's threads for each name: its address."""
    with psycopg.connect(server, autocommit=True) as connection:
        databases = {name: f"test_{uuid4().hex[:12]}" for name in names}
        for database in databases.values():
            made = sql.SQL("CREATE DATABASE {} TEMPLATE incident_template")
            connection.execute(made.format(sql.Identifier(database)))
        yield {name: clusters.at(server, database) for name, database in databases.items()}
        for database in databases.values():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def variables(addresses: dict[str, str]) -> dict[str, str]:
    """The variables by which these names resolve."""
    return {f"INCIDENT_{name.upper()}_URL": address for name, address in addresses.items()}


def records(runs: Path) -> dict[str, dict[str, Any]]:
    """The record of each environment's latest run."""
    latest = {folder.name: max(folder.glob("*/record.json"), default=None) for folder in runs.glob("*")}
    return {name: json.loads(file.read_text("utf-8")) for name, file in sorted(latest.items()) if file}


def table(stdout: str) -> list[tuple[str, ...]]:
    """The rows of the table at the end of a run: environment, before, after, outcome; the seconds are numbers."""
    rows = re.split(r"─\s*\n", stdout)[-1].partition("Report: ")[0].splitlines()
    cells = [tuple(re.split(r"\s{2,}", row.strip())) for row in rows if row.strip()]
    assert [row for row in cells if not re.fullmatch(r"\d+\.\d", row[4])] == []
    return [row[:4] for row in cells]


# A process for each call


def test_it_is_an_executor() -> None:
    """`LocalProcesses` is what `concurrent.futures` calls an executor."""
    assert isinstance(LocalProcesses(1), Executor)


def test_calls_run_in_other_processes() -> None:
    """Calls that run side by side run in as many processes, none of which is ours."""
    code = "import os, time; time.sleep(0.5) or os._exit(os.getpid() % 100 + 1)"
    with LocalProcesses(2) as workers:
        pids = {future.result() for future in [workers.submit(os.getpid) for _ in range(4)]}
        lost = [workers.submit(exec, code) for _ in range(2)]

    assert os.getpid() not in pids
    assert [type(future.exception()) for future in lost] == [BrokenExecutor] * 2


def test_one_that_dies_takes_no_other_with_it() -> None:
    """A call whose process dies is broken; the calls beside and behind it are not."""
    with LocalProcesses(2) as workers:
        dying, *others = [workers.submit(os._exit, 1), *(workers.submit(abs, -n) for n in range(3))]

    assert isinstance(dying.exception(), BrokenExecutor)
    assert [other.result() for other in others] == [0, 1, 2]


def test_what_a_call_raises_is_raised() -> None:
    """What a call raises comes out of its future."""
    with LocalProcesses(1) as workers:
        future = workers.submit(int, "x")

    assert isinstance(future.exception(), ValueError)


def test_results_come_in_order() -> None:
    """`map`, which every executor has, gives the results in the order of the calls."""
    with LocalProcesses(2) as workers:
        assert list(workers.map(divmod, [7, 8, 9], [2, 3, 4])) == [(3, 1), (2, 2), (2, 1)]


def test_options_are_handed_on() -> None:
    """Keywords of a call reach it."""
    with LocalProcesses(1) as workers:
        assert workers.submit(int, "ff", base=16).result() == 255


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
def test_so_many_at_a_time_and_no_more(tmp_path: Path, jobs: int) -> None:
    """No more calls run at a time than there is room for, and no fewer."""
    with LocalProcesses(jobs) as workers:
        for n in range(4):
            workers.submit(exec, MARK.format(folder=str(tmp_path), name=f"n{n}"))

    assert max(map(int, (tmp_path / "most").read_text().split())) == jobs


# Bad input


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
def test_bad_names_begin_nothing(runs: Path, words: list[str], said: str) -> None:
    """What is wrong with one of the names is one message, and no run of any environment is begun."""
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
def test_bad_numbers_begin_nothing(runs: Path, words: list[str], said: str) -> None:
    """A number that makes no sense is bad usage, and nothing is begun."""
    ran = shell("run", *words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(said)
    assert not runs.exists()


def test_a_name_is_confirmed_to_the_letter(runs: Path) -> None:
    """A confirmation in other letters confirms nothing, although both names lead to one variable."""
    ran = shell("run", "--env", "staging", "--confirm", "STAGING", INCIDENT_STAGING_URL=AWAY)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("incident: --confirm STAGING confirms nothing.\n")


@pytest.mark.slow
def test_a_cluster_that_is_not_there(runs: Path) -> None:
    """A cluster whose scheduler does not answer is one message: exit code 3; nothing is begun."""
    address = f"tcp://127.0.0.1:{tcp.free_port()}"

    assert streams(shell("run", "--dask", address)) == (
        3,
        "",
        message("The cluster cannot be reached.", f"No scheduler answers at {address}.", "Is it up?"),
    )
    assert not runs.exists()


# One environment that does not end well: its record says so


@pytest.fixture
def notebooks(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the notebooks that the runner takes for the project's."""
    shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path / "notebooks"


def with_cell(notebooks: Path, source: str, name: str = "01_investigate", place: int = 4) -> None:
    """Put a code cell into a notebook: behind `begin`, unless told otherwise."""
    contents = nbformat.read(notebooks / f"{name}.ipynb", as_version=4)
    contents.cells.insert(place if place >= 0 else len(contents.cells), nbformat.v4.new_code_cell(source))
    nbformat.write(contents, notebooks / f"{name}.ipynb")


def run_here(timeout: float = 60.0, *, confirmed: bool = False) -> tuple[RunResult, dict[str, Any]]:
    """Run the notebooks on the demo in this process; how that ended, and the record."""
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
def test_no_early_end_is_a_success(notebooks: Path, end: str) -> None:
    """However a cell ends its notebook early, run and record say `failed`, and the notebooks behind are not begun."""
    source, timeout = ENDS[end]
    with_cell(notebooks, source)
    ended, kept = run_here(timeout)

    assert (ended.status, kept["status"], ended.error.exit_code) == ("failed", "failed", 3)
    assert [(entry["name"], entry["outcome"]) for entry in kept["notebooks"]] == [("01_investigate", "failed")]
    assert kept["error"] == structs.asdict(error_message(ended.error))
    assert kept["finished_at"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02_migrate", "03_postmortem"])
def test_an_exit_at_the_very_end_is_no_success(notebooks: Path, name: str) -> None:
    """A notebook that leaves before its last cell is not done, be its fix applied or not."""
    last = len(nbformat.read(notebooks / f"{name}.ipynb", as_version=4).cells) - 1
    with_cell(notebooks, "import sys\nsys.exit(0)", name, last)
    ended, kept = run_here(confirmed=True)

    assert (ended.status, kept["status"]) == ("failed", "failed")
    assert (kept["notebooks"][-1]["name"], kept["notebooks"][-1]["outcome"]) == (name, "failed")


@pytest.mark.slow
def test_a_time_out_says_what_to_do(notebooks: Path) -> None:
    """A notebook over its time says how long it was given, and how to give more."""
    with_cell(notebooks, "import time\ntime.sleep(60)")
    ended, kept = run_here(4)

    assert ended.seconds < 20
    assert kept["error"] == {
        "what": "01_investigate was stopped.",
        "why": "It took longer than the 4 s of --env-timeout.",
        "next": "Allow more with --env-timeout. "
        f"Open 01_investigate.ipynb in {Path(ended.folder).name}: its last output has the details.",
    }


@pytest.mark.slow
def test_the_time_is_that_of_all_cells(notebooks: Path) -> None:
    """The time that a run may take is for all of it: many cells, each within it, do not add up to more."""
    for _ in range(4):
        with_cell(notebooks, "import time\ntime.sleep(4)")
    ended, kept = run_here(7)

    assert (ended.status, kept["status"]) == ("failed", "failed")
    assert ended.seconds < 14


@pytest.mark.slow
def test_an_environment_that_hangs_is_stopped(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that hangs is stopped after its time, and leaves no process; the one beside it is not touched."""
    with tcp.silent() as port:
        monkeypatch.setenv("INCIDENT_HANGS_URL", f"postgresql://me@{tcp.HOST}:{port}/db?connect_timeout=600")
        monkeypatch.setenv("INCIDENT_AWAY_URL", AWAY)
        before = set(psutil.Process().children(recursive=True))
        ended = run_fleet(["hangs", "away"], timeout=5, executor=LocalProcesses(2))
    left = set(psutil.Process().children(recursive=True)) - before

    assert [(one.environment, one.status, one.error.what) for one in ended] == [
        ("hangs", "failed", "01_investigate was stopped."),
        ("away", "failed", "The environment 'away' cannot be reached."),
    ]
    assert {name: kept["status"] for name, kept in records(runs).items()} == {"hangs": "failed", "away": "failed"}
    assert [process for process in left if "ipykernel_launcher" in process.cmdline()] == []


# Interrupted


@contextmanager
def hanging(runs: Path) -> Iterator[tuple[subprocess.Popen[str], set[psutil.Process]]]:
    """`incident run` over an environment that never answers, once its kernel is up, and all of its processes."""
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
    """Ctrl-C, which all its processes get, and SIGTERM, which one gets, end a run soon: 130, one message, no kernel."""
    with hanging(runs) as (process, family):
        assert [one for one in family if "ipykernel_launcher" in one.cmdline()]
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=40)
        _, alive = psutil.wait_procs(family, timeout=10)

    kept = records(runs)["staging"]
    assert (process.returncode, stdout, stderr.strip()) == (130, "", INTERRUPTED)
    assert (kept["status"], kept["error"]) == (
        "failed",
        {
            "what": "The run of 'staging' was interrupted.",
            "why": "It got Ctrl-C or SIGTERM.",
            "next": "Run it again: it continues from the catalog.",
        },
    )
    assert alive == []


@pytest.mark.slow
def test_a_run_that_was_killed_shows_as_killed(runs: Path) -> None:
    """A run killed without a word leaves a record that shows as killed once a minute has passed, and no kernel."""
    with hanging(runs) as (process, family):
        process.kill()
        for one in family:
            if "ipykernel_launcher" not in one.cmdline():
                one.kill()
        process.communicate(timeout=30)
        _, alive = psutil.wait_procs(family, timeout=10)
    contents = records(runs)["staging"]
    later = datetime.fromisoformat(contents["heartbeat_at"]) + timedelta(seconds=61)

    assert contents["status"] == "running"
    assert status_of(record_of(contents), at=later) == "killed"
    assert alive == []


# Side by side


@dataclass
class Fleet:
    """Runs of some environments: what the shell got, what the folder holds."""

    runs: Path
    code: int = 0
    stdout: str = ""
    stderr: str = ""
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    again: Fleet | None = None
    orphans: list[psutil.Process] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)


CONFLICTING = """
CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO q_threads (is_active) VALUES (true) ON CONFLICT (root_prompt_row_id, owner_id) DO NOTHING;
END $$
"""


@pytest.fixture(scope="module")
def trio(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two environments side by side, confirmed: one is fine, one is refused; and again, with `--resume`."""
    runs = tmp_path_factory.mktemp("trio")
    with copies(server, "fine", "refused") as addresses:
        with psycopg.connect(addresses["refused"], autocommit=True) as connection:
            connection.execute(CONFLICTING)
        words = ["run", "--out", str(runs), "--jobs", "2"]
        words += [word for name in ("refused", "fine") for word in ("--env", name, "--confirm", name)]
        ran = shell(*words, **variables(addresses))
        trio = Fleet(runs, ran.returncode, ran.stdout, ran.stderr, records(runs))
        ran = shell(*words, "--resume", **variables(addresses))
        trio.again = Fleet(runs, ran.returncode, ran.stdout, ran.stderr, records(runs))
        yield trio


@pytest.mark.slow
def test_two_side_by_side(trio: Fleet) -> None:
    """One is done and one is refused: each record says so, and the exit code is the refusal's."""
    assert {name: kept["status"] for name, kept in trio.kept.items()} == {"fine": "succeeded", "refused": "refused"}
    assert trio.code == 1


@pytest.mark.slow
def test_they_overlap(trio: Fleet) -> None:
    """With two jobs, each begins before the other has ended."""
    spans = [(kept["started_at"], kept["finished_at"]) for kept in trio.kept.values()]

    assert max(start for start, _ in spans) < min(end for _, end in spans)


@pytest.mark.slow
def test_the_table_tells_both(trio: Fleet) -> None:
    """The table at the end has a line for each, in the order in which they were named."""
    assert table(trio.stdout) == [("refused", "1,088", "refused", "refused"), ("fine", "1,088", "0", "succeeded")]


@pytest.mark.slow
def test_the_refusal_is_told_once(trio: Fleet) -> None:
    """Standard error has the one refusal, whole."""
    assert trio.stderr == message(
        "Nothing was changed in 'refused'.",
        "ON CONFLICT: these functions need the original key, and would fail without it (42P10): upsert().",
        "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
    )


@pytest.mark.slow
def test_resume_leaves_what_is_done(trio: Fleet) -> None:
    """With `--resume` the one that is done has no second run, and the one that was refused has."""
    assert len(list((trio.runs / "fine").glob("*/record.json"))) == 1
    assert len(list((trio.runs / "refused").glob("*/record.json"))) == 2
    assert table(trio.again.stdout) == [
        ("refused", "1,088", "refused", "refused"),
        ("fine", "1,088", "0", "succeeded before"),
    ]
    assert trio.again.code == 1


def kept_before(name: str, status: str) -> Path:
    """An earlier run of an environment that ended so; `killed` did not end."""
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
def test_what_resume_runs_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What succeeded, and a dry run that is none to be confirmed now, is left alone; all else runs again."""
    names = {(status, confirm): f"{status}-{confirm}".replace("-", "_").lower() for status, confirm in BEFORE}
    for (status, _), name in names.items():
        kept_before(name, status)
        monkeypatch.setenv(f"INCIDENT_{name.upper()}_URL", AWAY)
    confirmed = [name for (_, confirm), name in names.items() if confirm]
    ended = run_fleet(list(names.values()), confirm=confirmed, resume=True, executor=LocalProcesses(2))

    assert dict(zip(BEFORE, [one.status for one in ended], strict=True)) == BEFORE


@pytest.mark.slow
def test_resume_looks_at_the_latest_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose latest run failed runs again, whatever came before."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    kept_before("staging", "succeeded")
    kept_before("staging", "failed")
    (ended,) = run_fleet(["staging"], resume=True)

    assert ended.status == "failed"


def test_nothing_left_to_resume(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is done, `resume` begins nothing."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    folder = kept_before("staging", "succeeded")
    (ended,) = run_fleet(["staging"], resume=True)

    assert (ended.status, ended.error, Path(ended.folder)) == ("succeeded before", None, folder.resolve())
    assert len(list((runs / "staging").iterdir())) == 1


@pytest.mark.slow
def test_progress_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener is told of each environment, and at the end that it is at its end."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", AWAY)
    seen: list[FleetProgress] = []
    run_fleet(["demo", "staging"], executor=LocalProcesses(2), listener=seen.append)

    assert {one.environment for one in seen} == {"demo", "staging"}
    assert [one.share for one in seen if one.environment == "demo"][-1] == 1.0
    shares = [one.share for one in seen if one.environment == "demo"]
    assert shares == sorted(shares)
    assert len(set(shares)) > 5


# Twelve


GOOD = tuple(f"ok{n}" for n in range(1, 10))
BAD = ("away", "norights", "killed")
ALL = (*GOOD[:4], *BAD, *GOOD[4:])


@contextmanager
def twelve(server: str) -> Iterator[dict[str, str]]:
    """Twelve copies, each with an address; that of `norights` is of a role without rights."""
    role = f"stranger_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection, copies(server, *ALL) as addresses:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        yield addresses | {"norights": addresses["norights"].replace("//postgres:@", f"//{role}@")}
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def worker_of(port: int, process: int) -> tuple[psutil.Process, psutil.Process] | None:
    """The kernel that has a connection to that port, and the process that runs its notebook."""
    for one in psutil.Process(process).children(recursive=True):
        with suppress(psutil.Error):
            if [c for c in one.net_connections("tcp") if c.raddr and c.raddr.port == port]:
                return one, one.parent()
    return None


@pytest.fixture(scope="module")
def dozen(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Nine that are fine, one unreachable, one without rights, one whose worker is killed; and then `--resume`."""
    runs = tmp_path_factory.mktemp("dozen")
    with twelve(server) as good, ExitStack() as stack:
        port = stack.enter_context(tcp.silent())
        hangs = f"postgresql://me:s3cret@{tcp.HOST}:{port}/db?connect_timeout=600"
        words = ["run", "--out", str(runs), "--jobs", "2"]
        words += [word for name in ALL for word in ("--env", name, "--confirm", name)]
        command = [sys.executable, "-m", "incident_lib", *words]
        environ = {**os.environ, **variables(good | {"away": AWAY, "killed": hangs})}
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
        dozen = Fleet(runs, process.returncode, stdout, stderr, records(runs), orphans=orphans)
        dozen.states = {name: state_of(good[name]) for name in (*GOOD, "away", "killed")}
        ran = subprocess.run(
            [*command, "--resume"], capture_output=True, text=True, check=False, timeout=240,
            env={**os.environ, **variables(good)},
        )  # fmt: skip
        dozen.again = Fleet(runs, ran.returncode, ran.stdout, ran.stderr, records(runs))
        yield dozen


def state_of(address: str) -> str:
    """Whether the table's unique index has the purpose in it."""
    with psycopg.connect(address) as connection:
        rows = connection.execute(
            "SELECT indexdef ~ 'purpose' FROM pg_indexes WHERE indexname = 'idx_q_threads_family_unique'"
        )
        return "fixed" if rows.fetchall() == [(True,)] else "original"


@pytest.mark.slow
def test_the_dozen_in_a_table(dozen: Fleet) -> None:
    """The table has all twelve, in the order in which they were named, each with its own end."""
    ends = {
        **{name: (name, "1,088", "0", "succeeded") for name in GOOD},
        **{name: (name, "FAILED", "FAILED", "failed") for name in BAD},
    }

    assert table(dozen.stdout) == [ends[name] for name in ALL]
    assert dozen.code == 3


@pytest.mark.slow
def test_the_dozens_messages(dozen: Fleet) -> None:
    """Standard error has a message for each of the three that failed, and nothing else."""
    assert dozen.stderr == (
        message(
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
            "Its process was killed.",
            "Run it again: --resume --env killed",
        )
    )


@pytest.mark.slow
def test_the_dozens_records(dozen: Fleet) -> None:
    """Every record says how its run ended, that of the killed worker too."""
    assert {name: kept["status"] for name, kept in dozen.kept.items()} == {
        **dict.fromkeys(GOOD, "succeeded"),
        **dict.fromkeys(BAD, "failed"),
    }
    assert dozen.kept["killed"]["error"]["what"] == "The run of 'killed' was lost."


@pytest.mark.slow
def test_the_dozen_do_not_touch_each_other(dozen: Fleet) -> None:
    """The nine have the fixed index; the database of one that failed is as it was."""
    assert dozen.states == {**dict.fromkeys(GOOD, "fixed"), "away": "original", "killed": "original"}


@pytest.mark.slow
def test_a_killed_worker_leaves_no_kernel(dozen: Fleet) -> None:
    """The kernel of a worker that was killed ends by itself."""
    assert dozen.orphans == []


@pytest.mark.slow
def test_the_dozen_resumed(dozen: Fleet) -> None:
    """`--resume` runs the three again and no other; what is still wrong is failed again."""
    counts = {name: len(list((dozen.runs / name).glob("*/record.json"))) for name in ALL}
    outcomes = {row[0]: row[3] for row in table(dozen.again.stdout)}

    assert counts == {**dict.fromkeys(GOOD, 1), **dict.fromkeys(BAD, 2)}
    assert outcomes == {
        **dict.fromkeys(GOOD, "succeeded before"),
        "away": "succeeded",
        "killed": "succeeded",
        "norights": "failed",
    }
    assert dozen.again.code == 3


@pytest.mark.slow
def test_one_report_over_the_dozen(dozen: Fleet) -> None:
    """One report compares all twelve, and has a part for what was done in each."""
    markdown = (dozen.runs / "postmortem.md").read_text("utf-8")
    compared = markdown.partition("\n## Environments compared\n")[2].partition("\n## ")[0]
    resolved = markdown.partition("\n## Resolution and verification\n")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| (\w+) \|", compared, re.MULTILINE)) == sorted(["environment", *ALL])
    assert [name for name in ALL if f"<summary>{name}</summary>" not in resolved] == []


# On a cluster


@pytest.fixture(scope="module")
def cluster(server: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A cluster of one worker process that knows two environments by their variables, and their addresses."""
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
    """Through its own executor a distributed cluster runs environments; what is confirmed is changed."""
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
def test_a_worker_that_does_not_know_the_environment(cluster: tuple[Any, dict[str, str]], runs: Path) -> None:
    """An environment that only this machine knows fails on the cluster, for no address travels: exit code 3."""
    ran = shell("run", "--env", "here", "--dask", cluster[0].scheduler_address, INCIDENT_HERE_URL=AWAY)

    assert table(ran.stdout) == [("here", "FAILED", "FAILED", "failed")]
    assert ran.stderr == message(
        "The environment 'here' is not known.",
        "The variable INCIDENT_HERE_URL is not set, and no pg_service.conf has a service [here].",
        "Set INCIDENT_HERE_URL=postgresql://… , or add [here] to ~/.pg_service.conf, or use `demo`.",
    )
    assert ran.returncode == 3
