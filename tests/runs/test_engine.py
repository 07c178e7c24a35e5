"""The notebook's file while it is executed, and afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbformat.reader import NotJSONError

from incident_lib.runs.kernels import ENGINE, KERNEL
from incident_lib.runs.runner import load_papermill as papermill_of_runs
from tests.support import tcp

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
CELLS = (
    "print('first')",
    "import time\ntime.sleep(1.1)\nprint('second')",
    "import pathlib\nwhile not pathlib.Path({go!r}).exists():\n    time.sleep(0.05)\nprint('third')",
    "1 / {divisor}",
)


def notebook(folder: Path, divisor: int = 1) -> Path:
    """A notebook whose third cell waits for a file `go`, and whose last one divides."""
    cells = [
        nbformat.v4.new_code_cell(source.format(go=str(folder / "go"), divisor=divisor) if "{" in source else source)
        for source in CELLS
    ]
    metadata = {"kernelspec": {"name": KERNEL, "display_name": KERNEL, "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "in.ipynb")
    return folder / "in.ipynb"


def outputs(out: Path) -> list[nbformat.NotebookNode]:
    """The outputs of all cells in a notebook file; none if there is no file."""
    cells = nbformat.read(out, as_version=4).cells if out.exists() else []
    return [output for cell in cells for output in cell.get("outputs", ())]


def printed(out: Path) -> list[str]:
    """What the cells of a notebook file have printed."""
    return [output.text.strip() for output in outputs(out) if output.output_type == "stream"]


def printed_so_far(out: Path) -> list[str]:
    """The same; nothing while the file is being written."""
    with suppress(NotJSONError):
        return printed(out)
    return []


def test_a_notebook_is_saved_while_it_is_executed(tmp_path: Path) -> None:
    """While a cell runs, the file has the outputs of the cells before it; at the end, those of all."""
    execute, _ = papermill_of_runs()
    source, out = notebook(tmp_path), tmp_path / "out.ipynb"
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(execute, source, out, engine_name=ENGINE, progress_bar=False)
        try:
            tcp.wait_for(lambda: printed_so_far(out) == ["first", "second"])
        finally:
            (tmp_path / "go").touch()
        running.result()

    assert printed(out) == ["first", "second", "third"]


def test_a_notebook_that_fails_is_saved(tmp_path: Path) -> None:
    """After an error, the file has the outputs of all cells before it, and the error."""
    execute, errors = papermill_of_runs()
    source, out = notebook(tmp_path, divisor=0), tmp_path / "out.ipynb"
    (tmp_path / "go").touch()
    with pytest.raises(errors):
        execute(source, out, engine_name=ENGINE, progress_bar=False)

    assert printed(out) == ["first", "second", "third"]
    assert [output.ename for output in outputs(out) if output.output_type == "error"] == ["ZeroDivisionError"]
