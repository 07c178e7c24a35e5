"""The notes: a Markdown file that people write, read by section; no run ever overwrites it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import Failed, UsageError
from incident_lib.report.commonmark import Document, MarkdownError
from incident_lib.report.note_items import Action, Event, ItemError, Metadata, read_actions, read_events, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from incident_lib.report.commonmark import Heading

__all__ = ["WANTED", "WELCOME", "Action", "Event", "Metadata", "Notes", "parse_notes", "read_notes", "template"]

# The sections that only people can write, then those to which they may add.
WANTED = (
    "Summary",
    "Detection",
    "Contributing factors",
    "What went well",
    "What went badly",
    "Where we were lucky",
    "Action items",
)
WELCOME = ("Impact", "Timeline", "Root cause", "Resolution", "What remains")
SECTIONS = (*WANTED, *WELCOME, "Metadata")
_LIKE_A_HEADING = re.compile(r"[\s>*+\-\d.)]*(?P<marks>#{1,2}(?!#))\s*(?P<title>.*?)[\s#]*")
_TITLES = {title.lower(): title for title in SECTIONS}


@dataclass(frozen=True)
class Notes:
    """What people wrote, by section."""

    incident: str = ""  # its id, as people's tracker knows it
    sections: dict[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)

    def text(self, section: str) -> str:
        """The text of a section; empty: nothing yet."""
        return self.sections.get(section, "")

    @property
    def unwritten(self) -> list[str]:
        """The sections that only people can write, and that are still empty."""
        written = {**self.sections, "Action items": self.text("Action items") or self.actions}
        return [section for section in WANTED if not written.get(section)]


def read_notes(file: Path | None = None) -> Notes:
    """What people wrote into a file of notes; where there is no such file, it is created from the template.

    Args:
        file: the notes; `data/postmortem.md` if None.

    Raises:
        UsageError: a heading is unknown or doubled, text is outside of any section, or an event, an action item, a
            comment or a block of code cannot be read; the message names the line.
        Failed: the file cannot be read, or not be created.
    """
    file = file or paths.NOTES
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(template(), "utf-8")
        text = file.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        what, why = f"{os.path.relpath(file)} cannot be read as notes.", f"{error.strerror or error}."
        raise Failed(what, why, "Make it readable, or name another file with --notes.") from None
    return parse_notes(text, os.path.relpath(file))


def parse_notes(text: str, name: str) -> Notes:
    """What people wrote; `name` is that of the file, for messages. For the errors see `read_notes`."""
    try:
        return _Reader(Document(text)).notes()
    except MarkdownError as error:
        wrong = ItemError(error.line, error.why, "Close it.")
    except ItemError as error:
        wrong = error
    raise UsageError(f"{name} cannot be read as notes.", f"Line {wrong.line}: {wrong.why}.", wrong.action)


def template() -> str:
    """An empty file of notes: headings and hints."""
    return files("incident_lib.report").joinpath("templates", "notes.md").read_text("utf-8")


@dataclass(frozen=True)
class _Section:
    """A section: the number of the first line below its heading, and its lines."""

    first: int
    lines: list[str]


@dataclass
class _Reader:
    document: Document

    def notes(self) -> Notes:
        incident, sections = "", dict[str, _Section]()
        for heading, section in self._parts():
            if heading is None or heading.level == 1:
                self._check_loose(section)
            if heading is None:
                continue
            if heading.level == 1 and incident:
                raise ItemError(
                    heading.line, "the incident's id is there twice", "Keep one heading of the first order."
                )
            if heading.level == 1 and (title := _TITLES.get(heading.text.lower())):
                raise ItemError(heading.line, "this heading is of the first order", f"Write `## {title}`.")
            if heading.level == 1:
                incident = heading.text
            elif (title := self._title(heading.line, heading.text)) in sections:
                raise ItemError(heading.line, f"the section {title!r} is there twice", "Merge the two.")
            else:
                sections[title] = section
        self._check_headings()
        texts = {title: "\n".join(section.lines).strip() for title, section in sections.items()}
        read = {"Timeline": read_events, "Action items": read_actions, "Metadata": read_metadata}
        found: dict[str, Any] = {}
        for title in read.keys() & sections.keys():
            lines, first = sections[title].lines, sections[title].first
            items = self.document.items(first, first + len(lines))
            found[title], texts[title] = read[title](lines, first, items)
        texts.pop("Metadata", None)
        return Notes(
            incident,
            texts,
            found.get("Timeline", ()),
            found.get("Action items", ()),
            found.get("Metadata", Metadata()),
        )

    def _parts(self) -> Iterator[tuple[Heading | None, _Section]]:
        """Each heading of the first or second order, and what is below it; first None, and what is above all."""
        headings = [heading for heading in self.document.headings if heading.level <= 2]
        ends = [*(heading.line for heading in headings), len(self.document.lines) + 1]
        for heading, end in zip([None, *headings], ends, strict=True):
            first = heading.end if heading else 1
            yield heading, _Section(first, self.document.lines[first - 1 : end - 1])

    @staticmethod
    def _title(line: int, written: str) -> str:
        if title := _TITLES.get(written.lower()):
            return title
        raise ItemError(line, f"no section is named {written!r}", f"Use one of: {', '.join(SECTIONS)}.")

    @staticmethod
    def _check_loose(section: _Section) -> None:
        for number, text in enumerate(section.lines, start=section.first):
            if text.strip():
                raise ItemError(number, "this text is in no section", "Put it under a heading like `## Summary`.")

    def _check_headings(self) -> None:
        """Reject a line that names a section like a heading, and is none: it would hide that section."""
        known = {heading.line for heading in self.document.headings} | self.document.code_lines
        for number, text in enumerate(self.document.lines, start=1):
            found = _LIKE_A_HEADING.fullmatch(text)
            if found and number not in known and found["title"].lower() in _TITLES:
                title = f"## {_TITLES[found['title'].lower()]}"
                raise ItemError(
                    number,
                    "this looks like a heading, and is none",
                    f"Write `{title}` at the beginning of a line of its own.",
                )
