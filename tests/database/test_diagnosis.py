"""What is shown of PostgreSQL's errors: its own message without values, and an action that fits the SQLSTATE."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from incident_lib.database import Environment, action_for, connecting, reading, safe_message
from incident_lib.database.diagnosis import statement_failure
from incident_lib.model.errors import Failed

RAISE = "DO $do$ BEGIN RAISE EXCEPTION USING MESSAGE = {}, ERRCODE = {}, DETAIL = 'a detail', HINT = 'a hint'; END $do$"


def raised(connection: psycopg.Connection, message: str, state: str = "P0001") -> psycopg.Error:
    """The error that PostgreSQL raises with that message and SQLSTATE."""
    with pytest.raises(psycopg.Error) as error:
        connection.execute(sql.SQL(RAISE).format(message, state))
    return error.value


def failed(connection: psycopg.Connection, statement: str) -> psycopg.Error:
    """The error of a statement."""
    with pytest.raises(psycopg.Error) as error:
        connection.execute(statement.encode())
    return error.value


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no room for it", "no room for it"),
        ("thread 6b1d8e0e-6b0b-4b1e-9f43-2f1f0a5d7c11 is frozen", "thread … is frozen"),
        ("thread 6b1d8e0e6b0b4b1e9f432f1f0a5d7c11 is frozen", "thread … is frozen"),
        ("ask jane.doe@example.org first", "ask … first"),
        ('could not extend file "base/16384/16420": No space', "could not extend file …: No space"),
        ('relation "public.q_threads" is frozen', 'relation "public.q_threads" is frozen'),
        ('the user "Jane Doe" did it', "the user … did it"),
        ("the user 'Jane Doe' can't do it", "the user … can't do it"),
        ("l'utilisateur « Jane Doe » ne peut pas", "l'utilisateur … ne peut pas"),
        ("Benutzer „Jane Doe“ darf nicht", "Benutzer … darf nicht"),
        ('a value "with a " in it" and more', "a value …"),
        ('a value "that is cut', "a value …"),
        ("number 1234 of 567", "number … of 567"),
        ("at 10.0.12.7, see https://internal.example/x?y", "at …, see …"),
        ("two\nlines\tand\x07 a bell.", "two lines and a bell"),
        ("x" * 400, "x" * 300 + "…"),
        ("'" + "y " * 990 + "' for jane.doe@example.org" + "z" * 10**6, "… for"),
    ],
)
def test_a_message_is_shown_without_values(connection: psycopg.Connection, message: str, shown: str) -> None:
    """The primary message is shown; ids, addresses, long numbers and quoted values are not."""
    assert safe_message(raised(connection, message)) == f"PostgreSQL says: {shown}."


@pytest.mark.parametrize("state", ["22P02", "23505", "23514"])
@pytest.mark.parametrize("value", ["plain", "Jane Doe", 'with " in it', "it's"])
def test_a_value_that_looks_like_a_name(connection: psycopg.Connection, state: str, value: str) -> None:
    """Errors about data quote values: nothing quoted is shown, whatever it looks like."""
    assert safe_message(raised(connection, f'a bad value: "{value}"', state)) == "PostgreSQL says: a bad value: …."


@given(st.uuids(), st.emails(), st.integers(min_value=1000))
def test_no_value_gets_through(owner: object, mail: str, number: int) -> None:
    """No UUID, e-mail address or long number is in what is shown."""

    class Diagnosed(psycopg.errors.RaiseException):
        class diag:  # noqa: N801
            message_primary = f"thread of {owner} ({mail}) has {number} messages"

    shown = safe_message(Diagnosed())
    assert not any(str(value) in shown for value in (owner, mail, number))


def test_no_detail_is_shown(environment: Environment, connection: psycopg.Connection) -> None:
    """Neither DETAIL, HINT nor CONTEXT is shown."""
    error = raised(connection, "refused")
    assert str(statement_failure("staging", error)) == (
        "A query failed in the environment 'staging' (SQLSTATE P0001).\n"
        "  why:  PostgreSQL says: refused.\n"
        "  next: A trigger or an event trigger refused it; ask its owner."
    )


@pytest.mark.parametrize(
    ("statement", "why", "next_"),
    [
        (
            "SELECT FROM public.nothing",
            'relation "public.nothing" does not exist',
            "Is this the right database? It should hold public.q_threads.",
        ),
        (
            "SELECT nothing FROM public.q_threads",
            'column "nothing" does not exist',
            "Has every migration of q_threads been applied there?",
        ),
        (
            "SET statement_timeout = 1; SELECT pg_sleep(1)",
            "canceling statement due to statement timeout",
            "Try again with a longer --timeout.",
        ),
        (
            "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(1)",
            "canceling statement due to user request",
            "Another session cancelled it: ask its user, then run the same command again.",
        ),
        (
            "SELECT 'of Jane'::uuid",
            "invalid input syntax for type uuid: …",
            "A value in the table is not what the query expects: compare the types of the columns of q_threads.",
        ),
        (
            "SELECT 1 / 0",
            "division by zero",
            "A value in the table is not what the query expects: compare the types of the columns of q_threads.",
        ),
        (
            "BEGIN READ ONLY; DELETE FROM public.q_threads",
            "cannot execute DELETE in a read-only transaction",
            "Use the primary's address. Where default_transaction_read_only is on for the database or the role, ask "
            "who set it.",
        ),
        (
            "SELEC 1",
            'syntax error at or near "SELEC"',
            "Look the code up in PostgreSQL's appendix of error codes; the server's log has the statement.",
        ),
    ],
)
def test_what_the_server_says(connection: psycopg.Connection, statement: str, why: str, next_: str) -> None:
    """A statement's failure shows what the server says and what to do."""
    error = failed(connection, statement)
    assert (safe_message(error), action_for(error)) == (f"PostgreSQL says: {why}.", next_)


