"""Notes: read by their headings, never changed, and errors with the number of the line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from incident_lib import cli, paths
from incident_lib.model.errors import Failed, UsageError
from incident_lib.report import notes
from incident_lib.report.notes import WANTED, WELCOME, Action, Event, Metadata, Notes
from incident_lib.report.render import write_report
from incident_lib.runs.fleet import run_fleet
from tests.support.examples import few_examples
from tests.support.reports import CONFLICTS, FORMS, UNWRITTEN, rendered, run_folder, run_without_snapshot, squeezed
from tests.support.reports import read as report_of

SECTIONS = (*WANTED, *WELCOME)
USE = f"Use one of: {', '.join((*SECTIONS, 'Metadata'))}."
HOW = "Write it like `- 2025-10-13 08:18 UTC: what (source)`; another zone as an offset, like +02:00."
TASK = "Write it like `- [ ] What to do (owner: a name or a team, due: 2026-01-31)`."
FACT = "Use items like `- Severity: SEV2`; their names are severity, owner, detected, mitigated, resolved."


def file_of(folder: Path, text: str) -> Path:
    """A notes file with this text."""
    made = folder / "notes.md"
    made.write_bytes(text.encode())
    return made


def read(folder: Path, text: str) -> Notes:
    """The notes read from this text."""
    return notes.read_notes(file_of(folder, text))


def refused(folder: Path, text: str) -> str:
    """The message for notes that cannot be read."""
    file = file_of(folder, text)
    with pytest.raises(UsageError) as raised:
        notes.read_notes(file)
    assert raised.value.exit_code == 2
    return str(raised.value).replace(os.path.relpath(file), "notes.md")


def message(line: int, why: str, action: str) -> str:
    """The message for one line."""
    return f"notes.md cannot be read as notes.\n  why:  Line {line}: {why}.\n  next: {action}"


# The file


def test_notes_are_made_from_the_template(tmp_path: Path) -> None:
    """If there are no notes, they are created from the template, without any text in them."""
    file = tmp_path / "new" / "notes.md"

    assert notes.read_notes(file) == notes.read_notes(UNWRITTEN)
    assert file.read_bytes() == UNWRITTEN.read_bytes()
    assert notes.read_notes(file).unwritten == list(WANTED)


def test_the_template_has_every_section_that_is_wanted() -> None:
    """The template has a heading for each section that people write, and no unknown heading."""
    headings = re.findall(r"^## (.*)$", notes.template(), re.MULTILINE)

    assert set(WANTED) <= set(headings) <= {*SECTIONS, "Metadata"}
    assert notes.template().startswith("# ")


def test_the_templates_example_rows_can_be_read(tmp_path: Path) -> None:
    """The example rows in the template's comments can be read."""
    shown = notes.template().replace("<!--", "").replace("-->", "")
    rows = re.findall(r"^- .*$", shown, re.MULTILINE)
    facts = "\n".join(rows[:5])
    found = read(tmp_path, f"## Metadata\n{facts}\n## Timeline\n{rows[5]}\n## Action items\n{rows[6]}\n")

    assert (found.metadata.severity, found.metadata.owner) == ("SEV2", "a name or a team")
    assert found.metadata.resolved == datetime(2025, 10, 13, 14, 30, tzinfo=UTC)
    assert found.events == (
        Event(datetime(2025, 10, 13, 8, 18, tzinfo=UTC), "the first user wrote to support", "support's inbox"),
    )
    assert found.actions == (Action("What to do", "a name or a team", "2026-01-31", done=False),)


@pytest.mark.parametrize("text", ["", "# INC-1\n", "## Summary\r\n\r\nIt was.  \r\n"], ids=ascii)
def test_notes_are_never_overwritten(tmp_path: Path, text: str) -> None:
    """Existing notes are never written: content and modification time do not change."""
    file = file_of(tmp_path, text)
    os.utime(file, (1, 1))
    run = run_without_snapshot(tmp_path)
    for _ in range(2):
        write_report(report_of(run, notes=file), tmp_path / "post.html")

    assert file.read_bytes() == text.encode()
    assert file.stat().st_mtime == 1


