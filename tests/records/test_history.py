"""Histories of runs: what was before the fix, what came since, and when the incident ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.model import (
    CHANGES,
    BeforeAfter,
    Counts,
    Indexes,
    IndexState,
    RejectedInserts,
    RunRecord,
    RunStatus,
    UnreadLog,
)
from incident_lib.records import Run, make_history
from incident_lib.records.files import write_json
from incident_lib.records.run_folder import new_record
from incident_lib.report import choose_runs, read_runs
from tests.support.examples import examples
from tests.support.reports import EXAMPLE, UNWRITTEN

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = msgspec.convert(EXAMPLE, RunRecord, strict=False).counts.before


class Spec(NamedTuple):
    """A run as the oracle knows it.

    Attributes:
        number: of the hour in which it began.
        status: how it ended.
        before, after: families blocked for chat in its snapshots; None: it took none.
        fixes: whether it applied the fix.
        fixed: whether the fixed index, or the finer one of `provider`, was enforced at its end.
        recorded: whether it feeds reports.
        change: that it was about.
        conflicts: threads that blocked another provider in its latest snapshot.
    """

    number: int
    status: str
    before: int | None
    after: int | None
    fixes: bool
    fixed: bool = False
    recorded: bool = True
    change: str = "purpose"
    conflicts: int = 65

    @property
    def is_of_purpose(self) -> bool:
        """Whether it is about the fix."""
        return self.change == "purpose"


def counts(blocked: int | None, conflicts: int) -> object:
    """Counts in which so many families are blocked for chat, and so many threads block another provider."""
    if blocked is None:
        return None
    by_purpose = msgspec.structs.replace(COUNTS.blocked, chat=blocked)
    return msgspec.structs.replace(COUNTS, blocked=by_purpose, residual_conflicts=conflicts)


def ended_at(spec: Spec) -> datetime:
    """When a run that fixes ended the incident."""
    return START + timedelta(hours=spec.number, seconds=30)


def before_conflicts(spec: Spec) -> int:
    """The threads that blocked another provider in the run's first snapshot."""
    return 100 + spec.number if spec.fixes and not spec.is_of_purpose else spec.conflicts


@cache
def begun(change: str) -> RunRecord:
    """The record of a run that has begun; to make one takes as long as a hundred changes of it."""
    return new_record("an environment", "a test", change=CHANGES[change])


def record(spec: Spec, environment: str = "prod") -> RunRecord:
    """The record of a run, an hour after the one before."""
    at = START + timedelta(hours=spec.number)
    killed = spec.status == "killed"
    ends_it = spec.fixes and spec.is_of_purpose
    states = [IndexState.FIXED if spec.fixed and not ends_it else IndexState.ORIGINAL, IndexState.FIXED]
    before, after = (Indexes(state=state, definitions=[]) for state in states)
    return msgspec.structs.replace(
        begun(spec.change),
        environment=environment,
        recorded=spec.recorded,
        status=RunStatus.RUNNING if killed else RunStatus(spec.status),
        started_at=at,
        heartbeat_at=at,
        finished_at=None if killed else at + timedelta(minutes=1),
        counts=BeforeAfter(
            before=counts(spec.before, before_conflicts(spec)), after=counts(spec.after, spec.conflicts)
        ),
        indexes=BeforeAfter(
            before=None if spec.before is None else before, after=None if spec.after is None else after
        ),
        snapshot_at=BeforeAfter(before=at, after=at if spec.after is not None else None),
        incident_ended_at=ended_at(spec) if spec.fixes else None,
        verdict=f"run {spec.number}",
    )


KINDS = {
    "look": "dry-run",
    "apply": "succeeded",
    "killed after the fix": "killed",
    "fails after the fix": "failed",
    "killed": "killed",
    "refused": "refused",
    "fails early": "failed",
    "fails late": "failed",
}


