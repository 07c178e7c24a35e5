"""The integrity check: the message for a table that the migration did or did not change."""

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
    """After a migration the checksum over all threads is unchanged; the message has it and the number of threads."""
    before = checksum(incident)
    done = apply(incident, confirm="staging")

    assert compare_threads(incident, before, done.xids) == (
        "5,830 threads, checksum equal right before and right after the steps; what clients wrote later is not in it."
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_reported(environment: Environment, connection: psycopg.Connection, change: str) -> None:
    """A changed column or a changed number of threads changes the checksum, and the message says so."""
    add(connection, uuid4(), uuid4())
    before = checksum(environment)
    connection.execute(change)

    assert compare_threads(environment, before, []) == (
        "1 threads, checksum CHANGED right before and right after the steps; what clients wrote later is not in it."
    )


def test_an_update_to_the_same_values_is_a_change(environment: Environment, connection: psycopg.Connection) -> None:
    """Rows that were updated to the same values count as changed: an index change updates no row."""
    add(connection, uuid4(), uuid4())
    before = checksum(environment)
    connection.execute("UPDATE public.q_threads SET name = name")

    assert "checksum CHANGED" in compare_threads(environment, before, [])


def test_rows_that_clients_wrote_are_not_the_migrations(incident: Environment) -> None:
    """Without a checksum from before, no row version has a transaction id of the migration."""
    done = apply(incident, confirm="staging")

    assert done.xids
    assert compare_threads(incident, None, done.xids) == "0 row versions carry a transaction of this migration."


def test_a_row_that_the_migration_wrote_is_counted(environment: Environment, connection: psycopg.Connection) -> None:
    """A row that one of the named transactions wrote is counted."""
    with connection.transaction():
        add(connection, uuid4(), uuid4())
        add(connection, uuid4(), uuid4())
        (xid,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone() or ()

    assert compare_threads(environment, None, [xid]) == "2 row versions carry a transaction of this migration."
