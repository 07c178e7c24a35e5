"""Notebooks executed through papermill: one environment, or many side by side; and the recovery after a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.runs.fleet import FleetProgress, run_fleet
    from incident_lib.runs.kernels import prepare_worker
    from incident_lib.runs.recovery_watch import RecoveryProgress, watch_recovery
    from incident_lib.runs.runner import RunResult
    from incident_lib.runs.workers import LocalProcesses

_HOMES = {
    "FleetProgress": "fleet",
    "LocalProcesses": "workers",
    "RecoveryProgress": "recovery_watch",
    "RunResult": "runner",
    "prepare_worker": "kernels",
    "run_fleet": "fleet",
    "watch_recovery": "recovery_watch",
}

__all__ = [
    "FleetProgress",
    "LocalProcesses",
    "RecoveryProgress",
    "RunResult",
    "prepare_worker",
    "run_fleet",
    "watch_recovery",
]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: a worker, and what kernels are forked from, start without the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
