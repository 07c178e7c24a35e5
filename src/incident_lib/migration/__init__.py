"""A change of a unique index: plan, preflight, execute, monitor, verify, and the same as SQL files."""

from incident_lib.migration.executor import MigrationResult, apply, require_confirm
from incident_lib.migration.monitor import Progress
from incident_lib.migration.plan import plan_change
from incident_lib.migration.preflight import Found, Preflight, run_preflight
from incident_lib.migration.script import migration_files, migration_script
from incident_lib.migration.verify import enforced_alone, holds, verify_catalog, verify_commits

__all__ = [
    "Found",
    "MigrationResult",
    "Preflight",
    "Progress",
    "apply",
    "enforced_alone",
    "holds",
    "migration_files",
    "migration_script",
    "plan_change",
    "require_confirm",
    "run_preflight",
    "verify_catalog",
    "verify_commits",
]
