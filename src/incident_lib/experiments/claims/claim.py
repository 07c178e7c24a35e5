"""The claims of the fix plan: their words in the plan, how each is tested, and the verdict on the trials' results."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from incident_lib.experiments.claims.strategies import DONE
from incident_lib.model import IndexState, Verdict, format_duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from incident_lib.experiments.claims.trials import Trial

MIGRATION_SECONDS, TESTING_SECONDS = 5 * 60, 10 * 60  # the plan's estimate


@dataclass(frozen=True)
class Outcome:
    """The outcome of a claim for one strategy: whether it holds, in words, in figures."""

    holds: bool
    text: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim of the fix plan, in short and in the plan's words (source).

    Attributes:
        how: how it is tested, with {threads}, {clients} and {reader} of the load.
        judge: the outcome of a trial.
    """

    claim: str
    source: str
    how: str
    judge: Callable[[Trial], Outcome]

    def verdict(self, trials: Sequence[Trial]) -> Verdict:
        """It holds where it holds for the plan's SQL, however that is sent."""
        if all(self.judge(trial).holds for trial in trials if not trial.strategy.ours):
            return Verdict.HOLDS
        ours = all(self.judge(trial).holds for trial in trials if trial.strategy.ours)
        return Verdict.ONLY_HERE if ours else Verdict.NO

    def result(self, trials: Sequence[Trial]) -> str:
        """The outcomes by strategy; strategies with the same outcome are named together."""
        strategies: dict[str, list[str]] = {}
        for trial in trials:
            strategies.setdefault(self.judge(trial).text, []).append(trial.strategy.name)
        if len(strategies) == 1:
            return f"Each strategy: {next(iter(strategies))}."
        sentences = (f"{', '.join(names)}: {text}." for text, names in strategies.items())
        return " ".join(f"{sentence[0].upper()}{sentence[1:]}" for sentence in sentences)


def data_loss(trial: Trial) -> Outcome:
    """Are all threads the same?"""
    integrity = trial.integrity
    text = f"{plural(integrity.threads, 'thread')}, checksum {'equal' if integrity.equal else 'CHANGED'}"
    return Outcome(integrity.equal, text, {"threads": integrity.threads, "equal": integrity.equal})


def downtime(trial: Trial) -> Outcome:
    """Did a client wait for a lock of the change? The server says so: the machine's speed does not matter."""
    load, traffic = trial.load, trial.load.traffic
    waited = f"up to {plural(load.waiting_clients, 'client')} at once" if load.waiting_clients else "no client"
    text = (
        f"longest write {format_duration(traffic.longest)}, {format_duration(traffic.longest_before)} before; "
        f"{waited} waited for a lock of the change, which took {format_duration(traffic.end)}"
    )
    figures = {
        "longest_ms": milliseconds(traffic.longest),
        "longest_before_ms": milliseconds(traffic.longest_before),
        "waiting_clients": load.waiting_clients,
        "seconds": round(traffic.end, 3),
        "writes": len(traffic.calls),
    }
    return Outcome(not load.waiting_clients, text, figures)


def rollback(trial: Trial) -> Outcome:
    """Can the original index be restored, whatever users did since?"""
    result = trial.rollback
    restored = [(result.at_once, result.state_at_once), (result.after_chat, result.state_after_chat)]
    holds = restored == [(DONE, IndexState.ORIGINAL)] * 2 and not result.ended_threads
    ended = f", {plural(result.ended_threads, 'active thread')} ended" if result.ended_threads else ""
    text = (
        f"at once: {format_answer(result.at_once)}; after the first chat: {format_answer(result.after_chat)}, "
        f"index state {result.state_after_chat}{ended}"
    )
    return Outcome(holds, text, asdict(result))


def no_code_change(trial: Trial) -> Outcome:
    """Do the product's clients get what they ask for, unchanged? The upsert is not judged: none of them sends one."""
    clients = trial.clients
    holds = clients.chats == clients.runs_found == clients.other_providers == clients.families
    text = (
        f"{_of(clients.chats, trial)} chats and {_of(clients.runs_found, trial)} runs admitted, "
        f"{_of(clients.other_providers, trial)} runs of another provider; "
        f"the upsert: {format_answer(clients.upsert_before or DONE)} before, "
        f"{format_answer(clients.upsert or DONE)} after"
    )
    names = ("families", "chats", "runs_found", "other_providers", "upsert_before", "upsert")
    return Outcome(holds, text, {name: getattr(clients, name) for name in names})


