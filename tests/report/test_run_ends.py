"""The report on runs without numbers: a cell says how the run ended, and an unknown number is never 0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model import Failed
from incident_lib.report import render
from incident_lib.report.document import Figure
from incident_lib.report.style import AFTER
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    NO_AFTER,
    STATUSES,
    Contents,
    ended_run,
    in_words,
    page,
    read,
    run_folder,
    run_without_snapshot,
    squeezed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

    from incident_lib.report.document import Block

WORDS = {
    "dry-run": "dry run",
    "refused": "refused",
    "failed": "FAILED",
    "killed": "KILLED",
    "running": "running",
    "succeeded": "–",
}


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("how", STATUSES)
def test_the_report_says_how_a_run_ended(tmp_path: Path, made: Any, how: str) -> None:
    """The report says how the run ended."""
    assert STATUSES[how] in squeezed(made(ended_run(tmp_path, how)).text)


@pytest.mark.parametrize("how", STATUSES)
def test_a_run_that_did_not_finish_is_marked(tmp_path: Path, how: str) -> None:
    """A run that did not finish is marked in the page and in the Markdown."""
    folder = ended_run(tmp_path, how)
    marked = [attributes for attributes in page(folder).of("p") if attributes.get("class") == "failed"]
    quoted = [line for line in render.render_markdown(read(folder), "p").splitlines() if line.startswith("> ")]

    assert bool(marked) == (how not in ("succeeded", "dry-run"))
    assert any(STATUSES[how] in line for line in quoted) == bool(marked)


@pytest.mark.parametrize("made", FORMS)
def test_an_error_is_shown_in_full(tmp_path: Path, made: Any) -> None:
    """The report has the error that stopped a run: what, why, and what to do."""
    error = Failed("The step `drop` failed.", "PostgreSQL answered SQLSTATE 57014.", "Run it again: it_goes_on.")
    text = made(
        run_folder(tmp_path, {"status": "failed", "error": {"what": error.what, "why": error.why, "next": error.next}})
    ).text

    assert "The step `drop` failed. PostgreSQL answered SQLSTATE 57014. Run it again: it_goes_on." in squeezed(text)


# Without a snapshot after


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("how", STATUSES)
def test_a_cell_without_a_number_says_how_the_run_ended(tmp_path: Path, made: Any, how: str) -> None:
    """Without a snapshot after, each of its cells says how the run ended."""
    found = made(ended_run(tmp_path, how, **NO_AFTER)).sections

    assert {row[2] for row in found["Summary"].tables[0][1:]} == {WORDS[how]}


@pytest.mark.parametrize("how", STATUSES)
def test_a_cell_among_others_says_how_the_run_ended(tmp_path: Path, how: str) -> None:
    """In the comparison, the cells of a run without a snapshot after say how the run ended."""
    (compared,) = page(paths.EXAMPLE_RUN, ended_run(tmp_path, how, **NO_AFTER)).sections["Environments compared"].tables

    assert compared[2][3] == WORDS[how].replace("–", "not read")
    assert compared[2][5] == WORDS[how]


SETTLED = (
    r"now none is blocked|Blocked after the fix|Status\s*fixed|The fix has been applied|"
    r"\b0 after|[^t] ended \d|The incident ended|fixed in 1 of|since then"
)


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("how", STATUSES)
def test_without_an_after_the_incident_is_not_reported_as_over(tmp_path: Path, made: Any, how: str) -> None:
    """Without a snapshot after, no sentence, title or alternative text says that the incident has ended."""
    found = made(ended_run(tmp_path, how, **NO_AFTER, verdict=None))
    texts = [found.text, *(str(image["alt"]) for image in found.of("img"))]

    assert [said for text in texts for said in re.findall(SETTLED, squeezed(text))] == []


@pytest.mark.parametrize("how", STATUSES)
def test_without_an_after_an_environment_is_not_counted_as_fixed(tmp_path: Path, how: str) -> None:
    """Among fixed environments, one without a snapshot after does not count as fixed."""
    post = read(paths.EXAMPLE_RUN, ended_run(tmp_path, how, **NO_AFTER))

    assert post.title.endswith("fixed in 1 of 2")
    assert ("Status", "fixed in 1 of 2 environments") in post.facts
    assert dict(post.facts)["When (UTC)"].endswith("; not ended as of the latest snapshot")
    assert any(
        "Apply the fix where it has not been applied: staging" in cell
        for cell in _cells(post.section("action-items").blocks)
    )


def _cells(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        for row in getattr(block, "rows", ()):
            yield from map(str, row)


def _figures(*folders: Path) -> dict[str, Figure]:
    return {figure.name: figure for section in read(*folders).sections for figure in render.figures(section.blocks)}


def _drawn(figure: Figure) -> Axes:
    return figure.chart.figure().axes[0]


@pytest.mark.parametrize("how", STATUSES)
def test_without_an_after_no_end_is_drawn(tmp_path: Path, how: str) -> None:
    """Without a snapshot after, its bars, open marks and ends of lines are not drawn."""
    alone = _figures(ended_run(tmp_path, how, **NO_AFTER))
    axes = _drawn(alone["before-after"])

    assert [patch.get_width() for patch in axes.patches] == [1088, 168]
    assert [text.get_text() for text in axes.texts][1::2] == ["1,088 now", "168 now"]
    assert "0" not in [text.get_text() for text in _drawn(alone["over-time"]).texts]
    assert AFTER not in [line.get_color() for line in _drawn(alone["over-time"]).lines]


@pytest.mark.parametrize("how", STATUSES)
def test_without_an_after_no_end_is_drawn_among_others(tmp_path: Path, how: str) -> None:
    """Among others, an environment without a snapshot after has no open mark and no connecting line."""
    two = _figures(paths.EXAMPLE_RUN, ended_run(tmp_path, how, **NO_AFTER))
    axes = _drawn(two["before-after"])
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    open_marks = [line.get_ydata()[0] for line in marks if line.get_markerfacecolor() == "none"]
    full_marks = [line.get_ydata()[0] for line in marks if line.get_markerfacecolor() != "none"]
    joined = [line for line in axes.lines if line.get_marker() != "o" and line.get_ydata()[0] == line.get_ydata()[-1]]

    assert (len(full_marks), len(open_marks), len(joined)) == (4, 2, 2)
    assert open_marks == sorted(full_marks)[:2]


STEPPED: Contents = {**NO_AFTER, "steps": EXAMPLE["steps"][:2]}


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("how", ["failed", "killed", "running"])
def test_after_steps_no_text_says_that_nothing_was_applied(tmp_path: Path, made: Any, how: str) -> None:
    """After steps without a snapshot, no text says that nothing was applied."""
    one, two = ended_run(tmp_path, how, **STEPPED), paths.EXAMPLE_RUN
    texts = [
        text
        for found in (made(one), made(one, two))
        for text in (found.text, *(str(i["alt"]) for i in found.of("img")))
    ]

    assert [said for text in texts for said in re.findall(r"nothing (?:has been )?applied", text, re.IGNORECASE)] == []


def test_after_steps_no_chart_says_that_nothing_was_applied(tmp_path: Path) -> None:
    """After steps without a snapshot, no chart says that nothing was applied."""
    axes = _drawn(_figures(ended_run(tmp_path, "killed", **STEPPED), paths.EXAMPLE_RUN)["before-after"])

    assert [text.get_text() for text in axes.texts if "nothing applied" in text.get_text()] == []


@pytest.mark.parametrize("made", FORMS)
def test_a_running_run_has_no_end_in_the_timeline(tmp_path: Path, made: Any) -> None:
    """The timeline of a run that has not ended has no end of the run."""
    assert "The run ended" not in made(ended_run(tmp_path, "running")).sections["Timeline"].text


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("how", ["refused", "failed", "killed"])
def test_the_end_of_a_run_is_in_the_timeline(tmp_path: Path, made: Any, how: str) -> None:
    """A run that was refused, failed or was killed has its end, or its last heartbeat, in the timeline."""
    folder = ended_run(tmp_path, how)
    at = {"killed": "2025-01-01 00:00:00"}.get(how, in_words(EXAMPLE["finished_at"]))
    rows = made(folder).sections["Timeline"].tables[1]

    assert [at, f"The run ended: {how}.", "run record, the clock of the computer that ran it"] in rows


@pytest.mark.parametrize("made", FORMS)
def test_probes_are_shown_without_a_verification(tmp_path: Path, made: Any) -> None:
    """A probe before a failed step is in the report, even without a verification."""
    changes = {**STEPPED, "probes": ["chat: 0 of 5 admitted, 5 rejected"]}

    assert "chat: 0 of 5 admitted, 5 rejected" in made(ended_run(tmp_path, "failed", **changes)).text


# Unknown counts


@pytest.mark.parametrize("made", FORMS)
def test_an_unknown_count_is_written_as_unknown(tmp_path: Path, made: Any) -> None:
    """A count that no snapshot has is unknown in the report, not 0."""
    unread = EXAMPLE["counts"]["before"] | {"blocked": {"chat": None, "run": None}, "blocked_families": None}
    counts = {"before": unread, "after": None}
    folder = run_folder(tmp_path, {**NO_AFTER, "counts": counts, "blocked_by": None, "blocked_since": None})
    found = made(folder).sections
    rows = {row[0]: row[1:3] for row in found["Summary"].tables[0]}

    assert rows["blocked for chat"] == rows["blocked for run"] == rows["blocked families"] == ["unknown", "–"]
    assert (
        "How many families cannot start a chat is unknown: a unique index could not be read." in found["Summary"].text
    )


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_unknown_count_is_never_0(tmp_path: Path, made: Any, moment: str) -> None:
    """An unknown count, before or after, is not 0 in any chart or title."""
    unread = EXAMPLE["counts"][moment] | {"blocked": {"chat": None, "run": None}, "blocked_families": None}
    changes = {"counts": {**EXAMPLE["counts"], moment: unread}, "blocked_by": None, "blocked_since": None}
    folder = run_folder(tmp_path, changes)
    found = made(folder)
    expected = {
        "before": "Families blocked for chat: unknown before, 0 after.",
        "after": "Families blocked for chat: 1,088 before, unknown after.",
    }

    assert expected[moment] in str(found.of("img")[0]["alt"])
    assert "now none is blocked" not in found.text
    assert dict(read(folder).facts)["Status"].startswith("not fixed") == (moment == "after")


# A run that found the fix, and did not apply it.
FOUND_FIXED: Contents = {
    **{name: {"before": EXAMPLE[name]["after"], "after": None} for name in ("counts", "indexes", "snapshot_at")},
    "incident_ended_at": None,
    "steps": [],
    "blocked_by": [],
    "blocked_since": {"chat": [], "run": []},
}


@pytest.mark.parametrize("made", FORMS)
def test_a_fix_from_before_the_first_snapshot(tmp_path: Path, made: Any) -> None:
    """Where the fix was there before any run, what was before it is unknown, and never what the first run saw."""
    found = made(run_folder(tmp_path, FOUND_FIXED))

    assert "Families blocked for chat: unknown before, 0 after." in str(found.of("img")[0]["alt"])
    assert "No family is blocked for chat now; no snapshot is from before the fix" in found.text
    assert "ended before the first snapshot" in found.text
    assert {row[1] for row in found.sections["Summary"].tables[0][1:]} == {"unknown"}


@pytest.mark.parametrize("made", FORMS)
def test_a_fix_between_two_runs(tmp_path: Path, made: Any) -> None:
    """Where the fix was made between two runs, each side is from its run; when it was made is unknown."""
    earlier = {"started_at": "2025-01-01T00:00:00Z", "incident_ended_at": None, "steps": []}
    found = made(run_folder(tmp_path, NO_AFTER | earlier, "1"), run_folder(tmp_path, FOUND_FIXED, "2"))

    assert "Families blocked for chat: 1,088 before, 0 after." in str(found.of("img")[0]["alt"])
    assert "ended between two snapshots" in found.text


def test_unknown_counts_are_not_summed(tmp_path: Path) -> None:
    """The sum over environments has only those with known counts, and says how many they are."""
    unread = EXAMPLE["counts"]["before"] | {"blocked": {"chat": None, "run": None}, "blocked_families": None}
    folder = ended_run(tmp_path, "dry-run", **NO_AFTER | {"counts": {"before": unread, "after": None}})

    assert read(paths.EXAMPLE_RUN, folder).title == (
        "1,088 families in 1 environment were blocked for chat; fixed in 1 of 2"
    )


# A run without a snapshot


@pytest.mark.parametrize("made", FORMS)
def test_a_run_without_a_snapshot_is_reported(tmp_path: Path, made: Any) -> None:
    """A run that failed before its first snapshot is in the report, with its error."""
    found = made(run_without_snapshot(tmp_path))
    text = squeezed(found.text)

    assert "The run ended before its first snapshot." in text
    assert "It cannot be reached. Nothing listens. Start it." in text
    assert "Everything. The run ended before its first snapshot." in found.sections["What is hidden or unknown"].text
    assert "No run has read the unique indexes." in found.sections["Root cause"].text
    assert "What remains is unknown: no snapshot was taken." in found.sections["What remains"].text


@pytest.mark.parametrize("made", FORMS)
def test_a_run_without_a_snapshot_has_no_numbers(tmp_path: Path, made: Any) -> None:
    """A run without a snapshot has no number in the report, and no finding in a title."""
    found = made(run_without_snapshot(tmp_path)).sections
    counts = found["Summary"].tables[0]

    assert {cell for row in counts[1:] for cell in row[1:3]} == {"FAILED"}
    assert "What remains" in found
    assert found["What remains"].tables == []


def test_a_run_without_a_snapshot_has_a_title_that_says_so(tmp_path: Path) -> None:
    """The title over a run without a snapshot does not say whether anything was applied."""
    assert read(run_without_snapshot(tmp_path)).title == "No blocked families were counted in any environment"


def test_a_run_without_a_snapshot_has_no_line_over_time(tmp_path: Path) -> None:
    """A run without a snapshot has no chart over time, of blockers, or of what remains."""
    assert list(_figures(run_without_snapshot(tmp_path))) == ["before-after"]


@pytest.mark.parametrize("made", FORMS)
def test_a_run_without_a_snapshot_among_others(tmp_path: Path, made: Any) -> None:
    """Among others, a run without a snapshot has a row without numbers, and its error."""
    found = made(paths.EXAMPLE_RUN, run_without_snapshot(tmp_path))
    impact, compared = found.sections["Summary"].tables[0], found.sections["Environments compared"].tables[0]

    assert impact[2] == ["staging", *["FAILED"] * 4]
    assert compared[2][1:] == [*["FAILED"] * 5, "–", "–"]
    assert "staging: chat: unknown; FAILED; run: unknown; FAILED." in str(found.of("img")[0]["alt"])
    assert "staging: The run ended before its first snapshot. The run FAILED." in squeezed(found.text)
