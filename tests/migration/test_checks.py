"""The preflight's checks one by one: whole values from what was seen, and a few of them on a real server."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from msgspec import structs

from incident_lib.database import Environment, TableAccess, fetch_all, fetch_one, read_catalog, reading
from incident_lib.migration import checks
from incident_lib.migration.plan import plan_change
from incident_lib.model.catalog import INDEX_NAMES, IndexKind
from incident_lib.model.checks import Check, Status
from incident_lib.model.counts import Counts, PerPurpose
from incident_lib.model.plan import Plan, Step
from incident_lib.model.threads import SCHEMA, TABLE
from tests.support import clusters

WHICH = {"schema": SCHEMA, "table": TABLE}
NO_STEPS = Plan(IndexKind.FIXED, ())
CURE_OF_WAITING = "Ask them to end their transactions, or let it wait: no read or write waits for it."


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
    return Plan(target, tuple(Step(name, (), "none", transaction=False, why="why") for name in names), refusal)


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
    return row | {"writes": writes, "touches": touches, "snapshot": snapshot} | more


def surroundings(**seen):
    """A table with nothing around it, but for what is given; as `sql/surroundings.sql` has it."""
    nothing = {"builds": 0, "functions": [], "triggers": [], "replicas": 0, "lag_bytes": None}
    return nothing | seen


def named(name, found):
    """The only check of that name."""
    (only,) = [check for check in found if check.name == name]
    return only


# The server


def test_a_good_server():
    """A current primary with a not partitioned is fine in all three checks."""
    assert tuple(checks.server(rights())) == (
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
    assert named("server version", checks.server(rights(server_version=version))) == expected


def test_a_standby_stops():
    """A standby stops, and the cure is the primary."""
    assert named("primary", checks.server(rights(standby=True))) == Check(
        "primary", Status.FAIL, "this server is a standby", "Use the primary's address."
    )


def test_a_partitioned_table_stops():
    """A partitioned table stops: no index is built CONCURRENTLY on it."""
    assert named("not partitioned", checks.server(rights(partitioned=True))) == Check(
        "not partitioned",
        Status.FAIL,
        "the table is partitioned: no index can be built CONCURRENTLY on it",
        "Build one on each partition, then attach them.",
    )


# The role


def test_the_owner_who_sees_all():
    """The table's owner, who may create in its schema and from whom no row is hidden, is fine in each check."""
    assert tuple(checks.role(rights())) == (
        Check("table owner", Status.PASS, "this role owns the table"),
        Check("schema", Status.PASS, "this role may create an index in it"),
        Check("row level security", Status.PASS, "no row is hidden from this role"),
    )


def test_an_owner_who_may_create_nothing_stops():
    """The table's owner who may create nothing in its schema could not build an index."""
    (_, schema, _) = checks.role(rights(may_create=False))
    assert schema == Check(
        "schema",
        Status.FAIL,
        "this role may not create in the table's schema (SQLSTATE 42501)",
        "Ask the schema's owner: GRANT CREATE ON SCHEMA public TO the role of this environment.",
    )


def test_a_stranger_stops():
    """A role that does not own the table stops."""
    assert named("table owner", checks.role(rights(owned=False))) == Check(
        "table owner",
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )


def test_hidden_rows_stop():
    """A role that policies hide rows from stops."""
    assert named("row level security", checks.role(rights(hides_rows=True))) == Check(
        "row level security",
        Status.FAIL,
        "row level security hides rows from this role: every count may be too low",
        "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
    )


