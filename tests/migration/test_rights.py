"""Roles with different rights, and addresses that lead nowhere: one clear message each, over TCP with passwords."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.analysis.access import check_access
from incident_lib.analysis.investigate import investigate
from incident_lib.database import Environment, reading
from incident_lib.migration.preflight import run_preflight
from incident_lib.model.checks import Status
from incident_lib.model.errors import Failed, UsageError
from incident_lib.runs.fleet import run_fleet
from tests.support import tcp
from tests.support.clusters import at
from tests.support.command import message, shell, streams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
PID_ALONE = "the sessions that block a build are described by pid alone (grant pg_read_all_stats)"
OWNER_STOP = (
    "table owner: only the table's owner may build or drop its indexes (SQLSTATE 42501)",
    "Use the owner's role for this environment.",
)
RLS_STOP = (
    "row level security: row level security hides rows from this role: every count may be too low",
    "Use a role with BYPASSRLS, or the owner where RLS is not forced.",
)
CHECK = "Check INCIDENT_STAGING_URL; `psql` with the same address shows the server's own message."


@pytest.fixture(scope="module")
def served() -> Iterator[tcp.Tcp]:
    """A server with TCP, passwords and roles."""
    with tcp.serving() as served:
        yield served


@pytest.fixture(scope="module")
def database(served: tcp.Tcp) -> Iterator[str]:
    """A database that these tests only look at."""
    with served.database() as name:
        yield name


@pytest.fixture(scope="module")
def forced(served: tcp.Tcp) -> Iterator[str]:
    """A database whose table has row level security also for its owner, the role `rls`."""
    with served.database(owner="rls", more=tcp.FORCED) as name:
        yield name


@pytest.fixture
def role(
    served: tcp.Tcp, database: str, forced: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Environment:
    """The environment `staging` for the role that the test asks for."""
    address = served.url(request.param, forced if request.param == "rls" else database)
    monkeypatch.setenv("INCIDENT_STAGING_URL", address)
    return Environment("staging", "INCIDENT_STAGING_URL", address)


REFUSED = "would be refused: only the table's owner may build or drop its indexes (SQLSTATE 42501)"


def of(*roles: str) -> pytest.MarkDecorator:
    """Run a test for each of these roles."""
    return pytest.mark.parametrize("role", roles, indirect=True)


@of("owner", "reader", "writer")
def test_a_role_that_may_read_counts_all(role: Environment) -> None:
    """Whoever may read the table, owner or not, counts what there is."""
    with reading(role) as connection:
        found = investigate(connection)

    assert (found.counts.families, found.counts.blocked.chat) == (1257, 1088)


@of("owner")
def test_the_owner_may_do_all(role: Environment) -> None:
    """The table's owner is stopped by nothing."""
    with reading(role) as connection:
        found = run_preflight(connection, role, investigate(connection))

    assert found.failures == ()


@pytest.mark.parametrize(
    ("role", "stop"),
    [("reader", OWNER_STOP), ("writer", OWNER_STOP), ("rls", RLS_STOP)],
    indirect=["role"],
    ids=["reader", "writer", "rls"],
)
def test_the_plan_says_what_stops_a_role(role: Environment, stop: tuple[str, str]) -> None:
    """The plan of a role that may not apply says which right is missing: exit code 1."""
    ran = shell("plan", "--env", "staging")

    assert ran.returncode == 1
    assert ran.stderr == message("It is not safe to apply the fix to 'staging' now.", f"{stop[0]}.", stop[1])


@pytest.mark.parametrize("command", ["apply", "rollback"])
@pytest.mark.parametrize(
    ("role", "stop"),
    [("reader", OWNER_STOP), ("writer", OWNER_STOP), ("rls", RLS_STOP)],
    indirect=["role"],
    ids=["reader", "writer", "rls"],
)
def test_a_change_is_refused(role: Environment, stop: tuple[str, str], command: str) -> None:
    """Apply and rollback are refused to a role that lacks a right, before anything is begun: exit code 1."""
    assert streams(shell(command, "--env", "staging", "--confirm", "staging")) == (
        1,
        "",
        message("Nothing was changed in 'staging'.", f"{stop[0]}.", stop[1]),
    )


@of("reader")
def test_a_probe_is_refused(role: Environment) -> None:
    """A probe, which writes and rolls back, is refused to a role that may only read."""
    ran = shell("verify", "--env", "staging", "--probe", "--confirm", "staging")

    assert (ran.returncode, ran.stdout, ran.stderr) == (
        3,
        "",
        message(
            "A query failed in the environment 'staging' (SQLSTATE 42501).",
            "PostgreSQL says: permission denied for table q_threads.",
            "Ask for the right, or use the role that owns public.q_threads.",
        ),
    )


