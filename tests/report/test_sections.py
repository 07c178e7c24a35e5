"""The sections of a report: their names, their order, and their content for one run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model import COUNT_MEANINGS, Table
from incident_lib.report.document import Block, Bullets, Figure, Paragraph, Part, Prose
from incident_lib.report.sections import QUERIES
from tests.support.reports import (
    CONFLICTS,
    EXAMPLE,
    FORMS,
    NEITHER,
    NO_AFTER,
    Contents,
    ended_run,
    page,
    read,
    rendered,
    run_folder,
    squeezed,
)

if TYPE_CHECKING:
    from pathlib import Path

TITLES = [
    *("Summary", "Timeline", "Impact", "Root cause", "Resolution and verification", "What remains"),
    *("Could this happen elsewhere?", "Action items", "Detection"),
    *("Claims of the fix plan, tested", "What is hidden or unknown", "To be written"),
    "Appendix: runs and queries",
]


def blocks(folder: Path, name: str) -> tuple[Block, ...]:
    """The blocks of a section of the report over one run."""
    return read(folder).section(name).blocks


def part(found: tuple[Block, ...], title: str) -> Part:
    """The part with this title, at any depth."""
    parts = [block for block in found if isinstance(block, Part)]
    for block in parts:
        if block.title == title:
            return block
    return part(tuple(inner for block in parts for inner in block.blocks), title)


@pytest.mark.parametrize("made", FORMS)
def test_the_sections_are_in_order(made: Any) -> None:
    """Each form has every section, in its order."""
    assert [title for title in made(paths.EXAMPLE_RUN).sections if title] == TITLES


def test_a_section_is_found_by_its_name() -> None:
    """Each section is found by its name."""
    post = read(paths.EXAMPLE_RUN)

    assert [post.section(section.name).title for section in post.sections] == TITLES


# Summary and impact


def test_the_summary_has_the_story_and_the_chart(tmp_path: Path) -> None:
    """The summary is the cause, its extent with the way back, the terms, and the chart before and after."""
    cause, extent, terms, chart = blocks(run_folder(tmp_path, {}), "summary")

    assert cause == Paragraph(
        "A unique index allows one active thread in a prompt family, whatever its purpose: beside an active run, "
        "PostgreSQL rejects a new chat (Failed to create new chat, error 500)."
    )
    assert extent == Paragraph(
        "1,088 families were blocked for chat, whether or not a user has tried to start one. "
        "The logs show rejected inserts in 416 families: 274 were still blocked for chat "
        "right before the fix; 142 no longer, or only for run. "
        "The fix, which adds purpose to the index, is applied: no family is blocked by another purpose; "
        f"{CONFLICTS} threads still block another provider's thread of the same purpose. "
        "A rollback is not possible: 269 families have several active threads."
    )
    assert isinstance(terms, Paragraph)
    assert [
        term for term in ("Family: ", "Purpose: ", "Provider: ", "Blocked for a purpose: ") if term not in terms.text
    ] == []
    assert isinstance(chart, Figure)
    assert chart.name == "before-after"


def test_the_impact_has_two_pictures() -> None:
    """The impact has the charts over time and of blockers."""
    found = blocks(paths.EXAMPLE_RUN, "impact")

    assert [block.name for block in found if isinstance(block, Figure)] == ["over-time", "blockers"]


@pytest.mark.parametrize("made", FORMS)
def test_what_people_wrote_is_the_cause(tmp_path: Path, made: Any) -> None:
    """A summary that people wrote stands in place of the report's own sentence, so that nothing is said twice."""
    notes = tmp_path / "notes.md"
    notes.write_text("## Summary\n\nChats failed.\n", "utf-8")
    text = squeezed(made(paths.EXAMPLE_RUN, notes=notes).sections["Summary"].text)

    assert "Chats failed." in text
    assert text.index("Chats failed.") < text.index("1,088 families were blocked for chat")
    assert "A unique index allows one active thread" not in text


