"""`incident rehearse` on real servers: its verdict for each state of a database, and that it changes nothing there."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from incident_lib import paths
from incident_lib.analysis import count_threads, investigate
from incident_lib.cli import cli
from incident_lib.database import Environment, connecting, demo, fetch_one, query_text, read_catalog, reading
from incident_lib.experiments import rehearse
from incident_lib.experiments.rehearsal.callers import callers_of
from incident_lib.experiments.rehearsal.copy import copy_threads, fill_indexes, set_key
from incident_lib.experiments.rehearsal.rehearse import count_calls, run_traffic
from incident_lib.experiments.rehearsal.verdict import TrialResult, judge, seconds_per_million
from incident_lib.experiments.traffic import NAME, Call, TrafficResult
from incident_lib.migration import apply, run_preflight
from incident_lib.model import (
    INDEX_NAME,
    ClientCounts,
    Failed,
    IndexState,
    Refused,
    RehearsalReport,
    RehearsalStep,
    RollbackOutcome,
    Status,
)
from incident_lib.model.change import PURPOSE
from incident_lib.records import REHEARSAL, latest_rehearsal, to_json
from tests.conftest import add
from tests.migration.test_partitions import PARTITIONED
from tests.support import clusters
from tests.support.command import HEARING, INTERRUPTED, message, shell, unmeasured
from tests.support.scratch import scratch_databases
from tests.support.threads import INDEXES, admitted, threads, with_indexes

OWNER = UUID(int=7)
STEPS = ["build", "swap", "drop"]
NEXT = "incident apply --env staging --confirm staging"
APPLIED = "the fix was applied while clients wrote, was rolled back, and was applied again."
FIXED_KEY = (
    "ON public.q_threads (root_prompt_row_id, owner_id, purpose)"
    " WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
)


@pytest.fixture(scope="module", autouse=True)
def embedded():
    """The running embedded server: a rehearsal neither starts nor stops it."""
    demo.maintenance(18)
    yield
    demo.stop()


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """The folder of runs of this test."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def source(server):
    """The demo's threads under the original index, for tests that only read them."""
    return Environment("staging", "INCIDENT_STAGING_URL", clusters.at(server, "incident_template"))


@dataclass
class Observed:
    """A rehearsal and the state of its source before and after.

    Attributes:
        queries: what the session at the source ran during the copy.
        open_transactions: at the source, once the copy was complete.
        before, after: checksum, writes to each table, and indexes of the source.
        left: scratch databases afterwards.
    """

    report: RehearsalReport
    queries: list[str]
    open_transactions: int
    before: Any
    after: Any
    left: list[str]


@pytest.fixture(scope="module")
def observed(source):
    """A rehearsal of the demo's threads under the original index."""
    written = "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables ORDER BY relname"
    sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'incident_lib%'"
    queries, open_transactions = [], []
    with psycopg.connect(source.address, autocommit=True) as connection:

        def state():
            connection.execute("SELECT pg_stat_force_next_flush()")
            connection.execute("SELECT pg_stat_clear_snapshot()")
            indexes = [(index.name, index.definition) for index in read_catalog(connection).indexes]
            return fetch_one(connection, "analysis/checksum"), connection.execute(written).fetchall(), indexes

        def listener(progress):
            if progress.step == "copy" and progress.phase.endswith("threads"):
                queries.extend(query for (query,) in connection.execute(f"SELECT query {sessions}").fetchall())
            if (progress.step, progress.phase) == ("indexes", "begins"):
                open_transactions.append(
                    connection.execute(f"SELECT count(*) {sessions} AND state <> 'idle'").fetchone()[0]
                )

        before = state()
        report = rehearse(source, listener=listener)
        return Observed(report, queries, *open_transactions, before, state(), scratch_databases())


@pytest.fixture
def report(observed):
    """The report of the rehearsal of the demo's threads."""
    return observed.report


@pytest.fixture
def named(source, monkeypatch):
    """`source`, with the name `staging`."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", source.address)
    return source


@pytest.fixture
def fixed(environment, connection):
    """The fixed index, with a run and a chat in different families."""
    add(connection, UUID(int=1), OWNER)
    add(connection, UUID(int=2), OWNER, purpose="chat")
    apply(environment, confirm="staging")
    return environment


@pytest.fixture
def coexisting(fixed, connection):
    """The fixed index, with two families that have an active chat and an active run."""
    for number in (101, 102):
        for purpose in ("run", "chat"):
            add(connection, UUID(int=number), OWNER, purpose=purpose)
    return fixed


@pytest.fixture
def duplicated(staging, connection):
    """No unique index, with three keys of the fixed index that two active threads share."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for number in (1, 2, 3):
        add(connection, UUID(int=number), OWNER)
        add(connection, UUID(int=number), OWNER)
    return staging


