"""The threads of one family: what each blocks now, and what it would block under the fixed index."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

import incident_lib
from incident_lib.analysis.families import explain_family
from incident_lib.database import read_catalog, reading
from incident_lib.model.errors import UsageError
from incident_lib.model.pseudonyms import PLAN_ROOT
from incident_lib.model.threads import Family
from tests.conftest import add
from tests.support.command import shell

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from incident_lib.database import Environment
    from incident_lib.model.threads import Thread

ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
DROP = "DROP INDEX public.idx_q_threads_family_unique"
FIXED = f"CREATE UNIQUE INDEX the_fixed ON public.q_threads (root_prompt_row_id, owner_id, purpose) {ACTIVE}"
UNREADABLE = f"CREATE UNIQUE INDEX what ON public.q_threads (lower(root_prompt_row_id::text)) {ACTIVE}"
NOT_VALID = (
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_q_threads_family_unique'::regclass",
    "UPDATE pg_index SET indisready = false WHERE indexrelid = 'public.idx_q_threads_family_unique'::regclass",
)
BOTH = ("chat", "run")
PUBLISHED = str(PLAN_ROOT)


@pytest.fixture
def family() -> tuple[UUID, UUID]:
    """A root prompt and a user of this test alone."""
    return uuid4(), uuid4()


def explained(environment: Environment, family: tuple[UUID, UUID]) -> list[Thread]:
    """The threads of a family, as `explain` returns them."""
    with reading(environment) as connection:
        return explain_family(connection, read_catalog(connection), Family(*family))


@pytest.mark.parametrize("purpose", ["chat", "run", "eval"])
def test_under_the_original_index_an_active_thread_blocks_all(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID], purpose: str
) -> None:
    """Under the original index an active thread blocks a new chat and a new run, whatever its own purpose."""
    add(connection, *family, purpose=purpose)
    (thread,) = explained(environment, family)

    assert thread.blocks == BOTH


@pytest.mark.parametrize(("purpose", "held"), [("chat", ("chat",)), ("run", ("run",)), ("eval", ())])
def test_under_the_fixed_index_a_thread_blocks_its_own_purpose(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID], purpose: str, held: tuple
) -> None:
    """Under the fixed index an active thread blocks only its own purpose."""
    connection.execute(DROP)
    connection.execute(FIXED)
    add(connection, *family, purpose=purpose)
    (thread,) = explained(environment, family)

    assert (thread.blocks, thread.would_block) == (held, held)


@pytest.mark.parametrize(("purpose", "held"), [("chat", ("chat",)), ("run", ("run",)), ("eval", ())])
def test_what_the_fixed_index_alone_would_block(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID], purpose: str, held: tuple
) -> None:
    """Under the original index the result also says what the fixed index alone would block."""
    add(connection, *family, purpose=purpose)
    (thread,) = explained(environment, family)

    assert thread.would_block == held


def test_under_both_indexes_the_original_still_blocks(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """While both indexes are enforced, an active run still blocks a new chat."""
    connection.execute(FIXED)
    add(connection, *family, purpose="run")
    (thread,) = explained(environment, family)

    assert thread.blocks == BOTH


def test_an_invalid_index_that_is_ready_blocks(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """A unique index that is invalid, but ready, is enforced and blocks."""
    add(connection, *family)
    connection.execute(NOT_VALID[0])
    (thread,) = explained(environment, family)

    assert thread.blocks == BOTH


def test_an_index_that_is_not_ready_blocks_nothing(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """A unique index that is not ready is not enforced and blocks nothing."""
    add(connection, *family)
    for statement in NOT_VALID:
        connection.execute(statement)
    (thread,) = explained(environment, family)

    assert thread.blocks == ()


def test_without_an_index_nothing_is_blocked(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """Without an enforced unique index, no thread blocks another."""
    add(connection, *family)
    connection.execute(DROP)
    (thread,) = explained(environment, family)

    assert thread.blocks == ()


@pytest.mark.parametrize("active", [True, False])
def test_an_index_that_cannot_be_read_makes_it_unknown(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID], active: bool
) -> None:
    """If a unique index cannot be read, what a thread blocks is unknown, not empty."""
    connection.execute(UNREADABLE)
    add(connection, *family, is_active=active)
    (thread,) = explained(environment, family)

    assert thread.blocks is None


@pytest.mark.parametrize("active", [False, None])
def test_a_thread_that_is_not_active_blocks_nothing(
    environment: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID], active: bool | None
) -> None:
    """An inactive thread, or one whose flag is NULL, is outside the unique indexes' predicate."""
    row_id = add(connection, *family)
    connection.execute("UPDATE public.q_threads SET is_active = %s WHERE row_id = %s", [active, row_id])
    (thread,) = explained(environment, family)

    assert (thread.is_active, thread.blocks, thread.would_block) == (active, (), ())


