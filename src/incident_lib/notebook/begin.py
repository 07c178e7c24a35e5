"""What a notebook calls first: `begin`, which checks the parameters and opens the run; and what needs no run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from incident_lib import progress
from incident_lib.analysis import explain_family
from incident_lib.database import DEMO, check_name, demo, read_catalog, reading, resolve_environment
from incident_lib.database import purpose_since as known_purpose_since
from incident_lib.model import Family, IncidentError, UsageError, parse_timestamp, pseudonyms_for, threads_table
from incident_lib.notebook.frames import styled
from incident_lib.notebook.incident import Incident
from incident_lib.notebook.parameters import check_flags, check_injected, check_texts
from incident_lib.progress import waiting
from incident_lib.records import RunFolder, error_message, status_after
from incident_lib.report import read_postmortem

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
    record: bool = False,
) -> Incident:
    """Begin a notebook: check its parameters, open its run, and print what it may do.

    On the demo the notebook gets a database of its own, as the incident left it.

    Args:
        notebook: its name, as in the run record.
        environment: which database, by name.
        confirm: the same name once more, to let the notebook change it; anything else is a dry run.
        run: the folder of the run that this notebook belongs to; empty: a new run of its own.
        purpose_since: when the column `purpose` came, ISO 8601; empty: unknown (known on the demo).
        redact: pseudonyms in place of ids; turn it off by hand only.
        record: whether a session without `run` feeds reports; one that belongs to a run does, as that run does.

    Raises:
        UsageError: a parameter has a wrong type or value, or the environment is not known.
        Failed: the run's folder cannot be written.
    """
    try:
        return _begin(notebook, environment, confirm, run, purpose_since, redact=redact, record=record)
    except IncidentError as error:
        _record_refusal(notebook, environment, run, error, recorded=record is True)
        raise


def _begin(
    notebook: str, environment: str, confirm: str, run: str, since: str, *, redact: bool, record: bool
) -> Incident:
    check_injected()
    check_texts(environment=environment, confirm=confirm, run=run, purpose_since=since)
    check_flags(redact=redact, record=record)
    parse_timestamp(since)
    with waiting(f"opening {environment} …"):
        found = resolve_environment(environment, database=f"demo_{notebook}")
        if environment == DEMO:
            demo.reset(f"demo_{notebook}")
        came = known_purpose_since(found, since)
    incident = Incident(
        notebook=notebook,
        environment=found,
        confirm=confirm,
        run=RunFolder(Path(run)) if run else RunFolder.create(environment, started_by=notebook, recorded=record),
        names=pseudonyms_for(environment) if redact else None,
        alone=not run,
        recorded=bool(run) or record,
        purpose_since=came,
        show=progress.cell_bars(),
    )
    incident.open()
    _on_cell_error(incident.failed)
    return incident


def _record_refusal(notebook: str, environment: str, run: str, error: IncidentError, *, recorded: bool) -> None:
    """Record why a notebook could not begin: in its run, or in a run of its own, if the environment is known."""
    with suppress(IncidentError, TypeError):
        if not run and environment != DEMO:
            resolve_environment(environment)
        folder = RunFolder(Path(run)) if run else RunFolder.create(check_name(environment), notebook, recorded=recorded)
        folder.note_notebook(notebook, status_after(error).value)
        folder.set(error=error_message(error))
        if not run:
            folder.finish(status_after(error))


def postmortem(environment: str = DEMO, run: str = "") -> Postmortem:
    """The postmortem of a run, or of an environment's latest; see `report.read_postmortem`.

    Raises:
        UsageError: a parameter has a wrong type or value, or the folder holds no run record.
    """
    check_injected()
    check_texts(environment=environment, run=run)
    return read_postmortem(environment, run)


def explain(environment: str, root: str, owner: str, *, redact: bool = True) -> Styler:
    """One family, thread by thread: what blocks what with the enforced indexes, and with the fixed index.

    Args:
        environment: which database, by name.
        root: the family's root prompt, a UUID.
        owner: its user, a UUID.
        redact: pseudonyms in place of ids.

    Raises:
        UsageError: the environment is not known, or an id is not a UUID.
        Failed: the environment cannot be reached, or cannot be read.
    """
    try:
        family = Family(UUID(root), UUID(owner))
    except (ValueError, AttributeError, TypeError):
        raise UsageError(
            "A family is named by two UUIDs.", "One of them is not a UUID.", "Copy them from blocked.csv."
        ) from None
    with waiting(f"reading {environment} …"), reading(resolve_environment(environment)) as connection:
        threads = explain_family(connection, read_catalog(connection), family)
    return styled(threads_table(threads, pseudonyms_for(environment) if redact else None))


def _on_cell_error(call: Callable[[BaseException], None]) -> None:
    """Call back for each cell that raises; an earlier callback of this kind is removed."""
    shell = progress.shell()
    if shell is None:
        return
    for old in [each for each in shell.events.callbacks["post_run_cell"] if each.__name__ == "after_cell"]:
        shell.events.unregister("post_run_cell", old)

    def after_cell(result: Any) -> None:
        if error := result.error_before_exec or result.error_in_exec:
            call(error)

    shell.events.register("post_run_cell", after_cell)
