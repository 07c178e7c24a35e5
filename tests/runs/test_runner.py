"""`incident run` with papermill, and its files: for one environment, for several, and after failures."""

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
from datetime import datetime, timedelta
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
from incident_lib.report import render
from incident_lib.report.postmortem import read_runs
from incident_lib.runs.fleet import run_fleet
from incident_lib.runs.runner import RunResult
from tests.support import clusters
from tests.support.examples import SOAK
from tests.support.notebooks import insert, write_short
from tests.support.papermill import papermill_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.report.document import Figure

PICTURES = ("before-after", "blockers", "remaining")  # of a report over staging, which is not fixed, and away
LISTS = ("blocked.csv", "not_recovered.csv")  # of raw ids
NOTEBOOKS = ("01_investigate", "02_migrate", "03_postmortem")
AWAY_URL = "postgresql://me:s3cret@127.0.0.1:1/db"
RAW = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass
class Ran:
    """A run of several environments: exit code, output and files."""

    code: int
    stdout: str
    stderr: str
    runs: Path
    indexes: list[str]  # of `staging`, after the run

    def folder(self, environment: str) -> Path:
        """The folder of the only run of an environment."""
        (folder,) = (self.runs / environment).iterdir()
        return folder

    def record(self, environment: str) -> dict[str, Any]:
        """The record of the only run of an environment."""
        contents: dict[str, Any] = json.loads((self.folder(environment) / "record.json").read_text("utf-8"))
        return contents


def shell(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with separate output streams."""
    command = [sys.executable, "-m", "incident_lib", *words]
    environ = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environ)


@pytest.fixture(scope="module")
def ran(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """`incident run` over the demo, an unconfirmed copy of its threads, and an unreachable environment."""
    name, runs = f"test_{uuid4().hex[:12]}", tmp_path_factory.mktemp("runs")
    address = clusters.at(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE incident_template").format(sql.Identifier(name)))
        got = shell(
            *("run", "--env", "demo", "--env", "away", "--env", "staging", "--out", str(runs)),
            INCIDENT_STAGING_URL=address,
            INCIDENT_AWAY_URL=AWAY_URL,
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


def test_the_exit_code_is_that_of_the_failure(ran: Ran) -> None:
    """The exit code of a run is that of its failed environment."""
    assert ran.code == 3


def test_only_the_failure_goes_to_standard_error(ran: Ran) -> None:
    """Standard error has only the message, and no progress without a terminal."""
    assert ran.stderr == f"incident: {AWAY['what']}\n  why:  {AWAY['why']}\n  next: {AWAY['next']}\n"


def test_each_environment_is_printed(ran: Ran) -> None:
    """Standard output has the outcome of each environment, in the order of --env."""
    rows = re.findall(r"^(demo|away|staging)\t(.+?)\t(.+?)\t([\w-]+)\t\d+\.\d$", ran.stdout, re.MULTILINE)

    assert rows == [
        ("demo", "1,088", "0", "succeeded"),
        ("away", "FAILED", "FAILED", "failed"),
        ("staging", "1,088", "dry run", "dry-run"),
    ]


def test_the_demo_is_an_incident_of_three_weeks(ran: Ran) -> None:
    """The demo's run is on the clock of its data: from the deploy to the fix three weeks, then recovery, and no gap."""
    record = ran.record("demo")
    deployed, ended, *rejected = (
        datetime.fromisoformat(at)
        for at in (
            record["purpose_since"],
            record["incident_ended_at"],
            record["rejected_inserts"]["first"],
            record["rejected_inserts"]["last"],
        )
    )
    recovered = [datetime.fromisoformat(at) for at, _ in record["recovery"]["over_time"]]
    pictures = {figure.name: figure.chart.figure() for figure in _figures(ran.folder("demo"))}
    under = {name: pictures[name].texts[-1].get_text() for name in ("over-time", "recovered")}

    assert timedelta(days=21) < ended - deployed < timedelta(days=22.5)
    assert deployed < rejected[0] < rejected[1] < ended <= min(recovered)
    assert under == {
        "over-time": f"time (UTC), from {rejected[0]:%Y-%m-%d}",
        "recovered": f"time (UTC), from {deployed:%Y-%m-%d}",
    }


def _figures(folder: Path) -> Iterator[Figure]:
    """The figures of the report over one run."""
    return (figure for section in read_runs([folder]).sections for figure in render.figures(section.blocks))


def test_each_verdict_is_printed(ran: Ran) -> None:
    """Standard output has the verdict of each environment."""
    assert (
        "demo: No family is blocked for chat. The fix has been applied. Nothing is left to apply. The run succeeded.\n"
    ) in ran.stdout
    assert (
        "staging: 1,088 of 1,257 families (237 users) cannot start a chat. The fix has not been applied. "
        "It is safe to apply it now. "
        "This was a dry run: it changed nothing.\n"
    ) in ran.stdout


@pytest.mark.parametrize(("environment", "lists"), [("demo", LISTS), ("staging", LISTS[:1])])
def test_the_files_of_a_run(ran: Ran, environment: str, lists: tuple[str, ...]) -> None:
    """The folder of a run has the three notebooks, the record and the lists only."""
    names = sorted(file.name for file in ran.folder(environment).iterdir() if file.name != ".lock")

    assert names == [*(f"{name}.ipynb" for name in NOTEBOOKS), *lists, "record.json"]


def test_the_files_of_a_failed_run(ran: Ran) -> None:
    """A failed run has its record and the notebook that failed."""
    names = sorted(file.name for file in ran.folder("away").iterdir() if file.name != ".lock")

    assert names == ["01_investigate.ipynb", "record.json"]


def test_the_report_is_in_the_folder_of_runs(ran: Ran) -> None:
    """The report is in the folder of runs, without the demo; its name is at the end of standard output."""
    assert (ran.runs / "postmortem.html").read_text("utf-8").startswith("<!doctype html>")
    text = (ran.runs / "postmortem.md").read_text("utf-8")
    assert text.startswith("# 1,088 families in 1 environment were blocked for chat; fixed in 0 of 2")
    assert "| away, staging |" in text or "| Environments | away and staging |" in text
    assert sorted(file.stem for file in (ran.runs / "postmortem").iterdir()) == sorted(PICTURES)
    assert ran.stdout.endswith(f"Report: {os.path.relpath(ran.runs / 'postmortem.html')}\n")


def test_the_report_names_what_failed(ran: Ran) -> None:
    """The summary of the report has the failed environment and the reason."""
    summary = (ran.runs / "postmortem.md").read_text("utf-8").partition("\n## Summary\n")[2].partition("\n## ")[0]

    assert (
        "\n> away: The run ended before its first snapshot. The run FAILED. The environment 'away' "
        "cannot be reached. No server listens at that address."
    ) in summary


@pytest.mark.parametrize("environment", ["demo", "staging"])
def test_lists_of_raw_ids_are_private(ran: Ran, environment: str) -> None:
    """The lists of raw ids are readable by their owner only."""
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ran.folder(environment).glob("*.csv")}

    assert modes
    assert set(modes.values()) == {0o600}


