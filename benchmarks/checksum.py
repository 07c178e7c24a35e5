"""The checksum over all threads, and the search for versions of ours: against counting the rows one by one.

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

SEQUENTIAL = [f"SET enable_{way} = off" for way in ("indexscan", "indexonlyscan", "bitmapscan")]


def asked(environment: Environment, query: str, values: dict[str, Any] | None = None) -> float:
    """The seconds that one of our questions takes, connection included."""
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
    versions = {"xids": ["3", "4", "5"]}  # of no row: the demo's, too, names as many
    took = harness.medians(
        options.rounds,
        {
            "checksum": lambda: asked(environment, "checksum"),
            "own versions": lambda: asked(environment, "own_versions", versions),
            "count": lambda: harness.psql(environment, *SEQUENTIAL, "SELECT count(*) FROM public.q_threads"),
        },
    )
    whats = {"checksum": "checksum of all threads", "own versions": "search for row versions of ours"}
    rows = [
        Row(
            f"{what}, {options.threads:,} threads",
            "psql, SELECT count(*) by sequential scan",
            f"{took[name]:.2f} s",
            f"{took['count']:.2f} s",
            took[name] / took["count"],
            3,
        )
        for name, what in whats.items()
    ]
    profile = harness.explained(environment, query_text("analysis/checksum"))
    harness.report("checksum", rows, options.out, harness.details("Where the time of the checksum goes", profile))


if __name__ == "__main__":
    main()
