"""The head of the report: what happened, how many were hit, for how long, is it over; and the facts of the incident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.model import (
    CANNOT_TELL,
    HIDDEN_ROWS,
    format_blocked,
    format_duration,
    format_families,
    format_minute,
    join_names,
    make_table,
    plural,
)
from incident_lib.report.document import Card

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from incident_lib.model import RejectedInserts, Table
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.notes import Notes

_ROLLBACK = {False: "not possible", True: "still possible", None: "unknown"}
_HIDES_ROWS = "row level security hides rows"
_PROVIDER = "another provider's thread of the same purpose"
MOST_NAMED = 4  # environments whose status is named one by one
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Head:
    """What the head is made from."""

    chapters: tuple[Chapter, ...]
    notes: Notes

    @property
    def cards(self) -> tuple[Card, ...]:
        """Four numbers: families, rejected inserts, duration, status."""
        return (self._families(), self._rejected_inserts(), self._duration(), self._status())

    @property
    def table(self) -> Table:
        """The four numbers as a table, for forms without cards."""
        cards = self.cards
        return make_table([card.label for card in cards], [[f"{card.number} ({card.detail})" for card in cards]])

    @property
    def extent(self) -> str:
        """How many families were blocked, in how many an insert was rejected, whether it is over, and the way back."""
        return " ".join(filter(None, (self._blocked(), self._end(), self.rollback)))

    @property
    def rollback(self) -> str:
        """Whether the fix can be rolled back, in a sentence; empty where it was applied nowhere."""
        if len(self.chapters) == 1:
            return self.chapters[0].rollback
        able = {chapter.environment: chapter.can_roll_back for chapter in self.chapters if chapter.is_fixed}
        found = [(words, [name for name, each in able.items() if each is can]) for can, words in _ROLLBACK.items()]
        told = [f"{words} in {join_names(names, MOST_NAMED)}" for words, names in found if names]
        return f"A rollback is {'; it is '.join(told)}." if told else ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The incident's id, severity, owner, its moments with the durations between them, and what made the report."""
        meta = self.notes.metadata
        versions = sorted({chapter.record.versions.get("incident-lib", UNKNOWN) for chapter in self.chapters})
        commits = sorted({str(chapter.record.git_commit or UNKNOWN)[:12] for chapter in self.chapters})
        made = f"incident-lib {', '.join(versions)}, commit {', '.join(commits)}" if self.chapters else "no run"
        mitigated = meta.mitigated or self.ended_at
        named = [chapter.environment for chapter in self.chapters]
        known = [
            ("Incident", self.notes.incident),
            ("Severity", meta.severity),
            ("Owner", meta.owner),
            ("Status", self._outcome()),
            ("Second change", "; ".join(self._second_changes())),
            ("Rollback", self.rollback),
            ("Environment" if len(self.chapters) == 1 else "Environments", join_names(named) or "none"),
            ("When (UTC)", self._when()),
            ("Detected (UTC)", _moment(meta.detected, self.began_at, "after it began")),
            ("Mitigated (UTC)", _moment(mitigated, meta.detected or self.began_at, _since(meta.detected))),
            ("Resolved (UTC)", _moment(meta.resolved, mitigated, "after it was mitigated")),
            ("Made from", made),
        ]
        return [(name, value) for name, value in known if value]

    def _second_changes(self) -> list[str]:
        """What became of the change after the fix, where a run was about it."""
        found = [(chapter.environment, chapter.following.outcome) for chapter in self.chapters if chapter.following]
        return [outcome if len(self.chapters) == 1 else f"{name}: {outcome}" for name, outcome in found][:MOST_NAMED]

    def _outcome(self) -> str:
        """Whether the fix has been applied, and how a single run ended that did not apply it."""
        if len(self.chapters) == 1:
            return "fixed" if self._fixed else f"not fixed: {_why_open(self.chapters[0])}"
        return f"fixed in {self._fixed} of {plural(len(self.chapters), 'environment')}"

    def _when(self) -> str:
        """When the incident began and ended, as far as the runs show it."""
        if self._cannot_tell():
            return f"{UNKNOWN}: {_HIDES_ROWS}"
        first = format_minute(self.began_at) if self.began_at else UNKNOWN
        if self._fixed < len(self.chapters) or not self.chapters:
            return f"since {first}; not ended as of the latest snapshot"
        return f"{first} to {format_minute(self.ended_at)}" if self.ended_at else self._ended_unseen

    @property
    def began_at(self) -> datetime | None:
        """Since when the first family of all environments is blocked; None: unknown."""
        return min((chapter.line.points[0][0] for chapter in self.chapters if chapter.line), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """When the last environment's original index stopped rejecting inserts; None: not everywhere, or unknown."""
        ended = [chapter.record.incident_ended_at for chapter in self.chapters]
        if not self.chapters or not all(chapter.is_fixed for chapter in self.chapters) or None in ended:
            return None
        return max(at for at in ended if at)

    @property
    def _fixed(self) -> int:
        return sum(chapter.is_fixed for chapter in self.chapters)

    @property
    def _ended_unseen(self) -> str:
        """Between which snapshots the incident ended, where no run ended it."""
        return "ended between two snapshots" if self._hit() is not None else "ended before the first snapshot"

    def _cannot_tell(self) -> bool:
        """Whether no blocked family was seen, and rows are hidden somewhere: there may be an incident or none."""
        return not self._hit() and any(chapter.hides_rows and not chapter.is_fixed for chapter in self.chapters)

    def _hit(self) -> int | None:
        counted = [c.before.blocked.chat for c in self.chapters if c.before and c.before.blocked.chat is not None]
        return sum(counted) if counted else None

    def _blocked(self) -> str:
        """How many families were blocked, and in how many of them somebody tried; empty where none was counted."""
        if not (hit := self._hit()):
            return ""
        least, verbs = "", ("was", "were")
        if any(chapter.hides_rows for chapter in self.chapters):
            least = "At least "  # row level security hides rows
        if len(self.chapters) == 1 and not self._fixed and not self.chapters[0].after:
            verbs = ("is", "are")
        blocked = f"{least}{format_blocked(hit, verbs)}, whether or not a user has tried to start one."
        found = [each for chapter in self.chapters if (each := chapter.record.rejected_inserts)]
        families, tried, others = (
            sum(getattr(each, name) or 0 for each in found)
            for name in ("families", "hit_and_blocked", "hit_not_blocked")
        )
        if not families or any(each.hit_and_blocked is None for each in found):
            return blocked
        when = "right before the fix" if all(map(_joined_before_fix, self.chapters)) else "when the logs were read"
        still = "was still" if tried == 1 else "were still"
        no_more = f"; {others:,} no longer, or only for run" if others else ""
        logged = (
            f"The logs show rejected inserts in {format_families(families)}: {tried:,} {still} blocked for chat {when}"
        )
        return f"{blocked} {logged}{no_more}."

    def _families(self) -> Card:
        hit, label = self._hit(), "Families blocked for chat"
        hidden = any(chapter.hides_rows for chapter in self.chapters)
        if hit is None:
            fixed = "no snapshot is from before the fix" if self._fixed else "none was counted"
            return Card(label, UNKNOWN, _HIDES_ROWS if hidden else fixed)
        if hidden:
            return Card(label, f"{hit:,} or more", _HIDES_ROWS)
        users = [chapter.before.blocked_owners.chat for chapter in self.chapters if chapter.before]
        known = [number for number in users if number is not None]
        # The same user may be in two environments: users are not added up.
        detail = (
            f"of {plural(known[0], 'user')}, whether or not they tried"
            if len(self.chapters) == 1 and known
            else "a family is a root prompt and a user"
        )
        return Card(label, f"{hit:,}", detail)

    def _rejected_inserts(self) -> Card:
        label = "Rejected inserts"
        found = [each for chapter in self.chapters if (each := chapter.record.rejected_inserts)]
        if not found:
            unread = any(chapter.record.unread_logs for chapter in self.chapters)
            return Card(label, UNKNOWN, "the log was not read" if unread else "no server log was read")
        total = sum(each.failed_attempts for each in found)
        if not total and (why := _why_unknown(found)):
            return Card(label, UNKNOWN, why)
        families, runs = (sum(getattr(each, name) or 0 for each in found) for name in ("families", "runs"))
        partly = "" if len(found) == len(self.chapters) else f", in {plural(len(found), 'environment')}"
        return Card(
            label,
            f"{total:,}",
            f"in {format_families(families)}; {total - runs:,} chats, {plural(runs, 'run')}{partly}",
        )

    def _duration(self) -> Card:
        began, ended, label = self.began_at, self.ended_at, "Duration"
        since = f"since {format_minute(began)} UTC" if began else "since an unknown time"
        if self._cannot_tell():
            return Card(label, UNKNOWN, _HIDES_ROWS)
        if ended is None and self.chapters and self._fixed == len(self.chapters):
            return Card(label, UNKNOWN, f"it {self._ended_unseen}")
        if ended is None:
            return Card(label, "not over", f"{since}, as of the latest snapshot")
        if began is None:
            return Card(label, UNKNOWN, f"{since}, to {format_minute(ended)} UTC")
        lasted = format_duration((ended - began).total_seconds())
        return Card(label, lasted, f"{format_minute(began)} to {format_minute(ended)} UTC")

    def _status(self) -> Card:
        states = [f"{c.environment}: {'fixed' if c.is_fixed else _why_open(c)}" for c in self.chapters]
        if len(states) > MOST_NAMED:
            open_ = [chapter.environment for chapter in self.chapters if not chapter.is_fixed]
            states = [f"not fixed: {join_names(open_, MOST_NAMED)}"] if open_ else ["in every environment"]
        if len(self.chapters) == 1:
            (only,) = self.chapters
            state = f"rollback {_ROLLBACK[only.can_roll_back]}" if self._fixed else _why_open(only)
            return Card("Status", "fixed" if self._fixed else "not fixed", f"{only.environment}; {state}")
        if not self.chapters:
            return Card("Status", UNKNOWN, "no run has been recorded")
        return Card("Status", f"{self._fixed} of {len(self.chapters)} fixed", "; ".join(states))

    def _end(self) -> str:
        fix = "The fix, which adds purpose to the index,"
        if not self._fixed and any(chapter.is_undone for chapter in self.chapters):
            return f"{fix} was applied; the latest snapshot shows that it is not in place any more.{self._still()}"
        if not self._fixed and any(chapter.record.steps for chapter in self.chapters):
            return f"{fix} was begun; the latest snapshot does not show it complete.{self._still()}"
        if not self._fixed:
            return f"{fix} has not been applied.{self._still()}"
        if self._fixed < len(self.chapters):
            number = plural(len(self.chapters), "environment")
            return f"{fix} is applied in {self._fixed} of {number}.{self._still()}"
        conflicts = sum(chapter.now.residual_conflicts for chapter in self.chapters if chapter.now)
        left = (
            f"; {plural(conflicts, 'thread')} still {'blocks' if conflicts == 1 else 'block'} {_PROVIDER}"
            if conflicts
            else ""
        )
        if not conflicts and self.chapters and all(chapter.has_provider for chapter in self.chapters):
            left = ". The change provider is applied, too: no thread blocks another provider"
        return f"{fix} is applied: no family is blocked by another purpose{left}."

    def _still(self) -> str:
        """How many families are still blocked by the latest snapshots, and where that is unknown; else empty."""
        open_ = [chapter for chapter in self.chapters if not chapter.is_fixed]
        counts = {c.environment: c.latest.blocked.chat if c.latest else None for c in open_}
        known = [count for count in counts.values() if count is not None]
        told = f" {format_blocked(sum(known), ('is still', 'are still'))}." if known and len(self.chapters) > 1 else ""
        if any(chapter.hides_rows for chapter in open_):
            return f"{told} {CANNOT_TELL if len(self.chapters) == 1 and not known else HIDDEN_ROWS}"
        unknown = [name for name, count in counts.items() if count is None]
        return f"{told} How many are blocked in {join_names(unknown, MOST_NAMED)} is unknown." if unknown else told


def _why_open(chapter: Chapter) -> str:
    """Why an environment is not fixed, in a few words."""
    if chapter.is_undone:
        return "the fix is not in place any more"
    return chapter.ended or ("the steps did not complete it" if chapter.record.steps else "nothing was applied")


def _joined_before_fix(chapter: Chapter) -> bool:
    """Whether the logs were read beside the threads before the fix; true where none were read."""
    found, ended = chapter.record.rejected_inserts, chapter.record.incident_ended_at
    return found is None or bool(ended and found.joined_at and found.joined_at <= ended)


def _since(detected: datetime | None) -> str:
    return "after it was detected" if detected else "after it began"


def _moment(at: datetime | None, before: datetime | None, since: str) -> str:
    """A moment by the minute, and how long after another it was, where both are known."""
    if at is None:
        return ""
    lasted = f", {format_duration((at - before).total_seconds())} {since}" if before and at >= before else ""
    return f"{format_minute(at)}{lasted}"


def _why_unknown(found: Sequence[RejectedInserts]) -> str:
    """Why logs without a rejected insert do not mean that there was none; empty where they do."""
    if lost := sum(each.lost for each in found):
        return f"{plural(lost, 'entry', 'entries')} could not be read"
    silent = all(each.read and not each.read.errors_logged for each in found)
    return "no error of any kind is in the logs" if silent else ""
