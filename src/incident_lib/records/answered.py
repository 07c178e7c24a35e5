"""What people answered to the questions of a scan: a column does not belong in the key of an index.

The file holds names of the schema, which all environments of a project share: it can be committed. Nothing is written
into a database.
"""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec

from incident_lib import paths
from incident_lib.model import UsageError, as_type

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = """\
# Answers to the questions of `incident scan`: these columns do not belong in the key of the index.
# An entry that is deleted is asked again.
"""
Column = tuple[str, str, str]  # table with its schema, index, column


class _No(msgspec.Struct, forbid_unknown_fields=True):
    """One answer."""

    table: str
    index: str
    column: str
    date: date


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The file."""

    no: list[_No] = []


def read_answers(file: Path) -> dict[Column, date]:
    """When a person answered with no, by table, index and column; nothing where there is no such file.

    Raises:
        UsageError: the file cannot be read, or does not hold such answers.
    """
    try:
        found = as_type(tomllib.loads(file.read_text("utf-8")), _File)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _bad(file, f"{error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise _bad(file, f"{str(error).replace('$.', '')}.") from None
    return {(each.table, each.index, each.column): each.date for each in found.no}


def add_answer(file: Path, column: Column) -> date:
    """Remember that a column does not belong in the key of an index; an earlier answer stays as it is.

    Returns:
        When that was answered: today, or earlier.

    Raises:
        UsageError: the file holds something else.
        Failed: it cannot be written.
    """
    known = read_answers(file)
    if column in known:
        return known[column]
    today = datetime.now(UTC).date()
    names = zip(("table", "index", "column"), column, strict=True)
    lines = ["[[no]]", *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in names)]
    held = file.read_text("utf-8").rstrip("\n") + "\n" if file.exists() else _HEAD
    paths.replace_text(file, "\n".join([held, *lines, f"date = {today}", ""]))
    return today


def _bad(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file.name} does not hold answers to a scan.",
        why,
        "Correct it: each answer is [[no]] with table, index, column and date.",
    )
