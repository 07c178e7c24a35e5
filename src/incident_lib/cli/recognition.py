"""What was recognised of logs, for the terminal: the reason why a log was not read, all of `--explain`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.cli.terminal import Page
from incident_lib.model import Column, Failed, hide_ids, make_table, unread_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.logs import Coverage, Rejections

_WIDTH = 160  # of a line that is shown
HELP = (
    "incident failures --explain shows what its lines are; --log-line-prefix and --log-format name what they should be."
)


def check_read(found: Rejections) -> None:
    """Check that a log was read.

    Raises:
        Failed: no entry of a PostgreSQL server was recognised in any of them.
    """
    if found.is_read:
        return
    why = f"Rejected inserts are unknown, not none. {_looks(found.coverages)}"
    raise Failed(unread_sentence(found.unread), why, HELP)


def _looks(coverages: Sequence[Coverage]) -> str:
    for each in coverages:
        if each.compression:
            return f"It is compressed with {each.compression}: decompress it first."
        if each.samples:
            return f"Its lines look like: {shape_of(each.samples[0])}"
    return "It is empty."


def shape_of(line: str) -> str:
    """A line without its ids and values: quoted texts, numbers, and what is behind an equals sign."""
    text = _without_values(line.strip())
    return " ".join(re.sub(r"\S{40,}", "…", text).split())[:_WIDTH]


def _without_values(text: str) -> str:
    text = re.sub(r"\"(?:[^\"\\]|\\.)*\"(?!\s*:)|'[^']*'", '"…"', hide_ids(text))
    return re.sub(r"(?<==)[^\s,;&\"]+", "…", re.sub(r"\d", "0", text))


def print_explained(coverages: Sequence[Coverage]) -> None:
    """Print what each log is, and what of it was not understood."""
    page = Page()
    for each in coverages:
        page.paragraph(each.name, bold=True)
        page.table(make_table((Column("what"), Column("is", " ")), _properties(each)))
        if each.severities:
            rows = [(severity, count) for severity, count in each.severities.most_common()]
            page.table(make_table((Column("severity"), Column("entries", dtype="Int64")), rows))
        for sample in each.samples:
            page.paragraph(f"not understood: {shape_of(sample)}")
    page.show(pager=True)


def _properties(coverage: Coverage) -> list[tuple[str, str]]:
    looked = "" if coverage.exact else f", of which {coverage.seen:,} were looked at"
    times = "none"
    if coverage.severities:
        carried = coverage.carried * 2 > coverage.severities.total()
        times = "that of what carries each line" if carried else "PostgreSQL's own"
    span = f"{coverage.first} to {coverage.last}" if coverage.first else "unknown"
    return [
        ("bytes", ", ".join(coverage.layers) or "UTF-8"),
        ("wrapping", coverage.wrapping if coverage.recognised else "not recognised"),
        ("in front of each line", " or ".join(repr(_without_values(lead)) for lead in coverage.leads) or "nothing"),
        ("log_line_prefix", repr(coverage.prefix) if coverage.prefix else "none of the usual ones"),
        ("time", times),
        ("first and last entry", span),
        ("lines", f"{coverage.lines:,}{looked}"),
        ("understood", f"{coverage.understood:,} of {coverage.seen:,}"),
    ]
