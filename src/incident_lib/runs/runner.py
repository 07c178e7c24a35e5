"""The notebooks of one environment, executed through papermill, and how the run really ended."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import (
    PURPOSE,
    Failed,
    IncidentError,
    NotebookProgress,
    Refused,
    RunStatus,
    UsageError,
    pseudonyms_for,
)
from incident_lib.notebook import assigned_names
from incident_lib.records import RunFolder, status_after
from incident_lib.runs.kernels import ENGINE, KERNEL, Kernels

if TYPE_CHECKING:
    from collections.abc import Callable

NOTE_SECONDS = 0.2  # from one note of the progress in the record to the next
NOTEBOOKS = ("01_investigate", "02_migrate", "03_postmortem")


@dataclass(frozen=True)
class Job:
    """One environment to run: all that a worker gets. Addresses and passwords are not in it."""

    environment: str
    confirmed: bool
    purpose_since: str
    folder: Path  # of the run, with its record
    timeout: float  # seconds for all of its notebooks
    log: str = ""  # of the environment's servers
    change: str = PURPOSE.name  # of the index


@dataclass(frozen=True)
class RunResult:
    """How the run of one environment ended."""

    environment: str
    folder: Path
    status: str  # a RunStatus, or `succeeded before`
    seconds: float
    error: IncidentError | None = None


def run_environment(job: Job) -> RunResult:
    """Run the notebooks of one environment, one after the other, until one of them does not end well."""
    started, folder = time.monotonic(), RunFolder(job.folder)
    pseudonyms_for(job.environment)  # the kernels share its key
    with folder.beating():
        try:
            error = _run_notebooks(job, folder, deadline=started + job.timeout)
        except KeyboardInterrupt:
            folder.finish(RunStatus.FAILED, interrupted(job.environment))
            raise
        good = RunStatus.SUCCEEDED if job.confirmed else RunStatus.DRY_RUN
        status = status_after(error) if error else good
        folder.finish(status, error)
    return RunResult(job.environment, job.folder, status.value, time.monotonic() - started, error)


def _run_notebooks(job: Job, folder: RunFolder, deadline: float) -> IncidentError | None:
    """The error that stopped a notebook, if there was one; the notebooks after it are not begun."""
    with Kernels(len(NOTEBOOKS)) as kernels:
        for notebook in NOTEBOOKS:
            began = time.monotonic()
            error = _execute(notebook, job, folder, deadline, kernels)
            outcome = "done" if error is None else status_after(error).value
            folder.note_notebook(notebook, outcome, time.monotonic() - began)
            if error:
                return error
    return None


def interrupted(environment: str) -> Failed:
    """The error of a run that was interrupted."""
    return Failed(
        f"The run of {environment!r} was interrupted.",
        "It got Ctrl-C or SIGTERM.",
        "Run it again: it continues from the catalog.",
    )


def parameters_of(notebook: Path) -> set[str]:
    """The names of a notebook's parameters.

    Raises:
        UsageError: it is not a notebook, or has no cell tagged `parameters`.
    """
    try:
        tagged = [
            "".join(cell["source"]) for cell in _cells(notebook) if "parameters" in cell["metadata"].get("tags", ())
        ]
        names = assigned_names("\n".join(tagged))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError) as error:
        raise UsageError(
            f"{notebook.name} cannot be read as a notebook.",
            f"{type(error).__name__}.",
            "Restore it: git checkout notebooks",
        ) from None
    if not tagged:
        raise UsageError(
            f"{notebook.name} has no cell tagged `parameters`.",
            "Without it papermill runs the notebook with its default parameters.",
            "Tag the first code cell `parameters`, or restore it: git checkout notebooks",
        )
    return names


def _cells(notebook: Path) -> list[Any]:
    """The cells of a notebook, as JSON: nbformat, which checks all of it, checks it when it is executed."""
    return list(json.loads(notebook.read_text("utf-8"))["cells"])


def _no_iri() -> None:
    """Prevent jsonschema, which nbformat imports, from building a grammar of IRIs: that takes most of a second.

    No notebook's schema uses that format, and jsonschema works without the module.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: an import of it fails