def test_a_report_with_its_own_notes_ignores_the_projects(tmp_path: Path) -> None:
    """A report with its own notes neither reads nor creates the project's notes."""
    before = paths.NOTES.read_bytes(), paths.NOTES.stat().st_mtime_ns
    rendered(run_folder(tmp_path, {}), notes=tmp_path / "own.md")

    assert (paths.NOTES.read_bytes(), paths.NOTES.stat().st_mtime_ns) == before


def test_notes_that_cannot_be_created_are_an_error(tmp_path: Path) -> None:
    """If notes can be neither read nor created, an error names the option that helps."""
    (tmp_path / "file").touch()
    with pytest.raises(Failed) as raised:
        notes.read_notes(tmp_path / "file" / "more" / "notes.md")

    assert raised.value.why == "Not a directory."
    assert "--notes" in raised.value.next
    assert "--out" not in raised.value.next


def test_a_folder_instead_of_notes_is_an_error(tmp_path: Path) -> None:
    """If the notes are a folder, an error says so, without counting missing parts."""
    with pytest.raises(Failed) as raised:
        notes.read_notes(tmp_path)

    assert raised.value.why == "Is a directory."
    assert "written" not in raised.value.what


def test_bytes_that_are_not_utf_8_are_shown_as_such(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are shown as such, and the rest of the notes is read."""
    (tmp_path / "notes.md").write_bytes(b"## Summary\n\nCaf\xe9.\n")

    assert notes.read_notes(tmp_path / "notes.md").text("Summary") == "Caf\ufffd."


def test_notes_in_another_encoding_are_an_error(tmp_path: Path) -> None:
    """Notes in another encoding are an error."""
    (tmp_path / "notes.md").write_bytes("## Summary\n".encode("utf-16"))
    with pytest.raises(UsageError):
        notes.read_notes(tmp_path / "notes.md")


@pytest.mark.parametrize("made", ["\ufeff# INC-1\n\n## Summary\n\nIt was.\n", "\ufeff## Summary\n\nIt was.\n"])
def test_a_byte_order_mark_is_ignored(tmp_path: Path, made: str) -> None:
    """A byte order mark before the first heading is ignored."""
    assert read(tmp_path, made).text("Summary") == "It was."


# Sections


@pytest.mark.parametrize("title", SECTIONS)
def test_every_section_is_read(tmp_path: Path, title: str) -> None:
    """The text below a heading is the text of this section."""
    assert read(tmp_path, f"## {title}\n\nIt was.\n\nSo.\n").text(title) == "It was.\n\nSo."


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize("title", SECTIONS)
def test_every_section_is_shown_in_its_place(tmp_path: Path, made: Any, title: str) -> None:
    """The text of each section is shown in this section of the report."""
    found = made(run_folder(tmp_path, {}), notes=file_of(tmp_path, f"## {title}\n\nAs people say.\n"))
    sections = [name for name, section in found.sections.items() if "As people say." in section.text]

    assert sections == [{"Resolution": "Resolution and verification"}.get(title, title)]


@pytest.mark.parametrize("heading", ["## summary", "##   SUMMARY  ", "## Summary ##", "##\tSummary #"])
def test_headings_may_be_spelled_freely(tmp_path: Path, heading: str) -> None:
    """Case, spaces and closing marks of a heading are ignored."""
    assert read(tmp_path, f"{heading}\nIt was.\n").text("Summary") == "It was."


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    """Notes with CR LF are read like others, with the same line numbers in errors."""
    text = "# INC-1\n\n<!-- one\ntwo -->\n## Summary\n\nIt was.\n\n## Nonsense\n"

    assert read(tmp_path, text.partition("## N")[0].replace("\n", "\r\n")) == read(tmp_path, text.partition("## N")[0])
    assert refused(tmp_path, text.replace("\n", "\r\n")) == refused(tmp_path, text)


@pytest.mark.parametrize("text", ["# INC-1\n", "#   INC-1 <!-- the id -->\n", "# INC-1 #\n\n## Summary\n"])
def test_the_title_is_the_incidents_id(tmp_path: Path, text: str) -> None:
    """The level-one heading is the incident's id."""
    assert read(tmp_path, text).incident == "INC-1"


def test_headings_within_a_section_are_its_text(tmp_path: Path) -> None:
    """Headings of lower levels belong to the text of their section."""
    assert read(tmp_path, "## Summary\n\n### First\n\nIt was.\n").text("Summary") == "### First\n\nIt was."


FENCED = [
    "```sh\n# no heading\n## Nonsense\n```",
    "~~~\n# no heading\n~~~",
    "````\n```\n# no heading\n```\n````",
    "~~~\n```\n# no heading\n~~~",
    "- a\n\n  ```\n  # no heading\n  ```",
    "```\n<!-- no comment -->\n```",
    "    # code by its indent",
    "Say `<!-- no comment -->` to hide.",
]


@pytest.mark.parametrize("body", FENCED)
def test_headings_in_code_are_code(tmp_path: Path, body: str) -> None:
    """Lines in code that look like headings or comments are code, and sections after it are read."""
    found = read(tmp_path, f"## Summary\n\n{body}\n\n## Detection\n\nBy luck.\n")

    assert (found.text("Summary"), found.text("Detection")) == (body.strip(), "By luck.")


@pytest.mark.parametrize("body", ["```SELECT 1```", "Use ```` ``` ```` for it.", "``` `a` ```", "- ```a```"])
def test_code_within_a_line_hides_no_section(tmp_path: Path, body: str) -> None:
    """Inline code does not hide the sections after it."""
    assert read(tmp_path, f"## Summary\n\n{body}\n\n## Detection\n\nBy luck.\n").text("Detection") == "By luck."


def test_comments_are_not_shown(tmp_path: Path) -> None:
    """Comments are not shown, on any number of lines."""
    assert read(tmp_path, "## Summary\n<!-- a\n\n## b -->\nIt <!-- c -->was.\n").text("Summary") == "It was."


@pytest.mark.parametrize(
    "heading", [" ## Summary", "   ## Summary", "Summary\n---", "Summary\n-", "## Summary <!-- a ## b -->"]
)
def test_headings_of_every_kind_are_read(tmp_path: Path, heading: str) -> None:
    """A heading may be indented by up to three spaces, or underlined."""
    found = read(tmp_path, f"## Detection\n\nBy luck.\n\n{heading}\n\nIt was.\n")

    assert (found.text("Detection"), found.text("Summary")) == ("By luck.", "It was.")


def test_an_underlined_title_is_the_incidents_id(tmp_path: Path) -> None:
    """A title may be underlined."""
    assert read(tmp_path, "INC-1\n=====\n\n## Summary\n").incident == "INC-1"


@pytest.mark.parametrize(
    "line", ["    ## Detection", "\t## detection", "##Detection", "> ## Detection", "- ## Detection", "#Detection"]
)
def test_what_looks_like_a_heading_and_is_none_is_an_error(tmp_path: Path, line: str) -> None:
    """A line that names a section, and that CommonMark does not read as a heading, is an error with its line."""
    assert refused(tmp_path, f"## Summary\n\nIt was.\n\n{line}\n\nBy luck.\n") == message(
        5, "this looks like a heading, and is none", "Write `## Detection` at the beginning of a line of its own."
    )


def test_a_section_of_the_first_order_is_an_error(tmp_path: Path) -> None:
    """A section's name as a title is an error: it is not the incident's id."""
    assert refused(tmp_path, "# Summary\n") == message(1, "this heading is of the first order", "Write `## Summary`.")


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        ("It was.\n\n<!-- to do\n\n## Detection\n\nBy luck.\n", 5, "this comment has no end"),
        ("```sh\nls\n\n## Detection\n\nBy luck.\n", 3, "this block of code has no end"),
        ("~~~\n```\n\n## Detection\n", 3, "this block of code has no end"),
        ("<pre>\n\n## Detection\n\nBy luck.\n", 3, "this HTML has no end"),
        ("<?php\n\n## Detection\n", 3, "this HTML has no end"),
        ("- a\n\n  <!-- b\n  c\n\n## Detection\n", 5, "this comment has no end"),
    ],
)
def test_what_would_hide_the_rest_is_an_error(tmp_path: Path, body: str, line: int, why: str) -> None:
    """A comment, a block of code or HTML without an end, which would take the sections after it, is an error."""
    assert refused(tmp_path, f"## Summary\n\n{body}") == message(line, why, "Close it.")


