"""`incident rollback` as people use it: what it says, what it refuses, and what a late pair cannot break."""

from __future__ import annotations

import csv
import re
import shlex
import stat
import subprocess
import sys
import threading
import time
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner

from incident_lib.analysis import settling_sql
from incident_lib.cli import cli
from incident_lib.database import fetch_one, read_catalog
from incident_lib.migration.executor import apply
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.errors import Failed, IncidentError
from tests.conftest import add

BLOCKED_AGAIN = "Once the original index is built, run threads block new chats again.\n"
MAKES_ROOM = "This SQL would resolve them. It ends threads that users see: no command here runs it."
OWNER = UUID(int=7)


class Ran(NamedTuple):
    """What a command ended with: its exit code, both streams, and the message that goes with any code but 0."""

    code: int
    out: str
    err: str
    message: str = ""


def incident(*words):
    """Run `incident …` on staging."""
    command, *options = words
    ran = CliRunner().invoke(cli, [command, "--env", "staging", *options], standalone_mode=False)
    if isinstance(ran.exception, IncidentError):
        return Ran(ran.exception.exit_code, ran.stdout, ran.stderr, str(ran.exception))
    if ran.exception:
        raise ran.exception
    return Ran(ran.return_value, ran.stdout, ran.stderr)


def rollback():
    """Run `incident rollback`, confirmed."""
    return incident("rollback", "--confirm", "staging")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of runs, of this test alone."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    return tmp_path


@pytest.fixture
def fixed(staging, connection, runs):
    """Staging with the fixed index, and a run and a chat in families of their own."""
    add(connection, UUID(int=1), OWNER)
    add(connection, UUID(int=2), OWNER, purpose="chat")
    apply(staging, confirm="staging")
    return staging


def coexist(connection, *numbers):
    """Families with an active chat and an active run."""
    for number in numbers:
        for purpose in ("run", "chat"):
            add(connection, UUID(int=number), OWNER, purpose=purpose)


@pytest.fixture
def coexisting(fixed, connection):
    """Staging with the fixed index, and seven families with an active chat and an active run."""
    coexist(connection, *range(101, 108))
    return fixed


def checksum(connection):
    """The checksum over all threads."""
    return fetch_one(connection, "analysis/checksum")


def alone(connection):
    """Kind and flags of each unique index by its name."""
    return {index.name: (index.kind, index.flags()) for index in read_catalog(connection).relevant_indexes}


# Without confirm


@pytest.mark.parametrize("confirm", [(), ("--confirm", "prod"), ("--confirm", "")])
def test_without_confirm(fixed, confirm):
    """Without the environment's very name the rollback is refused."""
    assert incident("rollback", *confirm) == Ran(
        1,
        "",
        "",
        "Nothing was changed in 'staging'.\n"
        f"  why:  Changing an environment needs its name as confirmation, "
        f"and {repr(confirm[1]) if confirm[1:] and confirm[1] else 'none'} was given.\n"
        "  next: Read `incident plan --env staging`, then add `--confirm staging` to allow changes.",
    )


def test_without_confirm_nothing_changes(fixed, connection):
    """Without the environment's name the fixed index stays."""
    incident("rollback")
    assert read_catalog(connection).state is IndexState.FIXED


# Where no families coexist


def test_the_rollback_ends_original(fixed, connection):
    """Where no families coexist, the rollback ends in the original index alone."""
    assert rollback().code == 0
    assert alone(connection) == {INDEX_NAME: (IndexKind.ORIGINAL, "valid")}


def test_the_rollback_warns(fixed):
    """The rollback says on standard error that chat is blocked by run again."""
    assert rollback().err == BLOCKED_AGAIN


def test_the_warning_comes_first(fixed, connection, monkeypatch):
    """The warning is said before anything is changed."""
    said = []
    monkeypatch.setattr("click.echo", lambda text="", **_: said.append((text, read_catalog(connection).state)))
    rollback()
    assert said[0] == (BLOCKED_AGAIN.strip(), IndexState.FIXED)


