"""Watch the recovery after the fix: which families get a chat again, which inserts a server's log still rejects."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib.analysis import read_recovery
from incident_lib.database import reading, resolve_environment
from incident_lib.logs import NAMES, Log, Rejections, count_entry, entries, open_log, recognise_format
from incident_lib.model import INDEX_NAME, PURPOSE, UsageError
from incident_lib.notebook import MIGRATION
from incident_lib.records import RunFolder, all_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from incident_lib.analysis import Recovery
    from incident_lib.database import Environment


@dataclass(frozen=True)
class RecoveryProgress:
    """The recovery at one time, and the inserts that the log shows as rejected since the fix (None: no log)."""

    recovery: Recovery
    rejected: int | None

    def __str__(self) -> str:
        rejected = "" if self.rejected is None else f" Rejected since the fix: {self.rejected:,}."
        return f"{self.recovery}{rejected}"


@dataclass
class Tail:
    """A log that grows: each call reads the complete lines that were added."""

    file: Path
    found: Rejections = field(default_factory=Rejections)
    offset: int = 0
    inode: int = 0

    def read(self) -> Rejections:
        """All rejections so far; where the log was rotated, the new file is read from its beginning.

        Raises:
            Failed: it cannot be read.
        """
        with open_log(str(self.file), lambda done: None) as log:  # noqa: ARG005 - no progress
            now = self.file.stat()
            if now.st_ino != self.inode or now.st_size < self.offset:
                self.inode, self.offset = now.st_ino, 0
                if self.file.name not in self.found.files:
                    self.found.begin(self.file.name)
            log.skip(self.offset)
            added = b"".join(iter(lambda: log.read(1 << 20), b""))
        complete = added[: _end(added)]
        if complete:
            self.offset += len(complete)
            for entry in entries(Log(BytesIO(complete), self.file.name), NAMES):
                count_entry(self.found, entry)
        return self.found


def _end(added: bytes) -> int:
    """Where the complete entries end: at a line's end, and not right behind the first line of an entry of several."""
    end = added.rfind(b"\n") + 1
    begin = added.rfind(b"\n", 0, max(0, end - 1)) + 1
    last = added[begin:end]
    unfinished = recognise_format(added) == "stderr" and b"ERROR:" in last and INDEX_NAME.encode() in last
    return begin if unfinished else end


def run_that_fixed(environment: str) -> tuple[Path, datetime]:
    """The folder of the latest run that applied the fix to an environment, and when it ended the incident.

    Raises:
        UsageError: there is none.
    """
    for folder in all_runs(environment):
        record = RunFolder(folder).read()
        if record.incident_ended_at and record.change.name == PURPOSE.name:
            return folder, record.incident_ended_at
    raise UsageError(
        f"No run has applied the fix to {environment!r}.",
        "The recovery is that of the families that a run found blocked before it applied the fix. After "
        "`incident apply`, or a change by other tools, they are not known.",
        f"Where the fix is not applied yet: incident run --env {environment} --confirm {environment}",
    )


def watch_recovery(name: str, every: float, log: Path | None = None) -> Iterator[RecoveryProgress]:
    """Read the recovery again and again; each result is noted in the run's record.

    Args:
        name: of the environment.
        every: seconds between two results.
        log: of its server; what is added to it is read, too.

    Raises:
        UsageError: the environment is not known, or no run has applied the fix to it.
        Failed: it cannot be reached, or the log cannot be read.
    """
    environment = resolve_environment(name, database=f"demo_{MIGRATION}")
    folder, since = run_that_fixed(name)
    tail = Tail(log) if log else None
    while True:
        yield _progress(environment, folder, since, tail)
        time.sleep(every)


def _progress(environment: Environment, folder: Path, since: datetime, tail: Tail | None) -> RecoveryProgress:
    with reading(environment) as connection:
        found = read_recovery(connection, folder, since)
    RunFolder(folder).set(beats=False, recovery=found.as_record())
    return RecoveryProgress(found, tail.read().ended(since).after if tail else None)