def conclusion(report):
    """Whether the fix will work, the reason, and the next action."""
    return report.works, report.why, report.next


def names(report):
    """The names of the steps, all with the outcome done."""
    assert {step.outcome for step in report.steps} == {"done"}
    return [step.name for step in report.steps]


def migration(name):
    """The steps of a complete migration, as a rehearsal names them."""
    return [f"{name}: {step}" for step in STEPS]


def at_step(step, action, phase="begins"):
    """A listener that calls a function when a step begins or reaches a phase."""

    def listener(progress):
        if (progress.step, progress.phase) == (step, phase):
            action()

    return listener


# The verdict


def test_the_fix_will_work(report):
    """If no rows violate the fixed index, the rehearsal says that the fix will work."""
    assert conclusion(report) == (True, f"On a copy of 1,408 active threads {APPLIED}", NEXT)


def test_the_steps(report):
    """A rehearsal copies, counts, applies, verifies, probes, rolls back and applies again."""
    assert names(report) == [
        *("copy", "indexes", "count"),
        *(*migration("apply"), "verify", "probe"),
        *(*migration("rollback"), "verify"),
        *(*migration("apply again"), "verify"),
    ]


def test_clients_are_rejected_until_the_fix_is_applied(report):
    """Its clients get the incident's errors before the fix, and no chat is rejected after the fix."""
    clients = report.clients
    assert (clients.rejected["chat"] > 0, clients.rejected_after.get("chat"), clients.errors) == (True, None, {})
    assert (clients.writes > 0, clients.longest_stall > 0) == (True, True)


def test_clients_of_another_provider_are_rejected_after_the_fix(environment, connection):
    """A run whose family has a run of another provider is also rejected after the fix; this is not a failure."""
    add(connection, UUID(int=1), OWNER, provider="manus")
    report = rehearse(environment)
    assert (report.clients.rejected_after.keys(), report.works) == ({"run"}, True)


@pytest.mark.parametrize(
    ("counts", "finding"),
    [
        ({"rejected_after": {"chat": 2, "run": 1}}, "2 chats rejected after the fix"),
        ({"errors": {"40P01": 1}}, "errors that no unique index causes (40P01)"),
    ],
    ids=["chats", "errors"],
)
def test_client_errors_that_mean_the_fix_will_not_work(source, report, counts, finding):
    """A chat that is rejected after the fix, or an error of another kind, means that the fix will not work."""
    with reading(source) as connection:
        found = investigate(connection)
        preflight = run_preflight(connection, source, found)
    trial = TrialResult(applied=True, checks=(), clients=replace(report.clients, **counts), rollback=report.rollback)
    assert judge("staging", found, trial, preflight.checks) == (
        False,
        f"clients: {finding}.",
        "Rehearse again, and apply the fix only once this does not happen any more.",
    )


def test_calls_are_counted():
    """The counts include each call, and the longest stall is the maximum over all calls."""
    calls = (
        Call("chat", -0.1, 0.7, "23505"),
        Call("run", 0.1, 0.1, "40P01"),
        Call("run", 0.2, 0.1, ""),
        Call("run", 1.2, 0.2, "23505"),
    )
    assert count_calls(TrafficResult(calls, end=1.0)) == ClientCounts(
        writes=1, rejected={"chat": 1}, rejected_after={"run": 1}, errors={"40P01": 1}, longest_stall=0.7
    )


def test_the_rollback_works(report):
    """If no family has two active threads, the rollback works, and the report says what will prevent it later."""
    assert report.rollback == RollbackOutcome(
        possible=True, why="No family has several active threads. The first chat beside a run will prevent a rollback."
    )


