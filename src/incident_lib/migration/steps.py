"""The single steps that the plans for an ordinary and for a partitioned table are made of. No connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.model import BUILD_NAME, INDEX_NAME, KEYS, RETIRED_NAME, SCHEMA, IndexKind, Step, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from incident_lib.model import Catalog

ON_INDEX = "SHARE UPDATE EXCLUSIVE on the indexes alone, no lock on the table"
OTHER_KIND = {IndexKind.ORIGINAL: IndexKind.FIXED, IndexKind.FIXED: IndexKind.ORIGINAL}
NAME_NEEDED = "its name is needed, and other complete unique indexes are there"


def kept_columns(replaced: UniqueIndex, target: IndexKind) -> tuple[str, ...]:
    """The INCLUDE columns that the target's index takes over: those that are not in its key."""
    return tuple(column for column in replaced.include if column not in KEYS[target])


def preference(index: UniqueIndex) -> tuple[int, str]:
    """The order in which complete indexes of one kind are kept."""
    order = (INDEX_NAME, BUILD_NAME, RETIRED_NAME)
    return (order.index(index.name) if index.name in order else len(order), index.name)


def replaced_index(catalog: Catalog, target: IndexKind) -> UniqueIndex | None:
    """The index of the other kind whose properties a build of the target's index takes over."""
    others = (index for index in catalog.of(OTHER_KIND[target]) if index.partition is None)
    return min(others, key=lambda index: (not index.usable, preference(index)), default=None)


def create_index(name: str, table: sql.Composable, how: sql.SQL, like: UniqueIndex) -> str:
    """CREATE UNIQUE INDEX with the key and the properties of `like`; `how` holds its two variable words."""
    parts = [how.format(name=sql.Identifier(name), table=table, key=_identifiers(map(str, like.columns)))]
    if like.include:
        parts.append(sql.SQL("INCLUDE ({})").format(_identifiers(like.include)))
    if like.storage:
        parts.append(sql.SQL("WITH ({})").format(sql.SQL(", ").join(map(_parameter, like.storage))))
    if like.tablespace:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(like.tablespace)))
    return sql.SQL(" ").join([*parts, sql.SQL("WHERE {}").format(_raw(str(like.predicate)))]).as_string()


def wait(index: UniqueIndex, why: str) -> Step:
    """Wait for another session that builds an index, or may be building it."""
    return Step("wait", (), "none", transaction=False, waits_for=index.name, why=why)


def swap(keep: UniqueIndex, current: UniqueIndex | None, spare: list[str], comment: str | None) -> Step:
    """Give one index the official name, and the index that has it the first spare one, in one transaction."""
    renames = [(current.name, spare[0])] if current else []
    renames.append((keep.name, INDEX_NAME))
    statements = [
        sql.SQL("ALTER INDEX {} RENAME TO {}").format(qualified(old), sql.Identifier(new)) for old, new in renames
    ]
    if comment:
        statement = sql.SQL("COMMENT ON INDEX {} IS {}")
        statements.append(statement.format(qualified(INDEX_NAME), sql.Literal(comment)))
    return Step(
        "swap",
        tuple(s.as_string() for s in statements),
        ON_INDEX,
        transaction=True,
        renames=tuple(renames),
        why="both indexes are renamed in one transaction, so that a unique index is enforced at all times",
    )


def may_be_building(pids: tuple[int, ...]) -> str:
    """Why an incomplete index is waited for, in words."""
    if len(pids) == 1:
        return f"pid {pids[0]} holds SHARE UPDATE EXCLUSIVE on the table: it may be building this index"
    named = ", ".join(map(str, pids))
    return f"the sessions with pid {named} hold SHARE UPDATE EXCLUSIVE on the table: one may be building this index"


def qualified(name: str) -> sql.Identifier:
    """The name of a relation in the table's own schema."""
    return sql.Identifier(SCHEMA, name)


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _parameter(option: str) -> sql.Composed:
    """A storage parameter, which the catalog holds as `name=value`."""
    name, _, value = option.partition("=")
    return sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))


def _raw(text: str) -> sql.Composable:
    """SQL that the catalog or this project has written."""
    return sql.SQL(text)
