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
from incident_lib.database import fetch_all, fetch_one, query_text, read_catalog
from incident_lib.model.change import INDEX_NAME, IndexKind
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


def plan(connection: psycopg.Connection[Any], query: str, **values: Any) -> str:
    """The plan of a query."""
    with psycopg.ClientCursor(connection) as cursor:
        asked = cursor.mogrify(query_text(f"analysis/{query}"), values or None)
        return "\n".join(row for (row,) in cursor.execute(f"EXPLAIN {asked}"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("counts", ["idx_threads_family_purpose"]),
        ("counts_original", ["idx_threads_family_purpose", INDEX_NAME]),
    ],
)
def test_the_counts_read_an_index_and_no_table_row(
    large: psycopg.Connection[Any], query: str, indexes: list[str]
) -> None:
    """With default settings PostgreSQL reads an index once, in order, and no table row; owners that are NULL apart."""
    found = plan(large, query)

    assert sorted(re.findall(r"Scan using (\w+)", found)) == sorted(indexes)
    assert len(re.findall(r"Index Only Scan using", found)) == len(indexes)
    assert "Seq Scan" not in found
    assert re.findall(r"Sort Key: .*root_prompt_row_id", found) == []


def test_families_of_the_usual_provider_alone_are_not_grouped(large: psycopg.Connection[Any]) -> None:
    """An index is read once, in its order; only families with another provider are looked up in it."""
    found = plan(large, "provider_conflicts", usual=fetch_one(large, "analysis/usual_provider")["provider"])

    assert fetch_one(large, "analysis/usual_provider") == {"provider": "openai"}
    assert len(re.findall(r"Index Only Scan using idx_threads_provider", found)) == 2
    assert len(re.findall(r"Filter: \(provider IS DISTINCT FROM 'openai'", found)) == 1
    assert len(re.findall(r"Index Cond: \(\(root_prompt_row_id = .*owner_id = ", found)) == 1
    assert "Seq Scan" not in found


@pytest.mark.parametrize("usual", ["openai", "manus", "", "zzz"])
def test_provider_conflicts_are_the_same_whatever_provider_is_usual(large: psycopg.Connection[Any], usual: str) -> None:
    """The parameter decides how fast the query is, and nothing else."""
    assert fetch_all(large, "analysis/provider_conflicts", {"usual": usual}) == [
        {"provider": "openai", "active_threads": 1_250, "families": 1_250}
    ]


@pytest.mark.parametrize("parallel", [0, 2])
def test_the_counts_are_the_same_side_by_side(large: psycopg.Connection[Any], parallel: int) -> None:
    """The counts are the same with parallel and with sequential reads."""
    large.execute("SET parallel_setup_cost = 0")
    large.execute("SET min_parallel_table_scan_size = 0")
    large.execute("SET min_parallel_index_scan_size = 0")
    large.execute("SET parallel_tuple_cost = 0")
    large.execute(f"SET max_parallel_workers_per_gather = {parallel}")
    found = count_threads(large, read_catalog(large))

    assert ("Parallel" in plan(large, "counts_original")) is bool(parallel)
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


def test_while_the_original_index_is_complete_a_shorter_query_counts_the_same(
    connection: psycopg.Connection[Any],
) -> None:
    """Families with and without an owner, known, unknown and NULL purposes: both queries count the same."""
    connection.execute("ALTER TABLE public.q_threads ALTER purpose DROP NOT NULL")
    for number, purpose in enumerate(["chat", "run", "run", "review", "chat"]):
        add(connection, UUID(int=number), OWNER, purpose=purpose)
        add(connection, ROOT, None, purpose=purpose)
    add(connection, UUID(int=9), UUID(int=9))
    connection.execute("UPDATE public.q_threads SET purpose = NULL WHERE root_prompt_row_id = %s", [UUID(int=9)])
    rows = [fetch_one(connection, f"analysis/{query}") for query in ("counts", "counts_original")]
    known = [{key: value or 0 for key, value in row.items()} for row in rows]

    assert known[0] == known[1]
    assert (known[0]["families"], known[0]["active_threads"], known[0]["unguarded_threads"]) == (7, 11, 5)


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
