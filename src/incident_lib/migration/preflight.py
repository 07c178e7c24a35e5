"""The preflight: is it safe to apply now, how long will it take, and what would it wait for?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from incident_lib.analysis import check_role, check_server
from incident_lib.database import fetch_all, fetch_one, is_transaction_pooled
from incident_lib.migration import checks, server_checks
from incident_lib.migration.plan import plan_change
from incident_lib.migration.steps import OTHER_KIND
from incident_lib.migration.verify import enforced_alone
from incident_lib.model import (
    Check,
    IndexKind,
    Plan,
    Refused,
    Status,
    change_command,
    format_bytes,
    plan_command,
    pseudonyms_for,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from incident_lib.database import Connection, Environment, TableAccess
    from incident_lib.model import Catalog, IndexChange

WAITS = frozenset(
    {"blocks the build", "blocks the swap", "blocks the drop", "other builds"}
)  # the checks that name sessions


class Found(Protocol):
    """What a snapshot found that the preflight needs, of the table of one change."""

    @property
    def access(self) -> TableAccess:
        """What this role may do with the table."""

    @property
    def catalog(self) -> Catalog:
        """Its unique indexes, judged by the change."""

    @property
    def rows(self) -> int:
        """About how many rows the indexes cover."""

    @property
    def shared_keys(self) -> Mapping[IndexKind, int | None]:
        """How many keys of an index of that kind several rows share; None: the enforced index prevents that."""

    @property
    def data_checks(self) -> tuple[Check, ...]:
        """What the change means for these rows."""


@dataclass(frozen=True)
class Estimate:
    """What a build will take, from what was measured: PostgreSQL 18.4, two cores, 5M rows, 1.25M in the index.

    There, with the table in memory, the build took 1.35 s for 1.14 GB, and made 59 bytes of index and 53 of
    WAL for each row. A table that has to come from disk is read twice at the disk's own speed.
    """

    rows: int
    table_bytes: int

    @property
    def seconds(self) -> float:
        """For the build, with the table in memory and without waiting."""
        return 1.2e-9 * self.table_bytes

    @property
    def index_bytes(self) -> int:
        """Of disk; the build writes about as much WAL."""
        return 59 * self.rows

    def __str__(self) -> str:
        time = f"about {self.seconds:.0f} s" if self.seconds >= 1 else "under a second"
        return (
            f"the build takes {time} with the table in memory, "
            f"{format_bytes(self.index_bytes)} of disk and as much WAL, "
            f"and reads {format_bytes(self.table_bytes)} twice"
        )


@dataclass(frozen=True)
class Preflight:
    """The checks before a migration or rollback, and the plan that they are about.

    Attributes:
        duplicates: how many keys several rows share, which prevents the index that the plan builds.
    """

    plan: Plan
    checks: tuple[Check, ...]
    estimate: Estimate
    catalog: Catalog
    duplicates: int = 0

    @property
    def safe(self) -> bool:
        """Whether no check fails; the migration may still have to wait."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that say: not now, or not this way."""
        return tuple(check for check in self.checks if check.status is Status.FAIL)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that name what the migration would wait for."""
        return tuple(check for check in self.checks if check.status is Status.WARN)

    def summary(self, environment: str) -> str:
        """The preflight and the command that follows, in a line; see `sentence` and `next_command`."""
        resolve = "resolve that, then " if self.failures else ""
        return f"{self.sentence} Next: {resolve}{self.next_command(environment)}"

    @property
    def sentence(self) -> str:
        """The preflight in a sentence or two: safe now or not, how long it takes, what it would wait for."""
        act = "roll back" if self.plan.target is IndexKind.ORIGINAL else "apply"
        if self.plan.first:
            done = "rolled back" if self.plan.first[0] == "rollback" else "applied"
            return f"It is not safe to {act} now: the change {self.plan.first[1]} is {done} first."
        if self.failures:
            return f"It is not safe to {act} now: {', '.join(check.name for check in self.failures)}."
        if not self.plan.steps:
            sentence = enforced_alone(self.catalog, self.plan.target)
            return f"{sentence[0].upper()}{sentence[1:]}."
        waits = "; ".join(dict.fromkeys(check.finding for check in self.warnings if check.name in WAITS))
        blocked = f"It would wait for: {waits}." if waits else "No session would block it now."
        if others := [check for check in self.warnings if check.name not in WAITS]:
            blocked += f" Warnings: {'; '.join(f'{check.name}: {check.finding}' for check in others)}."
        return f"It is safe to {act} now; {self.estimate}. {blocked}"

    def next_command(self, environment: str) -> str:
        """The command that follows."""
        back, change = self.plan.target is IndexKind.ORIGINAL, self.plan.change.name
        if self.plan.first:
            act, first = self.plan.first
            return change_command(act, environment, first)
        if self.failures or (back and not self.plan.steps):
            return plan_command(self.plan.target if self.failures else IndexKind.FIXED, environment, change)
        if not self.plan.steps:
            return change_command("verify", environment, change)
        return change_command("rollback" if back else "apply", environment, change)

    def action(self, environment: str) -> str:
        """What to do about the checks that fail."""
        if self.plan.first:
            return f"First: `{self.next_command(environment)}`."
        return " ".join(check.action for check in self.failures)

    def require(self, environment: str) -> None:
        """Refuse where a check fails.

        Raises:
            Refused: names the checks, their findings, and the actions to take.
        """
        if self.failures:
            raise Refused(
                f"Nothing was changed in {environment!r}.",
                "; ".join(f"{check.name}: {check.finding}" for check in self.failures) + ".",
                self.action(environment),
            )


def run_preflight(
    connection: Connection,
    environment: Environment,
    found: Found,
    target: IndexKind = IndexKind.FIXED,
    *,
    plain: bool = False,
) -> Preflight:
    """Run every check for the plan to `target`; reads only, and opens two short connections to check for a pooler.

    Args:
        connection: as `database.reading` yields it.
        environment: the same one.
        found: what was found in the same snapshot, of the table of one change.
        target: FIXED for the change, ORIGINAL for its rollback.
        plain: build the index without the properties of the one that it replaces.
    """
    plan = plan_change(found.catalog, target, plain=plain)
    change = found.catalog.change
    place = {"schema": change.schema, "table": change.table}
    facts = fetch_one(connection, "migration/surroundings", place | _inferred(change, target))
    server = fetch_one(connection, "migration/server")
    room = server_checks.connections(server)
    pooled = None if room.status is Status.FAIL else is_transaction_pooled(environment)
    names = pseudonyms_for(environment.name)
    waits = [
        row | {"gid": names.name_text("gid", row["gid"])} if row["gid"] else row
        for row in fetch_all(connection, "migration/waits", place)
    ]
    sees_readers = facts["sees_sessions"] and facts["reads_checkpoint"]
    readers = fetch_all(connection, "migration/standby_readers") if sees_readers else []
    estimate = Estimate(found.rows, facts["table_bytes"])
    made = (
        *check_server(found.access),
        *check_role(found.access),
        checks.pooler(transaction_pooled=pooled),
        *checks.indexes(plan),
        *checks.nothing_replaced(found.catalog, plan),
        checks.properties(found.catalog, plan, facts["closed_tablespaces"], plain=plain),
        checks.duplicates(found.shared_keys[target], plan),
        *(check for check in found.data_checks if target is IndexKind.FIXED or check.status is not Status.FAIL),
        *checks.clients(plan),
        *checks.waits(waits, plan),
        checks.builds(waits),
        *checks.around(facts, plan, readers),
        *server_checks.settings(server, plan),
        room,
        server_checks.slots(fetch_all(connection, "migration/replication_slots"), estimate.index_bytes, plan),
        server_checks.event_triggers(fetch_all(connection, "migration/event_triggers", _tags(change)), plan),
    )
    duplicates = (found.shared_keys[target] or 0) if plan.steps else 0
    return Preflight(plan, (*made, Check("estimate", Status.PASS, str(estimate))), estimate, found.catalog, duplicates)


def _tags(change: IndexChange) -> dict[str, list[str]]:
    """The command tags of a plan's statements."""
    return {"tags": ["CREATE INDEX", "ALTER INDEX", "DROP INDEX", "COMMENT", *["ALTER TABLE"] * change.constraint]}


def _inferred(change: IndexChange, target: IndexKind) -> dict[str, object]:
    """The key that the plan takes away from ON CONFLICT: its columns, and whether these are all."""
    key = change.key(OTHER_KIND[target])
    return {"columns": sorted(key.columns), "is_exact": not key.expressions}
