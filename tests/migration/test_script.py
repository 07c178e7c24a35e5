"""The migration as SQL files: run by a real psql, killed between and inside any of them, run again, and linted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner

from incident_lib.analysis import settling_sql
from incident_lib.cli import cli
from incident_lib.database import fetch_one, read_catalog
from incident_lib.migration.script import migration_files, migration_script
from incident_lib.migration.verify import holds, verify_catalog
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from tests.conftest import add
from tests.support.psql import psql

EVERY_VERSION = True
COMMENT = "one active thread per prompt family and user"
TARGETS = [IndexKind.FIXED, IndexKind.ORIGINAL]
NAMES = ["01_check", "02_drop_retired", "03_build", "04_swap", "05_retire"]
ROOT, OWNER = UUID(int=1), UUID(int=2)
NOON = datetime(2025, 9, 22, 12, tzinfo=UTC)


def errors(said):
    """The errors among what psql said, without their lines."""
    return [line.partition(": ")[2] for line in said.splitlines() if "ERROR:" in line]


def session(environment):
    """An autocommit session."""
    return psycopg.connect(environment.address, autocommit=True)


def catalog_of(environment):
    """The unique indexes, as they are now."""
    with session(environment) as connection:
        return read_catalog(connection)


def seen(environment):
    """Name, kind, flags and comment of each unique index."""
    return [(i.name, i.kind, i.flags(), i.comment) for i in catalog_of(environment).relevant_indexes]


def checksum(environment):
    """The checksum over all threads."""
    with session(environment) as connection:
        return fetch_one(connection, "analysis/checksum")


def run_files(environment, target, places=list):
    """Run files one by one, as a migrations runner does; a unique index is enforced all the time."""
    with always_enforced(environment):
        for name, text in places(migration_files(target)):
            code, said = psql(environment, text)
            assert (name, code, errors(said)) == (name, 0, [])


@contextmanager
def always_enforced(environment):
    """Look at the catalog again and again, from before to after: at each look a unique index is enforced."""
    done = threading.Event()

    def is_enforced(connection):
        return any(index.enforced for index in read_catalog(connection).relevant_indexes)

    def look(connection):
        looks = []
        while not done.is_set():
            with suppress(psycopg.errors.InternalError_):  # an index that is dropped while it is looked at
                looks.append(is_enforced(connection))
        return looks

    # The first look is made before anything runs: a file may end before a thread has begun.
    with session(environment) as connection, ThreadPoolExecutor(1) as pool:
        assert is_enforced(connection)
        looker = pool.submit(look, connection)
        try:
            yield
        finally:
            done.set()
        assert all(looker.result())
        assert is_enforced(connection)


def alone(kind, comment=COMMENT):
    """What is seen where a unique index of that kind stands alone."""
    return [(INDEX_NAME, kind, "valid", comment)]


def start_from(environment, target):
    """Bring the environment to where the way to `target` begins."""
    if target is IndexKind.ORIGINAL:
        run_files(environment, IndexKind.FIXED)


def coexist(environment):
    """A family with an active chat and an active run, under the fixed index."""
    run_files(environment, IndexKind.FIXED)
    with session(environment) as connection:
        for purpose in ("chat", "run"):
            add(connection, ROOT, OWNER, purpose=purpose)


# By psql


def test_the_script_ends_fixed(incident):
    """Run by psql, the script ends with the fixed index alone, and every check of the verification holds."""
    code, said = psql(incident, migration_script(IndexKind.FIXED))
    notices = [line.partition(": ")[2] for line in said.splitlines()]
    assert (code, notices) == (
        0,
        [f'NOTICE:  index "{name}" does not exist, skipping' for name in (PURPOSE.retired_name, PURPOSE.build_name)],
    )
    assert seen(incident) == alone(IndexKind.FIXED)
    assert holds(verify_catalog(catalog_of(incident)))


@pytest.mark.parametrize("target", TARGETS)
def test_the_script_twice_is_once(incident, target):
    """Run a second time, the script ends the same."""
    start_from(incident, target)
    assert [psql(incident, migration_script(target))[0] for _ in range(2)] == [0, 0]
    assert seen(incident) == alone(target)


def test_the_script_changes_no_thread(incident):
    """Neither script changes a thread."""
    before = checksum(incident)
    psql(incident, migration_script(IndexKind.FIXED))
    psql(incident, migration_script(IndexKind.ORIGINAL))
    assert checksum(incident) == before


def test_the_rollback_ends_original(incident):
    """Run by psql where no families coexist, the rollback's script ends with the original index alone."""
    start_from(incident, IndexKind.ORIGINAL)
    assert psql(incident, migration_script(IndexKind.ORIGINAL))[0] == 0
    assert seen(incident) == alone(IndexKind.ORIGINAL)


