"""Sentences and formats, for each case."""

from __future__ import annotations

import msgspec
import pytest

from incident_lib.model.catalog import IndexState
from incident_lib.model.change import IndexKind
from incident_lib.model.counts import COUNT_MEANINGS, Counts, PerPurpose
from incident_lib.model.records import Verdict
from incident_lib.model.text import (
    before_and_after,
    blocked_sentence,
    describe_session,
    format_bytes,
    format_count,
    format_duration,
    format_families,
    format_server,
    join_names,
    list_unknowns,
    plan_command,
    plural,
    sanitize,
    shorten,
    summarize_verdicts,
    verdict_line,
)


def counts_of(chat: int | None = 3, run: int | None = 1, owners: int | None = 2, **others: int) -> Counts:
    """The counts of a snapshot with five families."""
    plain = {"coexisting_families": 0, "residual_conflicts": 0, "unguarded_threads": 0} | others
    return Counts(
        families=5,
        active_threads=6,
        active_by_purpose={"chat": 1, "run": 5},
        blocked_families=None if chat is None or run is None else chat + run,
        blocked=PerPurpose(chat, run),
        affected_owners=owners,
        blocked_owners=PerPurpose(owners, owners),
        duplicate_keys={"original": 0, "fixed": 0},
        **plain,
    )


BLOCKED = {
    None: "How many families cannot start a chat is unknown: a unique index could not be read.",
    0: "No family is blocked for chat.",
    1: "1 of 5 families (1 user) cannot start a chat.",
    4: "4 of 5 families (2 users) cannot start a chat.",
}
FIX = {
    IndexState.ORIGINAL: "The fix has not been applied.",
    IndexState.BUILDING: "The fix has not been applied: a build has not finished.",
    IndexState.OVERLAPPING: "The fix is half applied: the original index is still there beside the fixed one.",
    IndexState.RETIRING: "The fix is half applied: the original index has not been dropped completely.",
    IndexState.MISSING: "The fix has not been applied, and no unique index is enforced: duplicates are possible now.",
    IndexState.UNKNOWN: "Whether the fix has been applied is unknown.",
}
SAFE = {
    True: "It is safe to apply it now. Next: incident apply --env prod --confirm prod",
    False: "It is not safe to apply it now. Next: incident plan --env prod",
    None: "Whether it is safe to apply it is unknown. Next: incident plan --env prod",
}


def of(chat: int | None) -> Counts:
    """The counts of a snapshot with this number of families blocked for chat."""
    return counts_of(chat, owners=None if chat is None else min(chat, 2))


@pytest.mark.parametrize("chat", BLOCKED)
@pytest.mark.parametrize("safe", SAFE)
@pytest.mark.parametrize("state", FIX)
def test_verdict(state: IndexState, safe: bool | None, chat: int | None) -> None:
    """The verdict has the number of blocked families, the state of the fix, and the next action."""
    assert verdict_line("prod", state, of(chat), safe=safe) == f"{BLOCKED[chat]} {FIX[state]} {SAFE[safe]}"


@pytest.mark.parametrize("safe", SAFE)
def test_verdict_after_the_fix(safe: bool | None) -> None:
    """After the fix, nothing is left to apply, whatever the preflight's findings are."""
    assert verdict_line("prod", IndexState.FIXED, of(0), safe=safe) == (
        "No family is blocked for chat. The fix has been applied. Nothing is left to apply. "
        "Next: incident verify --env prod"
    )


def test_verdict_begins_with_hidden_rows() -> None:
    """If row level security hides rows, the verdict begins with the warning that counts may be too low."""
    plain = verdict_line("prod", IndexState.ORIGINAL, of(4), safe=True)

    assert verdict_line("prod", IndexState.ORIGINAL, of(4), safe=True, hides_rows=True) == (
        f"Row level security hides rows from this role: every count may be too low. {plain}"
    )


def test_no_blocked_family_among_hidden_rows_is_not_none() -> None:
    """Where rows are hidden and none of the visible ones is blocked, the verdict says that it cannot tell."""
    assert verdict_line("prod", IndexState.ORIGINAL, of(0), safe=True, hides_rows=True).startswith(
        "It cannot be told which families are blocked: row level security hides rows from this role. "
    )


