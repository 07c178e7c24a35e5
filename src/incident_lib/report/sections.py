"""The sections of the postmortem, one function each: from the records, and from what people wrote."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.model import (
    CANNOT_TELL,
    HIDDEN_ROWS,
    PUBLISHED,
    BlockerCount,
    Column,
    before_and_after,
    format_minute,
    join_names,
    make_table,
    plural,
)
from incident_lib.report import charts, evidence, history_chart
from incident_lib.report.compare import (
    blocked_by_environment,
    comparison_table,
    group_rows,
    number,
    of_one,
    runs_tables,
)
from incident_lib.report.document import Bullets, Figure, Paragraph, Part, Prose, Query, Section, Unwritten
from incident_lib.report.elsewhere import elsewhere
from incident_lib.report.head import Head
from incident_lib.report.recorded import NOTHING_SEEN
from incident_lib.report.resolution import resolution_blocks
from incident_lib.report.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from incident_lib.model import ClaimsReport
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block
    from incident_lib.report.notes import Notes

QUERIES = (
    *("analysis/counts", "analysis/blocked", "analysis/blockers", "analysis/family", "database/indexes"),
    *("analysis/checksum", "analysis/own_versions"),
)
_CAUSE = (
    "A partial unique index allows one active thread per root prompt and user. It was created before threads had a "
    "purpose. An active run thread therefore has the key that a new chat thread of its family needs. PostgreSQL "
    "rejects the insert with SQLSTATE 23505, the server answers “Failed to save thread” (500), and the browser shows "
    "“Failed to create new chat”. The fix adds purpose to the key."
)
_STORY = (
    "A unique index allows one active thread in a prompt family, whatever its purpose: beside an active run, "
    "PostgreSQL rejects a new chat (Failed to create new chat, error 500)."
)
_TERMS = (
    "Family: a root prompt and its user. Purpose: what a thread is for, chat or run. Provider: the service that "
    "answers in it, such as openai. Blocked for a purpose: PostgreSQL would reject a new thread of this purpose "
    "because of an active thread of another purpose."
)
_HIDDEN = "Pseudonyms replace the ids of threads, users and prompts. Thread names, which users wrote, are left out."
_REJECTS = (
    "Rejects: new threads that PostgreSQL rejects because of this one. One of its own purpose it rejects by design."
)
_PUBLISHED = "The ids of this incident's own family are an exception: the fix plan has published them."
_PROVIDERS = (
    "Clients look up their thread by provider, too, and no unique index has the provider in its key. Two providers in "
    "one family therefore cause the same error."
)
_NO_PROVIDERS = (
    "The change provider has been applied: the unique index has the provider in its key, so that two providers in one "
    "family cause no error any more."
)
_SECOND_CHANGE = (
    "Clients look up their thread by provider, too. With the fixed index, a thread of one provider still blocks one of "
    "another provider in its family: the same error, from another column. The change provider adds the provider to the "
    "key; NULL is equal to NULL in it."
)
_ROLLBACK = (
    "A rollback requires at most one active thread in every family. Each family with several active threads prevents "
    "it: the first user who has both a chat and a run is enough."
)
_ACTIONS = (Column("action"), Column("owner"), Column("due"), Column("state"))
MOST_SUMMARIZED = 6  # environments of which the summary lists also those that were only not fixed
_HUMAN = ("Contributing factors", "What went well", "What went badly", "Where we were lucky")
_HINTS = {
    "Summary": "what happened, in a few words of your own.",
    "Detection": "who noticed it, how, and how long after it began.",
    "Contributing factors": "what made the incident possible, longer or worse.",
    "What went well": "what helped.",
    "What went badly": "what did not help.",
    "Where we were lucky": "what could have been worse.",
    "Action items": "what is to be done, its owner and its date.",
}


@dataclass(frozen=True)
class Sections:
    """The input of the sections, and the sections themselves."""

    chapters: tuple[Chapter, ...]
    notes: Notes
    claims: ClaimsReport | None

    def all(self) -> tuple[Section, ...]:
        """Every section, in the order in which it is read."""
        several = len(self.chapters) > 1
        return (
            Section("summary", "Summary", self._summary()),
            Section("timeline", "Timeline", (*timeline(self.chapters, self.notes), *self._added("Timeline"))),
            Section("impact", "Impact", self._impact()),
            Section("environments", "Environments compared", (comparison_table(self.chapters),) if several else ()),
            Section("root-cause", "Root cause", self._root_cause()),
            Section("resolution", "Resolution and verification", self._resolution()),
            Section("provider", "The second change: provider", self._provider()),
            Section("remaining", "What remains", self._remaining()),
            Section("elsewhere", "Could this happen elsewhere?", self._elsewhere()),
            Section("action-items", "Action items", self._actions()),
            Section("detection", "Detection", (*evidence.detected(self.chapters), *self._added("Detection"))),
            *(Section(_anchor(title), title, self._added(title)) for title in _HUMAN),
            Section("claims", "Claims of the fix plan, tested", evidence.claims(self.claims)),
            Section("rehearsal", "Rehearsal", self._rehearsals()),
            Section("unknown", "What is hidden or unknown", self._unknown()),
            Section("to-be-written", "To be written", self._unwritten()),
            Section("appendix", "Appendix: runs and queries", self._appendix()),
        )

    def _summary(self) -> tuple[Block, ...]:
        """The cause, in people's words if they wrote any; its extent, the terms, the chart; runs without success."""
        cause = self._added("Summary") or (Paragraph(_STORY),)
        extent = Head(self.chapters, self.notes).extent
        found = (Paragraph(extent), Paragraph(_TERMS, "note"), self._before_after(), *self._verdicts())
        return (*cause, *found)

    def _unwritten(self) -> tuple[Block, ...]:
        """The parts that only people can write, and that they have not written."""
        lines = tuple(f"{title}: {_HINTS[title]}" for title in self.notes.unwritten)
        if not self.notes.incident:
            lines += ("Incident: its id, as your tracker knows it.",)
        lacking = [action.what for action in self.notes.actions if action.lacks and not action.done]
        lines += tuple(f"Action item without an owner or a date: {what}" for what in lacking)
        return (
            (Unwritten("Write these into the notes; the report is then made again from them."), Bullets(lines))
            if lines
            else ()
        )

    def _rehearsals(self) -> tuple[Block, ...]:
        return self._each((chapter.environment, tuple(evidence.rehearsed(chapter))) for chapter in self.chapters)

    def _each(self, found: Iterable[tuple[str, tuple[Block, ...]]]) -> tuple[Block, ...]:
        """The blocks of each environment: folded under its name where there are several."""
        named = [(name, blocks) for name, blocks in found if blocks]
        if len(self.chapters) == 1:
            return tuple(block for _, blocks in named for block in blocks)
        parts = tuple(Part(name, blocks, folded=True) for name, blocks in named)
        if len(parts) <= MOST_SUMMARIZED:
            return parts
        return (Part(f"Each of {len(parts)} environments", parts, folded=True),)

    def _added(self, title: str) -> tuple[Block, ...]:
        """What people added to a section that the records fill; empty where they added nothing."""
        return (Prose(self.notes.text(title)),) if self.notes.text(title) else ()

    def _verdicts(self) -> list[Block]:
        """What was found and how the run ended, where that was not the fix; of many environments, only failures."""
        several = len(self.chapters) > 1
        listed = [chapter for chapter in self.chapters if not chapter.is_fixed or chapter.ended]
        if len(self.chapters) > MOST_SUMMARIZED:
            listed = [chapter for chapter in listed if chapter.failed]
        verdicts: list[Block] = [_verdict(c, f"{c.environment}: " if several else "") for c in listed]
        if len(verdicts) <= MOST_SUMMARIZED:
            return verdicts
        ends = ", ".join(f"{count} {end}" for end, count in Counter(chapter.ended for chapter in listed).items())
        return [Part(f"{len(listed)} runs did not succeed: {ends}", tuple(verdicts), folded=True)]

    def _impact(self) -> tuple[Block, ...]:
        figures = (self._over_time(), self._blockers())
        counts = tuple(Part(chapter.environment, (chapter.counts,), folded=True) for chapter in self.chapters)
        every = (Part("Every count of each environment", counts, folded=True),) if len(counts) > 1 else ()
        return (
            *(figure for figure in figures if figure),
            *every,
            Part("Rejected inserts", tuple(evidence.rejected_inserts(self.chapters))),
            *self._added("Impact"),
        )

    def _before_after(self) -> Block:
        if not self.chapters:
            return Paragraph("No run has been recorded.", "note")
        if len(self.chapters) == 1:
            (only,) = self.chapters
            title = "Blocked families, before the fix and after it" if only.after else "Blocked families"
            return Figure("before-after", charts.before_after(only.before, only.after, only.ended, title), only.counts)
        title = "Blocked families in each environment, before the fix and after it"
        chart = charts.compared([chapter.compared for chapter in self.chapters], title)
        return Figure("before-after", chart, blocked_by_environment(self.chapters))

    def _over_time(self) -> Block | None:
        lines = sorted((c.line for c in self.chapters if c.line), key=lambda line: -line.most)
        if not lines and not any(c.before and c.before.blocked.chat for c in self.chapters):
            return None
        if not lines:
            return Paragraph("It is unknown since when families are blocked: see What is hidden or unknown.", "note")
        since = sorted({c.record.purpose_since for c in self.chapters if c.record.purpose_since})
        ended = [(line.until, "fixed") for line in lines[: history_chart.MOST_LINES] if line.after is not None]
        events = [*((at, "purpose added") for at in since), *ended]
        rows = (
            (line.environment, format_minute(at), count)
            for place, line in enumerate(lines)
            for at, count in (line.points if place < history_chart.MOST_LINES else line.points[-1:])
        )
        behind = make_table(("environment", "by (UTC)", number("families blocked for chat")), rows)
        rejected = evidence.rejected_by_hour(self.chapters)
        return Figure("over-time", history_chart.over_time(lines, events, rejected), of_one(self.chapters, behind))

    def _blockers(self) -> Block | None:
        families: Counter[tuple[str, str | None, str | None]] = Counter()
        for chapter in self.chapters:
            for kind in chapter.record.blocked_by or []:
                families[kind.blocked_for, kind.purpose, kind.provider] += kind.families
        if not families:
            return None
        kinds = [
            BlockerCount(blocked_for=blocked_for, purpose=purpose, provider=provider, families=count)
            for (blocked_for, purpose, provider), count in families.most_common()
        ]
        columns = (
            "blocked for",
            Column("purpose", "by a thread of purpose", missing="no purpose"),
            Column("provider", "and provider", missing="no provider"),
            number("families"),
        )
        by_purpose = sorted(kinds, key=lambda kind: kind.blocked_for)
        rows = ((kind.blocked_for, kind.purpose, kind.provider, kind.families) for kind in by_purpose)
        return Figure(
            "blockers",
            charts.blockers(kinds, is_over=any(chapter.is_fixed for chapter in self.chapters)),
            make_table(columns, rows),
        )

    def _root_cause(self) -> tuple[Block, ...]:
        indexes = group_rows(row for chapter in self.chapters for row in chapter.indexes)
        catalog: Block = Paragraph("No run has read the unique indexes.", "note")
        if indexes:
            columns = (
                *("environment", "snapshot", "state of the unique indexes"),
                Column("definition", code=True),
                "flags",
            )
            catalog = of_one(self.chapters, make_table(columns, indexes))
        blocks: list[Block] = [Paragraph(_CAUSE), Part("The unique index, before and after", (catalog,))]
        return (*blocks, *self._example(), *self._added("Root cause"))

    def _example(self) -> list[Block]:
        """The worked example of the first environment that has one."""
        for chapter in self.chapters:
            family = chapter.record.example
            if family and (threads := chapter.example):
                who = Paragraph(f"Root {family.root}, user {family.owner}. {_REJECTS}", "note")
                if self._published() is chapter:
                    who = Paragraph(f"{who.text} {_PUBLISHED}", "note")
                where = f": {chapter.environment}" if len(self.chapters) > 1 else ""
                return [Part(f"One family, thread by thread{where}", (who, threads))]
        return []

    def _published(self) -> Chapter | None:
        """The environment whose worked example is the family that the fix plan names, by its published ids."""
        for chapter in self.chapters:
            family = chapter.record.example
            if family and chapter.example:
                return chapter if any(str(each) in {family.root, family.owner} for each in PUBLISHED) else None
        return None

    def _resolution(self) -> tuple[Block, ...]:
        done = self._each((chapter.environment, tuple(resolution_blocks(chapter))) for chapter in self.chapters)
        return (*done, *evidence.recovered(self.chapters), *self._added("Resolution"))

    def _provider(self) -> tuple[Block, ...]:
        """The second chapter: empty where no run was about the change after the fix."""
        alone = len(self.chapters) == 1
        found = [(each, each.following) for each in self.chapters if each.following]
        told = [(each.environment, tuple(following.blocks(alone=alone))) for each, following in found if following]
        return (Paragraph(_SECOND_CHANGE), *self._each(told)) if told else ()

    def _remaining(self) -> tuple[Block, ...]:
        found = {chapter.environment: chapter.now for chapter in self.chapters if chapter.now}
        has_provider = all(chapter.has_provider for chapter in self.chapters)
        added = self._added("What remains")
        if not found:
            return (Paragraph("What remains is unknown: no snapshot was taken.", "note"), *added)
        headings = (
            *("provider conflicts", "active threads without an owner"),
            *("families with several active threads", "active threads"),
        )
        behind = make_table(
            ("environment", *map(number, headings)),
            (
                (name, c.residual_conflicts, c.unguarded_threads, c.coexisting_families, c.active_threads)
                for name, c in found.items()
            ),
        )
        chart = charts.remaining_conflicts(*found.values(), has_provider=has_provider)
        figure = Figure("remaining", chart, of_one(self.chapters, behind))
        hidden = any(chapter.hides_rows for chapter in self.chapters)
        counted: tuple[Block, ...] = (Paragraph(HIDDEN_ROWS, "note"),) if hidden else ()
        if not hidden or any(c.residual_conflicts or c.unguarded_threads for c in found.values()):
            counted += (figure,)
        left = [chapter for chapter in self.chapters if chapter.conflict_change and not chapter.has_provider]
        changed = group_rows((chapter.environment, chapter.conflict_change) for chapter in left)
        parts = self._each((c.environment, tuple(evidence.provider_conflicts(c))) for c in self.chapters)
        rollback = group_rows((chapter.environment, chapter.rollback) for chapter in self.chapters if chapter.rollback)
        why = self._named([(names, f"Provider conflicts: {line}") for names, line in changed])
        cause = Paragraph(_NO_PROVIDERS if has_provider else _PROVIDERS)
        back = (Paragraph(_ROLLBACK), *self._named(rollback)) if rollback else ()
        return (cause, *counted, *why, *parts, *back, *added)

    def _named(self, lines: Sequence[tuple[str, str]]) -> tuple[Block, ...]:
        """Sentences as a list, each with the names of its environments where there are several; folded where many."""
        named = tuple(line if len(self.chapters) == 1 else f"{names}: {line}" for names, line in lines)
        return evidence.listed(named, f"The same for each of {len(self.chapters)} environments")

    def _elsewhere(self) -> tuple[Block, ...]:
        return self._each(
            (c.environment, tuple(elsewhere(c.scan, c.record.rejected_inserts, is_fixed=c.is_fixed)))
            for c in self.chapters
            if c.scan
        )

    def _actions(self) -> tuple[Block, ...]:
        written: list[tuple[Any, ...]] = [
            (a.what, a.owner or "–", a.due or "–", "done" if a.done else a.lacks or "open")
            for a in sorted(self.notes.actions, key=lambda action: action.done)
        ]
        proposed = [(what, "–", "–", "proposed from the data") for what in self._proposals()]
        still_open = [row for row in written if row[3] != "done"]
        rows = [*self._apply("open"), *still_open, *proposed, *written[len(still_open) :], *self._apply("done")]
        table: Block = make_table(_ACTIONS, rows)
        if not rows:
            table = Paragraph("No action item has been written, and the data proposes none.", "note")
        return (*self._added("Action items"), table)

    def _apply(self, state: str) -> list[tuple[Any, ...]]:
        """Applying the fix as an action item: `open` first, `done` last, each where it is so by the record."""
        fixed = [chapter.environment for chapter in self.chapters if chapter.is_fixed]
        waiting = [chapter.environment for chapter in self.chapters if not chapter.is_fixed]
        if state == "open" and waiting:
            what = f"Apply the fix where it has not been applied: {join_names(waiting, 4)}"
            return [(what, "–", "–", "open, by the record")]
        if state == "done":
            provided = [chapter.environment for chapter in self.chapters if chapter.has_provider]
            done = [
                (f"Apply the {act}: {join_names(names, 4)}", names)
                for act, names in (("fix", fixed), ("change provider", provided))
            ]
            return [(what, "–", "–", "done, by the record") for what, names in done if names]
        return []

    def _proposals(self) -> list[str]:
        """Action items that the data proposes."""
        latest = [chapter.now for chapter in self.chapters if chapter.now]
        conflicts = sum(counts.residual_conflicts for counts in latest)
        ownerless = sum(counts.unguarded_threads for counts in latest)
        proposed = [
            (
                conflicts,
                f"Decide whether provider belongs in the unique index: {plural(conflicts, 'provider conflict')}",
            ),
            (
                (orphans := evidence.orphans(self.chapters)),
                f"Look for up to {plural(orphans, 'orphaned conversation')} at the provider",
            ),
            (ownerless, f"Set an owner for {plural(ownerless, 'active thread')} without one; make the column NOT NULL"),
        ]
        return [what for needed, what in proposed if needed]

    def _unknown(self) -> tuple[Block, ...]:
        found: dict[str, list[str]] = {}
        for chapter in self.chapters:
            for line in chapter.unknown:
                found.setdefault(line, []).append(chapter.environment)
        everywhere = len(self.chapters)
        lines = (line if len(names) == everywhere else f"{join_names(names)}: {line}" for line, names in found.items())
        ids = _HIDDEN if self._published() is None else f"{_HIDDEN} {_PUBLISHED}"
        return (Bullets((ids, *lines)),)

    def _appendix(self) -> tuple[Block, ...]:
        queries = tuple(Query(name, paths.query(name)) for name in QUERIES)
        runs = Part("The runs that this report is made of", runs_tables(self.chapters), folded=True)
        return (runs, Part("The queries behind the figures", queries, folded=True))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _verdict(chapter: Chapter, prefix: str) -> Block:
    """The result of one environment's run and how the run ended, in a paragraph."""
    result = before_and_after(chapter.before, chapter.after) if chapter.latest else NOTHING_SEEN
    if chapter.hides_rows and chapter.before and not chapter.before.blocked.chat:
        result = CANNOT_TELL
    return Paragraph(f"{prefix}{result} {chapter.status}", "failed" if chapter.failed else "plain")
