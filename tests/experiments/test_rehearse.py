"""`incident rehearse` on real servers: what it says of each kind of database, and that it touches nothing there."""

from __future__ import annotations

import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import sql

from incident_lib import paths
from incident_lib.analysis.investigate import count_threads, investigate
from incident_lib.database import Environment, connecting, demo, fetch_all, fetch_one, query_text, read_catalog, reading
from incident_lib.experiments.rehearsal.copy import copy_threads, name_by, fill_indexes
from incident_lib.experiments.rehearsal.rehearse import TrialResult, judge, rehearse
from incident_lib.experiments.rehearsal.results import (
    FILE,
    RehearsalVerdict,
    RollbackVerdict,
    StepTime,
    latest_rehearsal,
)
from incident_lib.experiments.rehearsal.traffic import NAME, client_results, clients_running
from incident_lib.experiments.scratch import nearest_version, scratch_database
from incident_lib.migration.executor import apply
from incident_lib.migration.preflight import run_preflight
from incident_lib.model.catalog import BUILD_NAME, INDEX_NAME, RETIRED_NAME, IndexState
from incident_lib.model.checks import Status
from incident_lib.model.errors import Failed
from incident_lib.model.threads import Family
from tests.analysis.test_investigate import INDEXES, admitted, with_indexes, threads
from tests.cli.test_cli import HEARING, INTERRUPTED, message, shell
from tests.conftest import add
from tests.support import clusters

OWNER = UUID(int=7)
STEPS = ["build", "swap", "drop"]
NEXT = "incident apply --env staging --confirm staging"
WENT_IN = "the fix went in under writes, was rolled back, and went in again."
FIXED_KEY = (
    "ON public.q_threads (root_prompt_row_id, owner_id, purpose)"
    " WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
)


@pytest.fixture(scope="module", autouse=True)
def embedded():
    """The embedded server, running: a rehearsal then neither starts nor stops it."""
    demo.maintenance(18)
    yield
    demo.stop()


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """The folder of runs, of this test alone."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def done(server):
    """A rehearsal of the demo's threads under the original index."""
    return rehearse(Environment("staging", "INCIDENT_STAGING_URL", clusters.at(server, "incident_template")))


@pytest.fixture
def named(incident, monkeypatch):
    """`incident`, resolvable as `staging`."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    return incident


@pytest.fixture
def fixed(environment, connection):
    """The fixed index, and a run and a chat in families of their own."""
    add(connection, UUID(int=1), OWNER)
    add(connection, UUID(int=2), OWNER, purpose="chat")
    apply(environment, confirm="staging")
    return environment


@pytest.fixture
def coexisting(fixed, connection):
    """The fixed index, and two families with an active chat and an active run."""
    for number in (101, 102):
        for purpose in ("run", "chat"):
            add(connection, UUID(int=number), OWNER, purpose=purpose)
    return fixed


@pytest.fixture
def duplicated(staging, connection):
    """No unique index, and three keys of the fixed index that two active threads share."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for number in (1, 2, 3):
        add(connection, UUID(int=number), OWNER)
        add(connection, UUID(int=number), OWNER)
    return staging


def scratch_databases(version=18):
    """The names of the scratch databases that there are."""
    with psycopg.connect(demo.maintenance(version)) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'incident_scratch_%'").fetchall()
    return [name for (name,) in found]


def names(done):
    """The names of the steps that were taken, those of which some were not done apart."""
    assert {step.outcome for step in done.steps} == {"done"}
    return [step.name for step in done.steps]


def walk(name):
    """The steps of a whole migration, as a rehearsal names them."""
    return [f"{name}: {step}" for step in STEPS]


def at_step(step, action, phase="begins"):
    """A listener that acts when a step begins, or comes to a phase."""

    def listener(progress):
        if (progress.step, progress.phase) == (step, phase):
            action()

    return listener


# What it says


def test_a_healthy_incident_will_work(done):
    """Of an incident whose data nothing is wrong with, it says that the fix will work."""
    assert done.verdict == RehearsalVerdict(True, f"On a copy of 1,408 active threads {WENT_IN}", NEXT)


def test_what_is_rehearsed(done):
    """It copies, counts, applies, verifies, probes, rolls back and applies again."""
    assert names(done) == [
        *("copy", "guards", "count"),
        *(*walk("apply"), "verify", "probe"),
        *(*walk("rollback"), "verify"),
        *(*walk("apply again"), "verify"),
    ]


