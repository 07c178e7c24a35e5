"""The sections of the postmortem, one function each: what the records say, and what people wrote."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import before_and_after, join_names, plural
from incident_lib.report import charts, evidence, history_chart
from incident_lib.report.compare import (
    blocked_table,
    comparison_table,
    group_rows,
    headline,
    latest_chapters,
    runs_tables,
)
from incident_lib.report.document import Bullets, Code, Figure, Paragraph, Part, Prose, Section, Unwritten, table
from incident_lib.report.resolution import resolution_blocks
from incident_lib.report.timeline import timeline

if TYPE_CHECKING:
    from incident_lib.model import Counts
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block
    from incident_lib.report.notes import Notes

QUERIES = (
    *("analysis/counts", "analysis/blocked", "analysis/blockers", "analysis/family", "database/indexes"),
    *("analysis/checksum", "analysis/own_versions"),
)
_CAUSE = (
    "A partial unique index allows one active thread per root prompt and user. It was made before threads had a "
    "purpose: so an active run thread holds the key that a new chat thread of its family would need, and PostgreSQL "
    "answers SQLSTATE 23505; the application, 500. The fix puts purpose into the key."
)
_HIDDEN = (
    "Ids of threads, users and prompts are replaced by stable names; thread names, which users wrote, are left out."
)
_PROVIDERS = (
    "Clients look their thread up by provider, too, and no unique index knows of providers: a family that has used two of "
    "them is still blocked. It is the same incident one column further."
)


@dataclass(frozen=True)
class Sections:
    """All that the sections are made of."""

    chapters: tuple[Chapter, ...]
    notes: Notes
    claims: dict[str, Any] | None

    @property
    def latest(self) -> tuple[Chapter, ...]:
        """One chapter of each environment: what is counted over all of them is counted once."""
        return latest_chapters(self.chapters)

    def all(self) -> tuple[Section, ...]:
        """Every section, in the order in which it is read."""
        return (
            Section("summary", "Summary", (*self._verdicts(), *self._people("Summary", "What happened, in short."))),
            Section("impact", "Impact", self._impact()),
            Section("timeline", "Timeline", (*timeline(self.chapters, self.notes), *self._added("Timeline"))),
            Section("detection", "Detection", self._detection()),
            Section("root-cause", "Root cause", self._root_cause()),
            Section("resolution", "Resolution and verification", self._resolution()),
            Section("claims", "The fix plan's claims, tested", evidence.claims(self.claims)),
            Section("environments", "Environments compared", (comparison_table(self.chapters),)),
            Section("left", "What is left", self._left()),
            *(Section(_name(title), title, self._people(title, "")) for title in _HUMAN),
            Section("action-items", "Action items", self._actions()),
            Section("unknown", "What is hidden or unknown", self._unknown()),
            Section("appendix", "Appendix: runs and queries", self._appendix()),
        )

    def _people(self, title: str, hint: str) -> tuple[Block, ...]:
        text = self.notes.text(title)
        return (Prose(text),) if text else (Unwritten(hint),)

    def _detection(self) -> tuple[Block, ...]:
        return (*evidence.detected(self.chapters), *self._people("Detection", "Who noticed, how, and after how long."))

    def _added(self, title: str) -> tuple[Block, ...]:
        """What people added to a section that the records fill; nothing where they did not."""
        return (Prose(self.notes.text(title)),) if self.notes.text(title) else ()

    def _verdicts(self) -> list[Block]:
        """What came of each environment; of many environments, of those that did not end well."""
        if len(self.chapters) == 1:
            return [_verdict(self.chapters[0], "")]
        if len(self.chapters) <= MOST_TOLD:
            return [_verdict(chapter, f"{chapter.environment}: ") for chapter in self.chapters]
        failed = [chapter for chapter in self.chapters if chapter.failed]
        return [Paragraph(f"{headline(self.chapters)}."), *(_verdict(c, f"{c.environment}: ") for c in failed)]

    def _impact(self) -> tuple[Block, ...]:
        figures = (self._before_after(), self._over_time(), self._blockers())
        counts = tuple(Part(chapter.environment, (chapter.counts,), folded=True) for chapter in self.chapters)
        every = (Part("Every count of each environment", counts, folded=True),) if len(counts) > 1 else ()
        return (
            *(figure for figure in figures if figure),
            *every,
            Part("Who tried", tuple(evidence.attempts(self.latest))),
            *self._added("Impact"),
        )

    def _before_after(self) -> Block:
        if not self.chapters:
            return Paragraph("No run has been recorded.", "note")
        if len(self.chapters) == 1:
            (only,) = self.chapters
            return Figure("before-after", charts.before_after(only.before, only.after, only.ended), only.counts)
        chart = charts.compared([chapter.compared for chapter in self.chapters], headline(self.chapters))
        return Figure("before-after", chart, blocked_table(self.chapters))

    def _over_time(self) -> Block | None:
        lines = sorted((c.line for c in self.latest if c.line), key=lambda line: -line.most)
        if not lines and not any(c.before and c.before.blocked.chat for c in self.chapters):
            return None
        if not lines:
            return Paragraph("Since when families are blocked is not known: see what is hidden or unknown.", "note")
        came = sorted({chapter.moment("purpose_since") for chapter in self.chapters} - {None})  # type: ignore[type-var]
        ended = [(line.until, "fixed") for line in lines[: history_chart.MOST_LINES] if line.after is not None]
        events = [*((at, "purpose came") for at in came if at), *ended]
        rows: list[tuple[object, ...]] = [
            (line.environment, f"{at:%Y-%m-%d %H:%M}", f"{count:,}")
            for place, line in enumerate(lines)
            for at, count in (line.points if place < history_chart.MOST_LINES else line.points[-1:])
        ]
        behind = table("environment|by (UTC)|families blocked for chat", rows, numbers="families blocked for chat")
        return Figure(
            "over-time", history_chart.over_time(lines, events, evidence.attempts_by_hour(self.latest)), behind
        )

    def _blockers(self) -> Block | None:
        families: Counter[tuple[str, ...]] = Counter()
        for chapter in self.latest:
            for kind in chapter.record.get("blocked_by") or []:
                key = (kind["blocked_for"], kind["purpose"] or "no purpose", kind["provider"] or "no provider")
                families[key] += kind["families"]
        if not families:
            return None
        names = ("blocked_for", "purpose", "provider")
        kinds: list[dict[str, Any]] = [
            {**dict(zip(names, key, strict=True)), "families": count} for key, count in families.most_common()
        ]
        by_purpose = sorted(families.most_common(), key=lambda kind: kind[0][0])
        rows: list[tuple[object, ...]] = [(*key, f"{count:,}") for key, count in by_purpose]
        behind = table("blocked for|by a thread of purpose|and provider|families", rows, numbers="families")
        return Figure("blockers", charts.blockers(kinds), behind)

    def _root_cause(self) -> tuple[Block, ...]:
        indexes = group_rows([row for chapter in self.chapters for row in chapter.indexes])
        seen: Block = Paragraph("No look got to the catalog.", "note")
        if indexes:
            seen = table("environment|moment|state of the unique indexes|definition|flags", indexes, code="definition")
        worked = next(((c, c.example) for c in self.chapters if c.example), None)
        blocks: list[Block] = [Paragraph(_CAUSE), Part("The unique index, before and after", (seen,))]
        if worked and worked[1]:
            chapter, threads = worked
            whose = f"Root {chapter.record['example']['root']}, user {chapter.record['example']['owner']}."
            blocks.append(
                Part(f"One family, thread by thread: {chapter.environment}", (Paragraph(whose, "note"), threads))
            )
        return (*blocks, *self._added("Root cause"))

    def _resolution(self) -> tuple[Block, ...]:
        several = len(self.chapters) > 1
        parts = (
            Part(chapter.environment, tuple(resolution_blocks(chapter)), folded=several) for chapter in self.chapters
        )
        return (*parts, *evidence.recovered(self.latest), *self._added("Resolution"))

    def _left(self) -> tuple[Block, ...]:
        looks: dict[str, Counts] = {chapter.environment: chapter.last for chapter in self.latest if chapter.last}
        if not looks:
            return (Paragraph("What is left was not seen.", "note"), *self._added("What is left"))
        rows: list[tuple[object, ...]] = [
            (
                name,
                *(
                    f"{n:,}"
                    for n in (c.residual_conflicts, c.unguarded_threads, c.coexisting_families, c.active_threads)
                ),
            )
            for name, c in looks.items()
        ]
        numbers = (
            "provider conflicts|active threads without an owner|families with several active threads|active threads"
        )
        behind = table(f"environment|{numbers}", rows, numbers=numbers)
        rollback = (
            "A rollback needs every family to have one active thread at most: each family with several active threads stands in its "
            "way, from the first user on who has both a chat and a run."
        )
        figure = Figure("left", charts.left_behind(*looks.values()), behind)
        several = len(self.chapters) > 1
        found = ((chapter.environment, tuple(evidence.remains(chapter))) for chapter in self.chapters)
        parts = [Part(name, blocks, folded=several) for name, blocks in found if blocks]
        return (Paragraph(_PROVIDERS), figure, *parts, Paragraph(rollback), *self._added("What is left"))

    def _actions(self) -> tuple[Block, ...]:
        rows: list[tuple[object, ...]] = [
            (a.what, a.owner or "none named", a.due or "none named", "done" if a.done else a.lacks or "open")
            for a in self.notes.actions
        ]
        rows += [(what, "–", "–", "proposed from the data") for what in self._proposals()]
        written = self._added if self.notes.actions else lambda title: self._people(title, "What is to be done.")
        return (*written("Action items"), *((table("action|owner|due|state", rows),) if rows else ()))

    def _proposals(self) -> list[str]:
        """What the data asks for, and nobody has decided."""
        looks = [chapter.last for chapter in self.latest if chapter.last]
        conflicts, unguarded = (sum(getattr(c, w) for c in looks) for w in ("residual_conflicts", "unguarded_threads"))
        waiting = [chapter.environment for chapter in self.latest if not chapter.is_fixed]
        asked = [
            (waiting, f"Apply the fix where it is not in: {', '.join(waiting)}"),
            (
                conflicts,
                f"Decide whether provider belongs into the unique index: {plural(conflicts, 'residual conflict')}",
            ),
            (unguarded, f"Give {plural(unguarded, 'unguarded thread')} an owner, or the column a NOT NULL"),
        ]
        return [what for needed, what in asked if needed]

    def _unknown(self) -> tuple[Block, ...]:
        told: dict[str, list[str]] = {}
        for chapter in self.chapters:
            for line in chapter.unknown:
                told.setdefault(line, []).append(chapter.environment)
        everywhere = len(self.chapters)
        lines = (line if len(who) == everywhere else f"{join_names(who)}: {line}" for line, who in told.items())
        return (Bullets((_HIDDEN, *lines)),)

    def _appendix(self) -> tuple[Block, ...]:
        queries = tuple(Code(f"{name}.sql", paths.query(name)) for name in QUERIES)
        return (*runs_tables(self.chapters), Part("The queries behind the figures", queries))


MOST_TOLD = 6  # environments that the summary tells of one by one
_HUMAN = ("Contributing factors", "What went well", "What went badly", "Where we were lucky")


def _name(title: str) -> str:
    return title.lower().replace(" ", "-")


def _verdict(chapter: Chapter, whose: str) -> Block:
    """What one environment's run saw and how it ended, in a sentence."""
    return Paragraph(f"{whose}{_seen(chapter)} {chapter.status}", "failed" if chapter.failed else "plain")


def _seen(chapter: Chapter) -> str:
    """What was blocked before, and what is now, in words."""
    if not chapter.before:
        return "Nothing was seen: the run ended before its first look."
    return before_and_after(chapter.before, chapter.after)
