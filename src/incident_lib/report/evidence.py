"""The parts of the report about rejected inserts, recovery, rehearsal, tested claims and provider conflicts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from incident_lib.model import (
    Column,
    claims_table,
    describe_reading,
    format_duration,
    format_families,
    format_minute,
    format_server,
    format_timestamp,
    left_out,
    make_table,
    plural,
    rejected_inserts_table,
    summarize_verdicts,
    unread_sentence,
)
from incident_lib.report.claim_chart import write_latency
from incident_lib.report.compare import group_rows, number, of_one
from incident_lib.report.document import Bullets, Code, Figure, Paragraph, Part
from incident_lib.report.recovery_chart import Recovered, recovery_chart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from incident_lib.model import ClaimsReport, ClientCounts, ProviderExample, RehearsalReport
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block

MOST_LISTED = 8  # sentences that are not folded
PROVIDER_THREADS = (
    Column("created_at", "created (UTC)"),
    Column("purpose"),
    Column("provider", missing="none"),
    Column("active"),
)


def rejected_inserts(chapters: tuple[Chapter, ...]) -> list[Block]:
    """The inserts that the unique index rejected, from the server logs."""
    found = {c.environment: c.record.rejected_inserts for c in chapters if c.record.rejected_inserts}
    unread_logs = [(c.environment, unread_sentence(c.record.unread_logs)) for c in chapters if c.record.unread_logs]
    alone = len(chapters) == 1
    if not found and unread_logs:
        return [
            Paragraph("Rejected inserts are unknown.", "note"),
            *named_lines(unread_logs, "Logs that were not read", alone=alone),
        ]
    if not found:
        return [Paragraph("Rejected inserts are unknown: no server log was read.", "note")]
    total = sum(each.failed_attempts for each in found.values())
    families = sum(each.families for each in found.values())
    others = any(each.before_purpose or each.by_provider for each in found.values())
    of_incident = " of this incident" if others else ""
    summary = f"The server logs hold {plural(total, 'rejected insert')}{of_incident} by {format_families(families)}."
    left = plural(orphans(chapters), "orphaned conversation")
    counts = rejected_inserts_table({"number": next(iter(found.values()))} if alone else found)
    remarks = [(name, line) for name, each in found.items() for line in (*left_out(each), describe_reading(each))]
    remarks += [(c.environment, unread_sentence(c.record.unread_logs)) for c in chapters]
    remarks += [(c.environment, _last_rejected(c)) for c in chapters]
    remarks += [(name, f"{n:,} {reason}") for name, each in found.items() for reason, n in each.not_understood.items()]
    return [
        Paragraph(summary),
        Part("Every count of the rejected inserts", (counts,), folded=True),
        Paragraph(f"Rejected chats may have left up to {left} at the provider."),
        *named_lines(remarks, "What the logs leave out, and when they end", alone=alone),
    ]


def orphans(chapters: Sequence[Chapter]) -> int:
    """How many conversations rejected chats may have left at the provider, at most: one for each."""
    found = [chapter.record.rejected_inserts for chapter in chapters if chapter.record.rejected_inserts]
    return sum(each.failed_attempts - (each.runs or 0) for each in found)


def named_lines(found: Sequence[tuple[str, str]], title: str, *, alone: bool) -> tuple[Block, ...]:
    """Sentences with the names of their environments, equal ones together; folded under a title where they are many.

    Args:
        found: the name of an environment, and a sentence, which may be empty.
        title: where they are folded.
        alone: whether there is one environment, which is not named.
    """
    rows = group_rows(pair for pair in found if pair[1])
    lines = tuple(line if alone else f"{names}: {line}" for names, line in rows)
    return listed(lines, title)


def listed(lines: tuple[str, ...], title: str) -> tuple[Block, ...]:
    """Sentences as a list; folded under a title where they are many."""
    if not lines:
        return ()
    bullets = Bullets(lines)
    return (bullets,) if len(lines) <= MOST_LISTED else (Part(title, (bullets,), folded=True),)


def _last_rejected(chapter: Chapter) -> str:
    """Whether the last rejected insert is before the end of the incident; empty where one of the two is unknown."""
    found, ended = chapter.record.rejected_inserts, chapter.record.incident_ended_at
    if not found or not found.last or not ended:
        return ""
    when = "before" if found.last <= ended else "AFTER"
    at = format_minute(found.last)
    return f"The last rejected insert in the logs ({at} UTC) is {when} the end of the incident."


def rejected_by_hour(chapters: tuple[Chapter, ...]) -> list[tuple[datetime, int]]:
    """The rejected inserts of all environments together, by hour or by day."""
    counts: Counter[datetime] = Counter()
    for chapter in chapters:
        if found := chapter.record.rejected_inserts:
            for at, count in found.per_hour:
                counts[at] += count
    return sorted(counts.items())


def detected(chapters: tuple[Chapter, ...]) -> list[Block]:
    """The incident's first rejected insert in each environment's logs."""
    lines = [
        (c.environment, f"The logs have the first rejected insert of this incident at {_first(found.first, c)}.")
        for c in chapters
        if (found := c.record.rejected_inserts) and found.first
    ]
    title = f"The first rejected insert in each of {len(lines)} environments"
    return [*named_lines(lines, title, alone=len(chapters) == 1)]


def _first(at: datetime, chapter: Chapter) -> str:
    """When the first insert was rejected, and how long after the column was added, where that is known."""
    since = chapter.record.purpose_since
    if since is None or at < since:
        return f"{format_minute(at)} UTC"
    lasted = format_duration((at - since).total_seconds())
    return f"{format_minute(at)} UTC, {lasted} after the column purpose was added"


def recovered(chapters: tuple[Chapter, ...]) -> list[Block]:
    """How many of the families that were blocked have a chat since the fix, and how soon."""
    found = [(chapter.environment, chapter.record.recovery) for chapter in chapters if chapter.record.recovery]
    if not found:
        return [Paragraph("Recovery was not measured. To measure it, run: incident watch", "note")]
    columns: tuple[Column | str, ...] = (
        "environment",
        *map(number, ("blocked before the fix", "chat since the fix", "no chat yet")),
        "counted at (UTC)",
    )
    rows = ((name, r.blocked, r.recovered, r.blocked - r.recovered, format_timestamp(r.at)) for name, r in found if r)
    behind = of_one(chapters, make_table(columns, rows))
    has_points = any(r.over_time for _, r in found)
    drawn = [Recovered(c.environment, c.record.recovery, c.line) for c in chapters if c.record.recovery]
    return (
        [Figure("recovered", recovery_chart(drawn, is_undone=any(c.is_undone for c in chapters)), behind)]
        if has_points
        else [behind]
    )


def rehearsed(chapter: Chapter) -> list[Block]:
    """What a rehearsal on a copy predicted, beside what the run then did."""
    found, record = chapter.rehearsal, chapter.record
    if found is None or found.rehearsed_at > record.started_at:
        return []
    rows: list[tuple[Any, ...]] = [
        ("it will work" if found.works else "it will NOT work", found.why, _outcome(chapter)),
        ("server", format_server(found.rehearsal_version), format_server(record.server_version)),
        ("active threads", found.active_threads, chapter.before.active_threads if chapter.before else "–"),
        ("build", _build(found), _step(chapter, "build")),
        ("clients", _clients(found.clients), "not measured"),
        ("rollback", found.rollback.why, "–"),
    ]
    when = Paragraph(
        f"Rehearsed {format_timestamp(found.rehearsed_at)} UTC on a copy of the columns of the unique indexes. "
        "Nothing was written to the environment."
    )
    waits = tuple([f"{check.name}: {check.finding}" for check in found.waits] + found.not_reproduced)
    compared = make_table(("", "rehearsal", "run"), rows)
    return [when, compared, *([Bullets(waits)] if waits else [])]


def _clients(found: ClientCounts) -> str:
    def by_name(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"

    return (
        f"{found.writes:,} writes, the slowest {found.longest_stall * 1000:.0f} ms; rejected before: "
        f"{by_name(found.rejected)}; after: {by_name(found.rejected_after)}; other errors: {by_name(found.errors)}"
    )


def _outcome(chapter: Chapter) -> str:
    return chapter.ended or ("it worked" if chapter.is_fixed else "it did not end with the fixed index alone")


def _build(found: RehearsalReport) -> str:
    per_million = found.build_seconds_per_million
    return "too few threads to measure" if per_million is None else f"{per_million:.2f} s a million active threads"


def _step(chapter: Chapter, name: str) -> str:
    seconds = [step.seconds for step in chapter.record.steps if step.name == name]
    return f"{seconds[0]:.3f} s" if seconds else "no such step"


def claims(found: ClaimsReport | None) -> tuple[Block, ...]:
    """The fix plan's claims, how each was tested, and the verdict."""
    if found is None:
        return (
            Paragraph(
                "The claims of the fix plan have not been tested here. To test them, run: incident claims", "note"
            ),
        )
    made = f"The fix plan makes {plural(len(found.claims), 'claim')}."
    tested = f"Tested {format_timestamp(found.tested_at)} UTC on {format_server(found.server_version)}"
    verdicts = summarize_verdicts(claim.verdict for claim in found.claims)
    when = f"{made} {tested}, on scratch databases with writing clients. {verdicts}"
    measured = make_table(
        ("strategy", *map(number, ("took (s)", "longest write (ms)", "duplicates admitted"))),
        ((s.name, f"{s.end:,.2f}", f"{s.longest_ms:,.0f}", s.duplicates) for s in found.latency.strategies),
    )
    each = Part("Each claim, its verdict and how it was tested", (claims_table(found.claims),), folded=True)
    return (Paragraph(when), Figure("claims", write_latency(found), measured), each)


