"""The change of the unique index: plan, preflight, execute, monitor, verify, and the same as SQL files."""

from incident_lib.migration.executor import MigrationResult, apply, require_confirm
from incident_lib.migration.monitor import Progress
from incident_lib.migration.plan import plan_change
from incident_lib.migration.preflight import Preflight, run_preflight
from incident_lib.migration.probe import FAMILIES, Probe, probe_families, probe_semantics
from incident_lib.migration.script import migration_files, migration_script, settling_sql
from incident_lib.migration.verify import holds, verify_catalog, verify_commits, verify_probes, verify_semantics

__all__ = [
    "FAMILIES",
    "MigrationResult",
    "Preflight",
    "Probe",
    "Progress",
    "apply",
    "holds",
    "migration_files",
    "migration_script",
    "plan_change",
    "probe_families",
    "probe_semantics",
    "require_confirm",
    "run_preflight",
    "settling_sql",
    "verify_catalog",
    "verify_commits",
    "verify_probes",
    "verify_semantics",
]
