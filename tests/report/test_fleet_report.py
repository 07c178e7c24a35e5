"""A report over many environments, and over two runs of one environment: complete, readable, and small enough."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model import Table
from incident_lib.report import render
from incident_lib.report.document import Bullets, Part
from tests.support.reports import (
    CONFLICTS,
    EXAMPLE,
    FORMS,
    NO_AFTER,
    NOTHING_SEEN,
    OWNERLESS,
    STATUSES,
    STILL,
    Page,
    end,
    ended_run,
    in_words,
    read,
    rendered,
    run_folder,
    squeezed,
    undrawn,
    wiki,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from incident_lib.report.document import Block
    from incident_lib.report.postmortem import Postmortem

NAMES = [f"env-{number:02d}" for number in range(50)]


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Page, Postmortem]:
    """The page without pictures, the Markdown and the report of fifty runs with all kinds of ends."""
    folder = tmp_path_factory.mktemp("fifty")
    ends = [end("succeeded"), *({**end(how), **NO_AFTER} for how in STATUSES), {**end("failed"), **NOTHING_SEEN}]
    folders = [run_folder(folder, {**ends[n % len(ends)], "environment": name}, name) for n, name in enumerate(NAMES)]
    post = read(*folders)
    return undrawn(post), wiki(render.render_markdown(post, "pictures")), post


@pytest.mark.slow
def test_a_report_over_fifty_is_small_enough(fifty: tuple[Page, Page, Postmortem]) -> None:
    """The page of fifty environments with its pictures has less than 5 MB."""
    assert len(render.render_html(fifty[2]).encode()) < 5_000_000


@pytest.mark.parametrize("form", [0, 1], ids=["page", "rendered"])
def test_every_environment_is_named(fifty: tuple[Page, Page, Postmortem], form: int) -> None:
    """Each of fifty environments is in the comparison and in the resolution, with its outcome."""
    sections = fifty[form].sections  # type: ignore[union-attr]
    tables = {title: sections[title].tables[0] for title in ("Summary", "Environments compared")}
    runs, made = sections["Appendix: runs and queries"].tables

    for table in (*tables.values(), runs, made):
        assert [row[0] for row in table[1:]] == NAMES
    assert [name for name in NAMES if name not in sections["Resolution and verification"].text] == []


@pytest.mark.parametrize("form", [0, 1], ids=["page", "rendered"])
def test_runs_that_did_not_end_well_are_in_the_summary(fifty: tuple[Page, Page, Postmortem], form: int) -> None:
    """The summary of fifty environments lists each run that did not succeed."""
    sections = fifty[form].sections  # type: ignore[union-attr]
    outcomes = {row[0]: row[1] for row in sections["Environments compared"].tables[0][1:]}
    named = set(re.findall(r"(env-\d\d): ", sections["Summary"].text))

    assert set(outcomes.values()) == {"succeeded", "dry run", "refused", "FAILED", "KILLED", "running"}
    assert named == {name for name, outcome in outcomes.items() if outcome not in ("succeeded", "dry run")}


@pytest.mark.parametrize("form", [0, 1], ids=["page", "rendered"])
def test_a_report_over_fifty_is_well_formed(fifty: tuple[Page, Page, Postmortem], form: int) -> None:
    """All elements of the report over fifty environments are closed, including disclosures."""
    found = fifty[form]

    assert found.open == []  # type: ignore[union-attr]
    assert len(found.of("details")) == len(found.of("summary"))  # type: ignore[union-attr]


def test_long_parts_of_a_report_over_fifty_are_folded(fifty: tuple[Page, Page, Postmortem]) -> None:
    """In a report over fifty environments the counts and steps of each one are in a disclosure."""
    page_, _, _ = fifty

    assert len(page_.of("details")) > 2 * len(NAMES)


def test_what_each_of_fifty_environments_adds_is_folded(fifty: tuple[Page, Page, Postmortem]) -> None:
    """Outside of disclosures, only the comparison has a row for each of fifty environments."""
    shown = {section.title: _unfolded(section.blocks) for section in fifty[2].sections}

    assert [title for title, blocks in shown.items() if len(blocks) > 8] == []
    assert [b for blocks in shown.values() for b in blocks if isinstance(b, Bullets) and len(b.items) > 8] == []
    lengths = {title: [len(b.rows) for b in blocks if isinstance(b, Table)] for title, blocks in shown.items()}
    assert [title for title, rows in lengths.items() if max(rows, default=0) >= len(NAMES)] == ["Environments compared"]


def _unfolded(blocks: Iterable[Block]) -> list[Block]:
    """The blocks that a reader sees without opening anything."""
    shown = [block for block in blocks if not (isinstance(block, Part) and block.folded)]
    return [b for block in shown for b in (_unfolded(block.blocks) if isinstance(block, Part) else [block])]


# Marked events


def _times(*folders: Path) -> list[str]:
    figures = {figure.name: figure for s in read(*folders).sections for figure in render.figures(s.blocks)}
    texts = figures["over-time"].chart.figure().axes[0].texts
    return [text.get_text() for text in texts]


def test_only_ends_of_drawn_lines_are_marked(tmp_path: Path) -> None:
    """The end of an environment that is not drawn over time is not marked."""
    small = [["2025-09-22T06:00:00Z", 3]]
    ended_, open_ = {"blocked_since": {"chat": small, "run": []}}, NO_AFTER
    folders = [run_folder(tmp_path, {"environment": "small", **ended_}, "small")]
    folders += [run_folder(tmp_path, {"environment": name, **open_}, name) for name in "abcd"]
    texts = _times(*folders)

    assert [text for text in texts if text.startswith("small")] == []
    assert "fixed" not in texts


# Two runs of one environment


@pytest.fixture
def twice(tmp_path: Path) -> list[Path]:
    """A dry run of an environment, then a run that applied the fix."""
    dry = ended_run(tmp_path / "dry", "dry-run", "prod", **NO_AFTER)
    return [dry, ended_run(tmp_path / "applied", "succeeded", "prod")]


@pytest.mark.parametrize("made", FORMS)
def test_two_runs_of_one_environment_are_one_incident(twice: list[Path], made: Any) -> None:
    """A dry run and the run that applied the fix are one incident, and two rows of the list of runs."""
    sections = made(*twice).sections

    assert [row[4] for row in sections["Appendix: runs and queries"].tables[0][1:]] == ["dry run", "succeeded"]
    assert "Looked: 1,088 families blocked for chat." in sections["Timeline"].text


def test_two_runs_of_one_environment_are_not_two_environments(twice: list[Path]) -> None:
    """The blocked families of an environment are counted once, however many runs it has."""
    post = read(*twice)

    assert post.title == STILL
    assert ("Environment", "prod") in post.facts
    assert ("Status", "fixed") in post.facts


@pytest.mark.parametrize("made", FORMS)
def test_what_remains_is_counted_once(twice: list[Path], made: Any) -> None:
    """What remains is counted once in chart and proposals; a fix that was applied is not proposed."""
    found = made(*twice)

    assert f"{CONFLICTS} provider conflicts and {OWNERLESS} active threads without an owner" in str(
        found.of("img")[-1]["alt"]
    )
    assert f"in the unique index: {CONFLICTS} provider conflicts" in found.sections["Action items"].text
    assert "Apply the fix where it has not been applied" not in found.sections["Action items"].text


@pytest.mark.parametrize("made", FORMS)
def test_blockers_are_counted_once(twice: list[Path], made: Any) -> None:
    """The blockers of an environment are counted once; their sum is the number of blocked families."""
    blocked_by = made(*twice).sections["Impact"].tables[1]
    summed = sum(int(row[3].replace(",", "")) for row in blocked_by[1:] if row[0] == "chat")

    assert summed == EXAMPLE["counts"]["before"]["blocked"]["chat"]


@pytest.mark.parametrize("made", FORMS)
def test_rejected_inserts_are_counted_once(twice: list[Path], made: Any) -> None:
    """The rejected inserts of an environment are counted once, however many runs it has."""
    found = made(*twice)

    rejected = EXAMPLE["rejected_inserts"]
    counted = f"{rejected['failed_attempts']:,}"
    said = (
        rf"The server logs hold {counted} rejected inserts( of this incident)? by {rejected['families']:,} families\."
    )
    assert re.search(said, found.sections["Impact"].text)
    assert f"Rejected inserts in the server logs: {counted}." in str(found.of("img")[1]["alt"])


def test_recovery_is_counted_once(tmp_path: Path) -> None:
    """The recovered families of an environment are counted once, from its latest run."""
    runs = [
        ended_run(tmp_path / name, "succeeded", "prod", started_at=at)
        for name, at in (("late", "2027-01-01T00:00:00Z"), ("early", "2026-01-01T00:00:00Z"))
    ]
    recovery = {figure.name: figure for s in read(*runs).sections for figure in render.figures(s.blocks)}["recovered"]

    assert (
        recovery.chart.title
        == f"{EXAMPLE['recovery']['recovered']:,} families of 1,088 that were blocked had a chat again when counted"
    )


# A few environments


@pytest.mark.parametrize("made", FORMS)
def test_each_environment_has_a_part(tmp_path: Path, made: Any) -> None:
    """The report over several environments has a part for each, in order, in summary and resolution."""
    names = ["prod", "eu_west_1", "staging"]
    sections = made(*(ended_run(tmp_path, "dry-run", name) for name in names)).sections

    for title in ("Summary", "Resolution and verification"):
        places = [sections[title].text.index(name) for name in names]
        assert places == sorted(places)
        assert sections[title].text.count("This was a dry run: it changed nothing.") == 3


def test_up_to_six_are_listed_one_by_one(tmp_path: Path) -> None:
    """The summary lists each of up to six environments that were not fixed; of more, those whose run failed."""
    few = rendered(*(ended_run(tmp_path, "dry-run", f"few-{n}", **NO_AFTER) for n in range(6)))
    many = rendered(*(ended_run(tmp_path, "succeeded" if n else "failed", f"many-{n}") for n in range(7)))

    assert [f"few-{n}: 1,088 of 1,257 families" in few.sections["Summary"].text for n in range(6)] == [True] * 6
    assert "7,616 families were blocked for chat, whether or not" in many.sections["Summary"].text
    assert set(re.findall(r"(many-\d): ", many.sections["Summary"].text)) == {"many-0"}


@pytest.mark.parametrize("made", FORMS)
def test_the_timeline_of_many_has_no_steps(tmp_path: Path, made: Any) -> None:
    """The timeline of up to three environments has each step; of more, the most important events, and says so."""
    three, four = ([ended_run(tmp_path / str(most), "succeeded", f"env-{n}") for n in range(most)] for most in (3, 4))

    assert "Step build: done" in made(*three).sections["Timeline"].text
    assert "With more than three environments" not in made(*three).sections["Timeline"].text
    assert "Step build" not in made(*four).sections["Timeline"].text
    assert "With more than three environments the steps are under Resolution." in made(*four).sections["Timeline"].text


@pytest.mark.parametrize("made", FORMS)
def test_there_is_one_example_family(tmp_path: Path, made: Any) -> None:
    """The example is from the first environment that has one, and the report names it."""
    none = ended_run(tmp_path, "succeeded", "none", example=None)
    text = squeezed(made(none, paths.EXAMPLE_RUN).sections["Root cause"].text)

    assert "One family, thread by thread: demo" in text
    assert "Root 0d69b830-8837-4281-8801-051c1a1ee4ee, user 1da78055-6734-4b6e-8a50-9833d644cfca." in text


def test_what_is_unknown_in_all_is_written_once(tmp_path: Path) -> None:
    """A fact that is unknown in several environments is written once, with their names unless it is all of them."""
    said = {"one": ["All.", "Two.", "Of one."], "two": ["All.", "Two."], "three": ["All.", "Of three."]}
    folders = [ended_run(tmp_path, "succeeded", name, unknown=unknown) for name, unknown in said.items()]
    (bullets,) = read(*folders).section("unknown").blocks

    assert bullets.items[1:] == ("All.", "one, two: Two.", "one: Of one.", "three: Of three.")  # type: ignore[union-attr]


@pytest.mark.parametrize("made", FORMS)
def test_equal_rows_of_many_are_one_row(tmp_path: Path, made: Any) -> None:
    """Equal rows of several environments in the catalog or the timeline are one row that names them."""
    folders = [ended_run(tmp_path, "succeeded", name) for name in ("one", "two")]
    other = ended_run(tmp_path, "succeeded", "three", purpose_since="2025-09-21T06:00:00.000Z")
    sections = made(*folders, other).sections
    indexes, timeline = (sections[title].tables[n][1:] for n, title in enumerate(("Root cause", "Timeline")))

    assert [row[:3] for row in indexes] == [
        ["one, two, three", "before", "original"],
        ["one, two, three", "after", "fixed"],
    ]
    assert [row[:2] for row in timeline if row[2].startswith("The column")] == [
        ["2025-09-21 06:00:00", "three"],
        [in_words(EXAMPLE["purpose_since"]), "one, two"],
    ]
