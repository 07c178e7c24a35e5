"""Many environments side by side: each in a process of its own, so that none affects another."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib import paths
from incident_lib.database import DEMO, resolve_environment, variable_of
from incident_lib.logs import log_files
from incident_lib.model import CHANGES, PURPOSE, Failed, IncidentError, RunStatus, UsageError, parse_timestamp
from incident_lib.records import RunFolder, change_of, incident_runs, recorded_runs
from incident_lib.report import prepare_report, read_notes, read_runs, write_report
from incident_lib.runs.kernels import prepare_worker
from incident_lib.runs.runner import NOTEBOOKS, Job, RunResult, interrupted, parameters_of, run_environment
from incident_lib.runs.workers import LocalProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENV_TIMEOUT = 3600.0  # seconds that the run of one environment may take
PROGRESS_SECONDS = 0.2
PREPARE_AFTER = 2.0  # seconds


@dataclass(frozen=True)
class FleetProgress:
    """How far one environment's run is, from its record."""

    environment: str
    notebook: str
    share: float


def run_fleet(
    names: Sequence[str],
    *,
    confirm: Sequence[str] = (),
    purpose_since: str = "",
    log: str = "",
    change: str = PURPOSE.name,
    resume: bool = False,
    timeout: float = ENV_TIMEOUT,
    executor: Executor | None = None,
    listener: Callable[[FleetProgress], None] = lambda _: None,
    meanwhile: Callable[[], None] | None = None,
) -> list[RunResult]:
    """Run the notebooks over each environment, and write the postmortem over all.

    Args:
        names: of the environments.
        confirm: the names of those that may be changed; the others are a dry run.
        purpose_since: when the column `purpose` came, ISO 8601.
        log: the server logs of the one environment that is run, separated by spaces.
        change: which change of the index they make: `purpose` or `provider`.
        resume: skip those whose latest run did what this one would do.
        timeout: seconds that the run of one environment may take.
        executor: anything with the interface of `concurrent.futures.Executor`; one local process at a time
            where none is given. Its workers need the package, and the variables of their environments.
        listener: is called with the progress of each environment, several times a second.
        meanwhile: is called here while the notebooks run; the report is written after it, too.

    Returns:
        How each ended, in the order of the names. One that failed, hung or was killed does not affect the others.

    Raises:
        UsageError: a name is unknown, named twice, or confirmed but not run; nothing was begun.
        Failed: the folder of runs cannot be written; nothing was begun.
    """
    _check(names, confirm, purpose_since)
    _check_log(names, log)
    done = {name: _done_before(name, name in confirm, change) for name in names} if resume else {}
    jobs = [_job(name, name in confirm, purpose_since, timeout, log, change) for name in names if not done.get(name)]
    ended = threading.Event()
    with executor or LocalProcesses(1) as workers, ThreadPoolExecutor(1) as pool:
        if isinstance(workers, LocalProcesses):
            workers.begin(len(jobs), prepare_worker)
        futures = {workers.submit(run_environment, job): job for job in jobs}
        # For the report, while the notebooks run: not yet while the workers import.
        preparation = threading.Timer(PREPARE_AFTER, prepare_report)
        preparation.start()
        try:
            shown = pool.submit(_show_progress, futures, listener, ended)
            if meanwhile:
                meanwhile()
            shown.result()
        except KeyboardInterrupt:
            workers.shutdown(wait=False, cancel_futures=True)
            if isinstance(workers, LocalProcesses):  # others may go on elsewhere
                _note_interrupted(jobs)
            raise
        finally:
            ended.set()
            preparation.cancel()
    results = {job.environment: _result(future, job) for future, job in futures.items()}
    write_postmortem(names)
    return [results.get(name) or done[name] for name in names]  # type: ignore[misc]


