"""Synthetic threads, made by rule: so many that an index build takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.database import connecting, demo, fetch_one

if TYPE_CHECKING:
    from incident_lib.database import Environment


def fill_threads(environment: Environment, threads: int) -> None:
    """Create the incident's table again, with so many threads, under the original index: see `synthetic_threads.sql`.

    Args:
        environment: a scratch database; its role may suspend foreign keys.
        threads: a multiple of 4.
    """
    with connecting(environment, "fill") as connection:
        connection.execute("DROP TABLE IF EXISTS public.q_threads, public.q_prompts")
        demo.load(connection, threads=False)
        connection.execute("SET session_replication_role = replica")
        fetch_one(connection, "experiments/synthetic_threads", {"threads": threads})
        connection.execute("VACUUM (ANALYZE) public.q_threads, public.q_prompts")