@pytest.mark.parametrize(
    ("pooled", "expected"),
    [
        (False, Check("pooler", Status.PASS, "a session keeps its backend")),
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
        "names", Status.PASS, "short enough, and different from each other"
    )


def test_names_that_would_be_cut_stop(monkeypatch):
    """A name of more than 63 bytes stops, by bytes and not by letters."""
    monkeypatch.setattr(checks, "INDEX_NAMES", (*INDEX_NAMES, "ü" * 32, "x" * 63))
    assert named("names", checks.indexes(NO_STEPS)) == Check(
        "names", Status.FAIL, f"PostgreSQL would cut {'ü' * 32}", "Shorten them in catalog.py."
    )


# The data


def test_good_data():
    """Data that the unique index can hold, all owned, chat or run, are fine in all three checks."""
    assert tuple(checks.data(counts(), way("build"))) == (
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
    found = named("duplicates", checks.data(counts(**duplicates), way("build", target=target)))
    assert (found.status, found.finding) == (Status.FAIL, seen)


def test_the_cure_of_duplicates():
    """The cure of duplicates is SQL that somebody reads and runs."""
    assert named("duplicates", checks.data(counts(fixed=1), way("build"))).action == (
        "Resolve them first: `incident plan` prints SQL for it, and never runs it."
    )


@pytest.mark.parametrize(
    ("target", "duplicates"), [(IndexKind.FIXED, {"original": 9}), (IndexKind.ORIGINAL, {"original": 0, "fixed": 9})]
)
def test_duplicates_of_the_other_index_are_in_nobodys_way(target, duplicates):
    """Keys that only the other unique index could not hold do not stop it."""
    assert named("duplicates", checks.data(counts(**duplicates), way("build", target=target))) == Check(
        "duplicates", Status.PASS, f"no two active threads share a key of the {target} index"
    )


def test_duplicates_where_nothing_is_to_do():
    """Duplicates stop nothing where nothing is to be built."""
    assert named("duplicates", checks.data(counts(fixed=3), NO_STEPS)).status is Status.PASS


@pytest.mark.parametrize(
    ("number", "seen"),
    [
        (1, "1 active thread without an owner: outside both unique indexes"),
        (1000, "1,000 active threads without an owner: outside both unique indexes"),
    ],
)
def test_null_keys_are_noted(number, seen):
    """Active threads without an owner are noted, with their number."""
    found = named("threads without an owner", checks.data(counts(unguarded=number), NO_STEPS))
    assert found == Check("threads without an owner", Status.INFO, seen)


def test_other_purposes_are_noted():
    """Purposes besides chat and run are noted, in order and quoted."""
    found = named("purposes", checks.data(counts(run=1, chat=1, **{"x y": 1, "": 2, "Run": 3}), NO_STEPS))
    assert found == Check(
        "purposes",
        Status.INFO,
        "there are also '', 'Run', 'x y': each purpose gets a key of its own",
    )


# Who holds it up


def test_nobody_holds_it_up():
    """Where nobody has a transaction open, nobody holds up the build or the drop."""
    assert tuple(checks.waits([], way("build", "swap", "drop"))) == (
        Check("blocks the build", Status.PASS, "no session that this role sees"),
        Check("blocks the drop", Status.PASS, "no session that this role sees"),
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
        else Check(f"blocks the {step}", Status.PASS, "no session that this role sees")
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
    """Of a session whose state is hidden from this role, the pid is told, and that the rest is hidden."""
    (_, found) = checks.waits([holder(application_name="", state=None, seconds=None)], way("drop"))
    assert found.finding == "pid 7 (no application_name, state hidden, open unknown)"


def test_a_prepared_transaction_is_named():
    """A prepared transaction has no pid, and is named by its identifier."""
    row = holder(None, application_name="gid-1", state="prepared", prepared=True)
    (_, found) = checks.waits([row], way("drop"))
    assert found.finding == "a prepared transaction (gid-1, prepared, open 3 s)"


# What else bears on it


def test_nothing_around():
    """Where nothing is around, each check is fine."""
    assert tuple(checks.around(surroundings(), way("build"))) == (
        Check("other builds", Status.PASS, "none on the table"),
        Check("ON CONFLICT", Status.PASS, "no SQL function infers the original key"),
        Check("triggers", Status.PASS, "none on the table"),
        Check("replicas", Status.PASS, "none connected"),
    )


@pytest.mark.parametrize(("number", "seen"), [(1, "1 index build on the table"), (2, "2 index builds on the table")])
def test_other_builds_make_it_wait(number, seen):
    """Other builds on the table make it wait."""
    found = named("other builds", checks.around(surroundings(builds=number), way("build")))
    assert found == Check("other builds", Status.WARN, seen, "The build waits for them.")


def test_functions_that_name_the_key_stop_the_fix():
    """Functions that name the original key stop the migration that takes it away."""
    found = named("ON CONFLICT", checks.around(surroundings(functions=["f()", "g(uuid)"]), way("build")))
    assert found == Check(
        "ON CONFLICT",
        Status.FAIL,
        "these functions need the original key, and would fail without it (42P10): f(), g(uuid)",
        "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
    )


@pytest.mark.parametrize("plan_", [NO_STEPS, way("build", target=IndexKind.ORIGINAL)])
def test_functions_that_name_the_key_stop_nothing_else(plan_):
    """Functions that name the original key stop neither a rollback nor what is done already."""
    found = named("ON CONFLICT", checks.around(surroundings(functions=["f()"]), plan_))
    assert found == Check("ON CONFLICT", Status.PASS, "no SQL function infers the original key")


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


# On a real server


def seen_around(environment):
    """The checks of what is around the table there, for the migration."""
    with reading(environment) as connection:
        seen = fetch_one(connection, "migration/surroundings", WHICH)
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


def test_somebody_elses_build_is_seen(environment, connection):
    """An index that somebody else builds on the table just now is seen."""
    statement = "CREATE INDEX CONCURRENTLY theirs ON public.q_threads (created_at)"
    with (
        psycopg.connect(environment.address) as writer,
        psycopg.connect(environment.address, autocommit=True) as builder,
    ):
        writer.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
        building = threading.Thread(target=builder.execute, args=[statement])
        building.start()
        deadline = time.monotonic() + 10
        while not connection.execute("SELECT pg_blocking_pids(%s)", [builder.info.backend_pid]).fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = named("other builds", seen_around(environment))
        writer.rollback()
        building.join()
    assert found == Check("other builds", Status.WARN, "1 index build on the table", "The build waits for them.")


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
    seen = "a prepared transaction (left behind, prepared, open N s)"
    assert found == [Check(f"blocks the {step}", Status.WARN, seen, CURE_OF_WAITING) for step in ("build", "drop")]


@pytest.mark.slow
def test_a_prepared_transaction_on_another_table_is_in_nobodys_way(preparing, prepare):
    """A prepared transaction that never touched the table holds up neither the build nor the drop."""
    prepare("INSERT INTO public.q_prompts DEFAULT VALUES")
    assert [check.status for check in seen_waits(preparing)] == [Status.PASS, Status.PASS]
