"""Follow what comes after the fix: who gets a chat again, and which attempts a server's log still has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib.analysis import read_recovery
from incident_lib.database import reading, resolve_environment
from incident_lib.logs import Log, Rejections, count_entry, entries, open_log, recognise_format
from incident_lib.model import INDEX_NAME, UsageError
from incident_lib.notebook import MIGRATION
from incident_lib.records import RunRecord, all_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from incident_lib.analysis import Recovery
    from incident_lib.database import Environment


@dataclass(frozen=True)
class RecoveryProgress:
    """What there was at one look: the recovery, and the attempts since the fix that a guard rejected, if known."""

    recovery: Recovery
    rejected: int | None


@dataclass
class Tail:
    """A log that grows: each look reads what has been added, and whole lines of it only."""

    file: Path
    found: Rejections = field(default_factory=Rejections)
    offset: int = 0
    inode: int = 0

    def look(self) -> Rejections:
        """All rejections so far; of a log that was rotated away the new one is begun.

        Raises:
            Failed: it cannot be read.
        """
        with open_log(str(self.file), lambda done: None) as log:  # noqa: ARG005 - nobody looks
            now = self.file.stat()
            if now.st_ino != self.inode or now.st_size < self.offset:
                self.inode, self.offset = now.st_ino, 0
                if self.file.name not in self.found.files:
                    self.found.begin(self.file.name)
            log.skip(self.offset)
            added = b"".join(iter(lambda: log.read(1 << 20), b""))
        whole = added[: _end(added)]
        if whole:
            self.offset += len(whole)
            for entry in entries(Log(BytesIO(whole), self.file.name), INDEX_NAME):
                count_entry(self.found, entry)
        return self.found


def _end(added: bytes) -> int:
    """Where what is whole ends: at a line's end, and not right behind the first line of an entry of several."""
    end = added.rfind(b"\n") + 1
    begin = added.rfind(b"\n", 0, max(0, end - 1)) + 1
    last = added[begin:end]
    goes_on = recognise_format(added) == "stderr" and b"ERROR:" in last and INDEX_NAME.encode() in last
    return begin if goes_on else end


def run_that_fixed(environment: str) -> tuple[Path, datetime]:
    """The folder of the latest run that applied the fix to an environment, and when the incident ended by it.

    Raises:
        UsageError: there is none.
    """
    for folder in all_runs(environment):
        if ended := RunRecord(folder).read().get("incident_ended_at"):
            return folder, from_iso(ended)
    raise UsageError(
        f"No run has applied the fix to {environment!r}.",
        "Recovery is counted from the families that a run saw blocked, once it has ended the incident.",
        f"Begin one: incident run --env {environment} --confirm {environment}",
    )


def watch_recovery(name: str, every: float, log: Path | None = None) -> Iterator[RecoveryProgress]:
    """Look again and again, until nobody asks any more; each look is noted in the run's record.

    Args:
        name: of the environment.
        every: seconds between two looks.
        log: of its server, which is followed.

    Raises:
        UsageError: the environment is not known, or no run has applied the fix to it.
        Failed: it cannot be reached, or the log cannot be read.
    """
    environment = resolve_environment(name, database=f"demo_{MIGRATION}")
    folder, since = run_that_fixed(name)
    tail = Tail(log) if log else None
    while True:
        yield _look(environment, folder, since, tail)
        time.sleep(every)


def _look(environment: Environment, folder: Path, since: datetime, tail: Tail | None) -> RecoveryProgress:
    with reading(environment) as connection:
        found = read_recovery(connection, folder, since)
    RunRecord(folder).set(beats=False, recovery=found.as_record())
    return RecoveryProgress(found, tail.look().ended(since).after if tail else None)
