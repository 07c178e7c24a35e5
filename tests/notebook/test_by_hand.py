"""Notebooks that somebody runs by hand: a report uses them only if they were asked to record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from incident_lib.notebook.begin import begin
from incident_lib.records import RunFolder, all_runs
from incident_lib.report import choose_runs, read_runs, write_report
from tests.support.reports import UNWRITTEN, empty_pictures

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

SAYS = "Not recorded: reports leave this session out. Set record to True to record it.\n"


@pytest.fixture
def runs(staging: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with one run of staging that looked."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    run = RunFolder.create("staging", "incident run")
    first = begin("01_investigate", environment="staging", run=str(run.folder))
    first.snapshot()
    first.finish()
    run.finish(first.run.read().status.SUCCEEDED)
    return tmp_path / "runs"


def report(folder: Path) -> str:
    """The Markdown report over all environments."""
    with empty_pictures():
        write_report(read_runs(choose_runs([], [], everything=True), UNWRITTEN), folder / "post.html")
    return (folder / "post.md").read_text("utf-8")


def test_a_session_by_hand_changes_no_report(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking and applying the fix by hand leaves a folder of its own; the report says what it said before."""
    before = report(tmp_path / "1")
    capsys.readouterr()
    by_hand = begin("02_migrate", environment="staging", confirm="staging")
    said = capsys.readouterr().out
    by_hand.snapshot()
    by_hand.apply()
    by_hand.snapshot("after")
    by_hand.finish()

    assert said.endswith(SAYS)
    assert by_hand.run.read().incident_ended_at is not None
    assert len(all_runs("staging")) == 2
    assert report(tmp_path / "2") == before


def test_a_session_by_hand_that_is_recorded_feeds_the_report(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `record` a session by hand is a run like any other, and says nothing of it."""
    capsys.readouterr()
    by_hand = begin("02_migrate", environment="staging", confirm="staging", record=True)
    said = capsys.readouterr().out
    by_hand.snapshot()
    by_hand.apply()
    by_hand.snapshot("after")
    by_hand.finish()
    (chapter,) = read_runs(choose_runs([], [], everything=True), UNWRITTEN).chapters

    assert SAYS not in said
    assert chapter.record.incident_ended_at == by_hand.run.read().incident_ended_at


def test_an_unrecorded_session_is_reported_where_it_is_named(runs: Path) -> None:
    """A report over the folder of an unrecorded session shows it: it was asked for."""
    by_hand = begin("01_investigate", environment="staging")
    by_hand.snapshot()
    by_hand.finish()
    (chapter,) = read_runs(choose_runs([by_hand.run.folder], []), UNWRITTEN).chapters

    assert chapter.folder == by_hand.run.folder.name


def test_only_unrecorded_sessions_are_no_run(
    staging: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an environment has nothing but unrecorded sessions, a report has no run of it, and names the command."""
    from incident_lib.model import UsageError

    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    begin("01_investigate", environment="staging").finish()

    with pytest.raises(UsageError) as raised:
        choose_runs([], ["staging"])
    assert raised.value.what == "There is no run of the environment 'staging'."
