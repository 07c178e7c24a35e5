"""The postmortem: finding its records, files that cannot be read, its head, and the committed example."""

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
from incident_lib.report.postmortem import Postmortem, choose_runs, read_postmortem, read_runs
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    NO_AFTER,
    REHEARSED,
    STILL,
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
BEGAN = in_words(EXAMPLE["purpose_since"])[:16]


# Finding records


def _records(post: Postmortem) -> list[Contents]:
    return [contents_of(chapter.record) for chapter in post.chapters]


def test_on_the_demo_it_is_the_committed_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, without a run, the postmortem is that of the example run, even if there are other runs."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    RunFolder.create("demo", started_by="a test")

    assert _records(read_postmortem("demo")) == [contents_of(record_of(EXAMPLE))]


def test_a_run_is_selected_by_its_folder(tmp_path: Path) -> None:
    """The folder of a run selects it, also on the demo."""
    folder = run_folder(tmp_path, {"verdict": "Mine."})

    assert [record["verdict"] for record in _records(read_postmortem("demo", str(folder)))] == ["Mine."]


def test_an_environments_latest_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For other environments the postmortem is that of the latest run."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    _, last = (RunFolder.create("prod", started_by=who) for who in ("one", "two"))
    RunFolder.create("staging", started_by="three")

    assert [chapter.folder for chapter in read_postmortem("prod").chapters] == [last.folder.name]


def test_no_name_means_each_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment the postmortem has a chapter for each."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    for name in ("staging", "prod"):
        RunFolder.create(name, started_by="a test")

    assert [chapter.environment for chapter in read_postmortem().chapters] == ["prod", "staging"]


@pytest.mark.parametrize(("named", "what"), [("prod", "the environment 'prod'"), ("", "any environment")])
def test_without_a_run_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, what: str
) -> None:
    """Without a run to report an error says how to start one."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    with pytest.raises(UsageError) as raised:
        read_postmortem(named)

    assert str(raised.value) == (
        f"There is no run of {what} yet.\n  why:  {tmp_path} holds none.\n  next: Start one: incident run"
    )


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    """A folder without a run is an error that names it."""
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
def test_a_wrong_record_is_an_error(tmp_path: Path, changes: Contents, why: str) -> None:
    """A record.json without a key, with a wrong type or of another version is an error with file and key."""
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
def test_wrong_evidence_is_an_error(tmp_path: Path, name: str, wrong: str) -> None:
    """A claims.json or rehearsal.json without a key, with a wrong type or of another version is an error, too."""
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
def test_a_file_that_is_not_a_json_object_is_an_error(tmp_path: Path, name: str, text: bytes, why: str) -> None:
    """A file that is not a JSON object is an error that names it."""
    folder = run_folder(tmp_path, {})
    (folder / name).write_bytes(text)

    assert re.match(rf"{re.escape(os.path.relpath(folder / name))} cannot be read\.\n  why:  {why}\n", _message(folder))


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, name: str) -> None:
    """A file without read permission is an error with the system's reason."""
    folder = run_folder(tmp_path, {})
    (folder / name).mkdir()

    assert f"{os.path.relpath(folder / name)} cannot be read.\n  why:  Is a directory.\n" in _message(folder)


def test_a_record_that_cannot_be_opened_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record.json without read permission is an error with the system's reason."""
    folder = run_folder(tmp_path, {})

    def forbid(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbid)

    assert "record.json cannot be read.\n  why:  Permission denied.\n" in _message(folder)


# The head


def written(folder: Path, text: str) -> Path:
    """A notes file with this text."""
    made = folder / "notes.md"
    made.write_text(text, "utf-8")
    return made


def test_a_report_without_runs_says_so() -> None:
    """Without a run the report says that there is none."""
    assert read().title == "No run has been recorded"
    assert "No run has been recorded" in render.render_markdown(read(), "pictures")


def test_the_title_over_several_is_their_sum(tmp_path: Path) -> None:
    """The title over several environments has the total of blocked families, and the number of fixed environments."""
    folders = [paths.EXAMPLE_RUN, ended_run(tmp_path, "dry-run", "prod", **NO_AFTER), run_without_snapshot(tmp_path)]

    assert read(*folders).title == ("2,176 families in 2 environments were blocked for chat; fixed in 1 of 3")


def test_the_title_over_several_without_a_snapshot(tmp_path: Path) -> None:
    """If no run took a snapshot, the title has no number."""
    assert (
        read(run_without_snapshot(tmp_path, "one"), run_without_snapshot(tmp_path, "two")).title
        == "No blocked families were counted in any environment"
    )


