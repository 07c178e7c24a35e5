"""Kernels that are started before their notebooks: their contents and their end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from nbformat.v4 import new_code_cell, new_notebook
from papermill import execute_notebook

from incident_lib.runs.kernels import KERNEL, Kernels
from tests.support.kernel import kernels_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def running() -> int:
    """The number of running kernels that this process has started."""
    return len(kernels_of(psutil.Process()))


def test_no_kernel_is_left() -> None:
    """At the end of the block, all kernels end, used or not."""
    with Kernels(3) as kernels:
        kernels.take()
        kernels.take()
        assert running() > 0

    assert running() == 0


def test_no_socket_of_an_earlier_kernel_is_left() -> None:
    """When the next kernel is taken, no socket of the earlier one's client is left for another thread to close."""
    with Kernels(2) as kernels:
        client = kernels.take().client()
        client.start_channels()
        assert client.channels_running
        kernels.take()
        left = client.channels_running

    assert not left


def test_all_sockets_belong_to_one_thread(tmp_path: Path) -> None:
    """A notebook starts no thread that has a socket: neither its heartbeat's nor one that starts the next kernel."""
    source, out = tmp_path / "two.ipynb", tmp_path / "out.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1"), new_code_cell("2")]), source)
    before, threads = set(threading.enumerate()), set()
    with Kernels(2) as kernels:
        execute_notebook(
            *(source, out),
            kernel_name=KERNEL,
            km=kernels.take(),
            progress_bar=False,
            on_cell_complete=lambda **_: threads.update(threading.enumerate()),
        )
        kernels.take()
        threads |= set(threading.enumerate())

    assert {one.name for one in threads - before} <= {"MainThread - runner"}  # jupyter_core's: it asks for exit codes


def test_a_kernel_has_no_names_of_preloaded_modules() -> None:
    """A kernel with preloaded modules has no names of them."""
    with Kernels(1) as kernels:
        manager = kernels.take()
        manager.client_factory = BlockingKernelClient
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        asked = (
            "import sys; ('pandas' in sys.modules, [name for name in dir() if 'incident' in name or 'plot' in name])"
        )
        results: list[str] = []
        client.execute_interactive(asked, output_hook=lambda m: results.extend(m["content"].get("data", {}).values()))
        client.stop_channels()

    assert results == ["(True, [])"]


def test_a_kernel_of_another_interpreter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel `python3` that is installed for the user, and does not start, changes nothing: this interpreter runs."""
    stray = tmp_path / "kernels" / "python3"
    stray.mkdir(parents=True)
    (stray / "kernel.json").write_text(
        '{"argv": ["/bin/false", "{connection_file}"], "display_name": "stray", "language": "python"}', "utf-8"
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with Kernels(1) as kernels:
        manager = kernels.take()
        manager.client_factory = BlockingKernelClient
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        said: list[str] = []
        client.execute_interactive(
            "import sys; sys.executable", output_hook=lambda m: said.extend(m["content"].get("data", {}).values())
        )
        client.stop_channels()

    assert KernelSpecManager().get_kernel_spec("python3").display_name == "stray"
    assert said == [repr(sys.executable)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (signal.SIGCONT, ""),
        (signal.SIGSTOP, "Kernel didn't respond in 1 seconds"),
        (signal.SIGKILL, "Kernel died before replying to kernel_info"),
    ],
    ids=["alive", "stopped", "killed"],
)
def test_whether_a_kernel_answers(how: signal.Signals, said: str) -> None:
    """A client waits until its kernel answers; what is wrong with one that does not is said as jupyter_client does."""

    async def wait() -> str:
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=1 if said else 60)
        except RuntimeError as error:
            return str(error)
        return ""

    with Kernels(1) as kernels:
        manager = kernels.take()
        client = manager.client()
        os.kill(int(manager.provisioner.pid), how)
        assert asyncio.run(wait()) == said
        client.stop_channels()
