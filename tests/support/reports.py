"""Run records as tests make them, and what a browser or a wiki makes of a report over them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mistune
import pytest
from markdown_it import MarkdownIt

import incident_lib
from incident_lib import paths
from incident_lib.model.counts import Counts, PerPurpose
from incident_lib.report import render
from incident_lib.report.chart import Chart
from incident_lib.report.postmortem import Postmortem, read_runs

Contents = dict[str, Any]
EXAMPLE: Contents = json.loads((paths.EXAMPLE_RUN / "record.json").read_text("utf-8"))
UNWRITTEN = (
    Path(incident_lib.__file__).parent / "report" / "templates" / "notes.md"
)  # notes in which nothing is written
SILENT, BEATING = "2025-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
STATUSES = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing that it had not said.",
    "failed": "The run FAILED. What it saw before that stands below.",
    "killed": "The run was KILLED: it stopped without a word. What it saw before that stands below.",
    "running": "The run has not ended yet.",
}
GONE: Any = ...  # in place of a key's value: the key is not in the record
# What a record lacks whose run was not there, or not through, for the look after the steps.
NO_AFTER: Contents = {
    "guard": {**EXAMPLE["guard"], "after": None},
    "counts": {**EXAMPLE["counts"], "after": None},
    "seen_at": {"before": EXAMPLE["seen_at"]["before"]},
    "example": {key: value for key, value in EXAMPLE["example"].items() if key != "after"},
    **dict.fromkeys(("incident_ended_at", "verified", "verification", "unchanged", "retries"), None),
    "recovery": GONE,
    "steps": [],
    "probes": [],
}
# Of a run that ended before its first look: what a record holds when it begins.
NOTHING_SEEN: Contents = {
    "counts": {"before": None, "after": None},
    "guard": {"before": None, "after": None},
    **dict.fromkeys(("server_version", "preflight", "git_commit", "finished_at")),
    "steps": [],
    "error": {"what": "It cannot be reached.", "why": "Nothing listens.", "next": "Start it."},
}
_LATER = (
    *("verdict", "unknown", "example", "probes", "retries", "seen_at", "incident_ended_at", "verified", "unchanged"),
    *("verification", "purpose_since", "blocked_by", "blocked_since", "failures", "recovery", "remains"),
)


def kept(folder: Path, changes: Contents, name: str = "run", *, without: tuple[str, ...] = ()) -> Path:
    """The folder of a run like the example, with some keys changed, and without others."""
    made = folder / name
    made.mkdir(parents=True)
    contents = {**copy.deepcopy(EXAMPLE), **changes, **dict.fromkeys(without, GONE)}
    left = {key: value for key, value in contents.items() if value is not GONE}
    (made / "record.json").write_text(json.dumps(left), "utf-8")
    return made


def end(how: str) -> Contents:
    """The keys of a record that tell how its run ended, as a report shows it."""
    beat = SILENT if how == "killed" else BEATING if how == "running" else EXAMPLE["heartbeat_at"]
    left = how in ("killed", "running")
    return {
        "status": "running" if left else how,
        "heartbeat_at": beat,
        "finished_at": None if left else EXAMPLE["finished_at"],
    }


def ended(folder: Path, how: str, environment: str = "staging", **changes: Any) -> Path:
    """The folder of a run that ended in some way."""
    return kept(folder, {"environment": environment, **end(how), **changes}, environment)


def unseen(folder: Path, environment: str = "staging") -> Path:
    """The folder of a run that failed before it saw anything."""
    return kept(folder, {"environment": environment, "status": "failed", **NOTHING_SEEN}, environment, without=_LATER)


def looked(chat: int | None, run: int | None = 168, conflicts: int = 65, unguarded: int = 159) -> Counts:
    """The counts of a look."""
    return Counts(
        families=1257,
        active_threads=1408,
        active_by_purpose={"chat": 161, "eval": 7, "run": 1240},
        blocked_families=None if chat is None or run is None else chat + run,
        blocked=PerPurpose(chat, run),
        affected_owners=None,
        blocked_owners=PerPurpose(None, None),
        coexisting_families=0,
        residual_conflicts=conflicts,
        unguarded_threads=unguarded,
        duplicate_keys={"original": 0, "fixed": 0},
    )


def kind(blocked_for: str, families: int, purpose: str | None = "run", provider: str | None = "openai") -> Contents:
    """A kind of blocking threads, as a run record carries it."""
    return {"blocked_for": blocked_for, "purpose": purpose, "provider": provider, "families": families}


@dataclass
class Section:
    """A section of a page: its text, and its tables, row by row."""

    text: str = ""
    tables: list[list[list[str]]] = field(default_factory=list)


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its text, its sections."""

    VOID = frozenset({"meta", "img", "br", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.style = ""
        self.sections: dict[str, Section] = {"": Section()}
        self._heading = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; open it, unless it can hold nothing."""
        self.elements.append((tag, dict(attrs)))
        if tag == "h2":
            self._heading = ""
        elif tag == "table":
            self._here.tables.append([])
        elif tag == "tr":
            self._here.tables[-1].append([])
        elif tag in ("td", "th"):
            self._here.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that closes itself is, in HTML, one that has only begun."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last: any other is an error in the page."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if "style" in self.open:
            self.style += data
            return
        if "h2" in self.open:
            self._heading += data
        self._here.text += data
        if "td" in self.open or "th" in self.open:
            self._here.tables[-1][-1][-1] += data

    @property
    def _here(self) -> Section:
        return self.sections.setdefault(self._heading.strip(), Section())

    @property
    def text(self) -> str:
        """The text of all sections."""
        return "".join(section.text for section in self.sections.values())

    @property
    def cells(self) -> list[str]:
        """The texts of all cells of all tables."""
        tables = (table for section in self.sections.values() for table in section.tables)
        return [squeezed(cell) for table in tables for row in table for cell in row]

    @property
    def headings(self) -> list[str]:
        """The headings' tags, in order."""
        return [tag for tag, _ in self.elements if tag in ("h1", "h2", "h3", "h4", "h5", "h6")]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]


def read(*folders: Path, notes: Path = UNWRITTEN) -> Postmortem:
    """The report over some runs; nobody has written anything into it, unless notes are given."""
    return read_runs(folders, notes)


def page(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The HTML report over some runs; its pictures are empty, for drawing them is most of the work."""
    return undrawn(read(*folders, notes=notes))


def undrawn(post: Postmortem) -> Page:
    """A report's HTML with empty pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "svg", lambda *_, **__: "<svg/>")
        return Page(render.render_html(post))


def drawn(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The HTML report over some runs, its pictures drawn."""
    return Page(render.render_html(read(*folders, notes=notes)))


def wiki(markdown: str) -> Page:
    """Markdown as a wiki that lets HTML through, and makes links of addresses, renders it."""
    made = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "url"])
    return Page(str(made(markdown)))


def commonmark(markdown: str) -> Page:
    """Markdown as one that keeps to CommonMark, with tables, and lets HTML through, renders it."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def rendered(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The Markdown report over some runs, as a wiki renders it."""
    return wiki(render.render_markdown(read(*folders, notes=notes), "pictures"))


def rendered_strictly(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The Markdown report over some runs, as CommonMark has it."""
    return commonmark(render.render_markdown(read(*folders, notes=notes), "pictures"))


def squeezed(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())


FORMS = (page, rendered)
MARKDOWN = (rendered, rendered_strictly)
