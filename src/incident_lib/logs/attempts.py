"""Who really tried: the rejected inserts of an environment's server logs, beside its threads."""

from __future__ import annotations

import glob
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.database import DEMO, reading
from incident_lib.logs.failures import join_threads, read_rejections
from incident_lib.model import UsageError, to_iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from incident_lib.database import Environment


def log_files(environment: str, named: str) -> list[str]:
    """The files that a text names: several apart by spaces, each may be a pattern. On the demo, if empty, its own.

    Raises:
        UsageError: a name or pattern leads to no file.
    """
    if environment == DEMO and not named:
        return [str(paths.DEMO_DATA / "server.log")]
    found = []
    try:
        patterns = shlex.split(named)
    except ValueError:
        raise UsageError(
            "The logs' names cannot be read.", "A quote is not closed.", "Correct the parameter log."
        ) from None
    for pattern in patterns:
        named_so = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207 - people's
        files = sorted(file for file in named_so if Path(file).is_file())
        if not files:
            raise UsageError("There is no such log.", f"{pattern} leads to no file.", "Correct the parameter log.")
        found += files
    return found


def read_attempts(
    environment: Environment, files: list[str], listener: Callable[[int, int | None], None]
) -> dict[str, Any]:
    """What the logs and the threads say of rejected inserts, as a run record carries it: no id.

    Args:
        environment: whose logs they are.
        files: the logs; what several of them have is counted once.
        listener: is told how many bytes were read, and of how many.

    Raises:
        Failed: a log cannot be read, or the environment cannot.
    """
    found = read_rejections(files, listener=listener)
    with reading(environment) as connection:
        joined = join_threads(connection, found)
        (at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    return found.as_record() | joined.as_record() | {"joined_at": to_iso(at)}
