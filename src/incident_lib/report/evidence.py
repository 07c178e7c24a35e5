"""The parts of the report that evidence fills: recovery, rehearsal, the plan's claims, and what the fix leaves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from incident_lib.model import (
    format_count,
    format_families,
    format_server,
    format_timestamp,
    plural,
)
from incident_lib.report.claim_chart import write_latency
from incident_lib.report.document import Bullets, Code, Figure, Paragraph, Part, Table, table
from incident_lib.report.recovery_chart import recovery_chart as recovered_chart

if TYPE_CHECKING:
    from datetime import datetime

    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block


def attempts(chapters: tuple[Chapter, ...]) -> list[Block]:
    """Who really tried, by the servers' logs."""
    found = [(chapter.environment, chapter.record["failures"]) for chapter in chapters if "failures" in chapter.record]
    if not found:
        return [Paragraph("Who tried is not known: no server log was read.", "note")]
    rows: list[tuple[object, ...]] = [
        (word.replace("_", " "), *(format_count(record[word]) for _, record in found), meaning)
        for word, meaning in ATTEMPT_MEANINGS.items()
    ]
    total, hit = (sum(record[word] for _, record in found) for word in ("failed_attempts", "families"))
    told = f"{plural(total, 'failed attempt')} by {format_families(hit)} stand in the servers' logs."
    orphans = (
        f"Each attempt that was a chat's may have left a conversation at the provider that nobody owns: {total:,} at "
        "most, for the unique index's key does not tell a chat from a run."
    )
    ends = [_ended(chapter) for chapter in chapters if "failures" in chapter.record]
    odd = [f"{name}: {n:,} {reason}" for name, r in found for reason, n in r["not_understood"].items()]
    columns = ("count", *(name for name, _ in found), "what it counts")  # a name may hold what sets columns apart
    behind = Table(columns, tuple(tuple(map(str, row)) for row in rows), frozenset(range(1, len(columns) - 1)))
    remarks = tuple(filter(None, (*ends, *odd)))
    return [Paragraph(told), behind, Paragraph(orphans), *([Bullets(remarks)] if remarks else [])]


def _ended(chapter: Chapter) -> str:
    """Whether the attempts ended with the incident, as far as the logs reach; nothing where it has not ended."""
    last, ended = chapter.record["failures"]["last"], chapter.moment("incident_ended_at")
    if not last or not ended:
        return ""
    when = "before" if from_iso(last) <= ended else "AFTER"
    return f"{chapter.environment}: the last attempt in its logs, of {_moment(last)}, came {when} the incident's end."


def attempts_by_hour(chapters: tuple[Chapter, ...]) -> list[tuple[datetime, int]]:
    """The rejected inserts of all environments together, by hour or by day, as far as their records tell."""
    counts: Counter[datetime] = Counter()
    for chapter in chapters:
        for at, count in chapter.record.get("failures", {}).get("per_hour", []):
            counts[from_iso(at)] += count
    return sorted(counts.items())


def detected(chapters: tuple[Chapter, ...]) -> list[Block]:
    """When the servers' logs could have told."""
    firsts = [
        f"{c.environment}: the first rejection that its log has is of {_moment(c.record['failures']['first'])} UTC."
        for c in chapters
        if c.record.get("failures", {}).get("first")
    ]
    return [Bullets(tuple(firsts))] if firsts else []


def recovered(chapters: tuple[Chapter, ...]) -> list[Block]:
    """How many of the blocked families have got a chat since the fix, and how soon."""
    found = [(chapter.environment, chapter.record["recovery"]) for chapter in chapters if "recovery" in chapter.record]
    if not found:
        return [Paragraph("Whether users recovered was not looked at: incident watch does.", "note")]
    rows: list[tuple[object, ...]] = [
        (name, f"{r['blocked']:,}", f"{r['recovered']:,}", f"{r['blocked'] - r['recovered']:,}", _moment(r["at"]))
        for name, r in found
    ]
    columns = "environment|blocked at the fix|have a chat since|not yet|looked at (UTC)"
    behind = table(columns, rows, numbers="blocked at the fix|have a chat since|not yet")
    drawn = any(r["over_time"] for _, r in found)
    return [Figure("recovered", recovered_chart(found), behind)] if drawn else [behind]


