"""The run record: what one run did and saw, on disk at every moment of it, so that no end goes unseen."""

from __future__ import annotations

import json
import platform
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import Failed, IncidentError, Refused, UsageError, to_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA_VERSION = 1
FILE = "record.json"
HEARTBEAT_SECONDS = 3.0
DEAD_SECONDS = 60.0
_THREADS = threading.RLock()  # the lock of a file keeps processes apart, and not the threads of one
PACKAGES = ("incident-lib", "pandas", "psycopg", "sqlalchemy", "matplotlib", "papermill", "jupyterlab")

Contents = dict[str, Any]


def utc_now() -> str:
    """The time now in UTC, as records carry it."""
    return to_iso(datetime.now(UTC), "seconds")


class RunRecord:
    """A run's record.json, replaced as a whole at each change; several processes may change it in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE

    @classmethod
    def create(cls, environment: str, started_by: str) -> RunRecord:
        """Make the folder of a new run, `<runs>/<environment>/<UTC time>`, and its record.

        Raises:
            Failed: the folder cannot be written.
        """
        record = cls(_new_folder(environment))
        with paths.writable(record.folder):
            record._write(_begun(environment, started_by))
        return record

    def read(self) -> Contents:
        """The record as it is now.

        Raises:
            UsageError: there is none, or it is no record.
        """
        try:
            contents = json.loads(self.file.read_text("utf-8"))
            readable = contents["schema_version"] == SCHEMA_VERSION
        except (OSError, ValueError, KeyError, TypeError):
            readable = False
        if not readable:
            raise UsageError(
                f"{self.folder} is not the folder of a run.",
                f"It holds no {FILE} that this version can read.",
                "Name a folder like data/runs/demo/20260101T120000Z.",
            )
        return dict(contents)

    def update(self, change: Callable[[Contents], Contents], *, beats: bool = True) -> None:
        """Replace the record by what `change` makes of it, in one step that no reader can catch halfway."""
        from fasteners import InterProcessLock

        self.read()  # what is no run's folder gets no lock file, either
        with paths.writable(self.folder), _THREADS, InterProcessLock(self.folder / ".lock"):
            self._write(change(self.read()), beats=beats)

    def _write(self, contents: Contents, *, beats: bool = True) -> None:
        contents["heartbeat_at"] = utc_now() if beats else contents["heartbeat_at"]
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
        part.replace(self.file)

    def set(self, *, beats: bool = True, **values: Any) -> None:
        """Set keys; a dict is merged into the dict that stands there."""

        def change(contents: Contents) -> Contents:
            for key, value in values.items():
                old = contents.get(key)
                contents[key] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
            return contents

        self.update(change, beats=beats)

    def note_notebook(self, name: str, outcome: str, seconds: float | None = None) -> None:
        """Set the outcome of one of the run's notebooks."""

        def change(contents: Contents) -> Contents:
            others = [entry for entry in contents["notebooks"] if entry["name"] != name]
            entry = {
                "name": name,
                "seconds": None if seconds is None else round(seconds, 2),
                "outcome": outcome,
            }
            return {**contents, "notebooks": [*others, entry]}

        self.update(change)

    def finish(self, status: str, error: IncidentError | None = None) -> None:
        """Set the end: succeeded, dry-run, refused or failed. An error that is already there stays."""

        def change(contents: Contents) -> Contents:
            told = contents["error"] or (error.as_dict() if error else None)
            return {**contents, "status": status, "error": told, "finished_at": utc_now()}

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
        """Start the heartbeat; it ends with the process, or once the event that is returned is set."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                try:
                    self.update(lambda contents: contents)
                except IncidentError:  # the folder went away: whoever writes next tells
                    return

        threading.Thread(target=beat, daemon=True).start()
        return done


def _begun(environment: str, started_by: str) -> Contents:
    """What a record holds when its run begins."""
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": environment,
        "status": "running",
        "started_by": started_by,
        "started_at": utc_now(),
        "heartbeat_at": utc_now(),
        "finished_at": None,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "git_commit": git_commit(),
        "server_version": None,
        "guard": {"before": None, "after": None},
        "counts": {"before": None, "after": None},
        "preflight": None,
        "steps": [],
        "notebooks": [],
        "error": None,
    }


def status_now(contents: Contents, at: datetime | None = None) -> str:
    """The status as it is to be shown: `running` without a heartbeat for a minute is `killed`."""
    silent = (at or datetime.now(UTC)) - datetime.fromisoformat(contents["heartbeat_at"])
    if contents["status"] == "running" and silent.total_seconds() > DEAD_SECONDS:
        return "killed"
    return str(contents["status"])


def status_of(error: BaseException) -> str:
    """The status that an error ends a run with."""
    return "refused" if isinstance(error, Refused) else "failed"


def latest_runs(environment: str | None = None) -> list[Path]:
    """The folder of the latest run of an environment, or of each."""
    names = [environment] if environment else sorted(folder.name for folder in paths.runs().glob("*"))
    return [folder for name in names for folder in all_runs(name)[:1]]


def all_runs(environment: str) -> list[Path]:
    """The folders of all runs of an environment, the latest first."""
    return sorted(filter(_is_readable, (paths.runs() / environment).glob("*")), reverse=True)


def _is_readable(folder: Path) -> bool:
    try:
        RunRecord(folder).read()
    except UsageError:
        return False
    return True


def git_commit() -> str | None:
    """The commit of the project's checkout; `+` behind it where files differ; None outside a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

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
