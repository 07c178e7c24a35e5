"""What a rehearsal told, and where it is kept: beside an environment's runs, without an id. Knows no connection."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import paths

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.model import Check

FILE = "rehearsal.json"
ENOUGH = 100_000  # active threads: below, a build's time says nothing about a million


@dataclass(frozen=True)
class StepTime:
    """One step of a rehearsal: how long it took, how it ended."""

    name: str
    seconds: float
    outcome: str


@dataclass(frozen=True)
class ClientResults:
    """What synthetic clients met while the migration ran on the copy.

    Attributes:
        writes: calls that PostgreSQL admitted: chats created, runs found or created.
        rejected: calls by purpose that a unique index rejected before the migration had ended.
        rejected_after: the same, once it had: under the fix, a run whose family's run is another provider's.
        errors: any other answer, by SQLSTATE, or that the connection was lost.
        longest_stall: seconds that the slowest call took.
    """

    writes: int
    rejected: dict[str, int]
    rejected_after: dict[str, int]
    errors: dict[str, int]
    longest_stall: float


@dataclass(frozen=True)
class RollbackVerdict:
    """Whether the rollback worked on the copy, or what stands in its way. None: it was not tried."""

    possible: bool | None
    why: str


@dataclass(frozen=True)
class RehearsalVerdict:
    """Whether the fix will work, why, and what to do next."""

    works: bool
    why: str
    next: str


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal of the fix on a copy of what an environment's unique indexes see.

    Attributes:
        server_version: of the environment; `rehearsal_version` of the copy's server.
        threads: how many were copied, in `bytes` bytes; `active_threads` of them are active.
        waits: the preflight's checks, of the environment itself, that would make it wait or refuse it from here.
        not_reproduced: what of the environment's unique indexes the copy could not have, a phrase each.
    """

    environment: str
    rehearsed_at: str
    server_version: int
    rehearsal_version: int
    threads: int
    active_threads: int
    bytes: int
    verdict: RehearsalVerdict
    steps: tuple[StepTime, ...]
    clients: ClientResults
    rollback: RollbackVerdict
    waits: tuple[Check, ...]
    not_reproduced: tuple[str, ...]

    @property
    def build_seconds_per_million(self) -> float | None:
        """Seconds that the fixed index's first build took for each million active threads; None: too few, or none."""
        took = [step.seconds for step in self.steps if step.name in _BUILDS and step.outcome == "done"]
        return took[0] / self.active_threads * 1e6 if took and self.active_threads >= ENOUGH else None

    def seconds(self, name: str) -> float:
        """How long the steps of a name took together."""
        return sum(step.seconds for step in self.steps if step.name == name)

    def as_record(self) -> dict[str, Any]:
        """The rehearsal as JSON takes it; it holds no id."""
        build = self.build_seconds_per_million
        return {
            "rehearsed_at": self.rehearsed_at,
            "environment": self.environment,
            "server_version": self.server_version,
            "rehearsal_version": self.rehearsal_version,
            "threads": self.threads,
            "active_threads": self.active_threads,
            "bytes": self.bytes,
            **asdict(self.verdict),
            "steps": [asdict(step) | {"seconds": round(step.seconds, 3)} for step in self.steps],
            "build_seconds_per_million": None if build is None else round(build, 3),
            "clients": asdict(self.clients) | {"longest_stall": round(self.clients.longest_stall, 4)},
            "rollback": asdict(self.rollback),
            "waits": [asdict(check) | {"answer": check.status.value} for check in self.waits],
            "not_reproduced": list(self.not_reproduced),
            "copied_in_seconds": round(self.seconds("copy"), 3),
        }

    def keep(self) -> Path:
        """Write it as the environment's latest rehearsal, in one step that no reader can catch halfway.

        Raises:
            Failed: the folder of runs cannot be written.
        """
        file = paths.private(self.environment, FILE)
        part = file.with_suffix(".part")
        with paths.writable(file.parent):
            part.write_text(json.dumps(self.as_record(), indent=1, ensure_ascii=False) + "\n", "utf-8")
            part.replace(file)
        return file


_BUILDS = ("apply: build", "apply again: build")


def latest_rehearsal(environment: str) -> dict[str, Any] | None:
    """The record of an environment's latest rehearsal; None where there is none that can be read."""
    try:
        return dict(json.loads((paths.runs() / environment / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