@of("writer")
def test_a_writer_may_probe(role: Environment) -> None:
    """A role that may write, and is not the owner, may probe: the one thing in its way is the unique index itself."""
    ran = shell("verify", "--env", "staging", "--probe", "--confirm", "staging")

    assert (ran.returncode, ran.stderr.splitlines()[0]) == (
        1,
        "incident: The fixed index is not enforced in 'staging'.",
    )


@of("rls")
def test_counts_under_row_level_security_are_said_to_be_too_low(role: Environment) -> None:
    """Where policies hide rows, the verdict is not that all is well and done: plan and unknowns say so."""
    with reading(role) as connection:
        found = run_preflight(connection, role, investigate(connection))

    assert [(check.name, check.finding) for check in found.failures] == [tuple(RLS_STOP[0].split(": ", 1))]


@of("rls")
def test_an_investigation_under_row_level_security_says_so(role: Environment) -> None:
    """`investigate` under row level security, which hides all rows, says that it cannot tell."""
    ran = shell("investigate", "--env", "staging")

    assert ran.returncode == 1
    assert ran.stdout.startswith("It cannot be told which families are blocked: row level security hides rows")


@pytest.mark.parametrize(
    ("role", "missing"),
    [
        (
            "owner",
            {"other sessions": PID_ALONE},
        ),
        (
            "writer",
            {
                "owner": "apply and rollback would be refused",
                "apply, rollback": REFUSED,
                "other sessions": PID_ALONE,
            },
        ),
        (
            "reader",
            {
                "owner": "apply and rollback would be refused",
                "apply, rollback": REFUSED,
                "INSERT, UPDATE": "probes would be refused",
                "other sessions": PID_ALONE,
            },
        ),
        (
            "rls",
            {
                "every row": "row level security hides rows: counts are too low",
                "apply, rollback": f"would be refused: {RLS_STOP[0].partition(': ')[2]}",
                "other sessions": PID_ALONE,
            },
        ),
    ],
    indirect=["role"],
    ids=["owner", "writer", "reader", "rls"],
)
def test_a_survey_names_what_is_missing(role: Environment, missing: dict[str, str]) -> None:
    """`env check` names each right that is missing, and what that would stop."""
    found = check_access(role)

    assert {check.name: check.finding for check in found if check.status is not Status.PASS} == missing


@of("owner")
def test_a_survey_names_the_plan(role: Environment) -> None:
    """Where server and role allow a change, `env check` does not say that it works: the plan has the other checks."""
    found = {check.name: check.finding for check in check_access(role)}

    assert found["apply, rollback"] == ("version and rights allow them; `incident plan --env staging` checks the rest")


@of("reader")
def test_env_check_is_a_table(role: Environment) -> None:
    """`incident env check` prints a line for each thing, who we are among them, and exits with 0."""
    ran = shell("env", "check", "staging")
    rows = [tuple(line.split("\t")[:3]) for line in ran.stdout.splitlines()]

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ("role", "pass", "reader") in rows
    assert ("read-only", "pass", "reading cannot write") in rows
    assert ("owner", "warn", "apply and rollback would be refused") in rows


@of("stranger")
def test_env_check_of_a_role_without_rights(role: Environment) -> None:
    """`incident env check` of a role that may not even read says so: exit code 3."""
    assert streams(shell("env", "check", "staging")) == (
        3,
        "",
        message(
            "This role may not read public.q_threads.",
            "It has no SELECT right on it.",
            "Ask the owner: GRANT SELECT ON public.q_threads TO the role of this environment.",
        ),
    )


NO_CREATE = "ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC, owner;"


