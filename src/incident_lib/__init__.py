"""The analysis of one incident: a unique index that is older than a column blocks prompt families from new threads."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.notebook.begin import begin, explain, postmortem
    from incident_lib.notebook.display import bullets, counts, headline, show, show_section
    from incident_lib.notebook.incident import Incident
    from incident_lib.report import Postmortem, charts

_HOMES = {
    "Incident": "notebook.incident",
    "Postmortem": "report",
    "begin": "notebook.begin",
    "bullets": "notebook.display",
    "charts": "report",
    "counts": "notebook.display",
    "explain": "notebook.begin",
    "headline": "notebook.display",
    "postmortem": "notebook.begin",
    "show": "notebook.display",
    "show_section": "notebook.display",
}

__all__ = [
    "Incident",
    "Postmortem",
    "begin",
    "bullets",
    "charts",
    "counts",
    "explain",
    "headline",
    "postmortem",
    "show",
    "show_section",
]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: `import incident_lib` imports nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
