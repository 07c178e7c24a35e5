"""The postmortem from records alone: where they are, broken files, its head, and the committed example."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from incident_lib import paths
from incident_lib.model import PUBLISHED, UsageError
from incident_lib.records import RunFolder, to_json
from incident_lib.report import render
from incident_lib.report.chart import Chart
from incident_lib.report.notes import WANTED
from incident_lib.report.postmortem import Postmortem, read_postmortem, read_runs
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    NO_AFTER,
    REHEARSED,
    Contents,
    contents_of,
    ended_run,
    in_words,
    read,
    record_of,
    run_folder,
    run_without_snapshot,
    squeezed,
)

RAW = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


# Where records lie


def _records(post: Postmortem) -> list[Contents]:
    return [contents_of(chapter.record) for chapter in post.chapters]


def test_on_the_demo_it_is_the_committed_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, without a run, the postmortem is that of the example run, whatever runs there are."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    RunFolder.create("demo", started_by="a test")

    assert _records(read_postmortem("demo")) == [contents_of(record_of(EXAMPLE))]


def test_a_run_is_named_by_its_folder(tmp_path: Path) -> None:
    """A run's folder names it, on the demo as well."""
    folder = run_folder(tmp_path, {"verdict": "Mine."})

    assert [record["verdict"] for record in _records(read_postmortem("demo", str(folder)))] == ["Mine."]


def test_an_environments_latest_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the postmortem is that of the environment's latest run."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    _, last = (RunFolder.create("prod", started_by=who) for who in ("one", "two"))
    RunFolder.create("staging", started_by="three")

    assert [chapter.folder for chapter in read_postmortem("prod").chapters] == [last.folder.name]


def test_no_name_means_each_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment the postmortem has a chapter of each."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    for name in ("staging", "prod"):
        RunFolder.create(name, started_by="a test")

    assert [chapter.environment for chapter in read_postmortem().chapters] == ["prod", "staging"]


