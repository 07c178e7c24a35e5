"""Two changes one after the other, each in a run of its own: one report with two chapters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from incident_lib.analysis import settle
from incident_lib.database import demo
from incident_lib.migration import apply
from incident_lib.model import PROVIDER, IndexKind, Refused, UsageError
from incident_lib.notebook.begin import begin
from incident_lib.records import RunFolder
from incident_lib.report import read_runs
from incident_lib.runs.fleet import run_fleet
from tests.support.command import shell
from tests.support.reports import UNWRITTEN

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"


@dataclass
class Both:
    """Two runs of the demo: the fix, then `provider`; what the second one printed, and the report over both."""

    answer: dict[str, Any]
    markdown: str
    records: list[dict[str, Any]]  # the earlier first


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The fix of the demo, made as the notebook makes it, and `incident run --change provider`."""
    runs = tmp_path_factory.mktemp("runs")
    demo.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCIDENT_RUNS", str(runs))
        first = changed("purpose", "demo").read()
    second = shell("run", "--env", "demo", "--change", "provider", "--format", "json", INCIDENT_RUNS=str(runs))
    assert (first.status, second.returncode) == ("succeeded", 0), second.stderr
    records = [json.loads(file.read_text("utf-8")) for file in sorted(runs.glob("demo/*/record.json"))]
    return Both(json.loads(second.stdout), (runs / "postmortem.md").read_text("utf-8"), records)


def test_a_run_of_the_second_change(both: Both) -> None:
    """The run begins with the fix applied, and ends with the provider in the key; its record names the change."""
    fix, provider = both.records
    assert [each["change"]["name"] for each in both.records] == ["purpose", "provider"]
    assert [index["kind"] for index in provider["indexes"]["before"]["definitions"]] == ["fixed"]
    assert [index["kind"] for index in provider["indexes"]["after"]["definitions"]] == ["finer"]
    assert (provider["verified"], [step["name"] for step in provider["steps"]]) == (True, ["build", "swap", "drop"])
    assert fix["incident_ended_at"] < provider["incident_ended_at"]


def test_the_threads_that_stood_in_the_way(both: Both) -> None:
    """What the demo ended before the change is in its record and in the timeline, between the two changes."""
    fix, provider = both.records
    settled = provider["settled"]
    assert fix["settled"] is None
    assert fix["finished_at"] < settled["at"] < provider["snapshot_at"]["before"]
    active = [fix["counts"]["after"]["active_threads"], provider["counts"]["before"]["active_threads"]]
    assert active[0] - active[1] == settled["ended"] > 0
    assert f"| {settled['ended']:,} active threads were ended so that the change provider can be" in both.markdown


def test_the_clients_are_rejected_before_and_admitted_after(both: Both) -> None:
    """The probe sends a run of another provider: rejected before the steps, admitted after them."""
    assert both.records[1]["probes"] == [
        "before the steps: another provider beside a run: 0 of 5 admitted, 5 rejected",
        "after the steps: another provider beside a run: 5 of 5 admitted, 0 rejected",
    ]


def test_what_the_command_answers(both: Both) -> None:
    """The answer is about providers: the conflicts before and after, and the verdict of this change."""
    (ran,) = both.answer["result"]["runs"]
    before = both.records[1]["counts"]["before"]["residual_conflicts"]
    assert before > 0
    assert [ran[key] for key in ("change", "conflicts_before", "conflicts_after")] == ["provider", before, 0]
    assert both.answer["answer"] == (
        "demo: No thread blocks another provider. The change provider has been applied. Nothing is left to apply. "
        "The run succeeded."
    )


def test_the_headline_has_both_changes(both: Both) -> None:
    """The title says what there is of both causes, and since when."""
    title = both.markdown.splitlines()[0]
    assert re.fullmatch(
        rf"# 1,088 families were blocked for chat; 0 blocked by purpose since {TIME}; "
        rf"0 conflicts by provider since {TIME}",
        title,
    )


def test_the_first_chapter_stays(both: Both) -> None:
    """What the fix's run counted before and after it is what the report has of the fix."""
    before, after = (both.records[0]["counts"][half]["blocked"]["chat"] for half in ("before", "after"))
    assert f"| blocked for chat | {before:,} | {after:,} |" in both.markdown
    assert re.search(r"\| The fix was applied in [^|]+: build, swap, drop\. \|", both.markdown)


def test_the_second_chapter(both: Both) -> None:
    """It has the conflicts before and after, the way back, when it ended, and its steps in the timeline."""
    before = both.records[1]["counts"]["before"]["residual_conflicts"]
    chapter = both.markdown.split("## The second change: provider")[1].split("\n## ")[0]
    assert f"| provider conflicts | {before} | 0 |" in chapter
    assert re.search(rf"The index before the change rejects no insert any more since {TIME}\.", chapter)
    assert "A rollback of provider is still possible" in chapter
    assert re.search(r"\| The change provider was applied in [^|]+: build, swap, drop\. \|", both.markdown)


