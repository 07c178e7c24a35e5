"""Every number in a report is from its records, and every number of the records is in the report."""

from __future__ import annotations

import copy
import itertools
import json
import random
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.model import REJECTED_INSERT_MEANINGS, format_duration
from incident_lib.report import render
from incident_lib.report.chapter import Chapter
from incident_lib.report.notes import Notes
from incident_lib.report.postmortem import Postmortem
from tests.support.reports import EXAMPLE, Contents, Page, in_words, record_of, undrawn, wiki

WORDS = ("families", "active_threads", "blocked_families", "blocked for chat", "blocked for run", "affected_owners")
NAMES = {
    "failed_attempts": "rejected inserts",
    "hit_and_blocked": "rejected and blocked",
    "hit_not_blocked": "rejected, not blocked",
    "blocked_never_hit": "blocked, never rejected",
    "owners": "users",
    "coexisting_families": "families with several active threads",
    "residual_conflicts": "provider conflicts",
    "unguarded_threads": "active threads without an owner",
}
MORE_WORDS = ("coexisting_families", "residual_conflicts", "unguarded_threads")
MOMENTS = ("before", "after")
ENDED = "2027-01-02T03:04:05.678Z"


def numbered(seed: int, environment: str = "demo") -> Contents:
    """A record like the example in which every number is different."""
    numbers = iter(random.Random(seed).sample(range(20_001, 9_000_000, 2), 1_000))
    made = copy.deepcopy(EXAMPLE)
    for moment in MOMENTS:
        made["counts"][moment] = _numbered(made["counts"][moment], numbers)
    made["blocked_by"] = [{**kind, "families": next(numbers)} for kind in made["blocked_by"]]
    for purpose, points in made["blocked_since"].items():
        grown = sorted(itertools.islice(numbers, len(points)))
        made["blocked_since"][purpose] = [[at, count] for (at, _), count in zip(points, grown, strict=True)]
    made["counts"]["before"]["blocked"]["chat"] = made["blocked_since"]["chat"][-1][1] + 2 * (seed % 2)
    for step in made["steps"]:
        step["seconds"] = next(numbers) / 1000
    made["rejected_inserts"] |= _numbered(dict.fromkeys(REJECTED_INSERT_MEANINGS, 0), numbers)
    made["rejected_inserts"]["per_hour"] = [[at, next(numbers)] for at, _ in made["rejected_inserts"]["per_hour"]]
    made["rejected_inserts"]["failed_attempts"] = sum(count for _, count in made["rejected_inserts"]["per_hour"])
    made["rejected_inserts"]["runs"] = 1000
    made["rejected_inserts"]["not_understood"] = {"lines had no key.": next(numbers)}
    back = sorted(itertools.islice(numbers, len(made["recovery"]["over_time"]) + 1))
    made["recovery"]["over_time"] = [
        [at, count] for (at, _), count in zip(made["recovery"]["over_time"], back, strict=False)
    ]
    made["recovery"] |= {"recovered": back[-2], "blocked": back[-1]}
    for kind in made["residual"]["by_provider"]:
        kind |= {"active_threads": next(numbers), "families": next(numbers)}
    made["residual"]["without_provider"] = next(numbers)
    made["probes"] = [f"chat: {next(numbers)} of {next(numbers)} admitted, {next(numbers)} rejected" for _ in MOMENTS]
    made["retries"] = f"{next(numbers):,} families had failed."
    made["integrity"] = f"{next(numbers):,} threads."
    made["snapshot_at"]["after"] = f"2026-{1 + seed % 12:02d}-{1 + seed % 28:02d}T0{seed % 10}:17:29.{seed % 997:03d}Z"
    return {**made, "environment": environment, "server_version": 150_000 + seed % 50}


def _numbered(thing: Any, numbers: Any) -> Any:
    return {k: _numbered(v, numbers) for k, v in thing.items()} if isinstance(thing, dict) else next(numbers)