# Errors


def test_an_unknown_heading_is_an_error_with_its_line(tmp_path: Path) -> None:
    """An unknown heading is an error with its line and the known headings."""
    assert refused(tmp_path, "# INC-1\n\n## Summary\n\nIt was.\n\n## Sumary\n") == message(
        7, "no section is named 'Sumary'", USE
    )


@pytest.mark.parametrize("second", ["Summary", "SUMMARY"])
def test_a_second_heading_is_an_error_with_its_line(tmp_path: Path, second: str) -> None:
    """A second heading of a section is an error with its line, whatever its spelling."""
    assert refused(tmp_path, f"## Summary\n\nIt was.\n\n## {second}\n\nIt is.\n") == message(
        5, "the section 'Summary' is there twice", "Merge the two."
    )


def test_a_second_title_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A second level-one heading is an error with its line."""
    assert "Line 5: " in refused(tmp_path, "# INC-1\n## Summary\n\nIt was.\n# INC-2\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("It was.\n", 1),
        ("\n\nIt was.\n## Summary\n", 3),
        ("# INC-1\n\n\nIt was.\n## Summary\n", 4),
        ("# INC-1\n<!-- one\ntwo\nthree --> It was.\n", 4),
        ("##Summary\nIt was.\n", 1),
    ],
)
def test_text_outside_of_sections_is_an_error_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    """Text outside of all sections is an error with its first line."""
    assert refused(tmp_path, text) == message(
        line, "this text is in no section", "Put it under a heading like `## Summary`."
    )


@pytest.mark.parametrize(
    "moment",
    [
        "2025-13-01 08:18 UTC: it",
        "2025-10-13 25:18 UTC: it",
        "2025-10-13 08:18: it",
        "2025-10-13: it",
        "2025-10-13 08:18 CEST: it",
        "2025-10-13 08:18 UTC+2: it",
        "2025-10-13 08:18 +25:00: it",
        "0001-01-01 00:18 +02:00: it",
        "2025-6-2 08:18 UTC: it",
        "**2025-10-13 08:18 UTC**: it",
        "2025-10-13 08:18 UTC:",
    ],
)
def test_a_bad_time_is_an_error_with_its_line(tmp_path: Path, moment: str) -> None:
    """A timeline row whose time cannot be read is an error with its line."""
    text = f"# INC-1\n<!--\n-->\n## Timeline\n\n- 2025-10-13 08:17 UTC: all is well\n- {moment}\n"

    assert refused(tmp_path, text) == message(7, "the time cannot be read", HOW)


@pytest.mark.parametrize("due", ["soon", "2026-02-30", "31.1.2026", "20260131", "2026-W05"])
def test_a_bad_due_date_is_an_error_with_its_line(tmp_path: Path, due: str) -> None:
    """An action item whose date cannot be read is an error with its line."""
    text = f"## Action items\n\n- [ ] It (owner: Ada, due: 2026-01-31)\n- [ ] That (owner: Ada, due: {due})\n"

    assert refused(tmp_path, text) == message(4, f"{due!r} is no date", "Write it like `due: 2026-01-31`.")


MALFORMED = "# INC-1\n\n## Sumary\n\nIt was.\n"


def test_a_run_with_bad_notes_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes that cannot be read are an error before a run begins."""
    monkeypatch.setattr(paths, "NOTES", file_of(tmp_path, MALFORMED))
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    with pytest.raises(UsageError) as raised:
        run_fleet(["demo"], confirm=["demo"])

    assert (raised.value.exit_code, raised.value.why) == (2, "Line 3: no section is named 'Sumary'.")
    assert not (tmp_path / "runs").exists()