def provider_conflicts(chapter: Chapter) -> list[Block]:
    """The provider conflicts that remain in one environment, and the unique index that would end them."""
    following = chapter.following if chapter.has_provider else None
    found = (following or chapter).record.residual
    if found is None:
        return []
    blocks: list[Block] = []
    if found.by_provider:
        columns = (
            Column("provider", "provider of the blocking thread", missing="no provider"),
            *map(number, ("active threads", "families")),
        )
        rows = ((kind.provider, kind.active_threads, kind.families) for kind in found.by_provider)
        blocks.append(make_table(columns, rows))
    if example := found.example:
        threads = ((t.created_at, t.purpose, t.provider, t.is_active) for t in example.threads)
        family = make_table(PROVIDER_THREADS, threads)
        blocks.append(Part("One such family", (Paragraph(_conflict(example)), family)))
    if following:
        return blocks
    without = f"No client's lookup finds the {plural(found.without_provider, 'active thread')} without a provider."
    proposal = found.proposal
    proposed = "Proposed, not applied: a unique index per provider and purpose that treats NULLs as equal."
    settle = (
        Paragraph(f"{proposed} {proposal.finding}"),
        Code("The unique index that would end them", f"{proposal.sql};\n"),
    )
    return [*blocks, Paragraph(without), Part("What would end the provider conflicts", settle)]


def _conflict(example: ProviderExample) -> str:
    return (
        f"An active thread of {example.held_by or 'no provider'} has the purpose {example.purpose or 'unknown'}. "
        f"PostgreSQL therefore rejects a thread of {example.asked_for} with this purpose, also with the fixed index."
    )
