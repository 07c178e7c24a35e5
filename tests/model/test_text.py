"""What is said to people: whole sentences, for each case."""

from __future__ import annotations

import pytest

from incident_lib.model.catalog import IndexState
from incident_lib.model.counts import COUNT_MEANINGS, Counts, PerPurpose
from incident_lib.model.text import (
    blocked_sentence,
    describe_session,
    format_count,
    format_duration,
    list_unknowns,
    plural,
    verdict_line,
)


def looked(chat: int | None = 3, run: int | None = 1, owners: int | None = 2, **others: int) -> Counts:
    """The counts of a look that saw five families."""
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
    None: "How many families cannot start a chat is not known: a unique index could not be read.",
    0: "No family is blocked for chat.",
    1: "1 of 5 families (1 user) cannot start a chat.",
    4: "4 of 5 families (2 users) cannot start a chat.",
}
FIX = {
    IndexState.ORIGINAL: "The fix is not in.",
    IndexState.BUILDING: "The fix is not in: a build has not finished.",
    IndexState.OVERLAPPING: "The fix is half in: the original index still stands beside the fixed one.",
    IndexState.RETIRING: "The fix is half in: what is left of the original index has to go.",
    IndexState.MISSING: "The fix is not in, and no unique index is enforced: duplicates can get in at any moment.",
    IndexState.UNKNOWN: "Whether the fix is in cannot be told.",
}
SAFE = {
    True: "It is safe to apply now. Next: incident apply --env prod --confirm prod",
    False: "It is not safe to apply now. Next: incident plan --env prod",
    None: "Whether it is safe to apply was not asked. Next: incident plan --env prod",
}


def of(chat: int | None) -> Counts:
    """The counts of a look in which so many families were blocked for chat."""
    return looked(chat, owners=None if chat is None else min(chat, 2))


@pytest.mark.parametrize("chat", BLOCKED)
@pytest.mark.parametrize("safe", SAFE)
@pytest.mark.parametrize("state", FIX)
def test_verdict_says_who_is_blocked_what_stands_and_what_is_next(
    state: IndexState, safe: bool | None, chat: int | None
) -> None:
    """The verdict says how many are blocked, whether the fix is in, whether it is safe to apply, and what is next."""
    assert verdict_line("prod", state, of(chat), safe=safe) == f"{BLOCKED[chat]} {FIX[state]} {SAFE[safe]}"


@pytest.mark.parametrize("safe", SAFE)
def test_verdict_of_the_fixed_index_has_nothing_to_apply(safe: bool | None) -> None:
    """Where the fix is in, nothing is left to apply, whatever the preflight says."""
    assert verdict_line("prod", IndexState.FIXED, of(0), safe=safe) == (
        "No family is blocked for chat. The fix is in. Nothing is left to apply. Next: incident verify --env prod"
    )


def test_every_index_state_has_its_sentence() -> None:
    """No state of the unique indexes is without a sentence."""
    assert {*FIX, IndexState.FIXED} == set(IndexState)


def test_blocked_sets_thousands_apart() -> None:
    """Large numbers are readable."""
    many = Counts.from_dict({**looked(1088, owners=1237).as_dict(), "families": 12570})

    assert blocked_sentence(many) == "1,088 of 12,570 families (1,237 users) cannot start a chat."


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 users"), (1, "1 user"), (2, "2 users"), (1000, "1,000 users"), (21, "21 users")]
)
def test_plural(number: int, said: str) -> None:
    """One has no s, all others have."""
    assert plural(number, "user") == said


@pytest.mark.parametrize(("number", "said"), [(None, "unknown"), (0, "0"), (1408, "1,408")])
def test_shown(number: int | None, said: str) -> None:
    """A count that is not known is unknown, never 0."""
    assert format_count(number) == said


def test_counts_by_word_has_every_count() -> None:
    """Every word that has a meaning has its number."""
    assert counts_by_name(looked(coexisting_families=7, residual_conflicts=8, unguarded_threads=9)) == {
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


def test_counts_by_word_of_an_unreadable_index_are_unknown() -> None:
    """What an unreadable unique index blocks is None, and all else is counted."""
    found = counts_by_name(looked(None, None, None))

    assert [word for word, number in found.items() if number is None] == [
        "blocked_families",
        "blocked for chat",
        "blocked for run",
        "affected_owners",
    ]


def test_counts_by_word_of_no_look_are_unknown() -> None:
    """Where nobody looked every count is None."""
    assert counts_by_name(None) == dict.fromkeys(COUNT_MEANINGS)


ALWAYS_UNKNOWN = [
    "Who tried: a blocked family could not create a chat; whether its user tried, only the server's log tells.",
    "Threads without an owner (1,159) belong to no unique index: nobody is blocked there, and nothing stops duplicates.",
    "What the fix leaves: 1 active thread in families that use several providers; "
    "the unique indexes know nothing of providers.",
]


@pytest.mark.parametrize(
    ("hides_rows", "since_known", "more"),
    [
        (False, True, []),
        (False, False, ["Since when: when the column `purpose` came to prod was not given (purpose_since)."]),
        (True, True, ["Row level security hides rows from this role: every count may be too low."]),
    ],
)
def test_unknowns_are_said(hides_rows: bool, since_known: bool, more: list[str]) -> None:
    """What a look did not see is said, a sentence each."""
    counts = looked(residual_conflicts=1, unguarded_threads=1159)

    assert list_unknowns("prod", counts, hides_rows=hides_rows, since_known=since_known) == [*ALWAYS_UNKNOWN, *more]


@pytest.mark.parametrize(
    ("row", "said"),
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
            {"prepared": True, "pid": None, "application_name": "gid", "state": "prepared", "seconds": 5.0},
            "a prepared transaction (gid, prepared, open 5 s)",
        ),
    ],
)
def test_a_session_is_described_without_its_query(row: dict[str, object], said: str) -> None:
    """A session that others wait for is named by pid, application, state and age."""
    assert describe_session(row) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 ms"), (0.0114, "11 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (1.54, "1.5 s"), (75.0, "75.0 s")],
)
def test_a_short_time_is_said(seconds: float, said: str) -> None:
    """A short time is said in milliseconds, from a second on in seconds."""
    assert format_duration(seconds) == said
