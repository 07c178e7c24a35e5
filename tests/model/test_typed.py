"""Values as structs, in several threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from incident_lib import paths

# The threads change places as often as they can, so that the first uses of a struct meet.
TWO_THREADS = """
import sys, threading
from pathlib import Path
from incident_lib.records import RunFolder
sys.setswitchinterval(1e-6)
together = threading.Barrier(2)
def read():
    together.wait()
    RunFolder(Path(sys.argv[1])).read()
threads = [threading.Thread(target=read) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("attempt", range(4))
def test_two_threads_read_a_record_at_once(attempt: int) -> None:
    """Two threads of a new process that both read their first record live on: msgspec alone ends it by SIGSEGV."""
    command = [sys.executable, "-c", TWO_THREADS, str(paths.EXAMPLE_RUN)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