def test_incident_run_exits_with_2_where_notes_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`incident run` is bad usage, names the line, and creates no folder of runs."""
    monkeypatch.setattr(paths, "NOTES", file_of(tmp_path, MALFORMED))
    monkeypatch.setenv("INCIDENT_RUNS", "")  # the setting of --out ends with this test
    ended = CliRunner().invoke(cli.cli, ["run", "--out", str(tmp_path / "runs")])

    assert isinstance(ended.exception, UsageError)
    assert (ended.exception.exit_code, ended.exception.why) == (2, "Line 3: no section is named 'Sumary'.")
    assert not (tmp_path / "runs").exists()


def test_incident_report_exits_with_2_where_notes_cannot_be_read(tmp_path: Path) -> None:
    """`incident report` exits with 2 and the complete message, and writes no file."""
    command = [sys.executable, "-m", "incident_lib", "report", str(paths.EXAMPLE_RUN)]
    options = ["--notes", "notes.md", "--out", str(tmp_path / "out" / "post.html")]
    file_of(tmp_path, MALFORMED)
    ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    expected = message(3, "no section is named 'Sumary'", USE)

    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"incident: {expected}\n")
    assert not (tmp_path / "out").exists()


# Events


def test_events_are_read(tmp_path: Path) -> None:
    """Timeline rows that begin with a time are events; the rest of the section is text."""
    found = read(
        tmp_path,
        "## Timeline\n\nFirst, calm.\n\n- 2025-10-13 08:18 UTC: support was told (inbox)\n"
        "* 2025-10-13T09:00:30Z all hands (on deck) were called\n- a list\n",
    )

    assert found.events == (
        Event(datetime(2025, 10, 13, 8, 18, tzinfo=UTC), "support was told", "inbox"),
        Event(datetime(2025, 10, 13, 9, 0, 30, tzinfo=UTC), "all hands (on deck) were called", "people"),
    )
    assert found.text("Timeline") == "First, calm.\n\n- a list"


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2025-06-02 14:05 +02:00", datetime(2025, 6, 2, 12, 5, tzinfo=UTC)),
        ("2025-06-02T14:05+02:00", datetime(2025, 6, 2, 12, 5, tzinfo=UTC)),
        ("2025-06-02 14:05:30 -0330", datetime(2025, 6, 2, 17, 35, 30, tzinfo=UTC)),
        ("2025-06-02 14:05 +05", datetime(2025, 6, 2, 9, 5, tzinfo=UTC)),
        ("2025-06-02 14:05 GMT", datetime(2025, 6, 2, 14, 5, tzinfo=UTC)),
        ("2025-06-02T14:05Z", datetime(2025, 6, 2, 14, 5, tzinfo=UTC)),
    ],
)
def test_times_of_other_zones_are_read(tmp_path: Path, written: str, at: datetime) -> None:
    """A time with an offset is read, and shown in UTC."""
    assert read(tmp_path, f"## Timeline\n\n- {written}: it (inbox)\n").events == (Event(at, "it", "inbox"),)


@pytest.mark.parametrize(
    "items",
    [
        "+ 2025-10-13 08:18 UTC: it\n  was (inbox)\n",
        "1. 2025-10-13 08:18 UTC: it\nwas (inbox)\n",
        "   - 2025-10-13 08:18 UTC: it was (inbox)\n",
        "- 2025-10-13 08:18 UTC: it was <!-- really --> (inbox)\n",
        "-\t2025-10-13 08:18 UTC: it was (inbox)\n",
    ],
)
def test_events_in_lists_of_every_kind_are_read(tmp_path: Path, items: str) -> None:
    """An event may be in any kind of list, indented, and go on in the next line."""
    found = read(tmp_path, f"## Timeline\n\n{items}\nSo.\n")

    assert found.events == (Event(datetime(2025, 10, 13, 8, 18, tzinfo=UTC), "it was", "inbox"),)
    assert found.text("Timeline") == "So."


def test_nested_events_are_read(tmp_path: Path) -> None:
    """Events within a list are read; the text of the list stays."""
    text = "## Timeline\n\n- Monday\n  - 2025-10-13 08:18 UTC: it\n    - 2025-10-13 08:19 UTC: that\n- Tuesday\n"
    found = read(tmp_path, text)

    assert [event.what for event in found.events] == ["it", "that"]
    assert found.text("Timeline") == "- Monday\n- Tuesday"


@pytest.mark.parametrize("more", ["  - a detail", "\n  another paragraph", "  ```\n  code\n  ```", "  > a quote"])
def test_an_event_of_several_blocks_is_an_error(tmp_path: Path, more: str) -> None:
    """What is within an event's item besides other events is an error with its line: it would be lost."""
    line = 4 + more.startswith("\n")

    assert refused(tmp_path, f"## Timeline\n\n- 2025-10-13 08:18 UTC: it\n{more}\n") == message(
        line, "an event is one paragraph", HOW
    )