def test_what_the_rollback_says(fixed):
    """The rollback says that the original index is enforced, what is next, and each step with its time and outcome."""
    lines = [re.sub(r"\t\d+\.\d{3}\t", " N ", line) for line in rollback().out.splitlines()]
    assert lines[:3] == [
        "staging: only the original index is enforced.",
        "Next:",
        "  incident plan --env staging",
    ]
    assert [line for line in lines if " N " in line] == ["build N done", "swap N done", "drop N done"]


def test_the_rollback_does_not_end_the_incident(fixed):
    """The rollback never says that the incident ended: it begins again."""
    assert "incident ended" not in rollback().out


def test_the_rollback_changes_no_thread(fixed, connection):
    """The rollback changes no thread."""
    before = checksum(connection)
    rollback()
    assert checksum(connection) == before


def test_twice_does_nothing(fixed):
    """A second rollback takes no step, and warns of nothing."""
    rollback()
    again = rollback()
    assert (again.code, again.err, again.message) == (0, "", "")
    assert not re.search(r"^(build|swap|drop)\t", again.out, re.MULTILINE)
    assert again.out.splitlines()[0] == "staging: already rolled back: only the original index is enforced."


def test_twice_leaves_the_same_index(fixed, connection):
    """A second rollback leaves the very index of the first."""
    which = "SELECT to_regclass(%s)::oid"
    rollback()
    before = connection.execute(which, [INDEX_NAME]).fetchone()
    rollback()
    assert connection.execute(which, [INDEX_NAME]).fetchone() == before


def test_the_fix_again(fixed, connection):
    """After a rollback the fix goes in again."""
    rollback()
    assert incident("apply", "--confirm", "staging").code == 0
    assert alone(connection) == {INDEX_NAME: (IndexKind.FIXED, "valid")}


def test_what_does_not_coexist(fixed, connection):
    """Threads without an owner, ended threads, and other families of the same user stand against no rollback."""
    for purpose in ("run", "chat"):
        add(connection, UUID(int=101), None, purpose=purpose)
        add(connection, UUID(int=102), OWNER, purpose=purpose, is_active=purpose == "run")
        add(connection, None, OWNER, purpose=purpose)
    assert rollback().code == 0


def test_from_a_shell(fixed):
    """On a shell the warning goes to standard error, what was done to standard output, and the code is 0."""
    ran = shell("rollback", "--env", "staging", "--confirm", "staging")
    assert (ran.returncode, ran.stderr) == (0, BLOCKED_AGAIN)
    assert ran.stdout.splitlines()[0] == "staging: only the original index is enforced."


