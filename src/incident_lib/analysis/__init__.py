"""Read-only questions to one snapshot of an environment."""

from incident_lib.analysis.access import check_access
from incident_lib.analysis.blockers import summarize_blockers
from incident_lib.analysis.example import PLAN_FAMILY, choose_example, example_record
from incident_lib.analysis.families import Thread, explain_family
from incident_lib.analysis.integrity import checksum, compare_threads
from incident_lib.analysis.investigate import (
    Investigation,
    copy_blocked,
    count_threads,
    investigate,
    list_blocked,
    list_duplicates,
    write_blocked,
    write_duplicates,
)
from incident_lib.analysis.recovery import Recovery, read_recovery
from incident_lib.analysis.residual import read_residual

__all__ = [
    "PLAN_FAMILY",
    "Investigation",
    "Recovery",
    "Thread",
    "check_access",
    "checksum",
    "choose_example",
    "compare_threads",
    "copy_blocked",
    "count_threads",
    "example_record",
    "explain_family",
    "investigate",
    "list_blocked",
    "list_duplicates",
    "read_recovery",
    "read_residual",
    "summarize_blockers",
    "write_blocked",
    "write_duplicates",
]
