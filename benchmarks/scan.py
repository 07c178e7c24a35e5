"""A scan of a whole database with many tables, compared with two seconds, and with a list of the same indexes in psql.

python benchmarks/scan.py [--tables 2000] [--rounds 5]
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import harness
import psycopg
from harness import Row
from psycopg import sql

from incident_lib.analysis import Wanted, scan
from incident_lib.database import Environment, demo, reading

if TYPE_CHECKING:
    from incident_lib.model import ScanFindings

SECONDS = 2.0  # that a scan may take
LIST = "SELECT indexdef FROM pg_indexes WHERE indexdef LIKE 'CREATE UNIQUE%' ORDER BY schemaname, tablename, indexname"
# Twelve columns, a primary key, two unique indexes of which one is partial, a lookup index, a foreign key.
TABLE = """
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int REFERENCES tenants, slug text NOT NULL,
    a text, b text, c int, d timestamptz, e uuid, f jsonb, is_active boolean,
    kind text NOT NULL DEFAULT 'plain', region text
);
CREATE UNIQUE INDEX {slug} ON {table} (tenant_id, slug);
CREATE UNIQUE INDEX {active} ON {table} (slug, lower(a)) WHERE is_active;
CREATE INDEX {lookup} ON {table} (tenant_id, slug, kind);
"""


def database(tables: int) -> Environment:
    """An environment with so many tables; created if it does not exist."""
    name = f"bench_tables_{tables}"
    maintenance = demo.url("demo").replace("/demo?", "/postgres?")
    address = maintenance.replace("/postgres?", f"/{name}?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None:
            return Environment("bench", "a benchmark", address)
        print(f"making {tables:,} tables …", flush=True)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TABLE tenants (id int PRIMARY KEY)")
        for number in range(tables):
            names = {part: sql.Identifier(f"table_{number}_{part}") for part in ("slug", "active", "lookup")}
            connection.execute(sql.SQL(TABLE).format(table=sql.Identifier(f"table_{number}"), **names))
        connection.execute("VACUUM ANALYZE")
    return Environment("bench", "a benchmark", address)


def main() -> None:
    """Measure, print, and write the section of results.md."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--tables", type=int, default=2000)
    options = parser.parse_args()
    environment = database(options.tables)
    found: list[ScanFindings] = []

    def ours() -> float:
        began = time.perf_counter()
        with reading(environment) as connection:
            found.append(scan(connection, Wanted(["table_1_slug"])))
        return time.perf_counter() - began

    measures = {"ours": ours, "psql": lambda: harness.psql(environment, LIST)}
    took = harness.medians(options.rounds, measures)
    what = f"scan of {found[0].tables:,} tables with {found[0].unique_indexes:,} unique indexes, one of them examined"
    rows = [
        Row(what, "two seconds", f"{took['ours']:.2f} s", f"{SECONDS:.0f} s", took["ours"] / SECONDS, 1.0),
        Row(
            "the same",
            "psql, their definitions",
            f"{took['ours']:.2f} s",
            f"{took['psql']:.2f} s",
            took["ours"] / took["psql"],
            1.5,
        ),
    ]
    harness.report("scan", rows, options.out)


if __name__ == "__main__":
    main()
