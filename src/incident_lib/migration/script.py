"""A change and its rollback as idempotent SQL: one file for psql, or numbered files for a migrations folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from incident_lib.database import covered_sql, key_sql, table_sql, written
from incident_lib.migration.steps import create_index, new_index
from incident_lib.model import DEFAULT_CHANGE, SIDES, IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import IndexChange, IndexKey

_HEAD = """\
-- {what}: the key of the unique index becomes {key}. Run it with psql -v ON_ERROR_STOP=1 and outside a transaction:
-- CONCURRENTLY is not allowed in one. If it is interrupted, run it again: the result is the same.
"""

_FILE_HEAD = """\
-- {what}, file {place} of {count}. {about}
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
      AND indisunique AND NOT indisexclusion AND indisvalid AND indisready AND indislive
      AND (SELECT relkind FROM pg_class WHERE oid = indexrelid) = 'i' -- not of a partitioned table
      AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid) -- nor a part of the index of one
      AND pg_get_indexdef(indexrelid) ~ {definition})"""

# How PostgreSQL prints an expression, or a predicate, is not known here: it is asked what it makes of both texts.
_SAME: LiteralString = """\
SET default_transaction_read_only = on;
DO $$
DECLARE
  item text;
  made json;
  known text[];
BEGIN
  FOREACH item IN ARRAY {texts} LOOP
    EXECUTE format('EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT (%s) FROM ONLY %s', item, {table}) INTO made;
    known := known || (made -> 0 -> 'Plan' -> 'Output' ->> 0);
  END LOOP;
  FOR item IN
    SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = to_regclass({index}) AND indpred IS NOT NULL
    UNION ALL SELECT pg_get_indexdef(indexrelid, place, false) FROM pg_index, generate_series(1, indnkeyatts) AS place
    WHERE indexrelid = to_regclass({index}) AND indkey[place - 1] = 0
  LOOP
    EXECUTE format('EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT (%s) FROM ONLY %s', item, {table}) INTO made;
    IF (made -> 0 -> 'Plan' -> 'Output' ->> 0) <> ALL (known) THEN
      RAISE EXCEPTION '% has another predicate or expression than this change: %', {index}, item;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_index, unnest(indcollation::oid[]) AS own JOIN pg_collation c ON c.oid = own
             WHERE indexrelid = to_regclass({index}) AND {expressions} AND NOT c.collisdeterministic) THEN
    RAISE EXCEPTION '% has a collation that is not deterministic: use the incident command', {index};
  END IF;
  RESET default_transaction_read_only;
END $$;
"""

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

# Rows with NULL there are unique no more: the file of the change has to say that this is meant.
_NULLABLE: LiteralString = """\
EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = to_regclass({table}) AND attname = ANY ({columns}) AND attnum > 0 AND NOT attnotnull)"""

_SEVERAL: LiteralString = """\
EXISTS (SELECT FROM {table}{where} GROUP BY {key} HAVING count(*) > 1)"""

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
  EXECUTE format('COMMENT ON INDEX {index_text} IS %L', obj_description(to_regclass({retired}), 'pg_class'));
END $$;
"""

# The index of this UNIQUE constraint can be replaced: nothing else depends on it.
_REPLACEABLE: LiteralString = """\
EXISTS (
    SELECT FROM pg_constraint c JOIN pg_index i ON i.indexrelid = c.conindid
    WHERE c.conindid = to_regclass({index}) AND c.conrelid = to_regclass({table})
      AND c.contype = 'u' AND NOT c.condeferrable AND c.conislocal AND c.coninhcount = 0 AND NOT i.indisreplident
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.conindid AND contype = 'f')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_constraint'::regclass AND refobjid = c.oid
                        AND deptype = 'n' AND classid <> 'pg_constraint'::regclass))"""

# Something needs this index, or it backs a constraint: PostgreSQL would not drop it, after the names have changed.
_NEEDED: LiteralString = """\
EXISTS (SELECT FROM pg_constraint WHERE conindid = to_regclass({index}))
    OR EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({index}) AND indisreplident)"""

