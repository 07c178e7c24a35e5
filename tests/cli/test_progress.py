"""Progress where standard error is no terminal: a line for each phase, and one every 30 s."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from incident_lib import progress
from tests.support.command import shell
from tests.support.sessions import holding_up, wait_until_waiting

if TYPE_CHECKING:
    from incident_lib.database import Environment


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time now."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until a test moves it."""
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def lines(clock: Clock) -> progress._Lines:
    """Lines of work that has taken two seconds already."""
    made = progress._Lines()
    clock.now += progress.QUIET_SECONDS
    return made


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard error since the last time."""
    return capsys.readouterr().err.splitlines()


def test_a_phase_is_one_line(lines: progress._Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """A phase is printed when it begins, with its share, and not again for each percent."""
    for percent in range(42, 60):
        lines.show("build", percent / 100, "building index: scanning table")
    lines.show("build", None, "waiting for old snapshots")
    lines.show("build", 1.0, "done")
    assert printed(capsys) == [
        "build: building index: scanning table, 42 %",
        "build: waiting for old snapshots",
        "build: done",
    ]


def test_a_session_that_blocks(lines: progress._Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """Who blocks a step is a line of its own: not each second that it is open, but each other session."""
    for pid, seconds in ((123, 12), (123, 13), (124, 1)):
        lines.show("drop", None, f"waiting; waits for pid {pid} (psql, idle in transaction, open {seconds} s)")
    assert printed(capsys) == [
        "drop: waiting; waits for pid 123 (psql, idle in transaction, open 12 s)",
        "drop: waiting; waits for pid 124 (psql, idle in transaction, open 1 s)",
    ]


def test_a_line_every_thirty_seconds(lines: progress._Lines, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """While nothing changes there is a line every 30 s, with the numbers of then, and not more."""
    for second in range(70):
        lines.show("build", second / 100, "scanning")
        lines.tick()
        clock.now += 1
    assert printed(capsys) == ["build: scanning, 0 %", "build: scanning, 30 %", "build: scanning, 60 %"]


def test_two_phases_by_turns(lines: progress._Lines, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Two phases that change several times a second are few lines."""
    for turn in range(400):
        lines.show("swap", None, ("waiting", "working")[turn % 2])
        lines.tick()
        clock.now += 0.1
    assert len(printed(capsys)) <= 4


def test_work_of_several_names(lines: progress._Lines, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several names each has its lines; the line of every 30 s is one for all of them."""
    for _ in range(2):
        for name in ("one", "two", "three"):
            lines.show(name, None, "reading")
        lines.tick()
        clock.now += progress.LINE_SECONDS
    assert printed(capsys) == ["one: reading", "two: reading", "three: reading", "three: reading"]


def test_what_is_quick_has_no_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the first two seconds nothing is printed; then what goes on is."""
    lines = progress._Lines()
    lines.show("build", None, "begins")
    lines.tick()
    assert printed(capsys) == []
    clock.now += progress.QUIET_SECONDS
    lines.tick()
    assert printed(capsys) == ["build: begins"]


def test_a_note_cannot_control_what_shows_it(lines: progress._Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are not printed."""
    lines.show("build", None, "waits for \x1b[2J\nall")
    assert printed(capsys) == ["build: waits for ?[2J?all"]


def test_standard_error_that_is_closed(lines: progress._Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress that cannot be printed ends nothing."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    lines.show("build", None, "begins")


@pytest.mark.parametrize("place", ["", "off"])
def test_apply_says_what_it_waits_for(staging: Environment, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """An apply that waits says so on standard error where that is no terminal; not where progress is turned off."""
    monkeypatch.setenv("INCIDENT_PROGRESS", place)
    command = [sys.executable, "-m", "incident_lib", "apply", "--env", "staging", "--confirm", "staging"]
    with holding_up(staging, "drop"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until_waiting(staging)
        time.sleep(progress.QUIET_SECONDS + 1)
    out, err = process.communicate(timeout=30)
    waits = [line for line in err.splitlines() if line.startswith("drop: ") and "holds up drop" in line]
    assert (process.returncode, len(waits)) == (0, 0 if place else 1)
    assert "drop\t" in out


def test_quick_commands_say_nothing(staging: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes less than two seconds says nothing on standard error."""
    monkeypatch.setenv("INCIDENT_PROGRESS", "")
    assert shell("apply", "--env", "staging", "--confirm", "staging").stderr == ""
