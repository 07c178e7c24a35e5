"""The command `papermill`: as a shell starts it, and in this process with a forked kernel.

The second takes a tenth of the CPU time: no interpreter is started, for the command or for the kernel.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from incident_lib import paths
from incident_lib.runs.kernels import Kernels

ENGINE = "forked"


@dataclass
class Ran:
    """A run of papermill in its own folder."""

    folder: Path
    code: int
    stderr: str

    @property
    def contents(self) -> Any:
        """The notebook that papermill wrote."""
        return nbformat.read(self.folder / "out.ipynb", as_version=4)

    def outputs(self) -> list[str]:
        """The texts of all outputs, errors included, in order."""
        outputs = [output for cell in self.contents.cells for output in cell.get("outputs", ())]
        texts = [
            output.get("text") or "\n".join(output.get("traceback", ())) or output.get("data", {}).get("text/plain", "")
            for output in outputs
        ]
        return [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in texts]

    def record(self, environment: str) -> dict[str, Any]:
        """The record of the only run of an environment."""
        (file,) = (self.folder / "runs" / environment).glob("*/record.json")
        contents: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return contents

    def injected(self) -> set[str]:
        """The names in the cell that papermill injected."""
        (cell,) = [cell for cell in self.contents.cells if "injected-parameters" in cell.metadata.get("tags", ())]
        return set(re.findall(r"^(\w+) = ", cell.source, re.MULTILINE))


def command(notebook: str, *words: str) -> list[str]:
    """Papermill's command line."""
    return [sys.executable, "-m", "papermill", str(paths.NOTEBOOKS / f"{notebook}.ipynb"), "out.ipynb", *words]


def variables(folder: Path, address: str) -> dict[str, str]:
    """The variables of a scheduler that knows one environment."""
    return {"INCIDENT_RUNS": str(folder / "runs"), "INCIDENT_STAGING_URL": address}


def papermill(folder: Path, address: str, notebook: str, *words: str, **more: str) -> Ran:
    """Run a notebook as a scheduler does, from a folder outside the project, maybe with more variables."""
    ran = subprocess.run(
        command(notebook, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        cwd=folder,
        env={**os.environ, **variables(folder, address), **more},
    )
    return Ran(folder, ran.returncode, ran.stderr)


def papermill_here(folder: Path, address: str, notebook: str | Path, *words: str, **more: str) -> Ran:
    """Run a notebook with papermill's command in this process, and a forked kernel."""
    source = notebook if isinstance(notebook, Path) else paths.NOTEBOOKS / f"{notebook}.ipynb"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables(folder, address), **more}.items():
            patch.setenv(name, value)
        code, _, stderr = invoke(
            str(source), str(folder / "out.ipynb"), *words, "--engine", ENGINE, "--no-progress-bar"
        )
    return Ran(folder, code, stderr)


def invoke(*words: str) -> tuple[int, str, str]:
    """Call papermill's command: its exit code, its output, and the error with which its process would end."""
    from papermill.cli import papermill as called
    from papermill.engines import NBClientEngine, papermill_engines

    class Forked(NBClientEngine):  # type: ignore[misc]
        """Papermill's own engine with a forked kernel."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            """Execute the cells."""
            with Kernels(1) as kernels:
                return super().execute_managed_notebook(nb_man, kernel_name, km=kernels.take(), **options)

    papermill_engines.register(ENGINE, Forked)
    ran = CliRunner().invoke(called, words)
    return ran.exit_code, ran.stdout, str(ran.exception or "")
