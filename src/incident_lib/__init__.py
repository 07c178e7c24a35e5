"""The analysis of one incident: prompt families that a stale unique index keeps from new threads."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.display import counts, present, say, show, tell
    from incident_lib.incident import Incident
    from incident_lib.notebook import begin, explain, postmortem
    from incident_lib.report import Postmortem, charts

_HOMES = {
    "Incident": "incident",
    "begin": "notebook",
    "counts": "display",
    "explain": "notebook",
    "present": "display",
    "say": "display",
    "show": "display",
    "tell": "display",
    "Postmortem": "report",
    "postmortem": "notebook",
    "charts": "report",
    "tables": None,
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
    return import_module(f"{__name__}.{name}") if home is None else getattr(import_module(f"{__name__}.{home}"), name)
