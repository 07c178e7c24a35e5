"""Rejected inserts as an answer: tables without ids for people; CSV and JSON with raw ids for programs."""

from __future__ import annotations

import csv
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import click

from incident_lib import paths
from incident_lib.cli.answer import Answer
from incident_lib.cli.command import chosen_format
from incident_lib.cli.recognition import HELP
from incident_lib.logs import DAY, HOUR
from incident_lib.model import (
    Column,
    Failed,
    FailuresResult,
    FamilyAttempts,
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
    from typing import IO, Any

    from incident_lib.logs import FamilyTally, RejectedFamily, Rejections, RejectionsAndThreads
    from incident_lib.model import Table

MOST_DAYS = 62  # with a bar each
BUSIEST = 10  # hours that are listed
_WIDTH = 40  # of the longest bar


def answer(found: Rejections, joined: RejectionsAndThreads | None, *, shape: str) -> Answer:
    """How many inserts were rejected, of which families, when, and what their threads show.

    Args:
        found: what the logs hold.
        joined: the same beside the threads of an environment; None: none was named.
        shape: table, csv or json.
    """
    listed = None
    if shape != "table":
        listed = TemporaryFile()  # noqa: SIM115 - it is open until it has been printed
        (_write_csv if shape == "csv" else _write_json)(listed, found, joined)
    record = joined.as_record() if joined else found.as_record()
    return Answer(
        "\n".join((sentence(found), *left_out(found.as_record()))),
        FailuresResult(
            rejected_inserts=record,
            unread=list(found.unread),
            by_role={role or "unknown": count for role, count in found.by_role.most_common()},
            by_purpose=dict(found.by_purpose.most_common()),
            attempts=[],
        ),
        body=tuple(_tables(found, joined)),
        error=_not_read(found),
        listed=listed,
    )


def sentence(found: Rejections) -> str:
    """How many inserts were rejected, of how many families, and when, in one line."""
    rest = " ".join(filter(None, (describe_reading(found.as_record()), unread_sentence(found.unread))))
    if not found.failed_attempts:
        others = (found.before_purpose or 0) + (found.by_provider or 0)
        none = f"None of the {plural(others, 'rejected insert')} in these logs is this incident's."
        return f"{none if others else 'No rejected insert is in these logs.'} {rest}".rstrip()
    families = "by unknown families"
    if found.families:
        families = f"by {format_families(found.families)} ({plural(found.owners, 'user')})"
    span = f", from {found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC" if found.first else ""
    return f"{plural(found.failed_attempts, 'rejected insert')} {families}{span}. {rest}".rstrip()


def _not_read(found: Rejections) -> Failed | None:
    """The error where one of several logs was not read, or where only entries that may be rejected inserts are left."""
    lost = found.as_record().lost
    if found.unread:
        return Failed("Not every log was read.", unread_sentence(found.unread), HELP)
    if lost and not found.failed_attempts:
        return Failed(
            "Rejected inserts are unknown, not none.",
            f"{plural(lost, 'entry', 'entries')} may be rejected inserts, but could not be read.",
            HELP,
        )
    return None


@contextmanager
def output(file: str | None) -> Iterator[IO[bytes] | None]:
    """A file that only its owner may read, written as a whole or not at all; None: standard output.

    Raises:
        Failed: the file cannot be written.
    """
    if file is None:
        yield None
        return
    with paths.replacing(Path(file), private=True, hint="Name another file with --out.") as out:
        yield out


def write(made: Answer, file: IO[bytes]) -> None:
    """Write an answer into a file, and its sentence to standard error."""
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    with redirect_stdout(text):
        made.print("failures", chosen_format(), pager=False)
    text.flush()
    text.detach()
    if chosen_format() != "csv":  # which prints it itself
        click.echo(made.text, err=True)


def _tables(found: Rejections, joined: RejectionsAndThreads | None) -> Iterator[Table]:
    """When; then what the threads show of these families, and what was not understood."""
    days, hours = found.per(DAY), found.per(HOUR)
    inserts = Column("inserts", "rejected inserts", "Int64")
    if 0 < len(days) <= MOST_DAYS:
        most = max(count for _, count in days)
        bars = [(f"{day:%Y-%m-%d}", count, "█" * -(-_WIDTH * count // most)) for day, count in days]
        yield make_table((Column("day", "day (UTC)"), inserts, Column("bar", " ")), bars)
    if busiest := sorted(hours, key=lambda hour: (-hour[1], hour[0]))[:BUSIEST]:
        rows = [(f"{at:%Y-%m-%d %H}:00", count) for at, count in busiest]
        yield make_table((Column("hour", "hour (UTC)"), inserts), rows, "Most in")
    if joined:
        table = rejected_inserts_table({"number": joined.as_record()})
        yield make_table(table.columns, table.rows[3:], "Beside the threads")
    if remarks := _remarks(found):
        yield make_table((Column("entries", dtype="Int64"), "remark"), remarks, "Not understood, or not counted")


def _remarks(found: Rejections) -> list[tuple[int, str]]:
    counts = [
        *sorted(found.not_understood.items()),
        ("not counted: another file has it, too", found.duplicates),
        ("not counted: a probe of this project, which was rolled back", found.ours),
    ]
    return [(count, what) for what, count in counts if count]


_FAMILY = ("root_prompt_row_id", "owner_id", "attempts", "first", "last")
_THREADS = ("threads", "blocked", "chat_at", "tries")


def _families(found: Rejections, joined: RejectionsAndThreads | None) -> Iterator[dict[str, Any]]:
    """A row for each family that is known, those with most rejected inserts first."""
    each: FamilyTally | RejectedFamily
    for each in joined.families if joined else found.tallies():
        threads = {name: getattr(each, name) for name in _THREADS} if joined else {}
        yield dict(zip(_FAMILY, (*each.family, each.attempts, each.first, each.last), strict=True)) | threads


def _write_csv(out: IO[bytes], found: Rejections, joined: RejectionsAndThreads | None) -> None:
    def cell(value: object) -> object:
        return to_iso(value) if hasattr(value, "isoformat") else value  # type: ignore[arg-type]

    text = TextIOWrapper(out, encoding="utf-8", newline="")
    rows = csv.writer(text)
    rows.writerow(_FAMILY + (_THREADS if joined else ()))
    rows.writerows(map(cell, row.values()) for row in _families(found, joined))
    text.flush()
    text.detach()


def _write_json(out: IO[bytes], found: Rejections, joined: RejectionsAndThreads | None) -> None:
    import msgspec

    for place, row in enumerate(_families(found, joined)):
        out.write(b",\n" if place else b"")
        out.write(msgspec.json.encode(FamilyAttempts(**row)))
