"""Take the steps of a plan one at a time, the catalog read anew between any two, and clean up after a failure."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from incident_lib.database import read_catalog, set_local
from incident_lib.migration.lock import another_migration
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
    UniqueIndex,
    plan_command,
    to_iso,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection, Environment

MOST_STEPS = 20
RENAME_TIMEOUT = "200ms"
CLEAN_SECONDS = 3.0  # who was in the way of the build is in the way of this, too


@dataclass(frozen=True)
class StepResult:
    """One step that was taken: what was sent, when by the clock here, how long it took, how it ended."""

    name: str
    sql: tuple[str, ...]
    seconds: float
    outcome: str
    started_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The step as a run record carries it."""
        return {
            "name": self.name,
            "sql": list(self.sql),
            "seconds": round(self.seconds, 3),
            "outcome": self.outcome,
            "started_at": to_iso(self.started_at),
        }


@dataclass
class MigrationResult:
    """What applying a plan did, also where it failed midway.

    Attributes:
        steps: those that were taken, in order.
        ended_at: when the last unique index of the other kind stopped enforcing, by the server's clock; for a
            migration to FIXED the moment at which the incident ended. None if it did not happen here.
        xids: the transactions of ours that could have touched anything.
    """

    target: IndexKind
    before: Catalog
    after: Catalog
    steps: list[StepResult] = field(default_factory=list)
    ended_at: datetime | None = None
    xids: set[str] = field(default_factory=set)


@dataclass
class Executor:
    """One migration under way: where, until when, and who is told."""

    environment: Environment
    connection: Connection
    migration: MigrationResult
    deadline: float
    listener: Callable[[Progress], None]
    done: Callable[[MigrationResult], None]
    wait: bool

    def go(self) -> None:
        """Take step after step until none is left; see `migrate.apply`."""
        for _ in range(MOST_STEPS):
            way = plan_change(self.migration.after, self.migration.target)
            if way.refusal:
                raise Refused(
                    "The catalog holds what we do not touch.",
                    f"{way.refusal[0].upper()}{way.refusal[1:]}.",
                    f"Then run it again; `{self._plan_command()}` shows the way.",
                )
            if not way.steps:
                return
            self._take(way.steps[0])
        raise Failed(
            "The migration does not come to an end.",
            f"After {MOST_STEPS} steps the catalog still changes.",
            "Is somebody else changing these indexes? Look at `incident plan`.",
        )

    def _take(self, step: Step) -> None:
        at, started, outcome = datetime.now(UTC), time.monotonic(), "failed"
        self.listener(Progress(step.name, "begins"))
        try:
            with self._watched(step) as watch:
                outcome = self._send(step, watch)
        finally:
            self.listener(Progress(step.name, outcome, 1.0 if outcome != "failed" else None))
            self.migration.steps.append(StepResult(step.name, step.sql, time.monotonic() - started, outcome, at))
            self.done(self.migration)
        self._look()
        self.done(self.migration)

    @contextmanager
    def _watched(self, step: Step) -> Iterator[Monitor]:
        """Watch a step; if it fails, clean up what it built, and say who was in the way."""
        pid = self.connection.info.backend_pid
        retiring = step.drops if self._frees(step) else None
        watch = Monitor(self.environment, pid, step.name, self.listener, self.deadline, retiring)
        try:
            with watch:
                yield watch
        except psycopg.Error as error:
            raise self._failure(step, watch, error) from None
        except KeyboardInterrupt:
            self._clean(step)
            raise
        finally:
            self.migration.xids |= watch.xids
        if retiring:
            self.migration.ended_at = watch.released_at or released_at(self.connection, retiring)

    def _frees(self, step: Step) -> bool:
        """Whether a drop takes the last enforced unique index of the other kind away."""
        target, held = self.migration.target, self.migration.after.indexes
        other = [index.name for index in held if index.enforced and index.kind in KEYS and index.kind is not target]
        return other == [step.drops]

    def _send(self, step: Step, watch: Monitor) -> str:
        """Do the step; its outcome. Where somebody else did it first, the catalog tells what is left."""
        try:
            if step.waits_for:
                self._wait_for(step)
            elif step.transaction:
                self._rename(step, watch)
            else:
                self._execute(step)
        except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.DuplicateTable):
            return "done by another session"
        return "done"

    def _execute(self, step: Step) -> None:
        for statement in step.sql:
            self.connection.execute(statement.encode())

    def _rename(self, step: Step, watch: Monitor) -> None:
        """All statements in one transaction; short lock timeouts, and again after a moment of random length."""
        while True:
            try:
                with self.connection.transaction():
                    set_local(self.connection, "lock_timeout", RENAME_TIMEOUT)
                    self._execute(step)
                    row = self.connection.execute("SELECT pg_current_xact_id()::xid::text").fetchone()
                    watch.xids |= set(row or ())
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
                raise Failed("We gave up waiting.", f"{step.why[0].upper()}{step.why[1:]}.", "Try again later.")
            time.sleep(0.2)

    def _failure(self, step: Step, watch: Monitor, error: psycopg.Error) -> Failed:
        """The message of a failed step, once what it left is cleaned up or named."""
        left = "" if self.connection.broken else self._clean(step)
        again = f"Run the same command again: it goes on from the catalog.{left}"
        if watch.gave_up:
            who = "; ".join(watch.blockers) or "nobody that we could see"
            return Failed(
                f"The step `{step.name}` took too long, and was given up.",
                f"It waited for {who}.",
                f"Ask them to end their transactions, or allow more --budget. {again}",
            )
        if isinstance(error, psycopg.errors.UniqueViolation):
            return Failed(
                f"The step `{step.name}` failed: the data breaks the {self.migration.target} unique index.",
                "At least two active threads share a key of it (SQLSTATE 23505).",
                f"`{self._plan_command()}` shows them, and prints what would settle it.{left}",
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return Failed(
                f"The step `{step.name}` failed: this role may not do that (SQLSTATE 42501).",
                "An index is built and dropped by the table's owner, who may create in its schema.",
                f"Use that role.{left}",
            )
        why = f"PostgreSQL answered SQLSTATE {error.sqlstate}." if error.sqlstate else "The connection was lost."
        return Failed(f"The step `{step.name}` failed.", why, again)

    def _plan_command(self) -> str:
        return plan_command(self.migration.target, self.environment.name)

    def _clean(self, step: Step) -> str:
        """Drop what a failed build left, unless it enforces what nothing else does; name what stays behind."""
        name = step.builds.name if step.builds else step.drops
        catalog = self._look()
        left = [index for index in catalog.indexes if index.name == name and not index.usable]
        if left and step.builds and _may_go(left[0], catalog):
            catalog = self._drop(left[0])
            left = [index for index in catalog.indexes if index.name == name]
        return f" The index {name} is left behind: {left[0].flags()}." if left else ""

    def _look(self) -> Catalog:
        self.migration.after = read_catalog(self.connection)
        return self.migration.after

    def _drop(self, index: UniqueIndex) -> Catalog:
        """Try to take a leftover away within half a minute; what the catalog holds then."""
        statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(SCHEMA, index.name))
        pid, until = self.connection.info.backend_pid, time.monotonic() + CLEAN_SECONDS
        with suppress(psycopg.Error), Monitor(self.environment, pid, "clean up", self.listener, until):
            self.connection.execute(statement)
        return self._look()


def _may_go(index: UniqueIndex, catalog: Catalog) -> bool:
    return not index.enforced or any(other.usable for other in catalog.family_indexes)