@pytest.mark.parametrize(("named", "told"), [("prod", "the environment 'prod'"), ("", "any environment")])
def test_where_there_is_no_run_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, told: str
) -> None:
    """Without any run to report a message says how to begin one."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    with pytest.raises(UsageError) as raised:
        read_postmortem(named)

    assert str(raised.value) == (
        f"There is no run of {told} yet.\n  why:  {tmp_path} holds none.\n  next: Start one: incident run"
    )


def test_what_is_no_run_is_a_message(tmp_path: Path) -> None:
    """A folder that holds no run is named in a message."""
    with pytest.raises(UsageError) as raised:
        read_postmortem("prod", str(tmp_path))

    assert str(raised.value) == (
        f"{tmp_path} is not the folder of a run.\n"
        "  why:  It holds no record.json.\n"
        "  next: Name a folder like data/runs/demo/20260101T120000Z."
    )


# Files that cannot be read


BROKEN: dict[str, tuple[Any, str]] = {
    "missing key": ({"counts": ...}, "It lacks the key counts."),
    "wrong type": ({"steps": [7]}, "The key steps[0] is wrong: expected `object`, got `int`."),
    "other version": ({"schema_version": "1"}, "It is of another version: this one reads schema_version 2 only."),
}


def _spoil(file: Path, contents: Contents, changes: Contents) -> None:
    changed = {key: value for key, value in {**contents, **changes}.items() if value is not ...}
    file.write_text(json.dumps(changed), "utf-8")


def _message(folder: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read(folder)
    return str(raised.value)


@pytest.mark.parametrize(("changes", "why"), BROKEN.values(), ids=BROKEN)
def test_a_record_that_is_wrong_is_a_message(tmp_path: Path, changes: Contents, why: str) -> None:
    """A record.json without a key, with a wrong type or of another version is a message with file and key."""
    folder = run_folder(tmp_path, {})
    _spoil(folder / "record.json", EXAMPLE, changes)

    assert _message(folder) == (
        f"{os.path.relpath(folder / 'record.json')} cannot be read.\n"
        f"  why:  {why}\n"
        "  next: Run it again with this version, or remove the folder."
    )


EVIDENCE = {
    "claims.json": (
        json.loads((paths.EXAMPLE_RUN / "claims.json").read_text("utf-8")),
        "Write it again: incident claims",
        {
            "missing key": ({"latency": ...}, "It lacks the key latency."),
            "wrong type": ({"seconds": "ten"}, "The key seconds is wrong: expected `float`, got `str`."),
            "other version": BROKEN["other version"],
        },
    ),
    "rehearsal.json": (
        json.loads(to_json(REHEARSED)),
        "Write it again: incident rehearse",
        {
            "missing key": ({"clients": ...}, "It lacks the key clients."),
            "wrong type": (
                {"rollback": {"possible": "no", "why": ""}},
                "The key rollback.possible is wrong: expected `bool | null`, got `str`.",
            ),
            "other version": BROKEN["other version"],
        },
    ),
}


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in EVIDENCE for wrong in BROKEN])
def test_evidence_that_is_wrong_is_a_message(tmp_path: Path, name: str, wrong: str) -> None:
    """A claims.json or rehearsal.json without a key, with a wrong type or of another version is a message, too."""
    contents, action, changes = EVIDENCE[name]
    folder = run_folder(tmp_path, {})
    _spoil(folder / name, contents, changes[wrong][0])

    assert _message(folder) == (
        f"{os.path.relpath(folder / name)} cannot be read.\n  why:  {changes[wrong][1]}\n  next: {action}"
    )


@pytest.mark.parametrize("name", ["record.json", *EVIDENCE])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", r"It is not valid JSON, or no object: input data was truncated\."),
        (b"[]", r"It is not valid JSON, or no object: expected `object`, got `array`\."),
        (b"\xff", r"It is not valid JSON, or no object: .*\."),
    ],
    ids=["no JSON", "no object", "no text"],
)
def test_a_file_that_is_no_json_object_is_a_message(tmp_path: Path, name: str, text: bytes, why: str) -> None:
    """A file that is no JSON object is a message that names it."""
    folder = run_folder(tmp_path, {})
    (folder / name).write_bytes(text)

    assert re.match(rf"{re.escape(os.path.relpath(folder / name))} cannot be read\.\n  why:  {why}\n", _message(folder))


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_file_that_cannot_be_opened_is_a_message(tmp_path: Path, name: str) -> None:
    """A file that the system does not let us read is a message with the system's reason."""
    folder = run_folder(tmp_path, {})
    (folder / name).mkdir()

    assert f"{os.path.relpath(folder / name)} cannot be read.\n  why:  Is a directory.\n" in _message(folder)


def test_a_record_that_cannot_be_opened_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record.json that the system does not let us read is a message with the system's reason."""
    folder = run_folder(tmp_path, {})

    def forbid(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbid)

    assert "record.json cannot be read.\n  why:  Permission denied.\n" in _message(folder)


# The head


def written(folder: Path, text: str) -> Path:
    """A file of notes."""
    made = folder / "notes.md"
    made.write_text(text, "utf-8")
    return made


def test_a_report_over_nothing_says_so() -> None:
    """Without a run the report says that there is none."""
    assert read().title == "No run has been recorded"
    assert "No run has been recorded" in render.render_markdown(read(), "pictures")


def test_the_title_over_several_is_their_sum(tmp_path: Path) -> None:
    """The title over several environments is how many were blocked in all, and in how many the fix is in."""
    folders = [paths.EXAMPLE_RUN, ended_run(tmp_path, "dry-run", "prod", **NO_AFTER), run_without_snapshot(tmp_path)]

    assert read(*folders).title == ("2,176 families in 2 environments could not start a chat; fixed in 1 of 3")


def test_the_title_over_several_that_saw_nothing_says_so(tmp_path: Path) -> None:
    """Where no run took a snapshot the title claims nothing."""
    assert (
        read(run_without_snapshot(tmp_path, "one"), run_without_snapshot(tmp_path, "two")).title
        == "No blocked families were counted in any environment"
    )


def test_verdicts_name_environment_and_end(tmp_path: Path) -> None:
    """The lines on the terminal are the environment's name, its verdict, and how its run ended."""
    folder = run_folder(tmp_path, {"environment": "prod", "verdict": "All is well.", "status": "dry-run"})

    assert read(folder).verdicts == ["prod: All is well. This was a dry run: it changed nothing."]


