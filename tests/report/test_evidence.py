"""The report on rejected inserts, recovery, rehearsal, tested claims and provider conflicts."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from incident_lib import paths
from incident_lib.model import REJECTED_INSERT_MEANINGS, RecoveryCount, Table, format_server, to_iso
from incident_lib.records import to_json
from incident_lib.report.document import Bullets, Figure, Paragraph, Part
from incident_lib.report.evidence import rejected_by_hour
from incident_lib.report.history_chart import Line
from incident_lib.report.recovery_chart import MOST_LINES, Recovered, recovery_chart
from tests.support.pictures import labels
from tests.support.reports import (
    EXAMPLE,
    FORMS,
    MARKDOWN,
    REHEARSED,
    UNWRITTEN,
    Contents,
    Page,
    end,
    in_words,
    page,
    read,
    rendered,
    run_folder,
    squeezed,
)

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.report.chart import Chart
    from incident_lib.report.document import Block

NAMES = {
    "failed_attempts": "rejected inserts",
    "owners": "users",
    "hit_and_blocked": "rejected and blocked",
    "hit_not_blocked": "rejected, not blocked",
    "blocked_never_hit": "blocked, never rejected",
}
SINCE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVERY = (*FORMS, *MARKDOWN[1:])
RESOLUTION, CLAIMS, LEFT = "Resolution and verification", "Claims of the fix plan, tested", "What remains"
ALL_CLAIMS: Contents = json.loads((paths.EXAMPLE_RUN / "claims.json").read_text("utf-8"))

LOGGED = EXAMPLE["rejected_inserts"]["failed_attempts"]
# Each number is different, so that a wrong one is found.
FAILURES: Contents = {
    **EXAMPLE["rejected_inserts"],
    **{word: 3001 + 7 * place for place, word in enumerate(REJECTED_INSERT_MEANINGS)},
    "first": "2025-09-05T08:09:10.123Z",
    "last": "2025-10-11T12:13:14.000Z",
    "runs": 1000,
    "not_understood": {"counted without its family: no DETAIL was logged": 1021, "of which nothing is known": 2},
}
REMAINS: Contents = {
    **EXAMPLE["residual"],
    "by_provider": [
        {"provider": "openai", "active_threads": 5701, "families": 5603},
        {"provider": None, "active_threads": 42, "families": 41},
    ],
    "without_provider": 1401,
    "example": {
        "held_by": None,
        "asked_for": "manus",
        "purpose": "chat",
        "threads": [
            {"created_at": None, "purpose": "chat", "provider": None, "is_active": True},
            {"created_at": "2025-09-08 07:17", "purpose": "run", "provider": "manus", "is_active": False},
        ],
    },
    "proposal": {
        **EXAMPLE["residual"]["proposal"],
        "sql": "CREATE UNIQUE INDEX proposed ON public.q_threads (provider)",
        "finding": "It cannot be built today: 8,123 keys.",
    },
}
SAID_YES: Contents = json.loads(to_json(REHEARSED))
SAID_NO: Contents = {
    "works": False,
    "why": "duplicates: 5 keys. On the copy it failed, too.",
    "rollback": {"possible": None, "why": "Not tried: the fix did not go in."},
    "build_seconds_per_million": None,
    "waits": [],
    "not_reproduced": [],
}


def recovery(blocked: int, points: list[tuple[float, int]], looked: float = 10**6) -> Contents:
    """A recovery in a run record: seconds after the fix, and the number of families with a chat by then."""
    over_time = [[to_iso(SINCE + timedelta(seconds=after)), count] for after, count in points]
    return {
        "blocked": blocked,
        "recovered": points[-1][1] if points else 0,
        "since": to_iso(SINCE),
        "at": to_iso(SINCE + timedelta(seconds=looked)),
        "over_time": over_time,
    }


def run(folder: Path, environment: str = "demo", *, rehearsal: Contents | None = None, **changes: Any) -> Path:
    """The folder of a run, with its rehearsal if there was one."""
    made = run_folder(folder, {"environment": environment, **changes}, f"{environment}/run")
    if rehearsal:
        (folder / environment / "rehearsal.json").write_text(json.dumps(rehearsal), "utf-8")
    return made


def text(made: Page, section: str) -> str:
    """The text of a section."""
    return squeezed(made.sections[section].text)


def tables(made: Page, section: str) -> list[list[list[str]]]:
    """The tables of a section, each with its heading row."""
    return [[[squeezed(cell) for cell in row] for row in rows] for rows in made.sections[section].tables]


def table(made: Page, section: str, *begin: str) -> list[list[str]]:
    """The rows of the only table of a section whose heading row begins like this."""
    (found,) = (rows for rows in tables(made, section) if rows[0][: len(begin)] == list(begin))
    return found[1:]


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    """All blocks, including those within parts."""
    return [one for block in blocks for one in (block, *(flat(block.blocks) if isinstance(block, Part) else ()))]


# Rejected inserts


@pytest.mark.parametrize("made", EVERY)
def test_rejected_inserts_are_in_the_impact(tmp_path: Path, made: Any) -> None:
    """The impact has each count of the logs and of the comparison with the threads, with its meaning."""
    found = made(run(tmp_path, rejected_inserts=FAILURES))

    assert table(found, "Impact", "count", "number") == [
        [NAMES.get(word, word.replace("_", " ")), f"{FAILURES[word]:,}", meaning]
        for word, meaning in REJECTED_INSERT_MEANINGS.items()
    ]
    said = text(found, "Impact")
    assert "The server logs hold 3,001 rejected inserts of this incident by 3,008 families." in said
    assert "Rejected chats may have left up to 2,001 orphaned conversations at the provider." in said
    assert "1,021 counted without its family: no DETAIL was logged" in said
    assert "2 of which nothing is known" in said
    assert f"Not counted: {FAILURES['before_purpose']:,} rejected inserts before the column purpose" in said
    assert f"Not counted: {FAILURES['by_provider']:,} inserts rejected because of a thread of the same" in said


@pytest.mark.parametrize("made", EVERY)
def test_rejected_inserts_of_an_unknown_time_of_the_purpose(tmp_path: Path, made: Any) -> None:
    """If it is unknown when the purpose came, the report says that nothing was left out because of it."""
    found = made(run(tmp_path, rejected_inserts={**FAILURES, "before_purpose": None}))

    assert "It is unknown when the column purpose was added" in text(found, "Impact")


UNREAD_LOG: Contents = {"file": "web.log", "lines": 1234}


@pytest.mark.parametrize("made", EVERY)
def test_a_log_that_was_not_read_is_no_log_without_rejected_inserts(tmp_path: Path, made: Any) -> None:
    """Where nothing of a log was understood, its rejected inserts are unknown: no number of them is anywhere."""
    found = made(run(tmp_path, rejected_inserts=None, unread_logs=[UNREAD_LOG]))

    assert (
        "Rejected inserts are unknown. The log was not read: no entry of a PostgreSQL server was recognised in "
        "web.log (1,234 lines looked at)."
    ) in text(found, "Impact")
    assert not re.search(r"\d rejected insert", squeezed(found.text))


@pytest.mark.parametrize("made", EVERY)
def test_a_log_that_was_not_read_beside_one_that_was(tmp_path: Path, made: Any) -> None:
    """The numbers of the log that was read are shown, and the other log is named."""
    said = text(made(run(tmp_path, rejected_inserts=FAILURES, unread_logs=[UNREAD_LOG])), "Impact")

    assert "The server logs hold 3,001 rejected inserts" in said
    assert "The log was not read: no entry of a PostgreSQL server was recognised in web.log" in said


@pytest.mark.parametrize("made", EVERY)
def test_a_log_without_a_rejected_insert(tmp_path: Path, made: Any) -> None:
    """A log that was read and has no rejected insert: how much of it was read, and whether the server logs errors."""
    read = {"entries": 12, "lines": 40, "not_understood": 3, "exact": True, "errors_logged": False}
    none = FAILURES | {"failed_attempts": 0, "families": 0, "read": read | {"first": None, "last": None}}
    found = made(run(tmp_path, rejected_inserts=none | {"not_understood": {}}))

    assert (
        "Read: 12 entries of PostgreSQL. No error of any kind is among them: a server that logs no errors logs "
        "no rejected inserts, either. Partly read: 3 of 40 lines were not understood."
    ) in text(found, "Impact")
    assert "no error of any kind is in the logs" in squeezed(found.text)


@pytest.mark.parametrize("made", FORMS)
def test_unknown_counts_of_rejected_inserts(tmp_path: Path, made: Any) -> None:
    """If a unique index could not be read, the number of blocked families with rejected inserts is unknown, not 0."""
    unknown = dict.fromkeys(("hit_and_blocked", "hit_not_blocked", "blocked_never_hit"))
    found = dict(
        row[:2] for row in table(made(run(tmp_path, rejected_inserts=FAILURES | unknown)), "Impact", "count", "number")
    )

    assert {found[NAMES[word]] for word in unknown} == {"unknown"}


@pytest.mark.parametrize("made", FORMS)
def test_rejected_inserts_in_several_environments(tmp_path: Path, made: Any) -> None:
    """Several environments are columns of one table, and the sentence has their sum."""
    less = {**FAILURES, "failed_attempts": 10, "families": 2, "not_understood": {}}
    found = made(
        run(tmp_path, rejected_inserts=FAILURES), run(tmp_path, "staging", rejected_inserts=less), run(tmp_path, "none")
    )
    without = made(
        run(tmp_path / "2", rejected_inserts=FAILURES),
        run_folder(tmp_path / "2", {"environment": "none"}, "none", without=("rejected_inserts",)),
    )

    assert tables(found, "Impact")[-1][0][:4] == ["count", "demo", "staging", "none"]
    assert tables(found, "Impact")[-1][1][:4] == ["rejected inserts", "3,001", "10", f"{LOGGED:,}"]
    families = 3008 + 2 + EXAMPLE["rejected_inserts"]["families"]
    summed = f"The server logs hold {3001 + 10 + LOGGED:,} rejected inserts of this incident by {families:,} families."
    assert summed in text(found, "Impact")
    assert tables(without, "Impact")[-1][0][:3] == ["count", "demo", "what it counts"]


@pytest.mark.parametrize("name", ["a|b", "count", "what it counts"])
def test_rejected_inserts_in_an_environment_with_an_unusual_name(tmp_path: Path, name: str) -> None:
    """An environment with an unusual name has one column of numbers."""
    folders = [run_folder(tmp_path, {"environment": each}, each[:1]) for each in (name, "other")]
    (found,) = (
        b
        for b in flat(read(*folders).section("impact").blocks)
        if isinstance(b, Table) and b.columns[0].name == "count" and b.rows[0][0] == "rejected inserts"
    )

    assert found.headings == ("count", name, "other", "what it counts")
    assert [column.is_number for column in found.columns] == [False, True, True, False]


def test_of_several_runs_of_an_environment_the_latest_counts(tmp_path: Path) -> None:
    """If several runs of an environment read the same logs, only the latest run counts."""
    folders = [run(tmp_path / number) for number in "12"]
    post = read(*folders)
    said = [b.text for b in flat(post.section("impact").blocks) if isinstance(b, Paragraph)]
    figures = {b.name: b.chart for s in post.sections for b in flat(s.blocks) if isinstance(b, Figure)}

    families = EXAMPLE["rejected_inserts"]["families"]
    assert any(text.startswith(f"The server logs hold {LOGGED:,} rejected inserts") for text in said)
    assert any(text.endswith(f" by {families:,} families.") for text in said)
    assert figures["over-time"].alt.endswith(f"Rejected inserts in the server logs: {LOGGED:,}.")
    blocked, back = EXAMPLE["recovery"]["blocked"], EXAMPLE["recovery"]["recovered"]
    assert (
        figures["recovered"].title
        == f"{back:,} families of {blocked:,} that were blocked had a chat again when counted"
    )


def test_rejected_inserts_of_all_environments_by_hour(tmp_path: Path) -> None:
    """The chart has the hourly sum over all environments."""
    hours = (
        [["2025-09-05T08:00:00.000Z", 3], ["2025-09-05T10:00:00.000Z", 1]],
        [["2025-09-05T08:00:00.000Z", 4], ["2025-09-05T09:00:00.000Z", 5]],
    )
    folders = [
        run(tmp_path, name, rejected_inserts=FAILURES | {"per_hour": h}) for name, h in zip("ab", hours, strict=True)
    ]
    folders.append(run_folder(tmp_path, {"environment": "c"}, "c", without=("rejected_inserts",)))

    assert rejected_by_hour(read(*folders).chapters) == [
        (datetime(2025, 9, 5, hour, tzinfo=UTC), count) for hour, count in ((8, 7), (9, 5), (10, 1))
    ]


# Timeline and detection


@pytest.mark.parametrize("made", EVERY)
def test_first_and_last_rejected_insert_are_in_the_timeline(tmp_path: Path, made: Any) -> None:
    """The first and the last rejected insert are in the timeline, with the log as their source."""
    rows = table(made(run(tmp_path, rejected_inserts=FAILURES)), "Timeline", "UTC", "what happened", "source")
    of_logs = [row for row in rows if row[-1] == "server log"]

    assert of_logs == [
        [
            "2025-09-05 08:09:10.123",
            "The unique index rejected the first insert of this incident in the log.",
            "server log",
        ],
        [
            "2025-10-11 12:13:14",
            "The unique index rejected the last insert of this incident in the log.",
            "server log",
        ],
    ]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


@pytest.mark.parametrize("made", EVERY)
def test_the_first_rejected_insert_is_in_the_detection(tmp_path: Path, made: Any) -> None:
    """The detection begins with the first rejected insert of each environment."""
    found = made(run(tmp_path, rejected_inserts=FAILURES), run(tmp_path, "staging"))

    other = in_words(EXAMPLE["rejected_inserts"]["first"])[:16]
    said = "The logs have the first rejected insert of this incident at"
    since = "9 min after the column purpose was added"
    assert re.match(
        rf"(Detection )?demo: {said} 2025-09-05 08:09 UTC\. ?staging: {said} {other} UTC, {since}\.",
        text(found, "Detection"),
    )


@pytest.mark.parametrize("rejected_inserts", [None, {**FAILURES, "first": None, "last": None, "failed_attempts": 0}])
def test_logs_without_a_time(tmp_path: Path, rejected_inserts: Contents | None) -> None:
    """Without a log, or without a rejected insert of known time, neither section has such a row."""
    found = page(run(tmp_path, rejected_inserts=rejected_inserts))

    assert "server log" not in [row[-1] for row in table(found, "Timeline", "UTC", "what happened", "source")]
    assert "Detection" not in found.sections


# Recovery


@pytest.mark.parametrize("made", EVERY)
def test_recovery_is_in_the_resolution(tmp_path: Path, made: Any) -> None:
    """The resolution has the number of blocked families, of those with and without a chat, and the time of counting."""
    found = made(run(tmp_path, recovery=recovery(4321, [(60, 1000), (600, 1234)], looked=3661.5)))

    assert table(found, RESOLUTION, "blocked before the fix") == [
        ["4,321", "1,234", "3,087", "2026-01-02 04:05:06.500"]
    ]
    said = "1,234 families of 4,321 that were blocked had a chat again when counted. demo: 1,234 of 4,321."
    assert said in [image["alt"] for image in found.of("img")]
    assert "whether their users have tried is not known." in text(found, RESOLUTION)
    assert "Counted 2026-01-02 04:05 UTC, 1 h 1 min after the fix." in text(found, RESOLUTION)


@pytest.mark.parametrize("made", FORMS)
def test_without_recovered_families_there_is_no_chart(tmp_path: Path, made: Any) -> None:
    """If no family has a chat yet, there is a table without a chart."""
    found = made(run(tmp_path, recovery=recovery(4321, [])))

    assert table(found, RESOLUTION, "blocked before the fix")[0][:3] == ["4,321", "0", "4,321"]
    assert not [image for image in found.of("img") if "had a chat again" in (image["alt"] or "")]


@pytest.mark.parametrize("made", FORMS)
def test_recovery_in_several_environments(tmp_path: Path, made: Any) -> None:
    """Each environment with a recovery has a row; the chart has their sum."""
    found = made(
        run(tmp_path, "a", recovery=recovery(100, [(5, 40)])),
        run(tmp_path, "b", recovery=recovery(1000, [(9, 1), (70, 2)])),
        run(tmp_path, "c", recovery=None),
    )

    assert [row[:4] for row in table(found, RESOLUTION, "environment", "blocked before the fix")] == [
        ["a", "100", "40", "60"],
        ["b", "1,000", "2", "998"],
    ]
    said = "42 families of 1,100 that were blocked had a chat again when counted. a: 40 of 100. b: 2 of 1,000."
    assert said in [image["alt"] for image in found.of("img")]


def test_an_environment_without_recovered_families_is_included(tmp_path: Path) -> None:
    """The chart's title includes environments in which no family has a chat yet."""
    folders = [
        run(tmp_path, "a", recovery=recovery(10, [(5, 10)])),
        run(tmp_path, "b", recovery=recovery(1000, [])),
    ]
    (found,) = (b for b in flat(read(*folders).section("resolution").blocks) if getattr(b, "name", "") == "recovered")

    assert found.chart.title == "10 families of 1,010 that were blocked had a chat again when counted"


