"""What a snapshot says of the table of a change: its indexes, what prevents them, what becomes of rows with NULL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from psycopg import sql

from incident_lib.analysis.investigate import investigate
from incident_lib.analysis.shared_keys import count_shared_keys, list_shared_keys
from incident_lib.database import (
    DEMO,
    covered_sql,
    fetch_one,
    key_sql,
    query_text,
    read_catalog,
    read_table,
    table_sql,
)
from incident_lib.model import (
    PURPOSE,
    PURPOSES,
    SIDES,
    USUAL_PROVIDER,
    Check,
    IndexKind,
    Status,
    is_expression,
    plural,
    pseudonyms_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from incident_lib.analysis.investigate import Investigation
    from incident_lib.database import Connection, TableAccess
    from incident_lib.model import Catalog, IndexChange, Pseudonyms

NULLS_NOT_DISTINCT_SINCE = 150000
MOST_NAMED = 3
_IDS = {"root_prompt_row_id": "root", "owner_id": "owner"}
_KNOWN = {"purpose": PURPOSES, "provider": (USUAL_PROVIDER,)}  # of the product's own clients: no user wrote them


@dataclass(frozen=True)
class Subject:
    """The table of a change in one snapshot.

    Attributes:
        rows: about how many rows the index covers, by the statistics.
        shared_keys: how many keys of an index of that kind several rows share; None: the enforced index prevents that.
        data_checks: what the change means for these rows.
    """

    access: TableAccess
    catalog: Catalog
    rows: int
    shared_keys: Mapping[IndexKind, int | None]
    data_checks: tuple[Check, ...]


def read_subject(connection: Connection, change: IndexChange, environment: str) -> Subject | Investigation:
    """Read what a preflight needs to know of the table of a change.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.
        change: of `purpose` it is the whole investigation.
        environment: its name; the pseudonyms of rows depend on it.

    Raises:
        Failed: the table is not there, lacks a column, or the role may not read it.
        UsageError: PostgreSQL does not accept an expression of the change.
    """
    if change == PURPOSE:
        return investigate(connection)
    access = read_table(connection, change)
    catalog = read_catalog(connection, change)
    columns = [part for part in change.after.parts if not is_expression(part)]
    place = {"schema": change.schema, "table": change.table, "index": change.index}
    facts = fetch_one(connection, "analysis/key_columns", place | {"columns": columns})
    shared = {kind: _shared(connection, catalog, kind, access.server_version) for kind in SIDES}
    checks = (
        *check_version(change, access.server_version),
        *_in_the_way(connection, change, shared[IndexKind.FIXED], environment),
        *_nulls(connection, change, facts["nullable"]),
    )
    return Subject(access, catalog, facts["rows"], shared, checks)


def _shared(connection: Connection, catalog: Catalog, kind: IndexKind, version: int) -> int | None:
    """How many keys are shared; not counted where an enforced index shows that none is."""
    change = catalog.change
    proving = [kind, *([IndexKind.ORIGINAL] if change.only_widens else [])]
    if any(index.usable for each in proving for index in catalog.of(each)):
        return None
    if change.key(kind).nulls_not_distinct and version < NULLS_NOT_DISTINCT_SINCE:
        return None  # there can be no such index
    return int(count_shared_keys(connection, change, kind)["keys"])


def check_version(change: IndexChange, version: int) -> Iterator[Check]:
    """Does the server know NULLS NOT DISTINCT, if the change needs it?"""
    if change.after.nulls_not_distinct and version < NULLS_NOT_DISTINCT_SINCE:
        yield Check(
            "NULLS NOT DISTINCT",
            Status.FAIL,
            f"NULLS NOT DISTINCT came with PostgreSQL 15, and this is {version // 10000}",
            "Update PostgreSQL first, or choose a key with COALESCE.",
        )


def _in_the_way(connection: Connection, change: IndexChange, shared: int | None, environment: str) -> Iterator[Check]:
    """Which rows the new index cannot hold, by pseudonyms."""
    if not shared:
        return
    numbers = count_shared_keys(connection, change, IndexKind.FIXED)
    names = pseudonyms_for(environment)
    found = [
        ", ".join(_named(names, part, value) for part, value in row.items() if part != "rows")
        for row in list_shared_keys(connection, change, IndexKind.FIXED, MOST_NAMED)
    ]
    more = f"; and {shared - len(found)} more" if shared > len(found) else ""
    settle = "read the statement that the plan prints, change it, and run it yourself"
    if environment == DEMO:
        settle = "incident demo settle"
    yield Check(
        "rows in the way",
        Status.WARN,
        f"{plural(numbers['too_many'], change.wording.row)} too many under {plural(shared, 'key')}, "
        f"{numbers['null_keys']:,} of them with NULL in it: {'; '.join(found)}{more}",
        f"Once the fix is applied, settle them: {settle}.",
    )


def _named(names: Pseudonyms, part: str, value: str | None) -> str:
    """A value of a key as it may be shared."""
    if value is None:
        return f"no {_word(part)}"
    if part in _IDS:
        return str(names.name(_IDS[part], UUID(value)))
    return value if value in _KNOWN.get(part, ()) else names.name_text(part, value)


def _word(column: str) -> str:
    """What messages call a column."""
    return _IDS.get(column, column)


def _nulls(connection: Connection, change: IndexChange, nullable: list[str]) -> Iterator[Check]:
    """What becomes of rows that hold NULL: where they would be unique no more, a person has to say so.

    Of an expression it is not known whether it may be NULL; that it is NULL in rows that are there is.
    """
    equal_before, equal_after = change.before.nulls_not_distinct, change.after.nulls_not_distinct
    asked = change.after.parts if equal_before != equal_after else change.added
    asked = tuple(part for part in asked if part in nullable or is_expression(part))
    counted = _count_nulls(connection, change, asked) if asked else {}
    counts = {part: number for part, number in counted.items() if number or part in nullable}
    if not counts:
        return
    row = change.wording.row
    held = ", ".join(f"{plural(number, row)} without {_word(part)}" for part, number in counts.items() if number)
    held = held or f"no {row} without {' or '.join(map(_word, counts))}"
    if equal_after:
        finding = f"{held}: NULL is equal to NULL in the new key, so that a second row like one of these is rejected"
        yield Check("NULLs", Status.INFO, finding)
        return
    finding = (
        f"{held} now: if two such rows agree in the rest of the key, the old index rejects the second one, and the new "
        "index accepts it"
    )
    if open_parts := [part for part in counts if part not in change.not_unique_where_null]:
        yield Check("NULLs", Status.FAIL, finding, _choices(change, open_parts, nullable))
    else:
        yield Check("NULLs", Status.WARN, f"{finding}, as not_unique_where_null of {change.name} says")


def _choices(change: IndexChange, parts: list[str], nullable: list[str]) -> str:
    """What a person may choose for rows that hold NULL in these parts of the new key."""
    columns = [part for part in parts if part in nullable]
    coalesced = [column for column in columns if column in change.added and not change.constraint]
    allowed = sorted({*parts, *change.not_unique_where_null})
    choices = [
        'nulls_after = "not distinct" (PostgreSQL 15)',
        *(f'an expression such as "(COALESCE({column}, …))" in key_after' for column in coalesced[:1]),
        f"or, if duplicates of such rows are meant to be accepted, not_unique_where_null = {_toml(allowed)}",
    ]
    first = f"; or run ALTER TABLE {change.path} ALTER COLUMN {columns[0]} SET NOT NULL first" if columns else ""
    return f"Choose in {change.name}: {', '.join(choices)}{first}."


def _toml(texts: list[str]) -> str:
    """A list of texts in TOML, which has the escapes of JSON."""
    return json.dumps(texts, ensure_ascii=False)


def _count_nulls(connection: Connection, change: IndexChange, parts: tuple[str, ...]) -> dict[str, int]:
    """How many rows hold NULL in each of these parts of a key."""
    count = sql.SQL("count(*) FILTER (WHERE {part} IS NULL) AS {name}")
    counts = sql.SQL(", ").join(
        count.format(part=key_sql([part]), name=sql.Identifier(str(place))) for place, part in enumerate(parts)
    )
    text = query_text("analysis/rows_with_nulls").rstrip("; \n")
    query = sql.SQL(text).format(counts=counts, table=table_sql(change), where=covered_sql(change))
    return dict(zip(parts, connection.execute(query).fetchone() or (), strict=True))
