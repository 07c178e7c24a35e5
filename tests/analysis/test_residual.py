"""What the fix does not change: provider conflicts, threads without an owner, and the proposed unique index."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incident_lib.analysis.families import explain_family
from incident_lib.analysis.investigate import count_threads
from incident_lib.analysis.residual import (
    PROPOSED_NAME,
    ProviderConflict,
    count_provider_conflicts,
    find_provider_conflict,
    propose_index,
    read_residual,
)
from incident_lib.database import NewThread, create_chat, get_or_create_run, read_catalog, reading
from incident_lib.migration.executor import apply
from incident_lib.model.change import INDEX_NAME
from incident_lib.model.records import ProviderConflicts, ResidualConflicts
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from incident_lib.database import Environment

EVERY_VERSION = True
ID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
ROOT, OWNER = UUID(int=1), UUID(int=7)
INDEX_SQL = (
    'CREATE UNIQUE INDEX CONCURRENTLY "idx_q_threads_family_provider_unique" ON "public"."q_threads" '
    '("root_prompt_row_id", "owner_id", "provider", "purpose") NULLS NOT DISTINCT '
    "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
)


def left(environment: Environment, since: datetime | None = None) -> ResidualConflicts:
    """What the fix does not change there, with an example family."""
    with reading(environment) as connection:
        catalog = read_catalog(connection)
        conflict = find_provider_conflict(connection, catalog)
        example = conflict and conflict.example(explain_family(connection, catalog, conflict.family))
        return read_residual(connection, catalog, count_provider_conflicts(connection, catalog), example, since=since)


def shown(environment: Environment) -> ProviderConflict:
    """The example family of the provider conflicts."""
    with reading(environment) as connection:
        found = find_provider_conflict(connection, read_catalog(connection))
    assert found is not None
    return found


def conflicts(provider: str | None, active_threads: int, families: int) -> ProviderConflicts:
    """The provider conflicts of one provider."""
    return ProviderConflicts(provider=provider, active_threads=active_threads, families=families)


def unnamed(connection: psycopg.Connection, row_id: UUID) -> None:
    """Set a thread's provider to NULL: an INSERT without one would get the column's default."""
    connection.execute("UPDATE public.q_threads SET provider = NULL WHERE row_id = %s", [row_id])


# On the demo


def test_conflicts_of_the_demo_by_provider(incident: Environment) -> None:
    """The demo's provider conflicts, by the provider of the active thread that has the key."""
    assert left(incident).by_provider == [
        conflicts("openai", 57, 57),
        conflicts("anthropic", 4, 4),
        conflicts("manus", 4, 4),
    ]


def test_the_demo_as_a_record(incident: Environment) -> None:
    """A record has all of it, and no id."""
    found = msgspec.to_builtins(left(incident))
    version = found["proposal"].pop("server_version")

    assert re.findall(ID, str(found)) == []
    assert version // 10000 in (15, 16, 18)
    assert found == {
        "residual_conflicts": 65,
        "by_provider": [
            {"provider": "openai", "active_threads": 57, "families": 57},
            {"provider": "anthropic", "active_threads": 4, "families": 4},
            {"provider": "manus", "active_threads": 4, "families": 4},
        ],
        "without_provider": 14,
        "unguarded_threads": 159,
        "created_since": None,
        "example": {
            "held_by": "openai",
            "asked_for": "manus",
            "purpose": "run",
            "threads": [
                {"created_at": "2025-09-08 07:17", "purpose": "run", "provider": "manus", "is_active": False},
                {"created_at": "2025-09-14 16:20", "purpose": "run", "provider": "openai", "is_active": True},
            ],
        },
        "proposal": {
            "sql": INDEX_SQL,
            "buildable": False,
            "finding": (
                "It cannot be built today: 8 combinations of root prompt, user, provider and purpose have several "
                "active threads (8 without a user). All but one of each would have to be ended first: 151 threads."
            ),
            "keys": 8,
            "ownerless_keys": 8,
            "too_many": 151,
        },
    }


