"""The notes: a Markdown file that people write, read by section; no run ever overwrites it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from incident_lib import paths
from incident_lib.model import Failed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
# Fences and code within a line, as CommonMark has them; a fence without an end is code to the end of the text.
CODE = re.compile(
    r"^ {0,3}(`{3,}(?=[^`\n]*$)|~{3,})[^\n]*(?:\n.*?)??(?:^ {0,3}\1[`~]*[ \t]*$|\Z)"
    r"|(?<![`\\])(`+)(?!`)[^\n]+?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)
_COMMENT_OR_CODE = re.compile(f"<!--.*?-->|{CODE.pattern}", CODE.flags)
_HEADING = re.compile(r"(#{1,2})\s+(.*?)\s*#*\s*$")
_DATED = re.compile(r"[-*] +(\d{4}-\d\d-\d\d.*)$")
_EVENT = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?)(?:Z| UTC)[:,]? +(.*?)(?: +\(([^()]*)\))?$")
_ACTION = re.compile(r"[-*] +\[([ xX])\] +(.*?)(?: +\(((?:owner|due):.*)\))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Event:
    """An event of the timeline that people wrote."""

    at: datetime
    what: str
    source: str


@dataclass(frozen=True)
class Action:
    """An action item."""

    what: str
    owner: str
    due: str
    done: bool

    @property
    def lacks(self) -> str:
        """What it still needs: an owner, a due date; empty: nothing."""
        missing = [name for name, value in (("owner", self.owner), ("due date", self.due)) if not value]
        return f"no {' and no '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Notes:
    """What people wrote, by section."""

    incident: str = ""  # its id, as people's tracker knows it
    sections: dict[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()

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
        UsageError: a heading is unknown or doubled, text is outside of any section, or a date cannot be read;
            the message names the line.
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
    return _Reader(os.path.relpath(file), text).notes()


def template() -> str:
    """An empty file of notes: headings and hints."""
    return files("incident_lib.report").joinpath("templates", "notes.md").read_text("utf-8")


@dataclass
class _Reader:
    file: str
    text: str

    def notes(self) -> Notes:
        incident, bodies = "", {}
        for line, heading, body in self._parts():
            if incident and line and heading.startswith("# "):
                raise self._wrong(line, "the incident's id is there twice", "Keep one heading of the first order.")
            if line and heading.startswith("# "):
                incident = heading[2:]
            elif line and (title := self._title(line, heading[3:])) in bodies:
                raise self._wrong(line, f"the section {title!r} is there twice", "Merge the two.")
            elif line:
                bodies[title] = (line, body)
            self._check_loose(line, heading, body)
        events, timeline = self._events(*bodies.get("Timeline", (0, "")))
        actions, loose = self._actions(*bodies.get("Action items", (0, "")))
        texts = {title: body.strip() for title, (_, body) in bodies.items()}
        own = {"Timeline": timeline, "Action items": loose}
        return Notes(incident, {**texts, **{k: v for k, v in own.items() if k in texts}}, events, actions)

    def _parts(self) -> Iterator[tuple[int, str, str]]:
        """Each heading with its line, and the text below it; first, with line 0, the text above all headings."""
        plain = _COMMENT_OR_CODE.sub(_without_comment, self.text)
        masked = CODE.sub(lambda found: re.sub(r"[^\n]", "-", found[0]), plain)
        line, heading, body = 0, "", list[str]()
        for number, (text, seen) in enumerate(zip(plain.split("\n"), masked.split("\n"), strict=True), start=1):
            if seen.startswith("#") and (found := _HEADING.match(text)):
                yield line, heading, "\n".join(body)
                line, heading, body = number, f"{found[1]} {found[2]}", []
            else:
                body.append(text)
        yield line, heading, "\n".join(body)

    def _title(self, line: int, written: str) -> str:
        for title in (*WANTED, *WELCOME):
            if title.lower() == written.lower():
                return title
        raise self._wrong(line, f"no section is named {written!r}", f"Use one of: {', '.join((*WANTED, *WELCOME))}.")

    def _check_loose(self, line: int, heading: str, body: str) -> None:
        if body.strip() and not heading.startswith("## "):
            first = line + 1 + next(n for n, text in enumerate(body.split("\n")) if text.strip())
            raise self._wrong(first, "this text is in no section", "Put it under a heading like `## Summary`.")

    def _events(self, line: int, body: str) -> tuple[tuple[Event, ...], str]:
        """The lines of the timeline that begin with a time, and the rest of the section."""
        events, rest = [], []
        for number, text in enumerate(body.split("\n"), start=line + 1):
            if not (dated := _DATED.match(text)):
                rest.append(text)
            elif event := _event(dated[1]):
                events.append(event)
            else:
                cure = "Write it like `- 2025-10-13 08:18 UTC: what (source)`."
                raise self._wrong(number, "the time cannot be read", cure)
        return tuple(events), "\n".join(rest).strip()

    def _actions(self, line: int, body: str) -> tuple[tuple[Action, ...], str]:
        """The lines that are tasks, and the rest of the section."""
        tasks, rest, goes_on = list[tuple[int, str]](), list[str](), False
        for number, text in enumerate(body.split("\n"), start=line + 1):
            if goes_on and text.startswith("  ") and text.strip():
                begun, task = tasks.pop()
                tasks.append((begun, f"{task} {text.strip()}"))
            elif goes_on := bool(_ACTION.match(text)):
                tasks.append((number, text))
            else:
                rest.append(text)
        return tuple(self._action(number, text) for number, text in tasks), "\n".join(rest).strip()

    def _action(self, number: int, text: str) -> Action:
        done, what, said = _ACTION.match(text).groups()  # type: ignore[union-attr]
        found = {name.lower(): value.strip() for name, value in re.findall(r"(owner|due): *([^,]*)", said or "", re.I)}
        if (due := found.get("due", "")) and not _is_date(due):
            raise self._wrong(number, f"{due!r} is no date", "Write it like `due: 2026-01-31`.")
        return Action(what, found.get("owner", ""), due, done in "xX")

    def _wrong(self, line: int, why: str, cure: str) -> UsageError:
        return UsageError(f"{self.file} cannot be read as notes.", f"Line {line}: {why}.", cure)


def _without_comment(found: re.Match[str]) -> str:
    """Code as it is; of a comment its lines, so that the numbers in messages are those of the file."""
    return "\n" * found[0].count("\n") if found[0].startswith("<!--") else found[0]


def _event(text: str) -> Event | None:
    """The event of a dated line; None where its time cannot be read."""
    try:
        at, what, source = _EVENT.fullmatch(text).groups()  # type: ignore[union-attr]
        return Event(datetime.fromisoformat(f"{at}+00:00"), what, source or "people")
    except (AttributeError, ValueError):
        return None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == len("2026-01-31")