def _execute(notebook: str, job: Job, folder: RunFolder, deadline: float, kernels: Kernels) -> IncidentError | None:
    """Execute one notebook into the run's folder; the error that stopped it, if there was one."""
    source, out = paths.NOTEBOOKS / f"{notebook}.ipynb", folder.folder / f"{notebook}.ipynb"
    given = {
        "environment": job.environment,
        "confirm": job.environment if job.confirmed else "",
        "run": str(folder.folder.resolve()),
        "purpose_since": job.purpose_since,
        "log": job.log,
        "change": job.change,
    }
    known = parameters_of(source)
    execute, errors = load_papermill()
    try:
        contents = execute(
            source,
            out,
            parameters={key: value for key, value in given.items() if key in known},
            kernel_name=KERNEL,
            engine_name=ENGINE,
            km=kernels.take(),
            progress_bar=False,
            timeout_func=lambda _: max(1, round(deadline - time.monotonic())),  # what is left, for any cell
            on_cell_complete=_note_cells(source, notebook, folder),
        )
    except errors as raised:
        return _error_of(folder, notebook, raised, job)
    if not _is_complete(contents):
        return Failed(
            f"{notebook} did not run to its end.",
            "Its kernel died or exited early; papermill reported no error.",
            f"Look at {out.name} in the run's folder, and run it again.",
        )
    return None


def load_papermill() -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """Papermill's `execute_notebook`, and what it raises."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    _no_iri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill import PapermillExecutionError, execute_notebook
        from papermill.exceptions import PapermillException

        import incident_lib.runs.engine  # noqa: F401 - it registers itself
    return execute_notebook, (
        PapermillExecutionError,
        PapermillException,
        DeadKernelError,
        CellTimeoutError,
        RuntimeError,
    )


def _note_cells(source: Path, notebook: str, folder: RunFolder) -> Callable[..., None]:
    """Note in the record how many cells of a notebook have been executed, several times a second at most."""
    total = len(_cells(source)) + 1  # papermill injects one
    noted = time.monotonic()

    def note(cell: Any, cell_index: int) -> None:  # noqa: ARG001 - nbclient passes them by name
        nonlocal noted
        if time.monotonic() - noted >= NOTE_SECONDS:
            folder.set(progress=NotebookProgress(notebook=notebook, done=min(cell_index + 1, total), total=total))
            noted = time.monotonic()

    return note


def _error_of(folder: RunFolder, notebook: str, raised: Exception, job: Job) -> IncidentError:
    """The error that the notebook itself recorded; else papermill's."""
    record, name = folder.read(), getattr(raised, "ename", type(raised).__name__)
    if record.error:
        kinds: dict[str, type[IncidentError]] = {kind.__name__: kind for kind in (Refused, UsageError)}
        return kinds.get(name, Failed)(record.error.what, record.error.why, record.error.next)
    again = f"Open {notebook}.ipynb in {folder.folder.name}: its last output has the details."
    if name == "CellTimeoutError":
        slow = f"It took longer than the {job.timeout:g} s of --env-timeout."
        return Failed(f"{notebook} was stopped.", slow, f"Allow more with --env-timeout. {again}")
    begun = any(each.name == notebook for each in record.notebooks)
    if begun and name != "DeadKernelError":
        return Failed(f"{notebook} failed.", f"A cell raised {name}.", again)
    silent = "Its kernel did not answer." if "didn't respond" in str(raised) else "Its kernel died."
    if not begun:
        again = f"See what the kernel itself says: {sys.executable} -m ipykernel_launcher"
    return Failed(f"{notebook} failed.", silent, again)


def _is_complete(contents: Any) -> bool:
    """Whether every code cell was executed: where the kernel exits early, later cells have no execution count."""
    return all(cell.execution_count for cell in contents.cells if cell.cell_type == "code" and cell.source.strip())
