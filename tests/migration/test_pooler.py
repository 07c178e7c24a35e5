"""PgBouncer between us and the server: refused in transaction mode, with the cure; used in session mode."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Barrier

import pytest

from incident_lib.analysis.investigate import investigate
from incident_lib.database import Environment, is_transaction_pooled, reading, side_by_side
from incident_lib.experiments import rehearse
from incident_lib.migration.executor import apply
from incident_lib.migration.plan import plan_change
from incident_lib.migration.preflight import run_preflight
from incident_lib.model.checks import Status
from incident_lib.model.errors import Refused
from tests.support.threads import enlarged

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed: no command `pgbouncer`"
)

CONFIGURATION = """\
[databases]
* = host={socket} port=5432 user=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6543
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
logfile = {folder}/log
pidfile = {folder}/pid
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooled(incident, request):
    """The environment of `incident` behind a PgBouncer in the mode, and with so many backends, as the test asks for."""
    mode, size = request.param if isinstance(request.param, tuple) else (request.param, 20)
    folder = Path(tempfile.mkdtemp(prefix="bouncer-"))
    folder.chmod(0o777)
    socket = re.search(r"host=([^&]+)", incident.address)[1]
    (folder / "ini").write_text(CONFIGURATION.format(socket=socket, folder=folder, mode=mode, size=size))
    bouncer = subprocess.Popen(["pgbouncer", "-q", "-u", "pgserver", str(folder / "ini")])
    address = re.sub(r"host=[^&]+", f"host={folder}&port=6543", incident.address)
    for _ in range(100):
        if (folder / ".s.PGSQL.6543").exists():
            break
        time.sleep(0.05)
    yield Environment("staging", "INCIDENT_STAGING_URL", address)
    bouncer.terminate()
    bouncer.wait()
    shutil.rmtree(folder)


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_a_transaction_pooler_is_refused_with_the_cure(pooled):
    """Behind a pooler in transaction mode nothing is begun."""
    with pytest.raises(Refused) as refused:
        apply(pooled, confirm="staging")
    assert str(refused.value) == (
        "A pooler in transaction mode is between this client and the server.\n"
        "  why:  Settings would leak to other clients through it, and the advisory lock would be stranded.\n"
        "  next: Use its session port, or the server's own address."
    )


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_an_investigation_works_through_a_transaction_pooler(pooled):
    """Looking works through any pooler, and the preflight says why applying would not."""
    with reading(pooled) as connection:
        found = investigate(connection)
        checks = run_preflight(connection, pooled, found)
    assert found.counts.blocked.chat > 0
    assert [check.name for check in checks.checks if check.status is Status.FAIL] == ["pooler"]


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_two_connections_share_a_snapshot_through_a_transaction_pooler(pooled):
    """Of a large table, two questions are asked at the same time."""
    both = Barrier(2, timeout=5)
    with reading(enlarged(pooled)) as connection:
        assert side_by_side(connection, lambda _: both.wait(), lambda _: both.wait()) in [(0, 1), (1, 0)]


@pytest.mark.parametrize("pooled", [("transaction", 1)], indirect=True)
def test_a_pooler_with_one_backend(pooled):
    """A second connection gets none while the first one has its transaction: the questions do not wait for it."""
    began = time.monotonic()
    with reading(enlarged(pooled)) as connection:
        assert side_by_side(connection, lambda _: time.sleep(0.5), lambda _: "asked") == (None, "asked")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_an_idle_transaction_pool_is_recognised_every_time(pooled):
    """However the pool hands its backends out, transaction mode is seen."""
    assert [is_transaction_pooled(pooled) for _ in range(10)] == [True] * 10


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_a_rehearsal_works_through_a_transaction_pooler(pooled):
    """A rehearsal copies through any pooler, and says that the fix has to be applied without it."""
    report = rehearse(pooled)
    assert (report.works, report.why, report.next) == (
        True,
        "On a copy of 1,408 active threads the fix was applied while clients wrote, was rolled back, and was applied "
        "again. It has to be applied without the transaction pooler: with this address and role it is refused.",
        "Use its session port, or the server's own address.",
    )


@pytest.mark.parametrize("pooled", ["session"], indirect=True)
def test_a_session_pooler_is_used(pooled):
    """In session mode the fix is applied through the pooler."""
    done = apply(pooled, confirm="staging")
    assert plan_change(done.after).steps == ()


def test_a_direct_connection_is_no_pooler(incident):
    """Without a pooler none is seen."""
    assert is_transaction_pooled(incident) is False