@st.composite
def histories(draw: st.DrawFn) -> list[Spec]:
    """Runs of both changes in order: looks, applies, re-applies, rollbacks by hand, failures, kills, unrecorded."""
    fixed, provided, found = False, False, []
    for number in range(draw(st.integers(1, 7))):
        if draw(st.booleans()) and fixed and draw(st.booleans()):
            provided = False  # rolled back by hand: no run recorded that
            fixed = draw(st.booleans())
        blocked = 0 if fixed else 10 + number
        change = draw(st.sampled_from(["purpose", "purpose", "provider"]))
        kind = draw(st.sampled_from([*KINDS]))
        applies = kind in {"apply", "killed after the fix", "fails after the fix"}
        # Before the fix `provider` is refused, whatever else would have become of the run.
        kind = "refused" if change == "provider" and applies and not fixed else kind
        fixes = applies and kind != "refused" and not (fixed if change == "purpose" else provided)
        fixed, provided = fixed or fixes, provided or (fixes and change == "provider")
        before, after = None if kind == "fails early" else blocked, 0 if kind == "apply" else None
        recorded, conflicts = draw(st.integers(0, 5)) > 0, 0 if provided else 100 + number
        found.append(Spec(number, KINDS[kind], before, after, fixes, fixed, recorded, change, conflicts))
    return found


class Expected(NamedTuple):
    """What a report must tell: blocked before and after, the number of the run that is told, and of the later ones."""

    before: int | None
    after: int | None
    told: int
    later: list[int]
    fix: Spec | None


def oracle(specs: list[Spec]) -> Expected:
    """What a report must tell of the incident; a run of `provider` tells of it only where it found the fix gone.

    Where no run applied the fix that the last one found, its snapshot is the one after the fix, and the one before it
    is the latest without the fix.
    """
    own = [spec for spec in specs if spec.is_of_purpose or (spec.before is not None and not spec.fixed)]
    own = [spec._replace(fixes=spec.fixes and spec.is_of_purpose) for spec in own or specs]
    found = tell(own)
    (told,) = [spec for spec in own if spec.number == found.told]
    if found.fix or not told.fixed:
        return found
    earlier = [spec for spec in own if spec.number < told.number and spec.status != "killed" and not spec.fixed]
    was = [spec.before for spec in earlier if spec.before is not None]
    now = told.before if told.after is None else told.after
    return found._replace(before=was[-1] if was else None, after=now)


def tell(specs: list[Spec]) -> Expected:
    """What a report over these runs must tell: the first fix, and the latest snapshot since."""
    finished = [spec for spec in specs if spec.status != "killed" or spec.fixes]
    seen = [spec for spec in finished if spec.before is not None]
    fix = next((spec for spec in seen if spec.fixes), None)
    told = fix or (seen or finished or specs)[-1]
    later = [spec.number for spec in finished if spec.number > told.number]
    latest = [spec for spec in seen if spec.number >= told.number][-1] if fix else told
    after = told.after if latest is told else latest.before if latest.after is None else latest.after
    return Expected(told.before, after, told.number, later, fix)


@given(histories(), st.randoms())
def test_a_history_tells_the_first_fix_and_the_latest_snapshot(specs: list[Spec], random: object) -> None:
    """Before is the fix's, after is the latest snapshot since, whichever run took it; the order of reading is free."""
    runs = [Run(Path(str(spec.number)), record(spec)) for spec in specs]
    random.shuffle(runs)
    found = make_history(runs)
    told = found.run.record

    def chat(half: object) -> int | None:
        return half.blocked.chat if half else None

    assert (
        chat(told.counts.before),
        chat(told.counts.after),
        int(found.run.folder.name),
        [int(run.folder.name) for run in found.later],
    ) == oracle(specs)[:4]


class Second(NamedTuple):
    """What a report must tell of `provider`: conflicts before and after, the run that is told, and the later ones."""

    before: int | None
    after: int | None
    told: int
    later: list[int]


