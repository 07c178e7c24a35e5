"""Standard input, output and error as a shell may leave them: closed, full, in any encoding, or without a reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import shell


def redirected(line: str) -> tuple[int, str]:
    """The exit code of a line of bash, in which `incident` is the command, and what it printed."""
    incident = f'incident() {{ {sys.executable} -m incident_lib "$@"; }}; set -o pipefail; '
    ran = subprocess.run(
        ["bash", "-c", incident + line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return ran.returncode, ran.stdout


CLOSED = (">&-", "2>&-", "<&- >&- 2>&-")
ANSWERS = {
    "plan -e demo": 0,
    "investigate -e demo --limit 0 --format json": 0,
    "investigate -e demo --format csv": 0,
    "plan -e nosuch": 2,
}
# Each command and each stream once in `make test`; the other pairs with all tests.
QUICK = {*zip(ANSWERS, (*CLOSED, CLOSED[1]), strict=True)}


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        pytest.param(words, closed, code, marks=[] if (words, closed) in QUICK else pytest.mark.slow)
        for words, code in ANSWERS.items()
        for closed in CLOSED
    ],
)
def test_a_closed_stream_changes_no_exit_code(words: str, closed: str, code: int) -> None:
    """Where a stream is closed, what would be printed there is dropped, and the exit code is the answer's."""
    assert redirected(f"out=$(incident {words} {closed})")[0] == code


def test_a_pipe_without_a_reader_does_not_hide_the_answer() -> None:
    """An answer that is no has its exit code also where its text is not read."""
    assert redirected("incident verify -e demo --no-pager 2>/dev/null | exec 0<&-")[0] == 1


def test_a_pipe_without_a_reader_is_no_error() -> None:
    """Where the first lines were enough, the exit code is 0, and nothing is on standard error."""
    assert redirected("incident investigate -e demo --limit 0 --format csv -q | head -0") == (0, "")
    assert redirected("incident investigate -e demo --limit 0 --format json | head -1") == (0, "{\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_message() -> None:
    """Where the answer cannot be written, one message says why."""
    assert redirected("incident plan -e demo > /dev/full") == (
        3,
        "incident: The command has ended early.\n"
        "  why:  Reading or writing: No space left on device.\n"
        "  next: Make room or access there; then again.\n",
    )


def test_an_encoding_without_our_signs() -> None:
    """What an encoding lacks is a question mark for people; JSON is UTF-8 all the same."""
    table = shell("plan", "-e", "demo", "--all", PYTHONIOENCODING="latin-1")
    answer = shell("plan", "-e", "demo", "--format", "json", PYTHONIOENCODING="latin-1")

    assert (table.returncode, table.stderr) == (0, "")
    assert json.loads(answer.stdout)["exit_code"] == 0


def test_a_wrong_option_names_the_help_of_its_command() -> None:
    """As JSON the next step after a wrong option is the help of that very command."""
    ran = shell("env", "check", "demo", "--format", "json", "--nosuch")

    assert json.loads(ran.stderr)["error"]["next"] == "See incident env check --help."
