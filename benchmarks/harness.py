"""What benchmarks share: a server with threads by the million, made once; a verdict for each ratio."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import psycopg

import data

HOME = Path(os.environ.get("INCIDENT_BENCH_DIR") or Path(tempfile.gettempdir()) / "incident-bench")
os.environ["INCIDENT_DEMO_DIR"] = str(HOME)

from incident_lib import demo  # noqa: E402 - it reads the variable
from incident_lib.environments import Environment  # noqa: E402


def database(threads: int) -> Environment:
    """An environment of so many threads under the original guard; made where it is not there yet."""
    name = f"bench_{threads}"
    maintenance = demo.url("demo").replace("/demo?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
        if not there:
            print(f"making {threads:,} threads …", flush=True)
            connection.execute(f"CREATE DATABASE {name}")
    address = maintenance.replace("/postgres?", f"/{name}?")
    if not there:
        with psycopg.connect(address, autocommit=True) as connection:
            data.fill(connection, threads)
    return Environment("bench", "a benchmark", address)


def machine(environment: Environment) -> str:
    """The machine and the versions, for the head of a result."""
    with psycopg.connect(environment.address) as connection:
        (version,) = connection.execute("SHOW server_version").fetchone() or ("?",)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, PostgreSQL {version}"
    )


def passed(what: str, *, good: bool) -> str:
    """One line: what was to hold, and whether it did."""
    return f"{'PASS' if good else 'FALLS SHORT'}: {what}"
