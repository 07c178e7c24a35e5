"""The statements that are sent, and how long each took, on the logger `incident_lib.statements`; never a value."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOGGER = logging.getLogger("incident_lib.statements")
_COMMENTS = r"--[^\n]*"
_LITERAL = r"'(?:[^']|'')*'"


class LoggedCursor(psycopg.Cursor[Any]):
    """A cursor that logs what it sends: as a client's values are bound, or are literals that are left out."""

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Send a statement; see `psycopg.Cursor.execute`."""
        began = time.monotonic()
        try:
            return super().execute(query, params, **options)
        finally:
            LOGGER.debug("%8.1f ms  %s", 1000 * (time.monotonic() - began), _shown(query, self))


def _shown(query: Any, cursor: LoggedCursor) -> str:
    """A statement in one line, without comments and without what is between quotes."""
    text = query.as_string(cursor) if isinstance(query, sql.Composable) else str(query)
    return " ".join(re.sub(_LITERAL, "'…'", re.sub(_COMMENTS, "", text)).split())
