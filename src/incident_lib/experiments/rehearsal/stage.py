"""A copy on which the fix is rehearsed: each step is told of, timed and noted, also one that fails."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from incident_lib.analysis import count_threads
from incident_lib.database import connecting, fetch_all, read_catalog, reading
from incident_lib.experiments.rehearsal.results import StepTime
from incident_lib.migration import Progress, apply, probe_semantics, verify_catalog, verify_semantics
from incident_lib.model import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.database import Environment
    from incident_lib.migration import MigrationResult
    from incident_lib.model import Catalog, Check, Counts, IndexKind


@dataclass
class Stage:
    """A scratch database, and the steps that were taken there, in order."""

    copy: Environment
    listener: Callable[[Progress], None]
    taken: list[StepTime] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Tell of a step, time it and note how it ended."""
        began, outcome = time.monotonic(), "failed"
        self.listener(Progress(name, "begins"))
        try:
            yield
            outcome = "done"
        finally:
            self.taken.append(StepTime(name, time.monotonic() - began, outcome))
            self.listener(Progress(name, outcome, 1.0 if outcome == "done" else None))

    def migrate(self, name: str, target: IndexKind) -> None:
        """Walk to a unique index, and note each step under the walk's name.

        Raises:
            Refused, Failed: see `migrate.apply`; the steps that were taken are noted all the same.
        """
        done: list[MigrationResult] = []
        try:
            apply(
                self.copy,
                confirm=self.copy.name,
                target=target,
                listener=lambda progress: self.listener(replace(progress, step=f"{name}: {progress.step}")),
                done=done.append,
            )
        finally:
            steps = done[-1].steps if done else []
            self.taken += [StepTime(f"{name}: {step.name}", step.seconds, step.outcome) for step in steps]

    def count(self, catalog: Catalog) -> Counts:
        """Count families and threads, and what unique indexes like the source's block."""
        with self.timed("count"), reading(self.copy, seconds=0) as connection:
            return count_threads(connection, catalog)

    def verify(self, target: IndexKind) -> tuple[Check, ...]:
        """Check the copy's catalog against a target."""
        with self.timed("verify"), reading(self.copy) as connection:
            return verify_catalog(read_catalog(connection), target)

    def probe(self, families: Sequence[Family]) -> tuple[Check, ...]:
        """Try what the fixed index promises, in families with an active run and no chat, rolled back."""
        with self.timed("probe"), connecting(self.copy, "probe") as connection:
            return verify_semantics(probe_semantics(connection, families))

    def server_version(self) -> int:
        """The version of the copy's server."""
        with connecting(self.copy, "version") as connection:
            return connection.info.server_version

    def families(self, most: int) -> list[Family]:
        """Families of the copy with an active run and no chat."""
        with reading(self.copy, seconds=0) as connection:
            return [Family(**row) for row in fetch_all(connection, "migration/families_without_chat", {"most": most})]
