"""The index of runs: which there are, and what a report takes from each; and the removal of one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib import paths
from incident_lib.model import Refused, UsageError
from incident_lib.records.history import FINISHED, Run, make_history
from incident_lib.records.run_folder import RunFolder, all_runs, incident_runs, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.records.history import History


@dataclass(frozen=True)
class RunEntry:
    """A run in the index.

    Attributes:
        name: `<environment>/<UTC time>`, as the commands take it.
        use: what a report over its environment takes from it; or `no`, and why.
    """

    name: str
    run: Run
    use: str

    @property
    def status(self) -> str:
        """How the run ended; `killed` where it is running without a heartbeat."""
        return status_of(self.run.record)


def list_runs(environment: str = "") -> list[RunEntry]:
    """Every run, or those of one environment; by environment, the latest first."""
    return [entry for name in ([environment] if environment else _environments()) for entry in _entries(name)]


def unreadable_folders() -> list[Path]:
    """The folders that lie where runs do, and hold no record that this version can read."""
    readable = {folder for name in _environments() for folder in all_runs(name)}
    folders = (folder for name in _environments() for folder in sorted((paths.runs() / name).iterdir()))
    return [folder for folder in folders if folder.is_dir() and folder not in readable]


def find_run(name: str) -> RunEntry:
    """A run by its name, or by the path of its folder.

    Raises:
        UsageError: there is none, or it lies outside of the folder of runs.
    """
    places = {(paths.runs() / name).resolve(), Path(name).resolve()}
    for entry in list_runs():
        if entry.run.folder.resolve() in places:
            return entry
    raise UsageError(
        f"There is no run {name!r}.", f"{paths.runs()} holds none of that name.", "List them: incident runs"
    )


def delete_run(entry: RunEntry) -> None:
    """Remove a run's folder, with its notebooks and blocked.csv.

    Raises:
        Refused: it is running.
        Failed: it cannot be removed.
    """
    from fasteners import InterProcessLock

    folder = entry.run.folder
    with paths.writable(folder.parent), InterProcessLock(folder / ".lock"):  # no heartbeat while the record is read
        if status_of(RunFolder(folder).read()) == "running":
            raise Refused(
                f"The run {entry.name} is not deleted.",
                "It is running.",
                "Wait until it has ended; a killed run counts as ended a minute after its last heartbeat.",
            )
        shutil.rmtree(folder)


def _environments() -> list[str]:
    folders = (folder for folder in sorted(paths.runs().glob("*")) if folder.is_dir())
    return [folder.name for folder in folders if all_runs(folder.name)]


def _entries(environment: str) -> Iterator[RunEntry]:
    """The runs of one environment, with what its report takes from each."""
    used = {folder: Run(folder, RunFolder(folder).read()) for folder in incident_runs(environment)}
    history = make_history([*used.values()]) if used else None
    for folder in all_runs(environment):
        run = used.get(folder) or Run(folder, RunFolder(folder).read())
        use = _use(run, history) if history and folder in used else _why_not(run)
        yield RunEntry(f"{environment}/{folder.name}", run, use)


def _use(run: Run, history: History) -> str:
    found = [*_parts(run, history, "the fix")]
    if following := history.following:
        found += [f"{following.run.record.change.name}: {part}" for part in _parts(run, following, "the change")]
    return ", ".join(found) or f"no: {status_of(run.record)}"


def _parts(run: Run, history: History, act: str) -> list[str]:
    """What the history of one change takes from a run."""
    parts = []
    if run.folder == history.run.folder:
        parts = ["before", act] if history.is_fixed else ["latest snapshot"]
    if history.latest and run.folder == history.latest.folder:
        parts.append("after")
    is_row = any(run.folder == other.folder for other in (*history.earlier, *history.later))
    return parts or (["timeline"] if is_row else [])


def _why_not(run: Run) -> str:
    if not run.record.recorded:
        return "no: not recorded"
    return f"no: {status_of(run.record)}" if status_of(run.record) not in FINISHED else "no: the demo has a later run"
