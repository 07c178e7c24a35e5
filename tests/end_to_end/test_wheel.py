"""The wheel in an empty folder, with no checkout near: the notebooks run, and outputs go to the working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from incident_lib import paths

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=paths.ROOT)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def folder(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which `incident run` was started."""
    folder = tmp_path_factory.mktemp("empty")
    environ = {key: value for key, value in os.environ.items() if key != "INCIDENT_RUNS"} | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "incident_lib", "run"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder, env=environ)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_the_run_succeeds(folder: Path) -> None:
    """The three notebooks run on the demo; the record has no commit, since there is no checkout."""
    (file,) = folder.glob("data/runs/demo/*/record.json")
    record = json.loads(file.read_text("utf-8"))

    assert (record["status"], record["git_commit"]) == ("succeeded", None)
    assert [notebook["outcome"] for notebook in record["notebooks"]] == ["done"] * 3
    assert record["rejected_inserts"]["failed_attempts"] > 0


def test_outputs_are_in_the_working_directory(folder: Path) -> None:
    """The report and the run are below the working directory, and nothing is beside them."""
    assert (folder / "data" / "runs" / "postmortem.html").is_file()
    assert [file.name for file in folder.iterdir()] == ["data"]


def test_the_wheel_gets_no_file_by_the_run(site: Path, folder: Path) -> None:
    """The run writes nothing where the package is installed, but Python's own caches."""
    packaged = site / "incident_lib" / "packaged"

    assert {file.suffix for file in packaged.rglob("*") if file.is_file()} == {
        ".ipynb",
        ".sql",
        ".csv",
        ".log",
        ".json",
    }
    assert not (packaged / "data" / "runs").exists()
