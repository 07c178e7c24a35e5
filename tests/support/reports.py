"""Run records for tests, and the pages that a browser or a wiki makes of a report over them."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, wraps
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mistune
import msgspec
import pytest
from markdown_it import MarkdownIt

import incident_lib
from incident_lib import paths
from incident_lib.model import (
    BlockerCount,
    Check,
    ClientCounts,
    Counts,
    PerPurpose,
    RehearsalReport,
    RehearsalStep,
    RollbackOutcome,
    RunRecord,
    Status,
)
from incident_lib.records import to_json
from incident_lib.report import render
from incident_lib.report.chart import Chart
from incident_lib.report.postmortem import Postmortem, read_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Contents = dict[str, Any]
EXAMPLE: Contents = json.loads((paths.EXAMPLE_RUN / "record.json").read_text("utf-8"))
UNWRITTEN = Path(incident_lib.__file__).parent / "report" / "templates" / "notes.md"  # nothing is written in them
CONFLICTS, OWNERLESS = (EXAMPLE["counts"]["after"][key] for key in ("residual_conflicts", "unguarded_threads"))
# The title of a report over one environment like the example.
STILL = (
    "1,088 families were blocked for chat; now none is blocked by another purpose; "
    f"{CONFLICTS} threads still conflict by provider"
)
SILENT, BEATING = "2025-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
STATUSES = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing but what its steps list.",
    "failed": "The run FAILED. The numbers below are from before the failure.",
    "killed": "The run was KILLED: its heartbeat stopped. The numbers below are from before that.",
    "running": "The run has not ended yet.",
}
NEITHER: Contents = {"before": None, "after": None}
# The values of a record whose run took no snapshot after the steps.
NO_AFTER: Contents = {
    **{key: {**EXAMPLE[key], "after": None} for key in ("indexes", "counts", "snapshot_at", "example_threads")},
    **dict.fromkeys(("incident_ended_at", "verified", "verification", "integrity", "retries", "recovery")),
    "steps": [],
    "probes": [],
}
# The values of a record whose run ended before its first snapshot.
NOTHING_SEEN: Contents = {
    **dict.fromkeys(("counts", "indexes", "snapshot_at", "example_threads"), NEITHER),
    **dict.fromkeys(("server_version", "preflight", "git_commit", "finished_at")),
    **dict.fromkeys(("verdict", "unknown", "example", "retries", "incident_ended_at", "verified", "integrity")),
    **dict.fromkeys(("verification", "purpose_since", "blocked_by", "blocked_since", "rejected_inserts")),
    **dict.fromkeys(("recovery", "residual")),
    "probes": [],
    "steps": [],
    "error": {"what": "It cannot be reached.", "why": "Nothing listens.", "next": "Start it."},
}


def run_folder(folder: Path, changes: Contents, name: str = "run", *, without: tuple[str, ...] = ()) -> Path:
    """The folder of a run like the example, with some values changed, and others unknown (null)."""
    made = folder / name
    made.mkdir(parents=True)
    contents = {**EXAMPLE, **changes, **dict.fromkeys(without)}
    (made / "record.json").write_text(json.dumps(contents), "utf-8")
    return made


def end(how: str) -> Contents:
    """The values of a record that tell how its run ended."""
    beat = SILENT if how == "killed" else BEATING if how == "running" else EXAMPLE["heartbeat_at"]
    left = how in ("killed", "running")
    return {
        "status": "running" if left else how,
        "heartbeat_at": beat,
        "finished_at": None if left else EXAMPLE["finished_at"],
    }


def ended_run(folder: Path, how: str, environment: str = "staging", **changes: Any) -> Path:
    """The folder of a run that ended in some way."""
    return run_folder(folder, {"environment": environment, **end(how), **changes}, environment)


def run_without_snapshot(folder: Path, environment: str = "staging") -> Path:
    """The folder of a run that failed before its first snapshot."""
    return run_folder(folder, {"environment": environment, "status": "failed", **NOTHING_SEEN}, environment)


def record_of(contents: Contents) -> RunRecord:
    """The typed record of these contents."""
    return msgspec.convert(contents, RunRecord)


def contents_of(record: RunRecord) -> Contents:
    """What a record's file holds."""
    return dict(json.loads(to_json(record)))


