"""The main job through real papermill, and what it leaves: for one environment, for two, and where something breaks."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import nbformat
import psycopg
import pytest
from msgspec import structs
from psycopg import sql

from incident_lib import paths
from incident_lib.model.errors import UsageError
from incident_lib.model.pseudonyms import PLAN_ROOT, PUBLISHED
from incident_lib.records import RunFolder, error_message
from incident_lib.runs.fleet import run_fleet
from incident_lib.runs.runner import RunResult
from incident_lib.runs.runner import _papermill as papermill_of_runs
from tests.support import clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURES = ("before-after", "over-time", "blockers", "recovered", "remaining")  # of a report
LISTS = ("blocked.csv", "not_recovered.csv")  # of raw ids
NOTEBOOKS = ("01_investigate", "02_migrate", "03_postmortem")
RAW = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass
class Ran:
    """A run of two environments: what the shell got, what the folder holds."""

    code: int
    stdout: str
    stderr: str
    runs: Path
    indexes: list[str]  # of `staging`, afterwards

    def folder(self, environment: str) -> Path:
        """The folder of an environment's only run."""
        (folder,) = (self.runs / environment).iterdir()
        return folder

    def record(self, environment: str) -> dict[str, Any]:
        """The record of an environment's only run."""
        contents: dict[str, Any] = json.loads((self.folder(environment) / "record.json").read_text("utf-8"))
        return contents


def shell(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does, its two streams apart."""
    command = [sys.executable, "-m", "incident_lib", *words]
    environ = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environ)


@pytest.fixture(scope="module")
def ran(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """`incident run` over the demo, a copy of its threads that is not confirmed, and one that is not there."""
    name, runs = f"test_{uuid4().hex[:12]}", tmp_path_factory.mktemp("runs")
    address = clusters.at(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE incident_template").format(sql.Identifier(name)))
        got = shell(
            *("run", "--env", "demo", "--env", "away", "--env", "staging", "--out", str(runs)),
            INCIDENT_STAGING_URL=address,
            INCIDENT_AWAY_URL="postgresql://me:s3cret@127.0.0.1:1/db",
        )
        with psycopg.connect(address) as staging:
            rows = staging.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'q_threads' ORDER BY 1")
            indexes = [definition for (definition,) in rows]
        yield Ran(got.returncode, got.stdout, got.stderr, runs, indexes)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


AWAY = {
    "what": "The environment 'away' cannot be reached.",
    "why": "No server listens at that address.",
    "next": "Is the server up, and the port right? "
    "Check INCIDENT_AWAY_URL; `psql` with the same address shows the server's own message.",
}


def test_the_worst_end_is_the_exit_code(ran: Ran) -> None:
    """A run of which one environment failed exits with that one's code."""
    assert ran.code == 3


def test_only_the_failure_goes_to_standard_error(ran: Ran) -> None:
    """Standard error holds the one message, and no progress where it is no terminal."""
    assert ran.stderr == f"incident: {AWAY['what']}\n  why:  {AWAY['why']}\n  next: {AWAY['next']}\n"


def test_each_environment_is_told(ran: Ran) -> None:
    """Standard output tells how each environment ended, in the order in which they were named."""
    rows = re.findall(r"^ (demo|away|staging)  +(.+?)  +(.+?)  +([\w-]+) +\d+\.\d *$", ran.stdout, re.MULTILINE)

    assert rows == [
        ("demo", "1,088", "0", "succeeded"),
        ("away", "FAILED", "FAILED", "failed"),
        ("staging", "1,088", "dry run", "dry-run"),
    ]


def test_each_verdict_is_told(ran: Ran) -> None:
    """Standard output tells the verdict of each environment."""
    assert (
        "demo: No family is blocked for chat. The fix has been applied. Nothing is left to apply. "
        "Next: incident verify --env demo The run succeeded.\n"
    ) in ran.stdout
    assert (
        "staging: 1,088 of 1,257 families (237 users) cannot start a chat. The fix has not been applied. "
        "It is safe to apply it now. Next: incident apply --env staging --confirm staging "
        "This was a dry run: it changed nothing.\n"
    ) in ran.stdout


@pytest.mark.parametrize(("environment", "lists"), [("demo", LISTS), ("staging", LISTS[:1])])
def test_a_run_leaves_its_files(ran: Ran, environment: str, lists: tuple[str, ...]) -> None:
    """A run's folder holds the three notebooks, the record, its lists, and nothing else."""
    names = sorted(file.name for file in ran.folder(environment).iterdir() if file.name != ".lock")

    assert names == [*(f"{name}.ipynb" for name in NOTEBOOKS), *lists, "record.json"]


def test_a_run_that_failed_leaves_its_files(ran: Ran) -> None:
    """A run that failed leaves its record and the notebook in which it failed."""
    names = sorted(file.name for file in ran.folder("away").iterdir() if file.name != ".lock")

    assert names == ["01_investigate.ipynb", "record.json"]


def test_the_report_lies_beside_the_runs(ran: Ran) -> None:
    """The report over all environments lies in the folder of runs, and standard output ends with its name."""
    assert (ran.runs / "postmortem.html").read_text("utf-8").startswith("<!doctype html>")
    assert (ran.runs / "postmortem.md").read_text("utf-8").startswith("# ")
    assert sorted(file.stem for file in (ran.runs / "postmortem").iterdir()) == sorted(PICTURES)
    assert ran.stdout.endswith(f"Report: {os.path.relpath(ran.runs / 'postmortem.html')}\n")


def test_the_report_names_what_failed(ran: Ran) -> None:
    """The report names the environment that failed, and why, in its summary."""
    summary = (ran.runs / "postmortem.md").read_text("utf-8").partition("\n## Summary\n")[2].partition("\n## ")[0]

    assert (
        "\n> away: The run ended before its first snapshot. The run FAILED. The numbers below are from before the "
        "failure. The environment 'away' cannot be reached. No server listens at that address."
    ) in summary


@pytest.mark.parametrize("environment", ["demo", "staging"])
def test_lists_of_raw_ids_are_private(ran: Ran, environment: str) -> None:
    """Only their owner may read the lists of raw ids."""
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ran.folder(environment).glob("*.csv")}

    assert modes
    assert set(modes.values()) == {0o600}


