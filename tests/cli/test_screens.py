"""What is on a screen of 80 and of 120 columns, and in a pipe, command by command.

`python -m tests.cli.test_screens` writes tests/cli/screens again; its diff shows what a change does.
"""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import pytest

from incident_lib import paths
from tests.support.command import shell
from tests.support.terminal import on_terminal

SCREENS = Path(__file__).parent / "screens"
COMMANDS = {
    "investigate": "investigate --env demo --limit 3",
    "plan": "plan --env demo",
    "plan_all": "plan --env demo --all",
    "rollback": "plan --env demo --rollback",
    "verify": "verify --env demo",
    "explain": "explain --env demo 0d69b830 1da78055",
    "swapped": "explain --env demo 1da78055 0d69b830",
    "scan": "scan --env demo --index idx_q_threads_family_unique",
    "env_list": "env list",
    "env_check": "env check demo",
    "runs": "runs",
    "compare": "runs compare demo/20250101T120000Z demo/20250101T120000Z",
    "unknown": "plan --env dmeo",
}
WIDTHS = ("80", "120", "pipe")
QUIET = {"INCIDENT_PROGRESS": "off", "NO_COLOR": "1", "INCIDENT_RUNS": "runs"}


def screen(name: str, width: str) -> str:
    """What a command prints, its exit code last; times, versions and sizes are replaced, in as many columns."""
    words = COMMANDS[name].split()
    with TemporaryDirectory() as folder, chdir(folder):
        copytree(paths.EXAMPLE_RUN, "runs/demo/20250101T120000Z")
        if width == "pipe":
            ran = shell(*words, **QUIET)
            code, text = ran.returncode, ran.stdout + ran.stderr
        else:
            code, text = on_terminal(*words, columns=int(width), **QUIET)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "2025-01-01 00:00", text)
    text = re.sub(r"PostgreSQL 1\d\.\d+", "PostgreSQL 18.0", text)
    return f"{text}exit code {code}\n"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_screen_equals_the_committed_one(name: str, width: str) -> None:
    """What a command prints equals the committed file."""
    assert screen(name, width) == (SCREENS / f"{name}.{width}.txt").read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_screen_of_80_columns_is_not_exceeded(name: str) -> None:
    """No line is longer than 80 columns."""
    lines = (SCREENS / f"{name}.80.txt").read_text("utf-8").splitlines()

    assert [line for line in lines if len(line) > 80] == []


def test_ids_are_whole_or_short() -> None:
    """On every screen an id is whole, or is its first eight digits: none is broken over two lines."""
    for file in SCREENS.iterdir():
        for digits in re.findall(r"\b[0-9a-f]+(?:-[0-9a-f]+)+\b|\b[0-9a-f]+-$", file.read_text("utf-8"), re.MULTILINE):
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d", digits), file.name


if __name__ == "__main__":
    SCREENS.mkdir(exist_ok=True)
    for each in COMMANDS:
        for of in WIDTHS:
            (SCREENS / f"{each}.{of}.txt").write_text(screen(each, of), "utf-8")
