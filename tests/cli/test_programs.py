"""The commands that start other programs, add an environment, and complete names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.cli.reference import FILE, reference
from tests.support.command import shell, streams

if TYPE_CHECKING:
    from incident_lib.database import Environment


def program(folder: Path, name: str, script: str) -> dict[str, str]:
    """A program of this name that is found first; what it was given is for the test to look at."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    file.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(("words", "answer"), [([], "on"), (["--write"], "off")])
def test_psql_only_reads(incident: Environment, words: list[str], answer: str) -> None:
    """`incident psql` opens psql in the environment; its transactions only read, unless --write."""
    if not shutil.which("psql"):
        pytest.skip("psql is not installed")
    asked = ["-X", "-A", "-t", "-c", "SHOW default_transaction_read_only; SELECT count(*) FROM q_threads"]
    ran = shell("psql", "-e", "staging", *words, *asked, INCIDENT_STAGING_URL=incident.address)

    assert ran.stdout.split()[0] == answer, ran.stderr
    assert int(ran.stdout.split()[1]) > 1000


def test_no_argument_of_psql_has_the_address(tmp_path: Path) -> None:
    """What psql is started with holds neither host nor password: libpq reads them from variables."""
    found = program(tmp_path, "psql", 'echo "$@"; echo "$PGHOST $PGUSER $PGPASSWORD $PGDATABASE"')
    ran = shell(
        "psql", "-e", "prod", "-c", "SELECT 1", INCIDENT_PROD_URL="postgresql://me:s3cret@host.example/db", **found
    )

    assert ran.stdout.splitlines() == ["-c SELECT 1", "host.example me s3cret db"]


def test_a_service_with_options_only_reads_in_psql(tmp_path: Path) -> None:
    """A service's options, which libpq prefers to PGOPTIONS, are passed on with the one that makes psql read only."""
    file = tmp_path / "services"
    file.write_text("[prod]\nhost=host.example\noptions=-c work_mem=7MB\nkeepalives=1\n", "utf-8")
    found = program(tmp_path, "psql", 'echo "$PGHOST,$PGOPTIONS,$PGSERVICE"')
    ran = shell("psql", "-e", "prod", PGSERVICEFILE=str(file), **found)

    assert streams(ran) == (0, "host.example,-c work_mem=7MB -c default_transaction_read_only=on,\n", "")


def test_psql_opens_the_environment_where_pgservice_names_another(tmp_path: Path) -> None:
    """The database that psql opens is the environment's, although PGSERVICE is set."""
    file = tmp_path / "services"
    file.write_text("[other]\nhost=other.example\nuser=me\n", "utf-8")
    found = program(tmp_path, "psql", 'echo "$PGHOST,$PGUSER,$PGSERVICE"')
    address = "postgresql://host.example/db"
    ran = shell("psql", "-e", "prod", INCIDENT_PROD_URL=address, PGSERVICE="other", PGSERVICEFILE=str(file), **found)

    assert streams(ran) == (0, "host.example,me,\n", "")


def test_psql_that_is_not_installed(tmp_path: Path) -> None:
    """Without psql there is one message, with where it comes from."""
    ran = shell("psql", "-e", "prod", INCIDENT_PROD_URL="postgresql://me@host.example/db", PATH=str(tmp_path))

    assert ran.returncode == 2
    assert ran.stderr.startswith("incident: psql is not installed here.\n")


def test_lab_starts_jupyterlab_on_the_notebooks() -> None:
    """`incident lab` starts JupyterLab; further options are passed on."""
    ran = shell("lab", "--version")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout[0].isdigit()


@pytest.mark.parametrize("named", [True, False])
def test_open_opens_the_report(tmp_path: Path, named: bool) -> None:
    """`incident open` opens the report of the latest run, or the one that is named."""
    (tmp_path / "postmortem.html").touch()
    page = tmp_path / "postmortem.html"
    if named:
        page = page.rename(tmp_path / "other.html")
    found = program(tmp_path, "xdg-open", f'echo "$1" > {tmp_path}/opened')
    ran = shell("open", *([str(page)] if named else []), INCIDENT_RUNS=str(tmp_path), **found)

    assert streams(ran) == (0, "", "")
    assert (tmp_path / "opened").read_text("utf-8").strip() == str(page)


def test_open_without_a_browser(tmp_path: Path) -> None:
    """Where no browser can be started, as over ssh, the message names the file."""
    page = tmp_path / "postmortem.html"
    page.touch()
    ran = shell("open", str(page), **program(tmp_path, "xdg-open", "exit 3"))

    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("incident: No browser could be started.\n")


def test_open_waits_for_no_browser(tmp_path: Path) -> None:
    """A browser that goes on is not waited for."""
    page = tmp_path / "postmortem.html"
    page.touch()
    ran = shell("open", str(page), **program(tmp_path, "xdg-open", "exec sleep 20 >/dev/null 2>&1"))

    assert streams(ran) == (0, "", "")


def test_open_without_a_report(tmp_path: Path) -> None:
    """Where no report is, the message says how to write one."""
    ran = shell("open", INCIDENT_RUNS=str(tmp_path))

    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (
        2,
        "  next: Write one: incident run, or incident report --all",
    )