def _check(names: Sequence[str], confirm: Sequence[str], purpose_since: str) -> None:
    """Check the whole call before anything is begun."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise UsageError(
            f"{', '.join(twice)} is named twice.",
            "One command runs each environment once.",
            "Name each --env once.",
        )
    if stray := [name for name in confirm if name not in names]:
        raise UsageError(
            f"--confirm {stray[0]} confirms nothing.",
            f"{stray[0]!r} is not among the environments to run.",
            f"Add --env {stray[0]}, or remove --confirm.",
        )
    variables = [variable_of(name) for name in names]
    if variable := next((v for v in variables if variables.count(v) > 1 and v in os.environ), None):
        both = " and ".join(name for name in names if variable_of(name) == variable)
        raise UsageError(
            f"{both} are the same environment.",
            f"Both names lead to the variable {variable}.",
            "Name only one of them.",
        )
    parse_timestamp(purpose_since)
    read_notes()
    for name in names:
        resolve_environment(name)
    for notebook in NOTEBOOKS:
        parameters_of(paths.NOTEBOOKS / f"{notebook}.ipynb")


def _check_log(names: Sequence[str], log: str) -> None:
    if log and len(names) != 1:
        raise UsageError(
            "A log belongs to one environment.",
            f"--log is given for {len(names)} environments.",
            "Run that environment by itself.",
        )
    log_files(log)


def _job(name: str, confirmed: bool, purpose_since: str, timeout: float, log: str, change: str) -> Job:
    run = RunFolder.create(name, started_by="incident run", change=CHANGES[change])
    return Job(name, confirmed, purpose_since, run.folder.resolve(), timeout, log, change)


def _done_before(name: str, confirmed: bool, change: str) -> RunResult | None:
    """The latest run of a change in an environment, if it did what is wanted now."""
    of_change = [folder for folder in recorded_runs(name) if change_of(folder) == change]
    for folder in of_change[:1]:
        status = RunFolder(folder).read().status
        if status is RunStatus.SUCCEEDED or (status is RunStatus.DRY_RUN and not confirmed):
            return RunResult(name, folder.resolve(), f"{status} before", 0.0)
    return None


def _show_progress(
    futures: dict[Future[RunResult], Job], listener: Callable[[FleetProgress], None], ended: threading.Event
) -> None:
    """Pass on every run's progress until the last one has ended, or the event is set."""
    left = set(futures)
    while left and not ended.is_set():
        left = wait(left, timeout=PROGRESS_SECONDS).not_done
        for future, job in futures.items():
            with suppress(IncidentError):  # a folder that was removed is an error at the end of its run
                listener(_progress(job, ended=future not in left))


def _note_interrupted(jobs: Sequence[Job]) -> None:
    """Note it in the records of the runs that have not ended, nor been begun by a worker that would note it."""
    for job in jobs:
        with suppress(IncidentError):
            folder = RunFolder(job.folder)
            if folder.read().status is RunStatus.RUNNING:
                folder.finish(RunStatus.FAILED, interrupted(job.environment))


def _progress(job: Job, *, ended: bool) -> FleetProgress:
    progress = RunFolder(job.folder).read().progress
    notebook = progress.notebook if progress else NOTEBOOKS[0]
    done = progress.done / progress.total if progress else 0.0
    share = 1.0 if ended else (NOTEBOOKS.index(notebook) + done) / len(NOTEBOOKS)
    return FleetProgress(job.environment, notebook, share)


def _result(future: Future[RunResult], job: Job) -> RunResult:
    """How a job ended, also where its worker was killed."""
    started = time.monotonic()
    try:
        return future.result()
    except BrokenExecutor as raised:
        error: IncidentError = _lost(job, str(raised))
    except IncidentError as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001 - another executor may raise anything
        error = _lost(job, f"Its worker raised {type(raised).__name__}.")
    with suppress(IncidentError):
        RunFolder(job.folder).finish(RunStatus.FAILED, error)
    return RunResult(job.environment, job.folder, RunStatus.FAILED.value, time.monotonic() - started, error)


def _lost(job: Job, why: str) -> Failed:
    return Failed(f"The run of {job.environment!r} was lost.", why, f"Run it again: --resume --env {job.environment}")


def write_postmortem(names: Sequence[str]) -> Path:
    """Write the postmortem over the incident of these environments; returns the HTML file.

    The demo's families are invented: it is in the report only where it is the only one.
    """
    out = paths.runs() / "postmortem.html"
    real = [name for name in names if name != DEMO] or names
    write_report(read_runs([folder for name in real for folder in incident_runs(name)]), out)
    return out
