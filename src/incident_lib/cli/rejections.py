"""Rejected inserts for the terminal: tables without ids for people; CSV and JSON with raw ids for programs."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from incident_lib import paths
from incident_lib.cli.terminal import Page
from incident_lib.logs import DAY, HOUR
from incident_lib.model import (
    Column,
    describe_reading,
    format_families,
    left_out,
    make_table,
    plural,
    rejected_inserts_table,
    to_iso,
    unread_sentence,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.logs import FamilyTally, RejectedFamily, Rejections, RejectionsAndThreads

MOST_DAYS = 62  # with a bar each
BUSIEST = 10  # hours that are listed
_WIDTH = 40  # of the longest bar


def sentence(found: Rejections) -> str:
    """How many inserts were rejected, of how many families, and when, in one line."""
    rest = " ".join(filter(None, (describe_reading(found.as_record()), unread_sentence(found.unread))))
    if not found.failed_attempts:
        return f"No rejected insert is in these logs. {rest}"
    families = "by unknown families"
    if found.families:
        families = f"by {format_families(found.families)} ({plural(found.owners, 'user')})"
    span = f", from {found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC" if found.first else ""
    return f"{plural(found.failed_attempts, 'rejected insert')} {families}{span}. {rest}".rstrip()


def print_tables(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print the sentence; then when, what the threads show of these families, and what was not understood."""
    page = Page()
    page.paragraph(sentence(found), bold=True)
    for line in left_out(found.as_record()):
        page.paragraph(line)
    days, hours = found.per(DAY), found.per(HOUR)
    inserts = Column("inserts", "rejected inserts", "Int64")
    if 0 < len(days) <= MOST_DAYS:
        most = max(count for _, count in days)
        bars = [(f"{day:%Y-%m-%d}", count, "█" * -(-_WIDTH * count // most)) for day, count in days]
        page.table(make_table((Column("day", "day (UTC)"), inserts, Column("bar", " ")), bars))
    busiest = sorted(hours, key=lambda hour: (-hour[1], hour[0]))[:BUSIEST]
    if busiest:
        rows = [(f"{at:%Y-%m-%d %H}:00", count) for at, count in busiest]
        page.table(make_table((Column("hour", "hour (UTC)"), inserts), rows, "Most in"))
    if joined:
        table = rejected_inserts_table({"number": joined.as_record()})
        page.table(make_table(table.columns, table.rows[3:], "Beside the threads"))
    if remarks := _remarks(found):
        page.table(make_table((Column("entries", dtype="Int64"), "remark"), remarks, "Not understood, or not counted"))
    page.show(pager=True)


def _remarks(found: Rejections) -> list[tuple[int, str]]:
    counts = [
        *sorted(found.not_understood.items()),
        ("not counted: another file has it, too", found.duplicates),
        ("not counted: a probe of this project, which was rolled back", found.ours),
    ]
    return [(count, what) for what, count in counts if count]


def print_csv(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print a row for each family that is known, those with most rejected inserts first."""
    out = csv.writer(sys.stdout)
    out.writerow(_FAMILY + (_THREADS if joined else ()))
    out.writerows(row.values() for row in _rows(found, joined))


def print_json(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print what a record holds, and beside it roles, purposes, and a row for each family that is known."""
    own = (
        *("failed_attempts", "families", "owners", "first", "last", "by_index", "per", "per_hour"),
        *("runs", "before_purpose", "by_provider", "not_understood", "read"),
        *("duplicates", "ours", "bytes_read", "files"),
    )
    record = msgspec.to_builtins(found.as_record())
    result = {name: record[name] for name in own} | {
        "unread": msgspec.to_builtins(found.unread),
        "by_role": {role or "unknown": count for role, count in found.by_role.most_common()},
        "by_purpose": dict(found.by_purpose.most_common()),
        "beside_the_threads": joined and joined.counts(),
        "attempts": list(_rows(found, joined)),
    }
    json.dump(result, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


_FAMILY = ("root_prompt_row_id", "owner_id", "attempts", "first", "last")
_THREADS = ("threads", "blocked", "chat_at", "tries")


def _rows(found: Rejections, joined: RejectionsAndThreads | None) -> Iterator[dict[str, Any]]:
    each: FamilyTally | RejectedFamily
    for each in joined.families if joined else found.tallies():
        times = (at and to_iso(at) for at in (each.first, each.last))
        threads = {name: getattr(each, name) for name in _THREADS} if joined else {}
        yield dict(zip(_FAMILY, (*each.family, each.attempts, *times), strict=True)) | threads


@contextmanager
def output(file: str | None) -> Iterator[None]:
    """Send what is printed to a file that only its owner may read, as a whole or not at all; None: standard output.

    Raises:
        Failed: the file cannot be written.
    """
    if file is None:
        yield
        return
    with paths.replacing(Path(file), private=True, hint="Name another file with --out.") as out:
        text = TextIOWrapper(out, encoding="utf-8", newline="")
        with redirect_stdout(text):
            yield
        text.flush()
        text.detach()