@pytest.mark.parametrize("comment", ['it\'s 100% "quoted" \\ $$', None])
def test_the_script_keeps_the_comment(environment, connection, comment):
    """Whatever stands in the unique index's comment, or that it has none, is kept."""
    connection.execute(f"COMMENT ON INDEX public.{INDEX_NAME} IS {psycopg.sql.Literal(comment).as_string(connection)}")
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 0
    assert seen(environment) == alone(IndexKind.FIXED, comment)


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_index_stops_the_script(environment, connection, target):
    """With no unique index under the official name the script stops with its message."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    code, said = psql(environment, migration_script(target))
    assert (code, errors(said)) == (
        3,
        [f"ERROR:  public.{INDEX_NAME} is missing, not complete or not as expected: use the incident command"],
    )


def test_a_missing_index_loses_nothing_more(environment, connection):
    """With the official name gone the script leaves enforced what stands under another one."""
    connection.execute(f"ALTER INDEX public.{INDEX_NAME} RENAME TO {PURPOSE.retired_name}")
    before = seen(environment)
    psql(environment, migration_script(IndexKind.FIXED))
    assert seen(environment) == before


def test_an_incomplete_index_stops_the_script(environment, connection):
    """A unique index that is invalid stops the script, and what stands beside it stays."""
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [INDEX_NAME])
    connection.execute(f"CREATE INDEX {PURPOSE.retired_name} ON public.q_threads (owner_id)")
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 3
    with session(environment) as other:
        found = other.execute("SELECT to_regclass(%s) IS NOT NULL", [PURPOSE.retired_name]).fetchone()
    assert found == (True,)


def test_coexisting_families_stop_the_rollback(environment):
    """Where families coexist the rollback's script stops with its message, and the fixed index stays alone."""
    coexist(environment)
    code, said = psql(environment, migration_script(IndexKind.ORIGINAL))
    assert (code, errors(said)) == (
        3,
        ["ERROR:  families hold several active threads: the original index cannot hold them"],
    )
    assert seen(environment) == alone(IndexKind.FIXED)


def test_ownerless_threads_do_not_stop_the_rollback(environment):
    """The original and the fixed index ignore threads without an owner: these stand against nothing."""
    run_files(environment, IndexKind.FIXED)
    with session(environment) as connection:
        for purpose in ("chat", "run", "run"):
            add(connection, ROOT, None, purpose=purpose)
    assert psql(environment, migration_script(IndexKind.ORIGINAL))[0] == 0
    assert seen(environment) == alone(IndexKind.ORIGINAL)


def test_the_script_refuses_a_transaction(environment):
    """Inside a transaction the script fails, and changes nothing."""
    code, said = psql(environment, f"BEGIN;\n{migration_script(IndexKind.FIXED)}")
    assert (code, "cannot run inside a transaction block" in said) == (3, True)
    assert seen(environment) == alone(IndexKind.ORIGINAL)


# Killed, and run again


