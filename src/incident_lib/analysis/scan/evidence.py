"""What speaks for a column as a part of an index's key, and what against it: a sentence each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.analysis.scan import column_names
from incident_lib.model import format_count, join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from incident_lib.analysis.scan.catalog import Reference, Rule, TableColumn, TableIndex

FEW = 50  # distinct values, or one in so many rows has a new one
SAME_IN_FEW = 0.5  # of the rows have a value of their own: the column alone distinguishes rows
FEWEST_ROWS = 20  # of which statistics say something

_CONSTANT = re.compile(r"'(?:[^']|'')*'(?:::.+)?|-?[\d.]+(?:::.+)?|true|false")
_PLAIN_TYPES = {"uuid", "date"}
_PLAIN_CATEGORIES = {"S", "E", "N", "B"}  # strings, enums, numbers, booleans


class Evidence(NamedTuple):
    """A sentence about a column. The weight only orders the columns, and is never shown; it is negative against one."""

    weight: float
    text: str


@dataclass(frozen=True)
class Case:
    """One index whose key is examined, and what is around it.

    Attributes:
        index: it.
        columns: of its table, in their order.
        others: the other indexes of the table.
        references: the foreign keys of the table.
        rules: the unique indexes of all other tables.
    """

    index: TableIndex
    columns: Sequence[TableColumn]
    others: Sequence[TableIndex]
    references: Sequence[Reference]
    rules: Sequence[Rule]

    @cached_property
    def key_columns(self) -> tuple[TableColumn, ...]:
        """The columns of the key, without expressions."""
        return tuple(column for column in self.columns if column.name in self.index.key)

    @cached_property
    def last_of_key(self) -> int:
        """The number of the key's last column in the table. The predicate's columns say nothing here."""
        return max((column.number for column in self.key_columns), default=0)

    @cached_property
    def has_ages(self) -> bool:
        """Whether the columns came at different times. After a dump and restore all of them came at once."""
        return len({column.age for column in self.columns}) > 1

    @cached_property
    def last_older(self) -> int:
        """The number of the last column that was there when the index was made: those before it were, too.

        A column that was altered later looks younger than it is; one that follows it in the table tells.
        """
        older = [column.number for column in self.columns if column.age >= self.index.age]
        return max([*older, self.last_of_key])

    @cached_property
    def candidates(self) -> tuple[TableColumn, ...]:
        """The columns that could be in the key: of a type that is compared, and used by the index in no other way."""
        taken = {*self.index.key, *self.index.used}
        return tuple(column for column in self.columns if column.name not in taken and _is_comparable(column))

    @cached_property
    def generates_its_key(self) -> str:
        """The key's column whose values the server makes, each once; empty where there is none."""
        made = re.compile(r"\b(?:nextval|gen_random_uuid|uuid_generate_v\w+|uuidv\d)\(")
        found = (c.name for c in self.key_columns if made.search(c.default or "") or (c.generated and not c.default))
        return next(found, "")


def _is_comparable(column: TableColumn) -> bool:
    is_plain = column.category in _PLAIN_CATEGORIES and column.type not in {"float4", "float8"}
    return (is_plain or column.type in _PLAIN_TYPES) and not column.generated


def weigh(case: Case, column: TableColumn) -> list[Evidence]:
    """All that speaks for a column, and against it."""
    return [found for question in QUESTIONS for found in question(case, column)]


# For


def _age(case: Case, column: TableColumn) -> Iterator[Evidence]:
    is_later = column.number > case.last_of_key
    if not case.has_ages:
        if is_later:
            yield Evidence(1, "It comes after the key's columns in the table.")
    elif column.age < case.index.age and column.number > case.last_older:
        yield Evidence(3, "It was added after this index.")
    elif column.age == max(each.age for each in case.columns):
        yield Evidence(-2, "It is as old as the table.")
    else:
        yield Evidence(-1, "It was in the table when this index was made.")


def _name(_: Case, column: TableColumn) -> Iterator[Evidence]:
    word = column_names.subject(column.name)
    if column_names.is_actor(column.name) or column_names.is_time(column.name) or column_names.is_flag(column.name):
        return
    if word in column_names.TENANTS:
        yield Evidence(2, f"Its name says whose row it is: {word}.")
    elif word in column_names.KINDS:
        yield Evidence(2, f"Its name says of what kind a row is: {word}.")