@pytest.mark.parametrize("made", FORMS)
def test_events_are_sorted_among_those_of_the_runs(tmp_path: Path, made: Any) -> None:
    """Events of the notes are rows of the timeline, sorted among those of the runs, with their source."""
    text = (
        "## Timeline\n- 2999-01-01 00:00 UTC: it was over (a dream)\n- 2025-09-22 05:00:10 UTC: the deploy began\n"
        "- 2025-10-13 08:18 UTC: support was told (inbox)\n"
    )
    rows = made(run_folder(tmp_path, {}), notes=file_of(tmp_path, text)).sections["Timeline"].tables[1][1:]

    assert [row for row in rows if row[2] in {"people", "inbox", "a dream"}] == [
        ["2025-09-22 05:00:10", "the deploy began", "people"],
        ["2025-10-13 08:18:00", "support was told", "inbox"],
        ["2999-01-01 00:00:00", "it was over", "a dream"],
    ]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert len(rows) > 8


# Action items


def test_action_items_are_read(tmp_path: Path) -> None:
    """Tasks are action items with owner, date, and whether they are done."""
    found = read(
        tmp_path,
        "## Action items\n- [ ] This (owner: Ada, due: 2026-01-31)\n- [x] That\n* [X] Those (due: 2026-02-01)\n"
        "- [ ] These (and more) (owner: Team B)\n- [ ] With a note (see above)\n- [ ] None named (owner: , due: )\n",
    )

    assert found.actions == (
        Action("This", "Ada", "2026-01-31", done=False),
        Action("That", "", "", done=True),
        Action("Those", "", "2026-02-01", done=True),
        Action("These (and more)", "Team B", "", done=False),
        Action("With a note (see above)", "", "", done=False),
        Action("None named", "", "", done=False),
    )


