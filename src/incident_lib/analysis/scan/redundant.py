"""Two unique rules of one table, one of them without effect: from definitions alone."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from incident_lib.model import RedundantRule, UniqueRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from incident_lib.analysis.scan.catalog import Rule


def find_redundant(rules: Iterable[Rule], answered: Mapping[tuple[str, str, str], date]) -> list[RedundantRule]:
    """The pairs of unique indexes of one table of which the wider one has no effect; last those that were answered.

    Args:
        rules: sorted by table.
        answered: when a person answered that both are needed, by table, narrower and wider index.
    """
    found = [
        RedundantRule(
            table=wide.path,
            narrow=_as_rule(narrow),
            wide=_as_rule(wide),
            remarks=_remarks(wide),
            answered_both=answered.get((wide.path, narrow.name, wide.name)),
        )
        for _, group in groupby(rules, key=attrgetter("table_oid"))
        for narrow, wide in _pairs([*group])
        if implies(narrow, wide)
    ]
    return sorted(found, key=lambda pair: pair.answered_both is not None)


def _pairs(rules: list[Rule]) -> list[tuple[Rule, Rule]]:
    return [(narrow, wide) for wide in rules for narrow in rules if narrow is not wide]


def implies(narrow: Rule, wide: Rule) -> bool:
    """Whether rows that one index allows are always allowed by the other, whose key has more columns.

    A foreign key needs the index that it refers to, whatever that allows.
    """
    contains = narrow.elements < wide.elements and narrow.expressions in {None, wide.expressions}
    covers = narrow.predicate in {None, wide.predicate}
    # Rows with NULL in the narrow key are compared by neither, unless the wide one takes NULLs as equal.
    nulls = narrow.nulls_not_distinct or not wide.nulls_not_distinct or not narrow.nullable
    at_once = narrow.immediate or not wide.immediate
    return contains and covers and nulls and at_once and not wide.referenced


def _as_rule(rule: Rule) -> UniqueRule:
    return UniqueRule(
        index=rule.name,
        key=[column or "(expression)" for column in rule.key],
        partial=rule.predicate is not None,
        constraint=rule.constraint,
    )


def _remarks(wide: Rule) -> list[str]:
    """What the wider one may be used for, although it requires nothing more."""
    used = (
        (wide.identity, f"{wide.name} is the table's replica identity."),
        (wide.primary, f"{wide.name} is the primary key."),
    )
    return [text for applies, text in used if applies]
