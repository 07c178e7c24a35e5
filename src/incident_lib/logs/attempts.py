"""Rejected inserts of an environment: from its server logs, beside its threads."""

from __future__ import annotations

import glob
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from incident_lib.database import reading
from incident_lib.logs.duplicates import DuplicateCounter, Duplicates
from incident_lib.logs.reading import read_rejections
from incident_lib.logs.threads import RejectedFamily, join_threads
from incident_lib.model import RejectedInserts, UnreadLog, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from incident_lib.database import Environment


class Attempts(NamedTuple):
    """What logs say.

    Attributes:
        rejected: the rejected inserts, as a run record holds them; None where no log was read.
        unread: the logs that were not read.
        duplicates: how often each unique index rejected a row, whichever table it is of.
        families: the families with rejected inserts, those with most first.
    """

    rejected: RejectedInserts | None
    unread: list[UnreadLog]
    duplicates: Duplicates
    families: tuple[RejectedFamily, ...] = ()


def log_files(named: str) -> list[str]:
    """The files that a text names: several are separated by spaces, each may be a pattern.

    Raises:
        UsageError: a name or pattern leads to no file.
    """
    found = []
    try:
        patterns = shlex.split(named)
    except ValueError:
        raise UsageError(
            "The names of the logs cannot be read.", "A quote is not closed.", "Correct the parameter log."
        ) from None
    for pattern in patterns:
        names = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207 - from users
        files = sorted(name for name in names if Path(name).is_file())
        if not files:
            raise UsageError("There is no such log.", f"{pattern} leads to no file.", "Correct the parameter log.")
        found += files
    return found


def read_attempts(
    environment: Environment,
    files: list[str],
    listener: Callable[[int, int | None], None],
    purpose_since: datetime | None = None,
) -> Attempts:
    """The incident's rejected inserts in the logs, and what the threads show of their families; in one pass.

    Args:
        environment: whose logs they are.
        files: the logs; an entry that several of them have is counted once.
        listener: is called with the number of bytes read, and of all bytes.
        purpose_since: when the column purpose came: rejected inserts before it are not the incident's.

    Raises:
        Failed: a log cannot be read, or the environment cannot.
    """
    counter = DuplicateCounter()
    rejections = read_rejections(files, listener=listener, duplicates=counter)
    duplicates = counter.result(rejections.coverages)
    if not rejections.is_read:
        return Attempts(None, rejections.unread, duplicates)
    with reading(environment) as connection:
        joined = join_threads(connection, rejections.since(purpose_since))
    return Attempts(joined.as_record(), rejections.unread, duplicates, joined.families)
