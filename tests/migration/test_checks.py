"""The preflight's checks one by one: whole values from what was seen, and a few of them on a real server."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from msgspec import structs
from psycopg import sql

from incident_lib.analysis import Investigation, check_role, check_server
from incident_lib.database import Environment, TableAccess, fetch_all, fetch_one, read_catalog, reading
from incident_lib.migration import checks
from incident_lib.migration.plan import plan_change
from incident_lib.model.catalog import Catalog, UniqueIndex
from incident_lib.model.change import PURPOSE, SCHEMA, TABLE, IndexKind
from incident_lib.model.checks import Check, Status
from incident_lib.model.counts import Counts, PerPurpose
from incident_lib.model.plan import Plan, Step
from tests.support import clusters

WHICH = {"schema": SCHEMA, "table": TABLE}
AROUND = WHICH | {"columns": sorted(PURPOSE.before.columns), "is_exact": True}
NO_STEPS = Plan(PURPOSE, IndexKind.FIXED, ())
CURE_OF_WAITING = (
    "Ask them to end their transactions, or let it wait: no read or write waits for it, and it steps back for DDL."
)


def rights(**seen):
    """What a good server and the table's owner see, but for what is given."""
    good = {
        "server_version": 180004,
        "standby": False,
        "partitioned": False,
        "owned": True,
        "may_create": True,
        "writable": True,
        "hides_rows": False,
    }
    return TableAccess(**good | seen)


def way(*names, target=IndexKind.FIXED, refusal=None):
    """A plan of steps of these names."""
    return Plan(PURPOSE, target, tuple(Step(name, (), "none", transaction=False, why="why") for name in names), refusal)


def counts(original=0, fixed=0, unguarded=0, **by_purpose):
    """Counts of a table with so many duplicate keys, ownerless threads, and active threads by purpose."""
    return Counts(
        families=1,
        active_threads=2,
        active_by_purpose=by_purpose or {"chat": 1, "run": 1},
        blocked_families=0,
        blocked=PerPurpose(0, 0),
        affected_owners=0,
        blocked_owners=PerPurpose(0, 0),
        coexisting_families=original,
        residual_conflicts=0,
        unguarded_threads=unguarded,
        duplicate_keys={IndexKind.ORIGINAL: original, IndexKind.FIXED: fixed},
    )


def holder(pid=7, *, writes=False, touches=True, snapshot=False, **more):
    """A session with an open transaction, as `sql/waits.sql` has it."""
    row = {"pid": pid, "application_name": "psql", "state": "idle in transaction", "seconds": 3.0, "prepared": False}
    row |= {"kind": "client backend", "mode": "ROW EXCLUSIVE" if writes else "ACCESS SHARE"}
    return row | {"writes": writes, "touches": touches, "snapshot": snapshot} | more


def hidden(pid=7, **more):
    """A session of another role that this role may not see; everybody sees its pid, its locks and its snapshot."""
    return holder(pid, **{"kind": None, "application_name": "", "state": None, "seconds": None} | more)


def surroundings(**seen):
    """A table with nothing around it, but for what is given; as `sql/surroundings.sql` has it."""
    nothing = {"sees_sessions": True, "functions": [], "triggers": [], "replicas": 0, "lag_bytes": None}
    return nothing | seen


def named(name, found):
    """The only check of that name."""
    (only,) = [check for check in found if check.name == name]
    return only


# The server