def oracle_of_provider(specs: list[Spec]) -> Second | None:
    """The first run that applied `provider`, and the latest snapshot since, of any run; None: no run is about it."""
    own = [spec for spec in specs if not spec.is_of_purpose]
    if not own:
        return None
    _, _, told, later, fix = tell(own)
    chosen = next(spec for spec in own if spec.number == told)
    before = None if chosen.before is None else before_conflicts(chosen)
    others = [spec for spec in specs if spec.status != "killed" or spec.fixes]
    since = [spec for spec in others if fix and spec.number > told and spec.before is not None]
    after = since[-1].conflicts if since else None if chosen.after is None else chosen.conflicts
    return Second(before, after, told, later)


@given(histories(), st.randoms())
def test_each_change_has_a_history_of_its_own(specs: list[Spec], random: object) -> None:
    """A run of `provider` is the second chapter, and never the before, the after or the fix of the first."""
    runs = [Run(Path(str(spec.number)), record(spec)) for spec in specs]
    random.shuffle(runs)
    found, wanted = make_history(runs).following, oracle_of_provider(specs)

    def conflicts(half: Counts | None) -> int | None:
        return half.residual_conflicts if half else None

    told = found and (
        conflicts(found.run.record.counts.before),
        conflicts(found.run.record.counts.after),
        int(found.run.folder.name),
        [int(run.folder.name) for run in found.later],
    )
    assert told == wanted


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(histories(), min_size=1, max_size=3), histories())
def test_a_report_over_any_histories_tells_what_the_oracle_tells(histories: list[list[Spec]], demo: list[Spec]) -> None:
    """From run folders to the title: before, after and the end of each environment's incident, and never the demo."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCIDENT_RUNS", folder)
        for environment, specs in {**{f"env-{n}": each for n, each in enumerate(histories)}, "demo": demo}.items():
            for spec in specs:
                write_json(Path(folder) / environment / f"{spec.number}" / "record.json", record(spec, environment))
        wanted = [oracle(recorded) for specs in histories if (recorded := [spec for spec in specs if spec.recorded])]
        if not wanted:
            return
        post = read_runs(choose_runs([], [], everything=True), UNWRITTEN)

    def chat(half: Counts | None) -> int | None:
        return half.blocked.chat if half else None

    found = [(chat(c.before), chat(c.after), c.record.incident_ended_at) for c in post.chapters]
    assert found == [(each.before, each.after, ended_at(each.fix) if each.fix else None) for each in wanted]
    blocked = sum(each.before or 0 for each in wanted)
    assert not blocked or f"{blocked:,}" in post.title
    seconds = [oracle_of_provider([spec for spec in specs if spec.recorded]) for specs in histories]
    told = [chapter.following.record.counts.before for chapter in post.chapters if chapter.following]
    assert [half and half.residual_conflicts for half in told] == [each.before for each in seconds if each]


def test_a_look_after_the_fix_replaces_no_step() -> None:
    """A dry run after the fix gives the latest numbers; steps and end stay those of the fix."""
    fix, look = record(Spec(0, "succeeded", 12, 0, True)), record(Spec(1, "dry-run", 3, None, False))
    found = make_history([Run(Path("0"), fix), Run(Path("1"), look)])

    assert found.run.record.incident_ended_at == fix.incident_ended_at
    assert found.run.record.counts.after.blocked.chat == 3
    assert found.run.record.verdict == "run 1"
    assert [run.folder.name for run in found.later] == ["1"]


def test_a_fix_of_a_run_that_was_killed_counts() -> None:
    """A run that was killed after it ended the incident is the run that applied the fix."""
    killed, look = record(Spec(0, "killed", 12, None, True)), record(Spec(1, "succeeded", 0, 0, False))
    found = make_history([Run(Path("0"), killed), Run(Path("1"), look)])

    assert found.run.record.incident_ended_at == killed.incident_ended_at
    assert (found.run.record.counts.before.blocked.chat, found.run.record.counts.after.blocked.chat) == (12, 0)


def test_a_run_that_is_killed_before_any_other_is_shown() -> None:
    """Where the only run was killed, it is what there is."""
    found = make_history([Run(Path("0"), record(Spec(0, "killed", None, None, False)))])

    assert found.run.folder == Path("0")


ATTEMPTS = msgspec.convert(EXAMPLE["rejected_inserts"], RejectedInserts, strict=False)
UNREAD = [UnreadLog(file="web.log", lines=3)]


def test_rejected_inserts_are_those_of_the_latest_run_that_read_a_log() -> None:
    """A look before the fix read the log, the fix did not, a later look could not read it: the first one's count."""
    first, fix, last = (record(Spec(n, "succeeded", 12, 0 if n == 1 else None, n == 1)) for n in range(3))
    first = msgspec.structs.replace(first, rejected_inserts=ATTEMPTS)
    last = msgspec.structs.replace(last, unread_logs=UNREAD)
    found = make_history([Run(Path(str(n)), each) for n, each in enumerate((first, fix, last))]).run.record

    assert (found.rejected_inserts, found.unread_logs) == (ATTEMPTS, [])