# The chart of recovery


def counted(blocked: int, points: list[tuple[float, int]]) -> RecoveryCount:
    """A recovery as the chart's input."""
    return msgspec.convert(recovery(blocked, points), RecoveryCount)


def at(seconds: float) -> datetime:
    """A time after the fix."""
    return counted(1, [(seconds, 1)]).over_time[0][0]


FIXED = counted(1, [(1, 1)]).since


def chart_of(*found: tuple[str, RecoveryCount], line: Line | None = None) -> Chart:
    """The chart of these recoveries."""
    return recovery_chart([Recovered(name, count, line) for name, count in found])


def blocked_line(*grown: tuple[float, int], environment: str = "demo") -> Line:
    """How many families were blocked by each time, in days before the fix."""
    points = tuple((FIXED - timedelta(days=days), count) for days, count in grown)
    return Line(environment, points, FIXED, 0, points[-1][1])


def test_recovery_is_on_the_time_axis_of_the_incident() -> None:
    """The axis begins where the incident did: a recovery of a second is a step at the end of three weeks."""
    line = blocked_line((21, 800), (15, 830), (9, 850), (3, 900))
    axes = chart_of(("demo", counted(900, [(0.4, 250), (1, 269)])), line=line).figure().axes[0]
    back, blocked = (it for it in axes.lines if it.get_drawstyle() == "steps-post")

    assert list(blocked.get_xdata() - back.get_xdata()[0]) == pytest.approx([-21, -21, -15, -9, -3, 0])
    assert list(blocked.get_ydata()) == [0, 800, 830, 850, 900, 900]
    assert list(back.get_ydata()) == [0, 250, 269, 269]
    assert axes.get_xlim()[0] < blocked.get_xdata()[0]
    assert back.get_xdata()[-1] < axes.get_xlim()[1]


