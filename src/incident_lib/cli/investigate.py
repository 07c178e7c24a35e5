"""The commands `investigate`, what is blocked, and `explain`, one family of it; both read only."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from incident_lib.cli.answer import Answer
from incident_lib.cli.command import AnsweringCommand, ListingCommand, chosen_format
from incident_lib.cli.options import ENVIRONMENT, SINCE, TIMEOUT
from incident_lib.cli.terminal import Verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.analysis import Investigation, Standby
    from incident_lib.model import BlockedFamily, Refused, StandbyAge, Table, Thread

SHORT_ID = 8  # digits: with those of the other id of a family they are enough for `explain`
WIDE = 150  # columns in which whole ids fit
HIDDEN = "Row level security hides rows of q_threads from this role."
WHOLE = click.option("--wide", is_flag=True, help="Whole ids, also where the terminal is narrow.")


@click.command(cls=ListingCommand)
@ENVIRONMENT
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="How many blocked families to list; 0: all.",
)
@WHOLE
@SINCE
@TIMEOUT
def investigate(name: str, limit: int, wide: bool, purpose_since: str, timeout: float) -> Answer:
    """What is blocked: verdict, counts, families. Ids are raw: do not share them."""
    from tempfile import TemporaryFile

    from incident_lib import analysis
    from incident_lib.database import purpose_since as known_purpose_since
    from incident_lib.database import reading, resolve_environment
    from incident_lib.migration import run_preflight
    from incident_lib.model import Indexes, InvestigateResult, command_after_verdict, verdict_sentence
    from incident_lib.progress import waiting

    environment = resolve_environment(name)
    wanted: dict[str, Any] = {"purpose_since": known_purpose_since(environment, purpose_since), "limit": limit or None}
    families: list[BlockedFamily] = []
    listed = TemporaryFile()  # noqa: SIM115 - no transaction is open while a reader takes what is in it
    with waiting(f"reading {name} …"), reading(environment, seconds=timeout) as connection:
        standby = analysis.read_standby(connection)
        found = analysis.investigate(connection)
        checks = run_preflight(connection, environment, found)
        if chosen_format() == "csv":
            analysis.copy_blocked(connection, found.catalog, listed, **wanted)
        elif chosen_format() == "json" and not limit:
            analysis.copy_blocked_json(connection, found.catalog, listed, purpose_since=wanted["purpose_since"])
        else:
            families = analysis.list_blocked(connection, found.catalog, **wanted)
    state, hides_rows = found.catalog.state, found.access.hides_rows
    verdict = verdict_sentence(state, found.counts, safe=checks.safe, hides_rows=hides_rows)
    return Answer(
        f"{verdict}\n{standby}" if standby else verdict,
        InvestigateResult(
            standby=standby_age(standby),
            complete=not hides_rows,
            safe=checks.safe,
            indexes=Indexes.of(found.catalog),
            counts=found.counts,
            blocked=families,
        ),
        environment=name,
        next=command_after_verdict(name, state, safe=checks.safe),
        body=(*_tables(found), *_families(families, found, wide=wide)),
        error=_not_known(name) if hides_rows else None,
        listed=None if families else listed,
    )


def standby_age(standby: Standby | None) -> StandbyAge | None:
    """How old the answers of a standby are, as JSON has it; None: the primary answered."""
    from incident_lib.model import StandbyAge

    return StandbyAge(**vars(standby)) if standby else None


def wide_enough() -> bool:
    """Whether whole ids fit: where standard output is no terminal they always do."""
    return not sys.stdout.isatty() or shutil.get_terminal_size().columns >= WIDE


def _not_known(name: str) -> Refused:
    from incident_lib.model import Refused

    return Refused(
        f"What is blocked in {name!r} is not known completely.",
        f"{HIDDEN} Counts and lists are too low.",
        "Use the table's owner, or a role with BYPASSRLS; `incident env check` names what a role lacks.",
    )


def _tables(found: Investigation) -> tuple[Table | str, ...]:
    """The unique indexes and the counts."""
    from incident_lib.model import Column, Table, counts_table, indexes_table, make_table

    indexes = indexes_table(found.catalog)
    columns = [indexes.columns[place] for place in (0, 1, 3)]
    definitions = [
        (row[0], row[1], row[3], index.definition)
        for row, index in zip(indexes.rows, found.catalog.relevant_indexes, strict=True)
    ]
    counts = counts_table(families=found.counts)
    purposes = ", ".join(
        f"{' '.join(purpose.split())} {count:,}" for purpose, count in found.counts.active_by_purpose.items()
    )
    return (
        make_table((*columns, Column("definition", code=True)), definitions, f"Unique indexes: {found.catalog.state}"),
        Table((counts.columns[0], Column("number", " ", "Int64"), *counts.columns[2:]), counts.rows, "Counts"),
        f"Active threads by purpose: {purposes}",
    )


def _families(families: Sequence[BlockedFamily], found: Investigation, *, wide: bool) -> tuple[Table | str, ...]:
    """The blocked families, and what else would be said of them."""
    from incident_lib.model import Table, blocked_table

    if not families:
        return ()
    whole = wide or wide_enough()
    listed = blocked_table(families, None)
    titles = ("root", "owner", "for", "since (UTC)", "by thread", "of purpose", "provider")
    rows = [
        tuple(value if whole or place not in {0, 1, 4} else value[:SHORT_ID] for place, value in enumerate(row))
        for row in listed.rows
    ]
    columns = [replace(column, title=title) for column, title in zip(listed.columns, titles, strict=True)]
    blocked = found.counts.blocked
    total = blocked.chat + blocked.run if blocked.chat is not None and blocked.run is not None else None
    shown = f"{len(families):,} of {total:,} rows" if total else f"{len(families):,}"
    notes = []
    if not whole:
        notes.append("Ids are shortened; `explain` takes them so. Whole ids: --wide.")
    if total and total > len(families):
        notes.append("All of them: --limit 0.")
    if any(family.since is None for family in families):
        notes.append("Since when is unknown where a thread may be older than the column purpose: see --purpose-since.")
    return (
        Table(tuple(columns), tuple(rows), f"Blocked families, {shown}: raw ids, do not share"),
        *([" ".join(notes)] if notes else []),
    )


@click.command(cls=AnsweringCommand)
@ENVIRONMENT
@click.argument("root")
@click.argument("owner")
@WHOLE
@TIMEOUT
def explain(name: str, root: str, owner: str, wide: bool, timeout: float) -> Answer:
    """One family, thread by thread: what blocks what. Ids are raw: do not share them.

    ROOT and OWNER are its two ids, or their first digits, as `investigate` shows them.
    """
    from incident_lib.analysis import explain_family, find_family
    from incident_lib.database import read_access, read_catalog, reading, resolve_environment
    from incident_lib.model import ExplainResult, Refused
    from incident_lib.progress import waiting

    with (
        waiting(f"reading {name} …"),
        reading(resolve_environment(name), seconds=timeout) as connection,
    ):
        hidden = read_access(connection).hides_rows
        found = find_family(connection, root, owner)
        threads = explain_family(connection, read_catalog(connection), found.family) if found.family else []
    result = ExplainResult(
        root=found.family.root if found.family else None,
        owner=found.family.owner if found.family else None,
        threads=threads,
    )
    if not found.family:
        instead = (HIDDEN, "Use the table's owner, or a role with BYPASSRLS.")
        why, action = instead if hidden else (found.why, found.action)
        what = "Whether there is such a family is not known." if hidden else "The family was not found."
        return Answer(
            what,
            result,
            environment=name,
            next=f"incident explain --env {name} {owner} {root}" if found.swapped else "",
            error=Refused(what, why, action),
        )
    return Answer(
        _sentence(threads),
        result,
        environment=name,
        body=(
            Verbatim(f"root   {found.family.root}\nowner  {found.family.owner}"),
            _threads(threads, whole=wide or wide_enough()),
            *([f"{HIDDEN} There may be more threads."] if hidden else []),
        ),
    )


def _sentence(threads: Sequence[Thread]) -> str:
    """What the threads of a family block, now and with the fixed index."""
    from incident_lib.model import plural

    active = [thread for thread in threads if thread.is_active]
    family = f"This family has {plural(len(threads), 'thread')}, {len(active):,} active."
    if any(thread.blocks is None for thread in threads):
        return f"{family} What they block is not known: a unique index cannot be read."
    now = sorted({purpose for thread in threads for purpose in thread.blocks or ()})
    fixed = sorted({purpose for thread in threads for purpose in thread.would_block})

    def of(purposes: list[str]) -> str:
        return " and ".join(f"a new {purpose}" for purpose in purposes) or "nothing"

    return f"{family} Blocked now: {of(now)}; with the fixed index: {of(fixed)}."


def _threads(threads: Sequence[Thread], *, whole: bool) -> Table:
    from incident_lib.model import threads_table

    table = threads_table(threads, None)
    titles = ("thread", "created (UTC)", "purpose", "provider", "active", "blocks now", "with the fix")
    columns = tuple(replace(column, title=title) for column, title in zip(table.columns, titles, strict=True))
    rows = tuple((row[0] if whole else row[0][:SHORT_ID], *row[1:]) for row in table.rows)
    return replace(table, columns=columns, rows=rows)
