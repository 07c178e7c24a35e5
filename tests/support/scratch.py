"""The scratch databases of the embedded server."""

import psycopg

from incident_lib.database import demo


def scratch_databases(version: int = demo.VERSION) -> list[str]:
    """The names of the scratch databases that there are."""
    with psycopg.connect(demo.maintenance(version)) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'incident_scratch_%'")
        return [name for (name,) in rows]
