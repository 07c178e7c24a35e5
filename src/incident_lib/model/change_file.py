"""A file that describes a change of a unique index: TOML, read into `IndexChange` or refused with one message."""

from __future__ import annotations

from typing import Literal

import msgspec

from incident_lib.model.change import LONGEST_NAME, IndexChange, IndexKey, is_expression
from incident_lib.model.errors import Refused, UsageError
from incident_lib.model.typed import as_type

EXAMPLE_CHANGE = """\
table = "shop.products"            # with its schema
index = "products_slug_key"        # its name, before and after the change
key_before = ["slug"]
key_after = ["tenant_id", "slug"]  # an expression stands in parentheses: "(COALESCE(tenant_id, 0))"
predicate = "deleted_at IS NULL"   # of a partial index; without it, all rows are covered
constraint = false                 # true: the index backs a UNIQUE constraint of its name
nulls_before = "distinct"          # "not distinct": the index is NULLS NOT DISTINCT
nulls_after = "distinct"           # the same of the new index; without it, as before
not_unique_where_null = []         # parts of key_after: rows that hold NULL in one of them may be duplicates
"""
Nulls = Literal["distinct", "not distinct"]
_NEXT = "docs/migration.md has the format, with an example."


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The keys of the file."""

    table: str
    index: str
    key_before: list[str]
    key_after: list[str]
    predicate: str | None = None
    predicate_before: str | None = None
    predicate_after: str | None = None
    constraint: bool = False
    nulls_before: Nulls = "distinct"
    nulls_after: Nulls | None = None
    not_unique_where_null: list[str] = []


def parse_change(text: str, name: str) -> IndexChange:
    """Read a change from the text of a file.

    Args:
        text: TOML; `EXAMPLE_CHANGE` has all keys.
        name: the file's, as `--change` named it.

    Raises:
        UsageError: it is no TOML, lacks a key, or has one that is unknown or of another type.
        Refused: it is another change than a widening of the key of one index.
    """
    import tomllib  # not where no file is read: most commands read none

    try:
        found = as_type(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise _bad(name, f"It is no TOML: {error}.") from None
    except msgspec.ValidationError as error:
        raise _bad(name, f"{str(error).replace('$.', '')}.") from None
    schema, _, table = found.table.partition(".")
    _check_names(name, found, schema, table)
    _require_widening(name, found)
    nulls_after = found.nulls_after or found.nulls_before
    _check_nulls(name, found, nulls_after)
    return IndexChange(
        name,
        schema,
        table,
        found.index,
        IndexKey(tuple(found.key_before), found.nulls_before == "not distinct"),
        IndexKey(tuple(found.key_after), nulls_after == "not distinct"),
        found.predicate,
        constraint=found.constraint,
        not_unique_where_null=frozenset(found.not_unique_where_null),
    )


def _bad(name: str, why: str) -> UsageError:
    return UsageError(f"{name} does not describe a change of an index.", why, _NEXT)


def _check_names(name: str, found: _File, schema: str, table: str) -> None:
    """Names that PostgreSQL can have, and keys with one part or more, none of them twice."""
    if not schema or not table or "." in table:
        raise _bad(name, f"table is {found.table!r}, and not a schema and a table with one dot between them.")
    columns = (part for part in found.key_before + found.key_after if not is_expression(part))
    for each in (schema, table, found.index, *columns):
        if not each or "\0" in each or len(each.encode()) > LONGEST_NAME:
            raise _bad(name, f"{each!r} is no name: names have 1 to {LONGEST_NAME} bytes.")
    for which, parts in (("key_before", found.key_before), ("key_after", found.key_after)):
        if not parts or len(set(parts)) != len(parts):
            raise _bad(name, f"{which} is {parts}: it has one part or more, and none of them twice.")
    if found.constraint and (found.predicate or any(map(is_expression, found.key_before + found.key_after))):
        raise _bad(name, "A UNIQUE constraint has neither a predicate nor an expression.")


def _check_nulls(name: str, found: _File, nulls_after: Nulls) -> None:
    """Rows that hold NULL may be duplicates only in parts of the new key, and only of an index that allows them."""
    if other := [part for part in found.not_unique_where_null if part not in found.key_after]:
        raise _bad(name, f"not_unique_where_null has {', '.join(other)}, which is not in key_after.")
    if found.not_unique_where_null and nulls_after == "not distinct":
        raise _bad(name, "not_unique_where_null has parts of the key, and the new index is NULLS NOT DISTINCT.")


def _require_widening(name: str, found: _File) -> None:
    """Refuse what is not applied: another predicate, a key that loses a part, or one that gains none."""
    what, advice = f"The change in {name} is not applied.", "Write a migration of your own for it."
    if found.predicate_before != found.predicate_after:
        why = "It changes the predicate: rows that the old index does not cover may be duplicates, and the build fails."
        raise Refused(what, why, advice)
    if found.predicate_before is not None:
        raise _bad(name, "The predicate is the same before and after: its key is `predicate`.")
    if lost := [part for part in found.key_before if part not in found.key_after]:
        why = f"The new key lacks {', '.join(lost)}: rows that the old index allows may be duplicates."
        raise Refused(what, f"{why} The build then fails.", advice)
    if set(found.key_before) == set(found.key_after):
        raise Refused(what, "The new key has the same parts as the old one.", "Add what must be part of the key.")