def test_clients_are_rejected_until_the_fix_is_in(done):
    """Its clients meet the incident before the fix, and no chat is rejected after it."""
    clients = done.clients
    assert (clients.rejected["chat"] > 0, clients.rejected_after.get("chat"), clients.errors) == (True, None, {})


def test_clients_meet_what_the_fix_leaves(environment, connection):
    """A run client whose family's run is of another provider is rejected after the fix, too; that is no failure."""
    add(connection, UUID(int=1), OWNER, provider="manus")
    done = rehearse(environment)
    assert (done.clients.rejected_after.keys(), done.verdict.works) == ({"run"}, True)


@pytest.mark.parametrize(
    ("met", "seen"),
    [
        ({"rejected_after": {"chat": 2, "run": 1}}, "2 chats rejected after the fix"),
        ({"errors": {"40P01": 1}}, "errors that no unique index gives (40P01)"),
    ],
    ids=["chats", "errors"],
)
def test_clients_that_meet_what_they_must_not(incident, done, met, seen):
    """A chat that is rejected after the fix, or any answer that no unique index gives, means that it will not work."""
    with reading(incident) as connection:
        found = investigate(connection)
        checks = run_preflight(connection, incident, found)
    tried = TrialResult(applied=True, checks=(), clients=replace(done.clients, **met), rollback=done.rollback)
    assert judge("staging", found, tried, checks) == RehearsalVerdict(
        False, f"clients: {seen}.", "Rehearse again, and apply only once that is gone."
    )


def test_the_rollback_works(done):
    """Where no family holds two active threads, the rollback works, and what ends that is said."""
    assert done.rollback == RollbackVerdict(
        True, "No family holds more than one active thread; the first chat beside a run ends that."
    )


def test_a_rollback_that_cannot_work(coexisting):
    """Where families hold a chat and a run, it says how many stand against the rollback; the fix works all the same."""
    done = rehearse(coexisting)
    assert done.rollback == RollbackVerdict(
        False,
        "2 families hold more than one active thread, which the original index cannot; "
        "`incident plan --env staging --rollback` shows them, and prints SQL that would make room.",
    )
    assert done.verdict == RehearsalVerdict(
        True,
        "The fix is in already; on a copy of 6 active threads it held under writes.",
        "incident verify --env staging",
    )


def test_data_that_break_the_index(duplicated):
    """Where the unique index is gone and keys are shared, it says that the fix will not work, why, and the cure."""
    done = rehearse(duplicated)
    assert done.verdict == RehearsalVerdict(
        False,
        "duplicates: 3 keys of the fixed index held by more than one active thread. On the copy it failed, too.",
        "Settle them first: `incident plan` prints SQL that would, and never runs it.",
    )
    assert done.rollback == RollbackVerdict(None, "Not tried: the fix did not go in.")
    assert [(step.name, step.outcome) for step in done.steps][3:] == [("apply: build", "failed")]


@pytest.mark.slow
def test_data_that_break_the_index_from_a_shell(duplicated):
    """From a shell that is exit code 1, and one message."""
    ran = shell("rehearse", "--env", "staging")
    assert (ran.returncode, ran.stderr) == (
        1,
        message(
            "The fix will not work in 'staging'.",
            "duplicates: 3 keys of the fixed index held by more than one active thread. On the copy it failed, too.",
            "Settle them first: `incident plan` prints SQL that would, and never runs it.",
        ),
    )