def snapshot_counts(chat: int | None, run: int | None = 168, conflicts: int = 65, unguarded: int = 159) -> Counts:
    """The counts of a snapshot."""
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


def blocker_count(
    blocked_for: str, families: int, purpose: str | None = "run", provider: str | None = "openai"
) -> BlockerCount:
    """How many families are blocked by threads of a purpose and a provider."""
    return BlockerCount(blocked_for=blocked_for, purpose=purpose, provider=provider, families=families)


REHEARSED = RehearsalReport(
    schema_version=2,
    environment="demo",
    rehearsed_at=datetime(2025, 11, 22, 5, 6, 7, tzinfo=UTC),
    server_version=170005,
    rehearsal_version=160009,
    threads=1_234_567,
    active_threads=345_678,
    bytes=10**8,
    works=True,
    why="On a copy of 345,678 active threads the fix was applied under writes.",
    next="incident apply",
    steps=[
        RehearsalStep(name=name, seconds=seconds, outcome="done")
        for name, seconds in (("copy", 1.5), ("apply: build", 0.5), ("apply: swap", 0.25))
    ],
    build_seconds_per_million=0.5 / 345_678 * 10**6,
    clients=ClientCounts(
        writes=9876, rejected={"chat": 12}, rejected_after={"run": 3}, errors={}, longest_stall=0.0424
    ),
    rollback=RollbackOutcome(possible=False, why="77 families hold more than one active thread."),
    waits=[Check("sessions that delay the build", Status.WARN, "pid 17 (psql, idle, open 99 s)", "End it.")],
    not_reproduced=["a trigger of another schema"],
    copied_in_seconds=1.5,
)


@dataclass
class Section:
    """A section of a page: its text, and its tables, row by row."""

    text: str = ""
    tables: list[list[list[str]]] = field(default_factory=list)


class Page(HTMLParser):
    """A parsed page: its elements, its text, its sections."""

    VOID = frozenset({"meta", "img", "source", "br", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.style = ""
        self._here = Section()
        self.sections: dict[str, Section] = {"": self._here}
        self._heading = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; open it, unless it can hold nothing."""
        self.elements.append((tag, dict(attrs)))
        if tag == "h2":
            self._heading = ""
            self._here = self.sections[""]
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
            self._here = self.sections.setdefault(self._heading.strip(), Section())
        self._here.text += data
        if "td" in self.open or "th" in self.open:
            self._here.tables[-1][-1][-1] += data

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


def in_words(timestamp: str) -> str:
    """A time of a record as a report shows it: without zone, with milliseconds where it has any."""
    return re.sub(r"(\.\d{3})\d*", r"\1", timestamp.replace("T", " ").removesuffix("Z")).removesuffix(".000")


def cached(made: Callable[..., T]) -> Callable[..., T]:
    """The same for the example run each time, which many tests only read."""
    of_example = cache(lambda: made(paths.EXAMPLE_RUN))

    @wraps(made)
    def choose(*folders: Path, **options: Any) -> T:
        return of_example() if folders == (paths.EXAMPLE_RUN,) and not options else made(*folders, **options)

    return choose


@cached
def read(*folders: Path, notes: Path = UNWRITTEN) -> Postmortem:
    """The report over some runs, without a word from people unless notes are given."""
    return read_runs(folders, notes)


@cached
def page(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The HTML report over some runs; with empty pictures, since drawing them takes most of the time."""
    return undrawn(read(*folders, notes=notes))


@contextmanager
def empty_pictures() -> Iterator[None]:
    """Charts are empty pictures: drawing them takes most of the time of a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "svg", lambda *_, **__: "<svg/>")
        yield


def undrawn(post: Postmortem) -> Page:
    """A report's HTML with empty pictures."""
    with empty_pictures():
        return Page(render.render_html(post))


@cached
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


@cached
def rendered(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The Markdown report over some runs, as a wiki renders it."""
    return wiki(render.render_markdown(read(*folders, notes=notes), "pictures"))


@cached
def rendered_strictly(*folders: Path, notes: Path = UNWRITTEN) -> Page:
    """The Markdown report over some runs, as CommonMark has it."""
    return commonmark(render.render_markdown(read(*folders, notes=notes), "pictures"))


def squeezed(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())


FORMS = (page, rendered)
MARKDOWN = (rendered, rendered_strictly)
