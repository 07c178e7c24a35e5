"""Histories of runs: what was before the fix, what came since, and when the incident ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.model import BeforeAfter, RunRecord, RunStatus
from incident_lib.records import Run, make_history
from incident_lib.records.run_folder import new_record
from tests.support.reports import EXAMPLE

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = msgspec.convert(EXAMPLE, RunRecord, strict=False).counts.before


class Spec(NamedTuple):
    """A run as the oracle knows it: its number, how it ended, families blocked before and after, whether it fixed."""

    number: int
    status: str
    before: int | None
    after: int | None
    fixes: bool


def counts(blocked: int | None) -> object:
    """Counts in which so many families are blocked for chat."""
    if blocked is None:
        return None
    return msgspec.structs.replace(COUNTS, blocked=msgspec.structs.replace(COUNTS.blocked, chat=blocked))


def record(spec: Spec) -> RunRecord:
    """The record of a run, an hour after the one before."""
    at = START + timedelta(hours=spec.number)
    killed = spec.status == "killed"
    return msgspec.structs.replace(
        new_record("prod", "a test"),
        status=RunStatus.RUNNING if killed else RunStatus(spec.status),
        started_at=at,
        heartbeat_at=at,
        finished_at=None if killed else at + timedelta(minutes=1),
        counts=BeforeAfter(before=counts(spec.before), after=counts(spec.after)),
        snapshot_at=BeforeAfter(before=at, after=at if spec.after is not None else None),
        incident_ended_at=at + timedelta(seconds=30) if spec.fixes else None,
        verdict=f"run {spec.number}",
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Spec]:
    """Runs in order: looks, applies, failures before and after a snapshot, rollbacks by hand, kills."""
    fixed, found = False, []
    for number in range(draw(st.integers(1, 7))):
        if draw(st.booleans()) and fixed and draw(st.booleans()):
            fixed = False  # rolled back by hand: no run recorded that
        blocked = 0 if fixed else 10 + number
        kind = draw(st.sampled_from(["look", "apply", "fails early", "fails late", "killed", "refused"]))
        fixes = kind == "apply" and not fixed
        status = {"look": "dry-run", "apply": "succeeded", "killed": "killed", "refused": "refused"}.get(kind, "failed")
        before = None if kind == "fails early" else blocked
        after = 0 if kind == "apply" else None
        fixed = fixed or fixes
        found.append(Spec(number, status, before, after, fixes))
    return found


def oracle(specs: list[Spec]) -> tuple[int | None, int | None, int | None, list[int]]:
    """Blocked before, blocked after, the number of the run that is told, and those of the later ones."""
    finished = [spec for spec in specs if spec.status != "killed"]
    seen = [spec for spec in finished if spec.before is not None]
    fix = next((spec for spec in seen if spec.fixes), None)
    told = fix or (seen or finished or specs)[-1]
    later = [spec.number for spec in finished if spec.number > told.number]
    latest = [spec for spec in seen if spec.number >= told.number][-1] if fix else told
    after = told.after if latest is told else latest.before if latest.after is None else latest.after
    return told.before, after, told.number, later


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
    ) == oracle(specs)


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