def test_a_good_server():
    """A current primary with a not partitioned is fine in all three checks."""
    assert tuple(check_server(rights())) == (
        Check("server version", Status.PASS, "PostgreSQL 18.4"),
        Check("primary", Status.PASS, "this server is the primary"),
        Check("not partitioned", Status.PASS, "the table has no partitions"),
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            130022,
            Check(
                "server version",
                Status.FAIL,
                "PostgreSQL 13.22 is out of support, and not tested with this project",
                "Update PostgreSQL first.",
            ),
        ),
        (
            140000,
            Check(
                "server version",
                Status.FAIL,
                "PostgreSQL 14.0 can corrupt an index that is built CONCURRENTLY",
                "Update it to 14.4 or later first.",
            ),
        ),
        (
            140003,
            Check(
                "server version",
                Status.FAIL,
                "PostgreSQL 14.3 can corrupt an index that is built CONCURRENTLY",
                "Update it to 14.4 or later first.",
            ),
        ),
        (140004, Check("server version", Status.PASS, "PostgreSQL 14.4")),
        (150018, Check("server version", Status.PASS, "PostgreSQL 15.18")),
        (180004, Check("server version", Status.PASS, "PostgreSQL 18.4")),
    ],
)
def test_server_version(version, expected):
    """Versions out of support, and those whose concurrent builds corrupt, stop; all later ones are fine."""
    assert named("server version", check_server(rights(server_version=version))) == expected


def test_a_standby_stops():
    """A standby stops, and the cure is the primary."""
    assert named("primary", check_server(rights(standby=True))) == Check(
        "primary", Status.FAIL, "this server is a standby", "Use the primary's address."
    )


def test_a_partitioned_table_warns():
    """A partitioned table is a warning: reads and writes wait for some of the steps."""
    assert named("not partitioned", check_server(rights(partitioned=True))) == Check(
        "not partitioned",
        Status.WARN,
        "the table is partitioned: reads and writes wait for the locks of creating the parent's index (writes), of "
        "attaching each partition's index, and of the final drop, for at most half a second per try",
        "Migrate while the table is less busy: while a long transaction uses the table, these steps are tried again.",
    )


# The role


def test_the_owner_who_sees_all():
    """The table's owner, who may create in its schema and from whom no row is hidden, is fine in each check."""
    assert tuple(check_role(rights())) == (
        Check("table owner", Status.PASS, "this role owns the table"),
        Check("schema", Status.PASS, "this role may create relations in it"),
        Check("row level security", Status.PASS, "no row is hidden from this role"),
    )


def test_an_owner_who_may_create_nothing_stops():
    """The table's owner who may create nothing in its schema could not build an index."""
    (_, schema, _) = check_role(rights(may_create=False))
    assert schema == Check(
        "schema",
        Status.FAIL,
        "this role may not create in the table's schema (SQLSTATE 42501)",
        "Ask the schema's owner: GRANT CREATE ON SCHEMA public TO the role of this environment.",
    )


def test_the_schema_of_a_stranger():
    """Of a role that is not the owner nothing is said that was not looked at: whether it may create in the schema."""
    assert named("schema", check_role(rights(owned=False, may_create=False))) == Check(
        "schema", Status.INFO, "this role may not create relations in it"
    )


def test_a_stranger_stops():
    """A role that does not own the table stops."""
    assert named("table owner", check_role(rights(owned=False))) == Check(
        "table owner",
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )


def test_hidden_rows_stop():
    """A role that policies hide rows from stops."""
    assert named("row level security", check_role(rights(hides_rows=True))) == Check(
        "row level security",
        Status.FAIL,
        "row level security hides rows from this role: every count may be too low",
        "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
    )


@pytest.mark.parametrize(
    ("pooled", "expected"),
    [
        (False, Check("pooler", Status.PASS, "a session keeps its backend")),
        (None, Check("pooler", Status.INFO, "not known: that takes two connections more")),
        (
            True,
            Check(
                "pooler",
                Status.FAIL,
                "a pooler in transaction mode is between this client and the server",
                "Use its session port, or the server's own address.",
            ),
        ),
    ],
)
def test_pooler(pooled, expected):
    """A pooler in transaction mode stops, and the cure is another address."""
    assert checks.pooler(transaction_pooled=pooled) == expected


# The unique indexes


@pytest.mark.parametrize(
    ("plan_", "expected"),
    [
        (way("build", "swap", "drop"), Check("indexes", Status.PASS, "3 steps to the fixed index")),
        (way("drop", target=IndexKind.ORIGINAL), Check("indexes", Status.PASS, "1 step to the original index")),
        (way(), Check("indexes", Status.PASS, "nothing is left to do")),
        (
            way(refusal="a name that we need is taken"),
            Check("indexes", Status.FAIL, "a name that we need is taken", "Then run `incident plan` again."),
        ),
    ],
)
def test_indexes(plan_, expected):
    """A plan is fine with its number of steps, or none; a refused one stops with the refusal."""
    assert named("indexes", checks.indexes(plan_)) == expected


