"""The checksum of all threads, and the search for this project's row versions, compared with a sequential count.

python benchmarks/checksum.py [--threads 5000000] [--rounds 5]
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import harness
from harness import Row

from incident_lib.database import fetch_one, query_text, reading

if TYPE_CHECKING:
    from incident_lib.database import Environment

SEQUENTIAL = [f"SET enable_{scan} = off" for scan in ("indexscan", "indexonlyscan", "bitmapscan")]


def timed(environment: Environment, query: str, values: dict[str, Any] | None = None) -> float:
    """The seconds that one query takes, including the connection."""
    began = time.perf_counter()
    with reading(environment, seconds=0) as connection:
        fetch_one(connection, query, values)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=5_000_000)
    options = parser.parse_args()
    environment = harness.database(options.threads)
    versions = {"xids": ["3", "4", "5"]}  # no row has them; a migration has as many transactions
    took = harness.medians(
        options.rounds,
        {
            "checksum": lambda: timed(environment, "analysis/checksum"),
            "own versions": lambda: timed(environment, "analysis/own_versions", versions),
            "count": lambda: harness.psql(environment, *SEQUENTIAL, "SELECT count(*) FROM public.q_threads"),
        },
    )
    titles = {"checksum": "checksum of all threads", "own versions": "search for this project's row versions"}
    rows = [
        Row(
            f"{what}, {options.threads:,} threads",
            "psql, SELECT count(*) by sequential scan",
            f"{took[name]:.2f} s",
            f"{took['count']:.2f} s",
            took[name] / took["count"],
            3,
        )
        for name, what in titles.items()
    ]
    profile = harness.explained(environment, query_text("analysis/checksum"))
    harness.report("checksum", rows, options.out, harness.details("Query plan of the checksum, with times", profile))


if __name__ == "__main__":
    main()