def test_tasks_in_lists_of_every_kind_are_read(tmp_path: Path) -> None:
    """Tasks are read in any kind of list, at any depth; a task's other paragraphs and items are its text."""
    text = (
        "## Action items\n\n+ [ ] A (owner: Ada, due: 2026-01-31)\n+ [X] B\n\n1. [ ] C\n   goes on\n\n"
        "- The database:\n  - [ ] D (owner: Bo)\n    - [x] E\n    - a detail of D\n  - no task\n"
    )
    found = read(tmp_path, text)

    assert found.actions == (
        Action("A", "Ada", "2026-01-31", done=False),
        Action("B", "", "", done=True),
        Action("C goes on", "", "", done=False),
        Action("D a detail of D", "Bo", "", done=False),
        Action("E", "", "", done=True),
    )
    assert found.text("Action items") == "- The database:\n  - no task"


@pytest.mark.parametrize("item", ["- []", "- [] A", "- [ ]", "* [-] A", "+ [x]A", "- [ x ] A", "1. [✓] A"])
def test_a_task_that_cannot_be_read_is_an_error(tmp_path: Path, item: str) -> None:
    """What looks like a task, and is none, is an error with its line."""
    assert refused(tmp_path, f"## Action items\n\n- [ ] B\n{item}\n") == message(4, "the task cannot be read", TASK)


@pytest.mark.parametrize("item", ["[a link](https://example.com) to it", "[1] a footnote", "[A] and [B]"])
def test_an_item_that_begins_with_a_bracket_is_text(tmp_path: Path, item: str) -> None:
    """An item that begins with a link or another bracket is no task, and stays text."""
    found = read(tmp_path, f"## Action items\n\n- {item}\n")

    assert (found.actions, found.text("Action items")) == ((), f"- {item}")