def test_names_are_short_enough():
    """None of our names is longer than PostgreSQL keeps."""
    assert named("names", checks.indexes(NO_STEPS)) == Check(
        "names", Status.PASS, "the plan's names are at most 63 bytes long"
    )


# Properties of the index that is replaced


def original(**more):
    """The original index, complete."""
    predicate = "((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
    usual = {"columns": PURPOSE.before.parts, "predicate": predicate, "unique": True, "nulls_not_distinct": False}
    return UniqueIndex(
        PURPOSE.names[0], "its definition", **usual | {"valid": True, "ready": True, "live": True} | more
    )


def properties(plain=False, closed=(), **more):
    """The check of the properties of an original index."""
    catalog = Catalog((original(**more),))
    return checks.properties(catalog, plan_change(catalog, plain=plain), list(closed), plain=plain)


CARRIED = {"include": ("name", "purpose"), "storage": ("fillfactor=70",), "tablespace": "fast"}


@pytest.mark.parametrize(
    ("more", "status", "finding"),
    [
        ({}, Status.PASS, "idx_q_threads_family_unique has no special ones"),
        ({"comment": "one"}, Status.PASS, "carried over: the comment"),
        (CARRIED, Status.INFO, "carried over: tablespace fast, fillfactor=70, INCLUDE (name)"),
        (
            CARRIED | {"plain": True, "comment": "one"},
            Status.INFO,
            "carried over: the comment; left out with --plain-index: tablespace fast, fillfactor=70, INCLUDE (name)",
        ),
        ({"special": ("owner_id DESC",)}, Status.WARN, "lost: owner_id DESC"),
        (
            {"columns": ("owner_id", "root_prompt_row_id"), "comment": "one"},
            Status.WARN,
            "carried over: the comment; lost: the column order (owner_id, root_prompt_row_id)",
        ),
    ],
)
def test_properties(more, status, finding):
    """What the new index takes over is told, and what is lost, which warns."""
    found = properties(**more)
    assert (found.name, found.status, found.finding) == ("index properties", status, finding)


def test_a_tablespace_in_which_the_role_may_create_nothing():
    """Where the build would fail in the old index's tablespace, it stops, and a plain index does not."""
    assert properties(tablespace="fast", closed=["fast"]) == Check(
        "index properties",
        Status.FAIL,
        "this role may not create in the tablespace fast of idx_q_threads_family_unique (SQLSTATE 42501)",
        "GRANT CREATE ON TABLESPACE fast TO the role of this environment, or add --plain-index.",
    )
    assert properties(tablespace="fast", closed=["fast"], plain=True).status is Status.INFO


def test_no_properties():
    """Where nothing is built in place of another index, nothing is claimed."""
    assert checks.properties(Catalog(()), plan_change(Catalog(())), [], plain=False) == Check(
        "index properties", Status.PASS, "the plan builds no index in place of another"
    )


# The data


def data(counted, plan):
    """The checks of the data: of the keys, and of the incident's threads."""
    found = Investigation(datetime.now(UTC), rights(), Catalog(()), counted, ())
    return [checks.duplicates(found.shared_keys[plan.target], plan), *found.data_checks]


def test_good_data():
    """Data that the unique index can hold, all owned, chat or run, are fine in all three checks."""
    assert tuple(data(counts(), way("build"))) == (
        Check("duplicates", Status.PASS, "no two active threads share a key of the fixed index"),
        Check("threads without an owner", Status.PASS, "every active thread has an owner"),
        Check("purposes", Status.PASS, "active threads are chat or run"),
    )


