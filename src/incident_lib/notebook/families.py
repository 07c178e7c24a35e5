"""The blocked families of an environment as one DataFrame, read as a stream; and a family by its pseudonyms."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

import pandas as pd

from incident_lib.analysis import BlockedFilter, estimate_blocked, stream_blocked, stream_ids
from incident_lib.database import read_catalog
from incident_lib.model import BLOCKED, UsageError, format_bytes
from incident_lib.notebook.frames import make_frame, with_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from incident_lib.database import Connection
    from incident_lib.model import Catalog, Pseudonyms
    from incident_lib.notebook.frames import Frame

ROWS = 20_000  # that are converted at a time
LARGE = 100_000  # rows; of more it is said how large the frame will be
BYTES_A_ROW = 430  # of memory, measured with 1.2 million families
IDS = {0: "root", 1: "owner", 4: "thread"}  # columns of ids, and the words of their pseudonyms
FEW_VALUES = {2, 5, 6}  # columns of few different values: purposes and providers


def read_families(
    connection: Connection,
    names: Pseudonyms | None,
    *,
    purpose_since: datetime | None = None,
    limit: int | None = None,
    only: BlockedFilter,
) -> Frame:
    """The blocked families as a DataFrame; see `Incident.families`."""
    catalog = read_catalog(connection)
    if limit is None and only.root is None and only.owner is None:
        _announce(connection, catalog, only)
    rows = stream_blocked(connection, catalog, purpose_since=purpose_since, limit=limit, only=only)
    convert = _Converter(names)
    parts = []
    while batch := [*islice(rows, ROWS)]:
        parts.append(convert(batch))
    if not parts:
        return make_frame(BLOCKED, [])
    return with_columns(pd.concat(parts, ignore_index=True), BLOCKED)


def _announce(connection: Connection, catalog: Catalog, only: BlockedFilter) -> None:
    """Say how large the frame will be, if it will be large."""
    rows = estimate_blocked(connection, catalog, only.blocked_for)
    if rows > LARGE:
        print(  # noqa: T201 - to the person who waits
            f"Reading about {rows:,} rows, {format_bytes(rows * BYTES_A_ROW)} of memory. "
            "With limit, owner, root, provider or blocked_for it is less."
        )
        sys.stdout.flush()


class _Converter:
    """Rows of texts into a DataFrame, in which equal texts are one object."""

    def __init__(self, names: Pseudonyms | None) -> None:
        self._known: dict[str, str | None] = {"": None}
        self._owners: dict[str, str | None] = {}
        self._names = names

    def __call__(self, rows: Sequence[Sequence[str]]) -> pd.DataFrame:
        made: dict[str, object] = {}
        for place, column in enumerate(BLOCKED):
            texts = [row[place] for row in rows]
            if column.dtype == "str":
                made[column.name] = pd.Series(self._texts(place, texts), dtype="str")
            else:
                times = pd.to_datetime(pd.Series(texts, dtype="str").replace("", None), utc=True, format="ISO8601")
                made[column.name] = times.dt.as_unit("us")
        return pd.DataFrame(made)

    def _texts(self, place: int, texts: Sequence[str]) -> list[str | None]:
        if place in FEW_VALUES:
            return [self._shared(text) for text in texts]
        if self._names is None:
            return [*texts]
        return [self._owner(text) if place == 1 else self._name(IDS[place], text) for text in texts]

    def _name(self, word: str, text: str) -> str | None:
        return self._names.name(word, UUID(text)) if self._names else text

    def _owner(self, text: str) -> str | None:
        if text not in self._owners:
            self._owners[text] = self._name("owner", text)
        return self._owners[text]

    def _shared(self, text: str) -> str | None:
        if text not in self._known:
            self._known[text] = text if self._names is None else str(self._names.scrub(text))
        return self._known[text]


def find_id(connection: Connection, names: Pseudonyms, word: str, given: str | UUID) -> UUID:
    """The id of a root prompt or a user: given as a UUID, or as the pseudonym that is shown for it.

    Args:
        connection: as `database.reading` yields it.
        names: the pseudonyms of the environment.
        word: `root` or `owner`.
        given: the UUID or the pseudonym.

    Raises:
        UsageError: it is neither, or no thread has an id of that pseudonym.
    """
    try:
        return UUID(str(given))
    except ValueError:
        pass
    if not str(given).startswith(f"{word}-"):
        raise UsageError(
            f"{word} is neither a UUID nor a pseudonym.",
            f"It is {given!r}.",
            f"Copy it from a table: a UUID, or a text like {word}-0123456789.",
        )
    found = None
    for id_ in stream_ids(connection, of_roots=word == "root"):  # to its end: to stop it earlier aborts the transaction
        if found is None and names.name(word, id_) == given:
            found = id_
    if found is None:
        raise UsageError(
            f"No thread has the {word} {given!r}.",
            "A pseudonym belongs to the key that it was made with: each kernel makes its own, unless "
            "INCIDENT_PSEUDONYM_KEY is set.",
            "Copy it from a table of this environment, of the same kernel.",
        )
    return found
