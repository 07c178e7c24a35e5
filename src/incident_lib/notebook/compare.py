"""Several environments side by side, without a run of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from incident_lib.analysis import investigate
from incident_lib.database import reading
from incident_lib.model import Column, IncidentError, UsageError, pseudonyms_for
from incident_lib.notebook.begin import connect
from incident_lib.notebook.frames import make_frame
from incident_lib.progress import waiting

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.notebook.frames import Frame

COLUMNS = (
    Column("environment"),
    Column("unique_index"),
    Column("families", dtype="Int64"),
    Column("active_threads", dtype="Int64"),
    Column("blocked_for_chat", dtype="Int64"),
    Column("blocked_for_run", dtype="Int64"),
    Column("provider_conflicts", dtype="Int64"),
    Column("at", "at (UTC)", "datetime64[us, UTC]"),
    Column("problem", missing="none"),
)


def compare(*environments: str) -> Frame:
    """Environments side by side: one row for each, of a snapshot of its own. Nothing is recorded.

    An environment that cannot be read has a row that says why.

    Args:
        environments: their names.

    Returns:
        Columns: environment, unique_index (its state: original, fixed, …) (str), families, active_threads,
        blocked_for_chat, blocked_for_run, provider_conflicts (Int64; <NA>: not known), at (datetime64[us, UTC]),
        problem (str; missing: none).

    Raises:
        UsageError: no name is given, or a name does not resolve.
    """
    if not environments:
        raise UsageError("No environment is named.", "compare() got none.", 'Name them: il.compare("dev", "staging").')
    found = [connect(name).environment for name in environments]
    return make_frame(COLUMNS, [_row(environment) for environment in found])


def _row(environment: Environment) -> tuple[Any, ...]:
    try:
        with waiting(f"reading {environment.name} …"), reading(environment) as connection:
            found = investigate(connection)
    except IncidentError as error:
        problem = pseudonyms_for(environment.name).scrub(f"{error.what} {error.why}")
        return (environment.name, *[None] * (len(COLUMNS) - 2), problem)
    counts = found.counts
    return (
        environment.name,
        found.catalog.state.value,
        counts.families,
        counts.active_threads,
        counts.blocked.chat,
        counts.blocked.run,
        counts.residual_conflicts,
        found.at,
        None,
    )
