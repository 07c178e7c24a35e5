"""A real PostgreSQL for each test process, and a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from incident_lib import demo
from incident_lib.clients import NewThread, insert_thread
from incident_lib.environments import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator

# Set before anything resolves `demo`, so that tests never touch the demo of the person who runs them.
_HOME = Path(tempfile.mkdtemp(prefix="incident-"))
os.environ["INCIDENT_DEMO_DIR"] = str(_HOME)
os.environ["INCIDENT_RUNS"] = str(_HOME / "runs")
for _variable in [name for name in os.environ if name.startswith("INCIDENT_") and name.endswith(("_URL", "_KEY"))]:
    del os.environ[_variable]

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")


def pytest_sessionfinish() -> None:
    """Stop this process's server and remove its folder."""
    demo.stop()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> str:
    """The address of the server's maintenance database; it holds the demo's template and an empty one."""
    address = demo.url("demo").replace("/demo?", "/postgres?")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty_template")
    with psycopg.connect(address.replace("/postgres?", "/empty_template?")) as connection:
        demo.load(connection, threads=False)
    return address


def _copied(server: str, template: str) -> Iterator[Environment]:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield Environment("staging", "INCIDENT_STAGING_URL", server.replace("/postgres?", f"/{name}?"))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def environment(server: str) -> Iterator[Environment]:
    """An environment `staging` of a database of this test alone: the incident's table, without a thread."""
    yield from _copied(server, "empty_template")


@pytest.fixture
def incident(server: str) -> Iterator[Environment]:
    """An environment `staging` of a database of this test alone: the demo's threads, the original guard."""
    yield from _copied(server, "incident_template")


@pytest.fixture
def connection(environment: Environment) -> Iterator[psycopg.Connection]:
    """An autocommit connection of the table's owner to `environment`."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def staging(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """`environment`, resolvable by its name as users do it: through its variable."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    return environment


def add(connection: psycopg.Connection, root: UUID | None, owner: UUID | None, **columns: object) -> UUID:
    """Insert a thread, active and of purpose `run` unless told otherwise, with the prompt that it needs."""
    if root is not None:
        connection.execute("INSERT INTO public.q_prompts VALUES (%s) ON CONFLICT DO NOTHING", [root])
    return insert_thread(connection, NewThread(root, owner, **columns))  # type: ignore[arg-type]
