"""The changes that the suites of the migration run over, each with its table: the incident's two, and two of a shop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.model.change import PROVIDER, PURPOSE, IndexChange
from tests.support import shop

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Scene:
    """A change and its table.

    Attributes:
        column: one that is in no key; touched: an assignment to another one.
        create: SQL that makes the table; empty: it is there.
        file: the text that describes the change; empty: it has a name.
    """

    change: IndexChange
    column: str
    touched: str
    create: str = ""
    file: str = ""

    @property
    def deploys(self) -> dict[str, str]:
        """Deploys that queue behind a step. Beside a reader that holds a drop up a stronger lock would wait for it."""
        alter = f"ALTER TABLE {self.change.path} ALTER COLUMN {self.column} SET STATISTICS 50"
        return {"build": f"{alter}, ADD COLUMN IF NOT EXISTS added int", "swap": alter, "drop": alter}

    @property
    def holding_up(self) -> dict[str, str]:
        """Statements whose open transaction makes one step wait: a writer's, a rename's, a reader's."""
        table = self.change.path
        return {
            "build": f"UPDATE {table} SET {self.touched} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)",
            "swap": f"COMMENT ON INDEX {self.change.schema}.{self.change.index} IS 'never committed'",
            "drop": f"SELECT count(*) FROM {table}",
        }

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        """Make the table, without a row, and with the index from before the change alone."""
        if self.create:
            connection.execute(self.create)
        self.reset(connection)

    def reset(self, connection: psycopg.Connection[Any]) -> None:
        """Begin again: no row, the index from before the change alone."""
        change = self.change
        held = connection.execute(
            "SELECT i.indexrelid::regclass::text, o.conname FROM pg_index i"
            " LEFT JOIN pg_constraint o ON o.conindid = i.indexrelid AND o.conrelid = i.indrelid"
            " WHERE i.indrelid = %s::regclass AND i.indisunique AND NOT i.indisprimary",
            [change.path],
        ).fetchall()
        for index, constraint in held:
            connection.execute(
                f"ALTER TABLE {change.path} DROP CONSTRAINT {constraint}" if constraint else f"DROP INDEX {index}"
            )
        connection.execute(f"TRUNCATE {change.path}")
        key, where = ", ".join(change.before.parts), f" WHERE {change.predicate}" if change.predicate else ""
        if change.constraint:
            connection.execute(f"ALTER TABLE {change.path} ADD CONSTRAINT {change.index} UNIQUE ({key})")
        else:
            connection.execute(f"CREATE UNIQUE INDEX {change.index} ON {change.path} ({key}){where}")


SCENES = {
    "purpose": Scene(PURPOSE, "name", "message_count = 1"),
    "provider": Scene(PROVIDER, "name", "message_count = 1"),
    "shop": Scene(shop.CHANGE, "locale", "locale = 'fr'", shop.TABLE, f'{shop.FILE}predicate = "deleted_at IS NULL"\n'),
    "constraint": Scene(shop.CONSTRAINT, "locale", "locale = 'fr'", shop.TABLE, f"{shop.FILE}constraint = true\n"),
}