def post(*records: Contents) -> Postmortem:
    """The report over these records, without notes."""
    return Postmortem(
        tuple(Chapter(record_of(record), f"run {place}") for place, record in enumerate(records)), Notes()
    )


def page(*records: Contents) -> Page:
    """The HTML report over these records, with empty pictures."""
    return undrawn(post(*records))


def rendered(*records: Contents) -> Page:
    """The rendered Markdown report over these records."""
    return wiki(render.render_markdown(post(*records), "pictures"))


FORMS = (page, rendered)
SEEDS = st.integers(0, 2**32)
few = settings(max_examples=5)  # each renders a report


def _counted(counts: Contents) -> list[int]:
    """The counts of a snapshot, in the order of the table."""
    blocked = counts["blocked"]
    plain = [counts[word] for word in WORDS[:3]]
    return [*plain, blocked["chat"], blocked["run"], counts["affected_owners"], *(counts[word] for word in MORE_WORDS)]


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def counts_of(record: Contents) -> list[list[str]]:
    """The table of all counts, without their meanings."""
    snapshots = [record["counts"][moment] for moment in MOMENTS]
    rows = [
        [NAMES.get(word, word.replace("_", " ")), *(f"{number:,}" for number in pair)]
        for word, *pair in zip((*WORDS, *MORE_WORDS), *map(_counted, snapshots), strict=True)
    ]
    purposes = sorted({purpose for snapshot in snapshots for purpose in snapshot["active_by_purpose"]})
    return rows + [
        [f"active {p}", *(f"{snapshot['active_by_purpose'][p]:,}" for snapshot in snapshots)] for p in purposes
    ]


def growth_of(*records: Contents) -> list[list[str]]:
    """The table of blocked families over time, largest number first."""
    return [
        [record["environment"], _minute(at), f"{count:,}"]
        for record in sorted(records, key=lambda record: -record["blocked_since"]["chat"][-1][1])
        for at, count in record["blocked_since"]["chat"]
    ]


def blockers_of(*records: Contents) -> list[list[str]]:
    """The table of blockers with sums: chat first, then most families."""
    sums: dict[tuple[str, str, str], int] = {}
    for kind in (kind for record in records for kind in record["blocked_by"]):
        key = (kind["blocked_for"], kind["purpose"] or "no purpose", kind["provider"] or "no provider")
        sums[key] = sums.get(key, 0) + kind["families"]
    return [[*key, f"{number:,}"] for key, number in sorted(sums.items(), key=lambda item: (item[0][0], -item[1]))]


def timeline_of(record: Contents) -> set[tuple[str, str]]:
    """The rows of the timeline: time and event."""
    first, blocked = record["blocked_since"]["chat"][0], record["counts"]["before"]["blocked"]["chat"]
    snapshots = [f"{record['counts'][moment]['blocked']['chat']:,} families blocked for chat." for moment in MOMENTS]
    return {
        (in_words(record["purpose_since"]), "The column purpose was added; the threads that existed became runs."),
        *(
            (
                in_words(record["rejected_inserts"][which]),
                f"The unique index rejected the {which} insert of this incident in the log.",
            )
            for which in ("first", "last")
        ),
        (in_words(first[0]), f"{first[1]:,} of the {blocked:,} families had become blocked for chat."),
        (in_words(record["snapshot_at"]["before"]), f"Snapshot before: {snapshots[0]}"),
        (in_words(record["snapshot_at"]["after"]), f"Snapshot after: {snapshots[1]}"),
        *(
            (ended(s), f"Step {s['name']}: {s['outcome']}, {s['seconds']:.3f} s after it began.")
            for s in record["steps"]
        ),
        (in_words(record["incident_ended_at"]), "The incident ended: the original index rejects no insert any more."),
    }


def ended(step: Contents) -> str:
    """When a step ended, as a report shows it."""
    at = datetime.fromisoformat(step["started_at"]) + timedelta(seconds=step["seconds"])
    return in_words(at.isoformat().replace("+00:00", "Z"))


