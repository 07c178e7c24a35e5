"""States that interruptions leave, made on a real server: from each of them both targets of each change are reached."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from incident_lib.database import covered_sql, key_sql, read_catalog, table_sql
from incident_lib.migration import apply, holds, plan_change, verify_catalog
from incident_lib.model.change import IndexKind
from tests.support.scenes import SCENES

ORIGINAL, FIXED = IndexKind.ORIGINAL, IndexKind.FIXED
COMPLETE, ENFORCED, FAILED, DEAD = "complete", "enforced", "failed", "dead"
FLAGS = {ENFORCED: (False, True, True), FAILED: (False, False, True), DEAD: (False, False, False)}
# Of each index: its kind, the place of its name among those of the change, and its flags.
STATES = {
    "nothing": [],
    "a build failed": [(ORIGINAL, 0, COMPLETE), (FIXED, 1, FAILED)],
    "a build was killed": [(ORIGINAL, 0, COMPLETE), (FIXED, 1, ENFORCED)],
    "built": [(ORIGINAL, 0, COMPLETE), (FIXED, 1, COMPLETE)],
    "swapped": [(FIXED, 0, COMPLETE), (ORIGINAL, 2, COMPLETE)],
    "a drop was killed": [(FIXED, 0, COMPLETE), (ORIGINAL, 2, ENFORCED)],
    "a drop is dead": [(FIXED, 0, COMPLETE), (ORIGINAL, 2, DEAD)],
    "only an incomplete one": [(ORIGINAL, 0, ENFORCED)],
    "three incomplete ones": [(ORIGINAL, 0, ENFORCED), (FIXED, 1, ENFORCED), (ORIGINAL, 2, ENFORCED)],
}


def create(connection, change, kind, place, flags):
    """An index of the change in such a state; the official one backs the constraint, if the change has one."""
    name, key = change.names[place], change.key(kind)
    if change.constraint and place == 0 and flags == COMPLETE:
        make = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE ({})")
        connection.execute(make.format(table_sql(change), sql.Identifier(name), key_sql(key.parts)))
        return
    make = sql.SQL("CREATE UNIQUE INDEX {} ON {} ({}){}{}").format(
        sql.Identifier(name),
        table_sql(change),
        key_sql(key.parts),
        sql.SQL(" NULLS NOT DISTINCT" if key.nulls_not_distinct else ""),
        covered_sql(change),
    )
    connection.execute(make)
    if flags != COMPLETE:
        connection.execute(
            "UPDATE pg_index SET indisvalid = %s, indisready = %s, indislive = %s WHERE indexrelid = %s::regclass",
            [*FLAGS[flags], f"{change.schema}.{name}"],
        )


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", SCENES)
def test_from_every_state(environment, name, state):
    """From each state the change and its rollback end in one index; some index is enforced after each step."""
    scene, change = SCENES[name], SCENES[name].change
    with psycopg.connect(environment.address, autocommit=True) as connection:
        for place, target in enumerate((FIXED, ORIGINAL)):
            if place == 0:
                scene.begin(connection)
            else:
                scene.reset(connection)
            drop = "ALTER TABLE {1} DROP CONSTRAINT {2}" if change.constraint else "DROP INDEX {0}.{2}"
            connection.execute(drop.format(change.schema, change.path, change.index))
            for each in STATES[state]:
                create(connection, change, *each)
            begun = any(index.enforced for index in read_catalog(connection, change).relevant_indexes)
            enforced = []

            def done(migration, enforced=enforced):
                enforced.append(any(index.enforced for index in migration.after.relevant_indexes))

            apply(environment, confirm="staging", change=change, target=target, done=done)
            catalog = read_catalog(connection, change)
            assert holds(verify_catalog(catalog, target))
            assert [index.name for index in catalog.relevant_indexes] == [change.index]
            assert plan_change(catalog, target).steps == ()
            assert all(enforced) or not begun
