"""The postmortem, from run records and people's notes alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from incident_lib import paths
from incident_lib.model import PURPOSE, ClaimsReport, UsageError, as_type, plural, sanitize
from incident_lib.records import (
    CLAIMS,
    REHEARSAL,
    RunFolder,
    evidence_beside,
    incident_runs,
    read_claims,
    read_histories,
    read_rehearsal,
    recorded_environments,
    runs_beside,
)
from incident_lib.report.chapter import Chapter
from incident_lib.report.compare import headline
from incident_lib.report.document import Paragraph
from incident_lib.report.head import Head
from incident_lib.report.notes import Notes, read_notes
from incident_lib.report.second_change import SecondChange
from incident_lib.report.sections import Sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.records import History
    from incident_lib.report.document import Section

DEMO = "demo"  # its invented families are never in a report with those of others
T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, repr=False)
class Postmortem:
    """The postmortem over one or many runs."""

    chapters: tuple[Chapter, ...]
    notes: Notes
    claims: ClaimsReport | None = None

    def __repr__(self) -> str:
        return f"<Postmortem: {self.title}>"

    @property
    def kind(self) -> str:
        """What it is."""
        return "Postmortem"

    @property
    def title(self) -> str:
        """The finding, as a title."""
        return headline(self.chapters) if self.chapters else "No run has been recorded"

    @property
    def verdicts(self) -> list[str]:
        """For each environment: its name, its verdict without the next command, and how its run ended."""
        return [f"{c.environment}: {c.verdict.partition(' Next: ')[0]} {c.status}" for c in self.chapters]

    @cached_property
    def head(self) -> Head:
        """The numbers, the story and the facts of the first screen."""
        return Head(self.chapters, self.notes)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The incident's id, severity, owner, moments and environments, and what the report is made from."""
        return self.head.facts

    @property
    def unfinished(self) -> list[str]:
        """What people still have to write, counted."""
        unwritten = self.notes.unwritten + ([] if self.notes.incident else ["the incident's id"])
        lacking = [action for action in self.notes.actions if action.lacks and not action.done]
        lines = [f"{plural(len(unwritten), 'part')} to be written: {', '.join(unwritten)}."] if unwritten else []
        if lacking:
            lines.append(f"{plural(len(lacking), 'action item')} without an owner or a date.")
        return lines

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Every section that has something to say, in the order in which it is read."""
        return tuple(section for section in self._sections if section.blocks)

    @cached_property
    def _sections(self) -> tuple[Section, ...]:
        return Sections(self.chapters, self.notes, self.claims).all()

    def section(self, name: str) -> Section:
        """One section, by its name; with a note where it has nothing to say.

        Raises:
            UsageError: the report has no section of that name.
        """
        for section in self._sections:
            if section.name == name:
                return section if section.blocks else replace(section, blocks=(Paragraph("Nothing to show.", "note"),))
        known = ", ".join(section.name for section in self._sections)
        raise UsageError(f"The report has no section {name!r}.", f"Its sections are {known}.", "Correct the name.")


def choose_runs(folders: Sequence[Path], environments: Sequence[str], *, everything: bool = False) -> list[Path]:
    """The folders of the runs that a report is about.

    Args:
        folders: runs that are named themselves.
        environments: whose runs count, all of them.
        everything: whether all environments count that have runs; never the demo.

    Raises:
        UsageError: none is named, a named environment has no run, or the demo is named beside others.
    """
    names = [*environments, *(recorded_environments() if everything else ())]
    if missing := [name for name in names if not incident_runs(name)]:
        raise UsageError(
            f"There is no run of the environment {missing[0]!r}.",
            f"{paths.runs()} holds none.",
            f"Start one: incident run --env {missing[0]}",
        )
    found = [*folders, *(folder for name in dict.fromkeys(names) for folder in incident_runs(name))]
    if not found:
        raise UsageError(
            "It is not said what the report is about.",
            "No run and no environment is named.",
            "Add --env NAME, --all, or the folders of runs.",
        )
    if len({RunFolder(folder).read().environment == DEMO for folder in found}) > 1:
        raise UsageError(
            "The demo is in no report with other environments.",
            "Its families are invented: sums over both would be wrong.",
            "Name the runs of the demo alone, or leave them out.",
        )
    return found


def read_postmortem(environment: str = "", run: str = "") -> Postmortem:
    """The postmortem of an environment's incident, or of that of all environments but the demo.

    On the demo, without a run, it is that of the committed example run: the same numbers for everybody.

    Args:
        environment: its name; empty for all.
        run: the folder of a run: the incident as it was known to it and to the environment's runs beside it.

    Raises:
        UsageError: the folder holds no run record, there is no run, or a file cannot be read.
    """
    if run:
        return read_runs(runs_beside(Path(run)))
    if environment == DEMO:
        return read_runs([paths.EXAMPLE_RUN])
    names = [environment] if environment else recorded_environments()
    if not (found := [folder for name in names for folder in incident_runs(name)]):
        where = f"the environment {environment!r}" if environment else "any environment"
        raise UsageError(f"There is no run of {where} yet.", f"{paths.runs()} holds none.", "Start one: incident run")
    return read_runs(found)


def read_runs(folders: Sequence[Path], notes_file: Path | None = None) -> Postmortem:
    """The postmortem over these runs, with the evidence that lies beside them; each environment is one incident.

    Args:
        folders: of runs, of one environment or of many.
        notes_file: what people wrote; see `notes.read_notes`.

    Raises:
        UsageError: a folder holds no run record, or a record, rehearsal, claims or notes file cannot be read.
    """
    claims = next(filter(None, (evidence_beside(folder, CLAIMS, above=2) for folder in folders)), None)
    return Postmortem(
        tuple(_chapter(history) for history in read_histories(folders)),
        read_notes(notes_file),
        _sanitized(read_claims(claims)) if claims else None,
    )


def _chapter(history: History) -> Chapter:
    rehearsal = evidence_beside(history.run.folder, REHEARSAL, above=1)
    read = _sanitized(read_rehearsal(rehearsal)) if rehearsal else None
    return Chapter(
        **_runs(history),
        rehearsal=read if read and read.change.name == PURPOSE.name else None,
        following=SecondChange(**_runs(history.following)) if history.following else None,
    )


def _runs(history: History) -> dict[str, Any]:
    """The runs of a history, made safe to show."""
    earlier, later = (
        tuple((sanitize(run.folder.name), _sanitized(run.record)) for run in runs)
        for runs in (history.earlier, history.later)
    )
    told = _sanitized(history.run.record)
    return {"record": told, "folder": sanitize(history.run.folder.name), "earlier": earlier, "later": later}


def _sanitized(found: T) -> T:
    """The same record with every text in it made safe to show; see `sanitize`."""
    plain = msgspec.json.decode(msgspec.json.encode(found))  # noqa: TID251 - to no type
    return as_type(sanitize(plain), type(found))