def rejected_of(*records: Contents) -> list[list[str]]:
    """The table of rejected inserts, without their meanings."""
    return [
        [NAMES.get(word, word.replace("_", " ")), *(f"{record['rejected_inserts'][word]:,}" for record in records)]
        for word in REJECTED_INSERT_MEANINGS
    ]


def recovered_of(record: Contents) -> list[str]:
    """The row of an environment in the table of recovery."""
    blocked, back = (record["recovery"][key] for key in ("blocked", "recovered"))
    return [
        record["environment"],
        f"{blocked:,}",
        f"{back:,}",
        f"{blocked - back:,}",
        in_words(record["recovery"]["at"]),
    ]


def conflicts_of(record: Contents) -> list[list[str]]:
    """The table of provider conflicts by provider."""
    kinds = record["residual"]["by_provider"]
    return [[kind["provider"], f"{kind['active_threads']:,}", f"{kind['families']:,}"] for kind in kinds]


def compared_of(record: Contents) -> list[str]:
    """The row of an environment in the comparison."""
    before, after = (record["counts"][moment] for moment in MOMENTS)
    blocked = [f"{snapshot['blocked']['chat']:,}" for snapshot in (before, after)]
    size = [f"{after['families']:,}", f"{after['active_threads']:,}"]
    return [record["environment"], "succeeded", "original", "fixed", *blocked, *size]


def remaining_of(record: Contents) -> list[str]:
    """The row of an environment in the table of what remains."""
    words = ("residual_conflicts", "unguarded_threads", "coexisting_families", "active_threads")
    return [record["environment"], *(f"{record['counts']['after'][word]:,}" for word in words)]


def check_one(found: Page, record: Contents) -> None:
    """Assert that each table of a report over one record has the record's numbers."""
    counts, *impact = (table[1:] for title in ("Summary", "Impact") for table in found.sections[title].tables[:3])
    timeline = found.sections["Timeline"].tables[1][1:]
    steps, verification, _, recovered = found.sections["Resolution and verification"].tables
    left, by_provider = found.sections["What remains"].tables[:2]

    assert [row[:3] for row in counts] == counts_of(record)
    assert impact[-3] == [row[1:] for row in growth_of(record)]
    assert impact[-2] == blockers_of(record)
    assert [row[:2] for row in impact[-1]] == rejected_of(record)
    assert {(row[0], row[1]) for row in timeline} == timeline_of(record)
    assert [row[0] for row in timeline] == sorted(row[0] for row in timeline)
    assert [row[2] for row in steps[1:]] == [f"{step['seconds']:,.3f}" for step in record["steps"]]
    assert [row[2] for row in verification[1:]] == [check["finding"] for check in record["verification"]]
    assert recovered[1:] == [recovered_of(record)[1:]]
    assert (left[1:], by_provider[1:]) == ([remaining_of(record)[1:]], conflicts_of(record))
    assert found.sections["Appendix: runs and queries"].tables[0][1][2:] == [
        *(in_words(record[key]) for key in ("started_at", "finished_at")),
        "succeeded",
        f"PostgreSQL {record['server_version'] // 10000}.{record['server_version'] % 10000}",
    ]


@few
@given(SEEDS)
def test_every_number_in_markdown_is_the_records(seed: int) -> None:
    """Each cell of each table in the Markdown has the record's number."""
    record = numbered(seed)

    check_one(rendered(record), record)


def test_every_number_in_html_is_the_records() -> None:
    """Each cell of each table in the page has the record's number."""
    check_one(page(numbered(7)), numbered(7))