def test_every_index_state_has_its_sentence() -> None:
    """Each state of the unique indexes has a sentence."""
    assert {*FIX, IndexState.FIXED} == set(IndexState)


def test_blocked_separates_thousands() -> None:
    """Large numbers have thousands separators."""
    many = msgspec.structs.replace(counts_of(1088, owners=1237), families=12570)

    assert blocked_sentence(many) == "1,088 of 12,570 families (1,237 users) cannot start a chat."


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 users"), (1, "1 user"), (2, "2 users"), (1000, "1,000 users"), (21, "21 users")]
)
def test_plural(number: int, text: str) -> None:
    """The plural has an s for all numbers except one."""
    assert plural(number, "user") == text


@pytest.mark.parametrize(("number", "text"), [(None, "unknown"), (0, "0"), (1408, "1,408")])
def test_format_count(number: int | None, text: str) -> None:
    """An unknown count is `unknown`, not 0."""
    assert format_count(number) == text


def test_counts_by_name_has_every_count() -> None:
    """Each count with a meaning has a number."""
    assert counts_of(coexisting_families=7, residual_conflicts=8, unguarded_threads=9).by_name() == {
        "families": 5,
        "active_threads": 6,
        "blocked_families": 4,
        "blocked for chat": 3,
        "blocked for run": 1,
        "affected_owners": 2,
        "coexisting_families": 7,
        "residual_conflicts": 8,
        "unguarded_threads": 9,
    }


def test_counts_by_name_of_an_unreadable_index_are_unknown() -> None:
    """With an unreadable unique index, the counts of blocked families are None, all others are numbers."""
    found = counts_of(None, None, None).by_name()

    assert [name for name, number in found.items() if number is None] == [
        "blocked_families",
        "blocked for chat",
        "blocked for run",
        "affected_owners",
    ]


def test_counts_by_name_are_in_the_order_of_their_meanings() -> None:
    """The counts by name have the order of their meanings."""
    assert list(counts_of().by_name()) == list(COUNT_MEANINGS)


TRIED = "Rejected inserts: the table does not show which users tried to start a chat; only the server log does."
ALWAYS_UNKNOWN = [
    "Active threads without an owner (1,159): in a unique index NULL equals no other NULL, so none of them blocks a "
    "new thread, and duplicates are possible.",
    "Provider conflicts (1): the clients look threads up by provider, and no unique index has the provider in its key.",
]


@pytest.mark.parametrize(
    ("hides_rows", "since_known", "more"),
    [
        (False, True, []),
        (False, False, ["Blocked since when: purpose_since was not given for prod."]),
        (True, True, ["Row level security hides rows from this role: every count may be too low."]),
    ],
)
def test_unknowns(hides_rows: bool, since_known: bool, more: list[str]) -> None:
    """Each fact that a snapshot does not show has a sentence."""
    counts = counts_of(residual_conflicts=1, unguarded_threads=1159)

    assert list_unknowns("prod", counts, hides_rows=hides_rows, since_known=since_known) == [
        TRIED,
        *ALWAYS_UNKNOWN,
        *more,
    ]