# One statement gives the constraint its new index. Reads and writes wait for it, for 200 ms at most: then it lets them
# go, and tries again. Between two tries no lock is held.
_RECONSTRAIN: LiteralString = """\
DO $$
DECLARE
  text_of_index text;
  text_of_constraint text;
BEGIN
  FOR try IN 1..{tries} LOOP
    IF to_regclass({build}) IS NULL AND {swapped} THEN
      RETURN;
    END IF;
    IF NOT {built} THEN
      RAISE EXCEPTION '% is missing or not complete: run the file that builds it again', {build};
    END IF;
    IF NOT {current} OR NOT {replaceable} THEN
      RAISE EXCEPTION '% is missing, not complete or not as expected: use the incident command', {index};
    END IF;
    SELECT obj_description(conindid, 'pg_class'), obj_description(oid, 'pg_constraint')
      INTO text_of_index, text_of_constraint FROM pg_constraint WHERE conindid = to_regclass({index});
    PERFORM set_config('lock_timeout', '200ms', true);
    BEGIN
      ALTER TABLE {table_path} DROP CONSTRAINT {index_name}, ADD CONSTRAINT {index_name}
        UNIQUE USING INDEX {build_name};
      EXECUTE format('COMMENT ON INDEX %s IS %L', to_regclass({index}), text_of_index);
      EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', {constraint}, to_regclass({table}), text_of_constraint);
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      NULL;
    END;
    COMMIT;
    PERFORM pg_sleep(0.2 + 0.8 * random());
    COMMIT;
  END LOOP;
  RAISE EXCEPTION 'other sessions hold locks on % at each of {tries} tries: run this file again', {table};
END $$;
"""
_TRIES = 120  # of 200 ms, with pauses of 200 to 1,000 ms between them: two minutes


@dataclass(frozen=True)
class _File:
    """One file: its name without number, what it is for, and its statements."""

    name: str
    about: str
    text: str


def migration_files(target: IndexKind, change: IndexChange = DEFAULT_CHANGE) -> list[tuple[str, str]]:
    """The SQL files of the plan to `target`, in order: their names, and their texts.

    Each file sets its own timeouts and checks what it needs, so that a retry that begins with the file that failed
    finishes. They require a complete unique index under its official name. In any other state they stop with a
    message and change nothing; `incident apply` continues from every state.
    """
    script = _Script(change, target)
    files = list(script.files())
    return [
        (
            f"{place:02d}_{file.name}.sql",
            _FILE_HEAD.format(what=script.what, place=place, count=len(files), about=file.about)
            + _SETTINGS
            + file.text,
        )
        for place, file in enumerate(files, 1)
    ]


def migration_script(target: IndexKind, change: IndexChange = DEFAULT_CHANGE) -> str:
    """The same as one file for psql."""
    script = _Script(change, target)
    head = _HEAD.format(what=script.what, key=change.key(target))
    return "\n".join([head + _SETTINGS, *(f"-- {file.about}\n{file.text}" for file in script.files())])