def _other_index(case: Case, column: TableColumn) -> Iterator[Evidence]:
    wanted = {*case.index.key, column.name}
    if names := [index.name for index in case.others if wanted <= set(index.columns)]:
        has = "has" if len(names) == 1 else "have"
        yield Evidence(3, f"{join_names(names)} {has} the key and this column.")


def _few_values(_: Case, column: TableColumn) -> Iterator[Evidence]:
    rows, count = column.rows, column.distinct_values
    if count is None or rows is None or rows < FEWEST_ROWS or not 0 < count <= max(FEW, rows / 100):
        return
    number = "one value" if round(count) == 1 else f"about {format_count(round(count))} values"
    yield Evidence(1, f"It has few distinct values: {number} in about {format_count(round(rows))} rows.")


def _default(_: Case, column: TableColumn) -> Iterator[Evidence]:
    if column.not_null and column.default and _CONSTANT.fullmatch(column.default):
        weight = 0.5 if column.category in "BN" else 2
        yield Evidence(weight, "NOT NULL with a constant default: rows that were there before it got the same value.")


def _siblings(case: Case, column: TableColumn) -> Iterator[Evidence]:
    """Unique keys of other tables with a column of this name among others."""
    having = [rule for rule in case.rules if len(rule.key) > 1 and column.name in rule.key]
    if not having:
        return
    alike = [rule for rule in having if set(case.index.key) & set(rule.key)]
    tables = sorted({rule.path for rule in alike or having})
    beside = f", beside {join_names(sorted(set(case.index.key) & set(alike[0].key)))}" if alike else ""
    others = f" and of {format_count(len(tables) - 1)} more" if len(tables) > 1 else ""
    yield Evidence(2 if alike or len(tables) > 1 else 1, f"It is in a unique key of {tables[0]}{others}{beside}.")


# Against


def _state(_: Case, column: TableColumn) -> Iterator[Evidence]:
    is_state = column_names.subject(column.name) in column_names.STATES or column_names.is_flag(column.name)
    if is_state or column_names.is_time(column.name) or column.type == "bool":
        yield Evidence(-3, "It looks like a state or a measure, which changes while the row stays the same.")


def _text(_: Case, column: TableColumn) -> Iterator[Evidence]:
    if column_names.subject(column.name) in column_names.TEXTS:
        yield Evidence(-3, "It looks like contents, not like a part of what identifies a row.")


def _actor(_: Case, column: TableColumn) -> Iterator[Evidence]:
    if column_names.is_actor(column.name):
        yield Evidence(-3, "It says who did something.")


def _own_values(_: Case, column: TableColumn) -> Iterator[Evidence]:
    rows, count = column.rows, column.distinct_values
    if column.alone:
        yield Evidence(-4, "A unique index has it alone: with it in the key this index would require nothing.")
    elif rows and count and rows >= FEWEST_ROWS and count >= rows * SAME_IN_FEW:
        yield Evidence(-4, "Most rows have a value of their own in it: with it in the key few would ever conflict.")


def _implied(case: Case, column: TableColumn) -> Iterator[Evidence]:
    """A column that a row of the key refers to has already."""
    for reference in case.references:
        by = [name for name in reference.columns if name in case.index.key]
        if by and column.name in reference.target_columns:
            has = f"{reference.target}, to which {join_names(by)} refers, has it, too"
            yield Evidence(-4, f"A foreign key implies it: {has}.")
            return


def _token(case: Case, _: TableColumn) -> Iterator[Evidence]:
    found = [name for name in case.index.key if column_names.subject(name) in column_names.TOKENS]
    if found:
        yield Evidence(-2, f"The key has {join_names(found)}, which looks unique by itself.")


QUESTIONS: tuple[Callable[[Case, TableColumn], Iterator[Evidence]], ...] = (
    *(_age, _other_index, _name, _default, _few_values, _siblings),
    *(_implied, _own_values, _state, _text, _actor, _token),
)
