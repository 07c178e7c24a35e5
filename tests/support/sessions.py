"""Sessions that hold up a migration, and waiting until the migration waits for them."""

import time
from contextlib import contextmanager

import psycopg

from incident_lib.model.catalog import INDEX_NAME


@contextmanager
def holding_up(environment, step):
    """Another session's open transaction that makes one step wait: a writer's, a rename's, a reader's."""
    statement = {
        "build": "UPDATE public.q_threads SET message_count = 1"
        " WHERE row_id = (SELECT row_id FROM public.q_threads LIMIT 1)",
        "swap": f"COMMENT ON INDEX public.{INDEX_NAME} IS 'never committed'",
        "drop": "SELECT count(*) FROM public.q_threads",
    }[step]
    with psycopg.connect(environment.address, application_name=f"holds up {step}") as connection:
        connection.execute(statement)
        yield
        connection.rollback()


def wait_until_waiting(environment):
    """Wait until the migration's backend waits for somebody's lock, or tries again to get one."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        for _ in range(400):
            found = connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'incident_lib migrate'"
                " AND datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if found:
                return
            time.sleep(0.02)
    raise AssertionError("the migration never waited")
