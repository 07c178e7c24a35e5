"""The command line as a shell sees it: exit codes, what goes to which stream, and whole messages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from incident_lib import paths
from incident_lib.cli import COLLECT_AFTER, cli
from incident_lib.migration.lock import LOCK_KEY
from incident_lib.report.notes import WANTED
from tests.conftest import add
from tests.support import clusters
from tests.support.command import HEARING, INTERRUPTED, Ran, message, shell, streams, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.database import Environment

COMMANDS = {
    *("run", "investigate", "explain", "plan", "apply", "rollback", "verify", "sql"),
    *("failures", "scan", "watch", "claims", "rehearse", "report", "runs", "env", "demo", "open", "lab", "psql"),
}
VERDICT = (
    "1,088 of 1,257 families (237 users) cannot start a chat. The fix has not been applied. It is safe to apply it now."
)
NEXT = "incident apply --env demo --confirm demo"
COUNTS = {
    "families",
    "active_threads",
    "active_by_purpose",
    "blocked_families",
    "blocked",
    "affected_owners",
    "coexisting_families",
    "residual_conflicts",
    "unguarded_threads",
}


@pytest.fixture
def named(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """`incident`, resolvable as `staging` by commands that a test starts."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    return incident


def indexes(environment: Environment) -> list[str]:
    """The definitions of the unique indexes of the table, its primary key aside."""
    with psycopg.connect(environment.address) as connection:
        rows = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'q_threads' AND indexdef LIKE 'CREATE UNIQUE%'"
            " AND indexname <> 'q_threads_pkey' ORDER BY 1"
        )
        return [definition for (definition,) in rows]


# What there is


def test_help_lists_every_command() -> None:
    """`incident --help` lists every command of the design, those that come later too."""
    ran = shell("--help")
    listed = set(re.findall(r"^  ([a-z]+) ", ran.stdout.partition("Look:")[2], re.MULTILINE))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert listed == COMMANDS


def test_help_tells_the_exit_codes() -> None:
    """`incident --help` tells what each exit code means."""
    assert (
        "Exit codes: 0 done; 1 the answer is no, not known or not found, or refused; 2 bad usage; "
        "3 could not be done, or a log was not read; 130 interrupted." in " ".join(shell("-h").stdout.split())
    )


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    """Each command explains itself and each of its options."""
    ran = CliRunner().invoke(cli, [command, "--help"])

    assert ran.exit_code == 0
    assert ran.output.startswith(f"Usage: cli {command}")


