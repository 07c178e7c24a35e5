"""A run's folder: its record.json, replaced as a whole at each change, with a heartbeat while the run goes on."""

from __future__ import annotations

import platform
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from incident_lib import paths
from incident_lib.model import (
    PURPOSE,
    BeforeAfter,
    ChangeDefinition,
    ErrorMessage,
    Failed,
    IncidentError,
    NotebookResult,
    Pseudonyms,
    Refused,
    RunRecord,
    RunStatus,
    UsageError,
    as_type,
    utc_now,
)
from incident_lib.records.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from incident_lib.model import IndexChange

FILE = "record.json"
HEARTBEAT_SECONDS = 3.0
DEAD_SECONDS = 60.0
PACKAGES = ("incident-lib", "pandas", "psycopg", "sqlalchemy", "matplotlib", "papermill", "jupyterlab")
_THREADS = threading.RLock()  # the lock of a file keeps processes apart, not the threads of one process
_TYPES = {field.name: field.type for field in msgspec.structs.fields(RunRecord)}


class RunFolder:
    """The folder of one run; several processes may change its record in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE

    @classmethod
    def create(
        cls, environment: str, started_by: str, *, recorded: bool = True, change: IndexChange = PURPOSE
    ) -> RunFolder:
        """Make the folder of a new run, `<runs>/<environment>/<UTC time>`, and its record.

        Args:
            environment: its name.
            started_by: the command or the notebook.
            recorded: whether the run feeds reports.
            change: that it plans and makes.

        Raises:
            Failed: the folder cannot be written.
        """
        made = cls(_new_folder(environment))
        write_json(made.file, new_record(environment, started_by, recorded=recorded, change=change))
        return made

    def read(self) -> RunRecord:
        """The record as it is now.

        Raises:
            UsageError: there is none, or it is no record of this version; the message names file and key.
        """
        if not self.file.is_file():
            raise UsageError(
                f"{self.folder} is not the folder of a run.",
                f"It holds no {FILE}.",
                "Name a folder like data/runs/demo/20260101T120000Z.",
            )
        return read_json(self.file, RunRecord, "Run it again with this version, or remove the folder.")

    def update(self, change: Callable[[RunRecord], RunRecord], *, beats: bool = True) -> None:
        """Replace the record by what `change` makes of it; no reader sees a half-written one.

        Args:
            change: takes the record and returns another one.
            beats: whether this is a heartbeat, too: the run goes on.
        """
        from fasteners import InterProcessLock

        self.read()  # a folder that is not a run's gets no lock file
        with paths.writable(self.folder), _THREADS, InterProcessLock(self.folder / ".lock"):
            record = change(self.read())
            write_json(self.file, msgspec.structs.replace(record, heartbeat_at=utc_now()) if beats else record)

    def set(self, *, names: Pseudonyms | None = None, beats: bool = True, **values: Any) -> None:
        """Set fields of the record.

        Args:
            names: pseudonyms for whatever looks like an id in these values.
            beats: see `update`.
            values: by field; of a BeforeAfter only the halves that are there are set.
        """

        def change(record: RunRecord) -> RunRecord:
            merged = {
                key: getattr(record, key).merge(value) if isinstance(value, BeforeAfter) else value
                for key, value in values.items()
            }
            return msgspec.structs.replace(record, **{k: _scrub(k, v, names) for k, v in merged.items()})

        self.update(change, beats=beats)

    def note_notebook(self, name: str, outcome: str, seconds: float | None = None) -> None:
        """Set the outcome of one of the run's notebooks."""
        result = NotebookResult(name=name, seconds=None if seconds is None else round(seconds, 2), outcome=outcome)

        def change(record: RunRecord) -> RunRecord:
            others = [notebook for notebook in record.notebooks if notebook.name != name]
            return msgspec.structs.replace(record, notebooks=[*others, result])

        self.update(change)

    def finish(self, status: RunStatus, error: IncidentError | None = None) -> None:
        """Set the end of the run. An error that is already recorded stays."""

        def change(record: RunRecord) -> RunRecord:
            kept = record.error or (error_message(error) if error else None)
            return msgspec.structs.replace(record, status=status, error=kept, finished_at=utc_now())

        self.update(change)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the heartbeat going, from a thread of its own."""
        done = self.start_heart()
        try:
            yield
        finally:
            done.set()

    def start_heart(self) -> threading.Event:
        """Start the heartbeat; it ends with the process, or once the returned event is set."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                try:
                    self.update(lambda record: record)
                except IncidentError:  # the folder was removed: the next write says so
                    return

        threading.Thread(target=beat, daemon=True).start()
        return done


