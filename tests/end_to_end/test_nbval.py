"""nbval, started in the folder of the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from incident_lib import paths

pytestmark = pytest.mark.slow


def test_nbval_works_in_the_folder_of_the_notebooks() -> None:
    """`cd notebooks && pytest --nbval` compares a notebook with its committed outputs, and finds no difference."""
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "03_postmortem.ipynb"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=paths.NOTEBOOKS, env=environ
    )

    assert ran.returncode == 0, ran.stdout
