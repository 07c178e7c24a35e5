"""One look at an environment: the verdict, the counts, the guards, the way to the fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import investigate, moments, preflight, tables, words
from incident_lib.tables import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas.io.formats.style import Styler

    from incident_lib.environments import Connection, Environment
    from incident_lib.model import Check, Counts


@dataclass
class Look:
    """One look at an environment: the verdict, the counts, the guards, as tables."""

    environment: str
    found: investigate.Investigation
    checks: preflight.Preflight
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
            "seen_at": {moment: moments.spelled(found.at)},
            "server_version": found.rights.server_version,
        }
        return told | {"preflight": checks_as_record(self.checks.checks)} if moment == "before" else told

    def guards(self) -> Styler:
        """The guards in the catalog, by definition and flags."""
        return shown(tables.guards(self.found.catalog))

    def purposes(self) -> Styler:
        """The active threads by purpose, whatever stands there."""
        return shown(tables.purposes(self.found.counts))

    def preflight(self) -> Styler:
        """Every preflight check with its answer and its cure."""
        return shown(tables.checks(self.checks.checks))

    @property
    def sentence(self) -> str:
        """Safe to apply now or not, how long it takes, who would hold it up, the next command."""
        return self.checks.sentence(self.environment)

    def plan(self) -> Styler:
        """The way to the fixed guard, step by step."""
        return shown(tables.plan(self.checks.plan))


def checks_as_record(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Checks as a run record carries them."""
    return [asdict(check) | {"answer": check.answer.value} for check in checks]


def look(environment: Environment, connection: Connection) -> Look:
    """Look at the guards, count, and run the preflight for the fix.

    Args:
        environment: which database.
        connection: as `environments.reading` yields it for that environment.
    """
    found = investigate.investigate(connection)
    checks = preflight.preflight(connection, environment, found)
    line = words.verdict(
        environment.name, found.catalog.state, found.counts, safe=checks.safe, hides_rows=found.rights.hides_rows
    )
    return Look(environment.name, found, checks, line)
