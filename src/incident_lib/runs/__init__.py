"""Notebooks executed through papermill: one environment, or many side by side; and the recovery after a run."""

from incident_lib.runs.fleet import FleetProgress, run_fleet
from incident_lib.runs.recovery_watch import RecoveryProgress, watch_recovery
from incident_lib.runs.runner import RunResult
from incident_lib.runs.workers import LocalProcesses

__all__ = ["FleetProgress", "LocalProcesses", "RecoveryProgress", "RunResult", "run_fleet", "watch_recovery"]
