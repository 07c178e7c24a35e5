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
from incident_lib.records.run_folder import (
    RunFolder,
    all_runs,
    error_message,
    latest_runs,
    status_after,
    status_of,
)

__all__ = [
    "CLAIMS",
    "REHEARSAL",
    "RunFolder",
    "all_runs",
    "claims_file",
    "error_message",
    "evidence_beside",
    "latest_rehearsal",
    "latest_runs",
    "read_claims",
    "read_rehearsal",
    "status_after",
    "status_of",
    "to_json",
    "write_claims",
    "write_rehearsal",
]
