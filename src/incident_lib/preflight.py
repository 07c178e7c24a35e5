"""Is it safe to apply now, how long will it take, and who would hold it up? Each check has a name and a cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import queries, words
from incident_lib.catalog import Kind
from incident_lib.environments import is_transaction_pooled
from incident_lib.errors import Refused
from incident_lib.model import PURPOSES, SCHEMA, TABLE, Answer, Check, Plan
from incident_lib.plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.environments import Connection, Environment
    from incident_lib.investigate import Investigation

_WHICH = {"schema": SCHEMA, "table": TABLE}
OK, NOTE, WAIT, STOP = Answer.OK, Answer.NOTE, Answer.WAIT, Answer.STOP


@dataclass(frozen=True)
class Preflight:
    """The checks before a migration or rollback, and the plan that they are about."""

    plan: Plan
    checks: tuple[Check, ...]

    @property
    def safe(self) -> bool:
        """Whether nothing stops it; somebody may still make it wait."""
        return not self.stops

    @property
    def stops(self) -> tuple[Check, ...]:
        """The checks that say: not now, or not so."""
        return tuple(check for check in self.checks if check.answer is STOP)

    @property
    def waits(self) -> tuple[Check, ...]:
        """The checks that name who would hold it up."""
        return tuple(check for check in self.checks if check.answer is WAIT)

    def sentence(self, environment: str) -> str:
        """The last line of a preflight: safe now or not, who would hold it up, the next command."""
        if self.stops:
            return (
                f"Not safe to apply now: {', '.join(check.name for check in self.stops)}. "
                f"Next: settle that, then incident plan --env {environment}"
            )
        if not self.plan.steps:
            return f"Nothing is left to do. Next: incident verify --env {environment}"
        held = (
            f" Held up by: {'; '.join(check.seen for check in self.waits)}." if self.waits else " Nobody holds it up."
        )
        return f"Safe to apply now.{held} Next: incident apply --env {environment} --confirm {environment}"

    def require(self, environment: str) -> None:
        """Refuse where a check says stop.

        Raises:
            Refused: names the checks, what they saw, and their cures.
        """
        if self.stops:
            raise Refused(
                f"Nothing was changed in {environment!r}.",
                "; ".join(f"{check.name}: {check.seen}" for check in self.stops) + ".",
                " ".join(check.cure for check in self.stops),
            )


def preflight(
    connection: Connection, environment: Environment, found: Investigation, target: Kind = Kind.FIXED
) -> Preflight:
    """Run every check for the way to `target`; reads only, and opens two short connections for the pooler's.

    Args:
        connection: as `environments.reading` yields it.
        environment: the same one.
        found: what `investigate` saw there.
        target: FIXED for the migration, ORIGINAL for the rollback.
    """
    way = plan(found.catalog, target)
    around = queries.row(connection, "surroundings", _WHICH)
    waits = queries.rows(connection, "waits", _WHICH)
    checks = (
        *_server(found),
        *_rights(found),
        _pooler(environment),
        _guards(way),
        *_data(found, target, way),
        *_waits(waits, way),
        *_around(around, target),
    )
    return Preflight(way, checks)


def _server(found: Investigation) -> Iterator[Check]:
    version, name = found.rights.server_version, "server version"
    spelled = f"PostgreSQL {version // 10000}.{version % 10000}"
    if 140000 <= version < 140004:
        yield Check(
            name,
            STOP,
            f"{spelled} can corrupt an index that is built CONCURRENTLY",
            "Update to 14.4 or later first.",
        )
    elif version < 140000:
        yield Check(name, STOP, f"{spelled} is out of support and untested here", "Update PostgreSQL first.")
    else:
        yield Check(name, OK, spelled)
    if found.rights.standby:
        yield Check("primary", STOP, "this server is a standby", "Use the primary's address.")
    else:
        yield Check("primary", OK, "this server is the primary")
    if found.rights.partitioned:
        yield Check(
            "plain table",
            STOP,
            "the table is partitioned: no index can be built CONCURRENTLY on it",
            "Build one on each partition, then attach them.",
        )


def _rights(found: Investigation) -> Iterator[Check]:
    if found.rights.owned:
        yield Check("table owner", OK, "this role owns the table")
    else:
        yield Check(
            "table owner",
            STOP,
            "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
            "Use the owner's role for this environment.",
        )
    if found.rights.hides_rows:
        yield Check(
            "row level security",
            STOP,
            "policies hide rows from this role: every count here may be too low",
            "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
        )
    else:
        yield Check("row level security", OK, "no row is hidden from this role")


def _pooler(environment: Environment) -> Check:
    if is_transaction_pooled(environment):
        return Check(
            "pooler",
            STOP,
            "a pooler in transaction mode stands between us and the server",
            "Use its session port, or the server's own address.",
        )
    return Check("pooler", OK, "our session keeps its backend")


def _guards(way: Plan) -> Check:
    if way.refusal:
        return Check("guards", STOP, way.refusal, "Then look again: `incident plan`.")
    return Check(
        "guards",
        OK,
        f"{len(way.steps)} steps lead to the {way.target} guard"
        if way.steps
        else f"the {way.target} guard stands alone: nothing to do",
    )


def _data(found: Investigation, target: Kind, way: Plan) -> Iterator[Check]:
    duplicates = found.counts.duplicate_keys[target]
    if duplicates and way.steps:
        yield Check(
            "duplicates",
            STOP,
            f"{duplicates:,} keys are held by more than one active thread: the {target} guard cannot hold them",
            "Settle them first: `incident plan` prints the SQL, and never runs it.",
        )
    else:
        yield Check("duplicates", OK, f"no two active threads share a key of the {target} guard")
    unguarded, others = found.counts.unguarded_threads, set(found.counts.active_by_purpose) - set(PURPOSES)
    yield Check(
        "NULL keys",
        NOTE if unguarded else OK,
        f"{unguarded:,} active threads have no owner: outside both guards"
        if unguarded
        else "every active thread has an owner",
    )
    yield Check(
        "purposes",
        NOTE if others else OK,
        f"besides chat and run, active threads have {len(others)} other purposes: each gets a slot of its own"
        if others
        else "active threads are chat or run",
    )


def _waits(rows: list[dict[str, Any]], way: Plan) -> Iterator[Check]:
    names = {step.name for step in way.steps}
    build = [row for row in rows if row["writes"] or row["snapshot"]] if "build" in names else []
    drop = [row for row in rows if row["touches"] or row["snapshot"]] if "drop" in names else []
    for what, held in (("build", build), ("drop", drop)):
        if held:
            yield Check(
                f"who holds up the {what}",
                WAIT,
                "; ".join(map(words.described, held[:5])),
                "It waits for them, nobody waits for it; ask them to commit, or let it wait.",
            )
        else:
            yield Check(f"who holds up the {what}", OK, "nobody")


def _around(around: dict[str, Any], target: Kind) -> Iterator[Check]:
    builds = around["builds"]
    yield Check(
        "other builds",
        WAIT if builds else OK,
        f"{builds} index builds run on the table" if builds else "none on the table",
        "It queues behind them." if builds else "",
    )
    functions = around["functions"]
    if functions and target is Kind.FIXED:
        yield Check(
            "ON CONFLICT",
            STOP,
            f"these functions name the two-column key and would fail with 42P10: {', '.join(functions)}",
            "Let them name purpose too, then apply.",
        )
    else:
        yield Check("ON CONFLICT", OK, "no SQL function names the original key")
    triggers = around["triggers"]
    yield Check(
        "triggers",
        NOTE if triggers else OK,
        f"fire in a probe: {', '.join(triggers)}" if triggers else "none on the table",
    )
    replicas, lag = around["replicas"], around["lag_bytes"]
    yield Check(
        "replicas",
        NOTE if replicas else OK,
        f"{replicas} replicas, {(lag or 0) / 1e6:.0f} MB behind: they replay the drop, and may cancel readers"
        if replicas
        else "none connected",
    )