def test_a_missing_index_without_duplicates(environment, connection):
    """Where the unique index is gone, and no key is shared, the fix works."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    add(connection, UUID(int=1), OWNER)
    assert rehearse(environment).verdict == RehearsalVerdict(True, f"On a copy of 1 active thread {WENT_IN}", NEXT)


@pytest.mark.slow
def test_a_name_that_is_taken(environment, connection):
    """What the copy cannot have, a name that something else holds, is found in the environment: it will not work."""
    connection.execute(f"CREATE TABLE public.{BUILD_NAME} ()")
    done = rehearse(environment)
    held = f"{BUILD_NAME} is a relation of kind r"
    assert done.verdict == RehearsalVerdict(
        False,
        f"unique indexes: a name that we need is taken ({held}); rename what holds it.",
        "Then look again: `incident plan`.",
    )
    assert done.not_reproduced == (f"{BUILD_NAME}: there it is a relation of kind r",)


def test_an_index_that_cannot_be_read(environment, connection):
    """An index enforced that we cannot read is not reproduced, and said to stand in the way."""
    odd = "ON public.q_threads (root_prompt_row_id, owner_id, provider) WHERE is_active"
    connection.execute(f"CREATE UNIQUE INDEX odd {odd}")
    done = rehearse(environment)
    assert (done.verdict.works, done.not_reproduced) == (False, ("odd: its definition cannot be read",))


@pytest.mark.slow
def test_the_fix_is_in_already(fixed):
    """Where the fix is in, there is nothing to apply; there and back again is rehearsed all the same."""
    done = rehearse(fixed)
    assert names(done) == [
        *("copy", "guards", "count", "verify", "probe"),
        *(*walk("rollback"), "verify"),
        *(*walk("apply again"), "verify"),
    ]
    assert done.verdict == RehearsalVerdict(
        True,
        "The fix is in already; on a copy of 2 active threads it held under writes, was rolled back, "
        "and went in again.",
        "incident verify --env staging",
    )


def test_an_empty_table(environment):
    """A table without a thread is rehearsed: its clients bring families of their own."""
    done = rehearse(environment)
    assert done.verdict == RehearsalVerdict(True, f"On a copy of 0 active threads {WENT_IN}", NEXT)
    assert (done.threads, done.clients.writes > 0, done.clients.rejected["run"] > 0) == (0, True, True)


@pytest.mark.slow
def test_who_would_make_it_wait(environment):
    """A transaction that is open in the environment is named, as the preflight does; it does not hold up the copy."""
    with psycopg.connect(environment.address, application_name="reader") as reader:
        reader.execute("SELECT FROM public.q_threads")
        pid = reader.info.backend_pid
        done = rehearse(environment)
    who = f"pid {pid} (reader, idle in transaction, open N s)"
    seen = [(check.name, check.status, re.sub(r"open \d+ s", "open N s", check.finding)) for check in done.waits]
    assert (seen, done.verdict.works) == ([("who holds up the drop", Status.WARN, who)], True)


def test_a_build_is_not_extrapolated_from_a_few_threads(done):
    """From a thousand threads nothing is said of a million."""
    assert done.build_seconds_per_million is None


def test_seconds_per_million(done):
    """The build's seconds are those of the first build of the fixed index, for a million active threads."""
    steps = [StepTime(f"{name}: build", seconds, "done") for name, seconds in (("rollback", 9), ("apply", 3))]
    long = replace(done, active_threads=2_000_000, steps=tuple(steps))
    assert long.build_seconds_per_million == 1.5


@pytest.mark.parametrize(
    ("server_version", "version"),
    [(190000, 18), (180004, 18), (170002, 18), (160009, 16), (150018, 16), (140000, 16)],
)
def test_the_nearest_version(server_version, version):
    """The copy lies on the server of the nearest version; of two, the later."""
    assert nearest_version(server_version) == version