def test_the_head_says_what_it_is_about(tmp_path: Path) -> None:
    """The head has incident, status, environments, time, and the versions that made the report."""
    dry = ended_run(tmp_path, "dry-run", "prod", **NO_AFTER, git_commit=None)
    notes = written(tmp_path, "# INC-1\n")

    assert read(paths.EXAMPLE_RUN, dry, notes=notes).facts == [
        ("Incident", "INC-1"),
        ("Status", "fixed in 1 of 2 environments"),
        ("Environments", "demo, prod"),
        ("When (UTC)", "since 2025-09-22 06:00:00; not ended as of the latest snapshot"),
        ("Made from", f"incident-lib 0.1.0, commit {EXAMPLE['git_commit'][:12]}, unknown"),
    ]


def test_the_head_says_when_it_ended() -> None:
    """Where the fix is in everywhere the head says so, and from when to when it was."""
    ended_at = in_words(EXAMPLE["incident_ended_at"])

    assert read(paths.EXAMPLE_RUN).facts[1:4] == [
        ("Status", "fixed"),
        ("Environments", "demo"),
        ("When (UTC)", f"2025-09-22 06:00:00 to {ended_at}"),
    ]


ENDS = {
    "dry-run": "dry run",
    "refused": "refused",
    "failed": "FAILED",
    "killed": "KILLED",
    "running": "running",
    "succeeded": "nothing was applied",
}


@pytest.mark.parametrize("how", ENDS)
def test_the_head_says_how_a_run_ended_that_fixed_nothing(tmp_path: Path, how: str) -> None:
    """Where the fix is not in the head says so, and how the run ended; nothing says when it was over."""
    facts = dict(read(ended_run(tmp_path, how, **NO_AFTER)).facts)

    assert facts["Status"] == f"not fixed: {ENDS[how]}"
    assert facts["When (UTC)"] == "since 2025-09-22 06:00:00; not ended as of the latest snapshot"


def test_the_head_over_what_saw_nothing_knows_no_time(tmp_path: Path) -> None:
    """After a run without a snapshot the begin of the incident is unknown."""
    facts = dict(read(run_without_snapshot(tmp_path)).facts)

    assert (facts["Status"], facts["When (UTC)"]) == (
        "not fixed: FAILED",
        "since unknown; not ended as of the latest snapshot",
    )


FIXED_BEFORE = {
    "indexes": {"before": EXAMPLE["indexes"]["after"], "after": None},
    "counts": {"before": EXAMPLE["counts"]["after"], "after": None},
    "steps": [],
    "incident_ended_at": None,
    "recovery": None,
    "blocked_by": [],
    "blocked_since": {"chat": [], "run": []},
}


@pytest.mark.parametrize("made", FORMS)
def test_a_fix_before_the_run_ended_the_incident(tmp_path: Path, made: Any) -> None:
    """An environment that was fixed before the run is not reported as if the incident went on."""
    facts, text = dict(read(run_folder(tmp_path, FIXED_BEFORE)).facts), made(tmp_path / "run").text

    assert (facts["Status"], facts["When (UTC)"]) == ("fixed", "ended before the first snapshot")
    assert re.findall(r"not ended|not fixed", text) == []


@pytest.mark.parametrize("made", FORMS)
def test_without_blocked_families_their_begin_is_no_question(tmp_path: Path, made: Any) -> None:
    """Where no family is blocked, the report does not call it unknown since when."""
    assert "It is unknown since when families are blocked" not in made(run_folder(tmp_path, FIXED_BEFORE)).text


def test_what_is_to_be_written_is_counted() -> None:
    """What only people can tell, and have not yet, is named and counted at the top."""
    assert read(paths.EXAMPLE_RUN).unfinished == [
        "8 parts to be written: Summary, Detection, Contributing factors, What went well, What went badly, "
        "Where we were lucky, Action items, the incident's id."
    ]


WHOLE = "# INC-1\n" + "".join(f"## {title}\n\nSaid.\n" for title in WANTED if title != "Action items")


