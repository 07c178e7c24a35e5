"""The notebooks under papermill alone, as a scheduler runs it: exit code, message and record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import nbformat
import psutil
import psycopg
import pytest
from psycopg import sql

from incident_lib import paths
from incident_lib.records import status_of
from tests.support import clusters, tcp
from tests.support.papermill import Ran, command, invoke, papermill, papermill_here, variables
from tests.support.reports import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


LOG = paths.DEMO_DATA / "server.log"
CLAIMS = re.compile(r"now none is blocked|No family is blocked|(?<!nothing )has been applied|is fixed|incident ended:")


@pytest.fixture(scope="module")
def address(server: str) -> Iterator[str]:
    """A copy of the demo's threads, for this module."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE incident_template").format(sql.Identifier(name)))
        yield clusters.at(server, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def dry(address: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The migration without `confirm`."""
    return papermill(tmp_path_factory.mktemp("dry"), address, "02_migrate", "-p", "environment", "staging")


@pytest.fixture(scope="module")
def confirmed(dry: Ran, address: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The migration with `confirm`, on the database of the dry run."""
    words = ("--inject-paths", "-p", "environment", "staging", "-p", "confirm", "staging", "-p", "record", "True")
    return papermill(tmp_path_factory.mktemp("confirmed"), address, "02_migrate", *words)


def test_a_dry_run_exits_with_0(dry: Ran) -> None:
    """Without `confirm`, papermill exits with 0."""
    assert dry.code == 0


def test_the_first_output_says_dry_run(dry: Ran) -> None:
    """The notebook's first output says that it is a dry run, and how to allow changes."""
    assert dry.outputs()[0].splitlines()[0] == (
        "DRY RUN: nothing will be changed in 'staging'. Set confirm to 'staging' to allow changes."
    )


def test_the_record_says_dry_run(dry: Ran) -> None:
    """The record has the status `dry-run` and no step."""
    record = dry.record("staging")

    assert (record["status"], record["steps"], record["error"]) == ("dry-run", [], None)
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [("02_migrate", "done")]


def test_a_dry_run_has_no_counts_after(dry: Ran) -> None:
    """The counts of a dry run have no column `after`."""
    (heads,) = [text.splitlines()[0].split() for text in dry.outputs() if text.startswith("count ")]

    assert "before" in heads
    assert "after" not in heads


def test_a_dry_run_claims_no_fix(dry: Ran) -> None:
    """No heading and no output of a dry run says that the fix has been applied, or that no family is blocked."""
    texts = [cell.source for cell in dry.contents.cells if cell.cell_type == "markdown"] + dry.outputs()

    assert [text for text in texts if CLAIMS.search(text)] == []
    assert any("The fix has not been applied." in text for text in texts)


@pytest.fixture(scope="module")
def postmortem_of_dry(dry: Ran, address: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The third notebook over the dry run."""
    (folder,) = (dry.folder / "runs" / "staging").iterdir()
    words = ("--inject-output-path", "-p", "environment", "staging", "-p", "run", str(folder))
    return papermill_here(tmp_path_factory.mktemp("postmortem"), address, "03_postmortem", *words)


def test_the_postmortem_of_a_dry_run_claims_no_fix(postmortem_of_dry: Ran) -> None:
    """The postmortem's headings and outputs hold for a dry run, too."""
    ran = postmortem_of_dry
    texts = [cell.source for cell in ran.contents.cells if cell.cell_type == "markdown"] + ran.outputs()

    assert ran.code == 0, ran.stderr
    assert [text for text in texts if CLAIMS.search(text)] == []
    assert any("nothing has been applied" in text for text in texts)


def test_a_confirmed_migration_succeeds(confirmed: Ran) -> None:
    """With `confirm`, from another folder, papermill exits with 0, and the record has the status `succeeded`."""
    record = confirmed.record("staging")

    assert (confirmed.code, record["status"], record["error"]) == (0, "succeeded", None)
    assert [(step["name"], step["outcome"]) for step in record["steps"]] == [
        ("build", "done"),
        ("swap", "done"),
        ("drop", "done"),
    ]
    assert [record["indexes"][moment]["state"] for moment in ("before", "after")] == ["original", "fixed"]


def test_the_first_output_says_that_it_may_change(confirmed: Ran) -> None:
    """The first output of a confirmed migration says that it may change the environment."""
    assert confirmed.outputs()[0].splitlines()[0] == "This notebook may change 'staging': confirm allows it."


def test_the_folder_of_the_caller_has_only_the_output(confirmed: Ran) -> None:
    """Papermill writes only its notebook, and the runs in the folder of INCIDENT_RUNS."""
    assert sorted(file.name for file in confirmed.folder.iterdir()) == ["out.ipynb", "runs"]


@pytest.fixture(scope="module")
def first(confirmed: Ran, address: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The first notebook after that run, with its parameters in a file, the log as a list."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "parameters.yaml").write_text(f"log: [{LOG}]\nenvironment: staging\n", "utf-8")
    words = ("--inject-input-path", "-f", "parameters.yaml")
    return papermill(folder, address, "01_investigate", *words, INCIDENT_RUNS=str(confirmed.folder / "runs"))


def is_complete(ran: Ran) -> bool:
    """Whether each code cell was executed."""
    return all(cell.execution_count for cell in ran.contents.cells if cell.cell_type == "code")


def test_the_first_notebook_runs_alone(first: Ran) -> None:
    """The first notebook also runs alone, after an earlier run."""
    assert (first.code, is_complete(first)) == (0, True)


def test_the_third_notebook_runs_alone(confirmed: Ran, address: str, tmp_path: Path) -> None:
    """The third notebook also runs alone, after an earlier run."""
    words = ("-p", "environment", "staging")
    ran = papermill_here(tmp_path, address, "03_postmortem", *words, INCIDENT_RUNS=str(confirmed.folder / "runs"))

    assert (ran.code, is_complete(ran)) == (0, True)


WRONG = {
    "an unknown parameter": (
        "02_migrate",
        ("-p", "environment", "staging", "-p", "confrim", "staging"),
        "The notebook has no parameter confrim.\n"
        "  why:  Its parameters are change, confirm, environment, record, redact, run.\n"
        "  next: Correct the name that is given with -p.",
    ),
    "a wrong type": (
        "02_migrate",
        ("-p", "environment", "staging", "-p", "confirm", "True"),
        "The parameter confirm must be a text.\n"
        "  why:  It is True, of type bool.\n"
        "  next: Correct it in the notebook's first cell, or with -p.",
    ),
    "a wrong type of redact": (
        "01_investigate",
        ("-p", "environment", "staging", "-p", "redact", "maybe"),
        "The parameter redact must be True or False.\n"
        "  why:  It is 'maybe', of type str.\n"
        "  next: Correct it in the notebook's first cell, or with -p.",
    ),
    "a flag in small letters": (
        "02_migrate",
        ("-p", "environment", "staging", "-p", "redact", "false"),
        "The parameter redact must be True or False.\n"
        "  why:  It is the text 'false': for papermill, only True and False with a capital letter are flags.\n"
        "  next: Write -p redact False, or -y 'redact: false'.",
    ),
    "not a time": (
        "01_investigate",
        ("-p", "environment", "staging", "-p", "purpose_since", "last week"),
        "purpose_since must be a time in ISO 8601.\n"
        "  why:  It is 'last week'.\n"
        "  next: Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
    ),
    "an unknown environment": (
        "02_migrate",
        ("-p", "environment", "nowhere"),
        "The environment 'nowhere' is not known.\n"
        "  why:  The variable INCIDENT_NOWHERE_URL is not set, and no pg_service.conf has a service [nowhere].\n"
        "  next: Set INCIDENT_NOWHERE_URL=postgresql://… , or add [nowhere] to ~/.pg_service.conf, or use `demo`.",
    ),
    "an invalid name": (
        "01_investigate",
        ("-p", "environment", "../x"),
        "'../x' cannot be the name of an environment.\n"
        "  why:  A name has letters, digits, `_` and `-` only, "
        "since it is part of a variable's name and of a folder's.\n"
        "  next: Use a name like `staging`; put the address in INCIDENT_STAGING_URL.",
    ),
    "an environment that is a number": (
        "01_investigate",
        ("-p", "environment", "7"),
        "The parameter environment must be a text.\n"
        "  why:  It is 7, of type int.\n"
        "  next: Correct it in the notebook's first cell, or with -p.",
    ),
}
UNKNOWN = {"an invalid name", "an environment that is a number", "an unknown environment"}
IN_A_SHELL = {"an unknown parameter"}  # the others run in this process


@pytest.fixture(scope="module", params=WRONG)
def wrong(request: pytest.FixtureRequest, address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Ran]:
    """A run of papermill with a wrong parameter, and the name of its case."""
    notebook, words, _ = WRONG[request.param]
    run = papermill if request.param in IN_A_SHELL else papermill_here
    return request.param, run(tmp_path_factory.mktemp("wrong"), address, notebook, *words)


def test_a_wrong_parameter_is_a_failure(wrong: tuple[str, Ran]) -> None:
    """With a wrong parameter papermill fails, with the project's message on standard error."""
    what, ran = wrong
    said = re.sub(r"\x1b\[[0-9;]*m", "", ran.stderr)

    assert ran.code != 0
    assert WRONG[what][2] in said


def test_a_wrong_parameter_stops_the_first_cell(wrong: tuple[str, Ran]) -> None:
    """A wrong parameter stops the cell of `il.begin`, whose output is the message, and no later cell runs."""
    what, ran = wrong
    (error,) = [cell for cell in ran.contents.cells for o in cell.get("outputs", ()) if o.output_type == "error"]
    behind = ran.contents.cells[ran.contents.cells.index(error) + 1 :]

    assert "il.begin(" in error.source
    assert WRONG[what][2] in ran.outputs()
    assert [cell.execution_count for cell in behind if cell.cell_type == "code" and cell.execution_count] == []


def test_a_wrong_parameter_is_recorded(wrong: tuple[str, Ran]) -> None:
    """A wrong parameter leaves a failed record with the message, if the environment is known."""
    what, ran = wrong
    notebook, words, said = WRONG[what]
    if what in UNKNOWN:
        assert not (ran.folder / "runs").exists()
        return
    record = ran.record(words[2])
    expected = re.fullmatch(r"(.*)\n  why:  (.*)\n  next: (.*)", said)

    assert (record["status"], record["error"]) == (
        "failed",
        dict(zip(("what", "why", "next"), expected.groups(), strict=True)),
    )
    assert [(entry["name"], entry["outcome"]) for entry in record["notebooks"]] == [(notebook, "failed")]
    assert record["finished_at"]


def test_a_list_instead_of_a_text(address: str, tmp_path: Path) -> None:
    """A parameter of a wrong type in a file is refused as on the command line."""
    (tmp_path / "parameters.yaml").write_text("environment: [staging, prod]\n")
    ran = papermill_here(tmp_path, address, "01_investigate", "-f", str(tmp_path / "parameters.yaml"))

    assert ran.code != 0
    assert any(
        output.startswith(
            "The parameter environment must be a text.\n  why:  It is ['staging', 'prod'], of type list.\n"
        )
        for output in ran.outputs()
    )


def test_an_unreachable_environment(tmp_path: Path) -> None:
    """With an environment that cannot be reached papermill fails, and the record has the message."""
    away = "postgresql://me@127.0.0.1:1/db"
    ran = papermill_here(tmp_path, away, "01_investigate", "-p", "environment", "staging")
    record = ran.record("staging")

    assert ran.code != 0
    assert (record["status"], record["error"]["what"]) == ("failed", "The environment 'staging' cannot be reached.")


@contextmanager
def hanging(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Papermill in a notebook whose database never answers; killed at the end if it still runs."""
    with tcp.silent() as port:
        address = f"postgresql://me@{tcp.HOST}:{port}/db?connect_timeout=600"
        with subprocess.Popen(
            command("01_investigate", "-p", "environment", "staging"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, **variables(folder, address)},
        ) as process:
            try:
                tcp.wait_for(lambda: noted(folder))
                yield process
            finally:
                process.kill()


def noted(folder: Path) -> bool:
    """Whether the only run in the folder has begun a notebook."""
    files = list((folder / "runs" / "staging").glob("*/record.json"))
    return bool(files and json.loads(files[0].read_text("utf-8"))["notebooks"])


@pytest.mark.parametrize("victim", ["kernel", "papermill"])
def test_a_killed_run_is_shown_as_killed(tmp_path: Path, victim: str) -> None:
    """If the kernel or papermill is killed, the record's status is `killed` after a minute, never `succeeded`."""
    with hanging(tmp_path) as process:
        kernels = [
            one for one in psutil.Process(process.pid).children(recursive=True) if "ipykernel_launcher" in one.cmdline()
        ]
        for one in kernels if victim == "kernel" else [psutil.Process(process.pid)]:
            one.send_signal(signal.SIGKILL)
        process.wait(60)
        _, alive = psutil.wait_procs(kernels, timeout=10)
    contents = Ran(tmp_path, 0, "").record("staging")
    later = datetime.fromisoformat(contents["heartbeat_at"]) + timedelta(seconds=61)

    assert alive == []
    assert contents["status"] == "running"
    assert status_of(record_of(contents), at=later) == "killed"


def test_sigterm(tmp_path: Path) -> None:
    """If papermill gets SIGTERM from a scheduler, the record's status is not `succeeded`."""
    with hanging(tmp_path) as process:
        process.terminate()
        process.wait(60)
    contents = Ran(tmp_path, 0, "").record("staging")
    later = datetime.fromisoformat(contents["heartbeat_at"]) + timedelta(seconds=61)

    assert status_of(record_of(contents), at=later) in {"killed", "failed"}


# papermill's own options


def test_help_has_the_types() -> None:
    """`--help-notebook` lists the parameters with their types, defaults and comments."""
    code, said, _ = invoke("--help-notebook", str(paths.NOTEBOOKS / "01_investigate.ipynb"))
    listed = re.findall(r"^  (\w+): (\w+) \(default ([^)]*)\)", said, re.MULTILINE)

    assert code == 0
    assert listed == [
        ("environment", "str", '"demo"'),
        ("purpose_since", "str", '""'),
        ("log", "str", '""'),
        ("redact", "bool", "True"),
        ("record", "bool", "False"),
        ("run", "str", '""'),
    ]
    assert "pseudonyms in place of ids" in said


def test_paths_may_be_injected(confirmed: Ran, postmortem_of_dry: Ran, first: Ran) -> None:
    """Papermill may inject the paths of its notebooks, both or one, which are no parameters of them."""
    names = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}

    assert [ran.code for ran in (confirmed, postmortem_of_dry, first)] == [0, 0, 0]
    assert [ran.injected() & names for ran in (confirmed, postmortem_of_dry, first)] == [
        names,
        {"PAPERMILL_OUTPUT_PATH"},
        {"PAPERMILL_INPUT_PATH"},
    ]


def test_logs_may_be_a_list(first: Ran) -> None:
    """The logs are a list of texts."""
    (given,) = [cell.source for cell in first.contents.cells if "injected-parameters" in cell.metadata.get("tags", ())]

    assert (first.code, f'log = ["{LOG}"]' in given) == (0, True)


@pytest.fixture(scope="module")
def about_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first notebook's cells up to the one that begins, and those that use the parameter `log`."""
    contents = nbformat.read(paths.NOTEBOOKS / "01_investigate.ipynb", as_version=4)
    contents.cells = [
        cell
        for place, cell in enumerate(contents.cells)
        if cell.cell_type == "code" and (place <= 3 or "(log)" in cell.source)
    ]
    assert len(contents.cells) == 5
    file = tmp_path_factory.mktemp("about") / "01_investigate.ipynb"
    nbformat.write(contents, file)
    return file


@pytest.mark.parametrize(("given", "code"), [("{0}", 0), ("[7]", 1), ("7", 1), ("[none.log]", 1)])
def test_logs_may_be_a_text(tmp_path: Path, address: str, about_logs: Path, given: str, code: int) -> None:
    """The logs are a text or a list of texts; anything else is refused."""
    (tmp_path / "parameters.yaml").write_text(f"log: {given.format(LOG)}\nenvironment: staging\n", "utf-8")
    ran = papermill_here(tmp_path, address, about_logs, "-f", str(tmp_path / "parameters.yaml"))
    said = "" if code == 0 else "There is no such log." if "none" in given else "The parameter log must be a text, or a"

    assert ran.code == code
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", ran.stderr)
