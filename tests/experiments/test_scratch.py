"""Scratch databases: they exist while they are used, and are always dropped."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.database import demo
from incident_lib.experiments.scratch import nearest_version, scratch_database
from incident_lib.experiments.synthetic import fill_threads
from tests.support.scratch import scratch_databases

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 400


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    """The running embedded server: a scratch database neither starts nor stops it."""
    demo.maintenance(demo.VERSION)
    yield
    demo.stop()


def test_a_scratch_database_is_dropped() -> None:
    """A scratch database and its copies exist inside the block, and are dropped at its end."""
    with scratch_database("a test") as one:
        fill_threads(one, THREADS)
        with scratch_database("a test", copy_of=one) as two, psycopg.connect(two.address) as connection:
            assert connection.execute("SELECT count(*) FROM public.q_threads").fetchone() == (THREADS,)
            assert len(scratch_databases()) == 2

    assert scratch_databases() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_scratch_database_is_dropped_whatever_ends_it(error: type[BaseException]) -> None:
    """An error or Ctrl-C also drops the scratch database, even while a client is connected to it."""
    with pytest.raises(error), scratch_database("a test") as one, psycopg.connect(one.address):
        raise error

    assert scratch_databases() == []


KILLED = (
    "from incident_lib.experiments.scratch import scratch_database\n"
    "with scratch_database('x'):\n    print('made', flush=True)\n    input()"
)


def test_a_killed_processs_database_is_dropped_by_the_next() -> None:
    """The next process drops the database of a killed process, and no database that is in use."""
    with scratch_database("a test") as mine:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "made\n"
            assert len(scratch_databases()) == 2
            child.kill()
        wait_until_alone()
        with scratch_database("a test"), psycopg.connect(mine.address):
            assert len(scratch_databases()) == 2

    assert scratch_databases() == []


def wait_until_alone() -> None:
    """Wait until the server has closed the session of a client."""
    with psycopg.connect(demo.maintenance(demo.VERSION), autocommit=True) as connection:
        for _ in range(200):
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'incident_lib incident_scratch_%'"
            ).fetchone()
            if found == (1,):
                return
            time.sleep(0.02)
    raise AssertionError("the killed client's session is still there")


@pytest.fixture
def stopped(embedded: None) -> Iterator[None]:
    """The embedded server, stopped; it is started again afterwards."""
    demo.stop()
    yield
    demo.maintenance(demo.VERSION)


def test_a_server_that_was_started_is_stopped(stopped: None) -> None:
    """An embedded server that was not running is started and stopped."""
    with scratch_database("a test"):
        assert demo.is_running() is True

    assert demo.is_running() is False


def test_a_server_that_others_use_is_not_stopped(stopped: None) -> None:
    """An embedded server to which another client has connected keeps running."""
    with scratch_database("a test"):
        other = psycopg.connect(demo.maintenance(demo.VERSION))

    assert demo.is_running() is True
    other.close()


@pytest.mark.parametrize(
    ("server_version", "version"),
    [(190000, 18), (180004, 18), (170002, 18), (160009, 16), (150018, 16), (140000, 16)],
)
def test_the_nearest_version(server_version: int, version: int) -> None:
    """A copy is made on the server of the nearest version; the later one of two."""
    assert nearest_version(server_version) == version
