"""Find: which guards are in force, how many families they block, which, since when and by what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor, sql

from incident_lib import guards, paths, queries
from incident_lib.catalog import Catalog, Kind
from incident_lib.model import BlockedFamily, Counts, PerPurpose

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from incident_lib.environments import Connection
    from incident_lib.guards import Rights


@dataclass(frozen=True)
class Investigation:
    """What one look at an environment saw, all in one snapshot."""

    at: datetime  # the server's clock
    rights: Rights
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
    rights = guards.rights(connection)
    catalog = guards.read(connection)
    counts = count(connection, catalog)
    (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return Investigation(at, rights, catalog, counts)


def count(connection: Connection, catalog: Catalog) -> Counts:
    """Count families and threads, and what the guards in force block. See `sql/counts.sql`."""
    row = queries.row(connection, "counts")

    def seen(number: int) -> int | None:
        return None if catalog.blocks is None else number * catalog.blocks

    owners, owners_chat, owners_run = map(seen, row["owners"])
    return Counts(
        families=row["families"],
        active_threads=row["active_threads"],
        active_by_purpose=dict(sorted(row["active_by_purpose"].items())),
        blocked_families=seen(row["blocked_families"]),
        blocked=PerPurpose(seen(row["blocked_chat"]), seen(row["blocked_run"])),
        affected_owners=owners,
        blocked_owners=PerPurpose(owners_chat, owners_run),
        coexisting_families=row["coexisting_families"],
        residual_conflicts=row["residual_conflicts"],
        unguarded_threads=row["unguarded_threads"],
        duplicate_keys={Kind.ORIGINAL: row["coexisting_families"], Kind.FIXED: row["duplicates_fixed"]},
    )


def blocked(
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
    values = {"purpose_since": purpose_since, "most": limit}
    return queries.objects(connection, "blocked", BlockedFamily, values)


def write_blocked(connection: Connection, catalog: Catalog, file: Path, purpose_since: datetime | None) -> None:
    """Write every blocked family to a CSV file, as a stream; its columns are those of `model.BlockedFamily`.

    It holds raw ids: its mode is 0600, and it is never part of what is shared.
    """
    values = {"purpose_since": purpose_since, "most": None if catalog.blocks else 0}
    _write_csv(connection, "blocked", values, file)


def duplicates(connection: Connection, kind: Kind, limit: int) -> list[dict[str, Any]]:
    """The first keys of a guard that several active threads hold; see `sql/duplicates.sql`."""
    return queries.rows(connection, "duplicates", {"by_purpose": kind is Kind.FIXED, "most": limit})


def write_duplicates(connection: Connection, kind: Kind, file: Path) -> None:
    """Write every such key to a CSV file of mode 0600: what stands against a guard of that kind."""
    _write_csv(connection, "duplicates", {"by_purpose": kind is Kind.FIXED, "most": None}, file)


def _write_csv(connection: Connection, query: str, values: Mapping[str, Any], file: Path) -> None:
    """Stream a query's rows into a file that only its owner may read, written as a whole or not at all."""
    asked = ClientCursor(connection).mogrify(queries.text(query).rstrip("; \n"), values)
    rows = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(sql.SQL(asked))
    with paths.private_file(file) as out, connection.cursor().copy(rows) as copy:
        for chunk in copy:
            out.write(chunk)
