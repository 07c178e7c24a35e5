"""The evidence beside the runs: claims.json for all of them, rehearsal.json for each environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib import paths
from incident_lib.model import ClaimsReport, RehearsalReport, UsageError
from incident_lib.records.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

CLAIMS, REHEARSAL = "claims.json", "rehearsal.json"


def claims_file() -> Path:
    """Where `incident claims` writes: beside the environments' runs."""
    return paths.runs() / CLAIMS


def write_claims(found: ClaimsReport, file: Path) -> None:
    """Write the tested claims.

    Raises:
        Failed: the file cannot be written.
    """
    write_json(file, found)


def read_claims(file: Path) -> ClaimsReport:
    """The tested claims that a file holds.

    Raises:
        UsageError: it holds none, or those of another version.
    """
    return read_json(file, ClaimsReport, "Write it again: incident claims")


def write_rehearsal(found: RehearsalReport) -> Path:
    """Write a rehearsal as the latest one of its environment; returns the file.

    Raises:
        Failed: the folder of runs cannot be written.
    """
    file = paths.environment_file(found.environment, REHEARSAL)
    write_json(file, found)
    return file


def read_rehearsal(file: Path) -> RehearsalReport:
    """The rehearsal that a file holds.

    Raises:
        UsageError: it holds none, or one of another version.
    """
    return read_json(file, RehearsalReport, "Write it again: incident rehearse")


def latest_rehearsal(environment: str) -> RehearsalReport | None:
    """An environment's latest rehearsal; None where there is none that can be read."""
    try:
        return read_rehearsal(paths.runs() / environment / REHEARSAL)
    except UsageError:
        return None


def evidence_beside(folder: Path, name: str, *, above: int) -> Path | None:
    """The file of evidence of a run: in its own folder, or in one of so many folders above it."""
    places = (folder.absolute(), *folder.absolute().parents[:above])
    return next((place / name for place in places if (place / name).exists()), None)
