"""Follow what comes after the fix: who gets a chat again, and which attempts a server's log still has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib import environments, failures, logs, record, recovery
from incident_lib.catalog import GUARD_NAME
from incident_lib.errors import UsageError
from incident_lib.failures.tally import Failures
from incident_lib.moments import read
from incident_lib.record import Record
from incident_lib.session import MIGRATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from incident_lib.environments import Environment
    from incident_lib.recovery import Recovery


@dataclass(frozen=True)
class Seen:
    """What there was at one look: the recovery, and the attempts since the fix that a guard rejected, if known."""

    recovery: Recovery
    rejected: int | None


@dataclass
class Tail:
    """A log that grows: each look reads what has been added, and whole lines of it only."""

    file: Path
    found: Failures = field(default_factory=Failures)
    offset: int = 0
    inode: int = 0

    def look(self) -> Failures:
        """All rejections so far; of a log that was rotated away the new one is begun.

        Raises:
            Failed: it cannot be read.
        """
        with logs.opened(str(self.file), lambda done: None) as log:  # noqa: ARG005 - nobody looks
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
            for entry in logs.entries(logs.Log(BytesIO(whole), self.file.name), GUARD_NAME):
                failures.count(self.found, entry)
        return self.found


def _end(added: bytes) -> int:
    """Where what is whole ends: at a line's end, and not right behind the first line of an entry of several."""
    end = added.rfind(b"\n") + 1
    begin = added.rfind(b"\n", 0, max(0, end - 1)) + 1
    last = added[begin:end]
    goes_on = logs.recognised(added) == "stderr" and b"ERROR:" in last and GUARD_NAME.encode() in last
    return begin if goes_on else end


def fixed_run(environment: str) -> tuple[Path, datetime]:
    """The folder of the latest run that applied the fix to an environment, and when the incident ended by it.

    Raises:
        UsageError: there is none.
    """
    for folder in record.all_of(environment):
        if ended := Record(folder).read().get("incident_ended_at"):
            return folder, read(ended)
    raise UsageError(
        f"No run has applied the fix to {environment!r}.",
        "Recovery is counted from the families that a run saw blocked, once it has ended the incident.",
        f"Begin one: incident run --env {environment} --confirm {environment}",
    )


def follow(name: str, every: float, log: Path | None = None) -> Iterator[Seen]:
    """Look again and again, until nobody asks any more; each look is noted in the run's record.

    Args:
        name: of the environment.
        every: seconds between two looks.
        log: of its server, which is followed.

    Raises:
        UsageError: the environment is not known, or no run has applied the fix to it.
        Failed: it cannot be reached, or the log cannot be read.
    """
    environment = environments.resolve(name, database=f"demo_{MIGRATION}")
    folder, since = fixed_run(name)
    tail = Tail(log) if log else None
    while True:
        yield _look(environment, folder, since, tail)
        time.sleep(every)


def _look(environment: Environment, folder: Path, since: datetime, tail: Tail | None) -> Seen:
    with environments.reading(environment) as connection:
        found = recovery.recovery(connection, folder, since)
    Record(folder).set(beats=False, recovery=found.as_record())
    return Seen(found, tail.look().ended(since).after if tail else None)