@pytest.fixture(scope="module")
def threads() -> list[dict[str, str]]:
    """The active threads of the demo, as the committed file has them."""
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["is_active"] == "t" and row["root_prompt_row_id"]]


def _family(row: dict[str, str]) -> tuple[str, str]:
    return row["root_prompt_row_id"], row["owner_id"]


def test_blocked_csv_lists_whom_the_index_blocks(ran: Ran, threads: list[dict[str, str]]) -> None:
    """The list holds, with raw ids, each family that an independent count finds, and the thread in its way."""
    expected = {
        (*_family(row), wanted, row["row_id"])
        for row in threads
        for wanted in ("chat", "run")
        if row["owner_id"] and row["purpose"] != wanted
    }
    with (ran.folder("demo") / "blocked.csv").open(newline="", encoding="utf-8") as file:
        columns = ("root_prompt_row_id", "owner_id", "blocked_for", "blocking_thread")
        listed = [tuple(row[column] for column in columns) for row in csv.DictReader(file)]

    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize("environment", ["demo", "staging"])
def test_counts_before_are_those_of_an_independent_count(
    ran: Ran, threads: list[dict[str, str]], environment: str
) -> None:
    """The counts before are those that a count over the committed file gives."""
    owned = [row for row in threads if row["owner_id"]]
    blocked = {p: {_family(row) for row in owned if row["purpose"] != p} for p in ("chat", "run")}
    counts = ran.record(environment)["counts"]["before"]
    expected = {
        "families": len({_family(row) for row in threads}),
        "active_threads": len(threads),
        "active_by_purpose": dict(Counter(row["purpose"] for row in threads)),
        "blocked_families": len(blocked["chat"] | blocked["run"]),
        "blocked": {purpose: len(families) for purpose, families in blocked.items()},
        "affected_owners": len({owner for _, owner in blocked["chat"] | blocked["run"]}),
        "coexisting_families": sum(n > 1 for n in Counter(map(_family, owned)).values()),
        "unguarded_threads": len(threads) - len(owned),
    }

    assert {key: counts[key] for key in expected} == expected


def test_residual_conflicts_are_those_of_an_independent_count(ran: Ran, threads: list[dict[str, str]]) -> None:
    """The provider conflicts are the active threads of families that have ever used another provider."""
    providers: dict[tuple[str, str], set[str]] = {}
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["root_prompt_row_id"] and row["owner_id"]:
                providers.setdefault(_family(row), set()).add(row["provider"])
    expected = sum(len(providers.get(_family(row), ())) > 1 for row in threads)

    assert ran.record("demo")["counts"]["before"]["residual_conflicts"] == expected


