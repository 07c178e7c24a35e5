"""The complete Markdown over four runs that ended differently.

`python tests/report/test_golden.py` writes tests/report/golden/fleet.md again; its diff shows what a change does.
"""

from __future__ import annotations

from pathlib import Path

from incident_lib.report import render
from incident_lib.report.postmortem import read_runs

GOLDEN = Path(__file__).parent / "golden"
ENVIRONMENTS = (
    "dev",
    "prod",
    "staging",
    "test",
)  # succeeded, dry run, failed before its first snapshot, killed
QUERIES = "<details>\n<summary>The queries behind the figures</summary>"


def made() -> str:
    """The Markdown up to the queries, which are separate files."""
    post = read_runs([GOLDEN / environment for environment in ENVIRONMENTS], GOLDEN / "notes.md")
    return render.render_markdown(post, "pictures").partition(QUERIES)[0]


def test_a_report_over_four_ends_equals_the_committed_one() -> None:
    """The Markdown over a successful run, a dry run, a failed run and a killed run equals the committed file."""
    assert made().encode() == (GOLDEN / "fleet.md").read_bytes()


if __name__ == "__main__":
    (GOLDEN / "fleet.md").write_bytes(made().encode())