def test_the_numbers_of_recovery_are_on_the_scale_of_all_blocked_families() -> None:
    """The number axis reaches from 0 to all families that were blocked."""
    lowest, highest = chart_of(("demo", counted(900, [(1, 3)]))).figure().axes[0].get_ylim()

    assert lowest == 0
    assert 900 < highest < 1200


def test_the_line_of_recovery_begins_at_the_fix() -> None:
    """The line begins with 0 at the fix, which is marked, and ends when the families were counted."""
    count = counted(9, [(1.5, 3), (5, 7)])
    found = Recovered("demo", count)
    texts = [text.get_text() for text in chart_of(("demo", count)).figure().axes[0].texts]

    assert found.points[:3] == [(FIXED, 0), (at(1.5), 3), (at(5), 7)]
    assert found.points[3] == (max(count.at, at(5)), 7)
    assert "fixed" in texts


def test_a_time_before_the_fix_is_drawn_at_the_fix() -> None:
    """A time before the fix, from another clock, is drawn at the fix."""
    assert Recovered("demo", counted(9, [(-0.0004, 1), (5, 2)])).points[:2] == [(FIXED, 0), (FIXED, 1)]


def test_the_text_of_the_picture_of_recovery() -> None:
    """Title, alternative text and labels have the record's numbers."""
    one = chart_of(("demo", counted(4321, [(60, 1234)])))
    two = chart_of(("a", counted(100, [(60, 40)])), ("b", counted(1000, [(60, 2)])))

    assert one.title == "1,234 families of 4,321 that were blocked had a chat again when counted"
    assert one.alt == f"{one.title}. demo: 1,234 of 4,321."
    assert set(labels(one.figure())) == {"1,234 had a chat again", "4,321 were blocked", "fixed"}
    assert (
        two.alt == "42 families of 1,100 that were blocked had a chat again when counted. a: 40 of 100. b: 2 of 1,000."
    )
    assert set(labels(two.figure())) == {"a: 40 of 100", "b: 2 of 1,000", "fixed"}


