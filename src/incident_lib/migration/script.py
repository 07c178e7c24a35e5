"""The migration and the rollback as idempotent SQL: one file for psql, or numbered files for a migrations folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from incident_lib.model import BUILD_NAME, INDEX_NAME, KEYS, PREDICATE, RETIRED_NAME, SCHEMA, TABLE, IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
-- {what}: the key of the unique index becomes {key}. Run it with psql -v ON_ERROR_STOP=1 and outside a transaction:
-- CONCURRENTLY is not allowed in one. If it is interrupted, run it again: the result is the same.
"""

_FILE_HEAD = """\
-- {what}, file {place} of {count}. {purpose}
-- Run it statement by statement and outside a transaction, as psql -v ON_ERROR_STOP=1 -f does: CONCURRENTLY is not
-- allowed in a transaction. If it fails or is interrupted, run it again, and then the files after it.
"""

# A timeout would end a build or a drop in its waits, and leave an invalid index. transaction_timeout is there since 17.
_SETTINGS = """\
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_session_timeout = 0;
DO $$ BEGIN
  PERFORM set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
END $$;
SET quote_all_identifiers = off;
"""

# A client that goes on after an error reads only from then on: no statement after a failed check changes anything.
_ONLY_IF: LiteralString = """\
SET default_transaction_read_only = on;
DO $$ BEGIN
  IF {stop} THEN
    RAISE EXCEPTION {message};
  END IF;
  RESET default_transaction_read_only;
END $$;
"""

# A complete unique index under that name: by its flags, and by its definition as PostgreSQL prints it.
_COMPLETE: LiteralString = """\
EXISTS (
    SELECT FROM pg_index
    WHERE indexrelid = to_regclass({index}) AND indrelid = to_regclass({table})
      AND indisunique AND indisvalid AND indisready AND indislive
      AND (SELECT relkind FROM pg_class WHERE oid = indexrelid) = 'i' -- not of a partitioned table
      AND pg_get_indexdef(indexrelid) ~ {definition})"""
_DEFINITION = r"\({key}\).* WHERE \(\(?is_active( = true)?\)? AND \(root_prompt_row_id IS NOT NULL\)\)$"

# The files cannot depend on what the catalog holds: the new index is a plain one.
_LOST: LiteralString = """\
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
             WHERE c.oid = to_regclass({index})
               AND (c.reltablespace <> 0 OR c.reloptions IS NOT NULL OR i.indnatts > i.indnkeyatts)) THEN
    RAISE WARNING 'The new index will not have the tablespace, storage parameters and INCLUDE columns of %. '
      'The incident command keeps them.', {index};
  END IF;
END $$;
"""

_SEVERAL: LiteralString = """\
EXISTS (SELECT FROM {table} WHERE {predicate} AND owner_id IS NOT NULL GROUP BY {key} HAVING count(*) > 1)"""

# One statement, so that both names change or none does. Where the names have changed already there is nothing to do.
_SWAP: LiteralString = """\
DO $$ BEGIN
  IF to_regclass({build}) IS NULL AND {swapped} THEN
    RETURN;
  END IF;
  IF NOT {built} THEN
    RAISE EXCEPTION '% is missing or not complete: run the file that builds it again', {build};
  END IF;
  IF NOT {current} THEN
    RAISE EXCEPTION '% is missing, not complete or not as expected: use the incident command', {index};
  END IF;
  IF to_regclass({retired}) IS NOT NULL THEN
    RAISE EXCEPTION '% is in the way: run the file that drops it again', {retired};
  END IF;
  PERFORM set_config('lock_timeout', '2s', true);
  ALTER INDEX {index_path} RENAME TO {retired_name};
  ALTER INDEX {build_path} RENAME TO {index_name};
  EXECUTE format('COMMENT ON INDEX {index_path} IS %L', obj_description(to_regclass({retired}), 'pg_class'));
END $$;
"""

_WHAT = {IndexKind.FIXED: "Apply the fix", IndexKind.ORIGINAL: "Roll the fix back"}


@dataclass(frozen=True)
class _File:
    """One file: its name without number, what it is for, and its statements."""

    name: str
    purpose: str
    text: str


