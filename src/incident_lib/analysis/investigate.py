"""Find: which guards are in force, how many families they block, which, since when and by what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from psycopg import ClientCursor, sql

from incident_lib import paths
from incident_lib.database import fetch_all, fetch_one, query_text, read_access, read_catalog
from incident_lib.model import BlockedFamily, Catalog, Counts, IndexKind, PerPurpose

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from incident_lib.database import Connection, TableAccess


@dataclass(frozen=True)
class Investigation:
    """What one look at an environment saw, all in one snapshot."""

    at: datetime  # the server's clock
    rights: TableAccess
    catalog: Catalog
    counts: Counts


def investigate(connection: Connection) -> Investigation:
    """Look at the guards and count.

    Args:
        connection: as `environments.reading` yields it, so that all is of one snapshot.

    Returns:
        The catalog and the counts; what an unreadable guard blocks is None, never 0.

    Raises:
        Failed: the table is not there, not as we know it, or not to be read.
    """
    rights = read_access(connection)
    catalog = read_catalog(connection)
    counts = count_threads(connection, catalog)
    (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return Investigation(at, rights, catalog, counts)


def count_threads(connection: Connection, catalog: Catalog) -> Counts:
    """Count families and threads, and what the guards in force block. See `sql/counts.sql`."""
    row = fetch_one(connection, "analysis/counts")

    def number(column: str) -> int:
        return int(row[column] or 0)

    def seen(number: int) -> int | None:
        return None if catalog.blocks is None else number * catalog.blocks

    owners, owners_chat, owners_run = map(seen, row["owners"])
    active_by_purpose = row["active_by_purpose"] or {}
    return Counts(
        families=number("families"),
        active_threads=number("active_threads"),
        active_by_purpose=dict(sorted(active_by_purpose.items())),
        blocked_families=seen(number("blocked_families")),
        blocked=PerPurpose(seen(number("blocked_chat")), seen(number("blocked_run"))),
        affected_owners=owners,
        blocked_owners=PerPurpose(owners_chat, owners_run),
        coexisting_families=number("coexisting_families"),
        residual_conflicts=number("residual_conflicts"),
        unguarded_threads=number("unguarded_threads"),
        duplicate_keys={IndexKind.ORIGINAL: number("coexisting_families"), IndexKind.FIXED: number("duplicates_fixed")},
    )


def list_blocked(
    connection: Connection,
    catalog: Catalog,
    *,
    purpose_since: datetime | None = None,
    limit: int | None = None,
) -> list[BlockedFamily]:
    """List the blocked families, one entry for each purpose that a family is blocked for.

    Args:
        connection: as `environments.reading` yields it.
        catalog: the guards, of the same snapshot; none is blocked where none of them blocks or can be read.
        purpose_since: when the purpose column came; without it `since` is unknown.
        limit: at most so many entries.

    Returns:
        In the order of `sql/blocked.sql`: chat first, the longest known first.
    """
    if not catalog.blocks:
        return []
    rows = fetch_all(connection, "analysis/blocked", {"purpose_since": purpose_since, "most": limit})
    return [BlockedFamily(**row | {"since": row["since"] and datetime.fromisoformat(row["since"])}) for row in rows]


def write_blocked(connection: Connection, catalog: Catalog, file: Path, purpose_since: datetime | None) -> None:
    """Write every blocked family to a CSV file, as a stream; its columns are those of `model.BlockedFamily`.

    It holds raw ids: its mode is 0600, and it is never part of what is shared.
    """
    with paths.private_file(file) as out:
        copy_blocked(connection, catalog, out, purpose_since=purpose_since)


def copy_blocked(
    connection: Connection,
    catalog: Catalog,
    out: IO[bytes],
    *,
    purpose_since: datetime | None = None,
    limit: int | None = None,
) -> None:
    """Stream what `blocked` lists into an open file, as CSV."""
    _copy(connection, "analysis/blocked", {"purpose_since": purpose_since, "most": limit if catalog.blocks else 0}, out)


def list_duplicates(connection: Connection, kind: IndexKind, limit: int) -> list[dict[str, Any]]:
    """The first keys of a guard that several active threads hold; see `sql/duplicates.sql`."""
    return fetch_all(connection, "analysis/duplicates", {"by_purpose": kind is IndexKind.FIXED, "most": limit})


def write_duplicates(connection: Connection, kind: IndexKind, file: Path) -> None:
    """Write every such key to a CSV file of mode 0600: what stands against a guard of that kind."""
    with paths.private_file(file) as out:
        _copy(connection, "analysis/duplicates", {"by_purpose": kind is IndexKind.FIXED, "most": None}, out)


def _copy(connection: Connection, query: str, values: Mapping[str, Any], out: IO[bytes]) -> None:
    """Stream a query's rows into an open file: none of them is kept in memory."""
    asked = ClientCursor(connection).mogrify(query_text(query).rstrip("; \n"), values)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(sql.SQL(asked))
    with connection.cursor().copy(statement) as copy:
        for chunk in copy:
            out.write(chunk)