def test_numbers_without_space_beside_their_lines_are_in_the_key() -> None:
    """On a phone, numbers that are too long to stand beside their lines stand in a key above the picture."""
    figure = chart_of(("demo", counted(123_456_789, [(60, 1234)]))).figure(narrow=True)

    assert [text.get_text() for text in figure.axes[0].texts] == ["fixed"]
    assert " ".join(labels(figure)).startswith("123,456,789 were blocked 1,234 had a chat again")


def test_of_many_environments_those_with_most_families_are_drawn() -> None:
    """Of many environments those with most blocked families are drawn; title and alternative text include all."""
    found = [(f"env{number}", counted(100 + number, [(60, number)])) for number in range(1, 8)]
    chart = chart_of(*found)

    assert set(labels(chart.figure())) - {"fixed"} == {
        f"env{number}: {number} of {100 + number}" for number in range(8 - MOST_LINES, 8)
    }
    assert chart.title == "28 families of 728 that were blocked had a chat again when counted"
    assert all(f"{name}: {r.recovered} of {r.blocked}." in chart.alt for name, r in found)
    assert chart.caption.endswith("The 4 environments with most are drawn; all are in the table.")


def test_the_picture_of_recovery_is_the_same_each_time() -> None:
    """Rendering the same recovery twice gives the same bytes."""
    found = ("demo", counted(9, [(1, 3), (2, 7)]))

    assert chart_of(found).svg() == chart_of(copy.deepcopy(found)).svg()