def test_verdicts_name_environment_and_end(tmp_path: Path) -> None:
    """The lines on the terminal have the environment's name, its verdict, and how its run ended."""
    folder = run_folder(tmp_path, {"environment": "prod", "verdict": "All is well.", "status": "dry-run"})

    assert read(folder).verdicts == ["prod: All is well. This was a dry run: it changed nothing."]


def test_the_head_has_incident_status_and_versions(tmp_path: Path) -> None:
    """The head has incident, status, environments, time, and the versions that made the report."""
    dry = ended_run(tmp_path, "dry-run", "prod", **NO_AFTER, git_commit=None)
    notes = written(tmp_path, "# INC-1\n")

    assert read(paths.EXAMPLE_RUN, dry, notes=notes).facts == [
        ("Incident", "INC-1"),
        ("Status", "fixed in 1 of 2 environments"),
        ("Rollback", "A rollback is not possible in demo."),
        ("Environments", "demo, prod"),
        ("When (UTC)", f"since {BEGAN}; not ended as of the latest snapshot"),
        ("Made from", f"incident-lib 0.1.0, commit {EXAMPLE['git_commit'][:12]}, unknown"),
    ]


def test_the_head_has_the_end_of_the_incident() -> None:
    """If the fix has been applied everywhere, the head has the begin and the end of the incident."""
    ended_at = in_words(EXAMPLE["incident_ended_at"])[:16]

    assert read(paths.EXAMPLE_RUN).facts[:4] == [
        ("Status", "fixed"),
        ("Rollback", "A rollback is not possible: 269 families have several active threads."),
        ("Environment", "demo"),
        ("When (UTC)", f"{BEGAN} to {ended_at}"),
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
def test_the_head_says_how_a_run_without_a_fix_ended(tmp_path: Path, how: str) -> None:
    """If the fix has not been applied, the head says so and how the run ended, without an end of the incident."""
    facts = dict(read(ended_run(tmp_path, how, **NO_AFTER)).facts)

    assert facts["Status"] == f"not fixed: {ENDS[how]}"
    assert facts["When (UTC)"] == f"since {BEGAN}; not ended as of the latest snapshot"


def test_the_head_without_a_snapshot_has_no_begin(tmp_path: Path) -> None:
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
    """An environment that was fixed before the run is not reported as an incident that goes on."""
    facts, text = dict(read(run_folder(tmp_path, FIXED_BEFORE)).facts), made(tmp_path / "run").text

    assert (facts["Status"], facts["When (UTC)"]) == ("fixed", "ended before the first snapshot")
    assert re.findall(r"not ended|not fixed", text) == []


@pytest.mark.parametrize("made", FORMS)
def test_without_blocked_families_their_begin_is_not_unknown(tmp_path: Path, made: Any) -> None:
    """If no family is blocked, the report does not say that their begin is unknown."""
    assert "It is unknown since when families are blocked" not in made(run_folder(tmp_path, FIXED_BEFORE)).text


def test_missing_parts_are_counted() -> None:
    """The missing parts that people must write are named and counted at the top."""
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
def test_action_items_without_owner_or_date_are_counted(tmp_path: Path, items: str, lines: list[str]) -> None:
    """Open action items without an owner or a date are counted at the top."""
    notes = written(tmp_path, f"{WHOLE}\n## Action items\n\n{items}\n")

    assert read(paths.EXAMPLE_RUN, notes=notes).unfinished == lines


@pytest.mark.parametrize("made", FORMS)
def test_missing_parts_are_at_the_top(tmp_path: Path, made: Any) -> None:
    """The missing parts are above the first section."""
    notes = written(tmp_path, "# INC-1\n\n## Action items\n\n- [ ] It\n")
    text = squeezed(made(paths.EXAMPLE_RUN, notes=notes).text.partition("1,088 of 1,257")[0])

    assert "6 parts to be written: Summary, Detection," in text
    assert "1 action item without an owner or a date." in text


@pytest.mark.parametrize("made", FORMS)
def test_missing_parts_stand_at_the_end(made: Any) -> None:
    """Each part that people have not written is in the section To be written, and stands nowhere else."""
    sections = made(paths.EXAMPLE_RUN).sections
    text = sections["To be written"].text

    assert [title for title in WANTED if f"{title}: " not in text] == []
    assert "Incident: its id" in text
    assert [title for title in ("What went well", "What went badly") if title in sections] == []


def test_an_unknown_section_is_an_error() -> None:
    """The error for an unknown section names it and the known ones."""
    with pytest.raises(UsageError) as raised:
        read(paths.EXAMPLE_RUN).section("impakt")

    assert str(raised.value) == (
        "The report has no section 'impakt'.\n"
        "  why:  Its sections are summary, timeline, impact, environments, root-cause, resolution, provider, "
        "remaining, elsewhere, action-items, detection, contributing-factors, what-went-well, what-went-badly, "
        "where-we-were-lucky, claims, rehearsal, unknown, to-be-written, appendix.\n"
        "  next: Correct the name."
    )


# The committed example; `make example` writes it again


def _undrawn(html: str) -> str:
    """A page without the paths of its charts, which depend on fonts and on the version of matplotlib."""
    return re.sub(r'(src|srcset)="data:[^"]*"', r'\1=""', html)


def test_the_committed_page_is_that_of_the_committed_record() -> None:
    """The example's page equals what its record and the project's notes give now."""
    committed = (paths.EXAMPLE_RUN / "postmortem.html").read_text("utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "svg", lambda *_, **__: "")
        made = render.render_html(read_runs([paths.EXAMPLE_RUN], paths.NOTES))

    assert _undrawn(made) == _undrawn(committed)


def test_the_committed_markdown_is_that_of_the_committed_record() -> None:
    """The example's Markdown equals what its record and the project's notes give now."""
    committed = (paths.EXAMPLE_RUN / "postmortem.md").read_text("utf-8")

    assert render.render_markdown(read_runs([paths.EXAMPLE_RUN], paths.NOTES), "postmortem") == committed


def test_the_committed_pictures_are_those_of_the_committed_markdown() -> None:
    """The files of the example's charts are exactly those that its Markdown shows."""
    markdown = (paths.EXAMPLE_RUN / "postmortem.md").read_text("utf-8")
    shown = re.findall(r"\]\(postmortem/([^)]*)\)", markdown)

    assert sorted(file.name for file in (paths.EXAMPLE_RUN / "postmortem").iterdir()) == sorted(shown)


def test_no_raw_id_is_in_the_committed_example() -> None:
    """No byte of the example has a raw id except published ones, including the charts in its page."""
    files = [file.read_bytes() for file in paths.EXAMPLE_RUN.rglob("*") if file.is_file()]
    inside = [base64.b64decode(data) for file in files for data in re.findall(rb"base64,([A-Za-z0-9+/=]+)", file)]
    found = {UUID(match[0].decode()) for text in (*files, *inside) for match in RAW.finditer(text)}

    assert len(inside) >= 4
    assert found <= PUBLISHED


# Which runs a report is about


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs: two of prod, one of staging, one of the demo."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    for name in ("prod", "prod", "staging", "demo"):
        RunFolder.create(name, started_by="a test")
    return tmp_path


def test_the_environments_that_are_named(recorded: Path) -> None:
    """A report over named environments is made of all their runs."""
    found = choose_runs([], ["staging", "prod"])

    assert [folder.parent.name for folder in found] == ["staging", "prod", "prod"]


def test_all_environments_without_the_demo(recorded: Path) -> None:
    """A report over all environments leaves the demo out."""
    found = choose_runs([], [], everything=True)

    assert [folder.parent.name for folder in found] == ["prod", "prod", "staging"]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([], "It is not said what the report is about."),
        (["nowhere"], "There is no run of the environment 'nowhere'."),
        (["demo", "prod"], "The demo is in no report with other environments."),
    ],
)
def test_a_report_over_nothing_or_over_the_demo_and_others(recorded: Path, names: list[str], what: str) -> None:
    """No environment, one without runs, or the demo beside others: an error says what to name."""
    with pytest.raises(UsageError) as raised:
        choose_runs([], names)

    assert raised.value.what == what


def test_the_demo_alone(recorded: Path) -> None:
    """The demo's own runs make a report of their own."""
    assert [folder.parent.name for folder in choose_runs([], ["demo"])] == ["demo"]


def test_a_later_look_does_not_undo_the_fix(tmp_path: Path) -> None:
    """A dry run after the fix is a row of the timeline; the title and the steps stay those of the fix."""
    fixed = run_folder(tmp_path, {"environment": "prod"}, "fixed")
    seen = {key: {"before": EXAMPLE[key]["after"], "after": None} for key in ("counts", "indexes", "snapshot_at")}
    later = {"environment": "prod", "status": "dry-run", "started_at": "2999-01-01T00:00:00Z", **NO_AFTER, **seen}
    look = run_folder(tmp_path, later, "look")
    post = read_runs([look, fixed])

    assert post.title == STILL
    assert post.chapters[0].record.incident_ended_at is not None
    assert "Looked again: no family is blocked for chat." in render.render_markdown(post, "postmortem")