@pytest.mark.parametrize(
    ("target", "duplicates", "seen"),
    [
        (IndexKind.FIXED, {"fixed": 1}, "several active threads share 1 key of the fixed index"),
        (
            IndexKind.ORIGINAL,
            {"original": 1200},
            "several active threads share 1,200 keys of the original index",
        ),
    ],
)
def test_duplicates_stop(target, duplicates, seen):
    """Keys of the target's unique index that several active threads share stop it, and are counted."""
    found = named("duplicates", data(counts(**duplicates), way("build", target=target)))
    assert (found.status, found.finding) == (Status.FAIL, seen)


def test_the_cure_of_duplicates():
    """The cure of duplicates is SQL that somebody reads and runs."""
    assert named("duplicates", data(counts(fixed=1), way("build"))).action == (
        "Resolve them first: `incident plan` prints SQL for it, and never runs it."
    )


@pytest.mark.parametrize(
    ("target", "duplicates"), [(IndexKind.FIXED, {"original": 9}), (IndexKind.ORIGINAL, {"original": 0, "fixed": 9})]
)
def test_duplicates_of_the_other_index_are_in_nobodys_way(target, duplicates):
    """Keys that only the other unique index could not hold do not stop it."""
    assert named("duplicates", data(counts(**duplicates), way("build", target=target))) == Check(
        "duplicates", Status.PASS, f"no two active threads share a key of the {target} index"
    )


def test_duplicates_where_nothing_is_to_do():
    """Duplicates stop nothing where nothing is to be built."""
    assert named("duplicates", data(counts(fixed=3), NO_STEPS)) == Check(
        "duplicates", Status.PASS, "the plan builds nothing; active threads share 3 keys of the fixed index"
    )


@pytest.mark.parametrize(
    ("number", "seen"),
    [
        (1, "1 active thread without an owner: the original and the fixed index ignore them"),
        (1000, "1,000 active threads without an owner: the original and the fixed index ignore them"),
    ],
)
def test_null_keys_are_noted(number, seen):
    """Active threads without an owner are noted, with their number."""
    found = named("threads without an owner", data(counts(unguarded=number), NO_STEPS))
    assert found == Check("threads without an owner", Status.INFO, seen)


def test_other_purposes_are_noted():
    """Purposes besides chat and run are noted, in order and quoted."""
    found = named("purposes", data(counts(run=1, chat=1, **{"x y": 1, "": 2, "Run": 3}), NO_STEPS))
    assert found == Check(
        "purposes",
        Status.INFO,
        "there are also '', 'Run', 'x y': each purpose gets a key of its own",
    )


# Who holds it up


def test_nobody_holds_it_up():
    """Where nobody has a transaction open, nobody holds up the build or the drop."""
    assert tuple(checks.waits([], way("build", "swap", "drop"))) == (
        Check("blocks the build", Status.PASS, "no session would make it wait"),
        Check("blocks the drop", Status.PASS, "no session would make it wait"),
    )


def test_a_plan_without_the_step():
    """Of a step that the plan does not have nothing is claimed."""
    assert tuple(checks.waits([holder(writes=True)], NO_STEPS)) == (
        Check("blocks the build", Status.PASS, "the plan has no build"),
        Check("blocks the drop", Status.PASS, "the plan has no drop"),
    )


@pytest.mark.parametrize(
    ("row", "waiting"),
    [
        (holder(), {"drop"}),
        (holder(writes=True), {"build", "drop"}),
        (holder(touches=False, snapshot=True), {"build", "drop"}),
    ],
)
def test_what_a_transaction_holds_up(row, waiting):
    """A reader holds up the drop alone; a writer and an old snapshot hold up both."""
    found = checks.waits([row], way("build", "swap", "drop"))
    assert tuple(found) == tuple(
        Check(
            f"blocks the {step}",
            Status.WARN,
            "pid 7 (psql, idle in transaction, open 3 s)",
            CURE_OF_WAITING,
        )
        if step in waiting
        else Check(f"blocks the {step}", Status.PASS, "no session would make it wait")
        for step in ("build", "drop")
    )


