"""The steps of a rehearsal on its copy: each is reported, timed and recorded, also one that fails."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from incident_lib.analysis import Subject, count_shared_keys, investigate_as, probe_semantics, verify_semantics
from incident_lib.database import connecting, read_catalog, reading, sending
from incident_lib.migration import Progress, apply, verify_catalog
from incident_lib.model import PURPOSE, SIDES, Interrupted, RehearsalStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.database import Environment, TableAccess
    from incident_lib.migration import Found, MigrationResult
    from incident_lib.model import Catalog, Check, Family, IndexChange, IndexKind


@dataclass
class Steps:
    """A scratch database, and the steps that were run there, in order."""

    copy: Environment
    listener: Callable[[Progress], None]
    change: IndexChange
    steps: list[RehearsalStep] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Report a step, time it, and record its outcome."""
        began, outcome = time.monotonic(), "failed"
        self.listener(Progress(name, "begins"))
        try:
            yield
            outcome = "done"
        finally:
            self._record(name, time.monotonic() - began, outcome)
            self.listener(Progress(name, outcome, 1.0 if outcome == "done" else None))

    def _record(self, name: str, seconds: float, outcome: str) -> None:
        self.steps.append(RehearsalStep(name=name, seconds=round(seconds, 3), outcome=outcome))

    def migrate(self, name: str, target: IndexKind) -> None:
        """Migrate to an index, and record each step under this name.

        Raises:
            Refused, Failed: see `migration.apply`; the steps that were run are recorded all the same.
        """
        results: list[MigrationResult] = []
        try:
            apply(
                self.copy,
                confirm=self.copy.name,
                change=self.change,
                target=target,
                listener=lambda progress: self.listener(replace(progress, step=f"{name}: {progress.step}")),
                done=results.append,
            )
        except Interrupted:  # its message is about the copy, which is dropped
            raise KeyboardInterrupt from None
        finally:
            for step in results[-1].steps if results else []:
                self._record(f"{name}: {step.name}", step.seconds, step.outcome)

    def investigate(self, access: TableAccess, catalog: Catalog, rows: int) -> Found:
        """Count on the copy what prevents an index; of `purpose` all counts of the incident.

        Args:
            access: of the source's role.
            catalog: the indexes that the copy has.
            rows: how many there are.
        """
        with self.step("count"), reading(self.copy, seconds=0) as connection:
            if self.change == PURPOSE:
                return investigate_as(connection, access, catalog)
            shared = {kind: int(count_shared_keys(connection, self.change, kind)["keys"]) for kind in SIDES}
        return Subject(access, catalog, rows, shared, ())

    def verify(self, target: IndexKind) -> tuple[Check, ...]:
        """Check the copy's catalog against a target."""
        with self.step("verify"), reading(self.copy) as connection:
            return verify_catalog(read_catalog(connection, self.change), target)

    def probe(self, families: Sequence[Family]) -> tuple[Check, ...]:
        """Try what the change promises, in families with an active run and no chat; all of it is rolled back."""
        with self.step("probe"), sending(self.copy, "probe") as connection:
            return verify_semantics(probe_semantics(connection, families, self.change))

    def server_version(self) -> int:
        """The version of the copy's server."""
        with connecting(self.copy, "version") as connection:
            return connection.info.server_version