def runs_unaffected(trial: Trial) -> Outcome:
    """Do run clients find the threads that they found before?"""
    clients, equal = trial.clients, trial.integrity.equal
    text = (
        f"{_of(clients.runs_found, trial)} run clients found their thread again, "
        f"{'no row changed' if equal else 'rows CHANGED'}"
    )
    figures = {"families": clients.families, "found_again": clients.runs_found, "equal": equal}
    return Outcome(equal and clients.runs_found == clients.families, text, figures)


def new_chats(trial: Trial) -> Outcome:
    """Can a chat be created beside a run?"""
    clients = trial.clients
    text = f"{_of(clients.chats_before, trial)} admitted before, {_of(clients.chats, trial)} after"
    figures = {"families": clients.families, "admitted_before": clients.chats_before, "admitted": clients.chats}
    return Outcome(clients.chats == clients.families, text, figures)


def single_active(trial: Trial) -> Outcome:
    """Does no family get a second active thread of a purpose? Threads without an owner are counted, not judged."""
    clients, load = trial.clients, trial.load
    text = (
        f"{plural(load.duplicates, 'duplicate')} admitted under load, index state {load.state}; "
        f"afterwards {clients.second_threads} of {2 * clients.families} second threads admitted, "
        f"without an owner {_of(clients.ownerless, trial)}"
    )
    figures = {
        "duplicates": load.duplicates,
        "duplicate_keys": load.duplicate_keys,
        "state": load.state,
        "second_threads_admitted": clients.second_threads,
        "second_threads": 2 * clients.families,
        "ownerless_admitted": clients.ownerless,
    }
    return Outcome(not load.duplicates and not clients.second_threads, text, figures)


def effort(trial: Trial) -> Outcome:
    """Does the first attempt succeed, within the time that the plan gives?"""
    load, seconds, verify_seconds = trial.load, trial.load.traffic.end, trial.clients.verify_seconds
    done = load.answer == DONE and load.state is IndexState.FIXED
    outcome = DONE if done else f"NOT done ({format_answer(load.answer)})"
    text = (
        f"{outcome} at the first attempt under load, after {format_duration(seconds)}; "
        f"verified in {format_duration(verify_seconds)}"
    )
    figures = {
        "answer": load.answer,
        "state": load.state,
        "seconds": round(seconds, 3),
        "verify_ms": milliseconds(verify_seconds),
    }
    return Outcome(done and seconds <= MIGRATION_SECONDS and verify_seconds <= TESTING_SECONDS, text, figures)


def format_answer(answer: str) -> str:
    """`done`, `refused`, or `SQLSTATE 23505`."""
    return answer if answer.isalpha() else f"SQLSTATE {answer}"


def milliseconds(seconds: float) -> float:
    """Seconds in milliseconds, to a tenth."""
    return round(seconds * 1000, 1)


def _of(number: int, trial: Trial) -> str:
    return f"{number} of {trial.clients.families}"


CLAIMS = (
    Claim(
        "Data loss: none",
        "Index modification only, no data affected",
        "Count and checksum of all threads before and after, without other clients.",
        data_loss,
    ),
    Claim(
        "Downtime: none",
        "Index changes are non-blocking",
        "{clients} clients wrote to {threads:,} threads before, during and after the change, and a reader opened a "
        "transaction for {reader:g} s just before it. Every 20 ms the server was asked which clients waited for a lock "
        "of the change. Commits did not wait for the disk.",
        downtime,
    ),
    Claim(
        "Rollback complexity: low",
        "Can restore original index if needed",
        "The original index was restored at once. Then the fix was applied again, one family got a chat beside its "
        "run, and the original index was to be restored once more.",
        rollback,
    ),
    Claim(
        "No code changes",
        "No Code Changes Required",
        "After the change the clients sent what they always send: a chat, a run, and a run of another provider, in "
        "families that have an active run. Also an upsert on (root, owner), which only a function or another backend "
        "can send.",
        no_code_change,
    ),
    Claim(
        "Runs are unaffected",
        "Existing `run` threads remain unaffected",
        "Run clients looked up their threads before the change, and again after it, beside a new chat.",
        runs_unaffected,
    ),
    Claim(
        "Chats beside runs",
        "New `chat` threads can be created alongside existing `run` threads",
        "Chat clients created chats before and after the change, in families with an active run.",
        new_chats,
    ),
    Claim(
        "Each purpose stays single-active",
        "Each purpose type maintains single-active-thread semantics",
        "Clients sent second runs before, during and after the change. Afterwards they sent second chats, second runs, "
        "and second runs without an owner.",
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
