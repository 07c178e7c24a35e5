"""One look at an environment: the verdict, the counts, the guards, the way to the fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.analysis import Investigation, investigate
from incident_lib.migration import Preflight, run_preflight
from incident_lib.model import to_iso, verdict_line
from incident_lib.notebook import frames
from incident_lib.notebook.frames import styled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas.io.formats.style import Styler

    from incident_lib.database import Connection, Environment
    from incident_lib.model import Check, Counts


@dataclass
class Snapshot:
    """One look at an environment: the verdict, the counts, the guards, as tables."""

    environment: str
    found: Investigation
    checks: Preflight
    verdict: str

    @property
    def counts(self) -> Counts:
        """The counts, as numbers."""
        return self.found.counts

    @property
    def state(self) -> str:
        """The guard state."""
        return self.found.catalog.state.value

    def as_record(self, moment: str) -> dict[str, Any]:
        """What a run record carries of it, `before` or `after`; the preflight is that of before."""
        found = self.found
        told = {
            "guard": {moment: {"state": self.state, "definitions": found.catalog.definitions()}},
            "counts": {moment: found.counts.as_dict()},
            "verdict": self.verdict,
            "seen_at": {moment: to_iso(found.at)},
            "server_version": found.rights.server_version,
        }
        return told | {"preflight": checks_as_record(self.checks.checks)} if moment == "before" else told

    def guards(self) -> Styler:
        """The guards in the catalog, by definition and flags."""
        return styled(frames.indexes(self.found.catalog))

    def purposes(self) -> Styler:
        """The active threads by purpose, whatever stands there."""
        return styled(frames.purposes(self.found.counts))

    def preflight(self) -> Styler:
        """Every preflight check with its answer and its cure."""
        return styled(frames.checks(self.checks.checks))

    @property
    def sentence(self) -> str:
        """Safe to apply now or not, how long it takes, who would hold it up, the next command."""
        return self.checks.sentence(self.environment)

    def plan(self) -> Styler:
        """The way to the fixed guard, step by step."""
        return styled(frames.plan(self.checks.plan))


def checks_as_record(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Checks as a run record carries them."""
    return [asdict(check) | {"answer": check.status.value} for check in checks]


def take_snapshot(environment: Environment, connection: Connection) -> Snapshot:
    """Look at the guards, count, and run the preflight for the fix.

    Args:
        environment: which database.
        connection: as `environments.reading` yields it for that environment.
    """
    found = investigate(connection)
    checks = run_preflight(connection, environment, found)
    line = verdict_line(
        environment.name, found.catalog.state, found.counts, safe=checks.safe, hides_rows=found.rights.hides_rows
    )
    return Snapshot(environment.name, found, checks, line)