@pytest.mark.parametrize(
    ("items", "lines"),
    [
        ("- [ ] It (owner: Ada, due: 2026-01-31)", []),
        ("- [x] It", []),
        ("- [ ] It (owner: Ada)", ["1 action item without an owner or a date."]),
        ("- [ ] It\n- [ ] That (due: 2026-01-31)", ["2 action items without an owner or a date."]),
        ("None are needed.", []),
    ],
)
def test_what_lacks_an_owner_or_a_date_is_counted(tmp_path: Path, items: str, lines: list[str]) -> None:
    """Open action items without an owner or a date are counted at the top."""
    notes = written(tmp_path, f"{WHOLE}\n## Action items\n\n{items}\n")

    assert read(paths.EXAMPLE_RUN, notes=notes).unfinished == lines


@pytest.mark.parametrize("made", FORMS)
def test_what_is_to_be_written_stands_at_the_top(tmp_path: Path, made: Any) -> None:
    """What people still have to write is above the first section."""
    notes = written(tmp_path, "# INC-1\n\n## Action items\n\n- [ ] It\n")
    text = squeezed(made(paths.EXAMPLE_RUN, notes=notes).text.partition("1,088 of 1,257")[0])

    assert "6 parts to be written: Summary, Detection," in text
    assert "1 action item without an owner or a date." in text


@pytest.mark.parametrize("made", FORMS)
def test_a_part_that_is_to_be_written_says_so_in_its_place(made: Any) -> None:
    """Each section that people have to write, and have not, says so."""
    sections = made(paths.EXAMPLE_RUN).sections

    assert [title for title, section in sections.items() if "To be written." in section.text] == list(WANTED)


def test_a_section_that_is_not_there_is_a_message() -> None:
    """A message names an unknown section and the known ones."""
    with pytest.raises(UsageError) as raised:
        read(paths.EXAMPLE_RUN).section("impakt")

    assert str(raised.value) == (
        "The report has no section 'impakt'.\n"
        "  why:  Its sections are summary, impact, timeline, detection, root-cause, resolution, claims, environments, "
        "remaining, contributing-factors, what-went-well, what-went-badly, where-we-were-lucky, action-items, unknown, "
        "appendix.\n"
        "  next: Correct the name."
    )


# The committed example: `make example` makes it again


def _undrawn(html: str) -> str:
    """A page without what its charts are drawn by, which fonts and versions of matplotlib change."""
    return re.sub(r'src="data:[^"]*"', 'src=""', html)


def test_the_committed_page_is_that_of_the_committed_record() -> None:
    """The example's page is what its record and the project's notes give now."""
    committed = (paths.EXAMPLE_RUN / "postmortem.html").read_text("utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "svg", lambda *_, **__: "")
        made = render.render_html(read_runs([paths.EXAMPLE_RUN], paths.NOTES))

    assert _undrawn(made) == _undrawn(committed)


def test_the_committed_markdown_is_that_of_the_committed_record() -> None:
    """The example's Markdown is what its record and the project's notes give now."""
    committed = (paths.EXAMPLE_RUN / "postmortem.md").read_text("utf-8")

    assert render.render_markdown(read_runs([paths.EXAMPLE_RUN], paths.NOTES), "postmortem") == committed


def test_the_committed_pictures_are_those_of_the_committed_markdown() -> None:
    """The files of the example's charts are those that its Markdown shows, no fewer and no more."""
    markdown = (paths.EXAMPLE_RUN / "postmortem.md").read_text("utf-8")
    shown = re.findall(r"\]\(postmortem/([^)]*)\)", markdown)

    assert sorted(file.name for file in (paths.EXAMPLE_RUN / "postmortem").iterdir()) == sorted(shown)


def test_no_raw_id_is_in_the_committed_example() -> None:
    """No id but the published ones is in any byte of the example, the charts inside its page decoded."""
    files = [file.read_bytes() for file in paths.EXAMPLE_RUN.rglob("*") if file.is_file()]
    inside = [base64.b64decode(data) for file in files for data in re.findall(rb"base64,([A-Za-z0-9+/=]+)", file)]
    found = {UUID(match[0].decode()) for text in (*files, *inside) for match in RAW.finditer(text)}

    assert len(inside) >= 4
    assert found <= PUBLISHED
