"""An entry of a server's log in any format, and damage that may have been one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEGINS_WITHIN = "not counted: the file begins within it"
ENDS_WITHIN = "not counted: the file ends within it"
DAMAGED = "not counted: its line is damaged, or does not begin with the log_line_prefix"
OTHER_WORDS = "not counted: an error in an unknown language, without its DETAIL"
UNREADABLE = "not read: the rest of a damaged compressed file"

# What a DETAIL says of a key of ours, in every language: (column, …)=(value, …
KEY = re.compile(rb"\((?=[^\n=]*root_prompt_row_id)(?=[^\n=]*owner_id)[^\n=]*\)=\(")

_SKIPPED = r"(?:\s|(?>/\*.*?\*/)|--[^\n]*\n)*+"
BUILD = re.compile(_SKIPPED + r"(?:CREATE|REINDEX|ALTER)\b", re.IGNORECASE | re.DOTALL)
_INSERT = re.compile(r"INSERT\s+INTO\s[^(;]*q_threads\"?\s*\(([^()]*)\)", re.IGNORECASE)


def names_provider(statement: str | None) -> bool:
    """Whether a statement is an insert into the table that names a provider among its columns."""
    found = _INSERT.search(statement or "")
    return found is not None and "provider" in (name.strip('" \n\t') for name in found[1].split(","))


class Entry(NamedTuple):
    """One entry of a log; None where the log does not say."""

    time: str  # as it is written
    message: str
    state: str | None = None  # SQLSTATE
    detail: str | None = None
    role: str | None = None
    process: str | None = None
    application: str | None = None
    command: str | None = None  # its tag, or how its statement begins
    names_provider: bool = False  # whether its statement, where it is logged, is an insert that names a provider
    carried: bool = False  # whether its time is that of what carries it

    @classmethod
    def of(cls, had: Mapping[str, str | None]) -> Entry:
        """An entry from the values of a record, by the names of the fields."""
        time, message, state, detail, role, process, application, command, statement = map(
            had.get, (*cls._fields[:-2], "statement")
        )
        provider = names_provider(statement)
        return cls(time or "", message or "", state, detail, role, process, application, command, provider)

    @property
    def builds(self) -> bool:
        """Whether its command builds indexes (and does not write rows)."""
        return BUILD.match(self.command or "") is not None


@dataclass(frozen=True, slots=True)
class Damaged:
    """Something that may have been a wanted entry, and what is wrong with it."""

    reason: str


class Unknown:
    """A line that is not of the format."""


UNKNOWN = Unknown()
Found = tuple[int, "Entry | Damaged | Unknown | None"]


class Format(Protocol):
    """One of the formats of PostgreSQL's own logs: each finds an entry by what its first line holds."""

    cut: re.Pattern[bytes]  # the last line of a file that ends within an entry's message

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """The entry whose first line begins at `begin` and has what is looked for at `hit`; and where to continue."""

    def begins_within(self, line: bytes, needles: Sequence[bytes]) -> bool:
        """Whether the first line of a file is what is left of an entry that began in another file."""


def line_end(data: bytes, at: int) -> int:
    """Where the next line begins; the end of the data if there is none."""
    return data.find(b"\n", at) + 1 or len(data)


def decode(raw: bytes | None) -> str | None:
    """Bytes of a log as text; None for missing or empty ones."""
    return raw.decode("utf-8", "replace") if raw else None
