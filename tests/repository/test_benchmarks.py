"""The benchmarks with small sizes: they run and write their results. These tests do not test speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from incident_lib import paths
from tests.support.examples import SOAK
from tests.support.notebooks import insert, instead, write_short

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
BENCHMARKS = paths.ROOT / "benchmarks"
OPTIONS = {
    "investigate": ["--threads", "4000"],
    "counts": ["--threads", "4000", "--sizes", "1000", "4000"],
    "listing": ["--threads", "4000", "--fewer", "1000"],
    "checksum": ["--threads", "4000"],
    "scan": ["--tables", "20"],
    "build": ["--threads", "4000"],
    "startup": [],
    "run": ["--kernels", "1"],
    "report": ["--environments", "1"],
    "install": ["--dry"],
}
ROWS = {
    "investigate": 4,
    "counts": 6,
    "listing": 2,
    "checksum": 2,
    "scan": 2,
    "build": 1,
    "startup": 4,
    "run": 3,
    "report": 2,
    "install": 1,
}


# They execute notebooks; `make soak` lets them execute the project's own, other tests do that anyway.
OF_NOTEBOOKS = {"run", "fleet"}


def start(name: str, out: Path, *words: str) -> str:
    """Run a benchmark on the server of this test process, with short notebooks; returns its output."""
    environ = os.environ | {"INCIDENT_BENCH_DIR": os.environ["INCIDENT_DEMO_DIR"]}
    if name in OF_NOTEBOOKS and not SOAK:
        short = write_short(out / "notebooks")
        insert(short, "02_migrate", "incident.snapshot()\nincident.apply()\nincident.snapshot('after')")
        environ |= instead(out, short)
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--out", str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environ).stdout


def measure(name: str, out: Path, *words: str) -> str:
    """Run one round of a benchmark; returns its output."""
    return start(name, out, "--rounds", "1", *words)


def rows(text: str) -> list[str]:
    """The rows of all tables with their verdicts."""
    return [line for line in text.splitlines() if re.search(r"\| (PASS|FALLS SHORT) \|$", line)]


def titles(out: Path) -> list[str]:
    """The sections of results.md, in order."""
    return re.findall(r"^## (.*)$", (out / "results.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_benchmark_runs(tmp_path: Path, name: str) -> None:
    """A benchmark succeeds, and each row has a verdict in the output and in its section of results.md."""
    printed = measure(name, tmp_path, *OPTIONS[name])

    assert titles(tmp_path) == [name]
    assert rows((tmp_path / "results.md").read_text("utf-8")) == rows(printed)
    assert len(rows(printed)) == ROWS[name]


def test_a_section_names_machine_and_versions(tmp_path: Path) -> None:
    """A section begins with its command, the date, the machine and the versions."""
    measure("checksum", tmp_path, *OPTIONS["checksum"])
    first_line = (tmp_path / "results.md").read_text("utf-8").partition("## checksum\n\n")[2].splitlines()[0]

    assert re.fullmatch(
        r"`python benchmarks/checksum\.py`, \d{4}-\d\d-\d\d; \w+, \d+ cores, Linux [\d.]+, Python [\d.]+, "
        r"PostgreSQL [\d.]+\.",
        first_line,
    )


def test_a_benchmark_replaces_only_its_own_section(tmp_path: Path) -> None:
    """A benchmark replaces only its own section of results.md, and the order of sections is unchanged."""
    (tmp_path / "results.md").write_text(
        "# Benchmarks\n\n## run\n\nkept\n\n## checksum\n\nold\n\n## counts\n\nkept too\n"
    )
    measure("checksum", tmp_path, *OPTIONS["checksum"])
    written = (tmp_path / "results.md").read_text("utf-8")

    assert titles(tmp_path) == ["counts", "checksum", "run"]
    assert [text in written for text in ("\n\nkept\n", "\n\nkept too\n", "old")] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "words"),
    [("swap", ["--rounds", "1", "--threads", "4000", "--seconds", "0.5", "2"]), ("fleet", ["--environments", "1"])],
)
def test_a_benchmark_with_a_file_of_its_own_runs(tmp_path: Path, name: str, words: list[str]) -> None:
    """The benchmarks of the swap and of fleets write their own files."""
    start(name, tmp_path, *words)

    assert re.search(r"^- (PASS|FALLS SHORT): ", (tmp_path / f"{name}.md").read_text("utf-8"), re.MULTILINE)


def test_make_bench_runs_every_benchmark() -> None:
    """`make bench` runs every benchmark."""
    makefile = (paths.ROOT / "Makefile").read_text("utf-8")
    helpers = {"harness", "data"}

    assert {file.stem for file in BENCHMARKS.glob("*.py")} - helpers == set(
        re.findall(r"benchmarks/(\w+)\.py", makefile.partition("\nbench:")[2])
    )
