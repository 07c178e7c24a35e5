"""A copy on which the fix is rehearsed: each step is told of, timed and noted, also one that fails."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from incident_lib import environments, guards, migrate, queries
from incident_lib.clients import Family
from incident_lib.investigate import count
from incident_lib.probe import probe_semantics
from incident_lib.rehearsal.told import Taken
from incident_lib.verify import verify, verify_semantics
from incident_lib.watch import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.catalog import Catalog, Kind
    from incident_lib.environments import Environment
    from incident_lib.model import Check, Counts
    from incident_lib.walk import Migration


@dataclass
class Stage:
    """A scratch database, and the steps that were taken there, in order."""

    copy: Environment
    listener: Callable[[Progress], None]
    taken: list[Taken] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Tell of a step, time it and note how it ended."""
        began, outcome = time.monotonic(), "failed"
        self.listener(Progress(name, "begins"))
        try:
            yield
            outcome = "done"
        finally:
            self.taken.append(Taken(name, time.monotonic() - began, outcome))
            self.listener(Progress(name, outcome, 1.0 if outcome == "done" else None))

    def migrate(self, name: str, target: Kind) -> None:
        """Walk to a guard, and note each step under the walk's name.

        Raises:
            Refused, Failed: see `migrate.apply`; the steps that were taken are noted all the same.
        """
        done: list[Migration] = []
        try:
            migrate.apply(
                self.copy,
                confirm=self.copy.name,
                target=target,
                listener=lambda progress: self.listener(replace(progress, step=f"{name}: {progress.step}")),
                done=done.append,
            )
        finally:
            steps = done[-1].steps if done else []
            self.taken += [Taken(f"{name}: {step.name}", step.seconds, step.outcome) for step in steps]

    def count(self, catalog: Catalog) -> Counts:
        """Count families and threads, and what guards like the source's block."""
        with self.timed("count"), environments.reading(self.copy, seconds=0) as connection:
            return count(connection, catalog)

    def verify(self, target: Kind) -> tuple[Check, ...]:
        """Check the copy's catalog against a target."""
        with self.timed("verify"), environments.reading(self.copy) as connection:
            return verify(guards.read(connection), target)

    def probe(self, families: Sequence[Family]) -> tuple[Check, ...]:
        """Try what the fixed guard promises, in families with an active run and no chat, rolled back."""
        with self.timed("probe"), environments.connecting(self.copy, "probe") as connection:
            return verify_semantics(probe_semantics(connection, families))

    def server_version(self) -> int:
        """The version of the copy's server."""
        with environments.connecting(self.copy, "version") as connection:
            return connection.info.server_version

    def families(self, most: int) -> list[Family]:
        """Families of the copy with an active run and no chat."""
        with environments.reading(self.copy, seconds=0) as connection:
            return [Family(**row) for row in queries.rows(connection, "probed", {"most": most})]