def test_after_the_fix_no_family_is_blocked(ran: Ran) -> None:
    """After the fix no family is blocked; only the chats that were tried again have been added."""
    before, after = (ran.record("demo")["counts"][moment] for moment in ("before", "after"))
    settled = {"blocked_families": 0, "blocked": {"chat": 0, "run": 0}, "affected_owners": 0}

    assert {key: after[key] for key in settled} == settled
    added = after["active_threads"] - before["active_threads"]
    purposes = before["active_by_purpose"]
    assert added > 0
    assert after["active_by_purpose"] == purposes | {"chat": purposes["chat"] + added}
    assert after["unguarded_threads"] == before["unguarded_threads"]


def test_the_record_of_a_run_that_succeeded(ran: Ran) -> None:
    """The record of a run that succeeded says so, with its unique indexes, steps and notebooks, and no error."""
    kept = ran.record("demo")

    assert (kept["schema_version"], kept["environment"], kept["status"], kept["error"]) == (
        2,
        "demo",
        "succeeded",
        None,
    )
    assert [kept["indexes"][moment]["state"] for moment in ("before", "after")] == ["original", "fixed"]
    assert [(step["name"], step["outcome"]) for step in kept["steps"]] == [
        ("build", "done"),
        ("swap", "done"),
        ("drop", "done"),
    ]
    assert [(entry["name"], entry["outcome"]) for entry in kept["notebooks"]] == [(n, "done") for n in NOTEBOOKS]
    assert kept["started_at"] <= kept["finished_at"]
    assert kept["server_version"] >= 180000
    assert {check["status"] for check in kept["preflight"]} <= {"pass", "info"}


def test_the_record_of_a_dry_run(ran: Ran) -> None:
    """The record of a dry run has the counts before, no step, and nothing after."""
    kept = ran.record("staging")

    assert (kept["status"], kept["steps"], kept["error"]) == ("dry-run", [], None)
    assert (kept["indexes"]["after"], kept["counts"]["after"]) == (None, None)
    assert [(entry["name"], entry["outcome"]) for entry in kept["notebooks"]] == [(n, "done") for n in NOTEBOOKS]


def test_a_dry_run_changes_nothing(ran: Ran) -> None:
    """What was not confirmed was not changed: the original index alone is there."""
    indexes = [definition for definition in ran.indexes if "CREATE UNIQUE" in definition and "pkey" not in definition]

    assert indexes == [
        "CREATE UNIQUE INDEX idx_q_threads_family_unique ON public.q_threads USING btree (root_prompt_row_id, owner_id)"
        " WHERE ((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
    ]


def test_the_record_of_a_run_that_failed(ran: Ran) -> None:
    """The record of a run that failed carries the error, and the notebook in which it came."""
    kept = ran.record("away")

    assert (kept["status"], kept["error"]) == ("failed", AWAY)
    assert [(entry["name"], entry["outcome"]) for entry in kept["notebooks"]] == [("01_investigate", "failed")]
    assert kept["finished_at"]


def test_a_failed_notebook_shows_the_message(ran: Ran) -> None:
    """The notebook that failed ends with the message, and no traceback."""
    contents = nbformat.read(ran.folder("away") / "01_investigate.ipynb", as_version=4)
    outputs = [output for cell in contents.cells for output in cell.get("outputs", ())]
    errors = ["\n".join(output.traceback) for output in outputs if output.output_type == "error"]

    assert errors == [f"{AWAY['what']}\n  why:  {AWAY['why']}\n  next: {AWAY['next']}"]


SHARED = ("*/*/record.json", "*/*/*.ipynb", "postmortem.html", "postmortem.md", "postmortem/*.svg")


@pytest.fixture(scope="module")
def ids(server: str) -> set[UUID]:
    """Every id of a thread, a user or a prompt in the database, but the published."""
    columns = ("row_id", "assistant_row_id", "child_prompt_row_id", "root_prompt_row_id", "owner_id")
    with psycopg.connect(clusters.at(server, "incident_template")) as connection:
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM public.q_threads").fetchall()
    found = {value for row in rows for value in row if value} - PUBLISHED
    assert len(found) > 5000
    return found


def test_no_raw_id_is_shared(ran: Ran, ids: set[UUID]) -> None:
    """No id of a thread, a user or a prompt but the published occurs in any byte of what is shared."""
    files = [file for pattern in SHARED for file in ran.runs.glob(pattern)]
    found = {file.name: {UUID(raw.decode()) for raw in RAW.findall(file.read_bytes())} & ids for file in files}

    assert len(files) == 3 + 7 + 1 + 1 + len(PICTURES)
    assert {name: raw for name, raw in found.items() if raw} == {}


