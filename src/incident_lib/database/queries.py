"""The project's questions to PostgreSQL: one `.sql` file each, under `sql/`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import dict_row

from incident_lib import paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from incident_lib.database.environments import Connection


@cache
def query_text(name: str) -> LiteralString:
    """The text of one query, as it is sent."""
    return paths.query(name)


def fetch_all(connection: Connection, name: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Ask one question; a dict for each row, in the order that the file's head promises."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query_text(name), values).fetchall()


def fetch_one(connection: Connection, name: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask one question that has exactly one row for an answer."""
    (only,) = fetch_all(connection, name, values)
    return only