def test_without_a_command_the_help_is_shown() -> None:
    """Without a command the help is shown, as bad usage, on standard error."""
    ran = shell()

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["investigate", "--env", "demo", "--nope"], "Error: No such option '--nope'. Did you mean '--no-pager'?\n"),
        (["investigate"], "Error: Missing option '-e' / '--env'"),
        (["investigate", "--env", "demo", "--limit", "-1"], "Error: Invalid value for '--limit': -1 is not in the"),
        (["verfy"], "Error: No such command 'verfy'. Did you mean 'verify'?\n"),
        (["report"], "incident: It is not said what the report is about.\n"),
    ],
)
def test_bad_usage_is_said(words: list[str], said: str) -> None:
    """A wrong call exits with 2, its message on standard error alone."""
    ran = shell(*words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


# Look


@pytest.fixture(scope="module")
def shapes() -> dict[str, Ran]:
    """`incident investigate --env demo` in each of its formats."""
    limits = {"table": ["--limit", "3"], "csv": ["--limit", "0"], "json": []}
    return {shape: shell("investigate", "--env", "demo", "--format", shape, *limit) for shape, limit in limits.items()}


@pytest.mark.parametrize("shape", ["table", "csv", "json"])
def test_investigate_succeeds(shapes: dict[str, Ran], shape: str) -> None:
    """Looking succeeds, blocked families or not."""
    assert shapes[shape].returncode == 0


def test_the_table_begins_with_the_verdict(shapes: dict[str, Ran]) -> None:
    """For people the verdict is the first line, and nothing goes to standard error."""
    assert shapes["table"].stdout.startswith(f"{VERDICT}\nNext:\n  {NEXT}\n")
    assert shapes["table"].stderr == ""


def test_the_table_counts_all_purposes(shapes: dict[str, Ran]) -> None:
    """Every purpose is counted for people, whatever it is."""
    assert "Active threads by purpose: chat 161, eval 7, run 1,240\n" in shapes["table"].stdout


def test_the_table_lists_as_many_as_asked(shapes: dict[str, Ran]) -> None:
    """`--limit` says how many families are listed."""
    assert "Blocked families, 3 of 1,256 rows: raw ids, do not share\n" in shapes["table"].stdout


def test_the_table_holds_whole_ids(shapes: dict[str, Ran]) -> None:
    """In a file or a pipe the table holds whole ids, for people to search for."""
    first = next(csv.DictReader(io.StringIO(shapes["csv"].stdout)))

    assert first["root_prompt_row_id"] in shapes["table"].stdout
    assert first["blocking_thread"] in shapes["table"].stdout


def test_json_is_alone_on_standard_output(shapes: dict[str, Ran]) -> None:
    """JSON has standard output for itself; the verdict and the next command are in it."""
    told = json.loads(shapes["json"].stdout)

    assert (told["answer"], told["next"], shapes["json"].stderr) == (VERDICT, NEXT, "")


def test_json_has_the_promised_shape(shapes: dict[str, Ran]) -> None:
    """JSON has the keys of the contract."""
    told = json.loads(shapes["json"].stdout)
    result = told["result"]

    assert (told["command"], told["environment"], told["exit_code"]) == ("investigate", "demo", 0)
    assert list(result) == ["standby", "complete", "safe", "indexes", "counts", "blocked"]
    assert (result["standby"], result["complete"], result["safe"]) == (None, True, True)
    assert list(result["indexes"]) == ["state", "definitions"]
    assert set(result["counts"]) >= COUNTS
    assert result["indexes"]["state"] == "original"
    assert result["counts"]["blocked"] == {"chat": 1088, "run": 168}


def test_json_lists_blocked_families(shapes: dict[str, Ran]) -> None:
    """JSON lists twenty blocked families unless told otherwise, each with why."""
    blocked = json.loads(shapes["json"].stdout)["result"]["blocked"]

    assert len(blocked) == 20
    assert list(blocked[0]) == [
        "root_prompt_row_id",
        "owner_id",
        "blocked_for",
        "since",
        "blocking_thread",
        "blocking_purpose",
        "blocking_provider",
    ]


def test_csv_is_alone_on_standard_output(shapes: dict[str, Ran]) -> None:
    """CSV has standard output for itself, the verdict goes to standard error."""
    rows = list(csv.DictReader(io.StringIO(shapes["csv"].stdout)))

    assert shapes["csv"].stderr == f"{VERDICT}\n"
    assert len(rows) == 1088 + 168  # --limit 0: all


def test_csv_and_json_agree(shapes: dict[str, Ran]) -> None:
    """CSV and JSON list the same families in the same order."""
    of_csv = list(csv.DictReader(io.StringIO(shapes["csv"].stdout)))[:20]
    of_json = [
        {k: "" if v is None else v for k, v in row.items()}
        for row in json.loads(shapes["json"].stdout)["result"]["blocked"]
    ]
    for row in of_csv + of_json:
        row["since"] = datetime.fromisoformat(row["since"])

    assert of_csv == of_json


def test_a_purpose_cannot_steer_the_terminal(staging: Environment, connection: psycopg.Connection) -> None:
    """Control characters in a purpose reach no terminal."""
    add(connection, uuid4(), uuid4(), purpose="\x1b]0;title\x07\x1b[31mred")
    ran = shell("investigate", "--env", "staging")

    assert ran.returncode == 0
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f]", ran.stdout) == []


def test_investigate_of_nothing_blocked(staging: Environment) -> None:
    """Of an empty table nothing is blocked, and that is said."""
    ran = shell("investigate", "--env", "staging", "--format", "json")

    assert json.loads(ran.stdout)["result"]["blocked"] == []
    assert json.loads(ran.stdout)["answer"] == (
        "No family is blocked for chat. The fix has not been applied. It is safe to apply it now."
    )


def test_an_unknown_time_names_its_option(staging: Environment, connection: psycopg.Connection) -> None:
    """Where it is unknown since when a family is blocked, the option that would tell it is named."""
    add(connection, uuid4(), uuid4(), purpose="run")

    assert "see --purpose-since" in shell("investigate", "-e", "staging").stdout