def shell(*words):
    """Run a command as a shell does."""
    command = [sys.executable, "-m", "incident_lib", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# Where families coexist


def test_coexisting_families_refuse(coexisting):
    """Where families coexist the rollback is refused, with their number."""
    refused = rollback()
    assert (refused.code, refused.err, refused.message) == (
        1,
        "",
        "Nothing was changed in 'staging'.\n"
        "  why:  duplicates: several active threads share 7 keys of the original index.\n"
        "  next: Resolve them first: `incident plan --rollback` prints SQL for it, and never runs it.",
    )


def test_a_refusal_on_a_shell(coexisting):
    """On a shell the refusal is one message on standard error, and the code is 1."""
    ran = shell("rollback", "--env", "staging", "--confirm", "staging")
    assert (ran.returncode, ran.stderr) == (1, f"incident: {rollback().message}\n")


def test_the_advice_of_a_refusal_works(coexisting):
    """The command that a refused rollback names prints the SQL that would make room."""
    (advised,) = re.findall(r"`incident ([^`]*)`", rollback().message)
    command, *options = shlex.split(advised.replace(" --env staging", ""))
    assert settling_sql(IndexKind.ORIGINAL) in incident(command, *options).out


def test_a_sample_of_the_families(coexisting):
    """A refused rollback shows the first five families, their active threads and purposes."""
    lines = [line.split(None, 3) for line in rollback().out.splitlines()]
    assert [[*line[:3], line[3].strip()] for line in lines if line and line[0].startswith("00000000-")] == [
        [str(UUID(int=number)), str(OWNER), "2", "chat, run"] for number in range(101, 106)
    ]


def test_the_file_of_all_families(coexisting, runs):
    """A refused rollback writes all of the families into a file below the folder of runs."""
    rollback()
    with (runs / "staging" / "duplicates-original.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["root_prompt_row_id", "owner_id", "active_threads", "purposes"],
        *([str(UUID(int=number)), str(OWNER), "2", "chat, run"] for number in range(101, 108)),
    ]


def test_the_file_is_private(coexisting, runs):
    """The file of all families may be read by its owner alone, whatever stood there before."""
    (runs / "staging").mkdir()
    for name in ("duplicates-original.csv", "duplicates-original.part"):
        (runs / "staging" / name).touch(mode=0o644)
    rollback()
    assert stat.S_IMODE((runs / "staging" / "duplicates-original.csv").stat().st_mode) == 0o600


def test_where_the_file_is(coexisting, runs):
    """A refused rollback tells where the file is, and that it is not to be shared."""
    lines = rollback().out.splitlines()
    place = lines.index("All of them, with raw ids (do not share):")
    assert lines[place + 1] == f"  {runs / 'staging' / 'duplicates-original.csv'}"


def test_the_sql_is_printed(coexisting):
    """A refused rollback prints the SQL that would make room, last, and says that nothing runs it."""
    assert rollback().out.endswith(f"\n{MAKES_ROOM}\n\n{settling_sql(IndexKind.ORIGINAL)}\n")


def test_the_sql_is_not_run(coexisting, connection):
    """A refused rollback changes no thread and no unique index."""
    before = checksum(connection)
    rollback()
    assert (checksum(connection), alone(connection)) == (before, {INDEX_NAME: (IndexKind.FIXED, "valid")})


def test_once_settled(coexisting, connection):
    """Once somebody has run that SQL, the rollback goes through."""
    connection.execute(rollback().out.partition(MAKES_ROOM)[2].encode())
    assert rollback().code == 0
    assert alone(connection) == {INDEX_NAME: (IndexKind.ORIGINAL, "valid")}


# A pair that comes after the check

DATA_BREAKS_IT = (
    "The step `build` failed: the data does not allow the original index.\n"
    "  why:  At least two active threads share one of its keys (SQLSTATE 23505).\n"
    "  next: `incident plan --env staging --rollback` shows them, and prints SQL that would resolve them."
)


def test_a_pair_that_came_after_the_check(coexisting, connection):
    """A pair that came after the check fails the build, which says so without a key's values."""
    with pytest.raises(Failed) as failed:
        apply(coexisting, confirm="staging", target=IndexKind.ORIGINAL)
    assert str(failed.value) == DATA_BREAKS_IT
    assert alone(connection) == {INDEX_NAME: (IndexKind.FIXED, "valid")}


def test_the_advice_of_a_failure_works(coexisting):
    """The command that a failed rollback names prints the SQL that would make room."""
    with pytest.raises(Failed) as failed:
        apply(coexisting, confirm="staging", target=IndexKind.ORIGINAL)
    (advised,) = re.findall(r"`incident ([^`]*)`", failed.value.next)
    command, *options = shlex.split(advised.replace(" --env staging", ""))
    assert settling_sql(IndexKind.ORIGINAL) in incident(command, *options).out


def until_blocked(connection, blocker):
    """Wait until a session of ours waits for `blocker` alone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = connection.execute(
            "SELECT pg_blocking_pids(pid) FROM pg_stat_activity WHERE application_name = 'incident_lib migrate'"
        ).fetchall()
        if ([blocker.info.backend_pid],) in rows:
            return
        time.sleep(0.01)
    raise TimeoutError


@pytest.fixture
def broken_late(fixed, connection):
    """The message of a rollback whose build was ready, and enforced, when a pair failed its validation."""
    told = []

    def roll_back():
        try:
            apply(fixed, confirm="staging", target=IndexKind.ORIGINAL)
        except Failed as error:
            told.append(error)

    thread = threading.Thread(target=roll_back)
    with psycopg.connect(fixed.address) as writer:
        writer.execute("LOCK TABLE public.q_threads IN ROW EXCLUSIVE MODE")
        thread.start()
        until_blocked(connection, writer)  # before its first scan
        with psycopg.connect(fixed.address) as late:
            add(late, UUID(int=1), OWNER, purpose="chat")
            writer.rollback()
            until_blocked(connection, late)  # before it validates
            assert alone(connection)[PURPOSE.build_name] == (IndexKind.ORIGINAL, "invalid, still enforced")
        thread.join()
    return told[0]


def test_a_pair_that_came_during_the_build(broken_late):
    """A pair that came while the build was enforcing already fails it with the same message."""
    assert str(broken_late) == DATA_BREAKS_IT


def test_a_late_pair_leaves_no_enforcing_leftover(broken_late, connection):
    """What a late pair left of the build is dropped, though it enforced, and the fixed index stays."""
    assert alone(connection) == {INDEX_NAME: (IndexKind.FIXED, "valid")}


def test_after_a_late_pair_chats_are_admitted(broken_late, connection):
    """After a late pair failed the rollback, a chat is admitted beside another family's run."""
    coexist(connection, 555)
    assert read_catalog(connection).blocks is False


# The plan


def plan_line(ran):
    """The answer of a plan and the command that follows, its estimate left open."""
    answer, _, command = ran.out.splitlines()[:3]
    return re.sub(r"; the build takes .* twice\.", "; N.", f"{answer} Next: {command.strip()}")


def test_the_plan_of_a_rollback(fixed):
    """The plan of a rollback that is safe ends with the command that does it, and with 0."""
    ran = incident("plan", "--rollback")
    assert (ran.code, ran.err, plan_line(ran)) == (
        0,
        "",
        "It is safe to roll back now; N. No session would block it now. "
        "Next: incident rollback --env staging --confirm staging",
    )


def test_the_steps_of_a_rollback(fixed):
    """The plan of a rollback lists its steps, in order."""
    words = [line.split()[0] for line in incident("plan", "--rollback").out.splitlines() if line.split()]
    assert [word for word in words if word in {"build", "swap", "drop"}] == ["build", "swap", "drop"]


def test_the_plan_of_a_rollback_that_is_done(fixed):
    """Where the original index stands, the plan of a rollback has nothing to do, and ends with 0."""
    rollback()
    ran = incident("plan", "--rollback")
    assert (ran.code, ran.err) == (0, "")
    assert "build " not in ran.out.partition("Steps")[2]
    assert plan_line(ran) == "Only the original index is enforced. Next: incident plan --env staging"


def test_the_plan_of_a_rollback_that_is_not_safe(coexisting):
    """Where families coexist the plan prints the SQL that would make room, says what stops it, and ends with 1."""
    ran = incident("plan", "--rollback")
    assert ran.out.endswith(f"\n{MAKES_ROOM}\n\n{settling_sql(IndexKind.ORIGINAL)}\n")
    assert (ran.code, ran.err, ran.message) == (
        1,
        "",
        "It is not safe to roll back 'staging' now.\n"
        "  why:  duplicates: several active threads share 7 keys of the original index.\n"
        "  next: Resolve them first: `incident plan --rollback` prints SQL for it, and never runs it.",
    )


def test_the_advice_of_a_done_rollback_works(fixed):
    """The command that the plan of a done rollback names ends with 0."""
    rollback()
    advised = plan_line(incident("plan", "--rollback")).partition("Next: incident ")[2]
    command, *options = shlex.split(advised.replace(" --env staging", ""))
    assert incident(command, *options).code == 0


@pytest.mark.parametrize("families", [(), (101,)])
def test_the_plan_changes_nothing(fixed, connection, families):
    """The plan of a rollback changes no thread and no unique index."""
    coexist(connection, *families)
    before = checksum(connection), alone(connection)
    incident("plan", "--rollback")
    assert (checksum(connection), alone(connection)) == before
