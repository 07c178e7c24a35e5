"""The counts and the blocked families, compared with the design's definitions in Python."""

import csv
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from psycopg import sql

from incident_lib.analysis.investigate import count_threads, investigate, list_blocked, write_blocked
from incident_lib.database import query_text, read_catalog, reading
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import IndexKind
from incident_lib.model.counts import Counts, PerPurpose
from incident_lib.model.errors import Failed
from incident_lib.model.threads import BlockedFamily
from tests.conftest import ODD_MOMENTS, add
from tests.support.threads import (
    FIXED,
    FORMULAS,
    INDEXES,
    ORIGINAL,
    OWNERS,
    ROOTS,
    START,
    STILL_ENFORCING,
    Thread,
    admitted,
    any_example,
    counted,
    demo_threads,
    duplicates,
    listed,
    threads,
    with_indexes,
    without_duplicates,
)


@pytest.mark.parametrize("state", INDEXES)
def test_indexes_of_the_tests(connection, state):
    """The unique indexes that these tests create have the expected state."""
    with_indexes(connection, INDEXES[state])
    assert read_catalog(connection).state is state


@pytest.mark.parametrize(
    ("state", "blocks"),
    [
        (IndexState.ORIGINAL, True),
        (IndexState.FIXED, False),
        (IndexState.OVERLAPPING, True),
        (IndexState.MISSING, False),
        (IndexState.UNKNOWN, None),
    ],
)
def test_counts(connection, state, blocks):
    """Each count equals its definition under any unique indexes and for any threads that they admit."""
    with_indexes(connection, INDEXES[state])

    @any_example
    @given(threads())
    def holds(wanted):
        found = admitted(connection, wanted)
        assert without_duplicates(investigate(connection).counts) == counted(found, blocks)

    holds()


def test_counts_with_an_invalid_original_index(connection):
    """An original index that is invalid and still enforced blocks like a valid one."""
    with_indexes(connection, [ORIGINAL, FIXED, STILL_ENFORCING])
    found = admitted(connection, [Thread(UUID(int=1), ROOTS[0], OWNERS[0], "openai", "run", True, None)])
    assert without_duplicates(investigate(connection).counts) == counted(found, blocks=True)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [(IndexKind.ORIGINAL, ("root", "owner")), (IndexKind.FIXED, ("root", "owner", "purpose"))],
)
def test_duplicate_keys(connection, kind, columns):
    """The duplicate keys of a unique index are the keys that more than one active thread has."""
    with_indexes(connection, [])

    @any_example
    @given(threads())
    def holds(wanted):
        found = admitted(connection, wanted)
        assert investigate(connection).counts.duplicate_keys[kind] == len(duplicates(found, *columns))

    holds()


def test_two_duplicate_keys_in_one_family(connection):
    """A family with two active chats and two active runs has two keys that the fixed index rejects."""
    with_indexes(connection, [])
    purposes = ("chat", "chat", "run", "run")
    admitted(
        connection,
        [Thread(UUID(int=n), ROOTS[0], OWNERS[0], None, purpose, True, None) for n, purpose in enumerate(purposes)],
    )
    assert investigate(connection).counts.duplicate_keys[IndexKind.FIXED] == 2


def test_active_by_purpose_is_sorted(connection):
    """The purposes are sorted by name."""
    for purpose in ("run", "chat", "eval", "a"):
        add(connection, ROOTS[0], UUID(int=len(purpose) + ord(purpose[0])), purpose=purpose)
    assert list(investigate(connection).counts.active_by_purpose) == ["a", "chat", "eval", "run"]


def test_counts_of_an_empty_table(connection):
    """A table without a thread has counts, all of them zero."""
    no_family = PerPurpose(0, 0)
    none = {IndexKind.ORIGINAL: 0, IndexKind.FIXED: 0}
    assert investigate(connection).counts == Counts(
        families=0,
        active_threads=0,
        active_by_purpose={},
        blocked_families=0,
        blocked=no_family,
        affected_owners=0,
        blocked_owners=no_family,
        coexisting_families=0,
        residual_conflicts=0,
        unguarded_threads=0,
        duplicate_keys=none,
    )