def test_a_rollback_that_cannot_work(coexisting):
    """If families have a chat and a run, the report says how many prevent the rollback; the fix works."""
    report = rehearse(coexisting)
    assert report.rollback == RollbackOutcome(
        possible=False,
        why="2 families have several active threads, which the original index does not allow; "
        "`incident plan --env staging --rollback` lists them, and prints SQL that resolves them.",
    )
    assert conclusion(report) == (
        True,
        "The fix has already been applied. On a copy of 6 active threads it worked while clients wrote.",
        "incident verify --env staging",
    )


DUPLICATES = (
    "duplicates: several active threads share 3 keys of the fixed index. The fix failed on the copy, too.",
    "Resolve them first: `incident plan` prints SQL for it, and never runs it.",
)


def test_rows_that_violate_the_fixed_index(duplicated):
    """If no index is enforced and keys are shared, the report says that the fix will not work, why, and what to do."""
    report = rehearse(duplicated)
    assert conclusion(report) == (False, *DUPLICATES)
    assert report.rollback == RollbackOutcome(possible=None, why="Not tried: the fix was not applied.")
    assert [(step.name, step.outcome) for step in report.steps][3:] == [("apply: build", "failed")]


def test_a_missing_index_without_duplicates(environment, connection):
    """If the index is missing and no key is shared, the fix works."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    add(connection, UUID(int=1), OWNER)
    assert conclusion(rehearse(environment)) == (True, f"On a copy of 1 active thread {APPLIED}", NEXT)


@pytest.mark.slow
def test_a_name_that_is_taken(environment, connection):
    """The copy has no relation with a name that the fix needs, but the preflight finds it: the fix will not work."""
    for name in PURPOSE.names[1:]:
        connection.execute(f"CREATE TABLE public.{name} ()")
    report = rehearse(environment)
    assert (report.works, report.next) == (False, "Then run `incident plan` again.")
    assert report.why.startswith("indexes: ")
    assert f"{PURPOSE.build_name} is a relation of kind r" in report.why
    expected = [f"{name}: in the environment it is a relation of kind r" for name in PURPOSE.names[1:]]
    assert report.not_reproduced == expected


def test_an_index_that_cannot_be_read(environment, connection):
    """An enforced index whose definition cannot be read is not copied, and the fix will not work."""
    odd = "ON public.q_threads (root_prompt_row_id, owner_id, provider) WHERE is_active"
    connection.execute(f"CREATE UNIQUE INDEX odd {odd}")
    report = rehearse(environment)
    assert (report.works, report.not_reproduced) == (False, ["odd: its definition cannot be read"])


@pytest.mark.slow
def test_a_fix_that_has_been_applied(fixed):
    """If the fix has been applied, nothing has to be applied, and rollback and fix are still rehearsed."""
    report = rehearse(fixed)
    assert names(report) == [
        *("copy", "indexes", "count", "verify", "probe"),
        *(*migration("rollback"), "verify"),
        *(*migration("apply again"), "verify"),
    ]
    assert conclusion(report) == (
        True,
        "The fix has already been applied. On a copy of 2 active threads it worked while clients wrote, "
        "was rolled back, and was applied again.",
        "incident verify --env staging",
    )


@pytest.mark.slow
def test_a_partitioned_table(environment, connection):
    """The copy of a partitioned table is an ordinary one, and the report says what was not measured."""
    connection.execute(PARTITIONED)
    report = rehearse(environment)
    assert report.not_reproduced == [
        "the partitions: the copy is an ordinary table, so creating and attaching their indexes was not measured"
    ]
    assert "not partitioned" in {check.name for check in report.waits}


def test_an_empty_table(environment):
    """An empty table is rehearsed with the families of the synthetic clients."""
    report = rehearse(environment)
    assert conclusion(report) == (True, f"On a copy of 0 active threads {APPLIED}", NEXT)
    assert (report.threads, report.clients.writes > 0, report.clients.rejected["run"] > 0) == (0, True, True)


@pytest.mark.slow
def test_what_would_delay_the_fix(environment):
    """The preflight names a transaction that is open in the environment; it does not delay the copy."""
    with psycopg.connect(environment.address, application_name="reader") as reader:
        reader.execute("SELECT FROM public.q_threads")
        pid = reader.info.backend_pid
        report = rehearse(environment)
    session = f"pid {pid} (reader, idle in transaction, open N s)"
    waits = [(check.name, check.status, re.sub(r"open \d+ s", "open N s", check.finding)) for check in report.waits]
    assert (waits, report.works) == ([("blocks the drop", Status.WARN, session)], True)


def test_a_build_is_not_extrapolated_from_a_few_threads(report):
    """The build time of a thousand threads is not extrapolated to a million."""
    assert report.build_seconds_per_million is None


def test_seconds_per_million():
    """The seconds per million are those of the first build of the fixed index, for a million active threads."""
    steps = [
        RehearsalStep(name=f"{name}: build", seconds=seconds, outcome=outcome)
        for name, seconds, outcome in (("rollback", 9, "done"), ("apply", 7, "failed"), ("apply again", 3, "done"))
    ]
    assert seconds_per_million(steps, 2_000_000) == 1.5
    assert seconds_per_million(steps[:2], 2_000_000) is None


@pytest.mark.slow
@pytest.mark.parametrize("server", [16, 15], indirect=True)
def test_other_versions(incident, server):
    """An environment of PostgreSQL 15 or 16 is rehearsed on 16, whose server is stopped afterwards."""
    report = rehearse(incident)
    assert (report.works, report.rehearsal_version // 10000) == (True, 16)
    assert demo.is_running(16) is False


# The copy


@pytest.fixture(scope="module")
def copy(server):
    """A database for copies; each copy replaces the one before."""
    with clusters.database(server, "template0") as address:
        yield Environment("copy", "a test", address)


def copied(source, into):
    """Copy threads and indexes; returns the source's indexes and counts, and what was not copied."""
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


