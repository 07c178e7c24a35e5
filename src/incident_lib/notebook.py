"""What a notebook calls first: begin, with its parameters checked and its run opened."""

from __future__ import annotations

import ast
import sys
import time
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from incident_lib import demo, environments, family, moments, pseudonyms, report, tables
from incident_lib.environments import DEMO
from incident_lib.errors import IncidentError, UsageError
from incident_lib.incident import Incident
from incident_lib.record import Record, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas.io.formats.style import Styler

    from incident_lib.report import Postmortem
    from incident_lib.watch import Progress


BAR_SECONDS = 2.0


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
    _check_injected()
    _check_types(environment=environment, confirm=confirm, run=run, purpose_since=purpose_since)
    if not isinstance(redact, bool):
        raise _wrong_type("redact", redact, "true or false")
    since = moments.parse(purpose_since or (demo.PURPOSE_SINCE if environment == DEMO else ""))
    found = environments.resolve(environment, database=f"demo_{notebook}")
    if environment == DEMO:
        demo.reset(f"demo_{notebook}")
    record = Record(Path(run)) if run else Record.create(environment, started_by=notebook)
    names = pseudonyms.for_environment(environment, demo.KEY) if redact else None
    incident = Incident(
        notebook=notebook,
        environment=found,
        confirm=confirm,
        record=record,
        names=names,
        alone=not run,
        purpose_since=since,
        listener=_bar(),
    )
    incident.open()
    _on_cell_error(incident.failed)
    return incident


def _record_refusal(notebook: str, environment: str, run: str, error: IncidentError) -> None:
    """Put what kept a notebook from beginning into the record of its run; into one of its own, if it has no run."""
    with suppress(IncidentError, TypeError):
        record = Record(Path(run)) if run else Record.create(environments.checked_name(environment), notebook)
        record.note_notebook(notebook, status_of(error))
        record.set(error=error.as_dict())
        if not run:
            record.finish(status_of(error))


def postmortem(environment: str = DEMO, run: str = "") -> Postmortem:
    """The postmortem of a run, or of an environment's latest; see `report.postmortem`.

    Raises:
        UsageError: a parameter has a wrong type or value, or the folder holds no run record.
    """
    _check_injected()
    _check_types(environment=environment, run=run)
    return report.postmortem(environment, run)


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
    with environments.reading(environments.resolve(environment)) as connection:
        found = family.explain(connection, *ids)
    names = pseudonyms.for_environment(environment, demo.KEY) if redact else None
    return tables.shown(tables.explained(found, names))


def _shell() -> Any:
    """The IPython shell that runs us; None outside of one."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def _bar() -> Callable[[Progress], None]:
    """A bar under the cell that applies a step, once that has taken a moment; each step has its own."""
    bars: dict[str, Any] = {}
    begun: dict[str, float] = {}

    def listen(progress: Progress) -> None:
        from IPython.display import HTML, display

        if time.monotonic() - begun.setdefault(progress.step, time.monotonic()) < BAR_SECONDS:
            return
        share = "" if progress.share is None else f' value="{progress.share:.3f}"'
        waits = "".join(f"; waits for {who}" for who in progress.blockers)
        bar = HTML(f"<progress{share}></progress> {escape(f'{progress.step}: {progress.phase}{waits}')}")
        if progress.step in bars:
            bars[progress.step].update(bar)
        else:
            bars[progress.step] = display(bar, display_id=True)

    return listen


def _on_cell_error(told: Callable[[BaseException], None]) -> None:
    """Call back for each cell that raises; whoever was called back before is not any more."""
    shell = _shell()
    if shell is None:
        return
    for old in [call for call in shell.events.callbacks["post_run_cell"] if call.__name__ == "after_cell"]:
        shell.events.unregister("post_run_cell", old)

    def after_cell(result: Any) -> None:
        if error := result.error_before_exec or result.error_in_exec:
            told(error)

    shell.events.register("post_run_cell", after_cell)


def _check_injected() -> None:
    """Refuse parameters that papermill injected and the notebook does not know: papermill only warns of them."""
    cells = _shell().user_ns.get("In", []) if _shell() else []
    known: set[str] = set()
    for cell in cells:
        if cell.startswith("# Parameters\n") and (unknown := sorted(_assigned(cell) - known)):
            raise UsageError(
                f"The notebook has no parameter {', '.join(unknown)}.",
                f"Its parameters are {', '.join(sorted(known))}.",
                "Correct the name that is given with -p.",
            )
        known |= _assigned(cell)


def _assigned(cell: str) -> set[str]:
    """The names that a cell assigns at its top level; none where it is not plain Python."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return set()
    targets = [target for statement in statements if isinstance(statement, ast.Assign) for target in statement.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _check_types(**texts: object) -> None:
    for name, value in texts.items():
        if not isinstance(value, str):
            raise _wrong_type(name, value, "a text")


def _wrong_type(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(
        f"The parameter {name} must be {wanted}.",
        f"It is {value!r}, of type {type(value).__name__}.",
        "Correct it in the notebook's first cell, or with -p.",
    )
