"""The query plans of the counts on a large table, and their results for rows that the demo does not have."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from incident_lib import paths
from incident_lib.analysis.investigate import BlockedFilter, copy_blocked, count_threads, list_duplicates
from incident_lib.database import fetch_one, query_text, read_catalog
from incident_lib.model.catalog import INDEX_NAME, IndexKind
from tests.conftest import add
from tests.support import clusters

sys.path.append(str(paths.ROOT / "benchmarks"))
import data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERY_VERSION = True
THREADS = 100_000
ROOT, OWNER = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="session")
def filled(server: str) -> Iterator[str]:
    """The address of the benchmarks' database with a hundred thousand threads."""
    name = f"filled_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(clusters.at(server, name), autocommit=True) as connection:
            data.fill(connection, THREADS)
        yield clusters.at(server, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def large(filled: str) -> Iterator[psycopg.Connection[Any]]:
    """A read-only connection to that database."""
    with psycopg.connect(filled, autocommit=True) as connection:
        yield connection


def plan(connection: psycopg.Connection[Any], query: str) -> str:
    """The plan of a query without parameters."""
    return "\n".join(row for (row,) in connection.execute(b"EXPLAIN " + query_text(f"analysis/{query}").encode()))


def test_the_counts_read_two_indexes_once_each(large: psycopg.Connection[Any]) -> None:
    """With default settings PostgreSQL reads the two lookup indexes once each, in order, and no table row."""
    found = plan(large, "counts")

    assert sorted(re.findall(r"Scan (?:using|on) (\w+)", found)) == [
        *("held", "held", "idx_threads_family_purpose", "idx_threads_provider", "kind", "kind", "unnest"),
    ]
    assert len(re.findall(r"Index Only Scan using", found)) == 2
    assert re.findall(r"Sort Key: .*root_prompt_row_id", found) == []


@pytest.mark.parametrize("parallel", [0, 2])
def test_the_counts_are_the_same_side_by_side(large: psycopg.Connection[Any], parallel: int) -> None:
    """The counts are the same with parallel and with sequential reads."""
    large.execute("SET parallel_setup_cost = 0")
    large.execute(f"SET max_parallel_workers_per_gather = {parallel}")
    found = count_threads(large, read_catalog(large))

    assert ("Parallel Append" in plan(large, "counts")) is bool(parallel)
    assert (found.families, found.blocked.chat, found.blocked.run) == (25_000, 21_375, 3_125)
    assert (found.affected_owners, found.residual_conflicts, found.unguarded_threads) == (980, 1_250, 500)


@pytest.mark.parametrize("query", ["blocked", "blockers"])
def test_the_table_is_read_once(large: psycopg.Connection[Any], query: str) -> None:
    """One read of the table finds the blocked families and the threads that block them, for all purposes."""
    with psycopg.ClientCursor(large) as cursor:
        values = BlockedFilter()._asdict() | {"purpose_since": None, "most": 20}
        asked = cursor.mogrify(query_text(f"analysis/{query}"), values)
        found = "\n".join(row for (row,) in cursor.execute(f"EXPLAIN {asked}"))  # type: ignore[arg-type]

    assert len(re.findall(r"Scan.* on q_threads", found)) == 1


def test_the_first_blocked_families_are_read_in_the_order_of_an_index(large: psycopg.Connection[Any]) -> None:
    """The first twenty are found without reading the rest: an index gives the order, and the limit ends the scan."""
    with psycopg.ClientCursor(large) as cursor:
        values = {"purpose_since": None, "blocked_for": "chat", "most": 20}
        asked = cursor.mogrify(query_text("analysis/first_blocked"), values)
        found = "\n".join(row for (row,) in cursor.execute(f"EXPLAIN (ANALYZE) {asked}"))  # type: ignore[arg-type]

    (rows,) = re.findall(r"Index Scan using \w+ on q_threads .*actual time=\S+ rows=(\d+)", found)
    assert int(rows) < 1_000


def test_a_purpose_that_is_null(connection: psycopg.Connection[Any]) -> None:
    """A NULL purpose is counted, blocks chat and run, and is no duplicate for the fixed index."""
    connection.execute("ALTER TABLE public.q_threads ALTER purpose DROP NOT NULL")
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for _ in range(2):
        add(connection, ROOT, OWNER)
    connection.execute("UPDATE public.q_threads SET purpose = NULL")
    row = fetch_one(connection, "analysis/counts")

    assert row["active_by_purpose"] == {"(null)": 2}
    assert (row["blocked_chat"], row["blocked_run"], row["coexisting_families"]) == (1, 1, 1)
    assert row["duplicates_fixed"] is None
    assert [len(list_duplicates(connection, kind, limit=5)) for kind in (IndexKind.ORIGINAL, IndexKind.FIXED)] == [1, 0]


def test_an_update_to_the_same_values_changes_the_checksum(connection: psycopg.Connection[Any]) -> None:
    """An update to the same values creates a new row version, and changes the checksum."""
    add(connection, ROOT, OWNER)
    before = fetch_one(connection, "analysis/checksum")
    again = fetch_one(connection, "analysis/checksum")
    connection.execute("UPDATE public.q_threads SET purpose = purpose")
    after = fetch_one(connection, "analysis/checksum")

    assert before == again
    assert (after["threads"], after["checksum"] == before["checksum"]) == (1, False)


def test_vacuum_does_not_change_the_checksum(connection: psycopg.Connection[Any]) -> None:
    """VACUUM FREEZE changes no checksum."""
    add(connection, ROOT, OWNER)
    before = fetch_one(connection, "analysis/checksum")
    connection.execute("VACUUM (FREEZE, ANALYZE) public.q_threads")

    assert fetch_one(connection, "analysis/checksum") == before


def test_a_list_with_a_limit(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """The limit counts the lines of the list without its header."""
    for number in range(3):
        add(connection, UUID(int=number), OWNER)
    with (tmp_path / "blocked.csv").open("wb") as out:
        copy_blocked(connection, read_catalog(connection), out, limit=2)

    assert len((tmp_path / "blocked.csv").read_text("utf-8").splitlines()) == 3