@pytest.mark.parametrize("made", FORMS)
def test_every_number_of_several_is_the_records(made: Any) -> None:
    """Over several records each row has its record's numbers, and each sum is correct."""
    records = [numbered(seed, name) for seed, name in ((1, "dev"), (2, "prod"), (3, "staging"))]
    found = made(*records)
    compared = found.sections["Summary"].tables[0][1:]
    impact = [table[1:] for table in found.sections["Impact"].tables]

    assert compared == [
        [r["environment"], *(f"{r['counts'][m]['blocked'][p]:,}" for p in ("chat", "run") for m in MOMENTS)]
        for r in records
    ]
    assert impact[0] == growth_of(*records)
    assert impact[1] == blockers_of(*records)
    assert [[row[:3] for row in table] for table in impact[2:-1]] == [counts_of(record) for record in records]
    assert [row[:-1] for row in impact[-1]] == rejected_of(*records)
    assert found.sections["Resolution and verification"].tables[-1][1:] == [recovered_of(record) for record in records]
    assert found.sections["Environments compared"].tables[0][1:] == [compared_of(record) for record in records]
    assert found.sections["What remains"].tables[0][1:] == [remaining_of(record) for record in records]
    assert {(row[0], row[2]) for row in found.sections["Timeline"].tables[1][1:]} == set.union(
        *map(timeline_of, records)
    )


def ended_conflicts_of(record: dict[str, Any]) -> int:
    """How many of the provider conflicts from before the fix were gone after it; below zero: how many came."""
    before, after = (record["counts"][moment]["residual_conflicts"] for moment in MOMENTS)
    return int(before + record["residual"]["created_since"] - after)


def _groups(text: str) -> set[str]:
    """The numbers in a text, without thousands separators."""
    return {number.replace(",", "") for number in re.findall(r"\d(?:,?\d)*", text)}


DATA = ("Impact", "Timeline", "Root cause", "Resolution and verification", "Environments compared", "What remains")


@few
@given(SEEDS, st.integers(1, 3))
def test_every_number_is_in_a_record(seed: int, environments: int) -> None:
    """Each number in a table of data is in a record, or is a sum over records."""
    records = [numbered(seed + place, f"env-{'abc'[place]}") for place in range(environments)]
    sums = _groups(" ".join(row[-1] for row in blockers_of(*records)))
    known = (
        _groups(re.sub(r"(\.\d{3})\d+Z", r"\1Z", json.dumps(records)))
        | sums
        | _groups(" ".join(recovered_of(record)[3] for record in records))
    )
    known |= _groups(" ".join(format_duration(sum(step["seconds"] for step in r["steps"])) for r in records))
    known |= {f"{step['seconds']:.3f}".partition(".")[2] for record in records for step in record["steps"]}
    known |= _groups(" ".join(ended(step) for record in records for step in record["steps"]))
    known |= {str(abs(ended_conflicts_of(record))) for record in records}
    sections = rendered(*records).sections
    cells = [
        cell
        for title in DATA
        if title in sections
        for table in sections[title].tables
        for row in table[1:]
        for cell in row
    ]

    assert len(cells) > 100
    assert [(cell, _groups(cell) - known) for cell in cells if _groups(cell) - known] == []


# Titles, alternative texts, sentences


def alt_texts_of(record: Contents) -> dict[str, str]:
    """The alternative text of each picture over one record."""
    after = record["counts"]["after"]
    return {
        "before-after": _alt_of_before_and_after(record),
        "over-time": _alt_of_time(record),
        "blockers": _alt_of_blockers(record),
        "recovered": "{1} families of {0} that were blocked had a chat again when counted. demo: {1} of {0}.".format(
            *recovered_of(record)[1:3]
        ),
        "remaining": f"The fix does not change {after['residual_conflicts']:,} provider conflicts and "
        f"{after['unguarded_threads']:,} active threads without an owner. Of {after['active_threads']:,} active "
        "threads.",
    }


def _alt_of_before_and_after(record: Contents) -> str:
    snapshots = [record["counts"][moment]["blocked"] for moment in MOMENTS]
    (chat, chat_after), (run, run_after) = (
        [f"{snapshot[purpose]:,}" for snapshot in snapshots] for purpose in ("chat", "run")
    )
    return (
        "Blocked families, before the fix and after it. "
        f"Families blocked for chat: {chat} before, {chat_after} after. "
        f"Families blocked for run: {run} before, {run_after} after."
    )