def without_names(counts):
    """Counts without the names of the purposes: on a copy, unknown purposes are pseudonyms."""
    return replace(counts, active_by_purpose=dict.fromkeys(sorted(counts.active_by_purpose.values())))


def test_the_copy_has_the_counts_of_its_source(source, copy):
    """The demo's copy has the same counts as the demo, including provider conflicts."""
    found, _ = copied(source, copy)
    assert without_names(counted(copy)[1]) == without_names(found.counts)
    assert found.counts.residual_conflicts > 0


@pytest.fixture
def unindexed(environment, connection):
    """An environment whose table has no unique index."""
    with_indexes(connection, INDEXES[IndexState.MISSING])
    return environment


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(rows=threads())
def test_any_copy_has_the_counts_of_its_source(unindexed, connection, copy, rows):
    """A copy of any threads has the same counts, including NULL owners, unknown purposes and several providers."""
    admitted(connection, rows)
    found, _ = copied(unindexed, copy)
    assert without_names(counted(copy)[1]) == without_names(found.counts)


def test_ids_are_replaced_by_their_hmac(environment, connection):
    """An id becomes the first 16 bytes of its HMAC-SHA256 with the transaction's key; NULL stays NULL."""
    root, owner, key = uuid4(), uuid4(), os.urandom(32)
    add(connection, root, owner)
    add(connection, root, None)
    with reading(environment) as source:
        set_key(source, key)
        found = source.execute(query_text("experiments/rehearsal_threads")).fetchall()

    def digest(value):
        return UUID(bytes=hmac.digest(key, value.bytes, "sha256")[:16])

    assert {row[:2] for row in found} == {(digest(root), digest(owner)), (digest(root), None)}


