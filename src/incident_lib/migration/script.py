"""The migration and the rollback as idempotent SQL files: for psql, or one statement each for a migrations folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from incident_lib.model import BUILD_NAME, INDEX_NAME, KEYS, PREDICATE, RETIRED_NAME, SCHEMA, TABLE, IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
-- {what}: the key of the unique index becomes {key}. Run it with psql -v ON_ERROR_STOP=1 and outside a transaction:
-- CONCURRENTLY is not allowed in one. If it is interrupted, run it again: the result is the same.
"""

# Without a complete unique index under the official name the drops below could drop the last one.
_CHECK: LiteralString = """\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_index
                 WHERE indexrelid = to_regclass({path}) AND indisunique AND indisvalid AND indisready) THEN
    RAISE EXCEPTION '% is missing or not complete: apply the fix with the incident command', {name};
  END IF;
END $$"""

_CHECK_DATA: LiteralString = """\
DO $$ BEGIN
  IF EXISTS (SELECT FROM {table} WHERE {predicate} AND owner_id IS NOT NULL
             GROUP BY {key} HAVING count(*) > 1) THEN
    RAISE EXCEPTION 'families hold several active threads: {index} cannot hold them';
  END IF;
END $$"""

_SWAP: LiteralString = """\
BEGIN;
SET LOCAL lock_timeout = '2s';
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({build}) AND indisvalid) THEN
    RAISE EXCEPTION '% is not complete', {name};
  END IF;
END $$;
ALTER INDEX {index} RENAME TO {retired_name};
ALTER INDEX {build_index} RENAME TO {index_name};
DO $$ BEGIN
  EXECUTE format('COMMENT ON INDEX {index} IS %L', obj_description({retired}::regclass, 'pg_class'));
END $$;
COMMIT"""


def migration_files(target: IndexKind) -> list[tuple[str, str]]:
    """The SQL files of the plan to `target`, in order: their names, and one statement or transaction each.

    They require the ordinary state: a complete unique index under its official name. In any other state they stop
    with a message and change nothing; `incident apply` continues from every state.
    """
    return [(f"{place:02d}_{name}.sql", f"{statement};\n") for place, (name, statement) in enumerate(_all(target), 1)]


def migration_script(target: IndexKind) -> str:
    """The same as one file for psql."""
    what = "Apply the fix" if target is IndexKind.FIXED else "Roll the fix back"
    head = _HEAD.format(what=what, key=f"({', '.join(KEYS[target])})")
    settings = "SET statement_timeout = 0;\nSET lock_timeout = 0;\n"
    return "\n".join([head + settings, *(statement for _, statement in migration_files(target))])


def settling_sql(target: IndexKind) -> str:
    """The SQL that would resolve duplicates: of the active threads that share a key only the newest stays active.

    It is for people to read, change and run; nothing here runs it.
    """
    key = sql.SQL(", ").join(map(sql.Identifier, KEYS[target]))
    return sql.SQL(_SETTLE).format(table=_table(), key=key, predicate=sql.SQL(PREDICATE)).as_string()


_SETTLE: LiteralString = """\
UPDATE {table} SET is_active = false
WHERE row_id IN (
    SELECT row_id FROM (
        SELECT row_id, row_number() OVER (PARTITION BY {key} ORDER BY created_at DESC NULLS LAST, row_id) AS place
        FROM {table} WHERE {predicate} AND owner_id IS NOT NULL
    ) AS t WHERE place > 1
);"""


def _all(target: IndexKind) -> Iterator[tuple[str, str]]:
    key = sql.SQL(", ").join(map(sql.Identifier, KEYS[target]))
    drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
    drop_retired, drop_unfinished = (drop.format(_index(name)).as_string() for name in (RETIRED_NAME, BUILD_NAME))
    yield "check", sql.SQL(_CHECK).format(path=_path(INDEX_NAME), name=sql.Literal(INDEX_NAME)).as_string()
    yield "drop_retired", drop_retired
    if (
        target is IndexKind.ORIGINAL
    ):  # an index left by a failed build may be enforced: it is dropped before the data is checked
        data = {"table": _table(), "predicate": sql.SQL(PREDICATE), "key": key, "index": sql.SQL(INDEX_NAME)}
        yield "drop_failed", drop_unfinished
        yield "check_data", sql.SQL(_CHECK_DATA).format(**data).as_string()
    yield "drop_unfinished", drop_unfinished
    build = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} ({}) WHERE " + PREDICATE)
    yield "build", build.format(sql.Identifier(BUILD_NAME), _table(), key).as_string()
    yield "swap", _swap()
    yield "retire", drop_retired


def _swap() -> str:
    names = {
        "build": _path(BUILD_NAME),
        "name": sql.Literal(BUILD_NAME),
        "retired": _path(RETIRED_NAME),
        "index": _index(INDEX_NAME),
        "build_index": _index(BUILD_NAME),
        "index_name": sql.Identifier(INDEX_NAME),
        "retired_name": sql.Identifier(RETIRED_NAME),
    }
    return sql.SQL(_SWAP).format(**names).as_string()


def _table() -> sql.Identifier:
    return sql.Identifier(SCHEMA, TABLE)


def _index(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)


def _path(name: str) -> sql.Literal:
    return sql.Literal(f"{SCHEMA}.{name}")
