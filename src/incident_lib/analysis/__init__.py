"""Read-only questions to one snapshot of an environment, and probes of its clients' statements, all rolled back."""

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
    stream_blocked,
    stream_ids,
    write_blocked,
)
from incident_lib.analysis.probe import (
    FAMILIES,
    Probe,
    families_to_probe,
    probe_families,
    probe_semantics,
    verify_probes,
    verify_semantics,
)
from incident_lib.analysis.recovery import Recovery, read_recovery
from incident_lib.analysis.residual import count_provider_conflicts, find_provider_conflict, read_residual
from incident_lib.analysis.scan import Wanted, change_file, require_column, require_pairs, scan
from incident_lib.analysis.shared_keys import (
    count_shared_keys,
    list_shared_keys,
    settle,
    settling_sql,
    write_shared_keys,
)
from incident_lib.analysis.standby import Standby, read_standby
from incident_lib.analysis.subject import Subject, read_subject

__all__ = [
    "FAMILIES",
    "PLAN_FAMILY",
    "BlockedFilter",
    "FoundFamily",
    "Investigation",
    "Probe",
    "Recovery",
    "Standby",
    "Subject",
    "Wanted",
    "change_file",
    "check_access",
    "check_role",
    "check_server",
    "checksum",
    "compare_threads",
    "copy_blocked",
    "copy_blocked_json",
    "count_provider_conflicts",
    "count_shared_keys",
    "count_threads",
    "estimate_blocked",
    "explain_families",
    "explain_family",
    "families_to_probe",
    "find_family",
    "find_provider_conflict",
    "investigate",
    "investigate_as",
    "list_blocked",
    "list_shared_keys",
    "probe_families",
    "probe_semantics",
    "read_recovery",
    "read_residual",
    "read_standby",
    "read_subject",
    "require_column",
    "require_pairs",
    "scan",
    "settle",
    "settling_sql",
    "stream_blocked",
    "stream_ids",
    "summarize_blockers",
    "verify_probes",
    "verify_semantics",
    "write_blocked",
    "write_shared_keys",
]