def _alt_of_time(record: Contents) -> str:
    (at, first), (_, last) = record["blocked_since"]["chat"][0], record["blocked_since"]["chat"][-1]
    total, after = (record["counts"][moment]["blocked"]["chat"] for moment in MOMENTS)
    title = f"{total:,} families were blocked in the end, the first on {at[:10]}"
    if first * 2 > total:
        title = f"{first:,} of {total:,} families were blocked at once, on {at[:10]}"
    unknown = f" ({total - last:,} more since an unknown time)" if total > last else ""
    return (
        f"{title}. demo: {first:,} at {in_words(at)}, {last:,} in the end{unknown}; "
        f"ended {in_words(record['incident_ended_at'])}, {after:,} after. "
        f"Rejected inserts in the server logs: {record['rejected_inserts']['failed_attempts']:,}."
    )


def _alt_of_blockers(record: Contents) -> str:
    kinds = [kind for purpose in ("chat", "run") for kind in blockers_of(record) if kind[0] == purpose]
    summed = sum(kind["families"] for kind in record["blocked_by"] if kind["blocked_for"] == "chat")
    threads = [
        f"{'an' if purpose == 'eval' else 'a'} {purpose} thread ({provider})" for _, purpose, provider, _ in kinds
    ]
    return f"{kinds[0][3]} of {summed:,} families are blocked for chat by {threads[0]}. " + " ".join(
        f"{kind[0]} blocked by {thread}: {kind[3]} families." for kind, thread in zip(kinds, threads, strict=True)
    )


@few
@given(SEEDS)
def test_every_number_in_a_pictures_text_is_the_records(seed: int) -> None:
    """The alternative text of each picture has the record's numbers, and no other number."""
    record = numbered(seed)
    figures = {f.name: f for section in post(record).sections for f in render.figures(section.blocks)}

    assert {name: figure.chart.alt for name, figure in figures.items()} == alt_texts_of(record)
    assert [name for name, f in figures.items() if not f.chart.alt.startswith(f"{f.chart.title}. ")] == []


@pytest.mark.parametrize("made", FORMS)
def test_every_pictures_text_is_in_each_form(made: Any) -> None:
    """Page and Markdown have the alternative texts of the charts."""
    assert [image["alt"] for image in made(numbered(5)).of("img")] == list(alt_texts_of(numbered(5)).values())


@few
@given(SEEDS)
def test_every_number_that_is_drawn_is_the_records(seed: int) -> None:
    """The labels of the charts are the record's numbers, and the length of a bar is its number."""
    record = numbered(seed)
    figures = {f.name: f.chart for section in post(record).sections for f in render.figures(section.blocks)}
    axes = {name: figures[name].figure().axes[0] for name in ("before-after", "remaining", "blockers")}
    snapshots = [record["counts"][moment]["blocked"] for moment in MOMENTS]
    after = record["counts"]["after"]

    assert [bar.get_width() for bar in axes["before-after"].patches] == [
        snapshot[p] for p in ("chat", "run") for snapshot in snapshots
    ]
    assert [bar.get_width() for bar in axes["remaining"].patches] == [
        after["residual_conflicts"],
        after["unguarded_threads"],
    ]
    assert {text.get_text() for text in figures["recovered"].figure().axes[0].texts} == {
        f"{record['recovery']['recovered']:,} had a chat again",
        f"{record['recovery']['blocked']:,} were blocked",
        "fixed",
    }
    (days,) = figures["over-time"].figure().axes[1].containers
    assert sum(day.get_height() for day in days) == record["rejected_inserts"]["failed_attempts"]
    for drawn in axes.values():
        written = (re.search(r"^[\d,]+", text.get_text()) for text in drawn.texts)
        numbers = [int(found[0].replace(",", "")) for found in written if found]
        assert numbers == [bar.get_width() for bar in drawn.patches]