@pytest.mark.parametrize(("target", "place"), [(target, place) for target in TARGETS for place in range(1, len(NAMES))])
def test_killed_between_two_files(environment, target, place):
    """Killed between any two files, all of them run again end the same, with an enforced unique index at each point."""
    start_from(environment, target)
    run_files(environment, target, lambda files: files[:place])
    run_files(environment, target)
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("place", range(1, len(NAMES)))
def test_killed_on_the_way_to_the_fix_and_rolled_back(environment, place):
    """Killed between any two files of the fix, the rollback's files end in the original index."""
    run_files(environment, IndexKind.FIXED, lambda files: files[:place])
    run_files(environment, IndexKind.ORIGINAL)
    assert seen(environment) == alone(IndexKind.ORIGINAL)


HOLDING = {
    "02_drop_retired": "SELECT count(*) FROM public.q_threads",
    "03_build": "LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE",
    "04_swap": f"COMMENT ON INDEX public.{INDEX_NAME} IS 'never committed'",
    "05_retire": "SELECT count(*) FROM public.q_threads",
}


def interrupt(environment, text, holding):
    """Run a file beside a transaction that makes it wait, and cancel its statement there; it fails."""
    ran = []
    with session(environment) as looker, psycopg.connect(environment.address) as holder:
        holder.execute(holding)
        file = threading.Thread(target=lambda: ran.append(psql(environment, text)))
        file.start()
        until_blocked(looker, holder)
        looker.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            [holder.info.backend_pid],
        )
        file.join()
        holder.rollback()
    assert ran[0][0] == 3


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("failed", HOLDING)
def test_a_retry_begins_with_the_file_that_failed(environment, target, failed):
    """Cancelled inside any file, that file and the later ones end in the target's index alone."""
    start_from(environment, target)
    place, files = NAMES.index(failed), migration_files(target)
    with always_enforced(environment):
        if failed == "02_drop_retired":  # there is something to drop after the swap alone
            run_files(environment, target, lambda files: files[:4])
        else:
            run_files(environment, target, lambda files: files[:place])
        interrupt(environment, files[place][1], HOLDING[failed])
        run_files(environment, target, lambda files: files[place:])
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("held", [PURPOSE.build_name, PURPOSE.retired_name])
def test_a_cancelled_statement_leaves_an_invalid_index(environment, held):
    """What a cancelled build or drop leaves is invalid, and the script replaces it."""
    name = "03_build" if held == PURPOSE.build_name else "05_retire"
    run_files(environment, IndexKind.FIXED, lambda files: files[: NAMES.index(name)])
    interrupt(environment, dict(migration_files(IndexKind.FIXED))[f"{name}.sql"], HOLDING[name])
    assert [index.name for index in catalog_of(environment).relevant_indexes if not index.usable] == [held]
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 0
    assert seen(environment) == alone(IndexKind.FIXED)


@pytest.mark.parametrize("target", TARGETS)
def test_a_check_that_failed_passes_on_a_retry(environment, target):
    """Once the index is complete again, the files go on from the check that stopped them."""
    start_from(environment, target)
    flag = "UPDATE pg_index SET indisvalid = %s WHERE indexrelid = %s::regclass"
    with session(environment) as connection:
        connection.execute(flag, [False, INDEX_NAME])
        assert psql(environment, migration_files(target)[0][1])[0] == 3
        connection.execute(flag, [True, INDEX_NAME])
    run_files(environment, target)
    assert seen(environment) == alone(target)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_statements_cancelled_at_random(environment, seed):
    """Files whose statements are cancelled at random moments, each run again until it succeeds, reach the target."""
    chance = random.Random(seed)
    done = threading.Event()

    def cancel():
        with session(environment) as connection:
            while not done.wait(chance.uniform(0, 0.08)):
                connection.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'psql' AND datname = current_database() AND state = 'active'"
                )

    with always_enforced(environment):
        for target in TARGETS:
            done.clear()
            canceller = threading.Thread(target=cancel)
            canceller.start()
            for _, text in migration_files(target):
                for attempt in range(40):
                    if psql(environment, text)[0] == 0:
                        break
                    if attempt == 30:
                        done.set()
            done.set()
            canceller.join()
            assert seen(environment) == alone(target)


