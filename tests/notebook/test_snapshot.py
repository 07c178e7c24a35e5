"""One snapshot: one transaction that runs each query once, with consistent results."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec
import pandas as pd
import psycopg
import pytest

from incident_lib import paths
from incident_lib.analysis import PLAN_FAMILY
from incident_lib.model import (
    PLAN_OWNER,
    PLAN_ROOT,
    PLAN_THREAD,
    PUBLISHED,
    ExampleThread,
    Family,
    Pseudonyms,
    Thread,
)
from incident_lib.notebook import snapshot
from incident_lib.notebook.snapshot import SnapshotData, _named, take_snapshot
from incident_lib.notebook.snapshot_frames import different_first
from tests.conftest import add

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

NAMES = Pseudonyms("a key")
AT = datetime(2025, 9, 18, 14, 12, 33, tzinfo=UTC)


# One transaction


@pytest.fixture
def statements(server: str, incident: Environment, tmp_path: Path) -> list[str]:
    """The statements that the server logged for one snapshot of the demo's threads, in order."""
    with psycopg.connect(server, autocommit=True) as admin:
        (logs,) = admin.execute("SELECT pg_current_logfile()").fetchone() or (None,)
        (data,) = admin.execute("SHOW data_directory").fetchone() or ("",)
    log = paths.Path(data) / (logs or "log")
    database = psycopg.conninfo.conninfo_to_dict(incident.address)["dbname"]
    with psycopg.connect(incident.address, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE \"{database}\" SET log_statement = 'all'")
    begin = log.stat().st_size
    take_snapshot(incident, purpose_since=AT, names=NAMES, blocked_file=tmp_path / "blocked.csv")
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode()
    return re.findall(r"(?:statement|execute <unnamed>): +(.*?)(?=\n\d{4}-|\Z)", text, re.DOTALL)


def test_each_query_runs_once(statements: list[str]) -> None:
    """Each query of the snapshot is executed once."""
    questions = Counter(found[1] for text in statements if (found := re.search(r"-- Question: ([^\n]+)", text)))

    assert len(questions) == 17
    assert {question: count for question, count in questions.items() if count != 1} == {}


def test_it_is_one_transaction(statements: list[str]) -> None:
    """All queries are in one REPEATABLE READ, READ ONLY transaction."""
    begins = [place for place, text in enumerate(statements) if text.startswith("BEGIN") and "REPEATABLE READ" in text]
    places = [place for place, text in enumerate(statements) if "-- Question:" in text]
    ends = [place for place, text in enumerate(statements) if text.startswith("COMMIT")]

    assert len(begins) == 1
    assert "READ ONLY" in statements[begins[0]]
    assert begins[0] < min(places)
    assert max(places) < max(ends)


def test_the_results_are_consistent(incident: Environment, tmp_path: Path) -> None:
    """Counts, blocked families, blockers and provider conflicts are consistent."""
    found = take_snapshot(incident, purpose_since=AT, names=NAMES, blocked_file=tmp_path / "blocked.csv")
    lines = (tmp_path / "blocked.csv").read_text("utf-8").splitlines()
    blocked = found.counts.blocked

    assert len(lines) - 1 == (blocked.chat or 0) + (blocked.run or 0)
    assert sum(kind.families for kind in found.blocked_by or []) == len(lines) - 1
    assert found.residual.residual_conflicts == found.counts.residual_conflicts
    assert found.residual.unguarded_threads == found.counts.unguarded_threads


