"""The first questions: which unique indexes are enforced, how many families they block, which, since when, by what."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import StringIO
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from psycopg import ClientCursor, sql

from incident_lib import paths
from incident_lib.analysis.residual import count_provider_conflicts
from incident_lib.database import fetch_all, fetch_one, query_text, read_access, read_catalog, side_by_side
from incident_lib.model import (
    PURPOSES,
    BlockedFamily,
    Catalog,
    Check,
    Counts,
    IndexKind,
    PerPurpose,
    Status,
    as_type,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from incident_lib.database import Connection, TableAccess
    from incident_lib.model import ProviderConflicts


@dataclass(frozen=True)
class Investigation:
    """The unique indexes and the counts of one snapshot."""

    at: datetime  # the server's clock
    access: TableAccess
    catalog: Catalog
    counts: Counts
    provider_conflicts: tuple[ProviderConflicts, ...]

    @property
    def rows(self) -> int:
        """How many threads the unique indexes cover."""
        return self.counts.active_threads

    @property
    def shared_keys(self) -> dict[IndexKind, int | None]:
        """How many keys of an index of that kind several active threads share."""
        return {IndexKind(kind): number for kind, number in self.counts.duplicate_keys.items()}

    @property
    def data_checks(self) -> tuple[Check, ...]:
        """Which threads the indexes do not cover, and which purposes there are beside chat and run."""
        outside = self.counts.unguarded_threads
        others = sorted(set(self.counts.active_by_purpose) - set(PURPOSES))
        return (
            Check(
                "threads without an owner",
                Status.INFO,
                f"{plural(outside, 'active thread')} without an owner: the original and the fixed index ignore them",
            )
            if outside
            else Check("threads without an owner", Status.PASS, "every active thread has an owner"),
            Check(
                "purposes",
                Status.INFO,
                f"there are also {', '.join(map(repr, others))}: each purpose gets a key of its own",
            )
            if others
            else Check("purposes", Status.PASS, "active threads are chat or run"),
        )


class BlockedFilter(NamedTuple):
    """Which blocked families are wanted; None: any. `provider` is that of the blocking thread."""

    root: UUID | None = None
    owner: UUID | None = None
    blocked_for: str | None = None
    provider: str | None = None


def investigate(connection: Connection) -> Investigation:
    """Read the unique indexes and count.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.

    Returns:
        The catalog and the counts; what an index blocks that cannot be read is None, never 0.

    Raises:
        Failed: the table is not there, lacks a column, or the role may not read it.
    """
    return investigate_as(connection, read_access(connection), read_catalog(connection))


def investigate_as(connection: Connection, access: TableAccess, catalog: Catalog) -> Investigation:
    """Count as if these unique indexes were enforced: a copy of the rows need not have them."""
    counts, conflicts = _count(connection, catalog)
    (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return Investigation(at, access, catalog, counts, conflicts)


def count_threads(connection: Connection, catalog: Catalog) -> Counts:
    """Count families and threads, and what the enforced indexes block. See `sql/counts.sql`.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.
        catalog: the unique indexes, of the same snapshot. While an original index is complete, PostgreSQL guarantees
            that a family has one active thread: then a shorter query counts the same (`sql/counts_original.sql`).
    """
    return _count(connection, catalog)[0]


def _count(connection: Connection, catalog: Catalog) -> tuple[Counts, tuple[ProviderConflicts, ...]]:
    """The counts, and the provider conflicts of which they hold the sum: two passes over a large table at once."""
    unique = any(index.usable for index in catalog.of(IndexKind.ORIGINAL))
    query = "analysis/counts_original" if unique else "analysis/counts"
    row, conflicts = side_by_side(
        connection, partial(fetch_one, name=query), partial(count_provider_conflicts, catalog=catalog)
    )
    return _counts(row, catalog, sum(conflict.active_threads for conflict in conflicts)), conflicts


def _counts(row: dict[str, Any], catalog: Catalog, residual_conflicts: int) -> Counts:
    def number(column: str) -> int:
        return int(row[column] or 0)

    def blocked(number: int) -> int | None:
        return None if catalog.blocks is None else number * catalog.blocks

    owners, owners_chat, owners_run = map(blocked, row["owners"])
    active_by_purpose = row["active_by_purpose"] or {}
    return Counts(
        families=number("families"),
        active_threads=number("active_threads"),
        active_by_purpose={purpose: int(count) for purpose, count in sorted(active_by_purpose.items())},
        blocked_families=blocked(number("blocked_families")),
        blocked=PerPurpose(blocked(number("blocked_chat")), blocked(number("blocked_run"))),
        affected_owners=owners,
        blocked_owners=PerPurpose(owners_chat, owners_run),
        coexisting_families=number("coexisting_families"),
        residual_conflicts=residual_conflicts,
        unguarded_threads=number("unguarded_threads"),
        duplicate_keys={
            IndexKind.ORIGINAL: number("coexisting_families"),
            IndexKind.FIXED: number("duplicates_fixed"),
        },
    )


def list_blocked(
    connection: Connection, catalog: Catalog, *, purpose_since: datetime | None = None, limit: int | None = None
) -> list[BlockedFamily]:
    """List the blocked families, one entry for each purpose that a family is blocked for.

    Args:
        connection: as `database.reading` yields it.
        catalog: the unique indexes, of the same snapshot; where none of them blocks, or one cannot be read, the list
            is empty.
        purpose_since: when the column purpose came; without it `since` is unknown.
        limit: at most so many entries.

    Returns:
        In the order of `sql/blocked.sql`: chat first, those that have been blocked longest first.
    """
    if not catalog.blocks:
        return []
    rows = _first_blocked(connection, purpose_since, limit) if limit else []
    if not rows:
        values = BlockedFilter()._asdict() | {"purpose_since": purpose_since, "most": limit}
        rows = fetch_all(connection, "analysis/blocked", values)
    return [BlockedFamily(**row | {"since": row["since"] and datetime.fromisoformat(row["since"])}) for row in rows]


def _first_blocked(connection: Connection, purpose_since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """The first of the list where all of them have been blocked for chat since the column came; else empty."""
    values = {"purpose_since": purpose_since, "blocked_for": PURPOSES[0], "most": limit}
    rows = fetch_all(connection, "analysis/first_blocked", values)
    return rows if len(rows) == limit else []


def write_blocked(
    connection: Connection, catalog: Catalog, file: Path, *, purpose_since: datetime | None = None, head: int = 0
) -> list[BlockedFamily]:
    """Stream every blocked family into a CSV file, and keep the first few.

    The file holds raw ids: its mode is 0600, and it is never part of what is shared.

    Args:
        connection: as `database.reading` yields it.
        catalog: see `list_blocked`.
        file: its columns are those of `BlockedFamily`.
        purpose_since: see `list_blocked`.
        head: how many entries to return.

    Returns:
        The first entries, in the order of `list_blocked`; no more of them are in memory at any time.
    """
    kept = [b""]
    with paths.replacing(file, private=True) as out:
        for place, line in enumerate(_blocked_lines(connection, catalog, purpose_since, None)):
            out.write(line)
            if place <= head:  # the header is the first
                kept.append(line)
    return list(map(_from_csv, csv.DictReader(StringIO(b"".join(kept).decode(), newline=""))))


def copy_blocked(
    connection: Connection,
    catalog: Catalog,
    out: IO[bytes],
    *,
    purpose_since: datetime | None = None,
    limit: int | None = None,
) -> None:
    """Stream what `list_blocked` lists into an open file, as CSV."""
    for line in _blocked_lines(connection, catalog, purpose_since, limit):
        out.write(line)


def copy_blocked_json(
    connection: Connection, catalog: Catalog, out: IO[bytes], *, purpose_since: datetime | None = None
) -> None:
    """Stream what `list_blocked` lists into an open file, as JSON objects, one on each line, commas between them.

    PostgreSQL makes the objects: none of them is in memory here.
    """
    if not catalog.blocks:
        return
    values = BlockedFilter()._asdict() | {"purpose_since": purpose_since, "most": None}
    text = ClientCursor(connection).mogrify(query_text("analysis/blocked").rstrip("; \n"), values)
    asked = sql.SQL(_AS_JSON).format(sql.SQL(text))
    with connection.cursor().copy(asked) as rows:
        out.write(next(iter(rows), b""))
        for row in rows:
            out.write(b",")
            out.write(row)


# JSON has no control characters: with two of them as quote and delimiter, COPY changes nothing in it. `format` takes a
# third less of the server's time than `row_to_json`; only what clients write can hold what JSON escapes.
_AS_JSON = """COPY (SELECT format(
    '{{"root_prompt_row_id":"%s","owner_id":"%s","blocked_for":"%s","since":%s,"blocking_thread":"%s",'
    '"blocking_purpose":%s,"blocking_provider":%s}}', root_prompt_row_id, owner_id, blocked_for,
    coalesce(to_json(replace(replace(since, ' ', 'T'), '+00:00', 'Z')), 'null'), blocking_thread,
    coalesce(to_json(blocking_purpose), 'null'), coalesce(to_json(blocking_provider), 'null')
) FROM ({}) AS blocked) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"""


def stream_blocked(
    connection: Connection,
    catalog: Catalog,
    *,
    purpose_since: datetime | None = None,
    limit: int | None = None,
    only: BlockedFilter = BlockedFilter(),  # noqa: B008 - a tuple
) -> Iterator[list[str]]:
    """Stream what `list_blocked` lists, as texts in the order of the columns; an empty text stands for NULL."""
    lines = _blocked_lines(connection, catalog, purpose_since, limit, only)
    next(lines)
    return csv.reader(line.decode() for line in lines)


def estimate_blocked(connection: Connection, catalog: Catalog, blocked_for: str | None = None) -> int:
    """About how many families are blocked: the planner's estimate, which takes milliseconds."""
    if not catalog.blocks:
        return 0
    text = ClientCursor(connection).mogrify(query_text("analysis/estimate"), {"blocked_for": blocked_for})
    ((plan,),) = connection.execute(sql.SQL(text)).fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])


