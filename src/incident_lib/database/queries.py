"""The project's queries: one `.sql` file each, in the folder `sql/` of the room that asks it, named `room/query`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import dict_row

from incident_lib import paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from incident_lib.database.connections import Connection


@cache
def query_text(name: str) -> LiteralString:
    """The text of a query, as it is sent."""
    return paths.query(name)


def fetch_all(connection: Connection, name: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Send a query; a dict for each row, in the order that the head of its file promises."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query_text(name), values).fetchall()


def fetch_one(connection: Connection, name: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a query that has exactly one row."""
    (only,) = fetch_all(connection, name, values)
    return only