def _scrub(key: str, value: Any, names: Pseudonyms | None) -> Any:
    if names is None:
        return value
    return as_type(names.scrub(msgspec.to_builtins(value)), _TYPES[key])


def error_message(error: IncidentError) -> ErrorMessage:
    """An error as a record holds it."""
    return ErrorMessage(what=error.what, why=error.why, next=error.next)


def new_record(environment: str, started_by: str, *, recorded: bool = True, change: IndexChange = PURPOSE) -> RunRecord:
    """The record of a run that begins now."""
    return RunRecord(
        schema_version=2,
        environment=environment,
        status=RunStatus.RUNNING,
        started_by=started_by,
        started_at=utc_now(),
        heartbeat_at=utc_now(),
        finished_at=None,
        versions=package_versions(),
        git_commit=git_commit(),
        server_version=None,
        indexes=BeforeAfter(),
        counts=BeforeAfter(),
        snapshot_at=BeforeAfter(),
        verdict=None,
        preflight=None,
        purpose_since=None,
        blocked_by=None,
        blocked_since=None,
        example=None,
        example_threads=BeforeAfter(),
        rejected_inserts=None,
        residual=None,
        steps=[],
        incident_ended_at=None,
        probes=[],
        verified=None,
        verification=None,
        integrity=None,
        retries=None,
        recovery=None,
        unknown=None,
        progress=None,
        notebooks=[],
        error=None,
        recorded=recorded,
        change=ChangeDefinition.of(change),
    )


@cache  # it reads the packages' files, for a thirtieth of a second
def package_versions() -> dict[str, str]:
    """The versions of Python, and of the packages that matter."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def status_of(record: RunRecord, at: datetime | None = None) -> str:
    """The status to show: a `running` run without a heartbeat for a minute is `killed`."""
    silent = (at or datetime.now(UTC)) - record.heartbeat_at
    if record.status is RunStatus.RUNNING and silent.total_seconds() > DEAD_SECONDS:
        return "killed"
    return record.status.value


def status_after(error: BaseException) -> RunStatus:
    """The status of a run that ended with this error."""
    return RunStatus.REFUSED if isinstance(error, Refused) else RunStatus.FAILED


def recorded_environments() -> list[str]:
    """The environments that have recorded runs, sorted; not the demo, whose families are invented."""
    names = (folder.name for folder in sorted(paths.runs().glob("*")))
    return [name for name in names if name != "demo" and recorded_runs(name)]


def incident_runs(environment: str) -> list[Path]:
    """The folders of an environment's recorded runs, the latest first.

    Each run resets the demo. Of the demo it is only the latest run, and the latest one of `purpose` before it.
    """
    found = recorded_runs(environment)
    if environment != "demo":
        return found
    first = next((place for place, folder in enumerate(found) if change_of(folder) == PURPOSE.name), 0)
    return [*found[:1], *(found[first : first + 1] if first else [])]


def change_of(folder: Path) -> str:
    """The name of the change that a run plans and makes."""
    return RunFolder(folder).read().change.name


def runs_beside(folder: Path) -> list[Path]:
    """A run's folder, and those of its incident's runs beside it; of a run that lies elsewhere its own alone."""
    beside = incident_runs(folder.absolute().parent.name)
    return beside if folder.resolve() in (each.resolve() for each in beside) else [folder]


def recorded_runs(environment: str) -> list[Path]:
    """The folders of the runs that feed reports: not of a notebook that somebody opened without asking to record it."""
    return [folder for folder in all_runs(environment) if RunFolder(folder).read().recorded]


def all_runs(environment: str) -> list[Path]:
    """The folders of all runs of an environment, the latest first."""
    return sorted(filter(_is_readable, (paths.runs() / environment).glob("*")), reverse=True)


def _is_readable(folder: Path) -> bool:
    try:
        RunFolder(folder).read()
    except UsageError:
        return False
    return True


def git_commit() -> str | None:
    """The commit of the project's checkout, with a `+` where files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    if not paths.IS_CHECKOUT:
        return None
    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _new_folder(environment: str) -> Path:
    parent = paths.runs() / environment
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with paths.writable(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for name in (stamp, *(f"{stamp}-{n:03d}" for n in range(2, 1000))):
            try:
                (parent / name).mkdir()
            except FileExistsError:
                continue
            return parent / name
    raise Failed("No folder for this run could be made.", f"{parent} holds too many of this second.", "Try again.")