def stream_ids(connection: Connection, *, of_roots: bool) -> Iterator[UUID]:
    """Stream the root prompts of all threads, or their users, each once."""
    lines = _stream(connection, "analysis/ids", {"of_roots": of_roots})
    next(lines)
    return (UUID(line.decode().strip()) for line in lines)


def _blocked_lines(
    connection: Connection,
    catalog: Catalog,
    purpose_since: datetime | None,
    limit: int | None,
    only: BlockedFilter = BlockedFilter(),  # noqa: B008 - a tuple
) -> Iterator[bytes]:
    values = only._asdict() | {"purpose_since": purpose_since, "most": limit if catalog.blocks else 0}
    return _stream(connection, "analysis/blocked", values)


def _from_csv(row: dict[str, str]) -> BlockedFamily:
    return as_type({name: value or None for name, value in row.items()}, BlockedFamily, strict=False)


def list_duplicates(connection: Connection, kind: IndexKind, limit: int) -> list[dict[str, Any]]:
    """The first keys of an index of that kind that several active threads share; see `sql/duplicates.sql`."""
    return fetch_all(connection, "analysis/duplicates", {"by_purpose": kind is IndexKind.FIXED, "most": limit})


def write_duplicates(connection: Connection, kind: IndexKind, file: Path) -> None:
    """Write every such key to a CSV file of mode 0600: what prevents an index of that kind."""
    with paths.replacing(file, private=True) as out:
        values = {"by_purpose": kind is IndexKind.FIXED, "most": None}
        out.writelines(_stream(connection, "analysis/duplicates", values))


def _stream(connection: Connection, query: str, values: Mapping[str, Any]) -> Iterator[bytes]:
    """The rows of a query as CSV, a header first: one row at a time, none of them is kept."""
    text = ClientCursor(connection).mogrify(query_text(query).rstrip("; \n"), values)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(sql.SQL(text))
    with connection.cursor().copy(statement) as rows:
        yield from map(bytes, rows)
