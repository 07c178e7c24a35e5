"""The fix plan's claims: its own words, how each is tested, and the verdict on what the trials saw. No connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from incident_lib.model import format_duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from incident_lib.experiments.claims.trials import Trial

DONE, FIXED, ORIGINAL = "done", "fixed", "original"
MIGRATION_SECONDS, TESTING_SECONDS = 5 * 60, 10 * 60  # the plan's estimate


class Verdict(StrEnum):
    """What came out for a claim."""

    HOLDS = "holds"  # for the plan's SQL, however it is sent
    OURS = "holds only for our way"  # not for each way of sending the plan's SQL
    NO = "does not hold"  # not for our way, either


@dataclass(frozen=True)
class Outcome:
    """What became of a claim under one way: whether it holds, in words, in figures."""

    holds: bool
    told: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim of the fix plan, in short and in its own words; how it is tested, and what judges a trial."""

    claim: str
    source: str
    how: str  # {threads}, {clients}, {reader}: of the trials
    judge: Callable[[Trial], Outcome]

    def verdict(self, trials: Sequence[Trial]) -> Verdict:
        """By the plan's SQL first, then by our way."""
        if all(self.judge(trial).holds for trial in trials if not trial.way.ours):
            return Verdict.HOLDS
        return Verdict.OURS if all(self.judge(trial).holds for trial in trials if trial.way.ours) else Verdict.NO

    def result(self, trials: Sequence[Trial]) -> str:
        """What came out, way by way; ways of which the same is to be said are named together."""
        by_text: dict[str, list[str]] = {}
        for trial in trials:
            by_text.setdefault(self.judge(trial).told, []).append(trial.way.name)
        if len(by_text) == 1:
            return f"Each way: {next(iter(by_text))}."
        told = (f"{', '.join(names)}: {text}." for text, names in by_text.items())
        return " ".join(f"{text[0].upper()}{text[1:]}" for text in told)


def data_loss(trial: Trial) -> Outcome:
    """Are all threads the same?"""
    kept = trial.kept
    told = f"{plural(kept.threads, 'thread')}, checksum {'equal' if kept.same else 'CHANGED'}"
    return Outcome(kept.same, told, {"threads": kept.threads, "same": kept.same})


def downtime(trial: Trial) -> Outcome:
    """Did a client wait for a lock of the change? That is seen at the server, and no matter of speed."""
    seen = trial.load.seen
    waited = f"up to {plural(seen.held_up, 'client')} at once" if seen.held_up else "no client"
    told = (
        f"longest write {format_duration(seen.longest)}, {format_duration(seen.longest_before)} before; {waited} seen waiting for it "
        f"({format_duration(seen.end)} in all)"
    )
    figures = {
        "longest_ms": _ms(seen.longest),
        "longest_before_ms": _ms(seen.longest_before),
        "clients_held_up": seen.held_up,
        "seconds": round(seen.end, 3),
        "writes": len(seen.writes),
    }
    return Outcome(not seen.held_up, told, figures)


def rollback(trial: Trial) -> Outcome:
    """Can the original index be restored, whatever users did since?"""
    back = trial.back
    good = (back.at_once, back.state_at_once, back.later, back.state_later) == (DONE, ORIGINAL, DONE, ORIGINAL)
    ended = f", {plural(back.ended, 'active thread')} ended for it" if back.ended else ""
    told = (
        f"at once: {format_answer(back.at_once)}; after the first chat: {format_answer(back.later)}, "
        f"unique index then {back.state_later}{ended}"
    )
    return Outcome(good and not back.ended, told, dict(vars(back)))


def no_code_change(trial: Trial) -> Outcome:
    """Do the product's clients get what they ask for, as they are? An upsert is told; none of them sends one."""
    served = trial.served
    good = served.chats == served.runs_found == served.other_providers == served.tried
    told = (
        f"{_of(served.chats, trial)} chats and {_of(served.runs_found, trial)} runs served, "
        f"{_of(served.other_providers, trial)} runs of another provider; "
        f"the upsert: {format_answer(served.upsert_before or DONE)} before, {format_answer(served.upsert or DONE)} after"
    )
    names = ("tried", "chats", "runs_found", "other_providers", "upsert_before", "upsert")
    return Outcome(good, told, {name: getattr(served, name) for name in names})