def test_no_raw_id_is_drawn(ran: Ran, ids: set[UUID]) -> None:
    """No id but the published occurs in a picture inside the page, decoded."""
    html = (ran.runs / "postmortem.html").read_bytes()
    pictures = [base64.b64decode(data) for data in re.findall(rb"base64,([A-Za-z0-9+/=]+)", html)]
    found = {UUID(raw.decode()) for picture in pictures for raw in RAW.findall(picture)}

    assert len(pictures) == len(PICTURES)
    assert found & ids == set()


@pytest.mark.slow
def test_no_raw_id_is_printed(ran: Ran, ids: set[UUID]) -> None:
    """No id but the published can be read in the PDF of the report; the published example can."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be loaded: {error}")
    if not shutil.which("pdftotext"):
        pytest.skip("no command `pdftotext` (Debian's package poppler-utils)")
    folders = [str(ran.folder(name)) for name in ("demo", "staging")]
    assert shell("report", *folders, "--out", str(ran.runs / "printed.html"), "--pdf").returncode == 0
    command = ["pdftotext", "-raw", str(ran.runs / "printed.pdf"), "-"]
    text = re.sub(rb"[-\s]", b"", subprocess.run(command, capture_output=True, check=True).stdout)

    assert b"couldnotstartachat" in text
    assert PLAN_ROOT.hex.encode() in text
    assert [value for value in ids if value.hex.encode() in text] == []


def test_no_address_is_shared(ran: Ran) -> None:
    """No address of a database and no password occurs in any byte that a run leaves or says."""
    said = [ran.stdout.encode(), ran.stderr.encode()]
    left = [file.read_bytes() for file in ran.runs.rglob("*") if file.is_file()]

    assert [text for text in said + left if b"s3cret" in text or b"postgresql://" in text] == []


def test_elsewhere_the_demos_key_names_nobody(ran: Ran) -> None:
    """Elsewhere than on the demo nobody is named by the key that everybody knows: the same ids, other names."""
    of_demo, of_staging = (
        set(re.findall(r"owner-[0-9a-f]{10}", (ran.folder(name) / "01_investigate.ipynb").read_text("utf-8")))
        for name in ("demo", "staging")
    )

    assert of_demo
    assert of_staging
    assert not of_demo & of_staging


# Where something breaks


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the notebooks that the runner takes for the project's; runs go into a folder of the test."""
    shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "notebooks"


def change(notebook: Path, how: Callable[[list[Any]], None]) -> None:
    """Change the cells of a notebook in place."""
    contents = nbformat.read(notebook, as_version=4)
    how(contents.cells)
    nbformat.write(contents, notebook)


def insert(notebook: Path, source: str, place: int = 3) -> None:
    """Put a code cell into a notebook; behind the imports, unless told otherwise."""
    change(notebook, lambda cells: cells.insert(place, nbformat.v4.new_code_cell(source)))


def test_a_notebook_without_parameters(notebooks: Path) -> None:
    """A notebook without its parameters cell is bad usage, and nothing is begun."""
    change(notebooks / "02_migrate.ipynb", lambda cells: [cell.metadata.pop("tags", None) for cell in cells])
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"], confirm=["demo"])

    assert raised.value.exit_code == 2
    assert str(raised.value) == (
        "02_migrate.ipynb has no cell tagged `parameters`.\n"
        "  why:  Without it papermill runs the notebook with its default parameters.\n"
        "  next: Tag the first code cell `parameters`, or restore it: git checkout notebooks"
    )
    assert not paths.runs().exists()


@pytest.mark.parametrize(("text", "kind"), [("{", "NotJSONError"), (None, "FileNotFoundError")])
def test_a_notebook_that_is_none(notebooks: Path, text: str | None, kind: str) -> None:
    """A notebook that is not there, or is no notebook, is bad usage."""
    (notebooks / "01_investigate.ipynb").unlink()
    if text:
        (notebooks / "01_investigate.ipynb").write_text(text)
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"])

    assert str(raised.value) == (
        "01_investigate.ipynb cannot be read as a notebook.\n"
        f"  why:  {kind}.\n"
        "  next: Restore it: git checkout notebooks"
    )


def test_a_name_that_is_confirmed_but_not_run() -> None:
    """A confirmation of an environment that is not run is bad usage."""
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"], confirm=["prod"])

    assert str(raised.value) == (
        "--confirm prod confirms nothing.\n"
        "  why:  'prod' is not among the environments to run.\n"
        "  next: Add --env prod, or remove --confirm."
    )


