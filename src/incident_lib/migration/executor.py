"""Run a plan one step at a time, read the catalog again between any two, and clean up after a failure.

What is done and what is left is kept in PostgreSQL's catalog alone: an interrupted migration continues from there.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import connecting, is_transaction_pooled, read_catalog, set_local
from incident_lib.migration.lock import another_migration, migration_lock
from incident_lib.migration.monitor import Monitor, Progress, released_at
from incident_lib.migration.plan import plan_change
from incident_lib.model import (
    KEYS,
    SCHEMA,
    Catalog,
    Failed,
    IndexKind,
    Refused,
    Step,
    StepResult,
    UniqueIndex,
    plan_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection, Environment

BUDGET = 3600.0  # seconds that a whole migration may take, waiting included
MOST_STEPS = 20
RENAME_TIMEOUT = "200ms"
CLEAN_SECONDS = 3.0  # the sessions that blocked a build may block its cleanup, too


def require_confirm(environment: str, confirm: str, act: str = "Changing an environment") -> None:
    """Refuse to change an environment whose name was not given as `confirm`."""
    if confirm != environment:
        raise Refused(
            f"Nothing was changed in {environment!r}.",
            f"{act} needs its name as confirmation, and confirm is {confirm!r}.",
            f"Read `incident plan --env {environment}`, then add `--confirm {environment}` to allow changes.",
        )


@dataclass
class MigrationResult:
    """What applying a plan did, also where it failed midway.

    Attributes:
        steps: those that were run, in order.
        ended_at: when the last unique index of the other kind stopped being enforced, by the server's clock; for a
            migration to FIXED the time at which the incident ended. None if that did not happen here.
        xids: the migration's own transactions that could have written.
    """

    target: IndexKind
    before: Catalog
    after: Catalog
    steps: list[StepResult] = field(default_factory=list)
    ended_at: datetime | None = None
    xids: set[str] = field(default_factory=set)


def apply(
    environment: Environment,
    *,
    confirm: str,
    target: IndexKind = IndexKind.FIXED,
    budget: float = BUDGET,
    wait: bool = True,
    listener: Callable[[Progress], None] = lambda _: None,
    done: Callable[[MigrationResult], None] = lambda _: None,
) -> MigrationResult:
    """Run the plan from what the catalog holds to the target's unique index, one step at a time.

    Args:
        environment: which database.
        confirm: its name once more.
        target: FIXED for the migration, ORIGINAL for the rollback, whose preflight has checked the data.
        budget: seconds for all of it, waiting for others included.
        wait: whether to wait for another migration that is running, or to refuse.
        listener: is called with the progress several times a second, from another thread.
        done: is called after each step.

    Returns:
        What was done; no steps where nothing was left to do.

    Raises:
        Refused: confirm is not the name, a pooler in transaction mode, a catalog from which there is no plan, or
            another migration is running and `wait` is off.
        Failed: a step failed or took too long; what it left is cleaned up, or named.
    """
    require_confirm(environment.name, confirm)
    if is_transaction_pooled(environment):
        raise Refused(
            "A pooler in transaction mode is between this client and the server.",
            "Settings would leak to other clients through it, and the advisory lock would be stranded.",
            "Use its session port, or the server's own address.",
        )
    deadline = time.monotonic() + budget
    with connecting(environment, "migrate") as connection, migration_lock(connection, deadline, listener, wait=wait):
        _remove_timeouts(connection)
        catalog = read_catalog(connection)
        migration = MigrationResult(target, catalog, catalog)
        Executor(environment, connection, migration, deadline, listener, done, wait=wait).run()
        return migration


def _remove_timeouts(connection: Connection) -> None:
    """A timeout during a build or a drop would leave an index behind that may still be enforced."""
    version = connection.info.server_version
    for setting in (
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        *(("transaction_timeout",) if version >= 170000 else ()),
    ):
        connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(setting)))


@dataclass
class Executor:
    """One migration that is running: where, until when, and who is informed."""

    environment: Environment
    connection: Connection
    migration: MigrationResult
    deadline: float
    listener: Callable[[Progress], None]
    done: Callable[[MigrationResult], None]
    wait: bool

    def run(self) -> None:
        """Run step after step until none is left; see `apply`."""
        for _ in range(MOST_STEPS):
            plan = plan_change(self.migration.after, self.migration.target)
            if plan.refusal:
                raise Refused(
                    "The catalog holds indexes that this project does not change.",
                    f"{plan.refusal[0].upper()}{plan.refusal[1:]}.",
                    f"Then run it again; `{self._plan_command()}` shows the plan.",
                )
            if not plan.steps:
                return
            self._run_step(plan.steps[0])
        raise Failed(
            "The migration does not come to an end.",
            f"After {MOST_STEPS} steps the catalog still changes.",
            "Is another session changing these indexes? Read `incident plan`.",
        )

    def _run_step(self, step: Step) -> None:
        at, started, outcome = datetime.now(UTC), time.monotonic(), "failed"
        self.listener(Progress(step.name, "begins"))
        try:
            with self._monitored(step) as monitor:
                outcome = self._send(step, monitor)
        finally:
            self.listener(Progress(step.name, outcome, 1.0 if outcome != "failed" else None))
            seconds = round(time.monotonic() - started, 3)
            self.migration.steps.append(
                StepResult(name=step.name, sql=step.sql, seconds=seconds, outcome=outcome, started_at=at)
            )
            self.done(self.migration)
        self._read_catalog()
        self.done(self.migration)

    @contextmanager
    def _monitored(self, step: Step) -> Iterator[Monitor]:
        """Monitor a step; if it fails, clean up what it built, and name the sessions that blocked it."""
        pid = self.connection.info.backend_pid
        retiring = step.drops if self._ends_the_other_kind(step) else None
        monitor = Monitor(self.environment, pid, step.name, self.listener, self.deadline, retiring)
        try:
            with monitor:
                yield monitor
        except psycopg.Error as error:
            raise self._failure(step, monitor, error) from None
        except KeyboardInterrupt:
            self._clean_up(step)
            raise
        finally:
            self.migration.xids |= monitor.xids
        if retiring:
            self.migration.ended_at = monitor.released_at or released_at(self.connection, retiring)

    def _ends_the_other_kind(self, step: Step) -> bool:
        """Whether a drop removes the last enforced unique index of the other kind."""
        target, indexes = self.migration.target, self.migration.after.indexes
        others = [index.name for index in indexes if index.enforced and index.kind in KEYS and index.kind is not target]
        return others == [step.drops]

    def _send(self, step: Step, monitor: Monitor) -> str:
        """Run the step; its outcome. Where another session did it first, the catalog shows what is left."""
        try:
            if step.waits_for:
                self._wait_for(step)
            elif step.transaction:
                self._rename(step, monitor)
            else:
                self._execute(step)
        except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.DuplicateTable):
            return "done by another session"
        return "done"

    def _execute(self, step: Step) -> None:
        for statement in step.sql:
            self.connection.execute(statement.encode())

    def _rename(self, step: Step, monitor: Monitor) -> None:
        """Send all statements in one transaction with a short lock timeout; retry after a random pause."""
        while True:
            try:
                with self.connection.transaction():
                    set_local(self.connection, "lock_timeout", RENAME_TIMEOUT)
                    self._execute(step)
                    row = self.connection.execute("SELECT pg_current_xact_id()::xid::text").fetchone()
                    monitor.xids |= set(row or ())
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > self.deadline:
                    raise
                time.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - jitter, no secret
            else:
                return

    def _wait_for(self, step: Step) -> None:
        if not self.wait:
            raise another_migration(step.why)
        while any(i.builder for i in read_catalog(self.connection).indexes if i.name == step.waits_for):
            if time.monotonic() > self.deadline:
                raise Failed(
                    "The budget ended while waiting for another session.",
                    f"{step.why[0].upper()}{step.why[1:]}.",
                    "Try again later.",
                )
            time.sleep(0.2)

    def _failure(self, step: Step, monitor: Monitor, error: psycopg.Error) -> Failed:
        """The message of a failed step, once what it left is cleaned up or named."""
        left = "" if self.connection.broken else self._clean_up(step)
        again = f"Run the same command again: it continues from the catalog.{left}"
        if monitor.gave_up:
            blockers = "; ".join(monitor.blockers) or "no session that this role sees"
            return Failed(
                f"The step `{step.name}` took longer than the budget, and was cancelled.",
                f"It waited for {blockers}.",
                f"Ask them to end their transactions, or allow more with --budget. {again}",
            )
        if isinstance(error, psycopg.errors.UniqueViolation):
            return Failed(
                f"The step `{step.name}` failed: the data does not allow the {self.migration.target} index.",
                "At least two active threads share one of its keys (SQLSTATE 23505).",
                f"`{self._plan_command()}` shows them, and prints SQL that would resolve them.{left}",
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return Failed(
                f"The step `{step.name}` failed: this role may not do that (SQLSTATE 42501).",
                "Only the table's owner, with CREATE on its schema, may build and drop its indexes.",
                f"Use that role.{left}",
            )
        why = f"PostgreSQL answered SQLSTATE {error.sqlstate}." if error.sqlstate else "The connection was lost."
        return Failed(f"The step `{step.name}` failed.", why, again)

    def _plan_command(self) -> str:
        return plan_command(self.migration.target, self.environment.name)

    def _clean_up(self, step: Step) -> str:
        """Drop what a failed build left, unless it is the only index enforced; name what stays behind."""
        name = step.builds.name if step.builds else step.drops
        catalog = self._read_catalog()
        left = [index for index in catalog.indexes if index.name == name and not index.usable]
        if left and step.builds and _may_be_dropped(left[0], catalog):
            catalog = self._drop(left[0])
            left = [index for index in catalog.indexes if index.name == name]
        return f" The index {name} is left behind: {left[0].flags()}." if left else ""

    def _read_catalog(self) -> Catalog:
        self.migration.after = read_catalog(self.connection)
        return self.migration.after

    def _drop(self, index: UniqueIndex) -> Catalog:
        """Try to drop a leftover within a few seconds; what the catalog holds then."""
        statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(SCHEMA, index.name))
        pid, until = self.connection.info.backend_pid, time.monotonic() + CLEAN_SECONDS
        with suppress(psycopg.Error), Monitor(self.environment, pid, "clean up", self.listener, until):
            self.connection.execute(statement)
        return self._read_catalog()


def _may_be_dropped(index: UniqueIndex, catalog: Catalog) -> bool:
    return not index.enforced or any(other.usable for other in catalog.family_indexes)