def runs_unaffected(trial: Trial) -> Outcome:
    """Do run clients find the threads that they found before?"""
    served, kept = trial.served, trial.kept
    same = "no row changed" if kept.same else "rows CHANGED"
    told = f"{_of(served.runs_found, trial)} run clients found their thread again, {same}"
    figures = {"tried": served.tried, "found_again": served.runs_found, "same": kept.same}
    return Outcome(kept.same and served.runs_found == served.tried, told, figures)


def new_chats(trial: Trial) -> Outcome:
    """Can a chat be created beside a run?"""
    served = trial.served
    told = f"{_of(served.chats_before, trial)} admitted before, {_of(served.chats, trial)} after"
    figures = {"tried": served.tried, "admitted_before": served.chats_before, "admitted": served.chats}
    return Outcome(served.chats == served.tried, told, figures)


def single_active(trial: Trial) -> Outcome:
    """Does no family ever get a second active thread of a purpose? Threads without an owner are told, not judged."""
    served, load = trial.served, trial.load
    duplicates = load.seen.duplicates
    told = (
        f"{plural(duplicates, 'duplicate')} got in under load, unique index then {load.state}; afterwards {served.seconds} of "
        f"{2 * served.tried} second threads admitted, without an owner {_of(served.ownerless, trial)}"
    )
    figures = {
        "duplicates": duplicates,
        "keys_held_twice": load.keys,
        "guard": load.state,
        "seconds_admitted": served.seconds,
        "seconds_tried": 2 * served.tried,
        "ownerless_admitted": served.ownerless,
    }
    return Outcome(not duplicates and not served.seconds, told, figures)


def effort(trial: Trial) -> Outcome:
    """Is it done at the first attempt, within the time that the plan gives?"""
    seen, verified, state = trial.load.seen, trial.served.verified, trial.load.state
    done = seen.answer == DONE and state == FIXED
    ended = "done" if done else f"NOT done ({format_answer(seen.answer)})"
    told = f"{ended} at the first attempt under load, after {format_duration(seen.end)}; verified in {format_duration(verified)}"
    figures = {"answer": seen.answer, "guard": state, "seconds": round(seen.end, 3), "verify_ms": _ms(verified)}
    return Outcome(done and seen.end <= MIGRATION_SECONDS and verified <= TESTING_SECONDS, told, figures)


def format_answer(answer: str) -> str:
    """`done`, `refused`, or the SQLSTATE as such."""
    return answer if answer.isalpha() else f"SQLSTATE {answer}"


def _of(number: int, trial: Trial) -> str:
    return f"{number} of {trial.served.tried}"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


CLAIMS = (
    Claim(
        "Data loss: none",
        "Index modification only, no data affected",
        "Count and checksum of all threads before and after, with nobody else at them.",
        data_loss,
    ),
    Claim(
        "Downtime: none",
        "Index changes are non-blocking",
        "{clients} clients wrote to {threads:,} threads all the while, and a reader opened a transaction for "
        "{reader:g} s just before; the server was asked every 20 ms which clients wait for a lock of the change. "
        "Commits did not wait for the disk.",
        downtime,
    ),
    Claim(
        "Rollback complexity: low",
        "Can restore original index if needed",
        "The original index was restored at once; then the fix was made again, one family got its chat beside its run, "
        "and the original index was to be restored once more.",
        rollback,
    ),
    Claim(
        "No code changes",
        "No Code Changes Required",
        "Afterwards the clients sent what they always send: a chat, a run, a run of another provider in families "
        "that have an active run. Also an upsert on (root, owner), which only a function or another backend can send.",
        no_code_change,
    ),
    Claim(
        "Runs are unaffected",
        "Existing `run` threads remain unaffected",
        "Run clients looked their threads up before, and again afterwards beside a new chat.",
        runs_unaffected,
    ),
    Claim(
        "Chats beside runs",
        "New `chat` threads can be created alongside existing `run` threads",
        "Chat clients tried before and after, in families with an active run.",
        new_chats,
    ),
    Claim(
        "Each purpose stays single-active",
        "Each purpose type maintains single-active-thread semantics",
        "Clients sent second runs all the while; and second chats, second runs and second runs without an owner "
        "afterwards.",
        single_active,
    ),
    Claim(
        "Effort: 5 + 10 minutes",
        "Migration: 5 minutes; Testing: 10 minutes",
        "Machine time of one attempt under load, and of verifying by definition and by probe. People's time was not "
        "measured.",
        effort,
    ),
)