def test_a_reader_that_leaves_is_no_error() -> None:
    """A pipe whose reader has enough, `| head -1` say, ends without a word."""
    command = [sys.executable, "-m", "incident_lib", "investigate", "--env", "demo", "--format", "csv", "--limit", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()

    assert [line for line in said.splitlines() if line != VERDICT] == []


def test_a_moment_that_is_none_is_bad_usage() -> None:
    """`--purpose-since` takes ISO 8601 and nothing else."""
    assert streams(shell("investigate", "--env", "demo", "--purpose-since", "last week")) == (
        2,
        "",
        message(
            "purpose_since must be a time in ISO 8601.",
            "It is 'last week'.",
            "Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
        ),
    )


def test_plan_shows_steps_and_says_safe(named: Environment) -> None:
    """The plan shows every step, says that it is safe, and what is next; it changes nothing."""
    before = indexes(named)
    ran = shell("plan", "--env", "staging")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.findall(r"^(build|swap|drop)\t", ran.stdout, re.MULTILINE) == ["build", "swap", "drop"]
    first, *rest = ran.stdout.splitlines()
    assert first.startswith("It is safe to apply now; ")
    assert first.endswith(" No session would block it now.")
    assert rest[:2] == ["Next:", "  incident apply --env staging --confirm staging"]
    assert indexes(named) == before


CONFLICTING = """
CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO q_threads (is_active) VALUES (true) ON CONFLICT (root_prompt_row_id, owner_id) DO NOTHING;
END $$
"""


def test_plan_says_no(staging: Environment, connection: psycopg.Connection) -> None:
    """Where a check says stop the plan names it, and exits with 1."""
    connection.execute(CONFLICTING)
    ran = shell("plan", "--env", "staging")

    assert ran.returncode == 1
    assert ran.stderr == (
        "incident: It is not safe to apply the fix to 'staging' now.\n"
        "  why:  ON CONFLICT: these functions need the original key, and would fail without it (42P10): upsert().\n"
        "  next: Change them to ON CONFLICT DO NOTHING without a key, which works before and after.\n"
    )


def test_apply_is_refused_where_the_plan_says_no(staging: Environment, connection: psycopg.Connection) -> None:
    """Where a check says stop nothing is applied: exit code 1, with what was seen and the cure."""
    connection.execute(CONFLICTING)

    assert streams(shell("apply", "--env", "staging", "--confirm", "staging")) == (
        1,
        "",
        message(
            "Nothing was changed in 'staging'.",
            "ON CONFLICT: these functions need the original key, and would fail without it (42P10): upsert().",
            "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
        ),
    )


# Change


@pytest.mark.parametrize(("words", "confirm"), [([], ""), (["--confirm", "prod"], "prod")])
def test_apply_takes_the_environments_name(named: Environment, words: list[str], confirm: str) -> None:
    """Without the environment's name as --confirm nothing is changed: exit code 1."""
    before = indexes(named)

    assert streams(shell("apply", "--env", "staging", *words)) == (
        1,
        "",
        message(
            "Nothing was changed in 'staging'.",
            f"Changing an environment needs its name as confirmation, "
            f"and {repr(confirm) if confirm else 'none'} was given.",
            "Read `incident plan --env staging`, then add `--confirm staging` to allow changes.",
        ),
    )
    assert indexes(named) == before


@pytest.fixture(scope="module")
def story(server: str) -> Iterator[dict[str, Ran]]:
    """Verify, apply, verify, apply again, plan, and look, on one database of the demo's threads."""
    name = f"test_{uuid4().hex[:12]}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE incident_template").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(copy)
        address = {"INCIDENT_STORY_URL": clusters.at(server, name)}
        yield {
            "verify before": shell("verify", "--env", "story", **address),
            "apply": shell("apply", "--env", "story", "--confirm", "story", **address),
            "verify after": shell("verify", "--env", "story", **address),
            "apply again": shell("apply", "--env", "story", "--confirm", "story", **address),
            "plan after": shell("plan", "--env", "story", **address),
            "investigate after": shell("investigate", "--env", "story", "--format", "json", **address),
        }
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("ran", "code"),
    [
        ("verify before", 1),
        ("apply", 0),
        ("verify after", 0),
        ("apply again", 0),
        ("plan after", 0),
        ("investigate after", 0),
    ],
)
def test_the_story_is_told_by_exit_codes(story: dict[str, Ran], ran: str, code: int) -> None:
    """Before the fix verify says no; apply, verify, and apply again succeed."""
    assert story[ran].returncode == code


