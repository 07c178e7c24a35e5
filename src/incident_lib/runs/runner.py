"""The notebooks of one environment through papermill, and an account of how they ended that does not lie."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import Failed, IncidentError, Refused, UsageError, pseudonyms_for
from incident_lib.notebook import assigned_names
from incident_lib.records import RunRecord, status_of
from incident_lib.runs.kernels import Kernels

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOKS = ("01_investigate", "02_migrate", "03_postmortem")


@dataclass(frozen=True)
class Job:
    """One environment to run: all that a worker is told. Addresses and passwords are not in it."""

    environment: str
    confirmed: bool
    purpose_since: str
    folder: Path  # of the run, with its record
    timeout: float  # seconds for all of its notebooks
    log: str = ""  # of the environment's servers


@dataclass(frozen=True)
class RunResult:
    """How the run of one environment ended."""

    environment: str
    folder: Path
    status: str
    seconds: float
    error: IncidentError | None = None


def run_environment(job: Job) -> RunResult:
    """Run the notebooks of one environment, one after the other, until one of them does not end well."""
    started, kept = time.monotonic(), RunRecord(job.folder)
    pseudonyms_for(job.environment)  # the kernels share its key
    with kept.beating():
        try:
            error = _run_notebooks(job, kept, deadline=started + job.timeout)
        except KeyboardInterrupt:
            kept.finish("failed", _interrupted(job.environment))
            raise
        status = status_of(error) if error else "succeeded" if job.confirmed else "dry-run"
        kept.finish(status, error)
    return RunResult(job.environment, job.folder, status, time.monotonic() - started, error)


def _run_notebooks(job: Job, kept: RunRecord, deadline: float) -> IncidentError | None:
    """What kept a notebook from its end, if anything did; those behind it are not begun."""
    with Kernels(len(NOTEBOOKS)) as kernels:
        for notebook in NOTEBOOKS:
            began = time.monotonic()
            error = _execute(notebook, job, kept, deadline, kernels)
            kept.note_notebook(notebook, "done" if error is None else status_of(error), time.monotonic() - began)
            if error:
                return error
    return None


def _interrupted(environment: str) -> Failed:
    return Failed(
        f"The run of {environment!r} was interrupted.",
        "Somebody pressed Ctrl-C, or sent SIGTERM.",
        "Run it again: it goes on from the catalog.",
    )


def parameters_of(notebook: Path) -> set[str]:
    """The names of a notebook's parameters.

    Raises:
        UsageError: it is no notebook, or has no cell tagged `parameters`.
    """
    _no_iri()
    import nbformat

    try:
        cells = nbformat.read(notebook, as_version=4).cells
        tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ())]
        names = assigned_names("\n".join(tagged))
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(
            f"{notebook.name} cannot be read as a notebook.",
            f"{type(error).__name__}.",
            "Restore it: git checkout notebooks",
        ) from None
    if not tagged:
        raise UsageError(
            f"{notebook.name} has no cell tagged `parameters`.",
            "Without it papermill runs the notebook with its defaults, whatever it is told.",
            "Tag the first code cell `parameters`, or restore it: git checkout notebooks",
        )
    return names


def _no_iri() -> None:
    """Keep jsonschema, which nbformat imports, from building a grammar of IRIs: that takes most of a second.

    No notebook's schema asks for that format, and jsonschema does without where the module is not there.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: an import of it fails


def _execute(notebook: str, job: Job, kept: RunRecord, deadline: float, kernels: Kernels) -> IncidentError | None:
    """Execute one notebook into the run's folder; what stopped it, if anything did."""
    source, out = paths.NOTEBOOKS / f"{notebook}.ipynb", kept.folder / f"{notebook}.ipynb"
    given = {
        "environment": job.environment,
        "confirm": job.environment if job.confirmed else "",
        "run": str(kept.folder.resolve()),
        "purpose_since": job.purpose_since,
        "log": job.log,
    }
    known = parameters_of(source)
    execute, ran_into = _papermill()
    try:
        contents = execute(
            source,
            out,
            parameters={key: value for key, value in given.items() if key in known},
            kernel_name="python3",
            km=kernels.take(),
            progress_bar=False,
            timeout_func=lambda _: max(1, round(deadline - time.monotonic())),  # what is left, for any cell
            on_cell_complete=_counting(source, notebook, kept),
        )
    except ran_into as raised:
        return _error_of(kept, notebook, raised, job)
    if not _ended(contents):
        return Failed(
            f"{notebook} did not run to its end.",
            "Its kernel died or left early; papermill did not notice.",
            f"Look at {out.name} in the run's folder, and run it again.",
        )
    return None


def _papermill() -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """Papermill's `execute_notebook`, and what it raises."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    _no_iri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill import PapermillExecutionError, execute_notebook
        from papermill.exceptions import PapermillException
    return execute_notebook, (
        PapermillExecutionError,
        PapermillException,
        DeadKernelError,
        CellTimeoutError,
        RuntimeError,
    )


def _counting(source: Path, notebook: str, kept: RunRecord) -> Callable[..., None]:
    """Put into the record how many cells of a notebook have ended, for whoever watches the run."""
    import nbformat

    total = len(nbformat.read(source, as_version=4).cells) + 1  # papermill injects one

    def told(cell: Any, cell_index: int) -> None:  # noqa: ARG001 - nbclient names them
        kept.set(progress={"notebook": notebook, "done": min(cell_index + 1, total), "total": total})

    return told


def _error_of(kept: RunRecord, notebook: str, raised: Exception, job: Job) -> IncidentError:
    """The error that the notebook itself put into the record; else what papermill ran into."""
    contents, name = kept.read(), getattr(raised, "ename", type(raised).__name__)
    if contents["error"]:
        kinds: dict[str, type[IncidentError]] = {kind.__name__: kind for kind in (Refused, UsageError)}
        return kinds.get(name, Failed)(**contents["error"])
    again = f"Open {notebook}.ipynb in {kept.folder.name}: its last output tells more."
    if name == "CellTimeoutError":
        slow = f"It took longer than the {job.timeout:g} s that a run may take."
        return Failed(f"{notebook} was stopped.", slow, f"Allow more with --env-timeout. {again}")
    begun = any(entry["name"] == notebook for entry in contents["notebooks"])
    if begun and name != "DeadKernelError":
        return Failed(f"{notebook} failed.", f"A cell raised {name}.", again)
    silent = "Its kernel did not answer." if "didn't respond" in str(raised) else "Its kernel died."
    return Failed(f"{notebook} failed.", silent, again)


def _ended(contents: Any) -> bool:
    """Whether every code cell ran: a cell that left the kernel early leaves the rest without a count."""
    return all(cell.execution_count for cell in contents.cells if cell.cell_type == "code" and cell.source.strip())
