"""Kernels that are begun ahead of their notebooks: what is in them, and that none is left."""

from __future__ import annotations

import psutil
import pytest

from incident_lib.runs.kernels import Kernels

pytestmark = pytest.mark.slow


def running() -> int:
    """How many kernels this process has started that are still there."""
    children = psutil.Process().children()
    return sum("ipykernel_launcher" in child.cmdline() for child in children if child.status() != "zombie")


def test_no_kernel_is_left() -> None:
    """Kernels that were taken, and those that were begun for nobody, end with the block."""
    with Kernels(3) as kernels:
        kernels.take()
        kernels.take()
        assert running() > 0

    assert running() == 0


def test_a_kernel_has_no_names_of_ours() -> None:
    """What was imported ahead is in no notebook's way: its names are not there."""
    with Kernels(1) as kernels:
        manager = kernels.take()
        manager.client_class = "jupyter_client.blocking.BlockingKernelClient"
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        asked = (
            "import sys; ('pandas' in sys.modules, [name for name in dir() if 'incident' in name or 'plot' in name])"
        )
        told: list[str] = []
        client.execute_interactive(asked, output_hook=lambda m: told.extend(m["content"].get("data", {}).values()))
        client.stop_channels()

    assert told == ["(True, [])"]