def test_threads_created_since_the_fix_are_counted(incident: Environment) -> None:
    """Of the provider conflicts, those are counted that were created since a time."""
    families = "SELECT root_prompt_row_id, owner_id, count(DISTINCT provider) FROM public.q_threads"
    with psycopg.connect(incident.address, autocommit=True) as connection:
        fixed = apply(incident, confirm="staging").ended_at
        root, owner, _ = connection.execute(
            f"{families} WHERE owner_id IS NOT NULL GROUP BY 1, 2 HAVING count(DISTINCT provider) > 1 "
            "AND bool_and(purpose <> 'chat' OR NOT is_active) ORDER BY 1, 2 LIMIT 1"
        ).fetchone() or (None, None, None)
        before = left(incident, fixed)
        create_chat(connection, NewThread(root, owner))
        connection.execute("UPDATE public.q_threads SET created_at = clock_timestamp() WHERE created_at IS NULL")

    assert (before.created_since, left(incident).created_since) == (0, None)
    after = left(incident, fixed)
    assert (after.residual_conflicts - before.residual_conflicts, after.created_since) == (1, 1)


def test_the_fix_does_not_change_it(incident: Environment) -> None:
    """The fix does not change these numbers."""
    before = left(incident)
    apply(incident, confirm="staging")
    after = left(incident)

    assert (after.by_provider, after.without_provider, after.unguarded_threads, after.proposal) == (
        before.by_provider,
        before.without_provider,
        before.unguarded_threads,
        before.proposal,
    )


# The example family


def insert_as_client(environment: Environment, conflict: ProviderConflict) -> None:
    """Insert the thread of the example's client, as run clients do."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        get_or_create_run(connection, NewThread(*conflict.family, provider=conflict.asked_for))


def test_the_examples_client_is_rejected(incident: Environment) -> None:
    """Under the fixed index PostgreSQL rejects the insert of the example's client."""
    apply(incident, confirm="staging")

    with pytest.raises(psycopg.errors.UniqueViolation):
        insert_as_client(incident, shown(incident))


def test_the_proposed_index_admits_the_examples_client(incident: Environment) -> None:
    """Under the proposed unique index alone PostgreSQL admits that insert, once the index can be built."""
    apply(incident, confirm="staging")
    conflict = shown(incident)
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute("UPDATE public.q_threads SET is_active = false WHERE owner_id IS NULL")
        connection.execute(left(incident).proposal.sql.encode())
        connection.execute(f"DROP INDEX public.{INDEX_NAME}")

    insert_as_client(incident, conflict)


@pytest.mark.parametrize("held_by", ["openai", None])
def test_the_example_names_both_providers(
    environment: Environment, connection: psycopg.Connection, held_by: str | None
) -> None:
    """The example says which provider's thread has the key and which provider needs it, also if one is NULL."""
    add(connection, ROOT, OWNER, provider="manus", is_active=False)
    row_id = add(connection, ROOT, OWNER, provider="openai")
    if held_by is None:
        unnamed(connection, row_id)
    example = left(environment).example

    assert shown(environment).family == Family(ROOT, OWNER)
    assert example is not None
    assert (example.held_by, example.asked_for, example.purpose) == (held_by, "manus", "run")
    assert {thread.provider for thread in example.threads} == {"manus", held_by}


def test_the_example_is_the_smallest_family(environment: Environment, connection: psycopg.Connection) -> None:
    """The example is the family with the fewest threads."""
    for root, ended in ((UUID(int=1), 3), (UUID(int=2), 1)):
        for _ in range(ended):
            add(connection, root, OWNER, provider="manus", is_active=False)
        add(connection, root, OWNER)

    assert shown(environment).family.root == UUID(int=2)


