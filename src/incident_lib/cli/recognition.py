"""What was recognised of logs, for the terminal: one line, the reason why a log was not read, all of `--explain`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.cli.terminal import Page
from incident_lib.model import Column, Failed, format_minute, hide_ids, make_table, plural, unread_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.logs import Coverage, Rejections

_WIDTH = 160  # of a line that is shown
_HELP = (
    "incident failures --explain shows what its lines are; --log-line-prefix and --log-format name what they should be."
)


def in_short(found: Rejections) -> str:
    """How many entries of a server were read, from when to when; and how much was not understood."""
    read = [each for each in found.coverages if each.recognised]
    entries, lines = sum(each.entries for each in read), sum(each.lines for each in read)
    strange = sum(each.not_understood for each in read)
    about = "" if all(each.exact for each in read) else "about "
    firsts = [each.first for each in read if each.first]
    lasts = [each.last for each in read if each.last]
    span = f", from {format_minute(min(firsts))} to {format_minute(max(lasts))} UTC" if firsts else ""
    texts = [f"Read: {about}{plural(entries, 'entry', 'entries')} of PostgreSQL{span}."]
    if not any(each.errors_logged for each in read):
        texts.append(
            "No error of any kind is among them: a server that logs no errors logs no rejected inserts, either."
        )
    if strange:
        verb = "was" if strange == 1 else "were"
        texts.append(f"Partly read: {about}{strange:,} of {plural(lines, 'line')} {verb} not understood.")
    if found.unread:
        texts.append(unread_sentence(found.unread))
    return " ".join(texts)


def check_read(found: Rejections) -> None:
    """Check that a log was read.

    Raises:
        Failed: no entry of a PostgreSQL server was recognised in any of them.
    """
    if found.is_read:
        return
    samples = [sample for each in found.coverages for sample in each.samples][:1]
    looks = f" Its lines look like: {shape_of(samples[0])}" if samples else " It is empty."
    raise Failed(unread_sentence(found.unread), f"Rejected inserts are unknown, not none.{looks}", _HELP)


def shape_of(line: str) -> str:
    """A line without its ids and values: quoted texts, numbers, and what is behind an equals sign."""
    text = re.sub(r"\"(?:[^\"\\]|\\.)*\"(?!\s*:)|'[^']*'", '"…"', hide_ids(line.strip()))
    text = re.sub(r"(?<==)[^\s,;&\"]+", "…", re.sub(r"\d", "0", text))
    return " ".join(re.sub(r"\S{40,}", "…", text).split())[:_WIDTH]


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
        ("in front of each line", " or ".join(map(repr, coverage.leads)) or "nothing"),
        ("log_line_prefix", repr(coverage.prefix) if coverage.prefix else "none of the usual ones"),
        ("time", times),
        ("first and last entry", span),
        ("lines", f"{coverage.lines:,}{looked}"),
        ("understood", f"{coverage.understood:,} of {coverage.seen:,}"),
    ]