# Rehearsal


def rehearsed_rows(made: Page) -> dict[str, list[str]]:
    """The rows of the rehearsal's table by their first cell; the first one has the verdict."""
    (rows,) = (rows for rows in tables(made, "Rehearsal") if rows[0][1:] == ["rehearsal", "run"])
    return {row[0]: row[1:] for row in rows[1:]}


@pytest.mark.parametrize("made", EVERY)
def test_a_rehearsal_is_compared_with_the_run(tmp_path: Path, made: Any) -> None:
    """The rehearsal's numbers stand beside those of the run."""
    found = made(run(tmp_path, rehearsal=SAID_YES))

    rows = rehearsed_rows(found)
    met, then = rows.pop("clients")

    assert rows == {
        "it will work": ["On a copy of 345,678 active threads the fix was applied under writes.", "it worked"],
        "server": ["PostgreSQL 16.9", format_server(EXAMPLE["server_version"])],
        "active threads": ["345,678", f"{EXAMPLE['counts']['before']['active_threads']:,}"],
        "build": ["1.45 s a million active threads", f"{EXAMPLE['steps'][0]['seconds']:.3f} s"],
        "rollback": ["77 families hold more than one active thread.", "–"],
    }
    assert met.startswith("9,876 writes, the slowest 42 ms")
    assert then == "not measured"
    said = text(found, "Rehearsal")
    assert "Rehearsed 2025-11-22 05:06:07 UTC on a copy of the columns of the unique indexes." in said
    assert "Nothing was written to the environment." in said
    assert "sessions that delay the build: pid 17 (psql, idle, open 99 s)" in said
    assert "a trigger of another schema" in said


