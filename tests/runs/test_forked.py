"""Kernels that are forked from a process that has imported everything: each is as if it had been started alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from ast import literal_eval
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from incident_lib.runs.forked import AVAILABLE, SERVER, ForkServer
from tests.support import tcp
from tests.support.kernel import Kernel, is_fork_server, is_kernel, kernels_of, started

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="kernels are not forked on this system"),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Kernel, Kernel]]:
    """Two forked kernels of this process."""
    with ExitStack() as stack:
        yield stack.enter_context(started()), stack.enter_context(started())


def both(pair: tuple[Kernel, Kernel], code: str) -> list[object]:
    """The value of the last line of a cell in each of two kernels."""
    return [literal_eval(kernel.run(code).text) for kernel in pair]


def test_each_kernel_is_a_process_of_its_own(pair: tuple[Kernel, Kernel]) -> None:
    """Two kernels are two processes, each the leader of its session, and both children of the fork server."""
    pids = both(pair, "import os; os.getpid()")

    assert len({os.getpid(), SERVER.pid, *pids}) == 4
    assert both(pair, "os.getsid(0)") == pids
    assert both(pair, "os.getppid()") == [SERVER.pid] * 2


def test_the_fork_server_has_one_thread(pair: tuple[Kernel, Kernel]) -> None:
    """The process that forks has no thread but its main one."""
    assert psutil.Process(SERVER.pid).num_threads() == 1


def test_libraries_are_there_without_an_import(pair: tuple[Kernel, Kernel]) -> None:
    """A kernel has pandas and matplotlib before its first import, and no name of them."""
    asked = "import sys; ({'pandas', 'matplotlib'} <= set(sys.modules), 'pandas' in dir(), 'il' in dir())"

    assert both(pair, asked) == [(True, False, False)] * 2


def test_a_kernel_has_no_debugger(pair: tuple[Kernel, Kernel]) -> None:
    """A forked kernel does not import the debugger, which takes longer than all else of its start."""
    assert both(pair, "import sys; [name for name in ('pydevd', 'debugpy') if sys.modules.get(name)]") == [[], []]


def test_a_name_of_one_is_not_in_the_other(pair: tuple[Kernel, Kernel]) -> None:
    """What a cell of one kernel defines or changes in a module is not in the other."""
    pair[0].run("mine = 1; import pandas; pandas.mine = 1")
    assert both(pair, "import pandas; ('mine' in dir(), hasattr(pandas, 'mine'))") == [(True, True), (False, False)]


@pytest.mark.parametrize("code", ["import random; random.random()", "import numpy; float(numpy.random.random())"])
def test_no_two_kernels_draw_the_same_numbers(pair: tuple[Kernel, Kernel], code: str) -> None:
    """The random numbers of two kernels differ."""
    assert len(set(both(pair, code))) == 2


def test_no_connection_is_inherited(pair: tuple[Kernel, Kernel]) -> None:
    """No kernel has a socket of the fork server or of the other kernel, nor a descriptor of the other's process."""
    pids = [int(str(pid)) for pid in both(pair, "import os; os.getpid()")]
    sockets = [sockets_of(pid) for pid in (SERVER.pid, *pids) if pid]

    assert all(sockets)
    assert sum(map(len, sockets)) == len(set.union(*sockets))
    assert [name for pid in pids for name in open_files(pid) if "pidfd" in name] == []


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    return [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]


def sockets_of(pid: int) -> set[str]:
    """The sockets of a process."""
    return {name for name in open_files(pid) if name.startswith("socket:")}


def test_a_kernel_has_the_variables_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has the variables of this process when it is started, and none that were there before alone."""
    monkeypatch.setenv("INCIDENT_EARLIER_URL", "x")
    assert SERVER.is_usable()
    server = SERVER.pid
    monkeypatch.delenv("INCIDENT_EARLIER_URL")
    monkeypatch.setenv("INCIDENT_LATER_URL", "y")
    with started() as kernel:
        names = literal_eval(kernel.run("import os; sorted(n for n in os.environ if n.endswith('ER_URL'))").text)
        threads = kernel.run("'OPENBLAS_NUM_THREADS' in os.environ").text

    assert SERVER.pid == server
    assert names == ["INCIDENT_LATER_URL"]
    assert threads == str("OPENBLAS_NUM_THREADS" in os.environ)


def test_a_killed_kernel_does_not_affect_another() -> None:
    """When a kernel is killed, the other one goes on, and the next one is forked from the same process."""
    with started() as first, started() as second:
        server = SERVER.pid
        os.kill(int(second.run("import os; os.getpid()").text), signal.SIGKILL)
        assert first.run("1 + 1").text == "2"
        with started() as third:
            assert third.run("1 + 1").text == "2"
        assert SERVER.pid == server


def test_an_interrupt_stops_a_cell() -> None:
    """SIGINT to a kernel raises KeyboardInterrupt in its cell, and the kernel goes on."""
    with started() as kernel:
        raised = kernel.run("import os, signal; os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(20)").error
        assert raised.endswith("KeyboardInterrupt: ")
        assert kernel.run("1 + 1").text == "2"


def test_a_killed_fork_server_is_replaced() -> None:
    """When the fork server is killed, the next kernel has a new one."""
    assert SERVER.is_usable()
    before = SERVER.pid
    os.kill(int(str(before)), signal.SIGKILL)
    tcp.wait_for(lambda: SERVER.pid is None)
    with started() as kernel:
        assert kernel.run("1 + 1").text == "2"

    assert before != SERVER.pid


def test_a_fork_server_that_is_not_needed_ends_at_once() -> None:
    """A fork server that is closed while it imports does not import to its end."""
    unneeded = ForkServer()
    unneeded.begin()
    process, seconds = psutil.Process(unneeded.pid), time.monotonic()
    unneeded.close()

    assert not process.is_running()
    assert time.monotonic() - seconds < 1


HOLDING = """
import time
from tests.support.kernel import started
with started() as kernel:
    print("started", flush=True)
    time.sleep(600)
"""


def test_no_process_is_left_when_the_worker_is_killed() -> None:
    """When the process that uses the kernels is killed, its fork server and its kernels end."""
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "started\n"
        left = psutil.Process(worker.pid).children(recursive=True)
        assert {(is_kernel(one), is_fork_server(one)) for one in left} == {(True, True), (False, True)}
        worker.kill()
    _, alive = psutil.wait_procs(left, timeout=10)

    assert alive == []


def test_a_kernel_is_in_the_folder_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel is in the working directory of this process."""
    monkeypatch.chdir(tmp_path)
    with started() as kernel:
        assert literal_eval(kernel.run("import os; os.getcwd()").text) == str(tmp_path)


def test_where_an_import_starts_a_thread_nothing_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a module starts a thread, kernels are interpreters of their own."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=[600], daemon=True).start()\n", "utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with started() as kernel:
        assert kernel.run("1 + 1").text == "2"
        (running,) = [one for one in kernels_of(psutil.Process()) if "ipykernel_launcher" in one.cmdline()]
        assert running.ppid() == os.getpid()

    assert tcp.wait_for(lambda: not running.is_running())