def test_a_name_that_is_named_twice() -> None:
    """An environment that is named twice is bad usage."""
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo", "prod", "demo"])

    assert str(raised.value) == (
        "demo is named twice.\n  why:  One command runs each environment once.\n  next: Name each --env once."
    )


def ended(notebook: str) -> tuple[RunResult, dict[str, Any]]:
    """How the only run of the demo ended, and its record."""
    (end,) = run_fleet(["demo"], executor=ThreadPoolExecutor(1))  # where the copied notebooks are known
    contents = json.loads(RunFolder(end.folder).file.read_text("utf-8"))
    assert [entry["name"] for entry in contents["notebooks"]] == [notebook]
    return end, contents


def test_a_notebook_that_raises(notebooks: Path) -> None:
    """A notebook that raises what is no message of ours ends the run as failed, and says where to look."""
    insert(notebooks / "01_investigate.ipynb", "1 / 0", place=4)
    end, kept = ended("01_investigate")

    assert (end.status, kept["status"]) == ("failed", "failed")
    assert str(end.error) == (
        "01_investigate failed.\n"
        "  why:  A cell raised ZeroDivisionError.\n"
        f"  next: Open 01_investigate.ipynb in {end.folder.name}: its last output has the details."
    )


def test_a_notebook_whose_kernel_is_killed(notebooks: Path) -> None:
    """A notebook whose kernel is killed ends the run as failed, never as succeeded."""
    insert(notebooks / "01_investigate.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", place=4)
    end, kept = ended("01_investigate")

    assert (end.status, kept["status"], kept["notebooks"][0]["outcome"]) == ("failed", "failed", "failed")
    assert end.error is not None
    assert end.error.exit_code == 3
    assert kept["error"] == structs.asdict(error_message(end.error))


@pytest.mark.slow
def test_a_notebook_that_leaves_early(notebooks: Path) -> None:
    """A notebook that leaves its kernel early, with a code of 0, ends the run as failed."""
    insert(notebooks / "01_investigate.ipynb", "import os\nos._exit(0)", place=4)
    end, kept = ended("01_investigate")

    assert (end.status, kept["status"], kept["notebooks"][0]["outcome"]) == ("failed", "failed", "failed")


def test_a_moment_that_is_none_is_bad_usage(notebooks: Path) -> None:
    """A parameter that no notebook would take is refused before anything is begun."""
    with pytest.raises(UsageError) as refused:
        run_fleet(["demo"], purpose_since="last week")

    assert (refused.value.exit_code, str(refused.value)) == (
        2,
        "purpose_since must be a time in ISO 8601.\n"
        "  why:  It is 'last week'.\n"
        "  next: Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
    )


def _papermill(notebook: Path, **parameters: Any) -> str:
    """What a notebook says that papermill runs with these parameters, as far as it comes."""
    execute, ran_into = papermill_of_runs()  # the very kernel options of a run
    with pytest.raises(ran_into) as raised:
        execute(notebook, notebook.with_name("out.ipynb"), parameters=parameters, progress_bar=False)
    return str(raised.value)


def test_a_parameter_that_is_none_stops(notebooks: Path) -> None:
    """A parameter that the notebook does not know stops it with a message, where papermill only warns."""
    assert (
        "The notebook has no parameter enviroment.\n"
        "  why:  Its parameters are confirm, environment, redact, run.\n"
        "  next: Correct the name that is given with -p."
    ) in _papermill(notebooks / "02_migrate.ipynb", enviroment="staging")


def test_a_parameter_of_a_wrong_type_stops(notebooks: Path) -> None:
    """A parameter of a wrong type stops the notebook with a message."""
    assert (
        "The parameter confirm must be a text.\n"
        "  why:  It is True, of type bool.\n"
        "  next: Correct it in the notebook's first cell, or with -p."
    ) in _papermill(notebooks / "02_migrate.ipynb", confirm=True)


def test_the_postmortem_of_a_run_that_failed_reads_to_its_end(ran: Ran, notebooks: Path) -> None:
    """The third notebook, opened over a run that failed, shows it as failed and comes to its end."""
    execute, _ = papermill_of_runs()
    out = notebooks / "out.ipynb"
    given = {"environment": "away", "run": str(ran.folder("away"))}
    execute(notebooks / "03_postmortem.ipynb", out, parameters=given, progress_bar=False)

    assert "The run FAILED." in out.read_text("utf-8")
