"""The second chapter of a report: `provider` in one environment and in several, applied, planned, refused, gone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import msgspec
import pytest

from incident_lib.model import PROVIDER, ChangeDefinition
from tests.support.reports import EXAMPLE, NO_AFTER, OWNERLESS, end, read, rendered, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.reports import Contents

APPLIED_AT = "2099-01-02T03:04:05Z"
FINER: Contents = {
    "state": "fixed",
    "definitions": [
        {"name": "idx", "kind": "finer", "definition": "… (root, owner, provider, purpose)", "flags": "valid"}
    ],
}
FIXED: Contents = {
    "state": "fixed",
    "definitions": [{"name": "idx", "kind": "fixed", "definition": "… (root, owner, purpose)", "flags": "valid"}],
}


def counts(conflicts: int, shared: int = 0) -> Contents:
    """The counts of a snapshot after the fix."""
    made = copy.deepcopy(EXAMPLE["counts"]["after"])
    return {**made, "residual_conflicts": conflicts, "duplicate_keys": {"original": 269, "fixed": shared}}


def provider_run(folder: Path, environment: str = "demo", *, shared: int = 0, **changes: object) -> Path:
    """The folder of a run that applied `provider`: 65 threads blocked another provider before, none after."""
    contents: Contents = {
        "environment": environment,
        "change": msgspec.to_builtins(ChangeDefinition.of(PROVIDER)),
        "started_at": "2099-01-02T03:00:00Z",
        "indexes": {"before": FIXED, "after": FINER},
        "counts": {"before": counts(65), "after": counts(0, shared)},
        "incident_ended_at": APPLIED_AT,
        "verdict": "No thread blocks another provider.",
        "unknown": ["What clients send."],
        **changes,
    }
    return run_folder(folder, contents, f"{environment}-provider")


def fix(folder: Path, environment: str = "demo") -> Path:
    """The folder of a run like the example's, which applied the fix."""
    return run_folder(folder, {"environment": environment}, f"{environment}-fix")


NOT_APPLIED: Contents = {
    **NO_AFTER,
    "indexes": {"before": FIXED, "after": None},
    "counts": {"before": counts(65), "after": None},
}


def test_the_title_and_the_facts(tmp_path: Path) -> None:
    """The title says both; a fact says since when `provider` is applied, and what it ended."""
    post = read(fix(tmp_path), provider_run(tmp_path))

    assert post.title.endswith("; 0 conflicts by provider since 2099-01-02 03:04 UTC")
    assert (
        dict(post.facts)["Second change"] == "provider: applied since 2099-01-02 03:04 UTC; 65 conflicts before, 0 now"
    )


def test_without_such_a_run_there_is_no_second_chapter(tmp_path: Path) -> None:
    """A report over the fix alone has neither the section nor the fact."""
    post = read(fix(tmp_path))

    assert "provider" not in [section.name for section in post.sections]
    assert "Second change" not in dict(post.facts)


@pytest.mark.parametrize(
    ("shared", "sentence"),
    [
        (0, "A rollback of provider is still possible: no two active threads share a key of the old index."),
        (1, "A rollback of provider is not possible: several active threads share 1 key of the old index."),
    ],
)
def test_the_way_back(shared: int, sentence: str, tmp_path: Path) -> None:
    """Whether it can be rolled back is the latest snapshot's count of the keys that the old index could not hold."""
    assert (
        sentence
        in rendered(fix(tmp_path), provider_run(tmp_path, shared=shared)).sections["The second change: provider"].text
    )


def test_what_remains_is_what_the_second_change_leaves(tmp_path: Path) -> None:
    """Once it is applied, no conflict is proposed to be decided, and what is unknown is what its run did not see."""
    page = rendered(fix(tmp_path), provider_run(tmp_path))

    assert "No provider conflict remains" in page.sections["What remains"].text + str(page.elements)
    assert "Decide whether provider belongs" not in page.sections["Action items"].text
    assert "Apply the change provider: demo" in page.sections["Action items"].text
    assert "What clients send." in page.sections["What is hidden or unknown"].text


@pytest.mark.parametrize(("how", "said"), [("dry-run", "dry run"), ("refused", "refused"), ("failed", "FAILED")])
def test_a_run_that_did_not_apply_it(how: str, said: str, tmp_path: Path) -> None:
    """The title claims nothing of it; the fact and the chapter say how the run ended, and what it counted."""
    post = read(fix(tmp_path), provider_run(tmp_path, **{**NOT_APPLIED, **end(how)}))

    assert "conflicts by provider since" not in post.title
    assert dict(post.facts)["Second change"] == f"provider: not applied: {said}"
    assert post.chapters[0].following.conflicts == 65


def test_a_look_that_finds_it_gone(tmp_path: Path) -> None:
    """A later look with the purpose index says that it is not there any more, and no time since when it is."""
    look = {**NOT_APPLIED, **end("dry-run"), "environment": "demo", "started_at": "2099-01-03T00:00:00Z"}
    post = read(fix(tmp_path), provider_run(tmp_path), run_folder(tmp_path, look, "look"))

    assert dict(post.facts)["Second change"] == "provider: not applied: not any more"
    assert "still conflict by provider" in post.title
    assert OWNERLESS > 0


def test_several_environments(tmp_path: Path) -> None:
    """Over several environments each has its part; the title has both causes only where all have both changes."""
    one = [fix(tmp_path, "one"), provider_run(tmp_path, "one")]
    two = [fix(tmp_path, "two"), provider_run(tmp_path, "two")]
    both, half = read(*one, *two), read(*one, two[0])

    assert both.title.endswith("fixed in 2 of 2; 0 conflicts by provider")
    assert half.title.endswith("threads still conflict by provider")
    parts = [block.title for block in both.section("provider").blocks[1:]]
    assert parts == ["one", "two"]
    assert dict(half.facts)["Second change"].startswith("one: provider: applied since")


@pytest.mark.parametrize(("ended", "threads"), [(1, "1 active thread was"), (1510, "1,510 active threads were")])
def test_the_threads_that_the_demo_ended_are_an_event(ended: int, threads: str, tmp_path: Path) -> None:
    """What the run ended before the change is a row of the timeline, at its time, before the change is applied."""
    settled = {"at": "2099-01-02T03:00:01Z", "ended": ended}
    page = rendered(fix(tmp_path), provider_run(tmp_path, settled=settled)).sections["Timeline"]
    rows = [row for row in page.tables[0] if "newest" in row[1]]

    assert rows == [
        [
            "2099-01-02 03:00",
            f"{threads} ended so that the change provider can be applied: of several with the same key, the newest "
            "stayed active.",
        ]
    ]


def test_threads_that_nothing_ended_are_no_event(tmp_path: Path) -> None:
    """Where the run ended no thread, or people ended them by their own SQL, the timeline claims nothing of it."""
    page = rendered(fix(tmp_path), provider_run(tmp_path))

    assert "newest stayed active" not in page.sections["Timeline"].text


def test_its_runs_are_in_the_appendix(tmp_path: Path) -> None:
    """The runs that the report is made of are those of both chapters."""
    page = rendered(fix(tmp_path), provider_run(tmp_path))
    rows = [row[1] for row in page.sections["Appendix: runs and queries"].tables[0][1:]]

    assert rows == ["demo-fix", "demo-provider"]
