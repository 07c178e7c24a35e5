"""Read-only questions to one snapshot of an environment: what is blocked, by what, since when, and what remains."""

from incident_lib.analysis.access import check_access, check_role, check_server
from incident_lib.analysis.blockers import summarize_blockers
from incident_lib.analysis.families import PLAN_FAMILY, explain_families, explain_family
from incident_lib.analysis.finding import FoundFamily, find_family
from incident_lib.analysis.integrity import checksum, compare_threads
from incident_lib.analysis.investigate import (
    BlockedFilter,
    Investigation,
    copy_blocked,
    copy_blocked_json,
    count_threads,
    estimate_blocked,
    investigate,
    investigate_as,
    list_blocked,
    list_duplicates,
    stream_blocked,
    stream_ids,
    write_blocked,
    write_duplicates,
)
from incident_lib.analysis.recovery import Recovery, read_recovery
from incident_lib.analysis.residual import count_provider_conflicts, find_provider_conflict, read_residual
from incident_lib.analysis.standby import Standby, read_standby

__all__ = [
    "PLAN_FAMILY",
    "BlockedFilter",
    "FoundFamily",
    "Investigation",
    "Recovery",
    "Standby",
    "check_access",
    "check_role",
    "check_server",
    "checksum",
    "compare_threads",
    "copy_blocked",
    "copy_blocked_json",
    "count_provider_conflicts",
    "count_threads",
    "estimate_blocked",
    "explain_families",
    "explain_family",
    "find_family",
    "find_provider_conflict",
    "investigate",
    "investigate_as",
    "list_blocked",
    "list_duplicates",
    "read_recovery",
    "read_residual",
    "read_standby",
    "stream_blocked",
    "stream_ids",
    "summarize_blockers",
    "write_blocked",
    "write_duplicates",
]