def test_verify_says_no_before(story: dict[str, Ran]) -> None:
    """Before the fix verify says that the fixed index is not enforced, and which one is."""
    assert story["verify before"].stderr == (
        "incident: The fixed index is not enforced in 'story'.\n"
        "  why:  definition: no index is the fixed index, complete and enforced; "
        "other indexes: idx_q_threads_family_unique (original: valid).\n"
        "  next: Run `incident plan --env story`: it shows what is left to do.\n"
    )


def test_apply_tells_each_step(story: dict[str, Ran]) -> None:
    """Apply tells each step with its outcome and duration, when the incident ended, and that the fix is in."""
    told = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT", story["apply"].stdout)

    assert told.startswith("story: only the fixed index is enforced. The incident ended at MOMENT UTC.\n")
    assert re.findall(r"^(build|swap|drop)\t\d+\.\d{3}\t(\w+)$", told, re.MULTILINE) == [
        ("build", "done"),
        ("swap", "done"),
        ("drop", "done"),
    ]


@pytest.mark.parametrize("ran", ["apply", "apply again", "verify after", "plan after"])
def test_no_progress_where_there_is_no_terminal(story: dict[str, Ran], ran: str) -> None:
    """Where standard error is no terminal nothing goes there while all is well."""
    assert story[ran].stderr == ""


def test_apply_twice_is_apply_once(story: dict[str, Ran]) -> None:
    """The second time no step is taken, and nothing ends."""
    assert "done" not in story["apply again"].stdout
    assert "The incident ended" not in story["apply again"].stdout
    assert story["apply again"].stdout.startswith("story: already applied: only the fixed index is enforced.\n")


def test_plan_after_has_nothing_left(story: dict[str, Ran]) -> None:
    """After the fix the plan has no step left."""
    assert story["plan after"].stdout.startswith(
        "Only the fixed index is enforced.\nNext:\n  incident verify --env story\n"
    )
    assert "Steps" not in story["plan after"].stdout


def test_investigate_after_blocks_nobody(story: dict[str, Ran]) -> None:
    """After the fix nobody is blocked, and the verdict says so."""
    told = json.loads(story["investigate after"].stdout)
    result = told["result"]

    assert (result["indexes"]["state"], result["counts"]["blocked"], result["blocked"]) == (
        "fixed",
        {"chat": 0, "run": 0},
        [],
    )
    assert (told["answer"], told["next"]) == (
        "No family is blocked for chat. The fix has been applied. Nothing is left to apply.",
        "incident verify --env story",
    )


@pytest.fixture
def busy(named: Environment) -> Iterator[int]:
    """Somebody else's session that migrates `staging`: its pid."""
    with psycopg.connect(named.address, autocommit=True, application_name="somebody") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        yield other.info.backend_pid


def _untimed(text: str) -> str:
    return re.sub(r"open \d+ s", "open N s", text)


def test_apply_refuses_to_wait(busy: int) -> None:
    """With --no-wait apply is refused where somebody is at it, who is named: exit code 1."""
    ran = shell("apply", "--env", "staging", "--confirm", "staging", "--no-wait")

    assert (ran.returncode, ran.stdout, _untimed(ran.stderr)) == (
        1,
        "",
        message(
            "Another migration is running.",
            f"Pid {busy} (somebody, idle, open N s) is migrating this database.",
            "Remove --no-wait to wait for it and then continue, or try again later.",
        ),
    )


def test_apply_gives_up_waiting(busy: int) -> None:
    """With its budget spent apply stops waiting, and names whom it waited for: exit code 3."""
    ran = shell("apply", "--env", "staging", "--confirm", "staging", "--budget", "0.3")

    assert (ran.returncode, ran.stdout, _untimed(ran.stderr)) == (
        3,
        "",
        message(
            "The budget ended while waiting for another migration.",
            f"pid {busy} (somebody, idle, open N s) is still migrating this database.",
            "Try again later: `incident plan` then shows what is left to do.",
        ),
    )