@pytest.mark.slow
@pytest.mark.parametrize("server", [16, 15], indirect=True)
def test_other_versions(incident, server):
    """An environment of PostgreSQL 16 or 15 is rehearsed on 16, whose server is stopped again."""
    done = rehearse(incident)
    assert (done.verdict.works, done.rehearsal_version // 10000) == (True, 16)
    assert demo.is_running(16) is False


# The copy


@pytest.fixture
def copy():
    """An empty scratch database."""
    with scratch_database("a test", 18) as made:
        yield made


def copied(source, into):
    """Copy an environment's threads and unique indexes; what the source counted in the same snapshot, and what is lacking."""
    with connecting(into, "test") as connection:
        connection.execute("DROP TABLE IF EXISTS public.q_threads")
    with reading(source) as connection:
        found = investigate(connection)
        copy_threads(connection, source.name, into, found.catalog, lambda _: None)
    return found, fill_indexes(into, found.catalog)


def counted(into):
    """The catalog and the counts of a copy."""
    with reading(into) as connection:
        catalog = read_catalog(connection)
        return catalog, count_threads(connection, catalog)


def alike(counts):
    """Counts, the purposes' names aside: those that are not the clients' are named anew."""
    return replace(counts, active_by_purpose=dict.fromkeys(sorted(counts.active_by_purpose.values())))


def test_the_copy_counts_as_its_source(incident, copy):
    """The demo's copy has all the counts that the demo has, provider conflicts among them."""
    found, _ = copied(incident, copy)
    assert alike(counted(copy)[1]) == alike(found.counts)
    assert found.counts.residual_conflicts > 0


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(rows=threads())
def test_any_copy_counts_as_its_source(environment, connection, copy, rows):
    """Whatever the threads, NULL owners, odd purposes and several providers among them, the counts are the same."""
    connection.execute("DROP TABLE public.q_threads, public.q_prompts CASCADE")
    demo.load(connection, threads=False)
    with_indexes(connection, INDEXES[IndexState.MISSING])
    admitted(connection, rows)
    found, _ = copied(environment, copy)
    counts = counted(copy)[1]
    assert alike(counts) == alike(found.counts)


def test_ids_are_named_by_hmac(environment, connection):
    """An id is named by the first 16 bytes of its HMAC-SHA256 under the transaction's key; NULL stays NULL."""
    root, owner, key = uuid4(), uuid4(), os.urandom(32)
    add(connection, root, owner)
    add(connection, root, None)
    with reading(environment) as source:
        name_by(source, key)
        found = source.execute(query_text("experiments/rehearsal_threads")).fetchall()

    def name(value):
        return UUID(bytes=hmac.digest(key, value.bytes, "sha256")[:16])

    assert {row[:2] for row in found} == {(name(root), name(owner)), (name(root), None)}


def test_words_of_the_clients_stay(environment, connection):
    """Purposes and providers of the clients stay as they are; any other text is named, equal ones equally."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for purpose, provider in (("run", "openai"), ("chat", "Ann's"), ("Ann's", "Ann's"), ("Ann's", None)):
        thread = add(connection, UUID(int=1), OWNER, purpose=purpose)
        connection.execute("UPDATE public.q_threads SET provider = %s WHERE row_id = %s", [provider, thread])
    with reading(environment) as source:
        name_by(source, b"key")
        words = {row[2:4] for row in source.execute(query_text("experiments/rehearsal_threads")).fetchall()}
    digest = hmac.digest(b"key", b"Ann's", "sha256").hex()[:10]
    assert words == {
        ("run", "openai"),
        ("chat", f"provider-{digest}"),
        (f"purpose-{digest}", f"provider-{digest}"),
        (f"purpose-{digest}", None),
    }


def test_the_key_stands_in_no_query(environment, connection):
    """While the copy runs, its query in pg_stat_activity holds no key: only the names of the settings."""
    seen = []

    def look():
        asked = "SELECT query FROM pg_stat_activity WHERE application_name = 'incident_lib investigate'"
        seen.extend(query for (query,) in connection.execute(asked).fetchall())

    rehearse(environment, listener=lambda p: look() if p.phase.endswith("threads") else None)
    assert seen
    assert [query for query in seen if re.search(r"[0-9a-f]{32}", query)] == []


LEFT_BY = {
    "a build that was killed in its first scan": (False, False, True),
    "a build that was killed in a later wait": (False, True, True),
    "a drop that was killed in its second wait": (False, False, False),
}


@pytest.mark.parametrize("flags", LEFT_BY.values(), ids=LEFT_BY)
def test_leftovers_are_reproduced(environment, connection, copy, flags):
    """The copy has the same unique indexes under the same names, in the states that unfinished builds and drops left."""
    connection.execute(f"CREATE UNIQUE INDEX {BUILD_NAME} {FIXED_KEY}")
    connection.execute(
        "UPDATE pg_index SET indisvalid = %s, indisready = %s, indislive = %s WHERE indexrelid = %s::regclass",
        [*flags, f"public.{BUILD_NAME}"],
    )
    found, lacking = copied(environment, copy)

    def told(catalog):
        return [(i.name, i.kind, i.valid, i.ready, i.live) for i in catalog.family_indexes]

    assert told(counted(copy)[0]) == told(found.catalog)
    assert lacking == ()


@pytest.mark.parametrize("flags", [(False, True, True), (False, False, True)], ids=["enforcing", "not enforcing"])
def test_a_leftover_that_the_rows_break(coexisting, connection, copy, flags):
    """An original index that a killed rollback left, and the rows break, is there in its state; its lack is said."""
    original = FIXED_KEY.replace(", purpose", "")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {RETIRED_NAME} {original}")
    connection.execute(
        "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass", [flags[1], f"public.{RETIRED_NAME}"]
    )
    _, lacking = copied(coexisting, copy)
    left = next(index for index in counted(copy)[0].indexes if index.name == RETIRED_NAME)
    assert (left.valid, left.ready, left.live) == flags
    assert lacking == (f"{RETIRED_NAME} ({left.flags()}): the rows break it, so that it is empty here",)


def test_a_leftover_is_cleaned_up_in_the_rehearsal(environment, connection):
    """A rehearsal begins from the leftovers: the first step is to drop them."""
    connection.execute(f"CREATE UNIQUE INDEX {BUILD_NAME} {FIXED_KEY}")
    connection.execute(
        "UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = %s::regclass",
        [f"public.{BUILD_NAME}"],
    )
    taken = [step for step in names(rehearse(environment)) if step.startswith("apply: ")]
    assert taken == ["apply: drop", *walk("apply")]


def test_a_comment_is_not_copied(incident, copy):
    """A unique index's comment, which somebody wrote, stays there; one that stands for it is carried on."""
    copied(incident, copy)
    (index,) = counted(copy)[0].indexes
    assert index.comment == "as there"


def test_clients_leave_nothing(incident, copy):
    """What clients create on the copy is deleted, and nothing else of it is changed."""
    copied(incident, copy)
    with connecting(copy, "test") as connection:
        before = fetch_one(connection, "analysis/checksum")
        rows = fetch_all(connection, "migration/families_without_chat", {"most": 50})
        with clients_running(copy, [Family(**row) for row in rows]) as clients:
            apply(copy, confirm=copy.name)
        assert fetch_one(connection, "analysis/checksum") == before
    assert client_results(clients).writes > 0


# Nothing is written to the environment


def test_the_source_is_not_changed(incident):
    """No thread of the environment changes, and PostgreSQL counts no write to any of its tables."""
    written = "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables ORDER BY relname"
    with psycopg.connect(incident.address, autocommit=True) as connection:

        def state():
            connection.execute("SELECT pg_stat_force_next_flush()")
            connection.execute("SELECT pg_stat_clear_snapshot()")
            indexes_there = [(i.name, i.definition) for i in read_catalog(connection).indexes]
            return fetch_one(connection, "analysis/checksum"), connection.execute(written).fetchall(), indexes_there

        before = state()
        rehearse(incident)
        assert state() == before


def test_no_transaction_stays_at_the_source(incident):
    """Once the copy is there no transaction of ours is open in the environment."""
    seen = []
    with psycopg.connect(incident.address, autocommit=True) as connection:

        def look():
            ours = (
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'incident_lib%' AND state <> 'idle'"
            )
            seen.append(connection.execute(f"{ours} AND datname = current_database()").fetchone())

        rehearse(incident, listener=at_step("guards", look))
    assert seen == [(0,)]


@pytest.mark.slow
def test_a_writer_is_not_held_up(incident):
    """While the copy runs, clients of the environment write."""
    written = []
    with psycopg.connect(incident.address, autocommit=True) as connection:

        def write():
            connection.execute("SET statement_timeout = '2s'")
            written.append(connection.execute("UPDATE public.q_threads SET message_count = 1").rowcount)

        rehearse(incident, listener=at_step("copy", write, phase="1,000 threads"))
    assert written[0] > 0


# No id leaves


NEEDLE = bytes.fromhex("a17e5c0ffee5eed0")  # all ids of that test begin with it


def searched(folder):
    """Which of the forms of an id, and of a user's text, stand in any file of a folder."""
    forms = {"id": NEEDLE, "id as text": str(UUID(bytes=NEEDLE * 2))[:18].encode(), "id as hex": NEEDLE.hex().encode()}
    contents = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    return {name for name, form in {**forms, "text": b"Ann's"}.items() if any(form in content for content in contents)}


def test_no_id_of_the_source_is_on_disk(environment, connection, tmp_path):
    """No id and no text of a user stands in any file of the embedded server, log and WAL included, or in the result."""
    ids = (UUID(bytes=NEEDLE + number.to_bytes(8)) for number in range(100))
    for root, owner in zip(ids, ids, strict=False):
        add(connection, root, owner, row_id=next(ids), name="Ann's", openai_conversation_id="conv_Ann's")
        add(connection, root, owner, row_id=next(ids), name="Ann's", provider="Ann's", is_active=False)
    found = []

    def look():
        with psycopg.connect(demo.maintenance(18), autocommit=True) as embedded:
            embedded.execute("CHECKPOINT")
        found.append((len(scratch_databases()), searched(demo.folder() / "pg18")))

    done = rehearse(environment, listener=at_step("probe", look))
    (tmp_path / "record").write_text(json.dumps(done.as_record()))
    assert (done.threads, found, searched(tmp_path)) == (50, [(1, set())], set())


def test_the_search_would_find_an_id(environment, connection, tmp_path):
    """The search of that test does find an id and a text in a server's files: in those of the environment's own."""
    add(connection, UUID(bytes=NEEDLE * 2), OWNER, name="Ann's")
    (folder,) = connection.execute("SHOW data_directory").fetchone()
    connection.execute("CHECKPOINT")
    assert {"id", "text"} <= searched(Path(folder))


def test_the_record_holds_no_id(done):
    """The record of a rehearsal holds no id of any kind, pseudonyms included."""
    assert re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-", json.dumps(done.as_record())) == []


# Whatever happens, the scratch database goes


@pytest.mark.slow
def test_nothing_is_left(incident):
    """After a rehearsal its database is gone, and the server that was running runs on."""
    rehearse(incident)
    assert (demo.is_running(), scratch_databases()) == (True, [])


@pytest.mark.parametrize(
    ("step", "phase"),
    [("copy", "1,000 threads"), *((step, "begins") for step in ("guards", "apply: build", "verify", "rollback: drop"))],
)
def test_a_failure_leaves_nothing(incident, step, phase):
    """Wherever it breaks off, its database is gone, and no session of its clients is left."""

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(incident, listener=at_step(step, fail, phase))
    assert scratch_databases() == []
    assert [thread for thread in threading.enumerate() if thread.name == NAME] == []


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing(environment, connection, monkeypatch, signal_):
    """Ctrl-C amid the copy ends it with 130 and one message; its database is gone, and the session at the source."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active)"
        " SELECT gen_random_uuid(), gen_random_uuid(), true FROM generate_series(1, 100000)"
    )
    command = [sys.executable, "-c", HEARING, "rehearse", "--env", "staging"]
    asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%%' AND datname = current_database()"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while connection.execute(asked).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal_)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", INTERRUPTED)
    assert scratch_databases() == []
    assert connection.execute(asked).fetchone() == (0,)


def test_what_a_killed_rehearsal_left_is_dropped(incident):
    """A database that a killed process left is dropped by the next rehearsal; one that is in use is not."""
    left, used = (f"incident_scratch_{number:012x}" for number in (1, 2))
    with psycopg.connect(demo.maintenance(18), autocommit=True) as connection:
        for name in (left, used):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(demo.maintenance(18), application_name=f"incident_lib {used}"):
            rehearse(incident)
        found = scratch_databases()
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(used)))
    assert found == [used]


@pytest.fixture
def stopped(embedded):
    """The embedded server, stopped; running again afterwards."""
    demo.stop()
    yield
    demo.maintenance(18)


def test_a_server_that_it_started_is_stopped(stopped, incident):
    """An embedded server that was not running is started, and stopped again."""
    rehearse(incident)
    assert demo.is_running() is False


def test_a_server_that_others_use_is_not_stopped(stopped, incident):
    """An embedded server that somebody else has begun to use meanwhile is left to them."""
    others = []
    rehearse(incident, listener=at_step("guards", lambda: others.append(psycopg.connect(demo.maintenance(18)))))
    assert demo.is_running() is True
    others[0].close()


# What could not be rehearsed


def test_a_statement_timeout_is_told_of_the_source(incident):
    """A copy that takes longer than it may is the environment's failure, with its cure."""
    with pytest.raises(Failed) as error:
        rehearse(incident, seconds=0.001)
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 57014).\n"
        "  why:  It took longer than the statement timeout, or somebody cancelled it.\n"
        "  next: Try again with a longer --timeout."
    )