@pytest.mark.parametrize(("steps", "waiting"), [((), set()), (("drop",), {"drop"}), (("build",), {"build"})])
def test_only_steps_of_the_plan_are_held_up(steps, waiting):
    """Whoever would hold up a step that is not in the plan is not named."""
    found = checks.waits([holder(writes=True)], way(*steps))
    assert {check.name for check in found if check.status is Status.WARN} == {f"blocks the {step}" for step in waiting}


@pytest.mark.parametrize(("number", "more"), [(5, ""), (6, "; and 1 more"), (12, "; and 7 more")])
def test_of_many_sessions_five_are_named(number, more):
    """The first five sessions are named, the rest is counted."""
    (_, found) = checks.waits([holder(pid) for pid in range(1, number + 1)], way("drop"))
    named_ones = "; ".join(f"pid {pid} (psql, idle in transaction, open 3 s)" for pid in range(1, 6))
    assert found == Check("blocks the drop", Status.WARN, named_ones + more, CURE_OF_WAITING)


def test_a_session_that_may_not_be_seen():
    """Of a session whose state is hidden from this role, pid and lock are told, and who shows the rest."""
    (_, found) = checks.waits([hidden(writes=True)], way("drop"))
    assert found == Check(
        "blocks the drop",
        Status.WARN,
        "not known: what each of these sessions does: "
        "pid 7 (no application_name, state hidden, open unknown, ROW EXCLUSIVE on the table)",
        "GRANT pg_read_all_stats (or pg_monitor) TO the role of this environment.",
    )


PREPARED = {
    "pid": None,
    "kind": "prepared transaction",
    "application_name": None,
    "state": "prepared",
    "prepared": True,
    "gid": "gid-1a2b",
    "transaction": "742",
    "mode": None,
}


def test_a_prepared_transaction_is_named():
    """A prepared transaction has no pid, and is named by its pseudonym and its transaction id."""
    (_, found) = checks.waits([holder(**PREPARED)], way("drop"))
    assert found.finding == "a prepared transaction (gid-1a2b, transaction 742, open 3 s)"


def test_how_to_end_a_prepared_transaction():
    """The action has the statement that ends it, and the one that shows its identifier."""
    (_, found) = checks.waits([holder(**PREPARED)], way("drop"))
    assert found.action == (
        "End gid-1a2b with ROLLBACK PREPARED '<gid>' (or COMMIT PREPARED); its gid: "
        "SELECT gid FROM pg_prepared_xacts WHERE transaction = '742'."
    )


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("walsender", "A backup or a subscription that copies a table reads here: wait until it has finished."),
        ("autovacuum worker", "Autovacuum ends itself when another session asks for its lock: nothing to do."),
        (
            "autovacuum to prevent wraparound",
            "Autovacuum to prevent wraparound does not end itself for other sessions: wait until it has finished.",
        ),
        ("VACUUM", "Wait until VACUUM has finished, or ask its owner to cancel it."),
        ("ANALYZE", "Wait until ANALYZE has finished, or ask its owner to cancel it."),
        (
            "REINDEX CONCURRENTLY",
            "Wait until the index build has finished: if it is cancelled, it leaves an invalid index.",
        ),
        ("something new", CURE_OF_WAITING),
    ],
)
def test_each_kind_of_session_has_its_action(kind, action):
    """What a session is, is said, and decides the action."""
    (_, found) = checks.waits([holder(kind=kind, state="active")], way("drop"))
    assert (found.finding, found.action) == (f"{kind}, pid 7 (psql, active, open 3 s)", action)


def test_each_action_is_said_once():
    """Of several sessions each action is said once, in their order."""
    rows = [holder(1), holder(2, kind="VACUUM"), holder(3)]
    (_, found) = checks.waits(rows, way("drop"))
    assert found.action == f"{CURE_OF_WAITING} Wait until VACUUM has finished, or ask its owner to cancel it."


# What else bears on it


def test_nothing_around():
    """Where nothing is around, each check is fine."""
    assert tuple(checks.around(surroundings(), way("build"))) == (
        Check(
            "ON CONFLICT",
            Status.PASS,
            "no SQL or PL/pgSQL function infers the original key; statements that one puts together are not seen",
        ),
        Check("triggers", Status.PASS, "none on the table"),
        Check("replicas", Status.PASS, "none connected"),
    )


