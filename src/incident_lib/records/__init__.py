"""Run folders on disk, and the evidence beside them: written by notebooks and runs, read for a report."""

from incident_lib.records.answered import Answers, add_answer, add_both, read_answers
from incident_lib.records.changes import ChangeFile, read_changes, recording_change
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
from incident_lib.records.index import RunEntry, delete_run, find_run, list_runs, unreadable_folders
from incident_lib.records.run_folder import (
    RunFolder,
    all_runs,
    change_of,
    error_message,
    incident_runs,
    package_versions,
    recorded_environments,
    recorded_runs,
    runs_beside,
    status_after,
    status_of,
)

__all__ = [
    "CLAIMS",
    "REHEARSAL",
    "Answers",
    "ChangeFile",
    "History",
    "Run",
    "RunEntry",
    "RunFolder",
    "add_answer",
    "add_both",
    "all_runs",
    "change_of",
    "claims_file",
    "delete_run",
    "error_message",
    "evidence_beside",
    "find_run",
    "incident_runs",
    "latest_rehearsal",
    "list_runs",
    "make_history",
    "package_versions",
    "read_answers",
    "read_changes",
    "read_claims",
    "read_histories",
    "read_rehearsal",
    "recorded_environments",
    "recorded_runs",
    "recording_change",
    "runs_beside",
    "status_after",
    "status_of",
    "to_json",
    "unreadable_folders",
    "write_claims",
    "write_rehearsal",
]