@pytest.mark.parametrize("name", ["04_swap", "05_retire"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_last_files_succeed_where_all_is_done(environment, target, name):
    """The swap and the final drop succeed, and change nothing, where all is done already."""
    start_from(environment, target)
    run_files(environment, target)
    assert psql(environment, dict(migration_files(target))[f"{name}.sql"])[0] == 0
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_the_swap_waits_for_a_complete_index(environment, target):
    """Where nothing has been built the swap stops, and changes nothing."""
    start_from(environment, target)
    before = seen(environment)
    code, said = psql(environment, dict(migration_files(target))["04_swap.sql"])
    assert (code, errors(said)) == (
        3,
        [f"ERROR:  public.{PURPOSE.build_name} is missing or not complete: run the file that builds it again"],
    )
    assert seen(environment) == before


def only(environment, name):
    """Leave the original index alone, under another name."""
    with session(environment) as connection:
        connection.execute(f"ALTER INDEX public.{INDEX_NAME} RENAME TO {name}")


@pytest.mark.parametrize("strict", [True, False], ids=["stops", "goes on"])
@pytest.mark.parametrize(
    ("name", "held"),
    [("02_drop_retired", PURPOSE.retired_name), ("03_build", PURPOSE.build_name), ("05_retire", PURPOSE.retired_name)],
)
@pytest.mark.parametrize("target", TARGETS)
def test_no_file_drops_the_only_unique_index(environment, target, name, held, strict):
    """A file that would drop the only enforced unique index drops nothing, also where psql goes on after errors."""
    only(environment, held)
    _, said = psql(environment, dict(migration_files(target))[f"{name}.sql"], strict=strict)
    wanted = f"ERROR:  public.{INDEX_NAME} is missing, not complete or not as expected: use the incident command"
    assert errors(said)[0] == wanted
    assert [(index.name, index.usable) for index in catalog_of(environment).relevant_indexes] == [(held, True)]


@pytest.mark.parametrize("target", TARGETS)
def test_the_final_drop_needs_the_swap(environment, target):
    """Before the swap the last file drops nothing: the index with the official name is the old one."""
    start_from(environment, target)
    run_files(environment, target, lambda files: files[:3])
    before = seen(environment)
    assert psql(environment, migration_files(target)[4][1], strict=False)[1].count("ERROR:") == 2
    assert seen(environment) == before


def warnings(said):
    """The warnings among what psql said."""
    return [line.partition(": ")[2] for line in said.splitlines() if "WARNING:" in line]


@pytest.mark.parametrize(
    ("change", "warned"),
    [("SET (fillfactor = 70)", 1), ("SET TABLESPACE pg_default", 0), ("RESET (fillfactor)", 0)],
)
def test_what_the_new_index_will_not_have(environment, connection, change, warned):
    """Storage parameters of the old index, which the files do not carry over, are a warning of the first file."""
    connection.execute(f"ALTER INDEX public.{INDEX_NAME} {change}")
    code, said = psql(environment, migration_files(IndexKind.FIXED)[0][1])
    assert (code, len(warnings(said))) == (0, warned)


def test_a_plain_index_under_the_official_name_is_no_guard(environment, connection):
    """A unique index over other columns under the official name does not allow a drop."""
    only(environment, PURPOSE.retired_name)
    connection.execute(f"CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads (row_id)")
    assert psql(environment, dict(migration_files(IndexKind.FIXED))["02_drop_retired.sql"])[0] == 3
    assert catalog_of(environment).of(IndexKind.ORIGINAL)[0].usable


def until_blocked(connection, blocker):
    """Wait until some session waits for `blocker` alone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = connection.execute("SELECT pg_blocking_pids(pid) FROM pg_stat_activity").fetchall()
        if ([blocker.info.backend_pid],) in rows:
            return
        time.sleep(0.01)
    raise TimeoutError


def rolled_back_beside_a_late_pair(environment):
    """Run the rollback's script; a chat comes beside a run while it builds, too late for the check."""
    start_from(environment, IndexKind.ORIGINAL)
    ran = []
    with session(environment) as looker, psycopg.connect(environment.address) as writer:
        add(looker, ROOT, OWNER)
        writer.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
        rollback = threading.Thread(target=lambda: ran.append(psql(environment, migration_script(IndexKind.ORIGINAL))))
        rollback.start()
        until_blocked(looker, writer)  # the build, before its first scan
        with psycopg.connect(environment.address) as late:
            add(late, ROOT, OWNER, purpose="chat")
            writer.rollback()
            until_blocked(looker, late)  # the build, before it validates
        rollback.join()
    return ran[0]


def test_a_pair_that_comes_during_the_rollback_fails_it(environment):
    """A pair that comes while the rollback's script builds fails it with 23505, and the fixed index stays."""
    code, said = rolled_back_beside_a_late_pair(environment)
    assert (code, f'duplicate key value violates unique constraint "{PURPOSE.build_name}"' in said) == (3, True)
    assert catalog_of(environment).of(IndexKind.FIXED)[0].usable


def test_a_failed_rollback_run_again_leaves_nothing_in_force(environment):
    """Run again after a pair failed it, the rollback's script leaves no original enforced unique index."""
    rolled_back_beside_a_late_pair(environment)
    psql(environment, migration_script(IndexKind.ORIGINAL))
    assert [index.name for index in catalog_of(environment).of(IndexKind.ORIGINAL) if index.enforced] == []


def test_the_fix_cleans_up_after_a_failed_rollback(environment):
    """Run after a rollback that a pair failed, the script of the fix ends in the fixed index alone."""
    rolled_back_beside_a_late_pair(environment)
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 0
    assert seen(environment) == alone(IndexKind.FIXED)


def test_a_pair_that_failed_the_build_and_is_gone(environment):
    """Once the chat that failed the rollback's build is ended, the files go on from the build."""
    rolled_back_beside_a_late_pair(environment)
    with session(environment) as connection:
        connection.execute("UPDATE public.q_threads SET is_active = false WHERE purpose = 'chat'")
    run_files(environment, IndexKind.ORIGINAL, lambda files: files[2:])
    assert seen(environment) == alone(IndexKind.ORIGINAL)


def test_the_build_of_the_rollback_checks_the_data(environment):
    """Run by itself, the file that builds the original index stops with a message where families coexist."""
    coexist(environment)
    code, said = psql(environment, dict(migration_files(IndexKind.ORIGINAL))["03_build.sql"])
    assert (code, errors(said)) == (
        3,
        ["ERROR:  families hold several active threads: the original index cannot hold them"],
    )
    assert seen(environment) == alone(IndexKind.FIXED)


# By a migrations runner


@pytest.mark.parametrize("target", TARGETS)
def test_the_files_one_by_one(environment, target):
    """Run one by one, as a migrations runner does, the files end in the target's unique index."""
    start_from(environment, target)
    run_files(environment, target)
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_all_files_twice_are_once(environment, target):
    """Run a second time, the files end the same."""
    start_from(environment, target)
    run_files(environment, target)
    run_files(environment, target)
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_timeouts_of_the_role_do_not_end_a_file(environment, connection, target):
    """Each file takes away the timeouts that the database or the role sets."""
    start_from(environment, target)
    timeouts = ["statement_timeout", "idle_session_timeout"]
    timeouts += ["transaction_timeout"] if connection.info.server_version >= 170000 else []
    for name in timeouts:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {name} = '150ms'")
    for place, text in enumerate(text for _, text in migration_files(target)):
        if NAMES[place] not in HOLDING:
            continue
        with psycopg.connect(
            environment.address, options="-c transaction_timeout=0" if len(timeouts) > 2 else ""
        ) as holder:
            holder.execute("SET statement_timeout = 0")
            holder.execute(HOLDING[NAMES[place]])
            release = threading.Timer(0.4, holder.rollback)
            release.start()
            assert psql(environment, text)[0] == 0
            release.join()
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_a_frozen_database_stays_frozen(environment, connection, target):
    """In a database that is read-only by default no file changes anything."""
    start_from(environment, target)
    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    before = seen(environment)
    assert psql(environment, migration_script(target))[0] == 3
    assert seen(environment) == before


@pytest.mark.parametrize("target", TARGETS)
def test_the_head_of_each_file(target):
    """Each file says which one it is, what it is for and how it is run, and takes away what could end it."""
    what = "Apply the fix" if target is IndexKind.FIXED else "Roll the fix back"
    for place, (_, text) in enumerate(migration_files(target), 1):
        assert text.startswith(f"-- {what}, file {place} of 5. ")
        assert "outside a transaction" in text.partition("SET ")[0]
        assert "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_session_timeout = 0;\n" in text


@pytest.mark.parametrize("target", TARGETS)
def test_the_names_of_the_files(target):
    """The files are numbered in the order in which they run."""
    assert [name for name, _ in migration_files(target)] == [f"{name}.sql" for name in NAMES]


@pytest.mark.parametrize("target", TARGETS)
def test_no_build_blesses_an_invalid_index(target):
    """No index is created `IF NOT EXISTS`, which would bless an invalid one."""
    assert "INDEX CONCURRENTLY IF NOT EXISTS" not in migration_script(target)


def test_the_files_are_the_script():
    """The script does what the files do, one after the other."""
    script = migration_script(IndexKind.FIXED)
    places = [
        script.index(text.partition("quote_all_identifiers = off;\n")[2])
        for _, text in migration_files(IndexKind.FIXED)
    ]
    assert places == sorted(places)


def test_the_head_of_the_script():
    """The script says what it does, how it is run, and takes away what could kill it."""
    head = migration_script(IndexKind.ORIGINAL).partition("\nDO $$")[0]
    assert head == (
        "-- Roll the fix back: the key of the unique index becomes (root_prompt_row_id, owner_id)."
        " Run it with psql -v ON_ERROR_STOP=1 and outside a transaction:\n"
        "-- CONCURRENTLY is not allowed in one. If it is interrupted, run it again: the result is the same.\n"
        "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_session_timeout = 0;"
    )


# Making room


def crowded(connection):
    """Without a unique index: families with several active threads of each purpose; the row_ids of the newest."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    newest = {}
    for family in range(3):
        root = UUID(int=100 + family)
        for purpose in ("chat", "run"):
            for hour in (2, 0, 1):
                at = NOON + timedelta(hours=hour, minutes=30 * (purpose == "run"))
                row_id = add(connection, root, OWNER, purpose=purpose, created_at=at)
                if hour == 2:
                    newest[root, purpose] = row_id
        add(connection, root, OWNER, purpose="run")  # of unknown age: never the newest
    add(connection, ROOT, None)
    add(connection, ROOT, None)
    add(connection, None, OWNER)
    return newest


@pytest.mark.parametrize("target", TARGETS)
def test_settle_makes_room(environment, connection, target):
    """Once settled, no two active threads share a key, and the script's build succeeds."""
    crowded(connection)
    connection.execute(settling_sql(target).encode())
    key = "root_prompt_row_id, owner_id" + (", purpose" if target is IndexKind.FIXED else "")
    connection.execute(
        f"CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads ({key})"
        " WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
    )
    assert catalog_of(environment).of(target)[0].usable


@pytest.mark.parametrize("target", TARGETS)
def test_settle_keeps_the_newest(environment, connection, target):
    """Of each key the newest active thread stays active, and no other."""
    newest = crowded(connection)
    wanted = {row for (_, purpose), row in newest.items() if target is IndexKind.FIXED or purpose == "run"}
    connection.execute(settling_sql(target).encode())
    rows = connection.execute(
        "SELECT row_id FROM public.q_threads WHERE is_active AND root_prompt_row_id IS NOT NULL"
        " AND owner_id IS NOT NULL"
    ).fetchall()
    assert {row for (row,) in rows} == wanted


@pytest.mark.parametrize("target", TARGETS)
def test_settle_leaves_what_no_index_sees(environment, connection, target):
    """Threads without an owner or a root, outside the unique indexes, are not changed."""
    crowded(connection)
    outside = "SELECT t::text FROM public.q_threads t WHERE root_prompt_row_id IS NULL OR owner_id IS NULL ORDER BY 1"
    before = connection.execute(outside).fetchall()
    connection.execute(settling_sql(target).encode())
    assert (len(before), connection.execute(outside).fetchall()) == (3, before)


@pytest.mark.parametrize("target", TARGETS)
def test_settle_twice(environment, connection, target):
    """What is settled is not changed again."""
    crowded(connection)
    connection.execute(settling_sql(target).encode())
    assert connection.execute(settling_sql(target).encode()).rowcount == 0


def test_a_settled_rollback(environment):
    """A rollback that families with several active threads stopped goes through once they are settled."""
    coexist(environment)
    code, said = psql(environment, f"{settling_sql(IndexKind.ORIGINAL)}\n{migration_script(IndexKind.ORIGINAL)}")
    assert (code, "ERROR" in said) == (0, False)
    assert seen(environment) == alone(IndexKind.ORIGINAL)


# The linter


@pytest.mark.parametrize("target", TARGETS)
def test_squawk_reports_the_build_alone(tmp_path, target):
    """The linter squawk reports nothing but that the build is without `IF NOT EXISTS`: a drop comes before it."""
    squawk = shutil.which("squawk", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if squawk is None:
        pytest.skip("squawk is not installed (package squawk-cli): neither beside Python nor on PATH")
    file = tmp_path / "script.sql"
    file.write_text(migration_script(target))
    ran = subprocess.run(
        [squawk, "--reporter", "json", file], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert [found["rule_name"] for found in json.loads(ran.stdout)] == ["prefer-robust-stmts"]


# `incident sql`


def incident_sql(*words):
    """`incident sql …`: what it returned or raised, and what stood on standard output."""
    ran = CliRunner().invoke(cli, ["sql", *map(str, words)], standalone_mode=False)
    return ran.exception or ran.return_value, ran.stdout


@pytest.mark.parametrize(("words", "target"), [((), IndexKind.FIXED), (("--rollback",), IndexKind.ORIGINAL)])
def test_incident_sql_prints_the_script(words, target):
    """`incident sql` prints the script and nothing else, so that psql can read it from a pipe."""
    assert incident_sql(*words) == (0, migration_script(target))


@pytest.mark.parametrize(("words", "target"), [((), IndexKind.FIXED), (("--rollback",), IndexKind.ORIGINAL)])
def test_incident_sql_writes_files(tmp_path, words, target):
    """`incident sql --out` writes the numbered files into a folder that it makes, and prints where."""
    folder = tmp_path / "new" / "migrations"
    told = "".join(f"{folder / name}.sql\n" for name in NAMES)
    code, printed = incident_sql(*words, "--out", folder)
    assert (code, printed.replace("\n", "")) == (0, told.replace("\n", ""))
    assert {file.name: file.read_text() for file in folder.iterdir()} == dict(migration_files(target))


def test_incident_sql_pipes_into_psql(environment):
    """What `incident sql` prints on a shell is what psql runs to the fixed index."""
    ran = subprocess.run(
        [sys.executable, "-m", "incident_lib", "sql"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert psql(environment, ran.stdout)[0] == 0
    assert seen(environment) == alone(IndexKind.FIXED)


def test_incident_sql_into_a_folder_that_cannot_be_written(tmp_path):
    """A folder that cannot be written is one message, and exit code 3."""
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "migrations"
    ran = subprocess.run(
        [sys.executable, "-m", "incident_lib", "sql", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        3,
        "",
        f"incident: {os.path.relpath(folder)} cannot be written.\n"
        "  why:  Not a directory.\n"
        "  next: Make it writable, or name another folder with --out.\n",
    )


def test_incident_sql_out_takes_no_file(tmp_path):
    """A file in the place of the folder is bad usage."""
    (tmp_path / "file").touch()
    code, printed = incident_sql("--out", tmp_path / "file")
    assert (code.exit_code, printed) == (2, "")
    assert code.format_message() == f"Invalid value for '--out': Directory '{tmp_path / 'file'}' is a file."