def test_counts_as_a_record(connection):
    """The counts are equal after writing them to a run record and reading them back."""
    add(connection, ROOTS[0], OWNERS[0])
    counts = investigate(connection).counts
    assert msgspec.json.decode(msgspec.json.encode(counts), type=Counts) == counts


@pytest.mark.parametrize("state", [IndexState.ORIGINAL, IndexState.OVERLAPPING])
def test_blocked(connection, state):
    """Under the original index, the list equals its definition, in its documented order."""
    with_indexes(connection, INDEXES[state])
    catalog = read_catalog(connection)

    @any_example
    @given(threads(), st.sampled_from([None, START, START + timedelta(days=2)]), st.sampled_from([None, 0, 1, 3]))
    def holds(wanted, purpose_since, limit):
        found = admitted(connection, wanted)
        listed_families = list_blocked(connection, catalog, purpose_since=purpose_since, limit=limit)
        assert listed_families == listed(found, purpose_since, limit)

    holds()


def test_blocked_by_several(connection):
    """If several threads block a family, the list has the oldest; one of unknown age counts as the oldest."""
    catalog = read_catalog(connection)
    with_indexes(connection, [])

    @any_example
    @given(threads(), st.sampled_from([None, START + timedelta(days=2)]))
    def holds(wanted, purpose_since):
        found = admitted(connection, wanted)
        assert list_blocked(connection, catalog, purpose_since=purpose_since) == listed(found, purpose_since, None)

    holds()


@pytest.mark.parametrize("created_at", ODD_MOMENTS)
def test_blocked_since_a_timestamp_outside_pythons_range(connection, created_at):
    """A timestamp that PostgreSQL allows and Python does not becomes an unknown `since`."""
    add(connection, ROOTS[0], OWNERS[0])
    connection.execute("UPDATE public.q_threads SET created_at = %s", [created_at])
    (entry,) = list_blocked(connection, read_catalog(connection), purpose_since=START)
    assert entry.since is None


def test_blocked_since_with_another_date_format(environment, connection):
    """The database's date format does not change the result."""
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET datestyle = 'German'").format(name))
    add(connection, ROOTS[0], OWNERS[0], created_at=START)
    with reading(environment) as reader:
        (entry,) = list_blocked(reader, read_catalog(reader), purpose_since=START)
    assert entry.since == START


def test_blocked_escapes_spreadsheet_formulas(connection):
    """Purposes and providers that a spreadsheet would read as formulas are escaped in the list."""
    with_indexes(connection, [ORIGINAL])
    catalog = read_catalog(connection)
    odd = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\x01", "'=1", " =1", "chat", "a=b", "\\1")

    @any_example
    @given(threads(providers=(None, *odd), purposes=odd))
    def holds(wanted):
        found = admitted(connection, wanted)
        assert list_blocked(connection, catalog) == listed(found, None, None)

    holds()


@pytest.mark.parametrize("state", [IndexState.FIXED, IndexState.MISSING, IndexState.UNKNOWN])
def test_no_family_is_listed_without_a_blocking_index(connection, state):
    """If no unique index blocks, or one cannot be read, no family is listed."""
    with_indexes(connection, INDEXES[state])
    add(connection, ROOTS[0], OWNERS[0])
    assert list_blocked(connection, read_catalog(connection)) == []


def test_blocked_is_what_postgresql_rejects(connection):
    """A family is counted as blocked for chat exactly if PostgreSQL rejects the insert of a chat."""
    with_indexes(connection, [ORIGINAL])
    catalog = read_catalog(connection)

    def rejects(root, owner):
        with connection.transaction(force_rollback=True):
            connection.execute(
                "UPDATE public.q_threads SET is_active = false"
                " WHERE root_prompt_row_id = %s AND owner_id = %s AND purpose = 'chat' AND is_active",
                [root, owner],
            )
            query = (
                "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active)"
                " VALUES (%s, %s, 'chat', true) ON CONFLICT DO NOTHING"
            )
            return connection.execute(query, [root, owner]).rowcount == 0

    @any_example
    @given(threads())
    def holds(wanted):
        admitted(connection, wanted)
        rejected = sum(rejects(root, owner) for root in ROOTS for owner in OWNERS)
        assert count_threads(connection, catalog).blocked.chat == rejected

    holds()