@dataclass(frozen=True)
class _Script:
    """The files of a change, to a target."""

    change: IndexChange
    target: IndexKind

    @property
    def what(self) -> str:
        """What the files do."""
        act = self.change.wording.act
        return f"Apply {act}" if self.target is IndexKind.FIXED else f"Roll {act} back"

    def files(self) -> Iterator[_File]:
        """The files, in order."""
        lost = sql.SQL(_LOST).format(index=self._path(self.change.index)).as_string()
        yield _File("check", "Check that a complete unique index is enforced.", self._check() + lost)
        if not self.change.constraint:
            drop = self._check() + self._drop(self.change.retired_name)
            yield _File("drop_retired", "Drop the index that an earlier run has left.", drop)
        yield _File(
            "build",
            "Build the new index, after what an earlier build has left is dropped.",
            self._check()
            + self._drop(self.change.build_name)  # it may be enforced, and reject what the check of the data looks for
            + ("" if self.target is IndexKind.FIXED and self.change.only_widens else self._only_if_it_fits())
            + self._build(),
        )
        if self.change.constraint:
            about = "Make it the index of the constraint, in place of the old one, which is dropped; both or nothing."
            yield _File("swap", about, self._swap(_RECONSTRAIN))
            return
        yield _File("swap", "Give the new index the official name; both names change, or none does.", self._swap(_SWAP))
        retire = self._only_if_complete(self.change.index, self.target) + self._drop(self.change.retired_name)
        yield _File("retire", "Drop the old index.", retire)

    def _drop(self, name: str) -> str:
        return sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {};\n").format(self._index(name)).as_string()

    def _check(self) -> str:
        """Stop where the last unique index that is enforced could be dropped, or what depends on it."""
        complete = self._only_if_complete(self.change.index, *SIDES) + self._only_if_same()
        complete += self._only_if_nulls_are_chosen()
        if not self.change.constraint:
            return complete + self._only_if_free()
        text = (
            "'% backs no UNIQUE constraint of this table alone that can be replaced: it is deferrable or inherited, a "
            "foreign key, a function or the replica identity needs it, or there is none', {}"
        )
        message = sql.SQL(text).format(self._path(self.change.index))
        stop = sql.SQL("NOT ") + self._replaceable()
        return complete + sql.SQL(_ONLY_IF).format(stop=stop, message=message).as_string()

    def _only_if_free(self) -> str:
        """Stop where PostgreSQL would not drop the old index; of a partial one nothing like that can be."""
        if self.change.predicate:
            return ""
        index = self._path(self.change.index)
        text = sql.SQL("'% backs a constraint, or a foreign key or the replica identity needs it', {}").format(index)
        return sql.SQL(_ONLY_IF).format(stop=sql.SQL(_NEEDED).format(index=index), message=text).as_string()

    def _replaceable(self) -> sql.Composed:
        return sql.SQL(_REPLACEABLE).format(index=self._path(self.change.index), table=self._path(self.change.table))

    def _build(self) -> str:
        how = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({key})")
        made = new_index(self.change, self.target, self.change.build_name, None)
        return create_index(made.name, table_sql(self.change), how, made) + ";\n"

    def _only_if_complete(self, name: str, *kinds: IndexKind) -> str:
        text = sql.SQL("'% is missing, not complete or not as expected: use the incident command', {}")
        stop = sql.SQL("NOT ") + self._complete(name, *kinds)
        return sql.SQL(_ONLY_IF).format(stop=stop, message=text.format(self._path(name))).as_string()

    def _only_if_same(self) -> str:
        """Stop where the index has another predicate or expression."""
        change = self.change
        expressions = [*dict.fromkeys(change.before.expressions + change.after.expressions)]
        texts = [*([change.predicate] if change.predicate else []), *expressions]
        if change.printed_predicate or not texts:
            return ""
        return (
            sql.SQL(_SAME)
            .format(
                texts=sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(map(sql.Literal, texts))),
                expressions=sql.Literal(bool(expressions)),
                table=sql.Literal(table_sql(change).as_string()),
                index=self._path(change.index),
            )
            .as_string()
        )

    def _only_if_nulls_are_chosen(self) -> str:
        """Stop where rows with NULL would be unique no more, and the file does not say that this is meant."""
        if self.target is not IndexKind.FIXED or not self.change.kept_unique:
            return ""
        names = ", ".join(self.change.kept_unique)
        which = names if len(self.change.kept_unique) == 1 else f"one of {names}"
        why = f"{which} may be NULL, and rows with NULL there would be unique no more"
        text = f"{why}: incident plan lists what can be chosen"
        columns = sql.Literal([*self.change.kept_unique])
        stop = sql.SQL(_NULLABLE).format(table=self._path(self.change.table), columns=columns)
        return sql.SQL(_ONLY_IF).format(stop=stop, message=sql.SQL("'%', ") + sql.Literal(text)).as_string()

    def _only_if_it_fits(self) -> str:
        label = self.change.label(self.target)
        text = f"{self.change.wording.several}: the {label} index cannot hold them"
        key = self.change.key(self.target)
        several = sql.SQL(_SEVERAL).format(
            table=table_sql(self.change), where=covered_sql(self.change, key), key=key_sql(key.parts)
        )
        return sql.SQL(_ONLY_IF).format(stop=several, message=sql.Literal(text)).as_string()

    def _complete(self, name: str, *kinds: IndexKind) -> sql.Composed:
        definition = _definition(self.change, [self.change.key(kind) for kind in kinds])
        return sql.SQL(_COMPLETE).format(
            index=self._path(name), table=self._path(self.change.table), definition=_regex(definition)
        )

    def _swap(self, text: LiteralString) -> str:
        index, build, retired = self.change.names
        names = {
            "table": self._path(self.change.table),
            "table_path": table_sql(self.change),
            "build_name": sql.Identifier(build),
            "constraint": sql.Literal(self.change.index),
            "tries": sql.Literal(_TRIES),
            "build": self._path(build),
            "retired": self._path(retired),
            "index": self._path(index),
            "index_path": self._index(index),
            "index_text": written(self._index(index).as_string().replace("'", "''").replace("%", "%%")),  # of format()
            "build_path": self._index(build),
            "index_name": sql.Identifier(index),
            "retired_name": sql.Identifier(retired),
        }
        states = {
            "swapped": self._complete(index, self.target),
            "built": self._complete(build, self.target),
            "current": self._complete(index, *SIDES),
            "replaceable": self._replaceable(),
        }
        return sql.SQL(text).format(**names, **states).as_string()

    def _index(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.change.schema, name)

    def _path(self, name: str) -> sql.Literal:
        path = f"{self.change.schema}.{name}"
        return sql.Literal(path if _PLAIN.fullmatch(path) else self._index(name).as_string())