@pytest.mark.parametrize("made", FORMS)
def test_every_number_in_a_sentence_is_the_records(made: Any) -> None:
    """Story, verification, proposals and title have the record's numbers."""
    record = numbered(11)
    before, after = (record["counts"][moment] for moment in MOMENTS)
    found = made(record).sections

    assert f"{before['blocked']['chat']:,} families were blocked for chat, whether or not" in found["Summary"].text
    attempts, families = (f"{record['rejected_inserts'][word]:,}" for word in ("failed_attempts", "families"))
    said = f"The server logs hold {attempts} rejected inserts of this incident by {families} families."
    assert said in found["Impact"].text
    chats = record["rejected_inserts"]["failed_attempts"] - record["rejected_inserts"]["runs"]
    assert f"left up to {chats:,} orphaned conversations at the provider" in found["Impact"].text
    lines = record["rejected_inserts"]["not_understood"]["lines had no key."]
    assert f"{lines:,} lines had no key." in found["Impact"].text
    unowned = f"{record['residual']['without_provider']:,} active threads without a provider."
    assert f"No client's lookup finds the {unowned}" in found["What remains"].text
    ended = in_words(record["incident_ended_at"])[:16]
    for said in (*record["probes"], record["retries"], record["integrity"], f"{ended} UTC"):
        assert said in found["Resolution and verification"].text
    assert f"in the unique index: {after['residual_conflicts']:,} provider conflicts" in found["Action items"].text
    assert f"Set an owner for {after['unguarded_threads']:,} active threads without one" in found["Action items"].text


def test_the_title_of_several_is_the_sum() -> None:
    """The title over several records has the sum of their numbers."""
    records = [numbered(seed, f"env-{seed}") for seed in (1, 2, 3)]
    total = sum(record["counts"]["before"]["blocked"]["chat"] for record in records)

    assert post(*records).title == f"{total:,} families in 3 environments were blocked for chat; fixed in 0 of 3"


def test_what_remains_over_several_is_the_sum() -> None:
    """The chart and the proposals of what remains have the sum over several records."""
    records = [numbered(seed, f"env-{seed}") for seed in (1, 2, 3)]
    words = ("residual_conflicts", "unguarded_threads", "active_threads")
    conflicts, unguarded, active = (f"{sum(r['counts']['after'][word] for r in records):,}" for word in words)
    found = rendered(*records)

    assert found.of("img")[-1]["alt"] == (
        f"The fix does not change {conflicts} provider conflicts and {unguarded} active threads without an owner. "
        f"Of {active} active threads."
    )
    assert f"in the unique index: {conflicts} provider conflicts" in found.sections["Action items"].text
    assert f"Set an owner for {unguarded} active threads without one" in found.sections["Action items"].text


def test_every_number_of_the_cards_is_the_records() -> None:
    """The four cards have the record's families, users, rejected inserts, moments, and the status."""
    record = numbered(11)
    before = record["counts"]["before"]
    began, ended = (datetime.fromisoformat(at) for at in (record["blocked_since"]["chat"][0][0], ENDED))
    lasted = format_duration((ended - began).total_seconds())
    fixed = {"before": before, "after": record["counts"]["after"] | {"blocked": {"chat": 0, "run": 0}}}
    families, inserts, duration, status = post(record | {"incident_ended_at": ENDED, "counts": fixed}).head.cards

    assert (families.number, families.detail) == (
        f"{before['blocked']['chat']:,}",
        f"of {before['blocked_owners']['chat']:,} users, whether or not they tried",
    )
    rejected = record["rejected_inserts"]
    assert (inserts.number, inserts.detail) == (
        f"{rejected['failed_attempts']:,}",
        f"in {rejected['families']:,} families; {rejected['failed_attempts'] - 1000:,} chats, 1,000 runs",
    )
    assert (duration.number, duration.detail) == (lasted, f"{_minute(began.isoformat())} to {_minute(ENDED)} UTC")
    assert (status.number, status.detail) == ("fixed", "demo; rollback not possible")
