"""Rejected inserts, from servers' logs of any format."""

from incident_lib.logs.attempts import log_files, read_attempts
from incident_lib.logs.entries import entries, recognise_format
from incident_lib.logs.failures import RejectedFamily, RejectionsAndThreads, count_entry, join_threads, read_rejections
from incident_lib.logs.source import Log, open_log
from incident_lib.logs.tally import DAY, HOUR, FamilyTally, Rejections, to_iso

__all__ = [
    "DAY",
    "HOUR",
    "FamilyTally",
    "Log",
    "RejectedFamily",
    "Rejections",
    "RejectionsAndThreads",
    "count_entry",
    "entries",
    "join_threads",
    "log_files",
    "open_log",
    "read_attempts",
    "read_rejections",
    "recognise_format",
    "to_iso",
]
