"""The answers of commands as JSON: each is of the committed schema, alone on standard output, with times in UTC."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from jsonschema import Draft202012Validator

from incident_lib import paths
from incident_lib.model import PLAN_OWNER, PLAN_ROOT
from tests.conftest import add
from tests.support.command import Ran, shell, streams
from tests.support.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from incident_lib.database import Environment

SCHEMA = Draft202012Validator(json.loads((paths.ROOT / "data/schemas/answers.schema.json").read_text("utf-8")))
UNKNOWN = "ffffffff-0000-4000-8000-000000000000"
FAMILY = (str(PLAN_ROOT), str(PLAN_OWNER))


def answer(ran: Ran) -> dict[str, Any]:
    """The only answer on standard output; it is of the schema."""
    found: dict[str, Any] = json.loads(ran.stdout)
    SCHEMA.validate(found)
    return found


@pytest.fixture
def named(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A database of the demo's threads, as `staging`."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    return incident


# Each command


LOOKS = {
    "investigate": ["investigate", "-e", "demo"],
    "explain": ["explain", "-e", "demo", *FAMILY],
    "scan": ["scan", "-e", "demo", "--index", "idx_q_threads_family_unique"],
    "plan": ["plan", "-e", "demo"],
    "verify": ["verify", "-e", "demo"],
    "env list": ["env", "list"],
    "env check": ["env", "check", "demo"],
    "runs": ["runs"],
    "rehearse": ["rehearse", "-e", "demo"],
    "failures": ["failures", str(paths.ROOT / "data/demo/server.log"), "-e", "demo"],
}


@pytest.mark.parametrize("command", LOOKS)
def test_an_answer_is_of_the_schema(command: str, tmp_path: Path) -> None:
    """What a command answers is one object of the committed schema, with its own name and exit code."""
    shutil.copytree(paths.EXAMPLE_RUN, tmp_path / "demo" / "20250101T120000Z")
    ran = shell(*LOOKS[command], "--format", "json", INCIDENT_RUNS=str(tmp_path))
    told = answer(ran)

    assert (told["command"], told["exit_code"]) == (command, ran.returncode)


ODD = 'back\\slash "quoted"\n\ttab, \N{SNOWMAN}'


def test_a_list_of_all_is_that_of_the_first(incident: Environment) -> None:
    """Without a limit PostgreSQL itself makes the JSON: its objects equal those of a limited list, odd letters, too."""
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute("UPDATE public.q_threads SET purpose = %s WHERE purpose = 'eval'", [ODD])
        connection.execute("UPDATE public.q_threads SET provider = %s WHERE purpose = %s", [ODD, ODD])
    words = ("investigate", "-e", "odd", "--format", "json", "--purpose-since", "2025-01-01T00:00:00Z", "--limit")
    every, first = (answer(shell(*words, limit, INCIDENT_ODD_URL=incident.address)) for limit in ("0", "5000"))

    assert len(first["result"]["blocked"]) > 1_000
    assert {family["blocking_purpose"] for family in first["result"]["blocked"]} == {"chat", "run", ODD}
    for family in (*every["result"]["blocked"], *first["result"]["blocked"]):
        family["since"] = family["since"] and datetime.fromisoformat(family["since"])
    assert every["result"] == first["result"]


def test_a_list_of_none_is_of_the_schema(staging: Environment, connection: psycopg.Connection) -> None:
    """Without a unique index and without a blocked family, the lists are empty."""
    connection.execute("DROP INDEX public.idx_q_threads_family_unique")
    told = answer(shell("investigate", "-e", "staging", "--format", "json", "--limit", "0"))

    assert (told["result"]["indexes"]["definitions"], told["result"]["blocked"]) == ([], [])


def test_a_change_and_back_are_of_the_schema(named: Environment, tmp_path: Path) -> None:
    """`apply` and `rollback` answer with the steps that they ran, and with what is enforced."""
    words = ("-e", "staging", "--confirm", "staging", "--format", "json")
    applied, again, back = (answer(shell(command, *words)) for command in ("apply", "apply", "rollback"))

    assert [step["name"] for step in applied["result"]["steps"]] == ["build", "swap", "drop"]
    assert applied["result"]["incident_ended_at"]
    assert (again["result"]["steps"], again["next"]) == ([], "incident verify --env staging")
    assert (back["result"]["target"], back["result"]["incident_ended_at"]) == ("original", None)
    assert {check["status"] for check in back["result"]["verification"]} == {"pass"}


def test_a_report_is_of_the_schema(tmp_path: Path) -> None:
    """`report` names its files and what people have still to write."""
    words = ("--out", str(tmp_path / "post.html"), "--notes", str(tmp_path / "notes.md"), "--format", "json")
    told = answer(shell("report", str(paths.EXAMPLE_RUN), *words))

    assert told["result"]["files"][0] == str(tmp_path / "post.html")
    assert len(told["result"]["unfinished"]) == 1


def test_runs_compare_and_delete_are_of_the_schema(tmp_path: Path) -> None:
    """Two runs are compared, and one is deleted."""
    run = "demo/20250101T120000Z"
    shutil.copytree(paths.EXAMPLE_RUN, tmp_path / run)
    at = {"INCIDENT_RUNS": str(tmp_path)}
    compared = answer(shell("runs", "compare", run, run, "--format", "json", **at))
    deleted = answer(shell("runs", "delete", run, "--confirm", run, "--format", "json", **at))

    assert [each["counts_before"]["blocked"]["chat"] for each in compared["result"]["runs"]] == [1088, 1088]
    assert (deleted["result"], deleted["environment"]) == ({"run": run}, "demo")


def test_each_reading_of_watch_is_a_line(named: Environment, tmp_path: Path) -> None:
    """`watch` prints a line of JSON for each reading."""
    shutil.copytree(paths.EXAMPLE_RUN, tmp_path / "demo" / "20250101T120000Z")
    record = json.loads((tmp_path / "demo/20250101T120000Z/record.json").read_text("utf-8"))
    (tmp_path / "demo").rename(tmp_path / "staging")
    (tmp_path / "staging/20250101T120000Z/record.json").write_text(
        json.dumps(record | {"environment": "staging"}), "utf-8"
    )
    listed = shell("investigate", "-e", "staging", "--format", "csv", "--limit", "3").stdout
    (tmp_path / "staging/20250101T120000Z/blocked.csv").write_text(listed, "utf-8")
    ran = shell("watch", "-e", "staging", "--once", "--format", "json", INCIDENT_RUNS=str(tmp_path))

    assert len(ran.stdout.splitlines()) == 1, ran.stderr
    assert (answer(ran)["result"]["blocked"], answer(ran)["result"]["rejected"]) == (3, None)


def test_every_time_is_in_utc() -> None:
    """Times are ISO 8601 and end in Z."""
    text = shell("investigate", "-e", "demo", "--format", "json").stdout
    times = re.findall(r'"(\d{4}-\d\d-\d\d[^"]*)"', text)

    assert len(times) > 20
    assert [time for time in times if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time)] == []


# Errors


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["plan", "-e", "nowhere"], 2),
        (["plan", "-e", "demo", "--nope"], 2),
        (["verify", "-e", "demo"], 1),
        (["investigate", "-e", "demo", "--timeout", "0.001"], 3),
    ],
)
def test_an_error_is_json_too(words: list[str], code: int) -> None:
    """With --format json, standard error holds one object: what happened, why, and what to do next."""
    ran = shell(*words, "--format", "json")
    told = json.loads(ran.stderr)
    SCHEMA.validate(told)

    assert (ran.returncode, told["exit_code"]) == (code, code)


def test_a_command_to_type_is_alone_on_its_line(tmp_path: Path) -> None:
    """On a terminal the command that a message ends with is a line of its own, however narrow the terminal is."""
    run = "demo/20250101T120000Z"
    shutil.copytree(paths.EXAMPLE_RUN, tmp_path / run)
    _, text = on_terminal(
        "runs", "delete", run, "--confirm", "no", columns=40, INCIDENT_RUNS=str(tmp_path), NO_COLOR="1"
    )

    assert text.endswith(f"\n  next: Confirm it:\n    incident runs delete {run} --confirm {run}\n")


# What is not known, and what is not found


@pytest.fixture
def limited(incident: Environment) -> Iterator[str]:
    """The address of a role from which row level security hides every row."""
    role = f"limited_{uuid4().hex[:12]}"
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT SELECT ON public.q_threads TO {role}")
        connection.execute("ALTER TABLE public.q_threads ENABLE ROW LEVEL SECURITY")
        yield incident.address.replace("//postgres:@", f"//{role}@")
        connection.execute("ALTER TABLE public.q_threads DISABLE ROW LEVEL SECURITY")
        connection.execute(f"REVOKE ALL ON public.q_threads FROM {role}")
        connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("words", [["investigate"], ["explain", *FAMILY]])
def test_hidden_rows_are_not_known(limited: str, words: list[str]) -> None:
    """Where row level security hides rows the answer is not known: exit code 1, not 0."""
    ran = shell(*words, "-e", "hidden", "--format", "json", INCIDENT_HIDDEN_URL=limited)

    assert (ran.returncode, answer(ran)["exit_code"]) == (1, 1)
    assert json.loads(ran.stderr)["error"]["why"].startswith("Row level security hides rows")


def test_a_family_behind_row_level_security_is_not_called_missing(limited: str) -> None:
    """Where row level security hides rows, neither the answer nor the error says that there is no such family."""
    ran = shell("explain", *FAMILY, "-e", "hidden", INCIDENT_HIDDEN_URL=limited)

    assert ran.stdout == "Whether there is such a family is not known.\n"
    assert ran.stderr.startswith("incident: Whether there is such a family is not known.\n")


@pytest.mark.parametrize(
    ("root", "owner", "why"),
    [
        (FAMILY[1], FAMILY[0], "The two ids are swapped: the second one is the root."),
        (FAMILY[1][:8], FAMILY[0][:8], "The two ids are swapped: the second one is the root."),
        (UNKNOWN, UNKNOWN, "No thread has this root, and none has this owner."),
        (FAMILY[0], UNKNOWN, "No thread has this owner; the root has threads of other users, or without one."),
        (UNKNOWN, FAMILY[1], "No thread has this root; the owner has threads of other families."),
        (
            "8be3a08f-10f5-4b30-af5f-39c4656368f0",
            FAMILY[1],
            "The first id is that of a thread, not of a root prompt or a user.",
        ),
    ],
)
def test_a_family_that_is_not_found(root: str, owner: str, why: str) -> None:
    """Ids that no family has: swapped, of a thread, or which of them is unknown; exit code 1."""
    ran = shell("explain", "-e", "demo", root, owner, "--format", "json")

    assert (ran.returncode, answer(ran)["error"]["why"]) == (1, why)


def test_the_first_digits_of_ids_are_enough() -> None:
    """The first eight digits of both ids, as `investigate` shows them, are those of one family."""
    told = answer(shell("explain", "-e", "demo", FAMILY[0][:8], FAMILY[1][:8], "--format", "json"))

    assert (told["result"]["root"], told["result"]["owner"]) == FAMILY


@pytest.mark.parametrize("form", ["{{{}}}", "urn:uuid:{}", " {} "])
def test_ids_in_other_forms(form: str) -> None:
    """An id may be in braces, a URN, or between spaces, as other programs copy it."""
    told = answer(shell("explain", "-e", "demo", *(form.format(each.upper()) for each in FAMILY), "--format", "json"))

    assert (told["result"]["root"], told["result"]["owner"]) == FAMILY


def test_too_few_digits(staging: Environment, connection: psycopg.Connection) -> None:
    """Digits with which the ids of several families begin are not enough, and that is the answer."""
    for root in ("aaaa0000-0000-4000-8000-000000000000", "aaaa1111-0000-4000-8000-000000000000"):
        add(connection, root, "bbbb0000-0000-4000-8000-000000000000", purpose="run")
    ran = shell("explain", "-e", "staging", "aaaa", "bbbb", "--format", "json")

    assert (ran.returncode, answer(ran)["error"]["why"]) == (1, "Several families have ids that begin so.")


def test_what_is_no_id_is_bad_usage() -> None:
    """A text that is no beginning of an id is bad usage, and is not repeated."""
    ran = shell("explain", "-e", "demo", "nobody@example.com", FAMILY[1])

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "example" not in ran.stderr


# Habits


def test_quiet_and_json_have_no_sentence_beside_the_answer(staging: Environment) -> None:
    """With --quiet or as JSON a rollback warns of nothing; as JSON its next command is the plan of the fix."""
    assert shell("apply", "-e", "staging", "--confirm", "staging", "-q").returncode == 0
    back = shell("rollback", "-e", "staging", "--confirm", "staging", "--format", "json")

    assert (back.returncode, back.stderr, answer(back)["next"]) == (0, "", "incident plan --env staging")
    assert shell("apply", "-e", "staging", "--confirm", "staging", "-q").returncode == 0
    assert streams(shell("rollback", "-e", "staging", "--confirm", "staging", "-q")) == (0, "", "")


def test_the_environment_may_be_a_variable(named: Environment) -> None:
    """INCIDENT_ENV is the default of --env; there is none for --confirm."""
    told = answer(shell("plan", "--format", "json", INCIDENT_ENV="staging"))
    refused = shell("apply", INCIDENT_ENV="staging")

    assert told["environment"] == "staging"
    assert refused.returncode == 1


def test_why_a_run_failed_is_json_on_standard_error(tmp_path: Path) -> None:
    """As JSON the reason why a run failed is an object on standard error, too."""
    ran = shell(
        "run", "-e", "down", "-q", "--format", "json",
        INCIDENT_DOWN_URL="postgresql://u@127.0.0.1:1/d", INCIDENT_RUNS=str(tmp_path),
    )  # fmt: skip

    assert ran.returncode == 3
    assert json.loads(ran.stderr)["error"]["what"] == "The environment 'down' cannot be reached."


@pytest.mark.parametrize("command", ["run", "report"])
def test_runs_and_reports_are_of_the_environment_in_the_variable(command: str, tmp_path: Path) -> None:
    """Without --env, `run` and `report` are of INCIDENT_ENV too: the demo is not run in its place."""
    ran = shell(command, INCIDENT_ENV="nosuch", INCIDENT_RUNS=str(tmp_path))

    assert (ran.returncode, "'nosuch'" in ran.stderr.splitlines()[0]) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_named_run_is_not_joined_by_the_variable(tmp_path: Path) -> None:
    """A report over a run that is named is not over INCIDENT_ENV, too."""
    shutil.copytree(paths.EXAMPLE_RUN, tmp_path / "demo/20250101T120000Z")
    out = str(tmp_path / "p.html")
    ran = shell(
        "report", str(tmp_path / "demo/20250101T120000Z"), "--out", out, "--notes", str(tmp_path / "n.md"),
        INCIDENT_ENV="nosuch",
    )  # fmt: skip

    assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, "The report is over demo.")


def test_quiet_prints_nothing() -> None:
    """With --quiet the exit code is the answer; only an error is printed."""
    assert [
        (ran.returncode, ran.stdout) for ran in (shell("plan", "-e", "demo", "-q"), shell("verify", "-e", "demo", "-q"))
    ] == [
        (0, ""),
        (1, ""),
    ]


def test_verbose_prints_statements_without_values() -> None:
    """With --verbose each statement is on standard error with its time; no id is in it."""
    ran = shell("explain", "-e", "demo", *FAMILY, "-v", "--format", "json")
    lines = ran.stderr.splitlines()

    assert answer(ran)["result"]["threads"]
    assert len(lines) >= 4
    assert [line for line in lines if not re.match(r" *\d+\.\d ms  \w", line)] == []
    assert not any(each[:8] in ran.stderr for each in FAMILY)


def test_verbose_prints_copied_statements_too() -> None:
    """With --verbose the statement that copies all blocked families is on standard error, too."""
    ran = shell("investigate", "-e", "demo", "-v", "--format", "csv")

    assert [line for line in ran.stderr.splitlines() if re.match(r" *\d+\.\d ms  COPY ", line)] != []


def test_colours_follow_the_variables() -> None:
    """A terminal has colours, not with NO_COLOR or a dumb one; a pipe has none, but with FORCE_COLOR."""
    words = ("env", "check", "demo")

    def coloured(**variables: str) -> bool:
        return "\x1b[32m" in on_terminal(*words, columns=80, INCIDENT_PROGRESS="off", **variables)[1]

    assert (coloured(), coloured(NO_COLOR="1"), coloured(TERM="dumb")) == (True, False, False)
    assert ["\x1b[" in shell(*words, **each).stdout for each in ({}, {"FORCE_COLOR": "1"})] == [False, True]


@pytest.mark.parametrize(("words", "paged"), [([], True), (["--no-pager"], False)])
def test_a_long_answer_goes_through_the_pager(tmp_path: Path, words: list[str], paged: bool) -> None:
    """On a terminal that is less high than the answer, the pager gets it; not with --no-pager."""
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/got\n", "utf-8")
    pager.chmod(0o755)
    code, _ = on_terminal("plan", "-e", "demo", *words, columns=80, lines=20, PAGER=str(pager), INCIDENT_PROGRESS="off")

    assert code == 0
    assert (tmp_path / "got").exists() == paged


def test_progress_leaves_nothing() -> None:
    """On a terminal the bars of a rehearsal are gone when it is done."""
    _, text = on_terminal("rehearse", "-e", "demo", columns=80, NO_COLOR="1", INCIDENT_PROGRESS="on")

    assert "━" in text
    assert "━" not in text.rpartition("\x1b[2K")[2]


# In the shell


def test_the_examples_of_the_reference_run() -> None:
    """Each line with jq in docs/cli.md runs, and prints something."""
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    page = (paths.ROOT / "docs" / "cli.md").read_text("utf-8")
    examples = re.findall(r"^incident .*\| jq .*$", page, re.MULTILINE)
    command = f"{sys.executable} -m incident_lib"
    for example in examples:
        piped = example.replace("incident ", f"{command} ", 1)
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", piped], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, ""), example
        assert ran.stdout.strip(), example
    assert len(examples) >= 4


NIGHT = """
set -euo pipefail
incident() { "$PYTHON" -m incident_lib "$@" --format json; }
export INCIDENT_ENV=night
blocked=$(incident investigate | jq .result.counts.blocked.chat)
test "$blocked" -gt 0
test "$(incident plan | jq .result.safe)" = true
test "$(incident rehearse | jq .result.works)" = true
! incident verify > before.json 2> error.json
test "$(jq .exit_code before.json error.json | sort -u)" = 1
incident apply --confirm night | jq -e '.result.steps | length == 3' > /dev/null
test "$(incident verify | jq .result.enforced)" = true
test "$(incident investigate | jq .result.counts.blocked.chat)" = 0
incident run --env night --out runs | jq -e '.result.runs[0].status == "dry-run"' > /dev/null
incident report --env night --out night.html --notes notes.md | jq -r '.result.files[0]'
"""


@pytest.mark.slow
def test_the_night_of_an_engineer_on_call(incident: Environment, tmp_path: Path) -> None:
    """Investigate, plan, rehearse, apply, verify and report, each by its JSON, in bash."""
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    ran = subprocess.run(
        ["bash", "-c", NIGHT],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "INCIDENT_NIGHT_URL": incident.address,
            "INCIDENT_RUNS": str(tmp_path / "runs"),
        },
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / ran.stdout.strip()).stat().st_size > 10_000