@pytest.mark.parametrize("made", EVERY)
@pytest.mark.parametrize(
    ("changes", "then"),
    [({}, "it worked"), (end("failed"), "FAILED"), ({**end("refused"), "steps": []}, "refused")],
    ids=["example", "failed", "refused"],
)
def test_a_rehearsal_that_failed_is_reported_as_failed(tmp_path: Path, made: Any, changes: Contents, then: str) -> None:
    """A rehearsal with the verdict "will not work" is shown as such, whatever the run's result is."""
    rows = rehearsed_rows(made(run(tmp_path, rehearsal=SAID_YES | SAID_NO, **changes)))

    assert rows["it will NOT work"] == ["duplicates: 5 keys. On the copy it failed, too.", then]
    assert "it will work" not in rows
    assert rows["rollback"] == ["Not tried: the fix did not go in.", "–"]
    assert rows["build"][0] == "too few threads to measure"
    assert (rows["build"][1] == "no such step") is ("steps" in changes)


def test_a_rehearsal_of_a_run_without_the_fixed_index(tmp_path: Path) -> None:
    """After a run that did not end with the fixed index alone, the rehearsal is not reported as correct."""
    index = {"indexes": {**EXAMPLE["indexes"], "after": {"state": "overlapping", "definitions": []}}}
    rows = rehearsed_rows(page(run(tmp_path, rehearsal=SAID_YES, **index)))

    assert rows["it will work"][1] == "it did not end with the fixed index alone"


@pytest.mark.parametrize("made", FORMS)
def test_the_results_of_the_clients_are_in_the_rehearsal(tmp_path: Path, made: Any) -> None:
    """The clients' rejected inserts after the fix, and other errors, are among the results of the rehearsal."""
    clients = {**SAID_YES["clients"], "rejected_after": {"run": 345}, "errors": {"57P01": 67}}
    record = SAID_YES | {"clients": clients}
    clients = rehearsed_rows(made(run(tmp_path, rehearsal=record)))["clients"][0]

    assert all(number in clients for number in ("12", "345", "67", "57P01"))