@pytest.fixture(scope="module")
def threads() -> list[dict[str, str]]:
    """The active threads in the demo's committed file."""
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["is_active"] == "t" and row["root_prompt_row_id"]]


def _family(row: dict[str, str]) -> tuple[str, str]:
    return row["root_prompt_row_id"], row["owner_id"]


def test_blocked_csv_lists_the_blocked_families(ran: Ran, threads: list[dict[str, str]]) -> None:
    """The list has, with raw ids, each family that an independent count finds, and the thread that blocks it."""
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
def test_counts_before_equal_an_independent_count(ran: Ran, threads: list[dict[str, str]], environment: str) -> None:
    """The counts before equal an independent count over the committed file."""
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


def test_the_created_chats_and_the_recovered_families_are_related(ran: Ran) -> None:
    """The record says how many of the chats that the demo's clients created are in families that had been blocked."""
    record = ran.record("demo")
    (created, blocked, others) = re.findall(
        r"(\d+) were created|created, (\d+) are in families that were blocked|the other (\d+) are", record["retries"]
    )
    numbers = [int("".join(found)) for found in (created, blocked, others)]

    assert numbers == [numbers[1] + numbers[2], record["recovery"]["recovered"], numbers[2]]
    assert numbers[1] == record["counts"]["after"]["coexisting_families"]


def test_new_provider_conflicts_are_threads_created_since_the_fix(ran: Ran) -> None:
    """More provider conflicts after the fix are at least explained by the threads that were created since."""
    record = ran.record("demo")
    before, after = (record["counts"][moment]["residual_conflicts"] for moment in ("before", "after"))

    assert record["residual"]["created_since"] >= after - before > 0


