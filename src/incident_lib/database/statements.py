"""The statements that are sent, and how long each took, on the logger `incident_lib.statements`; never a value."""

from __future__ import annotations

import logging
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LOGGER = logging.getLogger("incident_lib.statements")
_TOKEN = re.compile(  # what begins first counts: a quote in a comment, or dashes in a literal, begin nothing
    r"""
    (?P<name>"[^"]*")
    | (?P<comment>--[^\n]*|/\*.*?\*/)
    | \b[eE]'(?:[^'\\]|\\.|'')*'
    | '[^']*'(?:'[^']*')*
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    """,
    re.VERBOSE | re.DOTALL,
)


class LoggedCursor(psycopg.Cursor[Any]):
    """A cursor that logs what it sends: as a client's values are bound, or are literals that are left out."""

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Send a statement; see `psycopg.Cursor.execute`."""
        began = time.monotonic()
        try:
            return super().execute(query, params, **options)
        finally:
            LOGGER.debug("%8.1f ms  %s", 1000 * (time.monotonic() - began), _shown(query, self))

    @contextmanager
    def copy(self, statement: Any, params: Any = None, **options: Any) -> Iterator[psycopg.Copy]:
        """Copy rows; see `psycopg.Cursor.copy`."""
        began = time.monotonic()
        try:
            with super().copy(statement, params, **options) as rows:
                yield rows
        finally:
            LOGGER.debug("%8.1f ms  %s", 1000 * (time.monotonic() - began), _shown(statement, self))


def _shown(query: Any, cursor: LoggedCursor) -> str:
    """A statement in one line, without comments and without what is between quotes."""
    text = query.as_string(cursor) if isinstance(query, sql.Composable) else str(query)
    return " ".join(_TOKEN.sub(_without_value, text).split())


def _without_value(token: re.Match[str]) -> str:
    return token["name"] or (" " if token["comment"] else "'…'")
