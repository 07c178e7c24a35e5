"""Rejected inserts as people and programs read them: a table without ids; CSV and JSON with raw ids."""

from __future__ import annotations

import csv as csv_module
import json as json_module
import os
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib.cli.terminal import _console, _table, printable
from incident_lib.logs import DAY, HOUR, to_iso
from incident_lib.model import Failed, format_count, format_families, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from incident_lib.logs import FamilyTally, RejectedFamily, Rejections, RejectionsAndThreads

MOST_DAYS = 62  # of which each has a bar
BUSIEST = 10  # hours that are named
_WIDTH = 40  # of the longest bar


def sentence(found: Rejections) -> str:
    """Say in one line how many attempts failed, of whom, and when."""
    if not found.failed_attempts:
        return "No rejected insert is in these logs."
    who = "by families that are not told"
    if found.families:
        who = f"by {format_families(found.families)} ({plural(found.owners, 'user')})"
    span = f", from {found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC" if found.first else ""
    return f"{plural(found.failed_attempts, 'failed attempt')} {who}{span}."


def table(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print the sentence; then when, what the threads say of these families, and what was not understood."""
    _console().print(sentence(found), style="bold")
    days, hours = found.per(DAY), found.per(HOUR)
    if 0 < len(days) <= MOST_DAYS:
        most = max(count for _, count in days)
        bars = [(f"{day:%Y-%m-%d}", f"{count:,}", "█" * -(-_WIDTH * count // most)) for day, count in days]
        _table(("day (UTC)", "attempts", ""), bars)
    busiest = sorted(hours, key=lambda hour: (-hour[1], hour[0]))[:BUSIEST]
    _listed(("hour (UTC)", "attempts"), [(f"{at:%Y-%m-%d %H}:00", f"{count:,}") for at, count in busiest], "Most in")
    if joined:
        counts = joined.as_record()
        rows = [
            (word.replace("_", " "), format_count(counts[word]), what)
            for word, what in ATTEMPT_MEANINGS.items()
            if word in counts
        ]
        _listed(("count", "", "what it counts"), rows, "Beside the threads")
    _listed(("entries", "what of them"), _remarks(found), "Not understood, or left out")


def _remarks(found: Rejections) -> list[tuple[str, str]]:
    told = [
        *sorted(found.not_understood.items()),
        ("not counted: another file has it, too", found.duplicates),
        ("not counted: a probe of ours, which was rolled back", found.ours),
    ]
    return [(f"{count:,}", printable(what)) for what, count in told if count]


def _listed(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str) -> None:
    if rows:
        _table(columns, rows, title)


def csv(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print a row for each family that is known, those with most attempts first."""
    out = csv_module.writer(sys.stdout)
    out.writerow(_FAMILY + (_THREADS if joined else ()))
    out.writerows(row.values() for row in _rows(found, joined))


def json(found: Rejections, joined: RejectionsAndThreads | None) -> None:
    """Print what a record carries, and beside it roles, purposes, and a row for each family that is known."""
    told = found.as_record() | {
        "by_role": {role or "unknown": count for role, count in found.by_role.most_common()},
        "by_purpose": dict(found.by_purpose.most_common()),
        "beside_the_threads": joined and joined.as_record(),
        "attempts": list(_rows(found, joined)),
    }
    json_module.dump(told, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


_FAMILY = ("root_prompt_row_id", "owner_id", "attempts", "first", "last")
_THREADS = ("threads", "blocked", "chat_at", "tries")


def _rows(found: Rejections, joined: RejectionsAndThreads | None) -> Iterator[dict[str, Any]]:
    each: FamilyTally | RejectedFamily
    for each in joined.families if joined else found.hits():
        values = (*each.family, each.attempts, to_iso(each.first), to_iso(each.last))
        threads = {name: getattr(each, name) for name in _THREADS} if joined else {}
        yield dict(zip(_FAMILY, values, strict=True)) | threads


@contextmanager
def output(file: str | None) -> Iterator[None]:
    """Send what is printed to a file that only its owner may read, as a whole or not at all; None: do not.

    Raises:
        Failed: the file cannot be written; before anything else is done, if it can be told by then.
    """
    if file is None:
        yield
        return
    part = Path(f"{file}.part")
    try:
        part.unlink(missing_ok=True)
        private = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(private, "w", encoding="utf-8", newline="") as out, redirect_stdout(out):
            yield
        part.replace(file)
    except OSError as error:
        raise Failed(f"{file} cannot be written.", f"{error.strerror}.", "Name another file with --out.") from None
    finally:
        part.unlink(missing_ok=True)