def test_values_of_the_clients_stay(environment, connection):
    """Purposes and providers of the clients are copied; any other text is replaced, equal texts by equal ones."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for purpose, provider in (("run", "openai"), ("chat", "Ann's"), ("Ann's", "Ann's"), ("Ann's", None)):
        thread = add(connection, UUID(int=1), OWNER, purpose=purpose)
        connection.execute("UPDATE public.q_threads SET provider = %s WHERE row_id = %s", [provider, thread])
    with reading(environment) as source:
        set_key(source, b"key")
        values = {row[2:4] for row in source.execute(query_text("experiments/rehearsal_threads")).fetchall()}
    digest = hmac.digest(b"key", b"Ann's", "sha256").hex()[:10]
    assert values == {
        ("run", "openai"),
        ("chat", f"provider-{digest}"),
        (f"purpose-{digest}", f"provider-{digest}"),
        (f"purpose-{digest}", None),
    }


def test_the_key_is_in_no_query(observed):
    """During the copy, its query in pg_stat_activity has the names of the settings and not the key."""
    assert any(query.startswith("COPY") for query in observed.queries)
    assert [query for query in observed.queries if re.search(r"[0-9a-f]{32}", query)] == []


UNFINISHED = {
    "a build that was killed in its first scan": (False, False, True),
    "a build that was killed in a later wait": (False, True, True),
    "a drop that was killed in its second wait": (False, False, False),
}


@pytest.mark.parametrize("flags", UNFINISHED.values(), ids=UNFINISHED)
def test_unfinished_builds_and_drops_are_reproduced(environment, connection, copy, flags):
    """The copy has the same indexes, names and flags, including those of unfinished builds and drops."""
    connection.execute(f"CREATE UNIQUE INDEX {PURPOSE.build_name} {FIXED_KEY}")
    connection.execute(
        "UPDATE pg_index SET indisvalid = %s, indisready = %s, indislive = %s WHERE indexrelid = %s::regclass",
        [*flags, f"public.{PURPOSE.build_name}"],
    )
    found, not_reproduced = copied(environment, copy)

    def states(catalog):
        return [(i.name, i.kind, i.valid, i.ready, i.live) for i in catalog.relevant_indexes]

    assert states(counted(copy)[0]) == states(found.catalog)
    assert not_reproduced == []


@pytest.mark.parametrize("flags", [(False, True, True), (False, False, True)], ids=["enforced", "not enforced"])
def test_an_unfinished_index_that_the_rows_violate(coexisting, connection, copy, flags):
    """An unfinished original index that the rows violate is copied with its flags; the report says that it is empty."""
    original = FIXED_KEY.replace(", purpose", "")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.retired_name} {original}")
    connection.execute(
        "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass",
        [flags[1], f"public.{PURPOSE.retired_name}"],
    )
    _, not_reproduced = copied(coexisting, copy)
    index = next(index for index in counted(copy)[0].relevant_indexes if index.name == PURPOSE.retired_name)
    assert (index.valid, index.ready, index.live) == flags
    assert not_reproduced == [
        f"{PURPOSE.retired_name} ({index.flags()}): the rows violate it, so it is empty on the copy"
    ]


def test_an_unfinished_build_is_dropped_in_the_rehearsal(environment, connection):
    """In a rehearsal after an interrupted migration, the first step drops the unfinished index."""
    connection.execute(f"CREATE UNIQUE INDEX {PURPOSE.build_name} {FIXED_KEY}")
    connection.execute(
        "UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = %s::regclass",
        [f"public.{PURPOSE.build_name}"],
    )
    steps = [step for step in names(rehearse(environment)) if step.startswith("apply: ")]
    assert steps == ["apply: drop", *migration("apply")]


def test_a_comment_is_not_copied(source, copy):
    """The text of an index's comment is replaced by a placeholder, as the migration keeps comments."""
    copied(source, copy)
    (index,) = counted(copy)[0].relevant_indexes
    assert index.comment == "a comment"


def test_the_clients_threads_are_deleted(source, copy):
    """The clients' threads on the copy are deleted, and no other row of the copy is changed."""
    copied(source, copy)
    with connecting(copy, "test") as connection:
        before = fetch_one(connection, "analysis/checksum")
        with run_traffic(copy, callers_of(copy, PURPOSE)) as clients, clients.change():
            apply(copy, confirm=copy.name)
        assert fetch_one(connection, "analysis/checksum") == before
    assert clients.result().admitted.total() > 0


# Nothing is written to the environment


def test_the_source_is_not_changed(observed):
    """No thread of the environment changes, and PostgreSQL counts no write to any of its tables."""
    assert observed.after == observed.before


def test_no_transaction_stays_at_the_source(observed):
    """After the copy, the rehearsal has no open transaction in the environment."""
    assert observed.open_transactions == 0


@pytest.mark.slow
def test_clients_can_write_during_the_copy(incident):
    """Clients of the environment can write during the copy."""
    written = []
    with psycopg.connect(incident.address, autocommit=True) as connection:

        def write():
            connection.execute("SET statement_timeout = '2s'")
            written.append(connection.execute("UPDATE public.q_threads SET message_count = 1").rowcount)

        rehearse(incident, listener=at_step("copy", write, phase="1,000 threads"))
    assert written[0] > 0


# No id of the environment leaves it


NEEDLE = bytes.fromhex("a17e5c0ffee5eed0")  # all ids of that test have this prefix


def searched(folder):
    """The forms of an id, or of a user's text, that a file of a folder has."""
    forms = {"id": NEEDLE, "id as text": str(UUID(bytes=NEEDLE * 2))[:18].encode(), "id as hex": NEEDLE.hex().encode()}
    contents = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    return {name for name, form in {**forms, "text": b"Ann's"}.items() if any(form in content for content in contents)}