def test_a_rehearsal_after_the_run_is_left_out(tmp_path: Path) -> None:
    """A rehearsal that is later than the run is not in the report."""
    later = {"rehearsed_at": "2999-01-01T00:00:00Z"}

    assert "Rehearsal" not in page(run(tmp_path, rehearsal=SAID_YES | later)).sections


@pytest.mark.parametrize("made", FORMS)
def test_each_environment_has_its_own_rehearsal(tmp_path: Path, made: Any) -> None:
    """Each of several environments has its own rehearsal, or none."""
    found = made(
        run(tmp_path, "a", rehearsal=SAID_YES),
        run(tmp_path, "b", rehearsal=SAID_YES | SAID_NO),
        run(tmp_path, "c"),
    )
    first = [rows[1][0] for rows in tables(found, "Rehearsal") if rows[0][1:] == ["rehearsal", "run"]]

    assert first == ["it will work", "it will NOT work"]


def test_a_rehearsal_that_cannot_be_read(tmp_path: Path) -> None:
    """A file of evidence that is not JSON is an error that names the file."""
    folder = run(tmp_path)
    (folder / "rehearsal.json").write_text("{", "utf-8")

    with pytest.raises(Exception, match=r"rehearsal\.json cannot be read\."):
        read(folder)


# The plan's claims


def with_claims(folder: Path, contents: Contents = ALL_CLAIMS, **changes: Any) -> Path:
    """The folder of a run with a claims file."""
    made = run(folder, **changes)
    (made / "claims.json").write_text(json.dumps(contents), "utf-8")
    return made


def crafted_claims() -> Contents:
    """Claims with changed verdicts and numbers."""
    made = copy.deepcopy(ALL_CLAIMS)
    made |= {"tested_at": "2026-02-03T04:05:06Z", "server_version": 170002}
    verdicts = ["holds", "does not hold", "holds only with this project's method", "holds"] * 2
    for place, (claim, verdict) in enumerate(zip(made["claims"], verdicts, strict=True)):
        claim |= {"verdict": verdict, "result": f"result {place}", "how": f"how {place}"}
    for place, strategy in enumerate(made["latency"]["strategies"]):
        strategy |= {"end": 1001.5 + place, "longest_ms": 2002.4 + 1000 * place, "duplicates": 3003 + place}
    return made


@pytest.mark.parametrize("made", EVERY)
def test_claims_are_in_their_section(tmp_path: Path, made: Any) -> None:
    """Each claim has verdict, result and test; each strategy its times; a sentence has the number for each verdict."""
    claims = crafted_claims()
    found = made(with_claims(tmp_path, claims))

    assert table(found, CLAIMS, "the plan's claim") == [
        [squeezed(c[key]) for key in ("claim", "verdict", "result", "how")] for c in claims["claims"]
    ]
    assert table(found, CLAIMS, "strategy") == [
        [strategy["name"], f"1,00{1 + place}.50", f"{2 + place},002", f"3,00{3 + place}"]
        for place, strategy in enumerate(claims["latency"]["strategies"])
    ]
    assert (
        "Tested 2026-02-03 04:05:06 UTC on PostgreSQL 17.2, on scratch databases with writing clients. "
        "4 claims hold, 2 hold only with this project's method, 2 do not hold."
    ) in text(found, CLAIMS)
    (alt,) = (image["alt"] for image in found.of("img") if (image["alt"] or "").startswith("A write took"))
    assert alt.startswith("A write took up to 3.0 s with the plan's SQL, up to 4.0 s with this project's method.")


def test_the_example_has_the_committed_verdicts() -> None:
    """The committed report has the verdicts of the committed claims."""
    rows = table(rendered(paths.EXAMPLE_RUN), CLAIMS, "the plan's claim")

    assert [row[:2] for row in rows] == [[c["claim"], c["verdict"]] for c in ALL_CLAIMS["claims"]]


def test_claims_are_in_the_report_once(tmp_path: Path) -> None:
    """The claims are in the report once, also if their file belongs to several runs."""
    folders = [run(tmp_path, name) for name in ("a", "b")]
    (tmp_path / "claims.json").write_text(json.dumps(crafted_claims()), "utf-8")

    assert len(table(page(*folders), CLAIMS, "the plan's claim")) == len(ALL_CLAIMS["claims"])


# What remains