@pytest.fixture
def interrupted(busy: int, named: Environment) -> Ran:
    """`incident apply` that waits for somebody, and gets a Ctrl-C."""
    command = [sys.executable, "-c", HEARING, "apply", "--env", "staging", "--confirm", "staging"]
    with (
        psycopg.connect(named.address, autocommit=True) as connection,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=unmeasured(os.environ)
        ) as process,
    ):
        # Between two tries for the lock: a signal within a statement is another test's.
        polling = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
            " AND application_name = 'incident_lib migrate' AND query ~ 'the advisory lock of migrations'"
        )
        deadline = time.monotonic() + 30
        while connection.execute(polling).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def test_ctrl_c_is_one_message(interrupted: Ran, named: Environment) -> None:
    """Ctrl-C ends a waiting command with 130 and one message; nothing was changed."""
    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr.strip()) == (130, "", INTERRUPTED)
    assert [definition for definition in indexes(named) if "purpose" in definition] == []


WARNING_AT_EXIT = (
    "import atexit, logging; atexit.register(lambda: logging.getLogger('psycopg').warning('user=me database=mine'));"
    "from incident_lib.cli import main; main()"
)


def test_psycopgs_own_warnings_stay_away() -> None:
    """What psycopg warns of, a rollback that Ctrl-C cut short say, names role and database, and is not shown."""
    command = [sys.executable, "-c", WARNING_AT_EXIT, "investigate", "--env", "demo", "--limit", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (ran.returncode, ran.stderr) == (0, "")


FROZEN_AT_EXIT = (
    "import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000));"
    "from incident_lib.cli import main; main()"
)


def test_a_command_collects_no_garbage() -> None:
    """The imports of a command set off no collection of garbage, and at its end there is nothing to collect."""
    command = [sys.executable, "-c", FROZEN_AT_EXIT, "env", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.splitlines()[-1] == f"{COLLECT_AFTER} True"


# What stands in the way


@pytest.mark.parametrize("words", [["investigate"], ["plan"], ["verify"], ["apply", "--confirm", "nowhere"]])
def test_an_unknown_environment(words: list[str]) -> None:
    """A name that resolves to nothing is bad usage, and both ways to give it a meaning are named."""
    assert streams(shell(*words, "--env", "nowhere")) == (
        2,
        "",
        message(
            "The environment 'nowhere' is not known.",
            "The variable INCIDENT_NOWHERE_URL is not set, and no pg_service.conf has a service [nowhere].",
            "Set INCIDENT_NOWHERE_URL=postgresql://… , or add [nowhere] to ~/.pg_service.conf, or use `demo`.",
        ),
    )


def test_a_malformed_name() -> None:
    """A name that could leave the folder of runs is bad usage."""
    assert streams(shell("run", "--env", "../x")) == (
        2,
        "",
        message(
            "'../x' cannot be the name of an environment.",
            "A name has letters, digits, `_` and `-` only, since it is part of a variable's name and of a folder's.",
            "Use a name like `staging`; put the address in INCIDENT_STAGING_URL.",
        ),
    )


def test_an_address_that_is_none() -> None:
    """An address that libpq cannot read is bad usage, and is not repeated."""
    assert streams(shell("investigate", "--env", "odd", INCIDENT_ODD_URL="s3cret words")) == (
        2,
        "",
        message(
            "INCIDENT_ODD_URL is set, but libpq cannot read it.",
            "It is not a connection string; its text is not repeated here, since it may hold a password.",
            "Set INCIDENT_ODD_URL=postgresql://role@host:5432/database ; escape special characters as %XX.",
        ),
    )


@pytest.mark.parametrize("words", [["investigate"], ["plan"], ["verify"], ["apply", "--confirm", "away"]])
def test_an_unreachable_environment(words: list[str]) -> None:
    """Where no server listens the command ends with 3, and its message holds nothing of the address."""
    assert streams(shell(*words, "--env", "away", INCIDENT_AWAY_URL="postgresql://me:s3cret@127.0.0.1:1/db")) == (
        3,
        "",
        message(
            "The environment 'away' cannot be reached.",
            "No server listens at that address.",
            "Is the server up, and the port right? "
            "Check INCIDENT_AWAY_URL; `psql` with the same address shows the server's own message.",
        ),
    )


@pytest.mark.parametrize("words", [["investigate"], ["plan"], ["verify"], ["apply", "--confirm", "other"]])
def test_a_database_without_the_table(server: str, words: list[str]) -> None:
    """A database that holds no such table is named as that."""
    assert streams(shell(*words, "--env", "other", INCIDENT_OTHER_URL=server)) == (
        3,
        "",
        message(
            "There is no table public.q_threads in this database.",
            "It holds no table at all: it may be the wrong database.",
            "Check the database in the environment's address: `incident env list` says where that is.",
        ),
    )


@pytest.mark.parametrize("command", ["investigate", "plan", "verify"])
def test_a_table_without_a_column(staging: Environment, connection: psycopg.Connection, command: str) -> None:
    """A column that is not there is named."""
    connection.execute("ALTER TABLE public.q_threads DROP COLUMN purpose")

    assert streams(shell(command, "--env", "staging")) == (
        3,
        "",
        message(
            "public.q_threads lacks purpose.",
            "The incident is about a table that has these columns.",
            "Has every migration of q_threads been applied there?",
        ),
    )


@pytest.fixture
def stranger(environment: Environment, connection: psycopg.Connection) -> Iterator[str]:
    """The address of `environment` for a role without any right."""
    role = f"stranger_{uuid4().hex[:12]}"
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    yield environment.address.replace("//postgres:@", f"//{role}@")
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize("command", ["investigate", "plan", "verify"])
def test_a_role_that_may_not_read(stranger: str, command: str) -> None:
    """A role that may not read the table is told what to ask for."""
    assert streams(shell(command, "--env", "staging", INCIDENT_STAGING_URL=stranger)) == (
        3,
        "",
        message(
            "This role may not read public.q_threads.",
            "It has no SELECT right on it.",
            "Ask the owner: GRANT SELECT ON public.q_threads TO the role of this environment.",
        ),
    )


def test_a_statement_that_takes_too_long(staging: Environment) -> None:
    """A statement that takes longer than allowed is given up, with how to allow more."""
    with psycopg.connect(staging.address) as locking:
        locking.execute("LOCK TABLE public.q_threads")  # the statement waits longer than its 0.2 s, however fast it is
        ran = shell("investigate", "--env", "staging", "--timeout", "0.2")

    assert streams(ran) == (
        3,
        "",
        message(
            "A query failed in the environment 'staging' (SQLSTATE 57014).",
            "PostgreSQL says: canceling statement due to statement timeout.",
            "Try again with a longer --timeout.",
        ),
    )


def test_runs_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder of runs that cannot be written is named before anything is begun."""
    (tmp_path / "file").touch()
    place = os.path.relpath(tmp_path / "file" / "runs" / "demo")

    assert streams(shell("run", "--out", str(tmp_path / "file" / "runs"))) == (
        3,
        "",
        message(
            f"{place} cannot be written.",
            "Not a directory.",
            "Make it writable, or name another folder with --out.",
        ),
    )


# Report


UNWRITTEN = (
    "8 parts to be written: Summary, Detection, Contributing factors, What went well, What went badly, "
    "Where we were lucky, Action items, the incident's id.\n"
)


def test_report_needs_a_record_only(tmp_path: Path) -> None:
    """A report is written from a record alone; its files are named, and what people have still to write."""
    out, notes = tmp_path / "post.html", tmp_path / "notes.md"
    words = ("report", str(paths.EXAMPLE_RUN), "--out", str(out), "--notes", str(notes))
    ran = shell(*words, INCIDENT_DEMO_DIR="/nowhere")

    files = f"{out}\n{tmp_path / 'post.md'}\n{tmp_path / 'post'}\n"
    assert streams(ran) == (
        0,
        f"The report is over demo.\nNext:\n  incident open {out}\n{files}{UNWRITTEN}",
        "",
    )
    assert out.read_text("utf-8").startswith("<!doctype html>")
    assert notes.read_text("utf-8").startswith("# ")


def test_report_says_nothing_of_notes_in_which_all_is_written(tmp_path: Path) -> None:
    """Where nothing is left for people, nothing of it is said."""
    written = "# INC-1\n" + "".join(f"## {title}\n\nSaid.\n" for title in WANTED)
    (tmp_path / "notes.md").write_text(written, "utf-8")
    words = ("--out", str(tmp_path / "post.html"), "--notes", str(tmp_path / "notes.md"))

    assert "to be written" not in shell("report", str(paths.EXAMPLE_RUN), *words).stdout


@pytest.mark.slow
def test_report_writes_a_pdf(tmp_path: Path) -> None:
    """`incident report --pdf` writes a PDF beside the page, and names it last."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be loaded: {error}")
    words = ("--out", str(tmp_path / "post.html"), "--notes", str(tmp_path / "notes.md"), "--pdf")
    ran = shell("report", str(paths.EXAMPLE_RUN), *words)

    assert (ran.returncode, ran.stdout.splitlines()[-2], ran.stderr) == (0, str(tmp_path / "post.pdf"), "")
    assert (tmp_path / "post.pdf").read_bytes().startswith(b"%PDF-")


def test_report_of_what_is_no_run(tmp_path: Path) -> None:
    """A folder that holds no run is bad usage."""
    assert streams(shell("report", str(tmp_path), "--out", str(tmp_path / "post.html"))) == (
        2,
        "",
        message(
            f"{tmp_path} is not the folder of a run.",
            "It holds no record.json.",
            "Name a folder like data/runs/demo/20260101T120000Z.",
        ),
    )


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    """A report that cannot be written is one message, and exit code 3."""
    (tmp_path / "file").touch()
    ran = shell("report", str(paths.EXAMPLE_RUN), "--out", str(tmp_path / "file" / "post.html"))

    assert (ran.returncode, ran.stdout) == (3, "")
    assert re.fullmatch(r"incident: .* cannot be written\.\n  why:  Not a directory\.\n  next: .*\n", ran.stderr)


# The embedded database


@pytest.fixture(scope="module")
def own_demo() -> Iterator[dict[str, Ran]]:
    """An embedded database of its own: asked for, changed, reset, stopped, and stopped again."""
    home = tempfile.mkdtemp(prefix="incident-own-")
    at = {"INCIDENT_DEMO_DIR": home}
    told = {"url": shell("demo", "url", **at)}
    try:
        address = told["url"].stdout.strip()
        with psycopg.connect(address) as connection:
            connection.execute("DELETE FROM public.q_threads")
        told["emptied"] = shell("investigate", "--env", "demo", "--format", "json", **at)
        told["reset"] = shell("demo", "reset", **at)
        told["as it was"] = shell("investigate", "--env", "demo", "--format", "json", **at)
    finally:
        told["stop"] = shell("demo", "stop", **at)
    told["stop again"] = shell("demo", "stop", **at)
    yield told
    shutil.rmtree(home)


def test_demo_url_is_an_address(own_demo: dict[str, Ran]) -> None:
    """`incident demo url` prints the address alone."""
    ran = own_demo["url"]

    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"postgresql://\S+\n", ran.stdout)


def test_demo_reset_makes_it_anew(own_demo: dict[str, Ran]) -> None:
    """`incident demo reset` brings back what somebody took away."""
    assert streams(own_demo["reset"]) == (0, "demo is as the incident left it.\n", "")
    assert json.loads(own_demo["emptied"].stdout)["result"]["counts"]["families"] == 0
    assert json.loads(own_demo["as it was"].stdout)["result"]["counts"]["families"] == 1257


def test_demo_stop_stops_it(own_demo: dict[str, Ran]) -> None:
    """`incident demo stop` says whether there was a server to stop."""
    assert streams(own_demo["stop"]) == (0, "The embedded server has stopped.\n", "")
    assert streams(own_demo["stop again"]) == (0, "The embedded server was not running.\n", "")


def test_a_demo_without_a_folder(tmp_path: Path) -> None:
    """A folder of the embedded server that cannot be made is named."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "demo"

    assert streams(shell("demo", "url", INCIDENT_DEMO_DIR=str(place))) == (
        3,
        "",
        message(
            "The embedded server of `demo` has no folder.",
            f"{place} cannot be made or written by this user.",
            "Point INCIDENT_DEMO_DIR at a folder that you may write, with a short path.",
        ),
    )
