"""The postmortem, from run records and people's notes alone. Knows no connection."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import UsageError, format_timestamp, join_names, plural, sanitize
from incident_lib.records import RunRecord, latest_runs
from incident_lib.report import notes, render
from incident_lib.report.chapter import Chapter
from incident_lib.report.compare import headline
from incident_lib.report.compare import latest_chapters as latest_of
from incident_lib.report.notes import Notes
from incident_lib.report.sections import Sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.report.document import Section


@dataclass(frozen=True)
class Postmortem:
    """The postmortem over one or many runs."""

    chapters: tuple[Chapter, ...]
    notes: Notes
    claims: dict[str, Any] | None = None  # of the fix plan, as `incident claims` tested them

    @property
    def title(self) -> str:
        """The finding, as a title."""
        return headline(self.chapters) if self.chapters else "No run has been recorded"

    @property
    def verdicts(self) -> list[str]:
        """The verdict line of each environment, its name first, and how its run ended."""
        return [f"{chapter.environment}: {chapter.verdict} {chapter.status}" for chapter in self.chapters]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The head of the report: what it is about, and what it was made from."""
        found = latest_of(self.chapters)
        commits = sorted({str(chapter.record["git_commit"] or "unknown")[:12] for chapter in self.chapters})
        versions = sorted({chapter.record["versions"]["incident-lib"] for chapter in self.chapters})
        made = f"incident-lib {', '.join(versions)}, commit {', '.join(commits)}" if self.chapters else "no run"
        return [
            ("Incident", self.notes.incident or "To be written"),
            ("Status", _status(found)),
            ("Environments", join_names([chapter.environment for chapter in found]) or "none"),
            ("When (UTC)", _when(found)),
            ("Made from", made),
        ]

    @property
    def unfinished(self) -> list[str]:
        """What people still have to do to the report, counted."""
        left = self.notes.unwritten + ([] if self.notes.incident else ["the incident's id"])
        lacking = [action for action in self.notes.actions if action.lacks and not action.done]
        told = [f"{plural(len(left), 'part')} to be written: {', '.join(left)}."] if left else []
        if lacking:
            told.append(f"{plural(len(lacking), 'action item')} without an owner or a date.")
        return told

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Every section, in the order in which it is read."""
        return Sections(self.chapters, self.notes, self.claims).all()

    def section(self, name: str) -> Section:
        """One section, by its name.

        Raises:
            UsageError: no section is called so.
        """
        for section in self.sections:
            if section.name == name:
                return section
        known = ", ".join(section.name for section in self.sections)
        raise UsageError(f"The report has no section {name!r}.", f"Its sections are {known}.", "Correct the name.")

    def write(self, out: Path, *, pdf: bool = False) -> list[Path]:
        """Write `out` (.html), the Markdown beside it, the folder of the Markdown's charts; if wanted, a PDF.

        Raises:
            Failed: it cannot be written.
            UsageError: the extra `pdf` is not installed.
        """
        return render.write_report(self, out, pdf=pdf)


def _status(chapters: tuple[Chapter, ...]) -> str:
    """Whether the fix is in, and nobody is blocked for chat any more."""
    fixed = sum(chapter.is_fixed for chapter in chapters)
    if len(chapters) == 1:
        return "fixed" if fixed else f"not fixed: {chapters[0].ended or 'nothing was applied'}"
    return f"fixed in {fixed} of {plural(len(chapters), 'environment')}"


def _when(chapters: tuple[Chapter, ...]) -> str:
    """From when to when, as far as the runs saw it."""
    begun = [line.points[0][0] for chapter in chapters if (line := chapter.line)]
    ended = [at for chapter in chapters if (at := chapter.moment("incident_ended_at"))]
    first = format_timestamp(min(begun)) if begun else "unknown"
    if not all(chapter.is_fixed for chapter in chapters):
        return f"since {first}; it goes on, as far as was seen"
    return f"{first} to {format_timestamp(max(ended))}" if ended else "before the first look"


def postmortem(environment: str = "", run: str = "") -> Postmortem:
    """The postmortem of one run, or of the latest run of an environment, or of all of them.

    On the demo, without a run, it is that of the committed example run: the same figures for everybody.

    Raises:
        UsageError: the folder holds no run record, or there is no run; or the notes cannot be read.
    """
    if run:
        return read_runs([Path(run)])
    if environment == "demo":
        return read_runs([paths.EXAMPLE_RUN])
    if not (found := latest_runs(environment or None)):
        where = f"the environment {environment!r}" if environment else "any environment"
        raise UsageError(f"There is no run of {where} yet.", f"{paths.runs()} holds none.", "Begin one: incident run")
    return read_runs(found)


def read_runs(folders: Sequence[Path], notes_file: Path | None = None) -> Postmortem:
    """The postmortem over these run folders, in their order, with the evidence that lies beside them.

    Args:
        folders: of runs.
        notes_file: what people wrote; see `notes.read_notes`.

    Raises:
        UsageError: a folder holds no run record, or the notes cannot be read.
    """
    chapters = tuple(
        Chapter(sanitize(RunRecord(folder).read()), sanitize(folder.name), _beside(folder, "rehearsal.json", above=1))
        for folder in folders
    )
    claims = next(filter(None, (_beside(folder, "claims.json", above=2) for folder in folders)), None)
    return Postmortem(chapters, notes.read_notes(notes_file), claims)


def _beside(folder: Path, name: str, *, above: int) -> dict[str, Any] | None:
    """What a file of evidence tells: that of the run's own folder, or of one of the folders above it."""
    for place in (folder.absolute(), *folder.absolute().parents[:above]):
        if (file := place / name).exists():
            try:
                return dict(sanitize(json.loads(file.read_text("utf-8"))))
            except (OSError, ValueError, TypeError):
                raise UsageError(
                    f"{os.path.relpath(file)} cannot be read.", "It is no JSON.", "Make it anew, or remove it."
                ) from None
    return None
