"""What people answered to the questions of a scan: a column does not belong in a key; both of two rules are needed.

The file holds names of the schema, which all environments of a project share: it can be committed. Nothing is written
into a database.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec

from incident_lib import paths
from incident_lib.model import UsageError, as_type

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = """\
# Answers to the questions of `incident scan`: [[no]], this column does not belong in the key of the index;
# [[both]], both unique rules are needed, although the wider one has no effect.
# An entry that is deleted is asked again.
"""
Column = tuple[str, str, str]  # table with its schema, index, column
Pair = tuple[str, str, str]  # table with its schema, narrower and wider index


@dataclass(frozen=True)
class Answers:
    """What people answered, and when.

    Attributes:
        no: that a column does not belong in the key of an index, by table, index and column.
        both: that two rules are both needed, by table, narrower and wider index.
    """

    no: dict[Column, date] = field(default_factory=dict)
    both: dict[Pair, date] = field(default_factory=dict)


class _No(msgspec.Struct, forbid_unknown_fields=True):
    """One answer."""

    table: str
    index: str
    column: str
    date: date


class _Both(msgspec.Struct, forbid_unknown_fields=True):
    """One answer about two rules."""

    table: str
    narrow: str
    wide: str
    date: date


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The file."""

    no: list[_No] = []
    both: list[_Both] = []


def read_answers(file: Path) -> Answers:
    """What people answered; nothing where there is no such file.

    Raises:
        UsageError: the file cannot be read, or does not hold such answers.
    """
    try:
        found = as_type(tomllib.loads(file.read_text("utf-8")), _File)
    except FileNotFoundError:
        return Answers()
    except OSError as error:
        raise _bad(file, f"{error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise _bad(file, f"{str(error).replace('$.', '')}.") from None
    return Answers(
        {(each.table, each.index, each.column): each.date for each in found.no},
        {(each.table, each.narrow, each.wide): each.date for each in found.both},
    )


def add_answer(file: Path, column: Column) -> date:
    """Remember that a column does not belong in the key of an index; an earlier answer stays as it is.

    Returns:
        When that was answered: today, or earlier.

    Raises:
        UsageError: the file holds something else.
        Failed: it cannot be written.
    """
    known = read_answers(file).no.get(column)
    return known or _add(file, "no", dict(zip(("table", "index", "column"), column, strict=True)))


def add_both(file: Path, pair: Pair) -> date:
    """Remember that two rules are both needed; an earlier answer stays as it is.

    Returns:
        When that was answered: today, or earlier.

    Raises:
        UsageError: the file holds something else.
        Failed: it cannot be written.
    """
    known = read_answers(file).both.get(pair)
    return known or _add(file, "both", dict(zip(("table", "narrow", "wide"), pair, strict=True)))


def _add(file: Path, answer: str, names: dict[str, str]) -> date:
    """Add an entry; what people wrote into the file stays."""
    today = datetime.now(UTC).date()
    lines = [f"[[{answer}]]", *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in names.items())]
    held = file.read_text("utf-8").rstrip("\n") + "\n" if file.exists() else _HEAD
    paths.replace_text(file, "\n".join([held, *lines, f"date = {today}", ""]))
    return today


def _bad(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file.name} does not hold answers to a scan.",
        why,
        "Correct it: [[no]] has table, index, column and date; [[both]] has table, narrow, wide and date.",
    )