def test_written_rows(connection, tmp_path):
    """The CSV file has the rows of the list under their columns' names."""
    with_indexes(connection, [ORIGINAL])
    catalog = read_catalog(connection)
    for number, root in enumerate(ROOTS):
        add(connection, root, OWNERS[0], purpose=["run", "chat", 'odd, "one"\n'][number], created_at=START)
    write_blocked(connection, catalog, tmp_path / "blocked.csv", purpose_since=START)
    with (tmp_path / "blocked.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        {name: "" if value is None else str(value) for name, value in asdict(entry).items()}
        for entry in list_blocked(connection, catalog, purpose_since=START)
    ]
    assert [in_utc(row) for row in rows] == [in_utc(entry) for entry in expected]


def in_utc(row: dict[str, str]) -> dict[str, str]:
    """The row with its time in UTC, as Python formats it."""
    return row | {"since": str(datetime.fromisoformat(row["since"]).astimezone(UTC))}


@pytest.mark.parametrize("head", [0, 1, 2, 50])
def test_the_head_of_the_file_is_returned(connection, tmp_path, head):
    """All blocked families are written to the file, and the first few are returned, as in the list."""
    with_indexes(connection, [ORIGINAL])
    catalog = read_catalog(connection)
    for number, root in enumerate(ROOTS):
        add(connection, root, OWNERS[0], purpose=["run", "chat", 'odd, "one"\n'][number], created_at=START)
    found = write_blocked(connection, catalog, tmp_path / "blocked.csv", purpose_since=START, head=head)

    assert found == list_blocked(connection, catalog, purpose_since=START)[:head]


def test_written_without_purpose_since(connection, tmp_path):
    """In the file, an unknown `since` is empty."""
    add(connection, ROOTS[0], OWNERS[0], row_id=UUID(int=1), created_at=START)
    write_blocked(connection, read_catalog(connection), tmp_path / "blocked.csv")
    assert (tmp_path / "blocked.csv").read_text() == (
        "root_prompt_row_id,owner_id,blocked_for,since,blocking_thread,blocking_purpose,blocking_provider\n"
        f"{ROOTS[0]},{OWNERS[0]},chat,,{UUID(int=1)},run,openai\n"
    )


