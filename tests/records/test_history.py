"""Histories of runs: what was before the fix, what came since, and when the incident ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.model import (
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
        fixed: whether the fixed index was enforced at its end.
        recorded: whether it feeds reports.
    """

    number: int
    status: str
    before: int | None
    after: int | None
    fixes: bool
    fixed: bool = False
    recorded: bool = True


def counts(blocked: int | None) -> object:
    """Counts in which so many families are blocked for chat."""
    if blocked is None:
        return None
    return msgspec.structs.replace(COUNTS, blocked=msgspec.structs.replace(COUNTS.blocked, chat=blocked))


def ended_at(spec: Spec) -> datetime:
    """When a run that fixes ended the incident."""
    return START + timedelta(hours=spec.number, seconds=30)


def record(spec: Spec, environment: str = "prod") -> RunRecord:
    """The record of a run, an hour after the one before."""
    at = START + timedelta(hours=spec.number)
    killed = spec.status == "killed"
    states = [IndexState.FIXED if spec.fixed and not spec.fixes else IndexState.ORIGINAL, IndexState.FIXED]
    before, after = (Indexes(state=state, definitions=[]) for state in states)
    return msgspec.structs.replace(
        new_record(environment, "a test", recorded=spec.recorded),
        status=RunStatus.RUNNING if killed else RunStatus(spec.status),
        started_at=at,
        heartbeat_at=at,
        finished_at=None if killed else at + timedelta(minutes=1),
        counts=BeforeAfter(before=counts(spec.before), after=counts(spec.after)),
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
    """Runs in order: looks, applies, re-applies, rollbacks by hand, failures and kills at any time, unrecorded ones."""
    fixed, found = False, []
    for number in range(draw(st.integers(1, 7))):
        if draw(st.booleans()) and fixed and draw(st.booleans()):
            fixed = False  # rolled back by hand: no run recorded that
        blocked = 0 if fixed else 10 + number
        kind = draw(st.sampled_from([*KINDS]))
        fixes = kind in {"apply", "killed after the fix", "fails after the fix"} and not fixed
        fixed = fixed or fixes
        before, after = None if kind == "fails early" else blocked, 0 if kind == "apply" else None
        found.append(Spec(number, KINDS[kind], before, after, fixes, fixed, draw(st.integers(0, 5)) > 0))
    return found


class Expected(NamedTuple):
    """What a report must tell: blocked before and after, the number of the run that is told, and of the later ones."""

    before: int | None
    after: int | None
    told: int
    later: list[int]
    fix: Spec | None


def oracle(specs: list[Spec]) -> Expected:
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
