"""A notebook whose first cell fails: no earlier Incident is used by the cells below, and no earlier record changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import clusters, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.kernel import Kernel

pytestmark = pytest.mark.slow
BEGIN = """incident = il.begin("02_migrate", environment=environment, confirm=environment, redact=redact)
before = incident.snapshot()"""
STOPPED = "No environment is connected.\n  why:  The last attempt failed: "


@pytest.fixture
def runs(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of runs of a kernel that knows two environments, with the demo's threads."""
    with (
        clusters.database(server, "incident_template") as staging,
        clusters.database(server, "incident_template") as dev,
    ):
        monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
        monkeypatch.setenv("INCIDENT_STAGING_URL", staging)
        monkeypatch.setenv("INCIDENT_DEV_URL", dev)
        yield tmp_path / "runs"


@pytest.fixture
def cells(runs: Path) -> Iterator[Kernel]:
    """The kernel, with a first run that has succeeded."""
    with kernel.started() as running:
        for code in (
            "import incident_lib as il",
            'environment, redact = "staging", True',
            BEGIN,
            "alias = incident",
            "incident.finish()",
        ):
            assert running.run(code).error == ""
        yield running


def records(runs: Path) -> dict[str, bytes]:
    """Every record of staging."""
    return {str(file): file.read_bytes() for file in runs.glob("staging/*/record.json")}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ('environment = "stagin"', "The environment 'stagin' is not known."),
        ("environment = 7", "The parameter environment must be a text."),
        ('redact = "false"', "The parameter redact must be True or False."),
    ],
)
def test_the_cells_below_stop(cells: Kernel, runs: Path, wrong: str, why: str) -> None:
    """After a wrong parameter each cell below stops with one message, and the record that succeeded is as it was."""
    earlier = records(runs)
    assert why in cells.run(wrong + "\n" + BEGIN).error

    for code in ("incident.apply()", "incident.retry()", "before.indexes", "before.blocked", "alias.families()"):
        assert STOPPED + why in cells.run(code).error
    assert {name: content for name, content in records(runs).items() if name in earlier} == earlier


def test_a_later_begin_connects_again(cells: Kernel) -> None:
    """Once the parameter is corrected, the cells below work again."""
    cells.run('environment = "stagin"\n' + BEGIN)
    again = cells.run('environment = "staging"\n' + BEGIN)

    assert again.error == ""
    assert cells.run("before.indexes").error == ""


def test_an_error_behind_the_end_changes_no_record(cells: Kernel, runs: Path) -> None:
    """A cell that fails after `finish` changes nothing in the record of the run."""
    earlier = records(runs)
    assert "ZeroDivisionError" in cells.run("1 / 0").error

    assert records(runs) == earlier


def test_another_connection_stays_usable(cells: Kernel) -> None:
    """A `connect` that fails ends only what its variable held: other environments stay connected."""
    assert cells.run('dev = il.connect("dev")\nstaging = il.connect("staging")').error == ""
    assert "is not known" in cells.run('staging = il.connect("stagin")').error

    assert cells.run("dev.snapshot()").error == ""
    assert STOPPED in cells.run("staging.snapshot()").error


def test_a_run_that_has_ended_is_not_continued(cells: Kernel, runs: Path) -> None:
    """A notebook cannot write into the record of a run that has ended, or that is of another environment."""
    (run,) = runs.glob("staging/*")
    earlier = records(runs)
    ended = cells.run(f'late = il.begin("01_investigate", environment="staging", run={str(run)!r})')
    other = cells.run(f'late = il.begin("01_investigate", environment="dev", run={str(run)!r})')

    assert "cannot be continued.\n  why:  It has ended: succeeded." in ended.error
    assert "It is of the environment 'staging', not of 'dev'." in other.error
    assert records(runs) == earlier