# env add


ADD = ("env", "add", "eu", "--host", "db.example", "--dbname", "chat", "--user", "reader")


def test_an_environment_is_added_as_a_service(tmp_path: Path) -> None:
    """`env add` writes a libpq service without a password, leaves others as they are, and says how to store one."""
    file = tmp_path / "services"
    file.write_text("# mine\n[old]\nhost=h", "utf-8")
    ran = shell(*ADD, "--sslmode", "verify-full", PGSERVICEFILE=str(file))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert file.read_text("utf-8") == (
        "# mine\n[old]\nhost=h\n\n[eu]\nhost=db.example\nport=5432\ndbname=chat\nuser=reader\nsslmode=verify-full\n"
    )
    assert "echo db.example:5432:chat:reader:PASSWORD >> ~/.pgpass" in ran.stdout
    assert ran.stdout.endswith("Next:\n  incident env check eu\n")


def test_a_service_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    """A service file that only its owner can read, and that a link points at, is so afterwards, too."""
    real, link = tmp_path / "real", tmp_path / "services"
    real.write_text("[old]\nhost=h\npassword=x\n", "utf-8")
    real.chmod(0o600)
    link.symlink_to(real)
    ran = shell(*ADD, PGSERVICEFILE=str(link))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (link.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o600)
    assert "[eu]" in real.read_text("utf-8")


@pytest.mark.parametrize("held", [b"\xff\xfe[old]\n", b"not a section\n", None])
def test_a_file_that_is_no_service_file_stays_as_it_is(tmp_path: Path, held: bytes | None) -> None:
    """Where the service file cannot be read as one, or is a folder, one message says so, and nothing is written."""
    file = tmp_path / "services"
    file.mkdir() if held is None else file.write_bytes(held)
    ran = shell(*ADD, PGSERVICEFILE=str(file))

    assert (ran.returncode, ran.stderr.splitlines()[0]) == (3, "incident: The environment was not added.")
    assert held is None or file.read_bytes() == held


def test_an_address_is_no_host(tmp_path: Path) -> None:
    """An address given as the host may hold a password: it is neither stored nor repeated."""
    ran = shell(*ADD, "--host", "postgresql://u:s3cret@h/d", PGSERVICEFILE=str(tmp_path / "services"))

    assert (ran.returncode, "s3cret" in ran.stdout + ran.stderr) == (2, False)
    assert not (tmp_path / "services").exists()


def test_an_added_environment_resolves(incident: Environment, tmp_path: Path) -> None:
    """An environment that was added can be connected to by its name."""
    info = psycopg.conninfo.conninfo_to_dict(incident.address)
    words = ("--host", str(info["host"]), "--port", str(info.get("port", 5432)), "--dbname", str(info["dbname"]))
    at = {"PGSERVICEFILE": str(tmp_path / "services")}
    added = shell("env", "add", "new", *words, "--user", "postgres", **at)

    assert added.returncode == 0, added.stderr
    assert shell("env", "check", "new", **at).returncode == 0


@pytest.mark.parametrize(
    ("name", "what"),
    [("demo", "The environment 'demo' is there already."), ("../x", "'../x' cannot be the name of an environment.")],
)
def test_a_name_that_cannot_be_added(tmp_path: Path, name: str, what: str) -> None:
    """A name that resolves already, or can be none, is bad usage; nothing is written."""
    ran = shell(*ADD[:2], name, *ADD[3:], PGSERVICEFILE=str(tmp_path / "services"))

    assert (ran.returncode, ran.stderr.splitlines()[0]) == (2, f"incident: {what}")
    assert not (tmp_path / "services").exists()


def test_a_value_with_a_line_break_is_not_added(tmp_path: Path) -> None:
    """A value with a line break could hold another option: it is bad usage."""
    ran = shell(*ADD, "--sslmode", "a\npassword=x", PGSERVICEFILE=str(tmp_path / "services"))

    assert ran.returncode == 2
    assert not (tmp_path / "services").exists()


# Names


def test_a_shell_completes_environments() -> None:
    """The completion of --env has the names that resolve here and begin so."""
    ran = subprocess.run(
        [Path(sys.executable).parent / "incident"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "_INCIDENT_COMPLETE": "bash_complete",
            "COMP_WORDS": "incident plan --env st",
            "COMP_CWORD": "3",
            "INCIDENT_STAGING_URL": "postgresql://h/d",
            "INCIDENT_STAGE2_URL": "postgresql://h/d",
        },
    )

    assert ran.stdout.split() == ["plain,stage2", "plain,staging"]


def test_a_mistyped_environment_is_suggested() -> None:
    """A name that is nearly one that resolves is suggested."""
    ran = shell("plan", "-e", "stagign", INCIDENT_STAGING_URL="postgresql://h/d")

    assert ran.stderr.startswith("incident: The environment 'stagign' is not known. Did you mean 'staging'?\n")


def test_the_reference_is_generated() -> None:
    """docs/cli.md is what `make reference` makes of the help."""
    assert FILE.read_text("utf-8") == reference()
