"""What a notebook calls first: `connect` and `begin`, which check the parameters; and what needs no Incident."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from incident_lib import progress
from incident_lib.database import DEMO, check_name, known_environments, resolve_environment
from incident_lib.database import purpose_since as known_purpose_since
from incident_lib.model import (
    CHANGES,
    PURPOSE,
    Column,
    IncidentError,
    RunStatus,
    UsageError,
    change_command,
    parse_timestamp,
    pseudonyms_for,
    settled_sentence,
)
from incident_lib.notebook.demo_stage import set_stage
from incident_lib.notebook.frames import make_frame
from incident_lib.notebook.incident import Incident
from incident_lib.notebook.parameters import check_flags, check_injected, check_texts, names_in
from incident_lib.notebook.session import MIGRATION, Recording
from incident_lib.progress import waiting
from incident_lib.records import RunFolder, error_message, status_after, status_of
from incident_lib.report import read_postmortem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.database import Environment
    from incident_lib.model import IndexChange, SettledThreads
    from incident_lib.notebook.frames import Frame
    from incident_lib.report import Postmortem

_opened: WeakSet[Incident] = WeakSet()


def environments() -> Frame:
    """The environments that resolve here: the names that `connect` takes, and how each resolves.

    Nothing is connected to.

    Returns:
        Columns: environment, resolved_by (str). The first one is `demo`, an embedded PostgreSQL.
    """
    return make_frame((Column("environment"), Column("resolved_by")), known_environments())


def connect(
    environment: str,
    *,
    confirm: str = "",
    purpose_since: str = "",
    redact: bool = True,
    notebook: str = "",
    run: str = "",
    record: bool = False,
    change: str = PURPOSE.name,
) -> Incident:
    """The incident in one environment, to work with. Without `notebook`, nothing is recorded, and no folder written.

    No connection stays open between two calls. If this fails, an earlier Incident of the same variable cannot be used
    any more, nor its snapshots: no later cell works on another environment than the one that was meant.

    Args:
        environment: which database, by name; `environments()` lists those that resolve.
        confirm: the same name once more, to allow changes; anything else is a dry run.
        purpose_since: when the column `purpose` came, ISO 8601; empty: unknown (known on the demo).
        redact: pseudonyms in place of ids; turn it off by hand only.
        notebook: a name for the run record; empty: nothing is recorded. On the demo, each notebook gets a database of
            its own, as the incident left it.
        run: the folder of the run that the notebook belongs to; empty: a new run of its own.
        record: whether a session without `run` feeds reports; one that belongs to a run does, as that run does.
        change: which change of the unique index is planned and made: `purpose`, or `provider` after it.

    Raises:
        UsageError: a parameter has a wrong type or value, the environment is not known, or the run has ended, or is
            of another change.
        Failed: the run's folder cannot be written.
    """
    _leave_records()
    try:
        check_injected()
        check_texts(environment=environment, confirm=confirm, run=run, purpose_since=purpose_since, notebook=notebook)
        check_texts(change=change)
        check_flags(redact=redact, record=record)
        named = _named_change(change)
        incident = _opened_incident(
            environment, confirm, purpose_since, notebook, run, named, redact=redact, record=record
        )
    except IncidentError as error:
        _revoke_earlier(notebook, error)
        if notebook:
            _record_refusal(notebook, environment, run, error, recorded=record is True)
        raise
    _opened.add(incident)
    return incident


def begin(
    notebook: str,
    *,
    environment: str = DEMO,
    confirm: str = "",
    run: str = "",
    purpose_since: str = "",
    redact: bool = True,
    record: bool = False,
    change: str = PURPOSE.name,
) -> Incident:
    """Begin a notebook: `connect` with a record of its run. The same parameters, in the notebook's order."""
    return connect(
        environment,
        confirm=confirm,
        purpose_since=purpose_since,
        redact=redact,
        notebook=notebook,
        run=run,
        record=record,
        change=change,
    )


def _named_change(name: str) -> IndexChange:
    """The change of the incident's index of that name."""
    if name in CHANGES:
        return CHANGES[name]
    raise UsageError(
        f"There is no change {name!r}.",
        f"The notebooks know {' and '.join(CHANGES)}; changes of other tables are made by commands.",
        f"Set change to one of these, or read: {change_command('plan', '')} --help",
    )


def _opened_incident(
    environment: str,
    confirm: str,
    purpose_since: str,
    notebook: str,
    run: str,
    change: IndexChange,
    *,
    redact: bool,
    record: bool,
) -> Incident:
    if run and not notebook:
        raise UsageError("A run needs a notebook.", "run is given, and notebook is not.", "Pass notebook=… as well.")
    parse_timestamp(purpose_since)
    found, settled = _resolved(environment, notebook, _change_of_run(run, environment, change) if run else change)
    came = known_purpose_since(found, purpose_since)
    recording = _recording(notebook, environment, run, change, record=record) if notebook else None
    incident = Incident(
        found,
        confirm=confirm,
        names=pseudonyms_for(environment) if redact else None,
        purpose_since=came,
        recording=recording,
        show=progress.cell_bars(),
        change=change,
    )
    _print_intent(incident, recording, redact=redact)
    if recording:
        recording.open()
        if settled:
            recording.note(settled=settled)
            print(settled_sentence(settled, change.name))  # noqa: T201
        _on_cell_error(recording.failed)
    return incident


def _change_of_run(run: str, environment: str, change: IndexChange) -> IndexChange:
    """The change that a run makes: a notebook of `purpose` may be part of a run of any change.

    Raises:
        UsageError: it makes another one than the notebook does.
    """
    made = _running(run, environment).read().change.name
    if change.name in {made, PURPOSE.name} and made in CHANGES:
        return CHANGES[made]
    raise UsageError(
        f"The run {Path(run).name} does not make the change {change.name}.",
        f"It makes the change {made}.",
        "Leave run empty: the notebook gets a run of its own.",
    )


