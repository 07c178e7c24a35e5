"""The analysis of one incident: prompt families that a stale unique index keeps from new threads."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.notebook.begin import begin, explain, postmortem
    from incident_lib.notebook.display import counts, present, say, show, tell
    from incident_lib.notebook.incident import Incident
    from incident_lib.report import charts
    from incident_lib.report.postmortem import Postmortem

_HOMES = {
    "Incident": "notebook.incident",
    "begin": "notebook.begin",
    "counts": "notebook.display",
    "explain": "notebook.begin",
    "present": "notebook.display",
    "say": "notebook.display",
    "show": "notebook.display",
    "tell": "notebook.display",
    "Postmortem": "report.postmortem",
    "postmortem": "notebook.begin",
    "charts": "report",
}

__all__ = [
    "Incident",
    "Postmortem",
    "begin",
    "charts",
    "counts",
    "explain",
    "postmortem",
    "present",
    "say",
    "show",
    "tell",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import incident_lib` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(f"{__name__}.{home}"), name)
