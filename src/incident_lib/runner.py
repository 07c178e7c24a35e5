"""The main job: the three notebooks through papermill for each environment, then the postmortem over all."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import environments, paths, record
from incident_lib.errors import Failed, IncidentError, Refused, UsageError
from incident_lib.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NOTEBOOKS = ("01_investigate", "02_migrate", "03_postmortem")


@dataclass(frozen=True)
class Step:
    """How far a run is: `done` of `total` cells of one notebook."""

    environment: str
    notebook: str
    done: int
    total: int


@dataclass(frozen=True)
class Ended:
    """How the run of one environment ended."""

    environment: str
    folder: Path
    status: str
    seconds: float
    error: IncidentError | None = None


def run(
    names: Sequence[str],
    *,
    confirm: Sequence[str] = (),
    purpose_since: str = "",
    listener: Callable[[Step], None] = lambda _: None,
) -> list[Ended]:
    """Run the notebooks over each environment, one after the other, and write the postmortem over all.

    Args:
        names: of the environments.
        confirm: the names of those that may be changed; the others are a dry run.
        purpose_since: when the column `purpose` came, ISO 8601.
        listener: is told of each cell that has ended.

    Returns:
        How each ended, in the order of the names. One that failed does not keep the next from running.

    Raises:
        UsageError: a name is unknown, named twice, or confirmed but not run; nothing was begun.
        Failed: the folder of runs cannot be written; nothing was begun.
    """
    _check_names(names, confirm)
    for name in names:
        environments.resolve(name)
    for notebook in NOTEBOOKS:
        parameters_of(paths.NOTEBOOKS / f"{notebook}.ipynb")
    ended = [_run_one(name, name in confirm, purpose_since, listener) for name in names]
    write_postmortem()
    return ended


def _check_names(names: Sequence[str], confirm: Sequence[str]) -> None:
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise UsageError(
            f"{', '.join(twice)} is named twice.",
            "One run looks at each environment once.",
            "Name each --env once.",
        )
    if stray := [name for name in confirm if name not in names]:
        raise UsageError(
            f"--confirm {stray[0]} confirms nothing.",
            f"{stray[0]!r} is not among the environments to run.",
            f"Add --env {stray[0]}, or leave --confirm out.",
        )


def parameters_of(notebook: Path) -> set[str]:
    """The names of a notebook's parameters.

    Raises:
        UsageError: it is no notebook, or has no cell tagged `parameters`.
    """
    import nbformat
    from papermill import inspect_notebook

    try:
        contents = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{notebook.name} cannot be read as a notebook.",
            f"{type(error).__name__}.",
            "Restore it: git checkout notebooks",
        ) from None
    if not any("parameters" in cell.metadata.get("tags", ()) for cell in contents.cells):
        raise UsageError(
            f"{notebook.name} has no cell tagged `parameters`.",
            "Without it papermill runs the notebook with its defaults, whatever it is told.",
            "Tag the first code cell `parameters`, or restore it: git checkout notebooks",
        )
    return set(inspect_notebook(str(notebook)))


def _run_one(name: str, confirmed: bool, purpose_since: str, listener: Callable[[Step], None]) -> Ended:
    started = time.monotonic()
    kept = Record.create(name, started_by="incident run")
    given = {
        "environment": name,
        "confirm": name if confirmed else "",
        "run": str(kept.folder.resolve()),
        "purpose_since": purpose_since,
    }
    error: IncidentError | None = None
    with kept.beating():
        for notebook in NOTEBOOKS:
            began = time.monotonic()
            error = _execute(notebook, given, kept, listener)
            kept.note_notebook(notebook, "done" if error is None else record.status_of(error), time.monotonic() - began)
            if error:
                break
        status = record.status_of(error) if error else "succeeded" if confirmed else "dry-run"
        kept.finish(status, error)
    return Ended(name, kept.folder, status, time.monotonic() - started, error)


def _execute(
    notebook: str, given: dict[str, str], kept: Record, listener: Callable[[Step], None]
) -> IncidentError | None:
    """Execute one notebook into the run's folder; what stopped it, if anything did."""
    source, out = paths.NOTEBOOKS / f"{notebook}.ipynb", kept.folder / f"{notebook}.ipynb"
    known = parameters_of(source)
    execute, ran_into = _papermill()
    try:
        contents = execute(
            source,
            out,
            parameters={key: value for key, value in given.items() if key in known},
            kernel_name="python3",
            progress_bar=False,
            on_cell_complete=_counting(source, given["environment"], notebook, listener),
        )
    except ran_into as raised:
        return _error_of(kept, notebook, getattr(raised, "ename", type(raised).__name__))
    if not _ended(contents):
        return Failed(
            f"{notebook} did not run to its end.",
            "Its kernel died or left early; papermill did not notice.",
            f"Look at {out.name} in the run's folder, and run it again.",
        )
    return None


def _papermill() -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """Papermill's `execute_notebook`, on an encrypted kernel transport, and what it raises."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill import PapermillExecutionError, execute_notebook
        from papermill.exceptions import PapermillException
        from traitlets.config import Config
    encrypted = {"transport_encryption": "auto"}
    config = Config({"KernelManager": encrypted, "AsyncKernelManager": encrypted})

    def execute(*words: Any, **options: Any) -> Any:
        return execute_notebook(*words, config=config, **options)

    return execute, (
        PapermillExecutionError,
        PapermillException,
        DeadKernelError,
        CellTimeoutError,
        RuntimeError,
    )


def _counting(source: Path, environment: str, notebook: str, listener: Callable[[Step], None]) -> Callable[..., None]:
    import nbformat

    total = len(nbformat.read(source, as_version=4).cells) + 1  # papermill injects one
    listener(Step(environment, notebook, 0, total))

    def told(cell: Any, cell_index: int) -> None:  # noqa: ARG001 - nbclient names them
        listener(Step(environment, notebook, min(cell_index + 1, total), total))

    return told


def _error_of(kept: Record, notebook: str, name: str) -> IncidentError:
    """The error that the notebook itself put into the record; else that of a cell which raised another."""
    contents = kept.read()
    outcome = {entry["name"]: entry["outcome"] for entry in contents["notebooks"]}.get(notebook)
    if contents["error"]:
        kinds: dict[str, type[IncidentError]] = {kind.__name__: kind for kind in (Refused, UsageError)}
        return kinds.get(name, Failed)(**contents["error"])
    why = f"A cell raised {name}." if outcome else "Its kernel died before the first cell."
    return Failed(
        f"{notebook} failed.",
        why,
        f"Open {notebook}.ipynb in {kept.folder.name}: its last output tells more.",
    )


def _ended(contents: Any) -> bool:
    """Whether every code cell ran: a cell that left the kernel early leaves the rest without a count."""
    return all(cell.execution_count for cell in contents.cells if cell.cell_type == "code" and cell.source.strip())


def write_postmortem() -> Path:
    """Write the postmortem over the latest run of each environment; returns the HTML file."""
    from incident_lib.report import read

    out = paths.runs() / "postmortem.html"
    read(record.latest()).write(out)
    return out
