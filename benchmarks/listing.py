"""The list of all blocked families as a CSV file, compared with psql's own copy of the same query; memory by size.

python benchmarks/listing.py [--threads 5000000] [--fewer 100000] [--rounds 5]

Five million threads are 1.2 million blocked families.
"""

from __future__ import annotations

import filecmp
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import psycopg
from harness import Row

from incident_lib.analysis import BlockedFilter
from incident_lib.database import query_text
from incident_lib.database.demo import PURPOSE_SINCE

if TYPE_CHECKING:
    from incident_lib.database import Environment

OURS = f"""
import sys, time
from datetime import datetime
from pathlib import Path
from incident_lib.analysis import write_blocked
from incident_lib.database import Environment, read_catalog, reading
began = time.perf_counter()
with reading(Environment("bench", "", sys.argv[1]), seconds=0) as connection:
    since = datetime.fromisoformat({PURPOSE_SINCE.isoformat()!r})
    write_blocked(connection, read_catalog(connection), Path(sys.argv[2]), purpose_since=since)
seconds = time.perf_counter() - began
"""


def statement(environment: Environment) -> str:
    """The query of the list with its values, on one line, as psql's copy needs it."""
    with psycopg.connect(environment.address) as connection:
        values = BlockedFilter()._asdict() | {"purpose_since": PURPOSE_SINCE, "most": None}
        asked = psycopg.ClientCursor(connection).mogrify(query_text("analysis/blocked"), values)
    lines = (line.partition("--")[0].strip() for line in asked.rstrip("; \n").splitlines())
    return " ".join(filter(None, lines))


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=5_000_000)
    parser.add_argument("--fewer", type=int, default=100_000)
    options = parser.parse_args()
    environment, fewer = harness.database(options.threads), harness.database(options.fewer)
    asked, peaks = statement(environment), []
    with tempfile.TemporaryDirectory() as folder:
        file, copy = Path(folder) / "blocked.csv", Path(folder) / "copy.csv"

        def ours() -> float:
            child = harness.child(OURS, environment.address, str(file))
            peaks.append(child.megabytes)
            return child.seconds

        measures = {"ours": ours, "psql": lambda: harness.psql(environment, rf"\copy ({asked}) TO '{copy}' CSV HEADER")}
        took = harness.medians(options.rounds, measures)
        assert filecmp.cmp(file, copy, shallow=False)
        families = sum(1 for _ in file.open("rb")) - 1
        small = harness.child(OURS, fewer.address, str(file)).megabytes
        few = sum(1 for _ in file.open("rb")) - 1
    large = statistics.median(peaks)
    rows = [
        Row(
            f"all {families:,} blocked families to CSV",
            r"psql, \copy of the same query",
            f"{took['ours']:.2f} s",
            f"{took['psql']:.2f} s",
            took["ours"] / took["psql"],
            1.3,
        ),
        Row(
            f"the same: Python's peak memory, {families:,} families",
            f"{few:,} families",
            f"{large:.1f} MB",
            f"{small:.1f} MB",
            large / small,
            1.1,
        ),
    ]
    profile = harness.details("Query plan of the list, with times", harness.explained(environment, asked))
    harness.report("listing", rows, options.out, profile)


if __name__ == "__main__":
    main()
