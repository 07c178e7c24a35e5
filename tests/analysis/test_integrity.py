"""Whether the migration left every thread as it was: what is said, on a real table that was and was not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from incident_lib.analysis.integrity import checksum, compare_threads
from incident_lib.migration.executor import apply
from tests.conftest import add

if TYPE_CHECKING:
    import psycopg

    from incident_lib.database import Environment

CHANGES = {
    "a name": "UPDATE public.q_threads SET name = 'another'",
    "a flag": "UPDATE public.q_threads SET is_active = NULL WHERE is_active",
    "an unknown": "UPDATE public.q_threads SET provider = NULL",
    "a second": "UPDATE public.q_threads SET created_at = now()",
    "a thread more": "INSERT INTO public.q_threads (purpose) VALUES ('run')",
    "a thread less": "DELETE FROM public.q_threads",
}


def test_a_migration_leaves_every_thread_as_it_was(incident: Environment) -> None:
    """After a migration the checksum over all threads is that of before; it is said so, with how many there are."""
    before = checksum(incident)
    done = apply(incident, confirm="staging")

    assert compare_threads(incident, before, done.xids) == "5,830 threads, checksum equal before and after."


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_told(environment: Environment, connection: psycopg.Connection, change: str) -> None:
    """Whatever of a thread changed, or how many there are, the checksum says so aloud."""
    add(connection, uuid4(), uuid4())
    before = checksum(environment)
    connection.execute(change)

    assert compare_threads(environment, before, []) == "1 threads, checksum CHANGED before and after."


def test_writing_the_same_is_a_change(environment: Environment, connection: psycopg.Connection) -> None:
    """Rows that were written anew are told as changed, also with the values that they had: an index needs none."""
    add(connection, uuid4(), uuid4())
    before = checksum(environment)
    connection.execute("UPDATE public.q_threads SET name = name")

    assert "checksum CHANGED" in compare_threads(environment, before, [])


def test_where_clients_write_no_row_version_is_ours(incident: Environment) -> None:
    """Without a checksum of before, no row version carries a transaction of the migration."""
    done = apply(incident, confirm="staging")

    assert done.xids
    assert compare_threads(incident, None, done.xids) == "0 row versions carry a transaction of this migration."


def test_a_row_version_of_ours_is_told(environment: Environment, connection: psycopg.Connection) -> None:
    """A row that one of the named transactions wrote is counted."""
    with connection.transaction():
        add(connection, uuid4(), uuid4())
        add(connection, uuid4(), uuid4())
        (xid,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone() or ()

    assert compare_threads(environment, None, [xid]) == "2 row versions carry a transaction of this migration."