def test_a_log_that_no_run_could_read_is_named() -> None:
    """Where no run read a log, the logs that were not read are those of the latest run that was given one."""
    fix, last = (record(Spec(n, "succeeded", 12, 0 if n == 0 else None, n == 0)) for n in range(2))
    last = msgspec.structs.replace(last, unread_logs=UNREAD)
    found = make_history([Run(Path("0"), fix), Run(Path("1"), last)]).run.record

    assert (found.rejected_inserts, found.unread_logs) == (None, UNREAD)


def provider_run(number: int, *, applied: bool, blocked: int = 0) -> Run:
    """A run of `provider` after a fix: it applied it, or it only looked."""
    status, after = ("succeeded", 0) if applied else ("dry-run", None)
    spec = Spec(number, status, blocked, after, applied, not blocked, change="provider", conflicts=0 if applied else 65)
    return Run(Path(str(number)), record(spec))


FIX = Run(Path("0"), record(Spec(0, "succeeded", 12, 0, True, True)))


def test_a_run_of_provider_replaces_nothing_of_the_fix() -> None:
    """Before, after, steps and end of the fix stay those of its own runs; the second chapter has the other's."""
    alone, both = make_history([FIX]), make_history([FIX, provider_run(1, applied=True)])

    assert (both.run, both.earlier, both.later, both.latest) == (alone.run, (), (), alone.latest)
    assert both.following.run.record.incident_ended_at == ended_at(Spec(1, "succeeded", 0, 0, True))


def test_a_run_of_provider_that_finds_the_fix_gone_is_a_look() -> None:
    """Where the original index is back, the families that it blocks are in the first chapter, too."""
    found = make_history([FIX, provider_run(1, applied=False, blocked=7)])

    assert found.run.record.counts.after.blocked.chat == 7
    assert found.run.record.incident_ended_at == FIX.record.incident_ended_at


def test_a_look_of_the_fix_is_after_provider() -> None:
    """A later run of `purpose` has the latest snapshot of both chapters, and verifies nothing of `provider`."""
    second = provider_run(1, applied=True)
    record_of_second = msgspec.structs.replace(second.record, verified=True)
    look = record(Spec(2, "dry-run", 0, None, False, True, conflicts=3))
    look = msgspec.structs.replace(look, verified=False)
    found = make_history([FIX, Run(second.folder, record_of_second), Run(Path("2"), look)])

    assert found.following.run.record.counts.after.residual_conflicts == 3
    assert (found.following.run.record.verified, found.following.latest.folder.name) == (True, "2")
    assert found.latest.folder.name == "2"


def test_only_runs_of_provider_tell_of_no_fix() -> None:
    """Where the fix was applied otherwise, the incident is what a run of `provider` saw, and not what it did."""
    found = make_history([provider_run(0, applied=True)])

    assert (found.is_fixed, found.run.record.incident_ended_at, found.run.record.steps) == (False, None, [])
    assert found.following.is_fixed
