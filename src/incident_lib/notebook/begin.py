"""What a notebook calls first: begin, with its parameters checked and its run opened."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from incident_lib import progress
from incident_lib.analysis import explain_family
from incident_lib.database import DEMO, check_name, demo, reading, resolve_environment
from incident_lib.model import IncidentError, UsageError, parse_timestamp, pseudonyms_for
from incident_lib.notebook import frames
from incident_lib.notebook.incident import Incident
from incident_lib.notebook.parameters import check_injected, check_texts, wrong_type
from incident_lib.progress import waiting
from incident_lib.records import RunRecord, status_of
from incident_lib.report import postmortem as report_postmortem

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas.io.formats.style import Styler

    from incident_lib.report import Postmortem


def begin(
    notebook: str,
    *,
    environment: str = DEMO,
    confirm: str = "",
    run: str = "",
    purpose_since: str = "",
    redact: bool = True,
) -> Incident:
    """Begin a notebook: check its parameters, open its run, and say first what it may do.

    On the demo the notebook gets a database of its own, as the incident left it.

    Args:
        notebook: its name, as in the run record.
        environment: which database, by name.
        confirm: the same name once more, to let the notebook change it; anything else is a dry run.
        run: the folder of the run that this notebook belongs to; empty: a new run of its own.
        purpose_since: when the column `purpose` came, ISO 8601; empty: unknown (known on the demo).
        redact: pseudonyms in place of ids; off by hand only.

    Raises:
        UsageError: a parameter has a wrong type or value, or the environment is not known.
        Failed: the run's folder cannot be written.
    """
    try:
        return _begun(notebook, environment, confirm, run, purpose_since, redact)
    except IncidentError as error:
        _record_refusal(notebook, environment, run, error)
        raise


def _begun(notebook: str, environment: str, confirm: str, run: str, purpose_since: str, redact: bool) -> Incident:
    check_injected()
    check_texts(environment=environment, confirm=confirm, run=run, purpose_since=purpose_since)
    if not isinstance(redact, bool):
        raise wrong_type("redact", redact, "true or false")
    since = parse_timestamp(purpose_since or (demo.PURPOSE_SINCE if environment == DEMO else ""))
    with waiting(f"opening {environment} …"):
        found = resolve_environment(environment, database=f"demo_{notebook}")
        if environment == DEMO:
            demo.reset(f"demo_{notebook}")
    record = RunRecord(Path(run)) if run else RunRecord.create(environment, started_by=notebook)
    names = pseudonyms_for(environment) if redact else None
    incident = Incident(
        notebook=notebook,
        environment=found,
        confirm=confirm,
        record=record,
        names=names,
        alone=not run,
        purpose_since=since,
        show=progress.cell_bars(),
    )
    incident.open()
    _on_cell_error(incident.failed)
    return incident


def _record_refusal(notebook: str, environment: str, run: str, error: IncidentError) -> None:
    """Put what kept a notebook from beginning into the record of its run; into one of its own, if it has no run."""
    with suppress(IncidentError, TypeError):
        record = RunRecord(Path(run)) if run else RunRecord.create(check_name(environment), notebook)
        record.note_notebook(notebook, status_of(error))
        record.set(error=error.as_dict())
        if not run:
            record.finish(status_of(error))


def postmortem(environment: str = DEMO, run: str = "") -> Postmortem:
    """The postmortem of a run, or of an environment's latest; see `report.postmortem`.

    Raises:
        UsageError: a parameter has a wrong type or value, or the folder holds no run record.
    """
    check_injected()
    check_texts(environment=environment, run=run)
    return report_postmortem(environment, run)


def explain(environment: str, root: str, owner: str, *, redact: bool = True) -> Styler:
    """One family, thread by thread: what blocks what under the guards in force, and under the fixed guard.

    Args:
        environment: which database, by name.
        root: the family's root prompt, a UUID.
        owner: its user, a UUID.
        redact: pseudonyms in place of ids.

    Raises:
        UsageError: the environment is not known, or an id is no UUID.
        Failed: the environment is not to be reached, or not to be read.
    """
    try:
        ids = UUID(root), UUID(owner)
    except (ValueError, AttributeError, TypeError):
        raise UsageError(
            "A family is named by two UUIDs.", "One of them is none.", "Copy them from blocked.csv."
        ) from None
    with waiting(f"looking at {environment} …"), reading(resolve_environment(environment)) as connection:
        found = explain_family(connection, *ids)
    names = pseudonyms_for(environment) if redact else None
    return frames.styled(frames.explained(found, names))


def _on_cell_error(told: Callable[[BaseException], None]) -> None:
    """Call back for each cell that raises; whoever was called back before is not any more."""
    shell = progress.shell()
    if shell is None:
        return
    for old in [call for call in shell.events.callbacks["post_run_cell"] if call.__name__ == "after_cell"]:
        shell.events.unregister("post_run_cell", old)

    def after_cell(result: Any) -> None:
        if error := result.error_before_exec or result.error_in_exec:
            told(error)

    shell.events.register("post_run_cell", after_cell)