@pytest.mark.parametrize(
    ("state", "word", "again"),
    [
        ("53100", "disk space", True),
        ("53200", "memory", True),
        ("53300", "idle sessions", True),
        ("0A000", "event trigger", False),
        ("25P03", "idle_in_transaction_session_timeout", True),
        ("25P04", "transaction_timeout", True),
        ("40001", "standby", True),
        ("40P01", "each other", True),
        ("42501", "right", False),
        ("57P02", "same command", True),
        ("57P03", "starting or stopping", True),
        ("57P04", "dropped", False),
        ("57P05", "idle_session_timeout", True),
        ("58030", "disk", False),
        ("XX001", "corrupted data", False),
        ("XX002", "corrupted index", False),
        ("42P17", "appendix", False),
    ],
)
def test_the_action_fits_the_state(connection: psycopg.Connection, state: str, word: str, again: bool) -> None:
    """Each class of errors has its own action; to run it again is said only where that can help."""
    action = action_for(raised(connection, "a message", state))
    assert (word in action, "un the same command again" in action) == (True, again)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("08006", "The connection broke."),
        ("28000", "The server rejected the role."),
        ("3D000", "The server has no database of that name."),
        ("53300", "The server, the database or the role has no connection left."),
    ],
)
def test_errors_of_the_connection_are_told_in_own_words(connection: psycopg.Connection, state: str, why: str) -> None:
    """Errors whose messages hold hosts, roles or databases show nothing of them."""
    assert safe_message(raised(connection, 'no entry for host "db.internal", user "jane"', state)) == why


def test_an_event_trigger_that_refuses(environment: Environment, connection: psycopg.Connection) -> None:
    """What an event trigger says is shown, without the ids in it."""
    owner = uuid4()
    connection.execute(
        "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'frozen until Monday by {owner}'; END $$"
    )
    connection.execute("CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION public.no()")
    with pytest.raises(Failed) as error, connecting(environment, "test") as changing:
        changing.execute("CREATE TABLE public.mine ()")
    connection.execute("DROP EVENT TRIGGER no")
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE P0001).\n"
        "  why:  PostgreSQL says: frozen until Monday by ….\n"
        "  next: A trigger or an event trigger refused it; ask its owner."
    )


def test_an_answer_that_the_client_cannot_use(environment: Environment) -> None:
    """A value that Python cannot hold is no lost connection."""
    with pytest.raises(Failed) as error, reading(environment) as connection:
        connection.execute("SELECT '20000-01-01'::timestamptz").fetchone()
    assert str(error.value) == (
        "A query failed in the environment 'staging'.\n"
        "  why:  The client could not use the answer: DataError.\n"
        "  next: Report it with the command and the version of PostgreSQL."
    )