def test_a_failure_of_the_embedded_server_is_told_of_it(incident):
    """A failure of the copy's server amid the copy is not said to be the environment's."""

    def terminate():
        with psycopg.connect(demo.maintenance(18), autocommit=True) as connection:
            ours = "application_name = 'incident_lib copy'"
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}")

    with pytest.raises(Failed) as error:
        rehearse(incident, listener=at_step("copy", terminate, phase="1,000 threads"))
    assert error.value.what in (
        "A query failed in the environment 'rehearsal' (SQLSTATE 57P01).",
        "The connection was lost in the environment 'rehearsal'.",
    )
    assert scratch_databases() == []


def test_a_database_without_the_table(server):
    """A database without the table could not be rehearsed, and nothing was begun."""
    with pytest.raises(Failed) as error:
        rehearse(Environment("staging", "INCIDENT_STAGING_URL", server))
    assert error.value.what == "There is no table public.q_threads in this database."


# What is kept, and the command


def test_it_is_kept(named):
    """The command keeps its record beside the environment's runs, where `latest` finds it."""
    ran = shell("rehearse", "--env", "staging", "--format", "json")
    assert json.loads(ran.stdout) == latest_rehearsal("staging")
    assert json.loads((paths.runs() / "staging" / "rehearsal.json").read_text("utf-8")) == json.loads(ran.stdout)


