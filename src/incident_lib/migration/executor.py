"""Run a plan one step at a time, and read the catalog again between any two.

What is done and what is left is kept in PostgreSQL's catalog alone: an interrupted migration continues from there.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import (
    OutOfTime,
    action_for,
    bounded,
    connecting,
    fetch_all,
    is_transaction_pooled,
    lock_holders,
    read_catalog,
    safe_message,
    send_transaction,
    translate_errors,
)
from incident_lib.migration.cleanup import Cleanup, Leftover, after_failure, enforced_now
from incident_lib.migration.lock import another_migration, migration_lock
from incident_lib.migration.monitor import BLIND, MAX_BLOCK, Monitor, Progress, released_at, server_time
from incident_lib.migration.plan import has_to_wait, plan_change
from incident_lib.model import (
    DEFAULT_CHANGE,
    SIDES,
    Catalog,
    Failed,
    IndexChange,
    IndexKind,
    Interrupted,
    Plan,
    Refused,
    Step,
    StepResult,
    change_command,
    describe_session,
    plan_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection, Environment

BUDGET = 3600.0  # seconds that a whole migration may take, waiting included
MOST_STEPS = 20  # and for each partition of a partitioned table MOST_STEPS_EACH more
MOST_STEPS_EACH = 6
RENAME_LIMITS = {  # of the transaction that renames
    "lock_timeout": "200ms",
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "2s",
    "transaction_timeout": "5s",
}
SHORT_TRIES = {  # the same, of a transaction for whose locks reads or writes wait
    "lock_timeout": "200ms",
    "statement_timeout": "500ms",
    "idle_in_transaction_session_timeout": "500ms",
    "transaction_timeout": "2s",
}
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a step is tried again that held others up
POLL_SECONDS = 0.2
STEPPED_BACK = "stepped back"
UNCONFIRMED = "not confirmed by a synchronous standby"
_CONTINUE = "Run the same command again: it continues from the catalog."
_NOT_NOW = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)


def require_confirm(
    environment: str, confirm: str, act: str = "Changing an environment", *, change: str = DEFAULT_CHANGE.name
) -> None:
    """Refuse to change an environment whose name was not given as `confirm`."""
    if confirm != environment:
        raise Refused(
            f"Nothing was changed in {environment!r}.",
            f"{act} needs its name as confirmation, and {repr(confirm) if confirm else 'none'} was given.",
            f"Read `{change_command('plan', environment, change)}`, then add `--confirm {environment}` "
            "to allow changes.",
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
    change: IndexChange = DEFAULT_CHANGE,
    target: IndexKind = IndexKind.FIXED,
    budget: float = BUDGET,
    max_block: float = MAX_BLOCK,
    plain: bool = False,
    wait: bool = True,
    listener: Callable[[Progress], None] = lambda _: None,
    done: Callable[[MigrationResult], None] = lambda _: None,
) -> MigrationResult:
    """Run the plan from what the catalog holds to the target's unique index, one step at a time.

    Args:
        environment: which database.
        confirm: its name once more.
        change: which change of which index.
        target: FIXED for the change, ORIGINAL for its rollback, whose preflight has checked the data.
        budget: seconds for all of it, waiting for others included; it ends within five seconds more.
        max_block: how many seconds another session may wait for a step; the step is then cancelled, cleaned up and
            tried again after a pause.
        plain: whether to build the index without the properties of the one that it replaces; see `plan_change`.
        wait: whether to wait for another migration that is running, or to refuse.
        listener: is called with the progress several times a second, from another thread.
        done: is called after each step.

    Returns:
        What was done; no steps where nothing was left to do.

    Raises:
        Refused: confirm is not the name, a pooler in transaction mode, a catalog from which there is no plan, or
            another migration is running and `wait` is off.
        Failed: a step failed or took too long; what it left is cleaned up, or named.
        Interrupted: Ctrl-C; what is enforced now is named.
    """
    require_confirm(environment.name, confirm, change=change.name)
    with bounded(budget) as deadline:
        if is_transaction_pooled(environment):
            raise Refused(
                "A pooler in transaction mode is between this client and the server.",
                "Settings would leak to other clients through it, and the advisory lock would be stranded.",
                "Use its session port, or the server's own address.",
            )
        with (
            connecting(environment, "migrate") as connection,
            migration_lock(connection, deadline, listener, wait=wait),
        ):
            catalog = read_catalog(connection, change)
            migration = MigrationResult(target, catalog, catalog)
            limits = deadline, max_block
            Executor(environment, connection, migration, *limits, listener, done, plain=plain, wait=wait).run()
            return migration


class _SteppedBack(Exception):
    """A step was cancelled for others, and what it left is cleaned up or named."""


@dataclass
class Executor:
    """One migration that is running: where, until when, and who is informed."""

    environment: Environment
    connection: Connection
    migration: MigrationResult
    deadline: float
    max_block: float
    listener: Callable[[Progress], None]
    done: Callable[[MigrationResult], None]
    plain: bool
    wait: bool

    def run(self) -> None:
        """Run step after step until none is left; see `apply`."""
        self._step: Step | None = None
        self._gave_way_because = ""
        self._pauses = _pauses()
        self._unconfirmed = False
        self._change = self.migration.before.change
        self._cleanup = Cleanup(
            self.environment, self.connection, self.deadline, self.max_block, self.listener, self._change
        )
        self.connection.add_notice_handler(self._note_unconfirmed)
        self._pid = self.connection.info.backend_pid
        try:
            self._run_or_clean_up()
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def _run_or_clean_up(self) -> None:
        try:
            with translate_errors(self.environment.name):
                self._run_steps()
        except Failed as error:
            left = self._clean_up()
            raise Failed(error.what, f"{error.why} {left}".rstrip(), error.next) from None

    def _run_steps(self) -> None:
        partitions = self.migration.after.partitions
        most = MOST_STEPS + MOST_STEPS_EACH * (len(partitions.tables) if partitions else 0)
        for _ in range(most):
            plan = self._plan(self.migration.after)
            if plan.refusal:
                raise Refused(
                    "The catalog holds indexes that this project does not change.",
                    f"{plan.refusal[0].upper()}{plan.refusal[1:]}.",
                    self._after_refusal(plan),
                )
            if not plan.steps:
                return
            self._run_step(plan.steps[0])
        raise Failed(
            "The migration does not come to an end.",
            f"After {most} steps the catalog still changes.",
            f"Is another session changing these indexes? Read `{self._plan_command()}`.",
        )

    def _run_step(self, step: Step) -> None:
        """Run one step; where it holds others up, step back and plan again after a pause, until the budget ends."""
        while True:
            try:
                self._try_step(step)
            except _SteppedBack:
                time.sleep(max(0.0, min(next(self._pauses), self.deadline - time.monotonic())))
                plan = self._plan(self._read_catalog())
                if not plan.steps:
                    return
                step = plan.steps[0]
            else:
                return

    def _try_step(self, step: Step) -> None:
        if time.monotonic() > self.deadline:
            raise Failed(
                f"The budget ended before the step `{step.name}`.",
                f"The step was not begun.{self._gave_way()}",
                f"{_CONTINUE} Allow more with --budget.",
            )
        self._step, self._unconfirmed = step, False
        at, started, outcome = datetime.now(UTC), time.monotonic(), "failed"
        self.listener(Progress(step.name, "begins"))
        try:
            with self._monitored(step) as monitor:
                outcome = self._send(step, monitor)
                if self._unconfirmed:
                    outcome = f"{outcome}, {UNCONFIRMED}"
        except _SteppedBack:
            outcome = STEPPED_BACK
            raise
        finally:
            self.listener(Progress(step.name, outcome, None if outcome in {"failed", STEPPED_BACK} else 1.0))
            seconds = round(time.monotonic() - started, 3)
            self.migration.steps.append(
                StepResult(name=step.name, sql=step.sql, seconds=seconds, outcome=outcome, started_at=at)
            )
            self.done(self.migration)
        self._read_catalog()
        self.done(self.migration)

    def _note_unconfirmed(self, notice: psycopg.errors.Diagnostic) -> None:
        """A commit whose wait for a synchronous standby was cancelled gives a warning, and succeeds."""
        if notice.source_function == "SyncRepWaitForLSN":
            self._unconfirmed = True

    @contextmanager
    def _monitored(self, step: Step) -> Iterator[Monitor]:
        """Monitor a step; if it fails, say why, and name the sessions that blocked it."""
        pid = self.connection.info.backend_pid
        is_end = self._ends_the_other_kind(step)
        # Where another index takes the name in the same transaction, its end is the end of the step.
        retiring = step.drops if is_end and step.drops not in dict(step.renames).values() else None
        monitor = Monitor(self.environment, pid, step.name, self.listener, self._change, retiring, self.max_block)
        try:
            with monitor:
                self.connection.stop = lambda: monitor.must_stop
                try:
                    yield monitor
                finally:
                    self.connection.stop = None  # what cleans up after the step is not stopped, too
        except OutOfTime as error:
            raise self._cancelled(step, monitor, answered=error.answered) from None
        except psycopg.Error as error:
            if not isinstance(error, _NOT_NOW):
                raise self._failure(step, error) from None
            if time.monotonic() > self.deadline:
                raise self._cancelled(step, monitor, answered=True) from None
            if not monitor.must_stop:
                raise self._failure(step, error) from None
            self._step_back(step, monitor)
        finally:
            self.migration.xids |= monitor.xids
        if retiring:
            self.migration.ended_at = monitor.released_at or released_at(self.connection, self._change, retiring)
        elif is_end:
            self.migration.ended_at = server_time(self.connection)

    def _ends_the_other_kind(self, step: Step) -> bool:
        """Whether a drop removes the last enforced unique index of the other kind."""
        target, indexes = self.migration.target, self.migration.after.indexes
        others = [
            index.name for index in indexes if index.enforced and index.kind in SIDES and index.kind is not target
        ]
        return others == [step.drops]

    def _send(self, step: Step, monitor: Monitor) -> str:
        """Run the step; its outcome. Where another session did it first, the catalog shows what is left."""
        try:
            if step.waits_for:
                self._wait_for(step)
            elif step.transaction:
                self._send_with_retries(step, monitor)
            else:
                self._wait_for_lock(step)
                for statement in step.sql:
                    self.connection.execute(statement.encode())
        except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.DuplicateTable):
            return "done by another session"
        return "done"

    def _wait_for_lock(self, step: Step) -> None:
        """Poll until no other session holds a lock that a statement with CONCURRENTLY would queue for.

        In the queue it would hold a snapshot; a REINDEX CONCURRENTLY before it waits for that: a deadlock, of which
        PostgreSQL cancels one. Autovacuum ends itself only for a session in the queue, and waits for no snapshot.
        """
        while pids := lock_holders(self.connection, self._change, autovacuum=False):
            place = {"schema": self._change.schema, "table": self._change.table}
            rows = fetch_all(self.connection, "migration/waits", place)
            known = {row["pid"]: describe_session(row) for row in rows}
            holders = tuple(known.get(pid, f"pid {pid}") for pid in sorted(pids))
            if time.monotonic() > self.deadline:
                raise Failed(
                    f"The budget ended before the step `{step.name}`.",
                    f"The table's lock is held by {'; '.join(holders)}.{self._gave_way()}",
                    f"Wait until they have ended. {_CONTINUE}",
                )
            self.listener(Progress(step.name, "waits for the table's lock", blockers=holders))
            time.sleep(POLL_SECONDS)

    def _send_with_retries(self, step: Step, monitor: Monitor) -> None:
        """Send all statements in one transaction with a short lock timeout; retry after a random pause.

        Where reads or writes wait for its locks, each try is shorter, and the pauses grow.
        """
        statements = [sql.SQL(statement) for statement in step.sql]
        limits = SHORT_TRIES if step.blocks_clients else RENAME_LIMITS
        pauses = _pauses() if step.blocks_clients else iter(lambda: random.uniform(0.1, 1.0), None)  # noqa: S311
        while True:
            try:
                xid = send_transaction(
                    self.connection, limits, *statements, answer="pg_catalog.pg_current_xact_id()::xid"
                )
                monitor.xids.add(xid)
            except _NOT_NOW:
                if time.monotonic() > self.deadline or (step.blocks_clients and monitor.must_stop):
                    raise
                pause = next(pauses)
                if step.blocks_clients:
                    note = f"its lock was not free, and reads or writes would wait: next try in {pause:.0f} s"
                    self.listener(Progress(step.name, note, blockers=monitor.blockers))
                time.sleep(max(0.0, min(pause, self.deadline - time.monotonic())))
            else:
                return

    def _wait_for(self, step: Step) -> None:
        """Wait for another session that builds an index, or may be building it."""
        if not self.wait:
            raise another_migration(step.why)
        self.listener(Progress(step.name, step.why))
        while has_to_wait(step, self._read_catalog()):
            if time.monotonic() > self.deadline:
                raise Failed(
                    "The budget ended while waiting for another session.",
                    f"{step.why[0].upper()}{step.why[1:]}.{self._gave_way()}",
                    f"Wait until it has ended. {_CONTINUE}",
                )
            time.sleep(POLL_SECONDS)

    def _step_back(self, step: Step, monitor: Monitor) -> None:
        """Clean up, and let others go first."""
        waiters = () if monitor.stopped_because == BLIND else monitor.waiters
        self._gave_way_because = f"{monitor.stopped_because}{': ' if waiters else ''}{'; '.join(waiters)}"
        self._clean_up()
        self.listener(Progress(step.name, f"{monitor.stopped_because}: it is tried again after a pause"))
        raise _SteppedBack

    def _cancelled(self, step: Step, monitor: Monitor, *, answered: bool) -> Failed:
        """The message of a step that was cancelled at the end of the budget, or whose cancellation has no answer."""
        stopped = monitor.stopped_because
        reason = f"was cancelled, because {stopped}" if stopped else "took longer than the budget"
        blockers = "; ".join(monitor.blockers)
        why = f"It waited for {blockers}." if blockers else "The session that it waited for is not known."
        why += self._gave_way()
        if not answered:
            return Failed(
                f"The step `{step.name}` {reason}, and the server did not confirm its cancellation.",
                f"{why} The connection was closed; pid {monitor.pid} may still run the step there.",
                f"If pid {monitor.pid} does not end, an administrator ends it with pg_terminate_backend. {_CONTINUE}",
            )
        ask = "Ask their owners to end these transactions, or allow" if blockers else "Allow"
        return Failed(
            f"The step `{step.name}` {reason}{'; then the budget ended' if stopped else ', and was cancelled'}.",
            why,
            f"{ask} more with --budget. {_CONTINUE}",
        )

    def _gave_way(self) -> str:
        """Why it stepped back last, in a sentence, if it did."""
        return f" It stepped back before; the last time {self._gave_way_because}." if self._gave_way_because else ""

    def _failure(self, step: Step, error: psycopg.Error) -> Failed:
        """The message of a failed step."""
        if isinstance(error, psycopg.errors.UniqueViolation):
            return Failed(
                f"The step `{step.name}` failed: the data does not allow the {self._label} index.",
                f"At least two {self._change.wording.row}s share one of its keys (SQLSTATE 23505).",
                f"`{self._plan_command()}` shows them, and prints SQL that would resolve them.",
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return Failed(
                f"The step `{step.name}` failed: this role may not do that (SQLSTATE 42501).",
                "Only the table's owner, with CREATE on its schema, may build and drop its indexes.",
                "Use that role.",
            )
        state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        why = safe_message(error) if error.sqlstate else "The connection was lost."
        return Failed(f"The step `{step.name}` failed{state}.", why, action_for(error))

    def _interrupted(self) -> Interrupted:
        """The message of an interruption: what is enforced now, and what ends or continues the change."""
        lost = f" The connection was lost; pid {self._pid} may still run the step." if self.connection.broken else ""
        try:
            leftover = self._cleanup.run(self._step)
        except KeyboardInterrupt:
            return Interrupted(
                "Interrupted before the cleanup was done.",
                str(Leftover(self._step, None)),
                f"`{self._plan_command()}` shows what is enforced now, and what is left to do.",
            )
        if leftover.catalog is None:
            return Interrupted("Interrupted.", f"{leftover}{lost}", f"`{self._plan_command()}` shows what is enforced.")
        why = f"{enforced_now(leftover.catalog)} {leftover}".rstrip() + lost
        return Interrupted("Interrupted.", why, self._after_interruption(leftover.catalog))

    def _after_interruption(self, catalog: Catalog) -> str:
        name, change = self.environment.name, self._change.name
        again, back = (f"`{change_command(act, name, change)}`" for act in ("apply", "rollback"))
        if self.migration.target is IndexKind.FIXED:
            return f"{again} continues."
        if catalog.blocks:
            return f"{again} ends that: {self._change.wording.accepts_again}. {back} continues the rollback."
        return f"{back} starts again."

    def _after_refusal(self, plan: Plan) -> str:
        if plan.first:
            act, name = plan.first
            return f"`{change_command(act, self.environment.name, name)}` comes first."
        return f"Then run it again; `{self._plan_command()}` shows the plan."

    def _plan(self, catalog: Catalog) -> Plan:
        return plan_change(catalog, self.migration.target, plain=self.plain, most=1)

    def _plan_command(self) -> str:
        return plan_command(self.migration.target, self.environment.name, self._change.name)

    @property
    def _label(self) -> str:
        return self._change.label(self.migration.target)

    def _clean_up(self) -> str:
        """Clean up after the last step; what is left behind, in sentences."""
        leftover = self._cleanup.run(self._step)
        self.migration.after = leftover.catalog or self.migration.after
        return after_failure(leftover, self._change, self.migration.target, self.environment.name)

    def _read_catalog(self) -> Catalog:
        self.migration.after = read_catalog(self.connection, self._change)
        return self.migration.after


def _pauses() -> Iterator[float]:
    """Seconds to wait before the next try: about twice as long each time, with jitter."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
        pause = min(2 * pause, LONGEST_PAUSE)