_PLAIN = re.compile(r"[a-z_][a-z0-9_]*[.][a-z_][a-z0-9_]*")


_EQUAL_NULLS, _DISTINCT_NULLS = r"( INCLUDE \(.+\))? NULLS NOT DISTINCT.*", "(?!.* NULLS NOT DISTINCT).*"


def _definition(change: IndexChange, keys: list[IndexKey]) -> str:
    """A pattern of what PostgreSQL prints of a unique index with one of these keys on the change's rows.

    How it prints an expression, or the predicate of a table that is not the incident's, is not known here: see _SAME.
    """
    rows = change.printed_predicate
    if rows is None:
        rows = " WHERE .+$" if change.predicate else "$"
    texts = ["".join([*_printed(change, key)]) for key in keys]
    nulls = [_EQUAL_NULLS if key.nulls_not_distinct else _DISTINCT_NULLS for key in keys]
    if len(set(nulls)) == 1:
        either = texts[0] if len(texts) == 1 else f"({'|'.join(texts)})"
        return rf"\({either}\){nulls[0]}{rows}"
    return "|".join(rf"\({text}\){null}{rows}" for text, null in zip(texts, nulls, strict=True))


def _printed(change: IndexChange, key: IndexKey) -> Iterator[str]:
    """A key as a pattern; PostgreSQL quotes a name that is no plain word, or a reserved one."""
    quote = "" if change.printed_predicate else '"?'
    for place, part in enumerate(key.parts):
        name = re.escape(part.replace('"', '""'))
        text = ".+" if part in key.expressions else f"{quote}{name}{quote}"
        yield f"{', ' if place else ''}{text}"


def _regex(text: str) -> sql.Composable:
    """A pattern as a literal; psycopg would write it as E'…', with each backslash twice."""
    return written("'" + text.replace("'", "''") + "'")