@pytest.mark.parametrize("kind", ["CREATE INDEX", "CREATE INDEX CONCURRENTLY", "REINDEX", "REINDEX CONCURRENTLY"])
def test_other_builds_make_it_wait(kind):
    """Other builds on the table are named."""
    assert checks.builds([holder(kind=kind, state="active", mode="SHARE UPDATE EXCLUSIVE")]) == Check(
        "other builds",
        Status.WARN,
        f"{kind}, pid 7 (psql, active, open 3 s, SHARE UPDATE EXCLUSIVE on the table)",
        "Wait until the index build has finished: if it is cancelled, it leaves an invalid index.",
    )


@pytest.mark.parametrize(
    "row",
    [
        holder(writes=True),
        hidden(writes=True),
        hidden(mode=None, snapshot=True),
        holder(kind="VACUUM", mode="SHARE UPDATE EXCLUSIVE"),
        holder(kind="CREATE INDEX CONCURRENTLY", mode=None, snapshot=True),
        holder(**PREPARED),
    ],
)
def test_no_other_build(row):
    """Whoever holds no lock under which an index is built on this table builds none."""
    assert checks.builds([row]) == Check("other builds", Status.PASS, "none on the table")


def test_what_may_be_another_build():
    """A session that this role may not see, and that holds the lock of a build, is not taken for nobody."""
    assert checks.builds([hidden(mode="SHARE UPDATE EXCLUSIVE")]) == Check(
        "other builds",
        Status.WARN,
        "not known: what each of these sessions does: "
        "pid 7 (no application_name, state hidden, open unknown, SHARE UPDATE EXCLUSIVE on the table)",
        "GRANT pg_read_all_stats (or pg_monitor) TO the role of this environment.",
    )


def test_functions_that_name_the_key_stop_the_fix():
    """Functions that name the original key stop the migration that takes it away."""
    found = named("ON CONFLICT", checks.around(surroundings(functions=["f()", "g(uuid)"]), way("build")))
    assert found == Check(
        "ON CONFLICT",
        Status.FAIL,
        "these functions need the original key, and would fail without it (42P10): f(), g(uuid)",
        "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
    )


def test_functions_that_name_the_key_do_not_stop_a_rollback():
    """Functions that name the key that a rollback takes away are named, and do not stop it."""
    plan = way("build", target=IndexKind.ORIGINAL)
    found = named("ON CONFLICT", checks.around(surroundings(functions=["f()"]), plan))
    assert found.status is Status.WARN
    assert found.finding == "these functions need the fixed key, and would fail without it (42P10): f()"


def test_functions_that_name_the_key_stop_nothing_that_is_done():
    """Functions that name the original key do not stop what is done already."""
    found = named("ON CONFLICT", checks.around(surroundings(functions=["f()"]), NO_STEPS))
    assert found == Check(
        "ON CONFLICT", Status.PASS, "functions infer the original key, and the plan does not take it away"
    )


def test_triggers_are_noted():
    """Triggers are noted: a probe fires them."""
    found = named("triggers", checks.around(surroundings(triggers=["a", "b"]), NO_STEPS))
    assert found == Check("triggers", Status.INFO, "these triggers fire in a probe: a, b")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"replicas": 1, "lag_bytes": 0}, "1 replica, 0 bytes behind"),
        ({"replicas": 2, "lag_bytes": 70_000}, "2 replicas, 70 kB behind"),
        ({"replicas": 1, "lag_bytes": None}, "1 replica, lag unknown"),
    ],
)
def test_replicas_are_noted(seen, said):
    """Replicas are noted with their lag, or that it is unknown."""
    found = named("replicas", checks.around(surroundings(**seen), NO_STEPS))
    assert found == Check("replicas", Status.INFO, f"{said}: replaying the drop may cancel readers")