def test_an_owner_who_may_create_nothing_is_stopped_before_it_begins(
    served: tcp.Tcp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table's owner without CREATE on its schema could not build an index: the plan says so, not the build."""
    with served.database(more=NO_CREATE) as name:
        ran = shell("plan", "--env", "staging", INCIDENT_STAGING_URL=served.url("owner", name))

    assert ran.returncode == 1


# Rehearsals


IT_WORKED = (
    "On a copy of 1,408 active threads the fix was applied while clients wrote, was rolled back, and was applied again."
)


@of("reader", "writer")
def test_a_role_that_may_only_read_rehearses(
    role: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that may read, and not apply, rehearses the fix, and is told who has to apply it."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    ran = shell("rehearse", "--env", "staging")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0] == (
        f"staging: the fix will work. {IT_WORKED} It has to be applied by the table's owner: with this address "
        f"and role it is refused. {OWNER_STOP[1]}"
    )


@of("rls")
def test_what_policies_hide_cannot_be_rehearsed(role: Environment) -> None:
    """Where policies hide rows, the copy would lack them: exit code 3, before anything is begun."""
    assert streams(shell("rehearse", "--env", "staging")) == (
        3,
        "",
        message(
            "'staging' cannot be rehearsed.",
            "Row level security hides rows from this role: the copy would lack them.",
            RLS_STOP[1],
        ),
    )


# Looking cannot write


@of("owner", "writer")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE public.q_threads SET is_active = false",
        "DELETE FROM public.q_threads",
        "INSERT INTO public.q_prompts DEFAULT VALUES",
        "CREATE TABLE public.mine ()",
        "SELECT FROM public.q_threads LIMIT 1 FOR UPDATE",
    ],
)
def test_postgresql_refuses_a_write(role: Environment, statement: str) -> None:
    """A write in `reading` is refused by PostgreSQL itself, whatever the role may do elsewhere."""
    with pytest.raises(Failed) as error, reading(role) as connection:
        connection.execute(statement)
    command = (
        "SELECT FOR UPDATE"
        if "FOR UPDATE" in statement
        else " ".join(statement.split()[: 2 if "TABLE" in statement else 1])
    )
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 25006).\n"
        f"  why:  PostgreSQL says: cannot execute {command} in a read-only transaction.\n"
        "  next: Use the primary's address. Where default_transaction_read_only is on for the database or the role, "
        "ask who set it."
    )


@of("owner")
def test_no_way_out_of_read_only(role: Environment) -> None:
    """After its first query a transaction of `reading` cannot be turned into one that writes."""
    with pytest.raises(Failed) as error, reading(role) as connection:  # noqa: PT012
        connection.execute("SELECT 1")
        connection.execute("SET TRANSACTION READ WRITE")
    assert "SQLSTATE 25001" in str(error.value)


