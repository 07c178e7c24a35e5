"""What one entry of a log says: whom the guard rejected, and when; or why that cannot be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from incident_lib.catalog import KEYS, OUR_NAMES, Kind
from incident_lib.clients import Family
from incident_lib.logs import times, words

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.logs import Entry

REJECTED = "23505"
OURS = "incident_lib"  # how the application_name of our own sessions begins

NO_DETAIL = "counted without its family: no DETAIL was logged (log_error_verbosity, or row level security)"
ODD_DETAIL = "counted without its family: its DETAIL cannot be read"
NO_TIME = "counted without its time: it has none, or a zone that is ambiguous; give --time-zone"
NO_STATE = "not counted: an error that names the guard, in words that are not known, and without its SQLSTATE"

# REINDEX CONCURRENTLY makes a guard of a guard's name and _ccnew; that one rejects, too, until it has that name.
_NAMES = rf"(?<!\w)(?:{'|'.join(map(re.escape, OUR_NAMES))})(?:_cc(?:new|old)\d*)?(?!\w)"
_NAME, _DUPLICATE, _BUILD = re.compile(_NAMES), words.duplicates(_NAMES), words.builds(_NAMES)
_KEY = re.compile(r"\((?P<columns>[^=]*)\)=\((?P<values>.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A try to create a thread that the guard rejected, as far as its entry says who and when."""

    time: str  # as it is written
    at: datetime | None
    family: Family | None
    guard: Kind | None  # of what kind, by its key; None where the key is not logged
    purpose: str | None  # where the key carries it
    role: str | None
    process: str | None
    ours: bool  # of a probe of ours, which is rolled back: nobody's attempt
    missing: tuple[str, ...]  # what could not be told, and why


def judged(entry: Entry, zone: str | None = None) -> Rejection | str | None:
    """What an entry says: a rejection, the reason why that cannot be told, or None where it is something else.

    SQLSTATE and the places of things decide. Words do only where no SQLSTATE was logged, in every language of
    PostgreSQL's; and to tell a failed build from a rejection, where the entry has no command.

    Args:
        entry: one whose message may name the guard.
        zone: the server's log_timezone; see `times.moment`.
    """
    message = entry.message.strip()
    if not _NAME.search(message) or entry.state not in {None, REJECTED}:
        return None
    if entry.builds or _BUILD.fullmatch(message):
        return None
    key = _KEY.search(entry.detail or "")
    if entry.state is None and not _DUPLICATE.fullmatch(message) and not key:
        return NO_STATE
    return _rejection(entry, key, times.moment(entry.time, zone))


def _rejection(entry: Entry, key: re.Match[str] | None, at: datetime | None) -> Rejection:
    columns = tuple(name.strip('" ') for name in key["columns"].split(",")) if key else ()
    values = _values(columns, key["values"]) if key else {}
    root, owner = (values.get(column) for column in ("root_prompt_row_id", "owner_id"))
    family = Family(UUID(root), UUID(owner) if owner else None) if root and "owner_id" in values else None
    told = ((at, NO_TIME), (family, ODD_DETAIL if entry.detail else NO_DETAIL))
    return Rejection(
        time=entry.time,
        at=at,
        family=family,
        guard=next((kind for kind, known in KEYS.items() if sorted(known) == sorted(columns)), None),
        purpose=values.get("purpose"),
        role=entry.role,
        process=entry.process,
        ours=(entry.application or "").startswith(OURS),
        missing=tuple(reason for thing, reason in told if thing is None),
    )


def _values(columns: tuple[str, ...], written: str) -> dict[str, str | None]:
    """The values of a key by column, as PostgreSQL writes them: bare, with a comma between, `null` for NULL."""
    found = _row(columns).fullmatch(written)
    return dict(zip(columns, (None if v == "null" else v for v in found.groups()), strict=True)) if found else {}


@cache
def _row(columns: tuple[str, ...]) -> re.Pattern[str]:
    uuid = r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|null)"
    return re.compile(", ".join(uuid if name in KEYS[Kind.ORIGINAL] else "(.*)" for name in columns), re.DOTALL)