def test_unknowns_after_logs_were_read() -> None:
    """After logs were read, only rejected inserts outside these logs are unknown."""
    counts = counts_of(residual_conflicts=1, unguarded_threads=1159)

    assert list_unknowns("prod", counts, hides_rows=False, since_known=True, logs_read=True) == [
        "Not counted: inserts that were rejected before the logs begin, after they end, or on a server whose log "
        "was not read.",
        *ALWAYS_UNKNOWN,
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            {"prepared": False, "pid": 7, "application_name": "psql", "state": "idle in transaction", "seconds": 61.4},
            "pid 7 (psql, idle in transaction, open 61 s)",
        ),
        (
            {"prepared": False, "pid": 7, "application_name": "", "state": None, "seconds": None},
            "pid 7 (no application_name, state hidden, open unknown)",
        ),
        (
            {"prepared": True, "pid": None, "application_name": None, "state": "prepared", "seconds": 5.0},
            "a prepared transaction (open 5 s)",
        ),
        (
            {
                "prepared": True,
                "pid": None,
                "gid": "gid-1a2b",
                "transaction": "742",
                "application_name": None,
                "state": "prepared",
                "seconds": 5.0,
            },
            "a prepared transaction (gid-1a2b, transaction 742, open 5 s)",
        ),
        (
            {
                "prepared": False,
                "pid": 7,
                "kind": "autovacuum worker",
                "application_name": "",
                "state": "active",
                "seconds": 5.0,
                "mode": "SHARE UPDATE EXCLUSIVE",
            },
            "autovacuum worker, pid 7 (active, open 5 s, SHARE UPDATE EXCLUSIVE on the table)",
        ),
        (
            {
                "prepared": False,
                "pid": 7,
                "kind": None,
                "application_name": "psql",
                "state": None,
                "seconds": None,
                "mode": "ACCESS SHARE",
            },
            "pid 7 (psql, state hidden, open unknown, ACCESS SHARE on the table)",
        ),
    ],
)
def test_a_session_is_described_without_its_query(row: dict[str, object], text: str) -> None:
    """A blocking session is described by pid, application, state and age."""
    assert describe_session(row) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0114, "11 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (1.54, "1.5 s"), (75.0, "75.0 s")],
)
def test_format_duration(seconds: float, text: str) -> None:
    """A duration below a second is in milliseconds, a longer one in seconds."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (70_400, "70 kB"), (2_500_000, "2.5 MB"), (10**9, "1.0 GB")],
)
def test_format_bytes(number: int, text: str) -> None:
    """A number of bytes is in a suitable unit, with a decimal below ten."""
    assert format_bytes(number) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 families"), (1, "1 family"), (1088, "1,088 families")])
def test_format_families(number: int, text: str) -> None:
    """The number of families is in the singular or the plural."""
    assert format_families(number) == text


@pytest.mark.parametrize(
    ("version", "text"), [(180004, "PostgreSQL 18.4"), (150012, "PostgreSQL 15.12"), (None, "unknown")]
)
def test_format_server(version: int | None, text: str) -> None:
    """The version of a server is formatted like PostgreSQL's own."""
    assert format_server(version) == text


def test_join_names() -> None:
    """If there are many names, the first few are listed with the number of the others."""
    assert join_names(["a", "b"]) == "a, b"
    assert join_names(list("abcde"), most=2) == "a, b and 3 more"


def test_shorten() -> None:
    """A name is put on one line, and truncated with an ellipsis if it is too long."""
    assert shorten("a\nb") == "a b"
    assert shorten("x" * 30) == "x" * 27 + "…"


def test_sanitize() -> None:
    """A text for a report has no raw id and no direction mark, and is truncated if it is too long."""
    text = "4d486cdb-1824-448c-acd2-c99b0c379a35 \u202e"

    assert sanitize({text: [text, 1]}) == {"(an id, hidden) \\u202e": ["(an id, hidden) \\u202e", 1]}
    assert sanitize("x" * 2_001) == "x" * 2_000 + "… (1 more characters)"


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([Verdict.HOLDS], "1 claim holds, 0 hold only with this project's method, 0 do not hold."),
        (
            [Verdict.NO, Verdict.ONLY_HERE, Verdict.HOLDS, Verdict.HOLDS],
            "2 claims hold, 1 holds only with this project's method, 1 does not hold.",
        ),
    ],
)
def test_summarize_verdicts(verdicts: list[Verdict], text: str) -> None:
    """One sentence has the number of claims for each verdict."""
    assert summarize_verdicts(verdicts) == text


def test_before_and_after() -> None:
    """The sentence on two snapshots has the number of blocked families before and now."""
    assert before_and_after(of(4), of(0)) == (
        "4 of 5 families (2 users) were blocked for chat. Blocked after the fix: none."
    )
    assert before_and_after(of(4), of(None)).endswith("Blocked after the fix: unknown.")
    assert before_and_after(of(4), None) == "4 of 5 families (2 users) cannot start a chat."


@pytest.mark.parametrize(
    ("target", "environment", "text"),
    [
        (IndexKind.FIXED, "", "incident plan"),
        (IndexKind.ORIGINAL, "prod", "incident plan --env prod --rollback"),
    ],
)
def test_plan_command(target: IndexKind, environment: str, text: str) -> None:
    """The command that shows a plan names the environment and, for the original index, the rollback."""
    assert plan_command(target, environment) == text
