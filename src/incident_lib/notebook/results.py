"""What applying, verifying, probing and the recovery return: a short repr, attributes, a table where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.analysis import Probe, Recovery
from incident_lib.migration import holds
from incident_lib.model import (
    PURPOSE,
    Column,
    checks_table,
    format_minute,
    make_table,
    redundant_table,
    scan_sentence,
    steps_table,
    suspects_table,
)
from incident_lib.notebook.frames import make_frame, to_frame

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.migration import MigrationResult
    from incident_lib.model import Check, IndexChange, ScanFindings, Table
    from incident_lib.notebook.frames import Frame


class Applied:
    """What `Incident.apply` did.

    Attributes:
        environment: its name.
        dry_run: whether nothing was changed, since `confirm` is not the environment's name.
        ended_at: when the index from before the change stopped rejecting inserts, in UTC; None: this did not end that.
        steps: one row for each step that was run: step, sql, outcome (str), seconds (Float64).
    """

    def __init__(self, environment: str, migration: MigrationResult | None, change: IndexChange = PURPOSE) -> None:
        self.environment = environment
        self._words = change.wording
        self.dry_run = migration is None
        self.ended_at: datetime | None = migration.ended_at if migration else None
        self._table = steps_table(migration.steps if migration else [])

    @property
    def steps(self) -> Frame:
        """The steps that were run, in order."""
        return to_frame(self._table)

    def __str__(self) -> str:
        if self.dry_run:
            name = self.environment
            return f"Dry run: nothing was changed. Set confirm to {name!r} to apply {self._words.act}."
        if not self._table.rows:
            return "Nothing was left to do."
        ended = (
            f" The {self._words.original} index stopped rejecting inserts at {format_minute(self.ended_at)} UTC."
            if self.ended_at
            else ""
        )
        return f"{len(self._table.rows)} steps were run.{ended}"

    def __repr__(self) -> str:
        done = ", ".join(f"{row[0]} {row[-1]}" for row in self._table.rows)
        what = "dry run, nothing was changed" if self.dry_run else done or "nothing was left to do"
        return f"<Applied in {self.environment}: {what}>"

    def _repr_html_(self) -> str:
        if not self._table.rows:
            return f"<p>{self}</p>"
        return to_frame(_outcomes(self._table))._repr_html_() or ""


def _outcomes(steps: Table) -> Table:
    """The steps with their outcomes alone: SQL and seconds are in `steps` and in the report."""
    wanted = [place for place, column in enumerate(steps.columns) if column.name in {"step", "outcome"}]
    return make_table([steps.columns[p] for p in wanted], ([row[p] for p in wanted] for row in steps.rows))


class Verified:
    """What `Incident.verify` found.

    Attributes:
        holds: whether none of the checks fails.
        checks: one row for each check: check, status, finding, action (str).
    """

    def __init__(self, environment: str, checks: tuple[Check, ...]) -> None:
        self.environment = environment
        self.holds = holds(checks)
        self._checks = checks

    @property
    def checks(self) -> Frame:
        """The checks, one a row."""
        return to_frame(checks_table(self._checks))

    def __repr__(self) -> str:
        failed = ", ".join(check.name for check in self._checks if check.status.value == "fail")
        return f"<Verified in {self.environment}: {f'fails: {failed}' if failed else 'every check holds'}>"

    def _repr_html_(self) -> str:
        return self.checks._repr_html_() or ""


class Probed:
    """What PostgreSQL answered to the chat client's statements, which `Incident.probe` sent and rolled back.

    Attributes:
        admitted, rejected, not_probed: families, by the answer.
        dry_run: whether nothing was sent, since `confirm` is not the environment's name.
    """

    def __init__(self, probe: Probe | None) -> None:
        self.dry_run = probe is None
        self._probe = probe or Probe("chat")
        self.admitted, self.rejected = self._probe.admitted, self._probe.rejected
        self.not_probed = self._probe.not_probed

    def __str__(self) -> str:
        return "Not probed: this is a dry run, and a probe writes." if self.dry_run else str(self._probe)

    def __repr__(self) -> str:
        return f"<Probed: {self}>"

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>"


class Recovered:
    """How many of the families that were blocked for chat have got one since the fix, as `Incident.recovery` read it.

    Attributes:
        blocked, recovered: families. Both are 0 where nothing was applied.
        since: when the incident ended, in UTC; None where nothing was applied.
    """

    def __init__(self, recovery: Recovery | None) -> None:
        self._recovery = recovery
        self.blocked = recovery.blocked if recovery else 0
        self.recovered = recovery.recovered if recovery else 0
        self.since: datetime | None = recovery.since if recovery else None

    @property
    def share(self) -> float:
        """The share of the blocked families that have got a chat; 1.0 where none was blocked."""
        return self._recovery.share if self._recovery else 1.0

    @property
    def first_chats(self) -> Frame:
        """When each of them got its first chat: at (datetime64[us, UTC]), recovered (Int64: how many by then)."""
        chats = self._recovery.first_chats if self._recovery else ()
        columns = (Column("at", "at (UTC)", "datetime64[us, UTC]"), Column("recovered", dtype="Int64"))
        return make_frame(columns, [(at, count) for count, at in enumerate(chats, start=1)])

    def __str__(self) -> str:
        return (
            str(self._recovery)
            if self._recovery
            else "No recovery to count: nothing was applied that blocked families wait for."
        )

    def __repr__(self) -> str:
        return f"<Recovered: {self}>"

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>"


class Scanned:
    """What `Incident.scan` found: questions for people about the unique indexes of the whole database.

    Attributes:
        found: all of it, as objects with attributes.
    """

    def __init__(self, environment: str, found: ScanFindings) -> None:
        self.environment, self.found = environment, found

    @property
    def redundant(self) -> Frame:
        """Two unique rules of a table, of which the wider one has no effect, a pair a row.

        Columns: table, narrow, wide, remark (str).
        """
        return to_frame(redundant_table(self.found))

    @property
    def suspects(self) -> Frame:
        """The columns that may belong in the key of an index that rejected rows: a row for each reason.

        Columns: index, column, speaks (`for`, `against` or `answered`), reason (str).
        """
        return to_frame(suspects_table(self.found))

    @property
    def unknown(self) -> list[str]:
        """What the scan cannot tell, a sentence each."""
        return [*(remark for index in self.found.examined for remark in index.remarks), *self.found.unknown]

    def __str__(self) -> str:
        return scan_sentence(self.found)

    def __repr__(self) -> str:
        return f"<Scanned in {self.environment}: {' '.join(str(self).splitlines())}>"