@pytest.fixture
def four(connection: psycopg.Connection, family: tuple[UUID, UUID]) -> list[UUID]:
    """Four threads of a family in the order of the result: of unknown age first, then the oldest."""
    moments = [None, *(datetime(2025, 9, day, tzinfo=UTC) for day in (1, 20, 25))]
    purposes = ["chat", "run", "eval", "run"]
    made = {}
    for place in (2, 0, 3, 1):
        row_id = add(connection, *family, purpose=purposes[place], is_active=False)
        made[place] = row_id
        connection.execute(
            "UPDATE public.q_threads SET created_at = %s, provider = 'openai', is_active = %s WHERE row_id = %s",
            [moments[place], place == 3, row_id],
        )
    add(connection, family[0], uuid4())
    add(connection, uuid4(), family[1])
    return [made[place] for place in range(4)]


def test_the_oldest_comes_first(environment: Environment, family: tuple[UUID, UUID], four: list[UUID]) -> None:
    """The result has the threads of this family only: those of unknown age first, then the oldest."""
    assert [thread.row_id for thread in explained(environment, family)] == four


def test_a_family_without_threads(environment: Environment, family: tuple[UUID, UUID]) -> None:
    """A family without a thread is an empty list."""
    assert explained(environment, family) == []


def test_the_command_prints_a_line_for_each_thread(
    staging: Environment, family: tuple[UUID, UUID], four: list[UUID]
) -> None:
    """`incident explain` prints a line for each thread; a thread of another purpose blocks neither chat nor run."""
    ran = shell("explain", "--env", "staging", *map(str, family))
    lines = [line.split() for line in ran.stdout.splitlines() if line.split()[:1] and line.split()[0] in map(str, four)]

    assert (ran.returncode, ran.stderr) == (0, "")
    assert lines == [
        [str(four[0]), "unknown", "chat", "openai", "no", "nothing", "nothing"],
        [str(four[1]), "2025-09-01", "00:00", "run", "openai", "no", "nothing", "nothing"],
        [str(four[2]), "2025-09-20", "00:00", "eval", "openai", "no", "nothing", "nothing"],
        [str(four[3]), "2025-09-25", "00:00", "run", "openai", "yes", "chat,", "run", "run"],
    ]


def test_the_command_says_unknown(
    staging: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """`incident explain` says `unknown` if a unique index cannot be read."""
    connection.execute(UNREADABLE)
    row_id = add(connection, *family)
    ran = shell("explain", "--env", "staging", *map(str, family))
    (line,) = [line.split() for line in ran.stdout.splitlines() if str(row_id) in line]

    assert (ran.returncode, line[-3:]) == (0, ["yes", "unknown", "run"])


def test_times_are_printed_in_utc(
    staging: Environment, connection: psycopg.Connection, family: tuple[UUID, UUID]
) -> None:
    """`incident explain` prints times in UTC, as its column says, whatever the server's time zone."""
    connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$"
    )
    row_id = add(connection, *family)
    connection.execute("UPDATE public.q_threads SET created_at = '2025-09-25 06:00+00' WHERE row_id = %s", [row_id])
    ran = shell("explain", "--env", "staging", *map(str, family))

    (line,) = [line.split() for line in ran.stdout.splitlines() if str(row_id) in line]

    assert line[1:3] == ["2025-09-25", "06:00"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", PUBLISHED], "  next: Copy the ids from `incident investigate`: first the root, then the owner.\n"),
        ([PUBLISHED, "y"], "  next: Copy the ids from `incident investigate`: first the root, then the owner.\n"),
        ([PUBLISHED], "Error: Missing argument 'OWNER'.\n"),
    ],
)
def test_an_argument_that_is_not_a_uuid_is_bad_usage(words: list[str], said: str) -> None:
    """`incident explain` takes two UUIDs, or their first digits."""
    ran = shell("explain", "--env", "demo", *words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(said)


# In a notebook


def test_a_notebook_explains_a_family_by_its_pseudonyms(staging: Environment, connection: psycopg.Connection) -> None:
    """`il.explain` shows the threads of a family without a raw thread id."""
    root, owner = uuid4(), uuid4()
    thread = add(connection, root, owner)
    shown = incident_lib.explain("staging", str(root), str(owner)).to_html()

    assert "chat, run" in shown
    assert str(thread) not in shown


def test_a_notebook_rejects_an_argument_that_is_not_a_uuid() -> None:
    """`il.explain` requires UUIDs, or the pseudonyms shown."""
    with pytest.raises(UsageError) as refused:
        incident_lib.explain("demo", "0d69b830", "1da78055")

    assert refused.value.what == "root is neither a UUID nor a pseudonym."