def migration_files(target: IndexKind) -> list[tuple[str, str]]:
    """The SQL files of the plan to `target`, in order: their names, and their texts.

    Each file sets its own timeouts and checks what it needs, so that a retry that begins with the file that failed
    finishes. They require a complete unique index under its official name. In any other state they stop with a
    message and change nothing; `incident apply` continues from every state.
    """
    files = list(_files(target))
    return [
        (f"{place:02d}_{file.name}.sql", _text(target, file, place, len(files))) for place, file in enumerate(files, 1)
    ]


def _text(target: IndexKind, file: _File, place: int, count: int) -> str:
    head = _FILE_HEAD.format(what=_WHAT[target], place=place, count=count, purpose=file.purpose)
    return head + _SETTINGS + file.text


def migration_script(target: IndexKind) -> str:
    """The same as one file for psql."""
    head = _HEAD.format(what=_WHAT[target], key=f"({', '.join(KEYS[target])})")
    return "\n".join([head + _SETTINGS, *(f"-- {file.purpose}\n{file.text}" for file in _files(target))])


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


def _files(target: IndexKind) -> Iterator[_File]:
    key = sql.SQL(", ").join(map(sql.Identifier, KEYS[target]))
    drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {};\n")
    build = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({}) WHERE " + PREDICATE + ";\n")
    drop_retired, drop_unfinished = (drop.format(_index(name)).as_string() for name in (RETIRED_NAME, BUILD_NAME))
    lost = sql.SQL(_LOST).format(index=_path(INDEX_NAME)).as_string()
    check = _only_if_complete(INDEX_NAME, *KEYS)  # else a drop could drop the last unique index that is enforced
    yield _File("check", "Check that a complete unique index is enforced.", check + lost)
    yield _File("drop_retired", "Drop the index that an earlier run has left.", check + drop_retired)
    yield _File(
        "build",
        "Build the new index, after what an earlier build has left is dropped.",
        check
        + drop_unfinished  # it may be enforced, and reject what the check of the data looks for
        + (_only_if_it_fits(target) if target is IndexKind.ORIGINAL else "")
        + build.format(sql.Identifier(BUILD_NAME), _table(), key).as_string(),
    )
    yield _File("swap", "Give the new index the official name; both names change, or none does.", _swap(target))
    yield _File("retire", "Drop the old index.", _only_if_complete(INDEX_NAME, target) + drop_retired)


def _only_if_complete(name: str, *kinds: IndexKind) -> str:
    text = sql.SQL("'% is missing, not complete or not as expected: use the incident command', {}")
    stop = sql.SQL("NOT ") + _complete(name, *kinds)
    return sql.SQL(_ONLY_IF).format(stop=stop, message=text.format(_path(name))).as_string()


def _only_if_it_fits(target: IndexKind) -> str:
    data = {"table": _table(), "predicate": sql.SQL(PREDICATE)}
    key = sql.SQL(", ").join(map(sql.Identifier, KEYS[target]))
    message = sql.SQL("'families hold several active threads: the {} index cannot hold them'")
    stop = sql.SQL(_SEVERAL).format(key=key, **data)
    return sql.SQL(_ONLY_IF).format(stop=stop, message=message.format(sql.SQL(target.value))).as_string()


def _complete(name: str, *kinds: IndexKind) -> sql.Composed:
    keys = "|".join(", ".join(KEYS[kind]) for kind in kinds)
    definition = _DEFINITION.format(key=f"({keys})" if len(kinds) > 1 else keys)
    return sql.SQL(_COMPLETE).format(index=_path(name), table=_path(TABLE), definition=_regex(definition))


def _regex(text: str) -> sql.SQL:
    """A pattern of this module as a literal; psycopg would write it as E'…', with each backslash twice."""
    return sql.SQL(f"'{text}'")


def _swap(target: IndexKind) -> str:
    names = {
        "build": _path(BUILD_NAME),
        "retired": _path(RETIRED_NAME),
        "index": _path(INDEX_NAME),
        "index_path": _index(INDEX_NAME),
        "build_path": _index(BUILD_NAME),
        "index_name": sql.Identifier(INDEX_NAME),
        "retired_name": sql.Identifier(RETIRED_NAME),
    }
    states = {
        "swapped": _complete(INDEX_NAME, target),
        "built": _complete(BUILD_NAME, target),
        "current": _complete(INDEX_NAME, *KEYS),
    }
    return sql.SQL(_SWAP).format(**names, **states).as_string()


def _table() -> sql.Identifier:
    return sql.Identifier(SCHEMA, TABLE)


def _index(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)


def _path(name: str) -> sql.Literal:
    return sql.Literal(f"{SCHEMA}.{name}")