def _resolved(environment: str, notebook: str, change: IndexChange) -> tuple[Environment, SettledThreads | None]:
    """The environment; on the demo, a notebook gets a database of its own, made again as it is before the change.

    Returns:
        It, and which threads were ended for that: None where none was.
    """
    if notebook and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", notebook):
        raise UsageError(
            f"{notebook!r} cannot be the name of a notebook.",
            "A name has letters, digits, `_` and `-` only.",
            "Use a name like 01_investigate.",
        )
    database = f"{DEMO}_{notebook}" if notebook else DEMO
    with waiting(f"opening {environment} …"):
        found = resolve_environment(environment, database=database)
        settled = set_stage(found, database, change) if environment == DEMO and notebook else None
    return found, settled


def _recording(notebook: str, environment: str, run: str, change: IndexChange, *, record: bool) -> Recording:
    """The record of this notebook's run: a new one, or that of a run that goes on.

    Raises:
        UsageError: the run has ended, or is of another environment.
    """
    if run:
        folder = _running(run, environment)
    else:
        folder = RunFolder.create(environment, notebook, recorded=record, change=change)
    return Recording(
        notebook=notebook,
        run=folder,
        names=pseudonyms_for(environment),
        alone=not run,
        recorded=bool(run) or record,
    )


def _running(run: str, environment: str) -> RunFolder:
    folder = RunFolder(Path(run))
    record = folder.read()
    status = status_of(record)
    if record.environment != environment:
        why = f"It is of the environment {record.environment!r}, not of {environment!r}."
    elif status != RunStatus.RUNNING.value:
        why = f"It has ended: {status}."
    else:
        return folder
    raise UsageError(
        f"The run {folder.folder.name} cannot be continued.",
        why,
        "Leave run empty: the notebook gets a run of its own.",
    )


def _print_intent(incident: Incident, recording: Recording | None, *, redact: bool) -> None:
    """Print what the notebook may do, and what of it is shared."""
    name = incident.environment.name
    if not redact:
        print("DO NOT SHARE: redact is off, and the outputs below hold raw ids.")  # noqa: T201
    if recording and recording.notebook == MIGRATION and incident.dry_run:
        print(f"DRY RUN: nothing will be changed in {name!r}. Set confirm to {name!r} to allow changes.")  # noqa: T201
    elif recording and recording.notebook == MIGRATION:
        print(f"This notebook may change {name!r}: confirm allows it.")  # noqa: T201
    if recording and not recording.recorded:
        print("Not recorded: reports leave this session out. Set record to True to record it.")  # noqa: T201


def _record_refusal(notebook: str, environment: str, run: str, error: IncidentError, *, recorded: bool) -> None:
    """Record why a notebook could not begin: in its run, or in a run of its own, if the environment is known."""
    with suppress(IncidentError, TypeError):
        if run:
            folder = _running(run, environment)
        else:
            if environment != DEMO:
                resolve_environment(environment)
            folder = RunFolder.create(check_name(environment), notebook, recorded=recorded)
        folder.note_notebook(notebook, status_after(error).value)
        folder.set(error=error_message(error))
        if not run:
            folder.finish(status_after(error))


# Earlier Incidents


def _revoke_earlier(notebook: str, error: IncidentError) -> None:
    """End the use of the Incidents that the failed one was to replace: of this notebook, or of the cell's variables."""
    message = UsageError(
        "No environment is connected.",
        f"The last attempt failed: {error.what} {error.why}",
        "Correct the parameters, and run the cell that connects again.",
    )
    replaced = {id(value) for value in _variables_of_the_cell()}
    for incident in list(_opened):
        if id(incident) in replaced or (notebook and incident._notebook == notebook):
            incident._access.error = message
            _opened.discard(incident)


def _variables_of_the_cell() -> Iterator[object]:
    """What the variables hold that the running cell sets."""
    shell = progress.shell()
    if shell is None or not (cells := shell.user_ns.get("In")):
        return
    with suppress(SyntaxError):
        for name in names_in(shell.transform_cell(cells[-1])):
            if name in shell.user_ns:
                yield shell.user_ns[name]


def _leave_records() -> None:
    """From now on, an error in a cell changes no record of a notebook that was begun earlier."""
    if shell := progress.shell():
        for old in [each for each in shell.events.callbacks["post_run_cell"] if each.__name__ == "after_cell"]:
            shell.events.unregister("post_run_cell", old)


def _on_cell_error(call: Callable[[BaseException], None]) -> None:
    """Call back for each cell that raises."""
    shell = progress.shell()
    if shell is None:
        return

    def after_cell(result: Any) -> None:
        if error := result.error_before_exec or result.error_in_exec:
            call(error)

    shell.events.register("post_run_cell", after_cell)


# Without an Incident


def postmortem(environment: str = DEMO, run: str = "") -> Postmortem:
    """The postmortem of a run, or of an environment's incident; on the demo, of the example run.

    Args:
        environment: its name; empty: all environments.
        run: the folder of a run: the incident as it was known to it.

    Returns:
        The report: `title`, `facts`, `sections`; `show_section` displays one of them.

    Raises:
        UsageError: a parameter has a wrong type or value, or the folder holds no run record.
    """
    check_injected()
    check_texts(environment=environment, run=run)
    return read_postmortem(environment, run)


def explain(environment: str, root: str, owner: str, *, redact: bool = True) -> Frame:
    """One family, thread by thread: `connect(environment).threads(root, owner)`."""
    return connect(environment, redact=redact).threads(root, owner)