def test_a_long_reader_of_a_replica_warns():
    """A standby on which a long transaction reads is named, and how old it is at least."""
    found = named("replicas", checks.around(surroundings(replicas=1), NO_STEPS, [{"name": "eu", "seconds": 312}]))
    assert found.status is Status.WARN
    assert "a long transaction reads on eu (at least 5 min): there the replay of the drop waits" in found.finding


def test_the_lag_of_replicas_may_be_hidden():
    """A role that may not see the replicas' lag is told what shows it."""
    found = named("replicas", checks.around(surroundings(replicas=2, sees_sessions=False), NO_STEPS))
    assert found == Check("replicas", Status.WARN, "not known: the lag and the kind of 2 replicas", checks.GRANT)


# On a real server


def seen_around(environment):
    """The checks of what is around the table there, for the migration."""
    with reading(environment) as connection:
        seen = fetch_one(connection, "migration/surroundings", AROUND)
        return tuple(checks.around(seen, plan_change(read_catalog(connection))))


def seen_waits(environment):
    """The checks of blocks the migration there."""
    with reading(environment) as connection:
        return tuple(
            checks.waits(fetch_all(connection, "migration/waits", WHICH), plan_change(read_catalog(connection)))
        )


def test_nothing_is_around_the_table_of_the_incident(environment):
    """On a quiet server there are no other builds, functions, triggers or replicas."""
    assert seen_around(environment) == tuple(checks.around(surroundings(), way("build")))


@pytest.fixture
def role(server):
    """A role without any right but that to log in."""
    name = f"blind_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def seen_rows(environment, role=None):
    """The sessions that would make it wait, as the owner or a role sees them."""
    with psycopg.connect(environment.address) as connection:
        if role:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        return fetch_all(connection, "migration/waits", WHICH)


@contextmanager
def other_session(environment, *statements, name="theirs"):
    """A session of somebody else that has run these statements in a transaction that is still open."""
    with psycopg.connect(environment.address, application_name=name) as other:
        for statement in statements:
            other.execute(statement)
        yield other
        other.rollback()


@contextmanager
def blocked_build(environment, connection, statement):
    """A session of somebody else, by its pid, whose build of an index waits for a writer; it ends at the end."""
    with psycopg.connect(environment.address, autocommit=True, application_name="theirs") as builder:
        thread = threading.Thread(target=builder.execute, args=[statement])
        pid = builder.info.backend_pid
        with psycopg.connect(environment.address) as writer:
            writer.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
            thread.start()
            until(lambda: connection.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone()[0])
            yield pid
        thread.join()


def until(condition):
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + 10
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE INDEX CONCURRENTLY theirs ON public.q_threads (created_at)", "CREATE INDEX CONCURRENTLY"),
        ("REINDEX INDEX CONCURRENTLY public.q_threads_pkey", "REINDEX CONCURRENTLY"),
    ],
)
def test_another_build_is_seen(environment, connection, statement, kind):
    """An index that another session builds on the table just now is named as what it is."""
    with blocked_build(environment, connection, statement) as pid:
        found = checks.builds(seen_rows(environment))
    assert (found.status, re.sub(r"open \d+ s", "open N s", found.finding)) == (
        Status.WARN,
        f"{kind}, pid {pid} (theirs, active, open N s, SHARE UPDATE EXCLUSIVE on the table)",
    )


def test_another_roles_build_is_not_taken_for_nobody(environment, connection, role):
    """A role that may not see another session still sees its lock, and says what it does not know."""
    statement = "CREATE INDEX CONCURRENTLY theirs ON public.q_threads (created_at)"
    with blocked_build(environment, connection, statement) as pid:
        found = checks.builds(seen_rows(environment, role))
    assert found == Check(
        "other builds",
        Status.WARN,
        "not known: what each of these sessions does: "
        f"pid {pid} (theirs, state hidden, open unknown, SHARE UPDATE EXCLUSIVE on the table)",
        checks.GRANT,
    )


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        ("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE", ("ROW EXCLUSIVE", True, True)),
        ("LOCK TABLE public.q_threads IN ACCESS SHARE MODE", ("ACCESS SHARE", False, True)),
    ],
)
def test_locks_of_other_roles_are_seen(environment, role, statement, seen):
    """Which lock another role's session holds on the table, every role sees."""
    with other_session(environment, statement):
        (row,) = seen_rows(environment, role)
    assert (row["kind"], row["state"], row["mode"], row["writes"], row["touches"]) == (None, None, *seen)


