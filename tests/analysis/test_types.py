"""A purpose of type enum, domain, varchar or char is counted and compared like a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from incident_lib.analysis import count_provider_conflicts, investigate, list_blocked, read_residual
from incident_lib.analysis.blockers import summarize_blockers
from incident_lib.analysis.families import explain_family
from incident_lib.analysis.investigate import list_duplicates
from incident_lib.database import fetch_all, get_or_create_run, read_catalog, reading
from incident_lib.database.clients import NewThread, create_chat
from incident_lib.model import Family, IndexKind
from tests.conftest import add

if TYPE_CHECKING:
    import psycopg

    from incident_lib.database import Environment

EVERY_VERSION = True
FAMILIES = [Family(UUID(int=number), UUID(int=100 + number)) for number in range(1, 5)]
TYPES = ["purpose_enum", "label", "varchar(10)", "char(6)"]


def fill(connection: psycopg.Connection[Any]) -> None:
    """Families with a run, with a chat, with both, and with another purpose."""
    connection.execute("DROP INDEX public.idx_q_threads_family_unique")
    purposes = [["run"], ["chat"], ["run", "chat"], ["eval", "run"]]
    for family, held in zip(FAMILIES, purposes, strict=True):
        for number, purpose in enumerate(held):
            row_id = UUID(int=family.root.int * 1000 + number)
            add(connection, *family, row_id=row_id, purpose=purpose, provider="manus" if number else "openai")


def retype(connection: psycopg.Connection[Any], new: str) -> None:
    """Change the type of the columns purpose and provider."""
    connection.execute(
        "CREATE TYPE purpose_enum AS ENUM ('chat', 'run', 'eval', 'openai', 'manus'); CREATE DOMAIN label AS text;"
        "DROP INDEX public.idx_threads_family_purpose"
    )
    for column in ("purpose", "provider"):
        connection.execute(
            f"ALTER TABLE public.q_threads ALTER {column} DROP DEFAULT,"
            f" ALTER {column} TYPE {new} USING {column}::text::{new}"
        )
    connection.execute(f"ALTER TABLE public.q_threads ALTER purpose SET DEFAULT 'run'::{new}")


def found(environment: Environment) -> list[Any]:
    """The results of all queries about purposes."""
    with reading(environment) as connection:
        catalog = read_catalog(connection)
        return [
            investigate(connection).counts,
            list_blocked(connection, catalog),
            [list_duplicates(connection, kind, limit=9) for kind in (IndexKind.ORIGINAL, IndexKind.FIXED)],
            summarize_blockers(connection, catalog, None),
            [explain_family(connection, catalog, family) for family in FAMILIES],
            read_residual(connection, catalog, count_provider_conflicts(connection, catalog)),
            fetch_all(connection, "analysis/families_without_chat", {"most": 9}),
        ]


@pytest.mark.parametrize("new", TYPES)
def test_the_results_equal_those_of_a_text(
    environment: Environment, connection: psycopg.Connection[Any], new: str
) -> None:
    """Counts, lists and explanations do not depend on the type of purpose and provider."""
    fill(connection)
    before = found(environment)
    retype(connection, new)

    assert found(environment) == before


@pytest.mark.parametrize("new", TYPES)
def test_the_clients_work(connection: psycopg.Connection[Any], new: str) -> None:
    """Both clients find and create their threads."""
    fill(connection)
    retype(connection, new)
    run = get_or_create_run(connection, NewThread(*FAMILIES[0], provider="openai"))
    create_chat(connection, NewThread(*FAMILIES[0], provider="openai"))

    assert run == UUID(int=1000)
