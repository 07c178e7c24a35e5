"""The demo's clock: its scenario ends within the last day, in its threads, its log and its `purpose_since` alike."""

from __future__ import annotations

import csv
import runpy
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from incident_lib import paths
from incident_lib.database import demo, purpose_since, resolve_environment
from incident_lib.logs import read_rejections
from incident_lib.model import Failed

DAY = timedelta(days=1)


@pytest.fixture
def address() -> str:
    """A database of the demo, as the incident left it."""
    return demo.reset("demo_clock")


def test_the_scenario_ends_within_the_last_day(address: str) -> None:
    """The last thing that a client did is less than a day ago, and not in the future."""
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT max(greatest(created_at, last_message_at)) FROM q_threads").fetchone()

    assert row is not None
    assert timedelta() < datetime.now(UTC) - row[0] < 1.5 * DAY


def test_three_weeks_have_passed_since_the_deploy(address: str) -> None:
    """The deploy of `purpose` was three weeks ago, at the hour at which it was in the scenario."""
    came = demo.purpose_since(address)

    assert 21 * DAY <= datetime.now(UTC) - came < 22.5 * DAY
    assert came.time() == demo.PURPOSE_SINCE.time()


def test_every_time_is_moved_alike(address: str) -> None:
    """Each thread's times are those of the file, all moved by the same whole days; what is unknown stays so."""
    moved = demo.purpose_since(address) - demo.PURPOSE_SINCE
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        written = {row["row_id"]: [_later(row[name], moved) for name in NAMES] for row in csv.DictReader(file)}
    with psycopg.connect(address) as connection:
        rows = connection.execute(f"SELECT row_id::text, {', '.join(NAMES)} FROM q_threads").fetchall()

    assert moved % DAY == timedelta()
    assert {row_id: times for row_id, *times in rows} == written


NAMES = ("created_at", "last_message_at")


def _later(written: str, moved: timedelta) -> datetime | None:
    return datetime.fromisoformat(written) + moved if written else None


def test_the_log_is_on_the_clock_of_the_database(address: str) -> None:
    """The demo's log has the rejections of the file, hour by hour, moved like the threads."""
    moved = demo.purpose_since(address) - demo.PURPOSE_SINCE
    ours, theirs = (
        read_rejections([str(file)]).as_record() for file in (demo.server_log(address), paths.DEMO_DATA / "server.log")
    )

    assert [(at, count) for at, count in ours.per_hour] == [(at + moved, count) for at, count in theirs.per_hour]
    assert (ours.failed_attempts, ours.families, ours.owners, ours.bytes_read) == (
        *(1340, 447, 200),
        theirs.bytes_read,
    )


def test_a_given_time_has_precedence(address: str) -> None:
    """The database of the demo tells when the column came, unless a time is given; nothing tells it elsewhere."""
    found = resolve_environment("demo", database="demo_clock")

    assert purpose_since(found, "") == demo.purpose_since(address)
    assert purpose_since(found, "2025-09-22T06:00:00Z") == demo.PURPOSE_SINCE


def test_a_database_without_a_clock_is_refused(address: str) -> None:
    """Where the column's comment does not say when it came, the message says how to load the database again."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("COMMENT ON COLUMN q_threads.purpose IS NULL")

    with pytest.raises(Failed) as error:
        demo.purpose_since(address)
    assert str(error.value) == (
        "The demo's database has no clock.\n"
        "  why:  Its column purpose has no comment that says when it came: an older version loaded it.\n"
        "  next: incident demo reset"
    )


def test_the_clock_is_that_of_the_scenario() -> None:
    """The library knows the deploy and the end of the scenario from which the demo's files were made."""
    scenario = runpy.run_path(str(paths.DEMO_DATA / "scenario.py"))

    assert (scenario["PURPOSE_SINCE"], scenario["END"]) == (demo.PURPOSE_SINCE, demo.CLOCK_STOPS)
