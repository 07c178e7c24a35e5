"""One environment's part of the postmortem: what its run saw and did, in the report's words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from incident_lib.model import COUNT_MEANINGS, Counts, format_count, format_timestamp
from incident_lib.records import Contents, status_now
from incident_lib.report import charts
from incident_lib.report.document import table
from incident_lib.report.history_chart import Line

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.report.document import Table

_STATUS = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing that it had not said.",
    "failed": "The run FAILED. What it saw before that stands below.",
    "killed": "The run was KILLED: it stopped without a word. What it saw before that stands below.",
    "running": "The run has not ended yet.",
}
# Where a number would stand that the run did not get to see.
_ENDED = {"dry-run": "dry run", "refused": "refused", "failed": "FAILED", "killed": "KILLED", "running": "running"}


@dataclass(frozen=True)
class Chapter:
    """One environment's part of the postmortem: its latest run, in the report's words."""

    record: Contents
    folder: str
    rehearsal: Contents | None = None  # what had been told of it beforehand

    @property
    def environment(self) -> str:
        """The environment's name."""
        return str(self.record["environment"])

    @property
    def status(self) -> str:
        """How the run ended, in a sentence; with what stopped it, if anything did."""
        error = self.record["error"]
        return " ".join(
            [_STATUS[status_now(self.record)], *([error[k] for k in ("what", "why", "next")] if error else [])]
        )

    @property
    def ended(self) -> str:
        """How the run ended, in a word; empty where it succeeded."""
        return _ENDED.get(status_now(self.record), "")

    @property
    def failed(self) -> bool:
        """Whether the numbers must not be read as those of a finished run."""
        return status_now(self.record) not in ("succeeded", "dry-run")

    @property
    def verdict(self) -> str:
        """The verdict line of the last look."""
        return str(self.record.get("verdict") or "Nothing was seen: the run ended before its first look.")

    @cached_property
    def before(self) -> Counts | None:
        """The counts before."""
        return self._counts("before")

    @cached_property
    def after(self) -> Counts | None:
        """The counts after; None where nothing was applied."""
        return self._counts("after")

    def _counts(self, moment: str) -> Counts | None:
        found = self.record["counts"][moment]
        return Counts.from_dict(found) if found else None

    @property
    def last(self) -> Counts | None:
        """The counts of the last look."""
        return self.after or self.before

    @property
    def is_fixed(self) -> bool:
        """Whether the last look saw that nobody is blocked, under the fixed index."""
        found = self.record["guard"]["after"] or self.record["guard"]["before"]
        return bool(found and found["state"] == "fixed" and self.last and self.last.blocked.chat == 0)

    def moment(self, key: str) -> datetime | None:
        """A moment of the record; None where it did not come."""
        return from_iso(self.record[key]) if self.record.get(key) else None

    def seen_at(self, moment: str) -> datetime | None:
        """When the environment was looked at, by the server's clock."""
        found = self.record.get("seen_at", {}).get(moment)
        return from_iso(found) if found else None

    @property
    def compared(self) -> charts.Compared:
        """The environment as one among others."""
        return charts.Compared(self.environment, self.ended, self.before, self.after)

    @property
    def line(self) -> Line | None:
        """The families blocked for chat over time; None where it is not known since when."""
        found = (self.record.get("blocked_since") or {}).get("chat")
        ended, looked = self.moment("incident_ended_at"), self.seen_at("before")
        if not found or not looked:
            return None
        points = tuple((from_iso(at), count) for at, count in found)
        has_ended = ended is not None and self.after is not None and self.after.blocked.chat is not None
        after = self.after.blocked.chat if self.after and has_ended else None
        total = (self.before.blocked.chat if self.before else None) or points[-1][1]
        return Line(self.environment, points, ended if ended and has_ended else looked, after, total)

    @property
    def counts(self) -> Table:
        """Every count: its word, before, after, and what it means."""
        before, after = counts_by_name(self.before), counts_by_name(self.after)
        rows: list[tuple[object, ...]] = [
            (
                word.replace("_", " "),
                self._cell(before[word], self.before),
                self._cell(after[word], self.after),
                meaning,
            )
            for word, meaning in COUNT_MEANINGS.items()
        ]
        purposes = sorted({purpose for look in (self.before, self.after) if look for purpose in look.active_by_purpose})
        rows += [
            (
                f"active {purpose}",
                *(self._active(look, purpose) for look in (self.before, self.after)),
                "of that purpose",
            )
            for purpose in purposes
        ]
        return table("count|before|after|what it counts", rows, numbers="before|after")

    def _active(self, look: Counts | None, purpose: str) -> str:
        return self._cell(look.active_by_purpose.get(purpose, 0) if look else None, look)

    def _cell(self, number: int | None, look: Counts | None) -> str:
        """A number, or why there is none."""
        return format_count(number) if look else self.ended or "–"

    def number(self, moment: str, purpose: str) -> str:
        """How many families were blocked for a purpose, before or after, or why that is not known."""
        look = self._counts(moment)
        return self._cell(getattr(look.blocked, purpose) if look else None, look)

    def state(self, moment: str) -> str:
        """The state of the unique indexes before or after, as far as it was seen."""
        found = self.record["guard"][moment]
        return str(found["state"]) if found else self.ended or "not seen"

    @property
    def indexes(self) -> list[tuple[object, ...]]:
        """What the catalog held, before and after: environment, moment, state, definition, flags."""
        return [
            (self.environment, moment, found["state"], index["definition"], index["flags"])
            for moment, found in self.record["guard"].items()
            if found
            for index in found["definitions"]
        ]

    @property
    def steps(self) -> Table | None:
        """The steps that were taken; None where there were none."""
        rows = [(s["name"], ";\n".join(s["sql"]), f"{s['seconds']:.3f}", s["outcome"]) for s in self.record["steps"]]
        return table("step|SQL|seconds|outcome", list(rows), numbers="seconds", code="SQL") if rows else None

    def checks(self, key: str) -> Table | None:
        """The checks of the preflight, or of the verification; None where there were none."""
        rows = [(c["name"], c["answer"], c["seen"], c["cure"] or "–") for c in self.record.get(key) or []]
        return table("check|answer|what was seen|cure", list(rows)) if rows else None

    @property
    def example(self) -> Table | None:
        """The worked example, thread by thread: what each blocked before, and after; None where no look got to it."""
        found = self.record.get("example", {})
        before, after = ({row["thread"]: row for row in found.get(moment, [])} for moment in ("before", "after"))
        rows = [
            (*_thread(row), _blocks(before.get(name)), _blocks(after.get(name)) if after else self.ended or "not seen")
            for name, row in (before | after).items()
        ]
        columns = "thread|created (UTC)|purpose|provider|active|held the key of, before|holds it, after"
        return table(columns, list(rows)) if rows else None

    @property
    def told(self) -> list[str]:
        """What was tried and compared after the steps, a sentence each."""
        said = [f"Probe, rolled back: {probe}." for probe in self.record.get("probes", [])]
        if self.record.get("retries"):
            said.append(f"The demo's clients: {self.record['retries']}")
        if recovery := self.record.get("recovery"):
            at = format_timestamp(from_iso(recovery["at"]))
            said.append(f"Recovered: {recovery['recovered']:,} of {recovery['blocked']:,} families had a chat by {at}.")
        if self.record.get("unchanged"):
            said.append(f"Threads left as they were: {self.record['unchanged']}")
        return said

    @property
    def unknown(self) -> list[str]:
        """What the last look did not see, a sentence each."""
        return list(self.record.get("unknown", ["Everything: the run ended before its first look."]))


def _thread(row: dict[str, Any]) -> tuple[str, ...]:
    active = {True: "yes", False: "no"}.get(row["is_active"])
    cells = (row["thread"], row["created_at"], row["purpose"], row["provider"], active)
    return tuple(str(cell or "unknown") for cell in cells)


def _blocks(row: dict[str, Any] | None) -> str:
    """For which purposes a thread keeps another one from being created."""
    if row is None:
        return "not there"
    return "unknown" if row["blocks"] is None else ", ".join(row["blocks"]) or "nothing"
