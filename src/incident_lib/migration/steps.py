"""The single steps that the plans for an ordinary and for a partitioned table are made of. No connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from incident_lib.database import key_sql, table_sql, written
from incident_lib.model import IndexKind, Step, UniqueIndex

if TYPE_CHECKING:
    from incident_lib.model import Catalog, IndexChange

PER_TRY = "at most {} ms per try, then a pause"
ONE_LOCK, SEVERAL_LOCKS = PER_TRY.format(200), PER_TRY.format(500)
NO_WAIT = "SHARE UPDATE EXCLUSIVE on {}: no read or write waits for it; it steps back for DDL"
ON_INDEX = "SHARE UPDATE EXCLUSIVE on the indexes alone, no lock on the table"
ON_CONSTRAINT = "ACCESS EXCLUSIVE on {}: reads and writes wait, " + ONE_LOCK
OTHER_KIND = {IndexKind.ORIGINAL: IndexKind.FIXED, IndexKind.FIXED: IndexKind.ORIGINAL}
NAME_NEEDED = "its name is needed, and other complete unique indexes are there"


def new_index(change: IndexChange, target: IndexKind, name: str, replaced: UniqueIndex | None) -> UniqueIndex:
    """The target's index, complete; it takes over the properties of the index that it replaces, if one is given."""
    key = change.key(target)
    return UniqueIndex(
        name,
        "",
        tuple(part if part in key.columns else None for part in key.parts),
        change.predicate,
        unique=True,
        nulls_not_distinct=key.nulls_not_distinct,
        valid=True,
        ready=True,
        live=True,
        include=kept_columns(replaced, target) if replaced else (),
        storage=replaced.storage if replaced else (),
        tablespace=replaced.tablespace if replaced else None,
        schema=change.schema,
        expressions=key.expressions,
        change=change,
    )


def kept_columns(replaced: UniqueIndex, target: IndexKind) -> tuple[str, ...]:
    """The INCLUDE columns that the target's index takes over: those that are not in its key."""
    return tuple(column for column in replaced.include if column not in replaced.change.key(target).parts)


def preference(index: UniqueIndex) -> tuple[int, str]:
    """The order in which complete indexes of one kind are kept."""
    order = index.change.names
    return (order.index(index.name) if index.name in order else len(order), index.name)


def replaced_index(catalog: Catalog, target: IndexKind) -> UniqueIndex | None:
    """The index of the other kind whose properties a build of the target's index takes over."""
    others = (index for index in catalog.of(OTHER_KIND[target]) if index.partition is None)
    return min(others, key=lambda index: (not index.usable, preference(index)), default=None)


def create_index(name: str, table: sql.Composable, how: sql.SQL, like: UniqueIndex) -> str:
    """CREATE UNIQUE INDEX with the key and the properties of `like`; `how` holds its two variable words."""
    parts: list[sql.Composable] = [how.format(name=sql.Identifier(name), table=table, key=key_sql(like.parts))]
    if like.include:
        parts.append(sql.SQL("INCLUDE ({})").format(key_sql(like.include)))
    if like.nulls_not_distinct:
        parts.append(sql.SQL("NULLS NOT DISTINCT"))
    if like.storage:
        parts.append(sql.SQL("WITH ({})").format(sql.SQL(", ").join(map(_parameter, like.storage))))
    if like.tablespace:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(like.tablespace)))
    if like.predicate is not None:
        parts.append(sql.SQL("WHERE {}").format(written(like.predicate)))
    return sql.SQL(" ").join(parts).as_string()


def drop_index(index: UniqueIndex, why: str) -> Step:
    """Drop an index of an ordinary table: CONCURRENTLY, unless it backs a constraint."""
    if not index.constraint:
        name = sql.Identifier(index.schema, index.name)
        statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(name).as_string()
        lock = NO_WAIT.format(index.change.path)
        return Step("drop", (statement,), lock, transaction=False, drops=index.name, why=why)
    drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
        table_sql(index.change), sql.Identifier(index.constraint)
    )
    return Step(
        "drop",
        (drop.as_string(),),
        ON_CONSTRAINT.format(index.change.path),
        transaction=True,
        drops=index.name,
        blocks_clients=True,
        why=why,
    )


def kept_back(change: IndexChange) -> str:
    """Why a rollback drops the index from after the change."""
    stricter = ", and is the stricter one" if change.only_widens else ""
    return f"the {change.label(IndexKind.ORIGINAL)} index is complete{stricter}"


def wait(index: UniqueIndex, why: str) -> Step:
    """Wait for another session that builds an index, or may be building it."""
    return Step("wait", (), "none", transaction=False, waits_for=index.name, why=why)


def swap(keep: UniqueIndex, current: UniqueIndex | None, spare: list[str], comment: str | None) -> Step:
    """Give one index the official name, and the index that has it the first spare one, in one transaction."""
    change = keep.change
    renames = [(current.name, spare[0])] if current else []
    renames.append((keep.name, change.index))
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    statements = [rename.format(sql.Identifier(change.schema, old), sql.Identifier(new)) for old, new in renames]
    return Step(
        "swap",
        tuple(s.as_string() for s in [*statements, *_comment_on_index(change, comment)]),
        ON_INDEX,
        transaction=True,
        renames=tuple(renames),
        why="both indexes are renamed in one transaction, so that a unique index is enforced at all times",
    )


def constrain(keep: UniqueIndex, current: UniqueIndex | None) -> Step:
    """Make one index that of the UNIQUE constraint, in place of the index that backs it now, in one statement."""
    change = keep.change
    add = sql.SQL("ADD CONSTRAINT {} UNIQUE USING INDEX {}")
    actions = [add.format(sql.Identifier(change.index), sql.Identifier(keep.name))]
    if current:
        actions.insert(0, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(change.index)))
    table = table_sql(change)
    statements: list[sql.Composable] = [sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(actions))]
    statements += _comment_on_index(change, current.comment if current else None)
    if current and current.constraint_comment:
        comment = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
        text = sql.Literal(current.constraint_comment)
        statements.append(comment.format(sql.Identifier(change.index), table, text))
    return Step(
        "swap" if current else "constraint",
        tuple(s.as_string() for s in statements),
        ON_CONSTRAINT.format(change.path),
        transaction=True,
        drops=current.name if current else None,
        renames=((keep.name, change.index),),
        constrains=change.index,
        blocks_clients=True,
        why="the constraint changes its index in one statement, so that a unique index is enforced at all times",
    )


def _comment_on_index(change: IndexChange, comment: str | None) -> list[sql.Composable]:
    name = sql.Identifier(change.schema, change.index)
    return [sql.SQL("COMMENT ON INDEX {} IS {}").format(name, sql.Literal(comment))] if comment else []


def may_be_building(pids: tuple[int, ...]) -> str:
    """Why an incomplete index is waited for, in words."""
    if len(pids) == 1:
        return f"pid {pids[0]} holds SHARE UPDATE EXCLUSIVE on the table: it may be building this index"
    named = ", ".join(map(str, pids))
    return f"the sessions with pid {named} hold SHARE UPDATE EXCLUSIVE on the table: one may be building this index"


def _parameter(option: str) -> sql.Composed:
    """A storage parameter, which the catalog holds as `name=value`."""
    name, _, value = option.partition("=")
    return sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
