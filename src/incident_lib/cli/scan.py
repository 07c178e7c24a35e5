"""The command `scan`: could this happen elsewhere? Read only, from the catalog and the statistics alone."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand, note
from incident_lib.cli.options import ENVIRONMENT, TIMEOUT
from incident_lib.cli.terminal import Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.logs import Duplicates
    from incident_lib.model import ExaminedIndex, Failed, ScanFindings, Table


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@click.option(
    "--index", "indexes", multiple=True, metavar="INDEX", help="Examine the key of this unique index; again for more."
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
    help="Examine the keys of the unique indexes that rejected rows by this server log; again for more.",
)
@click.option("--no", "no", metavar="COLUMN", help="Answer: the column does not belong in the key of the one --index.")
@click.option(
    "--both",
    nargs=2,
    metavar="NARROW WIDE",
    help="Answer: both of two unique indexes are needed, although the wider one has no effect.",
)
@click.option("--toml", "column", metavar="COLUMN", help="Print the change that would add it to the one --index.")
@click.option(
    "--answers",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where answers are remembered.  [default: data/scan.toml]",
)
@TIMEOUT
def scan(
    *,
    name: str,
    indexes: tuple[str, ...],
    logs: tuple[str, ...],
    no: str | None,
    both: tuple[str, str] | None,
    column: str | None,
    answers: str | None,
    timeout: float,
) -> Answer | int:
    """Could this happen elsewhere? Two questions; no row is read.

    Which unique index has no effect, since another one of its table allows less? And, of an index that rejected rows:
    which columns may belong in its key? The answers are yours. `incident plan` takes a change as a file.
    """
    from pathlib import Path

    from incident_lib import analysis, paths
    from incident_lib.database import reading, resolve_environment
    from incident_lib.model import UsageError, scan_sentence, without_ids
    from incident_lib.progress import waiting
    from incident_lib.records import add_answer, add_both, read_answers

    if (no or column) and len(indexes) != 1:
        raise UsageError("--no and --toml are about one index.", "No --index, or several, were given.", "Name one.")
    file = Path(answers) if answers else paths.ANSWERS
    answered = read_answers(file)
    environment = resolve_environment(name)
    duplicates = _read_logs(logs) if logs else None
    rejected = duplicates.rejected if duplicates else None
    with waiting(f"reading {name} …"), reading(environment, seconds=timeout) as connection:
        wanted = analysis.Wanted(indexes, rejected, answered.no, answered.both)
        found = analysis.scan(connection, wanted)
        if no:
            for index in found.examined[:1]:
                analysis.require_column(connection, index, no)
                answered.no[index.table, index.index, no] = add_answer(file, (index.table, index.index, no))
        if both:
            for pair in analysis.require_pairs(found, *both):
                answered.both[pair] = add_both(file, pair)
        if no or both:
            found = analysis.scan(connection, wanted)
    if column:
        click.echo(analysis.change_file(found.examined[0], column), nl=False)
        note(f"As a file, this is what `incident plan --env {name} --change FILE.toml` takes.")
        return 0
    shown = without_ids(found)
    body = tuple(_body(name, shown))
    return Answer(scan_sentence(shown), shown, environment=name, body=body, error=_not_read(duplicates))


def _read_logs(logs: tuple[str, ...]) -> Duplicates:
    """How often the logs say that a unique index rejected a row.

    Raises:
        Failed: none of them was read.
    """
    from incident_lib.cli.recognition import HELP
    from incident_lib.logs import read_duplicates
    from incident_lib.model import Failed, unread_sentence
    from incident_lib.progress import waiting

    with waiting("reading the logs …"):
        found = read_duplicates(logs)
    if found.unread and not found.is_read:
        raise Failed(unread_sentence(found.unread), "Which indexes rejected rows is unknown, not none.", HELP)
    return found


def _not_read(found: Duplicates | None) -> Failed | None:
    """The error where one of several logs was not read."""
    from incident_lib.cli.recognition import HELP
    from incident_lib.model import Failed, unread_sentence

    if found is None or not found.unread:
        return None
    return Failed("Not every log was read.", unread_sentence(found.unread), HELP)


def _body(name: str, found: ScanFindings) -> Iterator[Table | Verbatim | str]:
    """The pairs of rules, the suspects of each index, how a change would be planned, and what is not known."""
    from incident_lib.model import make_table, redundant_table, suspects_table

    if found.redundant:
        yield redundant_table(found).titled("Two unique rules, one without effect: which of the two is meant?")
    if open_pairs := found.open_pairs:
        narrow, wide = open_pairs[0].narrow.index, open_pairs[0].wide.index
        yield "\nIf both are needed all the same, say so once: it is not asked again."
        yield Verbatim(f"  incident scan --env {name} --both {shlex.quote(narrow)} {shlex.quote(wide)}")
    for index in found.examined:
        yield from _examined(index, suspects_table(found))
    if planned := next((each for each in found.examined if each.open), None):
        yield "\nIf one of them belongs in the key, write the change and plan it:"
        of, column = shlex.quote(planned.index), shlex.quote(planned.open[0].column)
        scanned = f"  incident scan --env {name} --index {of} \\\n    --toml {column} > change.toml"
        yield Verbatim(f"{scanned}\n  incident plan --env {name} --change change.toml")
        yield "If one does not, say so once, with --no in place of --toml: it is not asked again."
    yield make_table(("What the scan cannot tell",), [[text] for text in found.unknown])


def _examined(index: ExaminedIndex, suspects: Table) -> Iterator[Table | str]:
    """One index: its key, and the columns that may belong in it."""
    from incident_lib.model import Table

    where = f" WHERE {index.predicate}" if index.predicate else ""
    title = f"{index.table}: {index.index} ({', '.join(index.key)}){where}"
    rows = [row for row in suspects.rows if row[0] == index.index]
    if rows:
        names = pairwise(["", *(row[1] for row in rows)])
        shown = [(name if name != before else "", *row[2:]) for (before, name), row in zip(names, rows, strict=True)]
        yield Table(suspects.columns[1:], tuple(shown), title)
    else:
        yield f"\n{title}"
        yield "No column is a suspect."
    if index.remarks:
        yield "\n" + " ".join(index.remarks)