def test_a_conflict_without_a_named_provider_has_no_example(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """If a family's other threads have no provider, its conflict is counted, and there is no example."""
    unnamed(connection, add(connection, ROOT, OWNER, is_active=False))
    add(connection, ROOT, OWNER)
    found = left(environment)

    assert (found.by_provider, found.example) == ([conflicts("openai", 1, 1)], None)


def test_an_empty_table_has_no_conflicts(environment: Environment) -> None:
    """An empty table has no conflicts, and the proposed unique index can be built."""
    found = left(environment)

    assert (found.by_provider, found.without_provider, found.unguarded_threads, found.example) == ([], 0, 0, None)
    assert found.proposal.finding == "It could be built today: no two active threads share one of its keys."


# The counts

THREADS = st.lists(
    st.tuples(
        st.integers(1, 2),  # root
        st.sampled_from([None, 1, 2]),  # owner
        st.sampled_from([None, "openai", "manus"]),
        st.sampled_from(["chat", "run"]),
        st.sampled_from([True, True, False, None]),
    ),
    max_size=10,
)
ON_ONE_DATABASE = settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(connection: psycopg.Connection, threads: Sequence[tuple]) -> None:
    """Insert these threads, without any unique index."""
    connection.execute(f"DROP INDEX IF EXISTS public.{INDEX_NAME}, public.{PROPOSED_NAME}")
    connection.execute("DELETE FROM public.q_threads")
    connection.execute(
        "INSERT INTO public.q_prompts VALUES (%s), (%s) ON CONFLICT DO NOTHING", [UUID(int=1), UUID(int=2)]
    )
    connection.cursor().executemany(
        "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, provider, purpose, is_active)"
        " VALUES (%s, %s, %s, %s, %s)",
        [(UUID(int=root), owner and UUID(int=owner), *rest) for root, owner, *rest in threads],
    )


@ON_ONE_DATABASE
@given(THREADS)
def test_the_numbers_equal_the_counts(
    environment: Environment, connection: psycopg.Connection, threads: Sequence[tuple]
) -> None:
    """The numbers, by provider and in total, equal those of an investigation."""
    put(connection, threads)
    with reading(environment) as snapshot:
        catalog = read_catalog(snapshot)
        found = read_residual(snapshot, catalog, count_provider_conflicts(snapshot, catalog))
        counts = count_threads(snapshot, catalog)

    assert (found.residual_conflicts, found.unguarded_threads) == (counts.residual_conflicts, counts.unguarded_threads)


@ON_ONE_DATABASE
@given(THREADS)
def test_active_threads_without_a_provider_are_counted(
    environment: Environment, connection: psycopg.Connection, threads: Sequence[tuple]
) -> None:
    """Active threads without a provider are counted, whether or not they have an owner."""
    put(connection, threads)

    assert left(environment).without_provider == sum(
        provider is None and is_active is True for _, _, provider, _, is_active in threads
    )


@ON_ONE_DATABASE
@given(THREADS)
def test_the_index_can_be_built_if_the_proposal_says_so(
    environment: Environment, connection: psycopg.Connection, threads: Sequence[tuple]
) -> None:
    """The proposed unique index can be built exactly if the proposal says so."""
    put(connection, threads)
    proposal = left(environment).proposal
    try:
        connection.execute(proposal.sql.encode())
        built = True
    except psycopg.errors.UniqueViolation:
        built = False

    assert proposal.buildable is built


@ON_ONE_DATABASE
@given(THREADS)
def test_without_surplus_threads_the_index_can_be_built(
    environment: Environment, connection: psycopg.Connection, threads: Sequence[tuple]
) -> None:
    """Without all active threads of a key but one, the proposed unique index can be built."""
    put(connection, threads)
    too_many = left(environment).proposal.too_many
    ended = connection.execute(
        "UPDATE public.q_threads SET is_active = false WHERE row_id IN (SELECT row_id FROM (SELECT row_id,"
        " row_number() OVER (PARTITION BY root_prompt_row_id, owner_id, provider, purpose) AS place"
        " FROM public.q_threads WHERE is_active) AS t WHERE place > 1)"
    ).rowcount

    assert ended == too_many
    assert left(environment).proposal.buildable


# The proposal


@pytest.mark.parametrize(
    ("version", "keys", "said"),
    [
        (140012, 0, "It cannot be built on PostgreSQL 14: NULLS NOT DISTINCT came with 15."),
        (150001, 0, "It could be built today: no two active threads share one of its keys."),
        (
            150001,
            1,
            "It cannot be built today: 1 combination of root prompt, user, provider and purpose has several active "
            "threads (0 without a user). All but one of each would have to be ended first: 1 thread.",
        ),
    ],
)
def test_what_the_proposal_says(version: int, keys: int, said: str) -> None:
    """A proposal says whether the index can be built, and which threads prevent it."""
    proposal = propose_index(version, {"keys": keys, "ownerless_keys": 0, "too_many": keys})

    assert (proposal.finding, proposal.buildable) == (said, said.startswith("It could"))


def test_the_result_has_no_text_of_users(environment: Environment, connection: psycopg.Connection) -> None:
    """The result has no text that a user wrote."""
    add(connection, ROOT, OWNER, provider="manus", is_active=False, name="a secret name")
    add(connection, ROOT, OWNER, name="a secret name")
    found = left(environment)

    assert found.example is not None
    assert "secret" not in repr(found)


def test_a_family_with_one_provider_has_no_conflict(environment: Environment, connection: psycopg.Connection) -> None:
    """A family with one provider has no provider conflict, whatever its purposes are."""
    family = Family(uuid4(), uuid4())
    apply(environment, confirm="staging")
    add(connection, *family, purpose="run")
    add(connection, *family, purpose="chat")

    assert left(environment).by_provider == []
