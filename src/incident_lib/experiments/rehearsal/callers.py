"""The clients of a rehearsal: what they send while the index of a change is replaced on the copy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from psycopg import sql

from incident_lib.database import connecting, key_sql, reading, table_sql
from incident_lib.experiments import traffic
from incident_lib.experiments.traffic import Client
from incident_lib.model import PURPOSE, Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from incident_lib.database import Connection, Environment
    from incident_lib.model import IndexChange

CLIENTS, CLIENT_KEYS, MADE_UP = 2, 100, 3  # made-up keys: for each client


@dataclass(frozen=True)
class Callers:
    """What the clients send, and for which keys.

    Attributes:
        calls: by kind, each for one key.
        freed: the kind that the change allows.
        keys: of rows that are there; made_up: of none.
        created: a condition for the rows that the clients create.
    """

    change: IndexChange
    calls: Mapping[str, Callable[[Connection, Any], object]]
    freed: str
    keys: Sequence[Any]
    made_up: Sequence[Any]
    created: sql.Composable

    def clients(self) -> list[Client]:
        """The clients, each with keys of its own."""
        return [
            Client(self.calls, [*self.made_up[place::CLIENTS], *self.keys[place::CLIENTS]]) for place in range(CLIENTS)
        ]

    def delete_created(self, copy: Environment) -> None:
        """Delete what the clients have created."""
        with connecting(copy, traffic.ACTIVITY) as connection:
            delete = sql.SQL("DELETE FROM {} WHERE {}")
            connection.execute(delete.format(table_sql(self.change), self.created))


def callers_of(copy: Environment, change: IndexChange) -> Callers:
    """The clients of a change: the product's own, or some that insert rows like those of any table.

    Args:
        copy: a scratch database with the rows.
        change: as it is on the copy.
    """
    if not change.of_incident:
        return _of_any_table(copy, change)
    with reading(copy, seconds=0) as connection:
        families = traffic.families_without_chat(connection, CLIENT_KEYS)
    other = "chat" if change.name == PURPOSE.name else "other run"
    calls = {"chat": traffic.chat, "run": traffic.run, "other run": traffic.other_run}
    return Callers(
        change,
        {kind: calls[kind] for kind in sorted((other, "run"))},
        other,
        families,
        [Family(uuid4(), uuid4()) for _ in range(CLIENTS * MADE_UP)],
        sql.SQL("name = {}").format(traffic.NAME),
    )


def _of_any_table(copy: Environment, change: IndexChange) -> Callers:
    """Clients that insert rows of their own, and rows that differ from others in the added parts alone."""
    before = key_sql(change.before.parts)
    with reading(copy, seconds=0) as connection:
        asked = sql.SQL("SELECT {} FROM {} LIMIT {}").format(before, table_sql(change), CLIENT_KEYS)
        keys = connection.execute(asked).fetchall()
    added = [part for part in change.after.parts if part not in change.before.parts]
    return Callers(
        change,
        {"row": partial(_insert, change=change, similar=False), "similar row": partial(_insert, change=change)},
        "similar row",
        keys,
        [tuple(str(uuid4()) for _ in change.before.parts) for _ in range(CLIENTS * MADE_UP)],
        sql.SQL("starts_with({}, {})").format(sql.Identifier(added[0]), traffic.NAME),
    )


def _insert(connection: Connection, key: Sequence[str], *, change: IndexChange, similar: bool = True) -> None:
    """Insert a row with a value of its own in each added part; one that is not similar has a key of its own, too."""
    values = dict(zip(change.before.parts, key if similar else [str(uuid4()) for _ in key], strict=True))
    mine = [values.get(part) or f"{traffic.NAME} {uuid4()}" for part in change.after.parts]
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})")
    texts = sql.SQL(", ").join(map(sql.Literal, mine))
    connection.execute(insert.format(table_sql(change), key_sql(change.after.parts), texts))
