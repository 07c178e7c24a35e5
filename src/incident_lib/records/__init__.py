"""Run folders on disk, and the evidence beside them: written by notebooks and runs, read for a report."""

from incident_lib.records.evidence import (
    CLAIMS,
    REHEARSAL,
    claims_file,
    evidence_beside,
    latest_rehearsal,
    read_claims,
    read_rehearsal,
    write_claims,
    write_rehearsal,
)
from incident_lib.records.files import to_json
from incident_lib.records.history import History, Run, make_history, read_histories
from incident_lib.records.run_folder import (
    RunFolder,
    all_runs,
    error_message,
    incident_runs,
    recorded_environments,
    runs_beside,
    status_after,
    status_of,
)

__all__ = [
    "CLAIMS",
    "REHEARSAL",
    "History",
    "Run",
    "RunFolder",
    "all_runs",
    "claims_file",
    "error_message",
    "evidence_beside",
    "incident_runs",
    "latest_rehearsal",
    "make_history",
    "read_claims",
    "read_histories",
    "read_rehearsal",
    "recorded_environments",
    "runs_beside",
    "status_after",
    "status_of",
    "to_json",
    "write_claims",
    "write_rehearsal",
]