def test_a_probe_says_whether_it_was_before_the_steps(ran: Ran) -> None:
    """Each probe in the record says whether it was sent before the steps or after them."""
    assert ran.record("demo")["probes"] == [
        "before the steps: chat: 0 of 5 admitted, 5 rejected",
        "after the steps: chat: 5 of 5 admitted, 0 rejected",
    ]


def test_provider_conflicts_equal_an_independent_count(ran: Ran, threads: list[dict[str, str]]) -> None:
    """The provider conflicts equal the number of active threads whose family has another provider."""
    providers: dict[tuple[str, str], set[str]] = {}
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["root_prompt_row_id"] and row["owner_id"]:
                providers.setdefault(_family(row), set()).add(row["provider"])
    expected = sum(len(providers.get(_family(row), ())) > 1 for row in threads)

    assert ran.record("demo")["counts"]["before"]["residual_conflicts"] == expected


def test_after_the_fix_no_family_is_blocked(ran: Ran) -> None:
    """After the fix no family is blocked, and only the chats that were retried have been added."""
    before, after = (ran.record("demo")["counts"][moment] for moment in ("before", "after"))
    settled = {"blocked_families": 0, "blocked": {"chat": 0, "run": 0}, "affected_owners": 0}

    assert {key: after[key] for key in settled} == settled
    added = after["active_threads"] - before["active_threads"]
    purposes = before["active_by_purpose"]
    assert added > 0
    assert after["active_by_purpose"] == purposes | {"chat": purposes["chat"] + added}
    assert after["unguarded_threads"] == before["unguarded_threads"]


def test_the_chats_that_were_retried_prevent_a_rollback(ran: Ran, threads: list[dict[str, str]]) -> None:
    """The snapshot after is taken after the clients retried: families with a chat and another thread are counted."""
    with (paths.DEMO_DATA / "failed_attempts.csv").open(newline="", encoding="utf-8") as file:
        retried = {_family(row) for row in csv.DictReader(file) if row["purpose"] == "chat"}
    others = {_family(row) for row in threads if row["owner_id"] and row["purpose"] != "chat"}
    before, after = (ran.record("demo")["counts"][moment] for moment in ("before", "after"))

    assert (before["coexisting_families"], after["coexisting_families"]) == (0, len(retried & others))


def test_the_record_of_a_run_that_succeeded(ran: Ran) -> None:
    """The record of a successful run has its status, unique indexes, steps and notebooks, and no error."""
    record = ran.record("demo")

    assert (record["schema_version"], record["environment"], record["status"], record["error"]) == (
        2,
        "demo",
        "succeeded",
        None,
    )
    assert [record["indexes"][moment]["state"] for moment in ("before", "after")] == ["original", "fixed"]
    assert [(step["name"], step["outcome"]) for step in record["steps"]] == [
        ("build", "done"),
        ("swap", "done"),
        ("drop", "done"),
    ]
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [(n, "done") for n in NOTEBOOKS]
    assert record["started_at"] <= record["finished_at"]
    assert record["server_version"] >= 180000
    assert {check["status"] for check in record["preflight"]} <= {"pass", "info"}


def test_the_record_of_a_dry_run(ran: Ran) -> None:
    """The record of a dry run has the counts before, no step, and no counts after."""
    record = ran.record("staging")

    assert (record["status"], record["steps"], record["error"]) == ("dry-run", [], None)
    assert (record["indexes"]["after"], record["counts"]["after"]) == (None, None)
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [(n, "done") for n in NOTEBOOKS]


def test_a_dry_run_changes_nothing(ran: Ran) -> None:
    """An unconfirmed environment is not changed: it has the original index only."""
    indexes = [definition for definition in ran.indexes if "CREATE UNIQUE" in definition and "pkey" not in definition]

    assert indexes == [
        "CREATE UNIQUE INDEX idx_q_threads_family_unique ON public.q_threads USING btree (root_prompt_row_id, owner_id)"
        " WHERE ((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
    ]


def test_the_record_of_a_run_that_failed(ran: Ran) -> None:
    """The record of a failed run has the error and the notebook that failed."""
    record = ran.record("away")

    assert (record["status"], record["error"]) == ("failed", AWAY)
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [("01_investigate", "failed")]
    assert record["finished_at"]


