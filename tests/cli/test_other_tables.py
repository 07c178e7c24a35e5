"""The walk-through of docs/other-tables.md, as it stands on the page: its SQL, its file, its commands, their output."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pytest

from incident_lib import paths
from incident_lib.database import named_change
from incident_lib.report import read_change_report
from tests.support import clusters, shop
from tests.support.command import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Environment

PAGE = (paths.ROOT / "docs" / "other-tables.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(sql|toml|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"(?P<words>.*?)(?: > (?P<file>\S+))?(?:  # exit code (?P<code>\d))?")


class Block(NamedTuple):
    """A block of code on the page: its language, its text."""

    language: str
    text: str


class Command(NamedTuple):
    """A command of the page: what is typed, the file that gets its output, its exit code, lines of its output."""

    words: list[str]
    file: str | None
    code: int
    lines: list[str]


BLOCKS = [Block(*found) for found in _BLOCK.findall(PAGE)]


def commands(text: str) -> Iterator[Command]:
    """The commands of a block, each with the lines below it."""
    for part in re.split(r"^\$ incident ", text, flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        found = _COMMAND.fullmatch(first)
        assert found
        yield Command(shlex.split(found["words"]), found["file"], int(found["code"] or 0), lines)


def squeezed(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())


@pytest.fixture
def address(server: str) -> Iterator[str]:
    """A database without the incident's table."""
    with clusters.database(server, "template1") as address:
        yield address


def run_sql(address: str, text: str) -> None:
    """Run a block of SQL; where a comment in it says so, it fails with that SQLSTATE."""
    expected = re.search(r"-- ERROR (\w{5})", text)
    with psycopg.connect(address, autocommit=True) as connection:
        if not expected:
            for statement in text.split(";\n"):  # each in a transaction of its own
                connection.execute(statement.encode())
            return
        with pytest.raises(psycopg.Error) as error:
            connection.execute(text.encode())
    assert error.value.sqlstate == expected[1]


def run_command(command: Command, **variables: str) -> None:
    """Run a command of the page: its exit code and the lines of its output are those of the page."""
    ran = shell(*command.words, **variables)
    if command.file:
        Path(command.file).write_text(ran.stdout, "utf-8")
    printed = squeezed(ran.stdout + ran.stderr)
    assert ran.returncode == command.code, printed
    assert [line for line in command.lines if squeezed(line) not in printed] == [], printed


def test_the_walk_through(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything on the page, in its order, on a real server, does what the page says."""
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        if block.language == "sql":
            run_sql(address, block.text)
        elif block.language == "toml":
            assert (tmp_path / "tenant.toml").read_text("utf-8") == block.text
        else:
            for command in commands(block.text):
                run_command(command, INCIDENT_SHOP_URL=address, INCIDENT_RUNS=str(tmp_path / "runs"))
    report = (tmp_path / "change.md").read_text("utf-8")
    assert re.findall(r"^## (.*)$", report, re.MULTILINE) == [
        *("What changes", "Before", "Steps", "After", "What is not in this report"),
    ]


def test_the_page_has_each_command() -> None:
    """The page goes the whole way: scan, plan, rehearse, apply, verify, report, and the way back."""
    found = [command.words[0] for block in BLOCKS if block.language == "console" for command in commands(block.text)]
    assert found == ["scan", "scan", "plan", "rehearse", "apply", "verify", "report", "rollback", "plan"]


def test_an_apply_that_failed_and_was_run_again_is_one_change(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that does not get its lock in time is in the record with the error; the next `apply` ends the change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tenant.toml").write_text(shop.FILE, "utf-8")
    places = {"INCIDENT_SHOP_URL": address, "INCIDENT_RUNS": str(tmp_path / "runs")}
    words = ("apply", "--env", "shop", "--confirm", "shop", "--change", "tenant.toml")
    with psycopg.connect(address) as blocker:
        shop.create(blocker, replace(shop.CHANGE, predicate=None))
        blocker.commit()
        blocker.execute("UPDATE shop.products SET locale = 'de' WHERE id = 1")  # the build waits for its end
        failed = shell(*words, "--budget", "1", **places)
    again = shell(*words, **places)
    assert (failed.returncode, again.returncode) == (3, 0)
    monkeypatch.setenv("INCIDENT_RUNS", places["INCIDENT_RUNS"])
    first, last = read_change_report("shop", named_change("tenant.toml")).attempts
    assert (first.status, last.status) == ("failed", "succeeded")
    assert first.error
    assert first.error.what in failed.stderr
    assert [index.kind for index in first.before.definitions] == ["original"]


def test_the_changes_of_the_incident_leave_no_such_record(
    incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fix is recorded by runs: `incident apply` alone leaves no record, as before."""
    places = {"INCIDENT_STAGING_URL": incident.address, "INCIDENT_RUNS": str(tmp_path / "runs")}
    assert shell("apply", "--env", "staging", "--confirm", "staging", **places).returncode == 0
    assert list((tmp_path / "runs").rglob("*.json")) == []
