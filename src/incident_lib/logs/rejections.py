"""What one entry of a log says: whose insert the unique index rejected, and when; or why that is unknown."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from incident_lib.logs.messages import build_patterns, duplicate_patterns
from incident_lib.logs.times import has_year, parse_log_time
from incident_lib.model import INDEX_NAME, PURPOSE, Family, IndexKind

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.logs.entry import Entry

REJECTED = "23505"
WITH_PURPOSE = (IndexKind.FIXED, IndexKind.FINER)  # the kinds whose key has the purpose: they end the incident
MOST_COLUMNS = 6  # of a key that is read
OURS = "incident_lib"  # how the application_name of our own sessions begins

NO_DETAIL = "counted as family unknown: no DETAIL was logged (log_error_verbosity, or row level security)"
ODD_DETAIL = "counted as family unknown: its DETAIL cannot be read"
NO_TIME = "counted as time unknown: it has none, or an ambiguous zone; give --time-zone"
NO_YEAR = "counted in the latest year that is possible: its time has no year (syslog)"
CARRIED = "counted at the time of what carries the line: the log_line_prefix has none"
NO_STATE = "not counted: an error that names the unique index, in an unknown language and without SQLSTATE"

# REINDEX CONCURRENTLY builds an index with the suffix _ccnew, which rejects inserts, too, before it gets the name.
# The index of a partition has the name that PostgreSQL makes of the partition's and the columns'.
PARTITIONS = f"_{'_'.join(PURPOSE.before.parts)}"
NAMES = (INDEX_NAME, PARTITIONS)  # what a message about the unique index has in it
_OF_PARTITION = rf"\w+{PARTITIONS}(?:_purpose)?_(?:idx|key)\d*"
_NAMES = rf"(?<!\w)(?:{'|'.join(map(re.escape, PURPOSE.names))}|{_OF_PARTITION})(?:_cc(?:new|old)\d*)?(?!\w)"
_OWN = re.compile(rf"(?<!\w)(?:q_threads|{'|'.join(map(re.escape, PURPOSE.names))})")
_NAME, _DUPLICATE, _BUILD = re.compile(_NAMES), duplicate_patterns(_NAMES), build_patterns(_NAMES)
_KEY = re.compile(r"\((?P<columns>[^=]*)\)=\(")


class Rejection(NamedTuple):
    """An insert that the unique index rejected, with what its entry says of family and time."""

    time: str  # as it is written
    at: datetime | None
    family: Family | None
    kind: IndexKind | None  # of what kind, by its key; None where the key is not logged
    purpose: str | None  # where the key carries it
    role: str | None
    process: str | None
    ours: bool  # of a probe of ours, which is rolled back: not an attempt of a user
    missing: tuple[str, ...]  # what is unknown, and why
    is_run: bool = False  # as far as its statement is logged: runs are looked up by provider and name one, chats never


class _Key(NamedTuple):
    """The key that another thread already has, and the kind of index; None where the DETAIL does not say."""

    family: Family | None = None
    kind: IndexKind | None = None
    purpose: str | None = None


def judge_entry(entry: Entry, zone: str | None = None) -> Rejection | str | None:
    """What an entry is: a rejection, the reason why that is unknown, or None for any other entry.

    SQLSTATE and the places of things decide. Words do only where no SQLSTATE was logged, in every language of
    PostgreSQL's; and to tell a failed build from a rejection, where the entry has no command.

    Args:
        entry: one whose message may name the unique index.
        zone: the server's log_timezone; see `times.moment`.
    """
    said = _said(entry.message.strip())
    if said in {"", "build"} or entry.state not in {None, REJECTED} or entry.builds:
        return None
    key = _key(entry.detail or "")
    if not (key and key.kind) and not _OWN.search(entry.message):
        return None  # of a table whose key has these columns, among others
    if entry.state is None and said != "duplicate" and not key:
        return NO_STATE
    return _rejection(entry, key or _Key(), parse_log_time(entry.time, zone))


@lru_cache(maxsize=256)  # most entries have the same message
def _said(message: str) -> str:
    """The kind of a message: `duplicate`, `build`, else `other`; empty where it does not name the unique index."""
    if not _NAME.search(message):
        return ""
    known = (("duplicate", _DUPLICATE), ("build", _BUILD))
    return next((word for word, pattern in known if pattern.fullmatch(message)), "other")


def _rejection(entry: Entry, key: _Key, at: datetime | None) -> Rejection:
    year = None if at and not has_year(entry.time) else True
    own = None if at and entry.carried else True
    known = ((at, NO_TIME), (year, NO_YEAR), (own, CARRIED), (key.family, ODD_DETAIL if entry.detail else NO_DETAIL))
    return Rejection(
        time=entry.time,
        at=at,
        family=key.family,
        kind=key.kind,
        purpose=key.purpose,
        role=entry.role,
        process=entry.process,
        ours=(entry.application or "").startswith(OURS),
        missing=tuple(reason for thing, reason in known if thing is None),
        is_run=entry.names_provider,
    )


@lru_cache(maxsize=4096)  # families try again
def _key(detail: str) -> _Key | None:
    """The key that a DETAIL names, or None."""
    found = _KEY.search(detail)
    if found is None:
        return None
    columns = tuple(name.strip('" ') for name in found["columns"].split(","))
    values = _values(columns, detail[found.end() :])
    root, owner = (values.get(column) for column in PURPOSE.before.parts)
    return _Key(
        Family(UUID(root), UUID(owner) if owner else None) if root and "owner_id" in values else None,
        PURPOSE.kind_of(columns, nulls_not_distinct=False),
        values.get("purpose"),
    )


def _values(columns: tuple[str, ...], written: str) -> dict[str, str | None]:
    """The values of a key by column, as PostgreSQL writes them: bare, with a comma between, `null` for NULL.

    What carries the line may have more behind the key, brackets as well.
    """
    found = _row(columns).match(written) if len(columns) <= MOST_COLUMNS else None
    return dict(zip(columns, (None if v == "null" else v for v in found.groups()), strict=True)) if found else {}


@lru_cache(maxsize=64)
def _row(columns: tuple[str, ...]) -> re.Pattern[str]:
    uuid = r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|null)"
    values = ", ".join(uuid if name in PURPOSE.before.parts else "(.*)" for name in columns)
    return re.compile(rf"{values}\)", re.DOTALL)
