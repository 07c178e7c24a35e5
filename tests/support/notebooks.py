"""Notebooks of four cells in place of the project's, for tests of what executes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import nbformat

from incident_lib import paths
from incident_lib.runs.kernels import KERNEL
from incident_lib.runs.runner import NOTEBOOKS

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = {
    "01_investigate": 'incident = il.begin("01_investigate", environment=environment, run=run)',
    "02_migrate": 'incident = il.begin("02_migrate", environment=environment, confirm=confirm, run=run)',
    "03_postmortem": "incident = None",
}
AFTER_BEGIN = 3  # the place of a cell


def write_short(folder: Path) -> Path:
    """Write the three notebooks with the real parameters, the import, `begin`, and a last cell; their folder."""
    folder.mkdir()
    metadata = {"kernelspec": {"name": KERNEL, "display_name": KERNEL, "language": "python"}}
    for name in NOTEBOOKS:
        (given,) = [
            cell
            for cell in nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
            if "parameters" in cell.metadata.get("tags", ())
        ]
        sources = ["import incident_lib as il", BEGIN[name], "incident and incident.finish()"]
        cells = [nbformat.v4.new_code_cell(given.source, metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / f"{name}.ipynb")
    return folder


def insert(folder: Path, name: str, source: str, place: int = AFTER_BEGIN) -> None:
    """Insert a code cell into a notebook, by default after the cell of `begin`."""
    contents = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    contents.cells.insert(place, nbformat.v4.new_code_cell(source))
    nbformat.write(contents, folder / f"{name}.ipynb")


def instead(folder: Path, notebooks: Path) -> dict[str, str]:
    """The variables of processes that use these notebooks in place of the project's; writes a module into `folder`."""
    started = f"import pathlib, incident_lib.paths\nincident_lib.paths.NOTEBOOKS = pathlib.Path({str(notebooks)!r})\n"
    (folder / "sitecustomize.py").write_text(started, "utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
