"""The charts of counts; each has its conclusion as title, a caption, and an alternative text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.model import format_blocked, format_count, format_families, plural, sanitize
from incident_lib.report.chart import Chart
from incident_lib.report.rows import Bar, Change, Group, draw_rows, marks_legend
from incident_lib.report.style import AFTER, BEFORE, FAINT, Key, can_be_drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.model import BlockerCount, Counts
    from incident_lib.report.sheet import Sheet

MOST_DRAWN = 12  # environments in a chart, so that it fits a sheet of paper
MOST_LETTERS = 48  # of the name of an environment, where it has a line of its own
_CONFLICTS = (
    "Provider conflicts: active threads that block another provider's thread of the same purpose in their family"
)
MOST_ROWS = 6  # kinds of blocking threads in a chart, for each purpose


def before_after(before: Counts | None, after: Counts | None, ended: str = "", title: str = "") -> Chart:
    """How many families were blocked for each purpose, and how many are; a missing after is never drawn as 0.

    Args:
        before: the counts before the fix; None where there are none.
        after: the counts after it; None where there are none.
        ended: how the run ended, if it did not succeed.
        title: where its conclusion stands elsewhere.
    """
    title = title or _conclusion(before, after, ended)
    snapshots = [(before, BEFORE, "before" if after else "now"), *([(after, AFTER, "after")] if after else [])]
    groups: list[Group] = [
        (f"blocked for {purpose}", [Bar(_of(counts, purpose), colour, when) for counts, colour, when in snapshots])
        for purpose in ("chat", "run")
    ]
    alt = f"{title}. " + " ".join(
        f"Families blocked for {purpose}: "
        f"{', '.join(f'{format_count(_of(counts, purpose))} {when}' for counts, _, when in snapshots)}."
        for purpose in ("chat", "run")
    )
    caption = (
        "Each bar counts families (root prompt and user) in which PostgreSQL rejects a new thread of that purpose "
        "because of an active thread of another purpose."
    )
    return _of_bars(title, caption, alt, groups, "families")


@dataclass(frozen=True)
class Compared:
    """One environment among others: its counts, and how its run ended."""

    environment: str
    ended: str  # empty where it succeeded
    before: Counts | None
    after: Counts | None

    def summary(self, purpose: str) -> str:
        """How many were blocked and are, in a few words; never an after that was not counted."""
        was, now = _of(self.before, purpose), _of(self.after, purpose)
        if self.before is None and self.after is None:
            return f"{purpose}: unknown; {self.ended or 'no snapshot'}"
        return f"{purpose} {format_count(was)} → {format_count(now) if self.after else 'no after'}" + (
            f" ({self.ended})" if self.ended else ""
        )

    def change(self, purpose: str) -> Change:
        """How it is drawn."""
        return Change(_of(self.before, purpose), _of(self.after, purpose), self.summary(purpose))


def compared(rows: Sequence[Compared], title: str) -> Chart:
    """Before → after in each environment, for chat and for run; a missing after is not drawn."""
    alt = f"{title}. " + " ".join(f"{row.environment}: {row.summary('chat')}; {row.summary('run')}." for row in rows)
    caption = (
        "Families in which a new thread is rejected because of an active thread of another purpose: the full mark "
        "before, the open mark after. A row without an open mark has no after."
    )
    drawn = sorted(rows, key=lambda row: (bool(row.after), -(_of(row.before, "chat") or 0)))[:MOST_DRAWN]
    if len(rows) > MOST_DRAWN:
        caption += f" {MOST_DRAWN} are drawn, those without an after first; all are in the table."
    else:
        drawn = list(rows)
    key = Key()
    groups = [
        (key.name("environment", row.environment, MOST_LETTERS), [row.change(p) for p in ("chat", "run")])
        for row in drawn
    ]

    def compose(sheet: Sheet) -> None:
        marks_legend(sheet)
        draw_rows(sheet, groups, "families")

    return Chart(title, caption + key.sentence, alt, compose)


def blockers(kinds: Sequence[BlockerCount], *, is_over: bool = False) -> Chart:
    """The families by the kind of thread that blocks them.

    Args:
        kinds: of one snapshot, or of several environments together.
        is_over: whether they were blocked then, and are not any more.
    """
    drawn = [kind for purpose in ("chat", "run") for kind in _of_purpose(kinds, purpose)[:MOST_ROWS]]
    key = Key()
    title = _most_blocked_by(kinds, key, _WAS if is_over else _NOW)
    colours = {"chat": BEFORE, "run": FAINT}
    groups: list[Group] = [(_kind(kind, key), [Bar(kind.families, colours[kind.blocked_for])]) for kind in drawn]
    numbers = " ".join(f"{_kind(kind, key)}: {format_families(kind.families)}." for kind in drawn)
    caption = (
        "Families by the purpose and the provider of the thread that "
        f"{'blocked them before the fix' if is_over else 'blocks them'}: of several, the oldest."
    )
    if len(drawn) < len(kinds):
        caption += f" The {len(drawn)} kinds with most families are drawn; all are in the table."
    alt = f"{title}. {numbers}{key.sentence}"
    return _of_bars(title, caption + key.sentence, alt, groups, "families")


def _of_purpose(kinds: Sequence[BlockerCount], purpose: str) -> list[BlockerCount]:
    return sorted((k for k in kinds if k.blocked_for == purpose), key=lambda k: -k.families)


def _kind(kind: BlockerCount, key: Key) -> str:
    """`chat blocked by a run thread (openai)`."""
    return f"{kind.blocked_for} blocked by {_thread(kind, key)}"


def _thread(kind: BlockerCount, key: Key) -> str:
    provider = key.name("provider", kind.provider or "no provider", 18)
    if not kind.purpose:
        return f"a thread without a purpose ({provider})"
    purpose = key.name("purpose", kind.purpose, 18)
    if not can_be_drawn(sanitize(kind.purpose)):
        return f"a thread of {purpose} ({provider})"
    article = "an" if purpose[0].lower() in "aeiou" else "a"
    return f"{article} {purpose} thread ({provider})"


def _most_blocked_by(kinds: Sequence[BlockerCount], key: Key, verbs: tuple[str, str]) -> str:
    for_chat = _of_purpose(kinds, "chat")
    if not for_chat:
        return f"No family {verbs[0]} blocked for chat"
    total = sum(kind.families for kind in for_chat)
    by = _thread(for_chat[0], key)
    return f"{for_chat[0].families:,} of {format_families(total)} {verbs[1]} blocked for chat by {by}"


def provider_conflicts(before: Counts | None, after: Counts | None, ended: str = "") -> Chart:
    """How many threads blocked another provider before the change `provider`, and how many do; see `before_after`."""
    was, now = (None if counts is None else counts.residual_conflicts for counts in (before, after))
    title = _provider_conclusion(was, now, ended)
    rows = [Bar(was, BEFORE, "before" if after else "now"), *([Bar(now, AFTER, "after")] if after else [])]
    numbers = ", ".join(f"{format_count(row.number)} {row.what}" for row in rows)
    caption = f"{_CONFLICTS}."
    alt = f"{title}. Provider conflicts: {numbers}."
    return _of_bars(title, caption, alt, [("provider conflicts", rows)], "active threads")


def _provider_conclusion(was: int | None, now: int | None, ended: str) -> str:
    if was is None:
        return "No snapshot was taken"
    if now is None:
        left = _NO_AFTER.get(ended, "nothing has been applied")
        return f"{plural(was, 'thread')} {'blocks' if was == 1 else 'block'} another provider; {left}"
    if now:
        return f"{plural(now, 'thread')} still {'blocks' if now == 1 else 'block'} another provider; {was:,} before"
    return (
        f"{plural(was, 'thread')} blocked another provider; now none does"
        if was
        else "No thread blocks another provider"
    )


def remaining_conflicts(*counts: Counts, has_provider: bool = False) -> Chart:
    """What the fix does not change, in one environment or in several together.

    Args:
        counts: of one snapshot of each.
        has_provider: whether all have the provider in the unique index, which then covers threads without an owner.
    """
    conflicts, ownerless = (
        sum(getattr(each, name) for each in counts) for name in ("residual_conflicts", "unguarded_threads")
    )
    title = (
        f"The fix does not change {plural(conflicts, 'provider conflict')} "
        f"and {plural(ownerless, 'active thread')} without an owner"
        if conflicts or (ownerless and not has_provider)
        else "No provider conflict remains"
    )
    groups: list[Group] = [
        ("provider conflicts", [Bar(conflicts, BEFORE)]),
        ("threads without an owner", [Bar(ownerless, FAINT)]),
    ]
    alt = f"{title}. Of {plural(sum(each.active_threads for each in counts), 'active thread')}."
    covered = "the provider index has them, too" if has_provider else "the original and the fixed index ignore them"
    caption = f"{_CONFLICTS}: a user who tries gets the same error. Active threads without an owner: {covered}."
    return _of_bars(title, caption, alt, groups, "active threads")


def counted(numbers: Sequence[tuple[str, int | None]], title: str, unit: str, caption: str = "") -> Chart:
    """Any counts, a bar for each; None: not known."""
    groups: list[Group] = [(label, [Bar(number, BEFORE)]) for label, number in numbers]
    alt = f"{title}. " + " ".join(f"{label}: {format_count(number)} {unit}." for label, number in numbers)
    return _of_bars(title, caption, alt, groups, unit)


def _of_bars(title: str, caption: str, alt: str, groups: Sequence[Group], unit: str) -> Chart:
    return Chart(title, caption, alt, lambda sheet: draw_rows(sheet, groups, unit), groups, unit)


def _of(counts: Counts | None, purpose: str) -> int | None:
    number: int | None = None if counts is None else getattr(counts.blocked, purpose)
    return number


_NOW, _WAS = ("is", "are"), ("was", "were")
_NO_AFTER = {
    "refused": "the run was refused",
    "FAILED": "the run FAILED",
    "KILLED": "the run was KILLED",
    "running": "the run has not ended",
}


def _conclusion(before: Counts | None, after: Counts | None, ended: str) -> str:
    was, now = _of(before, "chat"), _of(after, "chat")
    if before is None and after is None:
        return "No snapshot was taken"
    if after is None and ended in _NO_AFTER:
        return f"{format_blocked(was, _NOW)}; {_NO_AFTER[ended]}" if was else f"No after: {_NO_AFTER[ended]}"
    if after is None:
        return f"{format_blocked(was, _NOW)}; nothing has been applied" if was else "Nothing has been applied"
    if was is None or now is None:
        return f"Blocked for chat: {format_count(was)} before, {format_count(now)} after"
    if now:
        return f"{format_blocked(now, ('is still', 'are still'))}; {was:,} before the fix"
    return f"{format_blocked(was)}; now none is blocked" if was else "No family is blocked for chat"