@of("reader")
def test_timeouts_are_set(role: Environment) -> None:
    """`reading` has a statement, a lock and an idle time-out, at the server."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with reading(role) as connection:
        found = [connection.execute(f"SHOW {name}").fetchone() for name in names]

    assert found == [("1min",), ("2s",), ("1min",)]


@of("owner")
def test_a_lock_is_not_waited_for(role: Environment, served: tcp.Tcp) -> None:
    """A table that somebody has locked is waited for no longer than two seconds."""
    with served.database() as name, psycopg.connect(at(served.admin, name)) as other:
        other.execute("LOCK TABLE public.q_threads IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        ran = shell("investigate", "--env", "staging", INCIDENT_STAGING_URL=served.url("owner", name))

    assert time.monotonic() - began < 8
    assert streams(ran) == (
        3,
        "",
        message(
            "A query failed in the environment 'staging' (SQLSTATE 55P03).",
            "PostgreSQL says: canceling statement due to lock timeout.",
            "Try again; `incident plan` names the sessions that hold locks.",
        ),
    )


# Names


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service file with two services, one of them under a name that a variable has, too."""
    file = tmp_path / "services.conf"
    file.write_text("[away]\nhost=/nowhere\npassword=hunter2\n[odd name]\nhost=/x\n[staging]\nhost=/nowhere\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.delenv("PGSYSCONFDIR", raising=False)
    for variable in [name for name in os.environ if re.fullmatch(r"INCIDENT_.*_URL", name)]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("INCIDENT_STAGING_URL", "postgresql://me:hunter2@db.example/db")
    monkeypatch.setenv("INCIDENT_EU_WEST_URL", "postgresql://me:hunter2@db.example/db")
    return file


def listed(ran: subprocess.CompletedProcess[str]) -> list[tuple[str, ...]]:
    """The rows that `env list` printed."""
    return [tuple(line.split("\t")) for line in ran.stdout.splitlines()[3:]]


def test_env_list(services: Path) -> None:
    """`incident env list` shows which names resolve and how, and nothing of an address."""
    ran = shell("env", "list")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert listed(ran) == [
        ("demo", "the embedded server"),
        ("away", "libpq service away"),
        ("eu_west", "INCIDENT_EU_WEST_URL"),
        ("staging", "INCIDENT_STAGING_URL"),
    ]


def test_every_name_that_is_listed_resolves(services: Path) -> None:
    """What `env list` shows is a name that may be used as one."""
    ran = shell("env", "list", INCIDENT__X_URL="postgresql://db.example/db", INCIDENT_DEMO_URL="postgresql://h/db")

    assert {name for name, _ in listed(ran)} == {"demo", "away", "eu_west", "staging"}


def test_a_variable_that_does_not_resolve_is_not_listed(services: Path) -> None:
    """A variable that is empty, or no address, is not shown as one that resolves."""
    ran = shell("env", "list", INCIDENT_EMPTY_URL="", INCIDENT_MY_URL="mysql://me@host/db")

    assert not {"empty", "my"} & {row[0] for row in listed(ran) if len(row) == 2 and row[1].startswith("INCIDENT")}


def test_two_names_of_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names that lead to one variable are one environment, and are refused as two."""
    monkeypatch.setenv("INCIDENT_EU_WEST_URL", "postgresql://db.example/db")
    with pytest.raises(UsageError) as error:
        run_fleet(["eu-west", "demo", "eu_west"])

    assert str(error.value) == (
        "eu-west and eu_west are the same environment.\n"
        "  why:  Both names lead to the variable INCIDENT_EU_WEST_URL.\n"
        "  next: Name only one of them."
    )


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "prod\n", "%", "*"])
@pytest.mark.parametrize("words", [["investigate", "--env"], ["env", "check"], ["run", "--env"]])
def test_an_odd_name(name: str, words: list[str]) -> None:
    """A name that could be no variable or folder is one message, whichever command gets it: exit code 2."""
    # In a process of this test's own it would take minutes for all of them; the command is the same.
    from click.testing import CliRunner

    from incident_lib.cli import cli

    ran = CliRunner().invoke(cli, [*words[:-1], *(words[-1:] if words[-1] == "--env" else [words[-1], "--"]), name])

    assert isinstance(ran.exception, UsageError)
    assert ran.exception.what == f"{name!r} cannot be the name of an environment."


@pytest.mark.parametrize("address", ["", "mysql://me:hunter2@host/db", "http://host", "jdbc:postgresql://host/db"])
def test_an_address_of_another_kind(address: str) -> None:
    """An address that is empty, or of a scheme that libpq does not know, is bad usage, and is not repeated."""
    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == (
        2,
        "",
        message(
            "INCIDENT_STAGING_URL is set, but libpq cannot read it.",
            "It is not a connection string; its text is not repeated here, since it may hold a password.",
            "Set INCIDENT_STAGING_URL=postgresql://role@host:5432/database ; escape special characters as %XX.",
        ),
    )


def test_a_service_file_without_the_service(services: Path) -> None:
    """A name that is neither a variable nor in the service file is told with both ways: exit code 2."""
    assert streams(shell("env", "check", "prod")) == (
        2,
        "",
        message(
            "The environment 'prod' is not known.",
            "The variable INCIDENT_PROD_URL is not set, and no pg_service.conf has a service [prod].",
            "Set INCIDENT_PROD_URL=postgresql://… , or add [prod] to ~/.pg_service.conf, or use `demo`.",
        ),
    )


def test_an_address_that_names_an_unknown_service(services: Path) -> None:
    """An address that names a service that is not there is not laid at the door of a server that nobody asked."""
    ran = shell("env", "check", "staging", INCIDENT_STAGING_URL="service=nowhere")

    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("incident: The environment 'staging' cannot be reached.\n")
    assert "The server or the network rejected the connection." not in ran.stderr


# Addresses that lead nowhere


def unreachable(why: str, cure: str) -> tuple[int, str, str]:
    """What a command says of an environment that cannot be reached."""
    return 3, "", message("The environment 'staging' cannot be reached.", why, f"{cure} {CHECK}")


def test_a_wrong_password(served: tcp.Tcp, database: str) -> None:
    """A wrong password is told, and where to put the right one."""
    address = served.url("reader", database, password="not this one")

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "The server rejected the role or its password.", "Put the right password into .pgpass or the address."
    )


def test_no_password(served: tcp.Tcp, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password that is missing is told like one that is wrong, and is not asked for."""
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    address = f"postgresql://reader@{tcp.HOST}:{served.port}/{database}"

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "The server rejected the role or its password.", "Put the right password into .pgpass or the address."
    )


def test_a_wrong_database(served: tcp.Tcp) -> None:
    """A database that is not there is told."""
    address = served.url("reader", "nowhere")

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "The server has no database of that name.", "Correct the database."
    )


def test_tls_that_the_server_has_not(served: tcp.Tcp, database: str) -> None:
    """TLS that the address asks for, and the server does not have, is told."""
    address = served.url("reader", database, sslmode="require")

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "The TLS settings of server and client do not match.", "Set sslmode in the address."
    )