def test_a_failed_notebook_shows_the_message(ran: Ran) -> None:
    """The notebook that failed ends with the message, without a traceback."""
    contents = nbformat.read(ran.folder("away") / "01_investigate.ipynb", as_version=4)
    outputs = [output for cell in contents.cells for output in cell.get("outputs", ())]
    errors = ["\n".join(output.traceback) for output in outputs if output.output_type == "error"]

    assert errors == [f"{AWAY['what']}\n  why:  {AWAY['why']}\n  next: {AWAY['next']}"]


SHARED = ("*/*/record.json", "*/*/*.ipynb", "postmortem.html", "postmortem.md", "postmortem/*.svg")


@pytest.fixture(scope="module")
def ids(server: str) -> set[UUID]:
    """All ids of threads, users and prompts in the database, except published ones."""
    columns = ("row_id", "assistant_row_id", "child_prompt_row_id", "root_prompt_row_id", "owner_id")
    with psycopg.connect(clusters.at(server, "incident_template")) as connection:
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM public.q_threads").fetchall()
    found = {value for row in rows for value in row if value} - PUBLISHED
    assert len(found) > 5000
    return found


def test_no_raw_id_is_shared(ran: Ran, ids: set[UUID]) -> None:
    """No byte of a shared file has an id of a thread, a user or a prompt, except published ones."""
    files = [file for pattern in SHARED for file in ran.runs.glob(pattern)]
    found = {file.name: {UUID(raw.decode()) for raw in RAW.findall(file.read_bytes())} & ids for file in files}

    assert len(files) == 3 + 7 + 1 + 1 + len(PICTURES)
    assert {name: raw for name, raw in found.items() if raw} == {}


def test_no_raw_id_is_drawn(ran: Ran, ids: set[UUID]) -> None:
    """No picture in the page has an id, except published ones."""
    html = (ran.runs / "postmortem.html").read_bytes()
    pictures = [base64.b64decode(data) for data in re.findall(rb"base64,([A-Za-z0-9+/=]+)", html)]
    found = {UUID(raw.decode()) for picture in pictures for raw in RAW.findall(picture)}

    assert len(pictures) == 2 * len(PICTURES)  # each for a page and for a phone
    assert found & ids == set()