def test_how_many_tried_is_not_said_without_a_log(tmp_path: Path) -> None:
    """Where no log was read, the summary does not say in how many families an insert was rejected."""
    extent = blocks(run_folder(tmp_path, {}, without=("rejected_inserts",)), "summary")[1]

    assert isinstance(extent, Paragraph)
    assert "whether or not a user has tried to start one. The fix," in extent.text


def test_the_way_back_of_several_environments(tmp_path: Path) -> None:
    """Over several environments the first screen says where a rollback is not possible, and where it still is."""
    after = EXAMPLE["counts"]["after"] | {"coexisting_families": 0}
    free = run_folder(tmp_path, {"environment": "free", "counts": EXAMPLE["counts"] | {"after": after}}, "free")
    bound = run_folder(tmp_path, {"environment": "bound"}, "bound")

    assert read(free, bound).head.rollback == "A rollback is not possible in bound; it is still possible in free."
    assert read(free).head.rollback.startswith("A rollback is still possible: ")
    assert read(ended_run(tmp_path, "dry-run", "dry", **NO_AFTER)).head.rollback == ""


@pytest.mark.parametrize("made", FORMS)
def test_every_purpose_is_in_the_impact(made: Any) -> None:
    """Each value of the column purpose has its own count."""
    counts = made(paths.EXAMPLE_RUN).sections["Summary"].tables[0]

    active = [EXAMPLE["counts"][snapshot]["active_by_purpose"] for snapshot in ("before", "after")]

    assert [row[:3] for row in counts if row[0].startswith("active ") and "threads" not in row[0]] == [
        [f"active {purpose}", *(f"{counted[purpose]:,}" for counted in active)] for purpose in ("chat", "eval", "run")
    ]


def test_a_purpose_of_one_snapshot_is_0_in_the_other(tmp_path: Path) -> None:
    """A purpose that is only in one snapshot is 0 in the other."""
    counts = {
        "before": EXAMPLE["counts"]["before"] | {"active_by_purpose": {"run": 5}},
        "after": EXAMPLE["counts"]["after"] | {"active_by_purpose": {"chat": 3}},
    }
    rows = rendered(run_folder(tmp_path, {"counts": counts})).sections["Summary"].tables[0]

    assert [row[:3] for row in rows[-2:]] == [["active chat", "0", "3"], ["active run", "5", "0"]]


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize(
    "found", [{"blocked_since": {"chat": [], "run": []}}, {"blocked_since": None}, {"snapshot_at": NEITHER}], ids=str
)
def test_an_unknown_begin_is_a_sentence(tmp_path: Path, made: Any, found: Contents) -> None:
    """If it is unknown since when families are blocked, a sentence replaces the chart."""
    section = made(run_folder(tmp_path, found)).sections["Impact"]

    assert "It is unknown since when families are blocked: see What is hidden or unknown." in section.text


def test_without_blockers_there_is_no_chart_of_them(tmp_path: Path) -> None:
    """If blockers are unknown, or there are none, there is no chart of them."""
    for number, blocked_by in enumerate(([], None)):
        found = blocks(run_folder(tmp_path, {"blocked_by": blocked_by}, str(number)), "impact")
        assert "blockers" not in [block.name for block in found if isinstance(block, Figure)]


@pytest.mark.parametrize("made", FORMS)
def test_the_table_behind_a_chart_is_folded(made: Any) -> None:
    """Each chart has the table of its numbers, folded, so that the page is short."""
    found = made(paths.EXAMPLE_RUN)

    assert found.text.count("The table behind it") == len(found.of("img"))


# Timeline