def test_a_task_with_code_in_it_is_an_error(tmp_path: Path) -> None:
    """A block of code within a task is an error with its line: a table of tasks has no place for it."""
    assert refused(tmp_path, "## Action items\n\n- [ ] A\n\n  ```\n  code\n  ```\n") == message(
        5, "a task has only text and other tasks in it", "Put this below the list."
    )


# Metadata


def test_metadata_is_read(tmp_path: Path) -> None:
    """The facts of the incident are read, in any order and case; what is not written is empty."""
    text = "## Metadata\n\n- severity: SEV2\n+ Detected: 2025-10-13 10:18 +02:00\n\n<!-- more -->\n- Owner:\n"

    assert read(tmp_path, text).metadata == Metadata(
        severity="SEV2", detected=datetime(2025, 10, 13, 8, 18, tzinfo=UTC)
    )
    assert read(tmp_path, "").metadata == Metadata()


@pytest.mark.parametrize(
    ("text", "line", "why", "action"),
    [
        ("- Severity: 1\n- Severity: 2", 4, "severity is there twice", "Keep one of them."),
        (
            "- Resolved: 2025-10-13 10:18 CEST",
            3,
            "the time cannot be read",
            "Write it like `- Resolved: 2025-10-13 08:18 UTC`.",
        ),
        ("- Colour: red", 3, "this is no fact of an incident", FACT),
        ("- Severity", 3, "this is no fact of an incident", FACT),
        ("- Severity: 1\n\nAs people say.", 5, "this is no fact of an incident", FACT),
        ("- Severity: 1\n  - Owner: Ada", 3, "this is no fact of an incident", FACT),
    ],
)
def test_a_bad_fact_is_an_error_with_its_line(tmp_path: Path, text: str, line: int, why: str, action: str) -> None:
    """What is no fact, or one that cannot be read, is an error with its line."""
    assert refused(tmp_path, f"## Metadata\n\n{text}\n") == message(line, why, action)


# Any Markdown

USUAL = (
    *("{}", "> {}", "- {}", "  - {}", "    - {}", "1. {}", "", "`{}`", "<!-- {} -->", "{} <!-- {} -->", "    {}"),
    *("- [ ] {}", "  + [x] {} (owner: {})", "- 2025-06-02 14:05 +02:00: {} ({})", "  - 2025-06-02T14:05Z {}", "### {}"),
)
LINES = st.sampled_from(
    [
        *USUAL * 15,
        *("# {}", "## {}", "### {}", "{}\n---", "{}\n===", " ## {}", "    ## {}", "##{}", "> ## {}"),
        *(f"## {title}" for title in (*SECTIONS, "Metadata")),
        *("## Summary", "  ## Timeline", "Action items\n------", "## Timeline ##"),
        *("{}", "{}\n{}", "    {}", "\t{}", "> {}", "> > {}", "{}  ", "\\{}", "*{}*", "**{}", "[{}]: {}", "[{}]({})"),
        *("- {}", "* {}", "+ {}", "1. {}", "2) {}", "  - {}", "    - {}", "\t* {}", "-", "- - {}", "> - {}", "-\t{}"),
        *(
            "- [ ] {}",
            "+ [x] {}",
            "  - [X] {} (owner: {}, due: 2026-01-31)",
            "1. [ ] {}",
            "- [] {}",
            "- [ ]",
            "> - [ ] {}",
        ),
        *("- 2025-06-02 14:05 UTC: {} ({})", "  + 2025-06-02T14:05+02:00 {}", "- 2025-06-02 14:05 CEST: {}", "- 2025"),
        *("- Severity: {}", "- Owner: {}", "- Detected: 2025-06-02 14:05 UTC", "- Detected: {}"),
        *(
            "```",
            "~~~",
            "```{}",
            "  ```",
            "- ```",
            "`{}",
            "`` {} ` {} ``",
            "`<!-- {} -->`",
            "<!-- {} -->",
            "<!-- {}",
            "{} -->",
        ),
        *(
            "- <!-- {}",
            "<div>",
            "</div>",
            "<pre>{}",
            "</pre>",
            "<script>",
            "<b>{}</b>",
            "<?{}",
            "{} <!-- {} --> {}",
            "\\<!-- {}",
        ),
        *("| {} | {} |", "|---|---|", "---", "***", "===", "&lt;{}&gt;", "\0{}", "", "", ""),
    ]
)


