"""The records of changes of other tables: a file for each `apply` and `rollback`, beside the environment's runs."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from incident_lib import paths
from incident_lib.model import (
    ChangeDefinition,
    ChangeRecord,
    ErrorMessage,
    IncidentError,
    Interrupted,
    RunStatus,
    as_type,
    pseudonyms_for,
)
from incident_lib.records.files import read_json, write_json
from incident_lib.records.run_folder import status_after

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "change-"


class ChangeFile:
    """The file of one change that is being made: replaced as a whole at each step."""

    def __init__(self, file: Path, record: ChangeRecord) -> None:
        self.file, self.record = file, record

    def set(self, **values: Any) -> None:
        """Set fields of the record; ids within texts become pseudonyms.

        Raises:
            Failed: the file cannot be written.
        """
        changed = msgspec.to_builtins(msgspec.structs.replace(self.record, **values))
        self.record = as_type(pseudonyms_for(self.record.environment).scrub(changed), ChangeRecord)
        write_json(self.file, self.record)


@contextmanager
def recording_change(record: ChangeRecord) -> Iterator[ChangeFile]:
    """Write the record of a change that begins now, and how it ends.

    Raises:
        Failed: the folder of runs cannot be written; nothing was begun.
    """
    stamp = record.started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    log = ChangeFile(paths.environment_file(record.environment, f"{_PREFIX}{stamp}.json"), record)
    log.set(status=RunStatus.RUNNING)
    try:
        yield log
    except IncidentError as error:
        status = RunStatus.FAILED if isinstance(error, Interrupted) else status_after(error)
        log.set(status=status, finished_at=datetime.now(UTC), error=ErrorMessage.of(error))
        raise
    log.set(status=RunStatus.SUCCEEDED, finished_at=datetime.now(UTC))


def read_changes(environment: str, change: ChangeDefinition) -> list[ChangeRecord]:
    """What was done to an environment about this change, the earliest first; it may have had another file's name.

    Raises:
        UsageError: a record cannot be read.
    """
    files = sorted((paths.runs() / environment).glob(f"{_PREFIX}*.json"))
    records = [read_json(file, ChangeRecord, "Remove it: it is of another version.") for file in files]
    return [record for record in records if _is_same(record.change, change)]


def _is_same(one: ChangeDefinition, other: ChangeDefinition) -> bool:
    return msgspec.structs.replace(one, name=other.name) == other
