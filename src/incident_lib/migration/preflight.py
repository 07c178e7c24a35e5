"""Is it safe to apply now, how long will it take, and who would hold it up? Each check has a name and a cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.database import fetch_all, fetch_one, is_transaction_pooled
from incident_lib.migration import checks
from incident_lib.migration.plan import plan_change
from incident_lib.model import SCHEMA, TABLE, Check, IndexKind, Plan, Refused, Status, format_bytes, plan_command

if TYPE_CHECKING:
    from incident_lib.analysis import Investigation
    from incident_lib.database import Connection, Environment

_WHICH = {"schema": SCHEMA, "table": TABLE}


@dataclass(frozen=True)
class Estimate:
    """What a build will take, from what was measured: PostgreSQL 18.4, two cores, 5M threads, 1.25M of them active.

    There, with the table in memory, the build took 1.35 s for 1.14 GB, and made 59 bytes of index and 53 of
    WAL for each active thread. A table that has to come from disk is read twice at the disk's own speed.
    """

    active_threads: int
    table_bytes: int

    @property
    def seconds(self) -> float:
        """For the build, where the table is in memory and nobody holds it up."""
        return 1.2e-9 * self.table_bytes

    @property
    def index_bytes(self) -> int:
        """Of disk; about as much of WAL."""
        return 59 * self.active_threads

    def __str__(self) -> str:
        time = f"about {self.seconds:.0f} s" if self.seconds >= 1 else "under a second"
        return (
            f"the build takes {time} with the table in memory, {format_bytes(self.index_bytes)} of disk and as much WAL, "
            f"and reads {format_bytes(self.table_bytes)} twice"
        )


@dataclass(frozen=True)
class Preflight:
    """The checks before a migration or rollback, and the plan that they are about.

    Attributes:
        duplicates: how many keys the unique index that the plan builds could not hold.
    """

    plan: Plan
    checks: tuple[Check, ...]
    estimate: Estimate
    duplicates: int = 0

    @property
    def safe(self) -> bool:
        """Whether nothing stops it; somebody may still make it wait."""
        return not self.stops

    @property
    def stops(self) -> tuple[Check, ...]:
        """The checks that say: not now, or not so."""
        return tuple(check for check in self.checks if check.status is Status.FAIL)

    @property
    def waits(self) -> tuple[Check, ...]:
        """The checks that name who would hold it up."""
        return tuple(check for check in self.checks if check.status is Status.WARN)

    def sentence(self, environment: str) -> str:
        """The last line of a preflight: safe now or not, how long, who would hold it up, the next command."""
        back = self.plan.target is IndexKind.ORIGINAL
        act, command = ("roll back", "rollback") if back else ("apply", "apply")
        if self.stops:
            return (
                f"Not safe to {act} now: {', '.join(check.name for check in self.stops)}. "
                f"Next: settle that, then {plan_command(self.plan.target, environment)}"
            )
        if not self.plan.steps:
            look = "plan" if back else "verify"
            return f"The {self.plan.target} unique index alone is enforced. Next: incident {look} --env {environment}"
        held = (
            f"Held up by: {'; '.join(dict.fromkeys(check.finding for check in self.waits))}."
            if self.waits
            else "Nobody holds it up."
        )
        return (
            f"Safe to {act} now; {self.estimate}. {held} "
            f"Next: incident {command} --env {environment} --confirm {environment}"
        )

    def require(self, environment: str) -> None:
        """Refuse where a check says stop.

        Raises:
            Refused: names the checks, what they saw, and their cures.
        """
        if self.stops:
            raise Refused(
                f"Nothing was changed in {environment!r}.",
                "; ".join(f"{check.name}: {check.finding}" for check in self.stops) + ".",
                " ".join(check.action for check in self.stops),
            )


def run_preflight(
    connection: Connection, environment: Environment, found: Investigation, target: IndexKind = IndexKind.FIXED
) -> Preflight:
    """Run every check for the way to `target`; reads only, and opens two short connections for the pooler's.

    Args:
        connection: as `environments.reading` yields it.
        environment: the same one.
        found: what `investigate` saw there.
        target: FIXED for the migration, ORIGINAL for the rollback.
    """
    way = plan_change(found.catalog, target)
    around = fetch_one(connection, "migration/surroundings", _WHICH)
    waits = fetch_all(connection, "migration/waits", _WHICH)
    estimate = Estimate(found.counts.active_threads, around["table_bytes"])
    found_checks = (
        *checks.server(found.rights),
        *checks.role(found.rights),
        checks.pooler(transaction_pooled=is_transaction_pooled(environment)),
        *checks.indexes(way),
        *checks.data(found.counts, way),
        *checks.waits(waits, way),
        *checks.around(around, way),
    )
    duplicates = found.counts.duplicate_keys[target] if way.steps else 0
    return Preflight(way, (*found_checks, Check("estimate", Status.PASS, str(estimate))), estimate, duplicates)