@pytest.mark.parametrize("made", FORMS)
def test_the_timeline_is_by_the_minute(made: Any) -> None:
    """The timeline has the minute and the event; the fix is one row, with its steps together."""
    heading, *rows = made(paths.EXAMPLE_RUN).sections["Timeline"].tables[0]

    assert heading == ["UTC", "what happened"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", at) for at, _ in rows)
    (fix,) = [what for _, what in rows if "Step" in what or "fix" in what]
    assert re.fullmatch(r"The fix was applied in \d+ ms: build, swap, drop\.", fix)


@pytest.mark.parametrize("made", FORMS)
def test_the_fix_is_told_before_the_end_of_the_incident(made: Any) -> None:
    """The row of the fix is at its first step, and so before the row of the end that it brings about."""
    rows = [what for _, what in made(paths.EXAMPLE_RUN).sections["Timeline"].tables[0][1:]]

    assert [what.partition(" in ")[0].partition(":")[0] for what in rows[-2:]] == [
        "The fix was applied",
        "The incident ended",
    ]


@pytest.mark.parametrize("made", FORMS)
def test_one_environment_is_named_where_it_matters(made: Any) -> None:
    """A report over one environment names it in the status, the facts and an action item: in no column, at no line."""
    found = made(paths.EXAMPLE_RUN).sections
    told = [section for title, section in found.items() if not title.startswith("Appendix")]
    cells = [cell.strip() for section in told for table in section.tables for row in table for cell in row]

    assert [cell for cell in cells if cell in {"environment", "demo"}] in ([], ["demo"])  # Markdown: the facts
    assert "demo:" not in "".join(section.text for section in told)


def test_an_action_of_a_check_follows_its_finding(tmp_path: Path) -> None:
    """A check that asks for something says it behind its finding; no column is empty."""
    check = {"name": "triggers", "status": "warn", "finding": "one fires", "action": "Read it."}
    folder = run_folder(tmp_path, {"verification": [*EXAMPLE["verification"], check]})
    heading, *rows = rendered(folder).sections["Resolution and verification"].tables[1]

    assert heading == ["check", "status", "finding"]
    assert rows[-1] == ["triggers", "warn", "one fires. Action: Read it."]


@pytest.mark.parametrize("made", FORMS)
def test_the_sources_of_the_timeline_are_folded(made: Any) -> None:
    """The folded table has the exact time, environment, event and source of each row, and each step."""
    rows = made(paths.EXAMPLE_RUN).sections["Timeline"].tables[1]
    since = EXAMPLE["purpose_since"]
    begin = [
        ("The unique index rejected the first insert of this incident in the log.", "server log"),
        ("The column purpose was added; the threads that existed became runs.", "parameter purpose_since"),
        ("1,029 of the 1,088 families had become blocked for chat.", "q_threads"),
    ]

    end = [  # within a millisecond, by two clocks: in any order
        ("Step drop", "run record, the clock of the computer that ran it"),
        ("The incident ended", "pg_index and pg_locks, the server's clock"),
    ]
    *found, drop, ended, after = [(row[1].split(":")[0], row[2]) for row in rows[1:]]

    assert rows[0] == ["UTC", "what happened", "source"]
    assert found == [
        *sorted(begin, key=lambda row: EXAMPLE["rejected_inserts"]["first"] > since and row[1] == "server log"),
        ("The unique index rejected the last insert of this incident in the log.", "server log"),
        ("Snapshot before", "q_threads, the server's clock"),
        ("Step build", "run record, the clock of the computer that ran it"),
        ("Step swap", "run record, the clock of the computer that ran it"),
    ]
    assert sorted((drop, ended)) == end
    assert after == ("Snapshot after", "q_threads, the server's clock")


def test_times_are_in_utc(tmp_path: Path) -> None:
    """A time in another zone is shown in UTC."""
    folder = run_folder(tmp_path, {"incident_ended_at": "2026-11-23T06:00:00.500+02:00"})
    rows = rendered(folder).sections["Timeline"].tables[1]

    assert [row[0] for row in rows if row[1].startswith("The incident ended")] == ["2026-11-23 04:00:00.500"]


def test_a_timeline_without_events_says_so(tmp_path: Path) -> None:
    """If no time is known, the timeline has a sentence instead of a table."""
    unknown = ("purpose_since", "blocked_since", "incident_ended_at", "rejected_inserts")

    assert blocks(run_folder(tmp_path, {"steps": [], "snapshot_at": NEITHER}, without=unknown), "timeline") == (
        Paragraph("The time of no event is known.", "note"),
    )


def test_an_unknown_number_in_the_timeline_is_unknown(tmp_path: Path) -> None:
    """The timeline says that the number of blocked families is unknown."""
    unread = EXAMPLE["counts"]["before"] | {"blocked": {"chat": None, "run": None}}
    rows = (
        rendered(run_folder(tmp_path, {"counts": {**EXAMPLE["counts"], "before": unread}}))
        .sections["Timeline"]
        .tables[1]
    )

    assert "Snapshot before: the number of blocked families is unknown." in [row[1] for row in rows]


# Root cause


@pytest.mark.parametrize("made", FORMS)
def test_the_index_equals_that_of_the_catalog(made: Any) -> None:
    """The state, definition and flags of the unique index before and after equal those of the catalog."""
    rows = made(paths.EXAMPLE_RUN).sections["Root cause"].tables[0]

    assert rows[1:] == [
        [moment, EXAMPLE["indexes"][moment]["state"], definition["definition"], definition["flags"]]
        for moment in ("before", "after")
        for definition in EXAMPLE["indexes"][moment]["definitions"]
    ]


@pytest.mark.parametrize("made", FORMS)
def test_each_thread_of_the_example_is_shown(tmp_path: Path, made: Any) -> None:
    """Each thread of the example has what it blocked before and what it blocks after; unknown values are unknown."""
    row = {"created_at": None, "purpose": "run", "provider": None, "is_active": None, "would_block": []}
    one, two, new = ({**row, "thread": name} for name in ("one", "two", "new"))
    threads = {
        "before": [{**one, "blocks": ["chat", "run"]}, {**two, "blocks": None}],
        "after": [{**one, "is_active": True, "blocks": []}, {**new, "blocks": ["chat"]}],
    }
    rows = made(run_folder(tmp_path, {"example_threads": threads})).sections["Root cause"].tables[1]

    assert rows[1:] == [
        ["one", "unknown", "run", "none", "yes", "chat, run", "nothing"],
        ["two", "unknown", "run", "none", "unknown", "unknown", "not there"],
        ["new", "unknown", "run", "none", "unknown", "not there", "chat"],
    ]


def test_without_an_after_no_thread_is_reported_as_gone(tmp_path: Path) -> None:
    """Without a snapshot after, no thread of the example is reported as gone."""
    rows = rendered(ended_run(tmp_path, "dry-run", **NO_AFTER)).sections["Root cause"].tables[1]

    assert [row[-1] for row in rows[1:]] == ["dry run"]


# Resolution


@pytest.mark.parametrize("made", FORMS)
def test_steps_are_shown_with_their_sql(made: Any) -> None:
    """The resolution has each step with its SQL, its seconds and its outcome."""
    rows = made(paths.EXAMPLE_RUN).sections["Resolution and verification"].tables[0]

    assert [[squeezed(cell) for cell in row] for row in rows[1:]] == [
        [step["name"], squeezed("; ".join(step["sql"])), f"{step['seconds']:.3f}", step["outcome"]]
        for step in EXAMPLE["steps"]
    ]


@pytest.mark.parametrize("made", FORMS)
@pytest.mark.parametrize(("key", "place"), [("verification", 1), ("preflight", 2)])
def test_every_check_is_shown(made: Any, key: str, place: int) -> None:
    """The resolution has each check of verification and preflight, with its status."""
    rows = made(paths.EXAMPLE_RUN).sections["Resolution and verification"].tables[place]

    assert rows[1:] == [[c["name"], c["status"], c["finding"]] for c in EXAMPLE[key]]


def test_a_run_without_steps_says_so(tmp_path: Path) -> None:
    """A run without steps has a sentence instead of a table."""
    assert Paragraph("No step was run.") in blocks(ended_run(tmp_path, "dry-run", **NO_AFTER), "resolution")


def test_results_after_the_steps_are_shown(tmp_path: Path) -> None:
    """Retries and integrity are below the verification, and probes that are not in it, with a sentence each."""
    probes = [*EXAMPLE["probes"], "after the steps: run: 1 of 5 admitted, 4 rejected"]
    found = blocks(run_folder(tmp_path, {"probes": probes}), "resolution")
    verification, bullets = found[[getattr(block, "title", "") for block in found].index("Verification") :][:2]

    assert isinstance(verification, Part)
    assert bullets == Bullets(
        (
            "Probe, rolled back, after the steps: run: 1 of 5 admitted, 4 rejected.",
            f"The demo's clients: {EXAMPLE['retries']}",
            f"Threads, over the steps alone: {EXAMPLE['integrity']}",
        )
    )


# What remains, and action items


def test_what_remains_is_that_of_the_latest_snapshot(tmp_path: Path) -> None:
    """What remains is that of the latest snapshot."""
    left = {"residual_conflicts": 3, "unguarded_threads": 5, "coexisting_families": 7, "active_threads": 11}
    snapshots = {"before": EXAMPLE["counts"]["before"] | left, "after": EXAMPLE["counts"]["after"]}
    both, alone = (
        rendered(run_folder(tmp_path, {"counts": {**snapshots, **without}}, name)).sections["What remains"].tables[0][1]
        for name, without in (("both", {}), ("alone", {"after": None}))
    )

    assert both == [*(f"{EXAMPLE['counts']['after'][key]:,}" for key in left)]
    assert alone == ["3", "5", "7", "11"]


def proposals(*folders: Path) -> list[str]:
    """The proposals of the data."""
    rows = rendered(*folders).sections["Action items"].tables
    return [row[0] for row in (rows[0] if rows else []) if row[3] == "proposed from the data"]


def test_the_proposals_of_the_data(tmp_path: Path) -> None:
    """What remains is proposed as action items."""
    dry = ended_run(tmp_path, "dry-run", **NO_AFTER)
    conflicts, ownerless = (
        sum(EXAMPLE["counts"][snapshot][key] for snapshot in ("before", "after"))
        for key in ("residual_conflicts", "unguarded_threads")
    )

    assert proposals(paths.EXAMPLE_RUN, dry) == [
        f"Decide whether provider belongs in the unique index: {conflicts} provider conflicts",
        "Look for up to 1,980 orphaned conversations at the provider",
        f"Set an owner for {ownerless} active threads without one; make the column NOT NULL",
    ]


def test_applying_the_fix_has_the_state_of_the_record(tmp_path: Path) -> None:
    """The fix is the first action item where it has not been applied, and the last where the record shows it done."""
    dry = ended_run(tmp_path, "dry-run", **NO_AFTER)
    (table,) = read(paths.EXAMPLE_RUN, dry).section("action-items").blocks
    assert isinstance(table, Table)
    rows = [(row[0], row[3]) for row in table.rows]

    assert rows[0] == ("Apply the fix where it has not been applied: staging", "open, by the record")
    assert rows[-1] == ("Apply the fix: demo", "done, by the record")


GREW, SINCE = "65 before the fix, 81 after it", "are threads created since then, in families of two providers"


@pytest.mark.parametrize(
    ("before", "after", "created", "line"),
    [
        (65, 65, 0, ""),
        (65, 81, 21, f"{GREW}: 21 {SINCE}, and 5 older ones are ended."),
        (65, 81, 16, f"{GREW}: 16 {SINCE}."),
        (65, 81, 9, f"{GREW}: 9 {SINCE}, and 7 older ones are in families that have got a second provider."),
        (
            65,
            81,
            None,
            f"{GREW}: a thread that is created in a family of two providers is one more, one that is ended one less.",
        ),
    ],
)
@pytest.mark.parametrize("made", FORMS)
def test_more_provider_conflicts_are_explained(
    tmp_path: Path, made: Any, before: int, after: int, created: int | None, line: str
) -> None:
    """Where there are more provider conflicts than before the fix, the report says why, beside the number."""
    numbers = {"before": before, "after": after}
    counts = {key: EXAMPLE["counts"][key] | {"residual_conflicts": number} for key, number in numbers.items()}
    folder = run_folder(tmp_path, {"counts": counts, "residual": EXAMPLE["residual"] | {"created_since": created}})
    sections = made(folder).sections
    (meaning,) = (row[3] for row in sections["Summary"].tables[0] if row[0] == "provider conflicts")

    assert meaning == f"{COUNT_MEANINGS['residual_conflicts']}{f'. {line}' if line else ''}"
    assert (f"before the fix, {after} after it" in sections["What remains"].text) == bool(line)


def test_without_remaining_conflicts_nothing_is_proposed(tmp_path: Path) -> None:
    """If the fix has been applied and nothing remains, there are no proposals."""
    nothing = {"residual_conflicts": 0, "unguarded_threads": 0}
    counts = {moment: counted | nothing for moment, counted in EXAMPLE["counts"].items()}

    assert proposals(run_folder(tmp_path, {"counts": counts, "rejected_inserts": None})) == []


# What is unknown, and the appendix


@pytest.mark.parametrize("made", FORMS)
def test_what_is_unknown_is_shown(made: Any) -> None:
    """What is hidden, and what the latest snapshot does not show, has a sentence each."""
    text = made(paths.EXAMPLE_RUN).sections["What is hidden or unknown"].text

    assert "Pseudonyms replace the ids of threads, users and prompts." in text
    assert [said for said in EXAMPLE["unknown"] if said not in text] == []


@pytest.mark.parametrize("made", FORMS)
def test_every_query_is_named_in_the_appendix(made: Any) -> None:
    """The project's own queries are in the appendix, each with its name."""
    text = made(paths.EXAMPLE_RUN).sections["Appendix: runs and queries"].text

    assert [name for name in QUERIES if f"{name}.sql" not in text] == []


def test_the_page_has_the_text_of_every_query() -> None:
    """The page has each query complete, in a disclosure; Markdown, which is read as it is, has none."""
    texts = [squeezed(made(paths.EXAMPLE_RUN).sections["Appendix: runs and queries"].text) for made in FORMS]

    assert [[squeezed(paths.query(name)) in text for name in QUERIES] for text in texts] == [
        [True] * len(QUERIES),
        [False] * len(QUERIES),
    ]


def test_queries_of_others_are_not_in_the_appendix() -> None:
    """Queries about sessions of others, which are not part of the incident, are not shown."""
    assert set(QUERIES) & {"activity", "waits", "session", "surroundings"} == set()


@pytest.mark.parametrize("made", FORMS)
def test_the_appendix_says_what_the_report_was_made_from(made: Any) -> None:
    """The appendix has the folder, times, outcome, server, notebooks and versions of each run."""
    runs, made_with = made(paths.EXAMPLE_RUN).sections["Appendix: runs and queries"].tables

    assert runs[1] == [
        *(
            "demo",
            "example",
            *(EXAMPLE[key][:19].replace("T", " ") for key in ("started_at", "finished_at")),
            "succeeded",
        ),
        f"PostgreSQL {EXAMPLE['server_version'] // 10000}.{EXAMPLE['server_version'] % 10000}",
    ]
    assert made_with[1] == [
        "demo",
        "01_investigate done, 02_migrate done, 03_postmortem done",
        EXAMPLE["git_commit"],
        ", ".join(f"{name} {number}" for name, number in EXAMPLE["versions"].items()),
    ]


def test_no_section_is_empty(tmp_path: Path) -> None:
    """Each section has content, for any run."""
    for folder in (paths.EXAMPLE_RUN, ended_run(tmp_path, "killed", **NO_AFTER)):
        assert [section.name for section in read(folder).sections if not section.blocks] == []


def test_every_kind_of_block_is_in_a_page() -> None:
    """Notes are an element of their own, and numbers in a table are marked as numbers."""
    found = page(paths.EXAMPLE_RUN, notes=paths.NOTES)
    sections = read(paths.EXAMPLE_RUN, notes=paths.NOTES).sections

    assert [attributes for attributes in found.of("div") if attributes.get("class") == "prose"]
    assert [attributes for attributes in found.of("td") if attributes.get("class") == "number"]
    assert {Prose, Table} <= {type(block) for section in sections for block in section.blocks}