@pytest.mark.parametrize("made", EVERY)
def test_provider_conflicts_are_in_their_section(tmp_path: Path, made: Any) -> None:
    """The section has the conflicts by provider, an example, the threads without a provider, and the proposed index."""
    found = made(run(tmp_path, residual=REMAINS))

    assert table(found, LEFT, "provider of the blocking thread") == [
        ["openai", "5,701", "5,603"],
        ["no provider", "42", "41"],
    ]
    assert table(found, LEFT, "created (UTC)") == [
        ["unknown", "chat", "none", "yes"],
        ["2025-09-08 07:17", "run", "manus", "no"],
    ]
    said = text(found, LEFT)
    assert (
        "An active thread of no provider has the purpose chat. PostgreSQL therefore rejects a thread of manus with "
        "this purpose, also with the fixed index."
    ) in said
    assert "No client's lookup finds the 1,401 active threads without a provider." in said
    assert (
        "Proposed, not applied: a unique index per provider and purpose that treats NULLs as equal. "
        "It cannot be built today: 8,123 keys."
    ) in said
    assert "CREATE UNIQUE INDEX proposed ON public.q_threads (provider);" in said


@pytest.mark.parametrize("made", FORMS)
def test_without_provider_conflicts(tmp_path: Path, made: Any) -> None:
    """If no family uses several providers, there is neither a table of conflicts nor an example."""
    found = made(run(tmp_path, residual={**REMAINS, "by_provider": [], "example": None, "without_provider": 1}))

    assert [rows[0][0] for rows in tables(found, LEFT)] == ["provider conflicts"]
    assert "One such family" not in text(found, LEFT)
    assert "No client's lookup finds the 1 active thread without a provider." in text(found, LEFT)


@pytest.mark.parametrize("made", FORMS)
def test_provider_conflicts_in_several_environments(tmp_path: Path, made: Any) -> None:
    """Each environment has its own provider conflicts; one without this data has none."""
    other = {**REMAINS, "by_provider": [{"provider": "manus", "active_threads": 7, "families": 6}]}
    found = made(
        run(tmp_path, "a", residual=REMAINS), run(tmp_path, "b", residual=other), run(tmp_path, "c", residual=None)
    )
    of = [rows[1:] for rows in tables(found, LEFT) if rows[0][0] == "provider of the blocking thread"]

    assert of == [[["openai", "5,701", "5,603"], ["no provider", "42", "41"]], [["manus", "7", "6"]]]


# Missing evidence


@pytest.mark.parametrize("made", EVERY)
def test_missing_evidence_is_reported(tmp_path: Path, made: Any) -> None:
    """For each kind of missing evidence, the report names the command that collects it."""
    found = made(run_folder(tmp_path / "a" / "b", {}, without=("rejected_inserts", "recovery", "residual")))

    assert "Rejected inserts are unknown: no server log was read." in text(found, "Impact")
    assert "Recovery was not measured. To measure it, run: incident watch" in text(found, RESOLUTION)
    assert "The claims of the fix plan have not been tested here. To test them, run: incident claims" in text(
        found, CLAIMS
    )
    assert "Rehearsed" not in text(found, RESOLUTION)
    assert "What would end the provider conflicts" not in text(found, LEFT)
    assert not [image for image in found.of("img") if re.search("had a chat again|A write took", image["alt"] or "")]


def test_missing_evidence_is_a_note(tmp_path: Path) -> None:
    """Missing evidence is a note, not a finding."""
    post = read(
        run_folder(tmp_path / "a" / "b", {}, without=("rejected_inserts", "recovery", "residual")), notes=UNWRITTEN
    )
    noted = [b.text for s in post.sections for b in flat(s.blocks) if isinstance(b, Paragraph) and b.tone == "note"]

    assert {text.partition(":")[0] for text in noted} >= {
        "Rejected inserts are unknown",
        "Recovery was not measured. To measure it, run",
        "The claims of the fix plan have not been tested here. To test them, run",
    }


def test_no_bullet_is_empty(tmp_path: Path) -> None:
    """Lists of remarks have no empty item."""
    quiet = FAILURES | {"not_understood": {}, "last": None}
    rehearsal = SAID_YES | {"waits": [], "not_reproduced": []}
    post = read(run(tmp_path, rejected_inserts=quiet, rehearsal=rehearsal))

    assert all(b.items and all(b.items) for s in post.sections for b in flat(s.blocks) if isinstance(b, Bullets))
