"""One environment's part of the postmortem: what its latest run saw and did, in the report's words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from incident_lib import charts, words
from incident_lib.model import Counts
from incident_lib.record import Contents, status

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_STATUS = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing that it had not said.",
    "failed": "The run FAILED. What it saw before that stands below.",
    "killed": "The run was KILLED: it stopped without a word. What it saw before that stands below.",
    "running": "The run has not ended yet.",
}


@dataclass(frozen=True)
class Chapter:
    """One environment's part of the postmortem: its latest run, in the report's words."""

    record: Contents
    folder: str

    @property
    def environment(self) -> str:
        """The environment's name."""
        return str(self.record["environment"])

    @property
    def status(self) -> str:
        """How the run ended, in a sentence."""
        return _STATUS[status(self.record)]

    @property
    def failed(self) -> bool:
        """Whether the numbers must not be read as those of a finished run."""
        return status(self.record) not in ("succeeded", "dry-run")

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
    def chart(self) -> charts.Chart:
        """Before and after, per purpose."""
        return charts.before_after(self.before, self.after)

    @property
    def left(self) -> charts.Chart | None:
        """What the fix leaves."""
        last = self.after or self.before
        return charts.left_behind(last) if last else None

    @property
    def counts(self) -> list[tuple[str, str, str, str]]:
        """Every count: its word, before, after, and what it means."""
        before, after = words.counts_by_word(self.before), words.counts_by_word(self.after)
        counts = [
            (word, _shown(before[word], self.before), _shown(after[word], self.after), meaning)
            for word, meaning in words.MEANINGS.items()
        ]
        return counts + self._purposes()

    def _purposes(self) -> list[tuple[str, str, str, str]]:
        """The active threads of each purpose that stands in the column, documented or not."""
        looks = (self.before, self.after)
        purposes = sorted({purpose for look in looks if look for purpose in look.active_by_purpose})
        return [
            (f"active {purpose}", _of(self.before, purpose), _of(self.after, purpose), "active threads of that purpose")
            for purpose in purposes
        ]

    @property
    def unknown(self) -> list[str]:
        """What the last look did not see, a sentence each."""
        return list(self.record.get("unknown", ["Everything: the run ended before its first look."]))

    def counts_table(self) -> Styler:
        """The counts before and after, as a table for the notebook."""
        from incident_lib import tables

        return tables.shown(tables.counts(before=self.before, after=self.after))

    def family_table(self) -> Styler:
        """The threads of the fix plan's own family, as a table for the notebook."""
        from incident_lib import tables

        return tables.shown(tables.family(self.family))

    @property
    def family(self) -> list[tuple[str, Any]]:
        """The threads of the fix plan's own family, at the last look that saw them."""
        seen = self.record.get("plan_family", {})
        return list((seen.get("after") or seen.get("before") or {}).items())

    def blocked(self, moment: str) -> str:
        """How many families were blocked for chat, before or after; a dash where there was no look."""
        look = self._counts(moment)
        return _shown(look.blocked.chat, look) if look else "–"

    def guard(self, moment: str) -> str:
        """The guard state before or after, and the definitions that were in the catalog."""
        found = self.record["guard"][moment]
        if not found:
            return "not seen"
        definitions = "; ".join(f"{d['definition']} ({d['flags']})" for d in found["definitions"])
        return f"{found['state']}: {definitions}" if definitions else str(found["state"])


def _of(look: Counts | None, purpose: str) -> str:
    return _shown(look.active_by_purpose.get(purpose, 0) if look else None, look)


def _shown(number: int | None, look: Counts | None) -> str:
    return "–" if look is None else words.shown(number)
