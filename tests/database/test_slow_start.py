"""An embedded server that needs longer to start than its package waits."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.database import demo

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
SECONDS = 12  # the package waits for 10


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a stopped server, whose next start takes longer than the package waits: it waits for an archive."""
    home = Path(tempfile.mkdtemp(prefix="slow-"))
    monkeypatch.setenv("INCIDENT_DEMO_DIR", str(home))
    demo.url()
    demo.stop()
    data = home / f"pg{demo.VERSION}"
    waited = data / "waited"
    command = f"test -e {waited} || {{ touch {waited}; sleep {SECONDS}; }}; false"
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = '{command}'\nhot_standby = off\n")
    (data / "recovery.signal").touch()
    shutil.chown(data / "recovery.signal", (data / "PG_VERSION").owner())
    yield data
    demo.stop()
    shutil.rmtree(home, ignore_errors=True)


def test_a_slow_start_is_waited_for(slow: Path) -> None:
    """A server that takes connections only after 12 s is waited for, and its databases are there."""
    with psycopg.connect(demo.url()) as connection:
        (threads,) = connection.execute("SELECT count(*) FROM public.q_threads").fetchone() or (0,)

    assert (slow / "waited").exists()
    assert threads == 5830