@st.composite
def markdown(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Lines of Markdown in any order, each word of them another one; and these words."""
    words = list[str]()
    lines = [draw(st.sampled_from(["", "## Summary", "## Timeline", "## Action items", "## Metadata"]))]
    for line in draw(st.lists(LINES, max_size=14)):
        made = line
        while "{}" in made:
            words.append(f"w{len(words)}w")
            made = made.replace("{}", words[-1], 1)
        lines.append(made)
    return "\n".join(lines), words


class Comments(HTMLParser):
    """The comments of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_comment(self, data: str) -> None:
        """Note a comment."""
        self.text += data


@settings(max_examples=few_examples(2000), deadline=None)
@given(markdown())
def test_no_text_is_lost(written: tuple[str, list[str]]) -> None:
    """Any Markdown is read, with every word that is in no comment, or refused with the number of a line."""
    text, words = written
    with TemporaryDirectory() as folder:
        file = Path(folder) / "notes.md"
        file.write_text(text, "utf-8")
        try:
            found = notes.read_notes(file)
        except UsageError as error:
            line = int(re.match(r"Line (\d+): ", error.why)[1])
            assert 1 <= line <= text.count("\n") + 1
            return
    hidden = Comments(MarkdownIt("commonmark").render(text)).text

    assert [word for word in words if word not in repr(found) and word not in hidden] == []


@pytest.mark.parametrize("made", FORMS)
def test_missing_parts_of_an_action_item_are_shown(tmp_path: Path, made: Any) -> None:
    """Each action item is a row with its missing parts or its state, proposals marked; what is done is last."""
    text = (
        "## Action items\n- [ ] A (owner: Ada, due: 2026-01-31)\n- [ ] B (owner: Ada)\n- [ ] C (due: 2026-01-31)\n"
        "- [ ] D\n- [x] E\n"
    )
    rows = made(run_folder(tmp_path, {}), notes=file_of(tmp_path, text)).sections["Action items"].tables[0]

    assert rows == [
        ["action", "owner", "due", "state"],
        ["A", "Ada", "2026-01-31", "open"],
        ["B", "Ada", "–", "no due date"],
        ["C", "–", "2026-01-31", "no owner"],
        ["D", "–", "–", "no owner and no due date"],
        [
            f"Decide whether provider belongs in the unique index: {CONFLICTS} provider conflicts",
            "–",
            "–",
            "proposed from the data",
        ],
        ["Look for up to 990 orphaned conversations at the provider", "–", "–", "proposed from the data"],
        [
            "Set an owner for 159 active threads without one; make the column NOT NULL",
            "–",
            "–",
            "proposed from the data",
        ],
        ["E", "–", "–", "done"],
        ["Apply the fix: demo", "–", "–", "done, by the record"],
    ]


@pytest.mark.parametrize("made", FORMS)
def test_text_beside_action_items_is_shown(tmp_path: Path, made: Any) -> None:
    """Text beside action items is shown: as a sentence before them, or as an item's second line."""
    text = "## Action items\n\nReviewed each Monday.\n\n- [ ] Name the indexes of each table\n  that a column joins\n"
    found = squeezed(made(run_folder(tmp_path, {}), notes=file_of(tmp_path, text)).sections["Action items"].text)

    assert "Reviewed each Monday." in found
    assert "that a column joins" in found


@pytest.mark.parametrize(
    ("item", "owner"),
    [("(owner: Ada (data), due: 2026-01-31)", "Ada (data)"), ("(Owner: Ada, Due: 2026-01-31)", "Ada")],
)
def test_an_owner_is_read_in_any_spelling(tmp_path: Path, item: str, owner: str) -> None:
    """An owner with a bracket or an upper-case keyword is read."""
    (found,) = read(tmp_path, f"## Action items\n- [ ] It {item}\n").actions

    assert (found.what, found.owner, found.due) == ("It", owner, "2026-01-31")
