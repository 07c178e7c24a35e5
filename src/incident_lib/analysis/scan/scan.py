"""A scan of a whole database, from the catalog and the statistics alone: it reads no row of a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from incident_lib.analysis.scan.catalog import find_indexes, read_rules, read_tables
from incident_lib.analysis.scan.evidence import Case
from incident_lib.analysis.scan.redundant import find_redundant
from incident_lib.analysis.scan.suspects import find_suspects, remarks
from incident_lib.database import fetch_all
from incident_lib.model import ExaminedIndex, Refused, ScanFindings, join_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from incident_lib.analysis.scan.catalog import Rule
    from incident_lib.database import Connection

_REBUILT = re.compile(r"_cc(?:new|old)\d*$")  # REINDEX CONCURRENTLY builds an index under such a name
_NOTHING_PROVES = (
    "A column that is not listed may still belong in a key: only people who know what the rows stand for can tell."
)
_NOT_EXAMINED = "Which keys may lack a column was not asked: no index was named, and no log was read."
_NO_REJECTION = "Which keys may lack a column was not asked: the logs name no index that rejected a row."


@dataclass(frozen=True)
class Wanted:
    """Which indexes to examine, and what is known of them.

    Attributes:
        named: on the command line, `index` or `schema.index`.
        rejected: how often each index rejected a row, by the name that a log has; None: no log was read.
        answered: when a person answered with no, by table, index and column.
        both: when a person answered that both rules are needed, by table, narrower and wider index.
    """

    named: Sequence[str] = ()
    rejected: Mapping[str, int] | None = None
    answered: Mapping[tuple[str, str, str], date] = field(default_factory=dict)
    both: Mapping[tuple[str, str, str], date] = field(default_factory=dict)


def scan(connection: Connection, wanted: Wanted | None = None) -> ScanFindings:
    """Ask both questions: which unique rules have no effect, and which columns may belong in the key of an index.

    Args:
        connection: as `database.reading` yields it, so that all is of one snapshot.
        wanted: which indexes to examine; without them only the first question is asked.

    Raises:
        Refused: an index that was named is not there, or is not unique.
    """
    wanted = wanted or Wanted()
    rules = read_rules(connection)
    chosen = _named(connection, rules, wanted.named)
    rejected, absent = _rejecting(connection, rules, wanted.rejected or {})
    order = [*dict.fromkeys([*chosen, *rejected])]
    cases = _cases(connection, [rule for rule in rules if rule.oid in order], rules)
    examined = [
        _examined(*cases[oid], wanted, named=oid in chosen, count=rejected.get(oid, 0)) for oid in order if oid in cases
    ]
    return ScanFindings(
        tables=len({rule.table_oid for rule in rules}),
        unique_indexes=len(rules),
        redundant=find_redundant(rules, wanted.both),
        examined=examined,
        unknown=_unknown(wanted, examined, absent),
    )


def require_column(connection: Connection, index: ExaminedIndex, column: str) -> None:
    """Check that the table of an index has a column, which is not in the key.

    Raises:
        Refused: it has none of that name, or it is in the key.
    """
    names = [each["name"] for each in fetch_all(connection, "analysis/scan_column_names", {"table": index.table})]
    if column in index.key:
        raise Refused("No answer was stored.", f"{column!r} is in the key of {index.index}.", "Name another column.")
    if column not in names:
        close = get_close_matches(column, names, 1)
        why = f"{index.table} has no column {column!r}.{f' Did you mean {close[0]}?' if close else ''}"
        raise Refused("No answer was stored.", why, "Name one of its columns.")


def require_pairs(found: ScanFindings, narrow: str, wide: str) -> list[tuple[str, str, str]]:
    """Check that two indexes are a pair that a scan found.

    Returns:
        Table, narrower and wider index; more than one where several schemas have a pair of these names.

    Raises:
        Refused: they are no such pair.
    """
    pairs = [(pair.table, pair.narrow.index, pair.wide.index) for pair in found.redundant]
    if chosen := [pair for pair in pairs if pair[1:] == (narrow, wide)]:
        return chosen
    close = [pair for pair in pairs if wide in pair[1:] or narrow in pair[1:]]
    why = f"{narrow} and {wide} are no pair of which the second one has no effect."
    why += f" Did you mean {close[0][1]} {close[0][2]}?" if close else ""
    raise Refused("No answer was stored.", why, "Name the two as the scan lists them, the narrower one first.")


def _named(connection: Connection, rules: Sequence[Rule], names: Sequence[str]) -> list[int]:
    """The indexes that were named.

    Raises:
        Refused: one of them is not there, or is not unique.
    """
    by_oid = {rule.oid: rule for rule in rules}
    found: list[int] = []
    for name in names:
        schema, dot, bare = name.rpartition(".")
        rows = find_indexes(connection, [name]) or (
            [row for row in find_indexes(connection, [bare]) if row.schema == schema] if dot else []
        )
        known = [row.oid for row in rows if row.oid in by_oid]
        if not known:
            raise _not_examinable(name, rules, exists=bool(rows), unique=any(row.unique for row in rows))
        found += known
    return found


def _not_examinable(name: str, rules: Sequence[Rule], *, exists: bool, unique: bool) -> Refused:
    close = get_close_matches(name, [rule.name for rule in rules], 1)
    if not exists:
        why = f"Did you mean {close[0]}?" if close else "No index of this database has that name."
        return Refused(f"There is no index {name!r}.", why, "Name it as `\\di` in psql lists it, or as schema.index.")
    why = "It is not enforced for all rows, is WITHOUT OVERLAPS, or its table belongs to an extension."
    why = why if unique else "It is not unique."
    return Refused(f"The key of {name!r} is not examined.", why, "Name a unique index.")


def _rejecting(
    connection: Connection, rules: Sequence[Rule], rejected: Mapping[str, int]
) -> tuple[dict[int, int], list[str]]:
    """How often each index rejected a row, as far as this database has it; and the names that it does not have."""
    by_oid = {rule.oid: rule for rule in rules}
    counts: dict[str, int] = {}
    for name, count in rejected.items():
        bare = _REBUILT.sub("", name)
        counts[bare] = counts.get(bare, 0) + count
    found: dict[int, int] = {}
    for row in find_indexes(connection, sorted(counts)) if counts else ():
        if row.oid in by_oid:
            found[row.oid] = found.get(row.oid, 0) + counts.pop(row.name, 0)
    return dict(sorted(found.items(), key=lambda each: -each[1])), sorted(counts)


def _cases(connection: Connection, chosen: Sequence[Rule], rules: Sequence[Rule]) -> dict[int, tuple[Rule, Case]]:
    """The indexes to examine, each with what is around it."""
    if not chosen:
        return {}
    read = read_tables(connection, sorted({rule.table_oid for rule in chosen}))
    found = {}
    for rule in chosen:
        indexes = [index for index in read.indexes if index.table_oid == rule.table_oid]
        own = [index for index in indexes if index.oid == rule.oid]
        if own:
            case = Case(
                index=own[0],
                columns=[column for column in read.columns if column.table_oid == rule.table_oid],
                others=[index for index in indexes if index.oid != rule.oid],
                references=[each for each in read.references if each.table_oid == rule.table_oid],
                rules=[each for each in rules if each.table_oid != rule.table_oid],
            )
            found[rule.oid] = (rule, case)
    return found


def _examined(rule: Rule, case: Case, wanted: Wanted, *, named: bool, count: int) -> ExaminedIndex:
    answered = {
        column: at for (table, index, column), at in wanted.answered.items() if (table, index) == (rule.path, rule.name)
    }
    primary = [f"{rule.name} is the primary key: `incident plan` changes none."] if rule.primary else []
    return ExaminedIndex(
        table=rule.path,
        index=rule.name,
        key=[part if column else f"({part})" for part, column in zip(case.index.key, rule.key, strict=True)],
        predicate=case.index.predicate,
        nulls_not_distinct=rule.nulls_not_distinct,
        constraint=rule.constraint,
        because="named" if named else "log",
        rejected=None if wanted.rejected is None else count,
        suspects=find_suspects(case, answered),
        remarks=[*remarks(case), *primary],
    )


def _unknown(wanted: Wanted, examined: Sequence[ExaminedIndex], absent: Sequence[str]) -> list[str]:
    """What the scan cannot tell, a sentence each."""
    found = []
    if not examined and not absent:
        found.append(_NOT_EXAMINED if wanted.rejected is None else _NO_REJECTION)
    if absent:
        found.append(f"The logs name {join_names(absent)}, which this database does not have as a unique index.")
    return [*found, _NOTHING_PROVES]
