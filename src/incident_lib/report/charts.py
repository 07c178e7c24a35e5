"""The charts of counts; each has its conclusion as title, a caption, and an alternative text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incident_lib.model import format_count, format_families, plural, shorten
from incident_lib.report.chart import AFTER, BEFORE, FAINT, INK, Bar, Chart, bars, finish_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from incident_lib.model import BlockerCount, Counts

MOST_DRAWN = 16  # environments in a chart, so that it fits a sheet of paper
MOST_ROWS = 6  # kinds of blocking threads in a chart, for each purpose


def before_after(before: Counts | None, after: Counts | None, ended: str = "") -> Chart:
    """How many families were blocked for each purpose, and how many are; a missing after is never drawn as 0.

    Args:
        before: the counts before the fix; None where there are none.
        after: the counts after it; None where there are none.
        ended: how the run ended, if it did not succeed.
    """
    title = _conclusion(before, after, ended)
    snapshots = [(before, BEFORE, "before" if after else "now"), *([(after, AFTER, "after")] if after else [])]
    rows = [
        (f"blocked for {purpose}", [(_of(counts, purpose), colour, when) for counts, colour, when in snapshots])
        for purpose in ("chat", "run")
    ]
    alt = f"{title}. " + " ".join(
        f"Families {label}: {', '.join(f'{format_count(number)} {when}' for number, _, when in group)}."
        for label, group in rows
    )
    return Chart(
        title,
        "Each bar counts families (root prompt and user) in which PostgreSQL rejects a new thread of that purpose.",
        alt,
        lambda ax: bars(ax, title, rows, "families"),
    )


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
        if self.before is None:
            return f"{purpose}: unknown; {self.ended or 'no snapshot'}"
        return f"{purpose} {format_count(was)} → {format_count(now) if self.after else 'no after'}" + (
            f" ({self.ended})" if self.ended else ""
        )


def compared(rows: Sequence[Compared], title: str) -> Chart:
    """Before → after in each environment, for chat and for run; a missing after is not drawn."""
    alt = f"{title}. " + " ".join(f"{row.environment}: {row.summary('chat')}; {row.summary('run')}." for row in rows)
    caption = (
        "Families in which a new thread is rejected: the full mark before, the open mark after. A row without an "
        "open mark has no after."
    )
    drawn = sorted(rows, key=lambda row: (bool(row.after), -(_of(row.before, "chat") or 0)))[:MOST_DRAWN]
    if len(rows) > MOST_DRAWN:
        caption += f" {MOST_DRAWN} are drawn, those without an after first; all are in the table."
    else:
        drawn = list(rows)
    return Chart(title, caption, alt, lambda ax: _dumbbells(ax, title, drawn), height=1.1 + 0.5 * len(drawn))


def _dumbbells(ax: Axes, title: str, rows: Sequence[Compared]) -> Axes:
    snapshots = (counts for row in rows for counts in (row.before, row.after))
    most = max((_of(counts, purpose) or 0 for counts in snapshots for purpose in ("chat", "run")), default=0) or 1
    for place, row in enumerate(rows):
        for purpose, y, colour in (("chat", place - 0.18, BEFORE), ("run", place + 0.2, INK)):
            was, now = _of(row.before, purpose), _of(row.after, purpose)
            if was is not None and now is not None:
                ax.plot([was, now], [y, y], color=colour, linewidth=1.5, zorder=1)
                ax.plot(now, y, "o", color=colour, markerfacecolor="none", markersize=11, clip_on=False, zorder=2)
            if was is not None:
                ax.plot(was, y, "o", color=colour, markersize=7, clip_on=False, zorder=3)
            right = max(was or 0, now or 0) + most * 0.025
            ax.text(right, y, row.summary(purpose), va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(rows)), [shorten(row.environment) for row in rows], fontsize=11)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, most * (1.45 if all(row.after for row in rows) else 1.75))
    ax.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    return finish_axes(ax, title, "families")


def blockers(kinds: Sequence[BlockerCount]) -> Chart:
    """The families by the kind of thread that blocks them."""
    drawn = [kind for purpose in ("chat", "run") for kind in _of_purpose(kinds, purpose)[:MOST_ROWS]]
    title = _most_blocked_by(kinds)
    colours = {"chat": BEFORE, "run": INK}
    rows: list[tuple[str, list[Bar]]] = [(_kind(k), [(k.families, colours[k.blocked_for], "")]) for k in drawn]
    alt = f"{title}. " + " ".join(f"{label}: {format_families(group[0][0] or 0)}." for label, group in rows)
    caption = "Families by the purpose and the provider of the thread that blocks them: of several, the oldest."
    if len(drawn) < len(kinds):
        caption += f" The {len(drawn)} kinds with most families are drawn; all are in the table."
    return Chart(title, caption, alt, lambda ax: bars(ax, title, rows, "families"), height=1.1 + 0.33 * len(rows))


def _of_purpose(kinds: Sequence[BlockerCount], purpose: str) -> list[BlockerCount]:
    return sorted((k for k in kinds if k.blocked_for == purpose), key=lambda k: -k.families)


def _kind(kind: BlockerCount) -> str:
    """`chat blocked by a run thread (openai)`."""
    return f"{kind.blocked_for} blocked by {_thread(kind)}"


def _thread(kind: BlockerCount) -> str:
    provider = shorten(kind.provider or "no provider", 18)
    if not kind.purpose:
        return f"a thread without a purpose ({provider})"
    article = "an" if kind.purpose[0].lower() in "aeiou" else "a"
    return f"{article} {shorten(kind.purpose, 18)} thread ({provider})"


def _most_blocked_by(kinds: Sequence[BlockerCount]) -> str:
    for_chat = _of_purpose(kinds, "chat")
    if not for_chat:
        return "No family is blocked for chat"
    total = sum(kind.families for kind in for_chat)
    return f"{for_chat[0].families:,} of {format_families(total)} are blocked for chat by {_thread(for_chat[0])}"


def remaining_conflicts(*counts: Counts) -> Chart:
    """What the fix does not change, in one environment or in several together."""
    conflicts, ownerless = (
        sum(getattr(each, name) for each in counts) for name in ("residual_conflicts", "unguarded_threads")
    )
    title = (
        f"The fix does not change {plural(conflicts, 'provider conflict')} "
        f"and {plural(ownerless, 'active thread')} without an owner"
        if conflicts or ownerless
        else "No provider conflict remains"
    )
    rows: list[tuple[str, list[Bar]]] = [
        ("provider conflicts", [(conflicts, BEFORE, "")]),
        ("threads without an owner", [(ownerless, FAINT, "")]),
    ]
    alt = f"{title}. Of {plural(sum(each.active_threads for each in counts), 'active thread')}."
    caption = (
        "Provider conflicts: active threads that block another provider in their family. "
        "Active threads without an owner: outside both unique indexes."
    )
    return Chart(title, caption, alt, lambda ax: bars(ax, title, rows, "active threads"), height=1.9)


def _of(counts: Counts | None, purpose: str) -> int | None:
    number: int | None = None if counts is None else getattr(counts.blocked, purpose)
    return number


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
        return (
            f"{format_families(was)} cannot start a chat; {_NO_AFTER[ended]}"
            if was
            else f"No after: {_NO_AFTER[ended]}"
        )
    if after is None:
        return (
            f"{format_families(was)} cannot start a chat; nothing has been applied"
            if was
            else "Nothing has been applied"
        )
    if was is None or now is None:
        return f"Blocked for chat: {format_count(was)} before, {format_count(now)} after"
    if now:
        return f"{format_families(now)} still cannot start a chat; {was:,} could not before"
    return (
        f"{format_families(was)} could not start a chat; now none is blocked"
        if was
        else "No family is blocked for chat"
    )
