"""What a step that did not finish leaves behind: dropped, or named; and what is enforced then."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from incident_lib.database import bounded, connecting, read_catalog
from incident_lib.migration.monitor import Monitor
from incident_lib.model import Catalog, IncidentError, IndexChange, IndexKind, Step, UniqueIndex, change_command, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Connection, Environment
    from incident_lib.migration.monitor import Progress

CLEAN_SECONDS = 3.0  # for a cleanup: the sessions that blocked a build may block its cleanup, too
MOST_OVER = 2.0  # seconds after the end of the budget until a cleanup ends
READ_SECONDS = 1.5  # more, to read what is left
GRACE = 0.5  # seconds that the server then has to confirm a cancellation


@dataclass(frozen=True)
class Leftover:
    """What is left of a step that did not finish.

    Attributes:
        step: None where it ended before the first step.
        catalog: what it holds after the cleanup; None: it could not be read.
    """

    step: Step | None
    catalog: Catalog | None

    @property
    def index(self) -> UniqueIndex | None:
        """The incomplete index that the step would have built or dropped, if it is still there."""
        return next(iter(_incomplete(self.step, self.catalog)), None) if self.step and self.catalog else None

    def __str__(self) -> str:
        name = _name(self.step)
        if self.catalog is None:
            may_be = f"the index {name} may be left behind, and may be enforced" if name else ""
            return f"The catalog was not read{': ' if may_be else ''}{may_be}."
        return f"The index {name} is left behind: {self.index.flags()}." if self.index else ""


@dataclass(frozen=True)
class Cleanup:
    """Cleans up after a step, and reads what is enforced then: within its own few seconds.

    Attributes:
        deadline: the end of the budget; a cleanup ends at most `MOST_OVER` + `READ_SECONDS` after it.
    """

    environment: Environment
    connection: Connection
    deadline: float
    max_block: float
    listener: Callable[[Progress], None]
    change: IndexChange

    def run(self, step: Step | None) -> Leftover:
        """Drop what a failed build left, unless it is the only index enforced; then read the catalog."""
        now = time.monotonic()
        until = min(now + CLEAN_SECONDS, self.deadline + MOST_OVER)
        with suppress(psycopg.Error, IncidentError):
            if step and step.builds and until > now and not self.connection.broken:
                with self._bounded(until):
                    self._drop_incomplete(step, until)
        return Leftover(step, self._read(until + READ_SECONDS))

    def _drop_incomplete(self, step: Step, until: float) -> None:
        catalog = read_catalog(self.connection, self.change)
        # A session that waited for the step, and now holds its lock, releases it soon. Read again each time: what
        # another session has completed meanwhile is no leftover.
        while _incomplete(step, catalog) and catalog.lock_holders and time.monotonic() < until - 1:
            time.sleep(0.05)
            catalog = read_catalog(self.connection, self.change)
        for index in _incomplete(step, catalog):
            if _may_be_dropped(index, catalog):
                self._drop(index)

    def _drop(self, index: UniqueIndex) -> None:
        statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(index.schema, index.name))
        pid = self.connection.info.backend_pid
        with Monitor(
            self.environment, pid, "clean up", self.listener, self.change, max_block=self.max_block
        ) as monitor:
            self.connection.stop = lambda: monitor.must_stop
            try:
                self.connection.execute(statement)
            finally:
                self.connection.stop = None

    def _read(self, until: float) -> Catalog | None:
        """The catalog, through a new connection where this one is lost."""
        with suppress(psycopg.Error, IncidentError), self._bounded(until), ExitStack() as stack:
            if not self.connection.broken:
                return read_catalog(self.connection, self.change)
            return read_catalog(stack.enter_context(connecting(self.environment, "migrate")), self.change)
        return None

    @contextmanager
    def _bounded(self, until: float) -> Iterator[None]:
        connection, kept = self.connection, (self.connection.deadline, self.connection.grace)
        try:
            with bounded(until - time.monotonic(), over=True):
                connection.deadline, connection.grace = until, GRACE
                yield
        finally:
            connection.deadline, connection.grace = kept


def enforced_now(catalog: Catalog) -> str:
    """Which unique indexes are enforced, and what they do to clients, in a sentence."""
    found = [index for index in catalog.relevant_indexes if index.enforced]
    enforced = [f"{index.name} ({index.label}, {index.flags()})" for index in found if index.partition is None]
    parts = Counter(index.label for index in found if index.partition)
    enforced += [f"{kind} indexes of {plural(count, 'partition')} alone" for kind, count in sorted(parts.items())]
    if not enforced:
        return "No unique index is enforced now."
    words = catalog.change.wording
    effect = {True: words.rejects, False: words.accepts, None: "what they block is not known"}
    return f"Enforced now: {', '.join(enforced)}; {effect[catalog.blocks]}."


def after_failure(leftover: Leftover, change: IndexChange, target: IndexKind, environment: str) -> str:
    """What is left behind; after a rollback also what is rejected again, and the command that ends that."""
    catalog, ends = leftover.catalog, f"`{change_command('apply', environment, change.name)}` ends that."
    sentences = [str(leftover)]
    if target is IndexKind.ORIGINAL and catalog is None:
        sentences.append(f"{change.wording.rejected_again}: {ends}")
    elif target is IndexKind.ORIGINAL and catalog and catalog.blocks:
        sentences.append(f"{enforced_now(catalog)} {ends}")
    return " ".join(filter(None, sentences))


def _name(step: Step | None) -> str | None:
    if step is None:
        return None
    return step.builds.name if step.builds else step.drops


def _incomplete(step: Step, catalog: Catalog) -> list[UniqueIndex]:
    """The index that a step would have built or dropped, if it is there and not complete."""
    schemas = {step.builds.schema} if step.builds else {index.schema for index in catalog.indexes}
    return [
        index
        for index in catalog.indexes
        if index.name == _name(step) and index.schema in schemas and not index.complete
    ]


def _may_be_dropped(index: UniqueIndex, catalog: Catalog) -> bool:
    if catalog.lock_holders:  # one of them may be building it
        return False
    return not index.enforced or any(other.usable for other in catalog.relevant_indexes)