@pytest.fixture
def runs(incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs, and the demo's threads as `staging`."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def changed(change: str, environment: str = "staging", *, snapshot_after: bool = True) -> RunFolder:
    """Make a change as the notebook does; its run."""
    session = begin("02_migrate", environment=environment, confirm=environment, record=True, change=change)
    session.snapshot()
    session.apply()
    session.verify()
    session.retry()  # on the demo alone
    if snapshot_after:
        session.snapshot("after")
    session.finish()
    return session.run


def settled(environment: Environment) -> None:
    """End the threads that stand in the way of `provider`, as a person would."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        settle(connection, PROVIDER, IndexKind.FIXED)


def test_before_the_fix_it_is_refused(runs: Path) -> None:
    """A run of `provider` before the fix is refused, says what comes first, and is no fix in the report."""
    with pytest.raises(Refused) as refused:
        changed("provider")
    assert refused.value.next.startswith("First: `incident apply --env staging --confirm staging`")
    (chapter,) = read_runs([*(runs / "staging").iterdir()], UNWRITTEN).chapters
    assert (chapter.is_fixed, chapter.following.is_applied) == (False, False)


def test_rows_in_the_way_refuse_it(runs: Path, incident: Environment) -> None:
    """With the fix, the eight keys without an owner refuse it; the report's second chapter says that it is refused."""
    changed("purpose")
    with pytest.raises(Refused) as refused:
        changed("provider")
    assert "several active threads share 8 keys of the provider index" in refused.value.why
    (chapter,) = read_runs([*(runs / "staging").iterdir()], UNWRITTEN).chapters
    assert (chapter.is_fixed, chapter.following.is_applied) == (True, False)
    assert chapter.following.conflicts == chapter.latest.residual_conflicts > 0


def test_a_rollback_shows_in_a_later_look(runs: Path, incident: Environment) -> None:
    """After a rollback of `provider` by hand, a later look of the fix shows its conflicts again in both chapters."""
    changed("purpose")
    settled(incident)
    changed("provider")
    post = read_runs([*(runs / "staging").iterdir()], UNWRITTEN)
    assert "; 0 conflicts by provider since" in post.title
    apply(incident, confirm="staging", change=PROVIDER, target=IndexKind.ORIGINAL)
    look = begin("01_investigate", environment="staging", record=True)
    conflicts = look.snapshot().totals.residual_conflicts
    look.finish()
    post = read_runs([*(runs / "staging").iterdir()], UNWRITTEN)
    assert post.title.endswith(
        f"now none is blocked by another purpose; {conflicts} threads still conflict by provider"
    )
    assert (post.chapters[0].following.is_applied, post.chapters[0].following.conflicts) == (False, conflicts)


def test_without_a_run_of_the_fix(runs: Path, incident: Environment) -> None:
    """Where the fix was applied otherwise, the report over a run of `provider` claims no end of the incident."""
    apply(incident, confirm="staging")
    settled(incident)
    run = changed("provider")
    post = read_runs([run.folder], UNWRITTEN)
    assert re.fullmatch(rf"0 blocked by purpose; 0 conflicts by provider since {TIME}", post.title)
    assert dict(post.facts)["When (UTC)"] == "ended before the first snapshot"


def test_a_dry_run_says_what_it_would_take(
    runs: Path, incident: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run of `provider` changes nothing; its verdict names the conflicts and the command."""
    apply(incident, confirm="staging")
    settled(incident)
    session = begin("02_migrate", environment="staging", change="provider")
    before = session.snapshot()
    assert re.fullmatch(
        r"\d+ active threads block another provider\. The change provider has not been applied\. It is safe to apply "
        r"it now\. Next: incident apply --env staging --confirm staging --change provider",
        before.verdict,
    )
    assert str(session.apply()) == "Dry run: nothing was changed. Set confirm to 'staging' to apply the change."
    session.finish()


def test_an_unknown_change(runs: Path) -> None:
    """The notebooks know two changes; another name is an error that lists them."""
    with pytest.raises(UsageError) as unknown:
        begin("02_migrate", environment="staging", change="tenant")
    assert unknown.value.why == (
        "The notebooks know purpose and provider; changes of other tables are made by commands."
    )


def test_a_run_of_another_change(runs: Path) -> None:
    """A notebook of `provider` is no part of a run of the fix."""
    run = RunFolder.create("staging", "incident run")
    with pytest.raises(UsageError) as other:
        begin("02_migrate", environment="staging", run=str(run.folder), change="provider")
    assert other.value.what == f"The run {run.folder.name} does not make the change provider."


def test_resume_asks_for_the_run_of_the_same_change(runs: Path, incident: Environment) -> None:
    """A run of the fix that succeeded is no reason to skip `provider`, and the other way round."""
    changed("purpose")
    settled(incident)
    changed("provider")
    (skipped,) = run_fleet(["staging"], confirm=["staging"], resume=True, change="purpose")
    assert skipped.status == "succeeded before"
    (again,) = run_fleet(["staging"], confirm=["staging"], resume=True, change="provider")
    assert again.status == "succeeded before"
    assert skipped.folder != again.folder