def test_a_root_certificate_that_is_not_there(served: tcp.Tcp, database: str, tmp_path: Path) -> None:
    """A certificate that the address needs and that is not there is told as a matter of TLS."""
    address = served.url("reader", database, sslmode="verify-full", sslrootcert=tmp_path / "none.crt")

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "The TLS settings of server and client do not match.", "Set sslmode in the address."
    )


def test_nothing_listens_on_ipv6(served: tcp.Tcp, database: str) -> None:
    """An IPv6 address at which nothing listens is told like any other."""
    address = f"postgresql://reader@[::1]:{served.port}/{database}"
    ran = shell("env", "check", "staging", INCIDENT_STAGING_URL=address)

    assert streams(ran) == unreachable("No server listens at that address.", "Is the server up, and the port right?")


def test_a_unix_socket(served: tcp.Tcp, database: str) -> None:
    """An address of a socket is as good as one of a host."""
    address = at(served.admin, database)

    assert shell("env", "check", "staging", INCIDENT_STAGING_URL=address).returncode == 0


def test_a_unix_socket_without_a_server(tmp_path: Path) -> None:
    """A socket at which nobody listens is told."""
    address = f"postgresql://reader@/db?host={tmp_path}"

    assert streams(shell("env", "check", "staging", INCIDENT_STAGING_URL=address)) == unreachable(
        "There is no socket at that path.", "Is the server up?"
    )


def test_a_server_that_never_answers() -> None:
    """A server that accepts and never answers is given up after the address's own time."""
    with tcp.silent() as port:
        began = time.monotonic()
        address = f"postgresql://me:hunter2@{tcp.HOST}:{port}/db?connect_timeout=2"
        ran = shell("env", "check", "staging", INCIDENT_STAGING_URL=address)

    assert time.monotonic() - began < 8
    assert streams(ran) == unreachable("No server answered in time.", "Is the host right, and open to this network?")


def test_two_hosts_of_which_the_second_answers(served: tcp.Tcp, database: str) -> None:
    """An address with two hosts is libpq's to read: the one that answers is used."""
    address = served.url("reader", database).replace("@", f"@{tcp.HOST}:1,")

    assert shell("env", "check", "staging", INCIDENT_STAGING_URL=address).returncode == 0


# Servers that go away


@pytest.fixture(scope="module")
def mortal() -> Iterator[tcp.Tcp]:
    """A server that these tests stop; each of them starts it again."""
    with tcp.serving() as served:
        yield served


ENDED = (
    "A query failed in the environment 'staging' (SQLSTATE 57P01).\n"
    "  why:  PostgreSQL says: terminating connection due to administrator command.\n"
    "  next: Run the same command again."
)
CUT = ENDED.replace("due to administrator command", "due to immediate shutdown command")
LOST = (
    "The connection was lost in the environment 'staging'.\n"
    "  why:  The server or the network closed it.\n"
    "  next: Run the same command again: a migration continues from the catalog."
)


@pytest.mark.parametrize(
    ("end", "said"), [("immediate", {ENDED, CUT, LOST}), ("fast", {ENDED})], ids=["immediate", "fast"]
)
def test_a_server_that_goes_away_in_the_middle(mortal: tcp.Tcp, end: str, said: set[str]) -> None:
    """A server that stops while a statement runs is one message, that holds nothing of its address."""
    environment = Environment("staging", "INCIDENT_STAGING_URL", mortal.url("reader", "incident_template"))
    stop = threading.Timer(0.5, mortal.control, ("-m", end, "stop"))
    with pytest.raises(Failed) as error, reading(environment) as connection:  # noqa: PT012
        stop.start()
        connection.execute("SELECT pg_sleep(20)")
    stop.join()
    mortal.start()

    assert str(error.value) in said


def test_a_command_whose_server_goes_away(mortal: tcp.Tcp) -> None:
    """A command whose server stops while it waits there ends with one message, and exit code 3."""
    environ = {**os.environ, "INCIDENT_STAGING_URL": mortal.url("reader", "incident_template")}
    command = [sys.executable, "-m", "incident_lib", "investigate", "--env", "staging"]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND wait_event_type = 'Lock'"
    there = psycopg.connect(at(mortal.admin, "incident_template"))
    there.execute("LOCK TABLE public.q_threads IN ACCESS EXCLUSIVE MODE")
    with (
        psycopg.connect(mortal.admin, autocommit=True) as connection,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process,
    ):
        tcp.wait_for(lambda: connection.execute(waiting).fetchone() == (1,))
        mortal.control("-m", "fast", "stop")
        stdout, stderr = process.communicate(timeout=30)
    mortal.start()

    assert (process.returncode, stdout, stderr) == (3, "", f"incident: {ENDED}\n")
