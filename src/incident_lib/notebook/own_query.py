"""A query of the user's own: read-only, with the limits of every other look, and pseudonyms in what it returns."""

from __future__ import annotations

import json
import re
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg.types.datetime import DateLoader, IntervalLoader, TimestampLoader, TimestamptzLoader

from incident_lib.database import action_for, reading, safe_message
from incident_lib.model import Column, Failed, UsageError
from incident_lib.notebook.frames import make_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from incident_lib.database import Connection, Environment
    from incident_lib.model import Pseudonyms
    from incident_lib.notebook.frames import Frame

_DTYPES = {
    "bool": "boolean",
    "int2": "Int64",
    "int4": "Int64",
    "int8": "Int64",
    "oid": "Int64",
    "float4": "Float64",
    "float8": "Float64",
    "numeric": "Float64",
    "date": "datetime64[us]",
    "timestamp": "datetime64[us]",
    "timestamptz": "datetime64[us, UTC]",
    "interval": "timedelta64[us]",
}
# The words of pseudonyms, by the names that columns of ids usually have: the same ids have the same pseudonyms as in
# every other table.
_WORDS = {
    "root": "root",
    "root_prompt_row_id": "root",
    "owner": "owner",
    "owner_id": "owner",
    "row_id": "thread",
    "thread": "thread",
    "blocking_thread": "thread",
}

# Strings, quoted names, comments and casts, which are left as they are; and names.
_TOKENS = re.compile(
    r"""\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/|::|(?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)


def run_query(environment: Environment, query: str, values: Mapping[str, Any], names: Pseudonyms | None) -> Frame:
    """Send one statement in a read-only transaction, and return its rows; see `Incident.sql`."""
    text = _with_placeholders(query, values)
    failure = None
    with reading(environment) as connection:
        try:
            columns, rows = _fetch(connection, text, values)
        except psycopg.Error as error:
            failure = _query_failure(environment.name, error, names)
    if failure:  # raised here, it does not carry PostgreSQL's error, whose text may have raw ids
        raise failure
    made = [Column(_scrubbed(name, names), dtype=dtype) for name, dtype in _distinct(columns)]
    words = [_WORDS.get(name, "id") for name, _ in columns]
    return make_frame(
        made, [[_cell(*cell, names=names) for cell in zip(row, made, words, strict=True)] for row in rows]
    )


_COPY = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*copy\b", re.IGNORECASE | re.DOTALL)


def _with_placeholders(query: str, values: Mapping[str, Any]) -> bytes:
    """The query with psycopg's placeholders in place of each `:name`.

    Raises:
        UsageError: a name has no value, or a value has no name in the query.
    """
    if _COPY.match(query):
        raise UsageError("COPY cannot be sent here.", "Its rows are a stream, and no table.", "Send the SELECT alone.")
    named: set[str] = set()

    def placed(found: re.Match[str]) -> str:
        if not found["name"]:
            return found[0]
        named.add(found["name"])
        return f"%({found['name']})s"

    placed_query = _TOKENS.sub(placed, query.replace("%", "%%"))
    if missing := sorted(named - values.keys()):
        raise UsageError(
            f"The query has no value for :{missing[0]}.",
            f"Its names are {', '.join(f':{name}' for name in sorted(named))}.",
            f"Pass it by name: sql(query, {missing[0]}=…).",
        )
    if unknown := sorted(values.keys() - named):
        raise UsageError(
            f"The query has no name :{unknown[0]}.",
            f"A value was given for {unknown[0]!r}, which the query does not use.",
            "Correct the name, or leave the value out.",
        )
    return placed_query.encode()


class _OddIsMissing:
    """Infinity, and what Python's types cannot hold, such as a year before 1, are missing values."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)  # type: ignore[misc]
        except (psycopg.DataError, ValueError, OverflowError):
            return None


class _Timestamptz(_OddIsMissing, TimestamptzLoader):
    """A timestamp."""


class _Timestamp(_OddIsMissing, TimestampLoader):
    """A timestamp without a zone."""


class _Date(_OddIsMissing, DateLoader):
    """A date."""


class _Interval(_OddIsMissing, IntervalLoader):
    """A duration."""


_LOADERS: dict[str, type[Any]] = {
    "timestamptz": _Timestamptz,
    "timestamp": _Timestamp,
    "date": _Date,
    "interval": _Interval,
}


def _fetch(
    connection: Connection, text: bytes, values: Mapping[str, Any]
) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """The columns with their dtypes, and the rows.

    A pipeline uses the extended protocol, in which PostgreSQL accepts one statement only: a COMMIT in the text, and
    what follows it, is a syntax error.
    """
    cursor = connection.cursor()
    for name, loader in _LOADERS.items():
        cursor.adapters.register_loader(name, loader)
    with connection.pipeline():
        cursor.execute(text, {name: _as_parameter(value) for name, value in values.items()})
        rows = cursor.fetchall()
    types = connection.adapters.types
    columns = []
    for column in cursor.description or ():
        known = types.get(column.type_code)
        is_array = known is not None and known.oid != column.type_code  # an array's element type
        columns.append((column.name, _DTYPES.get(known.name, "str") if known and not is_array else "str"))
    return columns, rows


def _as_parameter(value: Any) -> Any:
    """What has several values is an array: a tuple, and a column of a DataFrame, too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _distinct(columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The columns, of which PostgreSQL may give several one name, with a number behind a name that is not the first."""
    seen: dict[str, int] = {}
    found = []
    for name, dtype in columns:
        seen[name] = seen.get(name, 0) + 1
        found.append((name if seen[name] == 1 else f"{name}_{seen[name]}", dtype))
    return found


def _cell(value: Any, column: Column, word: str, *, names: Pseudonyms | None) -> Any:
    if value is None or (column.dtype != "str" and not isinstance(value, Decimal)):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value) if names is None else names.name(word, value)
    return _scrubbed(_as_text(value), names)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _scrubbed(text: str, names: Pseudonyms | None) -> str:
    return text if names is None else str(names.scrub(text))


def _query_failure(environment: str, error: psycopg.Error, names: Pseudonyms | None) -> Failed:
    """Why a query failed. In class 42 the text is at fault: PostgreSQL's own message and hint help to correct it."""
    state, primary = error.sqlstate or "", error.diag.message_primary or ""
    what = f"The query failed in the environment {environment!r}" + (f" (SQLSTATE {state})." if state else ".")
    if state == "25006":
        return Failed(what, f"PostgreSQL says: {primary}.", "Queries of your own only read; send one that does.")
    if state.startswith("42"):
        hint = error.diag.message_hint or "Correct the query."
        return Failed(what, f"PostgreSQL says: {_scrubbed(primary, names)}.", _scrubbed(hint, names))
    if state == "57014":
        return Failed(what, safe_message(error), "Ask for less, or set the variable INCIDENT_TIMEOUT to more seconds.")
    if not state and isinstance(error, psycopg.ProgrammingError) and "adapt" in str(error):
        return Failed(what, "A value has a type that PostgreSQL does not know.", "Pass texts, numbers, times or lists.")
    if not state and isinstance(error, psycopg.ProgrammingError):
        return Failed(what, "It returned no rows.", "Send a query, such as SELECT.")
    return Failed(what, safe_message(error), action_for(error))