def test_nothing_was_kept():
    """Where there was no rehearsal, or its record cannot be read, there is none."""
    assert latest_rehearsal("staging") is None
    paths.private("staging", FILE).write_text("{", "utf-8")
    assert latest_rehearsal("staging") is None


def test_a_failed_rehearsal_is_kept(duplicated):
    """That the fix will not work is kept, too."""
    shell("rehearse", "--env", "staging")
    assert latest_rehearsal("staging")["works"] is False


KEYS = {
    *("rehearsed_at", "environment", "server_version", "rehearsal_version", "threads", "active_threads", "bytes"),
    *("works", "why", "next", "steps", "build_seconds_per_million", "clients", "rollback", "waits"),
    *("not_reproduced", "copied_in_seconds"),
}


def test_the_keys_of_a_record(done):
    """A record has these keys, and JSON takes it as it is."""
    told = done.as_record()
    assert json.loads(json.dumps(told)) == told
    assert set(told) == KEYS


def test_the_command_as_text(named, done):
    """The command prints each step with its outcome and time, what it showed, and last that it will work."""
    ran = shell("rehearse", "--env", "staging")
    lines = [re.sub(r"\d[\d.,]* (s|calls|chats|runs?|ms)\b", r"N \1", line) for line in ran.stdout.splitlines()]
    version = ".".join(map(str, divmod(latest_rehearsal("staging")["server_version"], 10000)))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert lines[: lines.index("")] == [f"{step}: done, N s" for step in names(done)]
    (met,) = (line for line in lines if line.startswith("Clients: "))
    assert re.fullmatch(
        r"Clients: N calls admitted, N chats, N runs? rejected until it had ended, (none|N runs?) afterwards; "
        r"the longest took N ms\.",
        met,
    )
    assert lines[lines.index("") + 1 :] == [
        f"Copied: 1,506 threads, 94 kB, from PostgreSQL {version} to {version}; ids and what users wrote stayed there.",
        "Build: not known for a million active threads.",
        met,
        "Rollback: possible. No family holds more than one active thread; the first chat beside a run ends that.",
        "In staging now: nobody would make it wait.",
        f"staging: it will work. On a copy of 1,408 active threads {WENT_IN} Next: {NEXT}",
    ]


def test_an_unreachable_environment(monkeypatch):
    """An environment that cannot be reached is exit code 3, and nothing is kept."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", "postgresql://nobody@/none?host=/nowhere")
    ran = shell("rehearse", "--env", "staging")
    assert (ran.returncode, ran.stdout, latest_rehearsal("staging")) == (3, "", None)


@pytest.mark.slow
def test_a_million_threads(environment, connection, capsys):
    """A million active threads are rehearsed; how long that took is printed."""
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active)"
        " SELECT md5('root' || n)::uuid, md5('owner' || n % 50000)::uuid, true FROM generate_series(1, 1000000) AS n"
    )
    began = time.monotonic()
    done = rehearse(environment)
    with capsys.disabled():
        print(f"\n1,000,000 active threads were rehearsed in {time.monotonic() - began:.1f} s")
    assert (done.threads, done.verdict.works, done.build_seconds_per_million > 0) == (1_000_000, True, True)
