"""The analysis of one incident: a unique index that is older than a column blocks prompt families from new threads.

    import incident_lib as il

| name | what it does |
|---|---|
| `environments()` | lists the environments that resolve here |
| `connect(name)` | the incident in one environment, to work with: snapshots, families, SQL; nothing is recorded |
| `begin(notebook, environment=name)` | the same with a record of the run, as the three notebooks use it |
| `compare(name, …)` | environments side by side |
| `plot` | charts on Axes of your own: `plot.before_after`, `plot.blockers`, `plot.remaining_conflicts`, `plot.bars` |
| `counts(before=…, after=…)` | the counts of several snapshots beside each other |
| `explain(name, root, owner)` | one family, thread by thread |
| `postmortem(environment=name)` | the report, from records alone; `show_section` displays a section of it |
| `headline`, `bullets`, `show`, `charts` | display a line, a list, or a chart of the report |
| `Incident`, `Snapshot`, `Postmortem` | what these return; tables are `DataFrame`s |

What has rows is a pandas DataFrame with typed columns, also when it is empty. Errors have one message: what happened,
why, what to do next.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.notebook import plot
    from incident_lib.notebook.begin import begin, connect, environments, explain, postmortem
    from incident_lib.notebook.compare import compare
    from incident_lib.notebook.display import bullets, counts, headline, show, show_section
    from incident_lib.notebook.incident import Incident
    from incident_lib.notebook.snapshot_frames import Snapshot
    from incident_lib.report import Postmortem, charts

_HOMES = {
    "Incident": "notebook.incident",
    "Postmortem": "report",
    "Snapshot": "notebook.snapshot_frames",
    "begin": "notebook.begin",
    "bullets": "notebook.display",
    "charts": "report",
    "compare": "notebook.compare",
    "connect": "notebook.begin",
    "counts": "notebook.display",
    "environments": "notebook.begin",
    "explain": "notebook.begin",
    "headline": "notebook.display",
    "plot": "notebook",
    "postmortem": "notebook.begin",
    "show": "notebook.display",
    "show_section": "notebook.display",
}

__all__ = [
    "Incident",
    "Postmortem",
    "Snapshot",
    "begin",
    "bullets",
    "charts",
    "compare",
    "connect",
    "counts",
    "environments",
    "explain",
    "headline",
    "plot",
    "postmortem",
    "show",
    "show_section",
]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: `import incident_lib` imports nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "plot":  # a module
        return import_module(f"{__name__}.notebook.plot")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names: what Tab offers."""
    return sorted(__all__)