def test_snapshots_of_other_roles_are_seen(environment, role):
    """That another role's session holds a snapshot, every role sees."""
    with other_session(environment, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"):
        (row,) = seen_rows(environment, role)
    assert (row["kind"], row["touches"], row["snapshot"]) == (None, False, True)


def test_nobody_is_seen_by_every_role(environment, role):
    """Where no session has a transaction open, a role that may see little sees that, too."""
    with psycopg.connect(environment.address, application_name="idle"):
        assert seen_rows(environment, role) == []


@pytest.mark.parametrize(
    ("statement", "kind"), [("VACUUM public.q_threads", "VACUUM"), ("ANALYZE public.q_threads", "ANALYZE")]
)
def test_maintenance_is_seen(environment, connection, statement, kind):
    """VACUUM and ANALYZE of the table are named as what they are."""
    connection.execute(
        "INSERT INTO public.q_threads (is_active) SELECT false FROM generate_series(1, 3000);"
        "DELETE FROM public.q_threads WHERE ctid::text LIKE '(1%'"
    )
    with psycopg.connect(environment.address, autocommit=True) as other:
        other.execute("SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1")
        thread = threading.Thread(target=execute, args=[other, statement])
        thread.start()
        rows = until(lambda: [row for row in seen_rows(environment) if row["kind"] == kind])
        connection.execute("SELECT pg_cancel_backend(%s)", [other.info.backend_pid])
        thread.join()
    assert [(row["mode"], row["snapshot"], row["touches"]) for row in rows] == [("SHARE UPDATE EXCLUSIVE", False, True)]


def execute(connection, statement):
    """Execute a statement that is going to be cancelled."""
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute(statement)


@pytest.fixture(scope="module")
def preparing():
    """An environment on a server of this module's own that allows prepared transactions."""
    folder = Path(tempfile.mkdtemp(prefix="incident-prepared-"))
    server = clusters.start(folder / "server", 18)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 4")
    server.stop()
    server.ensure_postgres_running()
    clusters.load_templates(server.get_uri())
    yield Environment("staging", "INCIDENT_STAGING_URL", server.get_uri(database="empty_template"))
    clusters.remove(server)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def prepare(preparing):
    """Prepare a transaction of one statement; it is rolled back at the end."""
    with psycopg.connect(preparing.address, autocommit=True) as connection:
        if connection.execute("SHOW max_prepared_transactions").fetchone() == ("0",):
            pytest.skip("this server allows no prepared transactions: max_prepared_transactions is 0")

        def prepared(statement):
            for each in ("BEGIN", statement, "PREPARE TRANSACTION 'left behind'"):
                connection.execute(each)

        yield prepared
        connection.execute("ROLLBACK PREPARED 'left behind'")


@pytest.mark.slow
def test_a_prepared_transaction_is_seen(preparing, prepare):
    """A prepared transaction that wrote the table holds up the build and the drop, and is named."""
    prepare("INSERT INTO public.q_threads (purpose) VALUES ('run')")
    found = [
        structs.replace(check, finding=re.sub(r"open \d+ s", "open N s", check.finding))
        for check in seen_waits(preparing)
    ]
    seen = "a prepared transaction (left behind, transaction N, open N s)"
    assert [(check.status, re.sub(r"transaction \d+", "transaction N", check.finding)) for check in found] == [
        (Status.WARN, seen),
        (Status.WARN, seen),
    ]


@pytest.mark.slow
def test_a_prepared_transaction_on_another_table_is_in_nobodys_way(preparing, prepare):
    """A prepared transaction that never touched the table holds up neither the build nor the drop."""
    prepare("INSERT INTO public.q_prompts DEFAULT VALUES")
    assert [check.status for check in seen_waits(preparing)] == [Status.PASS, Status.PASS]