def test_only_the_first_blocked_families_are_stored(
    incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot stores only the first blocked families; the file has all of them."""
    monkeypatch.setattr(snapshot, "HEAD", 100)
    found = take_snapshot(incident, names=NAMES, blocked_file=tmp_path / "blocked.csv")

    assert len(found.blocked_head) == 100 < (found.counts.blocked.chat or 0)
    assert oct((tmp_path / "blocked.csv").stat().st_mode & 0o777) == "0o600"


def test_the_file_has_times_of_one_format(incident: Environment, tmp_path: Path) -> None:
    """Pandas parses the times of blocked.csv, with and without fractions of a second."""
    with psycopg.connect(incident.address) as connection:
        connection.execute(
            "UPDATE public.q_threads SET created_at = '2025-10-01 10:00:00.5+00' WHERE row_id = %s", [PLAN_THREAD]
        )
    take_snapshot(incident, purpose_since=AT, names=NAMES, blocked_file=tmp_path / "blocked.csv")
    read = pd.read_csv(tmp_path / "blocked.csv", parse_dates=["since"])

    assert str(read["since"].dtype) == "datetime64[us, UTC]"
    assert (read["since"] == pd.Timestamp("2025-10-01 10:00:00.5", tz="UTC")).sum() == 1


def test_the_first_ten_differ_in_what_blocks_them(incident: Environment) -> None:
    """The first ten blocked families have every kind of blocking thread, the others are in the order of the list."""
    found = take_snapshot(incident, purpose_since=AT, names=NAMES).blocked_head
    shown = different_first(found)
    kinds = {(each.blocked_for, each.blocking_purpose, each.blocking_provider) for each in found}

    assert {(each.blocked_for, each.blocking_purpose, each.blocking_provider) for each in shown[:10]} == kinds
    assert len(kinds) == 7
    assert sorted(map(id, shown)) == sorted(map(id, found))
    assert [each.blocked_for for each in shown[:10]] == sorted(each.blocked_for for each in shown[:10])


def test_its_repr_is_short(incident: Environment) -> None:
    """The repr of a snapshot is one line."""
    text = repr(take_snapshot(incident, names=NAMES))

    assert text.count("\n") == 0
    assert len(text) < 300


# The example family


def taken(environment: Environment, since: datetime | None = None) -> SnapshotData:
    """A snapshot of an environment."""
    return take_snapshot(environment, purpose_since=since, names=NAMES)


def test_the_plans_family_is_the_example_if_it_has_threads(incident: Environment) -> None:
    """The fix plan's own family is the example if it has a thread."""
    assert taken(incident).example_family == PLAN_FAMILY == Family(PLAN_ROOT, PLAN_OWNER)


def test_the_plans_family_is_the_example_even_if_others_are_blocked(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """The fix plan's family is the example even if its threads are inactive and others are blocked."""
    add(connection, uuid4(), uuid4(), created_at=AT)
    add(connection, PLAN_ROOT, PLAN_OWNER, is_active=False)

    assert taken(environment).example_family == PLAN_FAMILY


def test_without_the_plans_family_the_example_is_blocked_longest(
    environment: Environment, connection: psycopg.Connection
) -> None:
    """Without the fix plan's family, the example is the family that has been blocked for chat longest."""
    blocked = Family(UUID(int=9), UUID(int=9))
    add(connection, UUID(int=1), UUID(int=1), purpose="chat", created_at=AT.replace(year=2020))
    add(connection, *blocked, created_at=AT)
    add(connection, UUID(int=2), UUID(int=2), created_at=AT.replace(year=2026))
    add(connection, UUID(int=3), None, created_at=AT.replace(year=2019))

    assert taken(environment, AT.replace(year=2018)).example_family == blocked


def test_without_purpose_since_the_example_is_blocked(environment: Environment, connection: psycopg.Connection) -> None:
    """Without `purpose_since`, the example is a family that is blocked for chat."""
    add(connection, UUID(int=1), UUID(int=1), purpose="chat")
    add(connection, UUID(int=2), UUID(int=2))

    assert taken(environment).example_family == Family(UUID(int=2), UUID(int=2))


@pytest.mark.parametrize("purpose", ["chat", None])
def test_the_example_without_a_family_blocked_for_chat(
    environment: Environment, connection: psycopg.Connection, purpose: str | None
) -> None:
    """If no family is blocked for chat, the example is one blocked for run, or has no thread."""
    if purpose:
        add(connection, UUID(int=1), UUID(int=1), purpose=purpose)

    assert taken(environment).example_family == (Family(UUID(int=1), UUID(int=1)) if purpose else PLAN_FAMILY)


def test_the_example_is_the_same_before_and_after(environment: Environment, connection: psycopg.Connection) -> None:
    """A later snapshot has the family of an earlier one, even if another family is blocked longer now."""
    add(connection, UUID(int=2), UUID(int=2), created_at=AT)
    before = taken(environment, AT)
    add(connection, UUID(int=1), UUID(int=1), created_at=AT.replace(year=2020))
    after = take_snapshot(environment, purpose_since=AT, names=NAMES, example=before.example_family)

    assert after.example_family == before.example_family == Family(UUID(int=2), UUID(int=2))


# The record


def test_a_record_has_pseudonyms_of_the_family(environment: Environment, connection: psycopg.Connection) -> None:
    """A record of the example has pseudonyms instead of ids, the same as elsewhere."""
    root, owner = UUID(int=2**100 + 1), UUID(int=2**100 + 2)
    row = add(connection, root, owner, created_at=AT, provider="manus")
    fields = taken(environment).as_record("before", NAMES)
    thread = ExampleThread(
        thread=str(NAMES.name("thread", row)),
        created_at="2025-09-18 14:12",
        purpose="run",
        provider="manus",
        is_active=True,
        blocks=["chat", "run"],
        would_block=["run"],
    )

    assert (fields["example"].root, fields["example"].owner) == (NAMES.name("root", root), NAMES.name("owner", owner))
    assert fields["example_threads"].before == [thread]
    assert not any(str(each) in str(msgspec.to_builtins(fields)) for each in (root, owner, row))


def test_a_record_has_published_ids() -> None:
    """The published ids of the fix plan are not replaced in a record, and unknown values stay unknown."""
    thread = Thread(
        row_id=PLAN_THREAD,
        created_at=None,
        purpose="run",
        provider=None,
        is_active=None,
        blocks=None,
        would_block=(),
    )

    assert msgspec.structs.asdict(_named(thread, NAMES)) == {
        "thread": str(PLAN_THREAD),
        "created_at": None,
        "purpose": "run",
        "provider": None,
        "is_active": None,
        "blocks": None,
        "would_block": [],
    }


def test_the_plans_family_is_published() -> None:
    """The ids of the fix plan's family are published, and no pseudonym replaces them."""
    assert {*PLAN_FAMILY} <= PUBLISHED