def test_no_id_of_the_source_is_on_disk(environment, connection, tmp_path):
    """No file of the embedded server, log and WAL included, and no report has an id or a text of a user."""
    ids = (UUID(bytes=NEEDLE + number.to_bytes(8)) for number in range(100))
    for root, owner in zip(ids, ids, strict=False):
        add(connection, root, owner, row_id=next(ids), name="Ann's", openai_conversation_id="conv_Ann's")
        add(connection, root, owner, row_id=next(ids), name="Ann's", provider="Ann's", is_active=False)
    found = []

    def search():
        with psycopg.connect(demo.maintenance(18), autocommit=True) as server:
            server.execute("CHECKPOINT")
        found.append((len(scratch_databases()), searched(demo.folder() / "pg18")))

    report = rehearse(environment, listener=at_step("probe", search))
    (tmp_path / "report").write_text(to_json(report))
    assert (report.threads, found, searched(tmp_path)) == (50, [(1, set())], set())


def test_the_search_finds_an_id(environment, connection, tmp_path):
    """The same search finds an id and a text in the files of the environment's own server."""
    add(connection, UUID(bytes=NEEDLE * 2), OWNER, name="Ann's")
    (folder,) = connection.execute("SHOW data_directory").fetchone()
    connection.execute("CHECKPOINT")
    assert {"id", "text"} <= searched(Path(folder))


def test_the_report_holds_no_id(report):
    """The report of a rehearsal has no raw id and no id of the copy."""
    assert re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-", to_json(report)) == []


# The scratch database is always dropped


def test_the_scratch_database_is_dropped(observed):
    """After a rehearsal its database is dropped, and a server that was running before still runs."""
    assert (demo.is_running(), observed.left) == (True, [])


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        ("copy", "1,000 threads"),
        *((step, "begins") for step in ("indexes", "apply: build", "verify", "rollback: drop")),
    ],
)
def test_after_a_failure_the_scratch_database_is_dropped(source, step, phase):
    """If a rehearsal fails at any step, its database is dropped, and no thread of its clients is left."""

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(source, listener=at_step(step, fail, phase))
    assert scratch_databases() == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith(NAME)] == []


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_after_ctrl_c_the_scratch_database_is_dropped(environment, connection, monkeypatch, signal_):
    """Ctrl-C during the copy ends it with 130 and one message; its database and its session at the source are gone."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active)"
        " SELECT gen_random_uuid(), gen_random_uuid(), true FROM generate_series(1, 50000)"
    )
    command = [sys.executable, "-c", HEARING, "rehearse", "--env", "staging"]
    copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%%' AND datname = current_database()"
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": unmeasured(os.environ)}
    with subprocess.Popen(command, **piped) as process:
        deadline = time.monotonic() + 30
        while connection.execute(copying).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal_)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", INTERRUPTED)
    assert scratch_databases() == []
    assert connection.execute(copying).fetchone() == (0,)


# Failures


def test_a_statement_timeout_is_the_sources(source):
    """A copy that exceeds the statement timeout is a failure of the environment, with an action."""
    with psycopg.connect(source.address) as locking:
        locking.execute("LOCK TABLE public.q_threads")  # the copy waits longer than its 0.2 s, however fast it is
        with pytest.raises(Failed) as error:
            rehearse(source, seconds=0.2)
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 57014).\n"
        "  why:  PostgreSQL says: canceling statement due to statement timeout.\n"
        "  next: Try again with a longer --timeout."
    )


def test_a_failure_of_the_embedded_server_names_the_rehearsal(source):
    """A failure of the embedded server during the copy is not reported as a failure of the environment."""

    def terminate():
        with psycopg.connect(demo.maintenance(18), autocommit=True) as connection:
            copying = "application_name = 'incident_lib copy'"
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {copying}")

    with pytest.raises(Failed) as error:
        rehearse(source, listener=at_step("copy", terminate, phase="1,000 threads"))
    assert error.value.what in (
        "A query failed in the environment 'rehearsal' (SQLSTATE 57P01).",
        "The connection was lost in the environment 'rehearsal'.",
    )
    assert scratch_databases() == []


def test_a_database_without_the_table(server):
    """A database without the table cannot be rehearsed, and no copy is begun."""
    with pytest.raises(Failed) as error:
        rehearse(Environment("staging", "INCIDENT_STAGING_URL", server))
    assert error.value.what == "There is no table public.q_threads in this database."


# The file and the command


def test_the_report_is_written(named):
    """The command writes its report beside the environment's runs, and prints the same as JSON."""
    ran = CliRunner().invoke(cli, ["rehearse", "--env", "staging", "--format", "json"])
    assert (paths.runs() / "staging" / "rehearsal.json").read_text("utf-8") == to_json(latest_rehearsal("staging"))
    assert json.loads(ran.stdout)["result"] == msgspec.to_builtins(latest_rehearsal("staging"))