@pytest.mark.slow
def test_no_raw_id_is_printed(ran: Ran, ids: set[UUID]) -> None:
    """The text of the report's PDF has no id except published ones."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be loaded: {error}")
    if not shutil.which("pdftotext"):
        pytest.skip("no command `pdftotext` (Debian's package poppler-utils)")
    for name in ("demo", "staging") if SOAK else ("demo",):
        out = ran.runs / f"printed-{name}.html"
        assert shell("report", str(ran.folder(name)), "--out", str(out), "--pdf").returncode == 0
        command = ["pdftotext", "-raw", str(out.with_suffix(".pdf")), "-"]
        text = re.sub(rb"[-\s]", b"", subprocess.run(command, capture_output=True, check=True).stdout)

        assert b"startachat" in text
        assert PLAN_ROOT.hex.encode() in text
        assert [value for value in ids if value.hex.encode() in text] == []


def test_no_address_is_shared(ran: Ran) -> None:
    """No file and no output of a run has the address of a database or a password."""
    said = [ran.stdout.encode(), ran.stderr.encode()]
    left = [file.read_bytes() for file in ran.runs.rglob("*") if file.is_file()]

    assert [text for text in said + left if b"s3cret" in text or b"postgresql://" in text] == []


def test_other_environments_do_not_use_the_demos_key(ran: Ran) -> None:
    """In other environments than the demo the committed key is not used: the same ids have other pseudonyms."""
    of_demo, of_staging = (
        set(re.findall(r"owner-[0-9a-f]{10}", (ran.folder(name) / "01_investigate.ipynb").read_text("utf-8")))
        for name in ("demo", "staging")
    )

    assert of_demo
    assert of_staging
    assert not of_demo & of_staging


# Failures


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Short notebooks, which the runner uses instead of the project's, and a folder of runs of this test."""
    folder = write_short(tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return folder


def test_a_notebook_without_parameters(notebooks: Path) -> None:
    """A notebook without a parameters cell is bad usage, and no run begins."""
    contents = nbformat.read(notebooks / "02_migrate.ipynb", as_version=4)
    for cell in contents.cells:
        cell.metadata.pop("tags", None)
    nbformat.write(contents, notebooks / "02_migrate.ipynb")
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"], confirm=["demo"])

    assert raised.value.exit_code == 2
    assert str(raised.value) == (
        "02_migrate.ipynb has no cell tagged `parameters`.\n"
        "  why:  Without it papermill runs the notebook with its default parameters.\n"
        "  next: Tag the first code cell `parameters`, or restore it: git checkout notebooks"
    )
    assert not paths.runs().exists()


@pytest.mark.parametrize(("text", "kind"), [("{", "JSONDecodeError"), (None, "FileNotFoundError")])
def test_a_file_that_is_not_a_notebook(notebooks: Path, text: str | None, kind: str) -> None:
    """A missing or invalid notebook file is bad usage."""
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


def test_confirming_an_environment_that_is_not_run() -> None:
    """A confirmation of an environment that is not run is bad usage."""
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"], confirm=["prod"])

    assert str(raised.value) == (
        "--confirm prod confirms nothing.\n"
        "  why:  'prod' is not among the environments to run.\n"
        "  next: Add --env prod, or remove --confirm."
    )


def test_naming_an_environment_twice() -> None:
    """Naming an environment twice is bad usage."""
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo", "prod", "demo"])

    assert str(raised.value) == (
        "demo is named twice.\n  why:  One command runs each environment once.\n  next: Name each --env once."
    )


def ended(notebook: str) -> tuple[RunResult, dict[str, Any]]:
    """The result of the only run of the demo, and its record."""
    (end,) = run_fleet(["demo"], executor=ThreadPoolExecutor(1))  # a thread has the path of the copied notebooks
    contents = json.loads(RunFolder(end.folder).file.read_text("utf-8"))
    assert [entry["name"] for entry in contents["notebooks"]] == [notebook]
    return end, contents


def test_a_notebook_that_raises(notebooks: Path) -> None:
    """If a notebook raises another exception, the run fails, and its message says where the details are."""
    insert(notebooks, "01_investigate", "1 / 0")
    end, record = ended("01_investigate")

    assert (end.status, record["status"]) == ("failed", "failed")
    assert str(end.error) == (
        "01_investigate failed.\n"
        "  why:  A cell raised ZeroDivisionError.\n"
        f"  next: Open 01_investigate.ipynb in {end.folder.name}: its last output has the details."
    )


def test_a_notebook_whose_kernel_is_killed(notebooks: Path) -> None:
    """If the kernel of a notebook is killed, the run fails."""
    insert(notebooks, "01_investigate", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    end, record = ended("01_investigate")

    assert (end.status, record["status"], record["notebooks"][0]["outcome"]) == ("failed", "failed", "failed")
    assert end.error is not None
    assert end.error.exit_code == 3
    assert record["error"] == structs.asdict(error_message(end.error))


def test_a_wrong_time_is_bad_usage(notebooks: Path) -> None:
    """A wrong parameter is refused before any run begins."""
    with pytest.raises(UsageError) as refused:
        run_fleet(["demo"], purpose_since="last week")

    assert (refused.value.exit_code, str(refused.value)) == (
        2,
        "purpose_since must be a time in ISO 8601.\n"
        "  why:  It is 'last week'.\n"
        "  next: Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
    )


def test_an_unknown_parameter_stops_the_notebook(notebooks: Path) -> None:
    """An unknown parameter stops the notebook with a message, while papermill only warns."""
    assert (
        "The notebook has no parameter enviroment.\n"
        "  why:  Its parameters are change, confirm, environment, record, redact, run.\n"
        "  next: Correct the name that is given with -p."
    ) in papermill_here(notebooks, AWAY_URL, "02_migrate", "-p", "enviroment", "staging").stderr


def test_a_parameter_of_a_wrong_type_stops_the_notebook(notebooks: Path) -> None:
    """A parameter of a wrong type stops the notebook with a message."""
    assert (
        "The parameter confirm must be a text.\n"
        "  why:  It is True, of type bool.\n"
        "  next: Correct it in the notebook's first cell, or with -p."
    ) in papermill_here(notebooks, AWAY_URL, "02_migrate", "-p", "confirm", "True").stderr


def test_the_postmortem_of_a_failed_run_has_no_error(ran: Ran, tmp_path: Path) -> None:
    """The third notebook over a failed run shows the failure and has no error itself."""
    words = ("-p", "environment", "away", "-p", "run", str(ran.folder("away")))
    done = papermill_here(tmp_path, AWAY_URL, "03_postmortem", *words)

    assert (done.code, done.stderr) == (0, "")
    assert "The run FAILED." in (tmp_path / "out.ipynb").read_text("utf-8")
