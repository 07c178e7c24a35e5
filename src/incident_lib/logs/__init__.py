"""Rejected inserts from server logs of any format, as streams, and beside the threads of their environment."""

from incident_lib.logs.attempts import Attempts, log_files, read_attempts
from incident_lib.logs.coverage import Coverage
from incident_lib.logs.duplicates import DuplicateCounter, Duplicates, read_duplicates
from incident_lib.logs.entries import FORMATS, entries, recognise_format
from incident_lib.logs.reading import count_entry, read_rejections
from incident_lib.logs.rejections import NAMES
from incident_lib.logs.source import Log, open_log
from incident_lib.logs.tally import DAY, HOUR, FamilyTally, Rejections
from incident_lib.logs.threads import RejectedFamily, RejectionsAndThreads, join_threads

__all__ = [
    "DAY",
    "FORMATS",
    "HOUR",
    "NAMES",
    "Attempts",
    "Coverage",
    "DuplicateCounter",
    "Duplicates",
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
    "read_duplicates",
    "read_rejections",
    "recognise_format",
]