@pytest.mark.parametrize("sign", FORMULAS)
def test_written_formulas_are_escaped(connection, tmp_path, sign):
    """In the file, purposes and providers that a spreadsheet would read as formulas begin with an apostrophe."""
    add(connection, ROOTS[0], OWNERS[0], purpose=f"{sign}purpose", provider=f"{sign}provider")
    write_blocked(connection, read_catalog(connection), tmp_path / "blocked.csv")
    with (tmp_path / "blocked.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["blocking_purpose"], row["blocking_provider"]) == (f"'{sign}purpose", f"'{sign}provider")


def test_written_mode(connection, tmp_path):
    """Only its owner may read the file."""
    write_blocked(connection, read_catalog(connection), tmp_path / "blocked.csv")
    assert oct((tmp_path / "blocked.csv").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("name", ["blocked.csv", "blocked.part"])
def test_written_mode_over_an_older_file(connection, tmp_path, name):
    """A file that replaces one readable by all is readable by its owner only."""
    (tmp_path / name).touch(mode=0o644)
    write_blocked(connection, read_catalog(connection), tmp_path / "blocked.csv")
    assert oct((tmp_path / "blocked.csv").stat().st_mode & 0o777) == "0o600"


def test_written_without_a_blocking_index(connection, tmp_path):
    """If no unique index blocks, the file has its header only."""
    with_indexes(connection, [FIXED])
    add(connection, ROOTS[0], OWNERS[0])
    write_blocked(connection, read_catalog(connection), tmp_path / "blocked.csv")
    assert (tmp_path / "blocked.csv").read_text() == ",".join(BlockedFamily.__struct_fields__) + "\n"


def test_write_that_fails_leaves_nothing(connection, tmp_path):
    """If writing fails, neither the file nor a part of it is left."""
    catalog = read_catalog(connection)
    connection.close()
    with pytest.raises(Exception, match="the connection is closed"):
        write_blocked(connection, catalog, tmp_path / "blocked.csv")
    assert list(tmp_path.iterdir()) == []


def test_demo_counts(incident):
    """The demo's counts equal a count over its file."""
    with reading(incident) as connection:
        counts = investigate(connection).counts
    assert without_duplicates(counts) == counted(demo_threads(), blocks=True)


@pytest.mark.parametrize("purpose_since", [None, datetime(2025, 9, 22, 6, tzinfo=UTC)])
def test_demo_blocked(incident, purpose_since):
    """The demo's blocked families equal those in its file."""
    with reading(incident) as connection:
        listed_families = list_blocked(connection, read_catalog(connection), purpose_since=purpose_since)
    assert listed_families == listed(demo_threads(), purpose_since, None)


def test_demo_list_has_as_many_as_are_counted(incident):
    """The demo's list has an entry for each family and purpose that is counted."""
    with reading(incident) as connection:
        found = investigate(connection)
        entries = [entry.blocked_for for entry in list_blocked(connection, found.catalog)]
    assert PerPurpose(entries.count("chat"), entries.count("run")) == found.counts.blocked


def test_clock(environment):
    """An investigation has the server's time."""
    before = datetime.now(UTC)
    with reading(environment) as connection:
        at = investigate(connection).at
    assert before <= at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO public.q_prompts DEFAULT VALUES",
        "UPDATE public.q_threads SET is_active = false",
        "DELETE FROM public.q_threads",
        "DROP INDEX public.idx_q_threads_family_unique",
    ],
)
def test_reading_rejects_writes(environment, statement):
    """PostgreSQL rejects a write during an investigation."""
    with pytest.raises(Failed) as error, reading(environment) as connection:
        connection.execute(statement)
    command = statement.split()[: 2 if statement.startswith("DROP") else 1]
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 25006).\n"
        f"  why:  PostgreSQL says: cannot execute {' '.join(command)} in a read-only transaction.\n"
        "  next: Use the primary's address. Where default_transaction_read_only is on for the database or the role, "
        "ask who set it."
    )


def test_reading_leaves_no_transaction(environment, connection):
    """After an investigation no session of it is in a transaction."""
    with reading(environment) as reader:
        investigate(reader)
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + 5
    while (left := connection.execute(query).fetchone()) != (0,) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == (0,)


def test_statement_timeout(environment):
    """A statement that exceeds its timeout is an error with a message."""
    with pytest.raises(Failed) as error, reading(environment, seconds=0.05) as connection:
        connection.execute("SELECT pg_sleep(10)")
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 57014).\n"
        "  why:  PostgreSQL says: canceling statement due to statement timeout.\n"
        "  next: Try again with a longer --timeout."
    )


def test_one_snapshot(environment, connection):
    """An investigation is one snapshot: it does not include what others commit meanwhile."""
    with reading(environment) as reader:
        before = investigate(reader).counts
        add(connection, ROOTS[0], OWNERS[0])
        assert investigate(reader).counts == before


def test_lock_timeout(environment, connection):
    """A query that waits for a locked table ends with a message once its lock timeout is over."""
    with connection.transaction():
        connection.execute("LOCK TABLE public.q_threads IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Failed) as error, reading(environment) as reader:
            reader.execute("SET LOCAL lock_timeout = '20ms'; SELECT count(*) FROM public.q_threads")
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 55P03).\n"
        "  why:  PostgreSQL says: canceling statement due to lock timeout.\n"
        "  next: Try again; `incident plan` names the sessions that hold locks."
    )


@pytest.mark.parametrize(("query", "scans"), [("counts", 1), ("counts_original", 2)])
def test_the_counts_look_up_nothing_for_each_row(incident, query, scans):
    """An index is read once, and once more for families without an owner; no table, and no lookup for each row."""
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) public.q_threads")
        connection.execute("SET enable_seqscan = off")  # the demo is small: PostgreSQL might choose a sequential scan
        connection.execute("SET enable_bitmapscan = off")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + query_text(f"analysis/{query}")))
    assert "SubPlan" not in plan
    assert "Seq Scan on q_threads" not in plan
    assert plan.count("Index Only Scan using") == scans