def rehearsed(chapter: Chapter) -> list[Block]:
    """What a rehearsal on a copy had told, beside what then happened."""
    told = chapter.rehearsal
    if told is None or from_iso(told["rehearsed_at"]) > from_iso(chapter.record["started_at"]):
        return []
    clients = told["clients"]
    rows: list[tuple[object, ...]] = [
        ("it will work" if told["works"] else "it will NOT work", told["why"], _then(chapter)),
        ("server", format_server(told["rehearsal_version"]), format_server(chapter.record["server_version"])),
        (
            "active threads",
            f"{told['active_threads']:,}",
            f"{chapter.before.active_threads:,}" if chapter.before else "–",
        ),
        ("the build", _build(told), _step(chapter, "build")),
        (
            "clients",
            _met(clients),
            "not ours to measure",
        ),
        ("rollback", told["rollback"]["why"], "–"),
    ]
    compared = table("|rehearsed|then", rows)
    told_at = Paragraph(
        f"Rehearsed {_moment(told['rehearsed_at'])} on a copy of what the unique indexes see; nothing was written there."
    )
    waits = [f"{check['name']}: {check['seen']}" for check in told["waits"]] + list(told["not_reproduced"])
    return [Part("Rehearsal", (told_at, compared, *((Bullets(tuple(waits)),) if waits else ())))]


def _met(clients: dict[str, Any]) -> str:
    def counted(found: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in found.items()) or "none"

    return (
        f"{clients['writes']:,} writes, the slowest {clients['longest_stall'] * 1000:.0f} ms; rejected before: "
        f"{counted(clients['rejected'])}; after: {counted(clients['rejected_after'])}; "
        f"other errors: {counted(clients['errors'])}"
    )


def _then(chapter: Chapter) -> str:
    return chapter.ended or ("it worked" if chapter.is_fixed else "it did not end in the fixed index alone")


def _build(told: dict[str, Any]) -> str:
    per_million = told["build_seconds_per_million"]
    return "too few threads to tell" if per_million is None else f"{per_million:.2f} s a million active threads"


def _step(chapter: Chapter, name: str) -> str:
    took = [step["seconds"] for step in chapter.record["steps"] if step["name"] == name]
    return f"{took[0]:.3f} s" if took else "no such step"


def claims(found: dict[str, Any] | None) -> tuple[Block, ...]:
    """The fix plan's claims, how each was tested, and the verdict."""
    if found is None:
        return (Paragraph("The plan's claims have not been tested here: incident claims does.", "note"),)
    rows: list[tuple[object, ...]] = [(c["claim"], c["verdict"], c["result"], c["how"]) for c in found["claims"]]
    verdicts = [claim["verdict"] for claim in found["claims"]]
    counted = "; ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    server = format_server(found["server_version"])
    when = f"Tested {_moment(found['tested_at'])} on {server}, on scratch databases with writers: {counted}."
    ways = found["latency"]["ways"]
    waited: list[tuple[object, ...]] = [
        (way["name"], f"{way['end']:,.2f}", f"{way['longest_ms']:,.0f}", f"{way['duplicates']:,}") for way in ways
    ]
    numbers = "took (s)|longest write (ms)|duplicates let in"
    figure = Figure("claims", write_latency(found), table(f"way|{numbers}", waited, numbers=numbers))
    return (Paragraph(when), figure, table("the plan's claim|verdict|what came out|how it was tested", rows))


def remains(chapter: Chapter) -> list[Block]:
    """What the fix leaves in one environment, by provider, and the unique index that would settle it."""
    found = chapter.record.get("remains")
    if found is None:
        return []
    rows: list[tuple[object, ...]] = [
        (kind["provider"] or "no provider", f"{kind['active_threads']:,}", f"{kind['families']:,}")
        for kind in found["by_provider"]
    ]
    numbers = "active threads|families"
    blocks: list[Block] = [table(f"provider conflicts of provider|{numbers}", rows, numbers=numbers)] if rows else []
    if worked := found["worked"]:
        threads: list[tuple[object, ...]] = [
            (t["created_at"] or "unknown", t["purpose"], t["provider"] or "none", "yes" if t["is_active"] else "no")
            for t in worked["threads"]
        ]
        family = table("created (UTC)|purpose|provider|active", threads)
        blocks.append(Part("One such family", (Paragraph(_worked(worked)), family)))
    nobody = f"No client's lookup finds {plural(found['without_provider'], 'active thread')} without a provider."
    proposal = found["proposal"]
    settled = "Proposed, not applied: a unique index per provider and purpose, for which NULLs are equal."
    settle = (
        Paragraph(f"{settled} {proposal['told']}"),
        Code("The unique index that would settle it", f"{proposal['sql']};\n"),
    )
    return [*blocks, Paragraph(nobody), Part("What would settle it", settle)]


def _worked(worked: dict[str, Any]) -> str:
    return (
        f"A {worked['purpose']} thread of {worked['held_by'] or 'no provider'} is active: under the fixed index, too, "
        f"a client that asks for one of {worked['asked_for']} is rejected."
    )


def _moment(spelled: str) -> str:
    return format_timestamp(from_iso(spelled))