def test_without_a_rehearsal_there_is_no_report():
    """Without a rehearsal, or with a file that cannot be read, there is no report."""
    assert latest_rehearsal("staging") is None
    paths.environment_file("staging", REHEARSAL).write_text("{", "utf-8")
    assert latest_rehearsal("staging") is None


def test_a_fix_that_will_not_work(duplicated):
    """If the fix will not work, the command refuses, and writes its report."""
    ran = CliRunner().invoke(cli, ["rehearse", "--env", "staging"])
    assert isinstance(ran.exception, Refused)
    assert latest_rehearsal("staging").works is False


@pytest.mark.slow
def test_a_fix_that_will_not_work_in_a_shell(duplicated):
    """If the fix will not work, the command in a shell exits with 1 and one message."""
    ran = shell("rehearse", "--env", "staging")
    assert (ran.returncode, ran.stderr) == (1, message("The fix will not work in 'staging'.", *DUPLICATES))


def test_the_command_as_text(named, report):
    """The command prints whether the fix will work, then the results, then each step with its outcome and time."""
    ran = shell("rehearse", "--env", "staging")
    number = r"\d[\d.,]* (s|calls|chats?|runs?|ms)\b"
    lines = [re.sub(number, r"N \1", line.strip()) for line in ran.stdout.splitlines()]
    version = ".".join(map(str, divmod(latest_rehearsal("staging").server_version, 10000)))
    assert (ran.returncode, ran.stderr) == (0, "")
    begin, end = lines.index(""), lines.index("Steps on the copy")
    results, table = lines[begin + 1 : end - 1], lines[end + 2 :]
    assert lines[:begin] == [
        f"staging: the fix will work. On a copy of 1,408 active threads {APPLIED}",
        "Next:",
        NEXT,
    ]
    assert [line.split("\t")[1] for line in table] == ["done"] * len(names(report))
    assert [line.split("\t")[0] for line in table] == names(report)
    (clients,) = (line for line in results if line.startswith("Clients: "))
    assert re.fullmatch(
        r"Clients: N calls admitted; rejected before the end of the migration: N chats?, N runs?; "
        r"after it: (none|N runs?)\. The longest call took N ms\.",
        clients,
    )
    assert results == [
        f"Copied: 1,506 threads, 94 kB, from PostgreSQL {version} to PostgreSQL {version}. "
        "Ids and texts of users were not copied.",
        "Build: unknown for a million active threads.",
        clients,
        "Rollback: possible. No family has several active threads. "
        "The first chat beside a run will prevent a rollback.",
        "Nothing would delay the fix in staging now.",
    ]


def test_an_unreachable_environment(monkeypatch):
    """An environment that cannot be reached is a failure with exit code 3, and no file is written."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", "postgresql://nobody@/none?host=/nowhere")
    ran = CliRunner().invoke(cli, ["rehearse", "--env", "staging"])
    assert isinstance(ran.exception, Failed)
    assert (ran.exception.exit_code, ran.stdout, latest_rehearsal("staging")) == (3, "", None)


@pytest.mark.slow
def test_many_threads(environment, connection, capsys):
    """A hundred thousand active threads are rehearsed; the test prints the time."""
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, is_active)"
        " SELECT md5('root' || n)::uuid, md5('owner' || n % 50000)::uuid, true FROM generate_series(1, 100000) AS n"
    )
    began = time.monotonic()
    report = rehearse(environment)
    with capsys.disabled():
        print(f"\n100,000 active threads were rehearsed in {time.monotonic() - began:.1f} s")
    assert (report.threads, report.works, report.build_seconds_per_million > 0) == (100_000, True, True)
