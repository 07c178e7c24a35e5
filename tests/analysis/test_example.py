"""The worked example: whose family it is, and what a record carries of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from incident_lib.analysis.example import PLAN_FAMILY, choose_example, example_record
from incident_lib.analysis.families import Thread, explain_family
from incident_lib.database import read_catalog, reading
from incident_lib.model.pseudonyms import PLAN_OWNER, PLAN_ROOT, PLAN_THREAD, PUBLISHED, Pseudonyms
from incident_lib.model.threads import Family
from tests.conftest import add

if TYPE_CHECKING:
    import psycopg

    from incident_lib.database import Environment

NAMES = Pseudonyms("a key")
AT = datetime(2025, 9, 18, 14, 12, 33, tzinfo=UTC)


def chosen(environment: Environment, *since: datetime) -> Family:
    """The family that is chosen in an environment."""
    with reading(environment) as connection:
        return choose_example(connection, read_catalog(connection), *since)


def test_the_plans_family_is_chosen_where_it_is(incident: Environment) -> None:
    """Where the fix plan's own family has a thread, it is the example."""
    assert chosen(incident) == PLAN_FAMILY == Family(PLAN_ROOT, PLAN_OWNER)


def test_the_plans_family_is_chosen_though_others_are_blocked_longer(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """The fix plan's family is the example also where its threads are not active, and others are blocked."""
    add(connection, uuid4(), uuid4(), created_at=AT)
    add(connection, PLAN_ROOT, PLAN_OWNER, is_active=False)

    assert chosen(environment) == PLAN_FAMILY


def test_elsewhere_it_is_the_family_that_is_blocked_longest(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """Where the fix plan's family is not there, the example is the one that has been blocked for chat longest."""
    blocked = Family(UUID(int=9), UUID(int=9))
    add(connection, UUID(int=1), UUID(int=1), purpose="chat", created_at=AT.replace(year=2020))
    add(connection, *blocked, created_at=AT)
    add(connection, UUID(int=2), UUID(int=2), created_at=AT.replace(year=2026))
    add(connection, UUID(int=3), None, created_at=AT.replace(year=2019))

    assert chosen(environment, AT.replace(year=2018)) == blocked


def test_where_nobody_knows_since_when_it_is_one_that_is_blocked(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """Where it is not known when the purpose came, the example is a family that is blocked for chat all the same."""
    add(connection, UUID(int=1), UUID(int=1), purpose="chat")
    add(connection, UUID(int=2), UUID(int=2))

    assert chosen(environment) == Family(UUID(int=2), UUID(int=2))


@pytest.mark.parametrize("purpose", ["chat", None])
def test_where_nobody_is_kept_from_a_chat_the_choice_is_harmless(
    environment: Environment, connection: psycopg.Connection, purpose: str | None
) -> None:
    """Where no family is blocked for chat the example has no thread, or is one that is blocked for run."""
    if purpose:
        add(connection, UUID(int=1), UUID(int=1), purpose=purpose)

    assert chosen(environment) == (Family(UUID(int=1), UUID(int=1)) if purpose else PLAN_FAMILY)


def test_a_record_names_the_family_by_pseudonyms(environment: Environment, connection: psycopg.Connection) -> None:
    """What a record carries of the example holds no id, but the same names as elsewhere."""
    root, owner = UUID(int=2**100 + 1), UUID(int=2**100 + 2)
    row = add(connection, root, owner, created_at=AT, provider="manus")
    with reading(environment) as snapshot:
        carried = example_record(Family(root, owner), "before", explain_family(snapshot, root, owner), NAMES)

    assert carried == {
        "root": NAMES.name("root", root),
        "owner": NAMES.name("owner", owner),
        "before": [
            {
                "thread": NAMES.name("thread", row),
                "created_at": "2025-09-18 14:12",
                "purpose": "run",
                "provider": "manus",
                "is_active": True,
                "blocks": ("chat", "run"),
                "would_block": ("run",),
            }
        ],
    }
    assert not {str(root), str(owner), str(row)} & set(json.dumps(carried).split('"'))


def test_a_record_leaves_published_ids() -> None:
    """The fix plan's own ids, which are published, stay as they are."""
    threads = [Thread(PLAN_THREAD, None, "run", None, None, None, ())]
    carried = example_record(PLAN_FAMILY, "after", threads, NAMES)

    assert (carried["root"], carried["owner"]) == (str(PLAN_ROOT), str(PLAN_OWNER))
    assert carried["after"][0] == {
        "thread": str(PLAN_THREAD),
        "created_at": None,
        "purpose": "run",
        "provider": None,
        "is_active": None,
        "blocks": None,
        "would_block": (),
    }


def test_a_family_without_an_owner_can_be_carried() -> None:
    """A family of threads without an owner has no name for one."""
    assert example_record(Family(PLAN_ROOT, None), "before", [], NAMES) == {
        "root": str(PLAN_ROOT),
        "owner": None,
        "before": [],
    }


def test_what_users_wrote_as_a_purpose_holds_no_id_in_a_record(incident: Environment) -> None:
    """An id that somebody wrote as a provider is named when it comes into a record."""
    thread = Thread(PLAN_THREAD, AT, str(UUID(int=5)), f"x {UUID(int=6)}", True, (), ())
    scrubbed = NAMES.scrub(example_record(PLAN_FAMILY, "before", [thread], NAMES))["before"][0]

    assert str(UUID(int=5)) not in json.dumps(scrubbed)
    assert str(UUID(int=6)) not in json.dumps(scrubbed)
    assert scrubbed["provider"].startswith("x id-")


def test_the_plans_family_is_published() -> None:
    """The family of the fix plan is made of ids that no pseudonym hides."""
    assert {*PLAN_FAMILY} <= PUBLISHED
