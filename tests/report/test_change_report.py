"""The report of a change of another table, of records that succeeded, failed, were killed or were rolled back."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from incident_lib.cli import cli
from incident_lib.model import (
    ChangeDefinition,
    ChangeRecord,
    Check,
    ErrorMessage,
    IndexDefinition,
    Indexes,
    IndexKind,
    IndexState,
    Interrupted,
    Refused,
    RunStatus,
    Status,
    StepResult,
    UsageError,
)
from incident_lib.records import recording_change
from incident_lib.report import read_change_report, write_report
from tests.support import shop

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
RAW = "0f0e0d0c-0b0a-4908-8706-050403020100"
OLD = IndexDefinition(name=shop.INDEX, kind=IndexKind.ORIGINAL, definition="… (slug)", flags="valid")
NEW = IndexDefinition(name=shop.INDEX, kind=IndexKind.FIXED, definition="… (tenant_id, slug)", flags="valid")
GOOD = Check("definition", Status.PASS, "it is")


def indexes(index: IndexDefinition) -> Indexes:
    """One unique index."""
    return Indexes(state=IndexState.ORIGINAL if index is OLD else IndexState.FIXED, definitions=[index])


def step(name: str, minutes: int = 0, outcome: str = "done") -> StepResult:
    """A step of half a second."""
    at = START + timedelta(minutes=minutes)
    return StepResult(name=name, sql=(f"{name.upper()} something",), seconds=0.5, outcome=outcome, started_at=at)


def record(minutes: int = 0, **values: Any) -> ChangeRecord:
    """The record of an `apply` that begins so many minutes after the first one."""
    begun = ChangeRecord(
        schema_version=2,
        environment="shop",
        change=ChangeDefinition.of(shop.CHANGE),
        target=IndexKind.FIXED,
        status=RunStatus.RUNNING,
        started_at=START + timedelta(minutes=minutes),
        finished_at=None,
        versions={"incident-lib": "1.2.3"},
        server_version=180004,
        rows=1234,
        before=indexes(OLD),
        preflight=[Check("pooler", Status.PASS, "none"), Check("triggers", Status.WARN, "one fires", "Read it.")],
        steps=[],
        ended_at=None,
        after=None,
        verification=None,
        error=None,
    )
    return msgspec.structs.replace(begun, **values)


def applied(minutes: int = 0, **values: Any) -> None:
    """Write the record of an `apply` that ended as it should."""
    with recording_change(record(minutes, **values)) as file:
        steps = [step(name, minutes) for name in ("build", "swap", "drop")]
        ended = START + timedelta(minutes=minutes, seconds=2)
        file.set(steps=steps, ended_at=ended, after=indexes(NEW), verification=[GOOD])


def rolled_back(minutes: int) -> None:
    """Write the record of a `rollback` that ended as it should."""
    with recording_change(record(minutes, target=IndexKind.ORIGINAL, before=indexes(NEW))) as file:
        ended = START + timedelta(minutes=minutes, seconds=2)
        file.set(steps=[step("build", minutes)], ended_at=ended, after=indexes(OLD), verification=[GOOD])


def stopped(minutes: int, error: Exception) -> None:
    """Write the record of an `apply` that an error stopped after its first step."""
    with suppress(type(error)), recording_change(record(minutes)) as file:
        file.set(steps=[step("build", minutes, "failed")])
        raise error


def killed(minutes: int) -> None:
    """Write the record of an `apply` that was killed in its first step: nothing writes its end."""
    recording_change(record(minutes)).__enter__()


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of its own."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def page(folder: Path) -> str:
    """The report as Markdown."""
    write_report(read_change_report("shop", shop.CHANGE), folder / "change.html")
    return (folder / "change.md").read_text("utf-8")


def test_an_applied_change(tmp_path: Path) -> None:
    """The title is the finding; the index before and after, each step with its time, what the preflight warned of."""
    applied()
    found, text = read_change_report("shop", shop.CHANGE), page(tmp_path)

    assert found.title == "shop.products: products_slug_key has the key (tenant_id, slug) since 2026-01-02 03:04 UTC"
    assert [section.name for section in found.sections] == ["change", "before", "steps", "after", "not-shown"]
    assert [(card.label, card.number) for card in found.cards] == [
        *(("Status", "applied"), ("Steps", "3"), ("Duration of the steps", "1.5 s"), ("Rows in the index", "1,234")),
    ]
    assert "| build | 2026-01-02 03:04:05.678 | 0.500 | done |" in text
    assert "| triggers | warn | one fires. Action: Read it. |" in text
    assert "rejects no insert any more since 2026-01-02 03:04:07.678 UTC." in text


def test_a_change_that_was_interrupted_and_run_again_is_one_change() -> None:
    """The index before is that of the first command; the steps are those of all of them; the last one's end counts."""
    killed(0)
    stopped(1, Interrupted("It was interrupted.", "Ctrl-C.", "Run it again."))
    applied(2, before=indexes(NEW))
    found = read_change_report("shop", shop.CHANGE)

    assert [attempt.status for attempt in found.attempts] == ["running", "failed", "succeeded"]
    assert found.attempts[0].before == indexes(OLD)
    assert [each.name for each in found.steps] == ["build", "build", "swap", "drop"]
    assert found.status == "applied"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Refused("No.", "Why.", "Next."), "refused"), (Interrupted("It stopped.", "Why.", "Next."), "failed")],
)
def test_a_change_that_was_stopped(error: Exception, status: str, tmp_path: Path) -> None:
    """The title claims no key; what stopped it, why, and what follows are said."""
    stopped(0, error)

    assert read_change_report("shop", shop.CHANGE).title == f"shop.products: products_slug_key: the change is {status}"
    text = page(tmp_path)
    assert f"> {error.args[0]} Why. Next." in text
    assert "The indexes were not read after the steps." in text


def test_a_change_that_was_killed(tmp_path: Path) -> None:
    """Of a command that wrote no end, no end is claimed."""
    killed(0)

    assert read_change_report("shop", shop.CHANGE).title.endswith("the change is not finished")
    assert "| Ended (UTC) | not known: the command did not end |" in page(tmp_path)


def test_a_verification_that_fails_is_no_success() -> None:
    """Where another index is enforced at the end, too, the change is not called applied."""
    applied()
    with recording_change(record(1)) as file:
        file.set(after=indexes(NEW), verification=[Check("other indexes", Status.FAIL, "another index is there")])

    assert read_change_report("shop", shop.CHANGE).status == "not verified"


def test_a_rollback_is_told_with_the_change_before_it(tmp_path: Path) -> None:
    """After a rollback the title has the old key, and the change before it is a row under Earlier."""
    applied()
    rolled_back(5)
    found = read_change_report("shop", shop.CHANGE)

    assert found.title == "shop.products: products_slug_key again has the key (slug) since 2026-01-02 03:09 UTC"
    assert found.status == "rolled back"
    assert "| 2026-01-02 03:04:05.678 | apply | succeeded | 3 |" in page(tmp_path)
    assert "The index after the change rejects no insert any more since" in page(tmp_path)
    assert "The index before the change rejects no insert" not in page(tmp_path)


def test_no_id_is_in_the_record_or_the_report(runs: Path, tmp_path: Path) -> None:
    """Ids within definitions, findings and errors are pseudonyms in the file, and no report has them."""
    definition = msgspec.structs.replace(OLD, definition=f"… (slug) WHERE (tenant = '{RAW}'::uuid)")
    finding = Check("rows in the way", Status.WARN, f"the key {RAW}")
    applied(before=indexes(definition), preflight=[finding])
    stopped(1, Interrupted(f"The key {RAW}.", "Why.", "Next."))
    files = [file.read_text("utf-8") for file in runs.glob("shop/change-*.json")]

    assert (len(files), [text for text in files if RAW in text]) == (2, [])
    assert RAW not in page(tmp_path) + (tmp_path / "change.html").read_text("utf-8")


def test_another_name_of_the_file_is_the_same_change() -> None:
    """The change is found by what it is: the file may have had another name; another key is another change."""
    applied(change=msgspec.structs.replace(ChangeDefinition.of(shop.CHANGE), name="/somewhere/else.toml"))
    assert read_change_report("shop", shop.CHANGE).status == "applied"
    with pytest.raises(UsageError) as none:
        read_change_report("shop", shop.CONSTRAINT)
    assert none.value.what == "No command has made the change tenant.toml in 'shop'."
    assert none.value.next == "Read first: incident plan --env shop --change tenant.toml"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--env", "shop", "--change", "provider"), "The change provider has no report of its own."),
        (("--change", "tenant.toml"), "The report of a change is about one environment."),
        (("-e", "shop", "-e", "away", "--change", "tenant.toml"), "The report of a change is about one environment."),
    ],
)
def test_what_has_no_such_report(
    words: tuple[str, ...], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incident's own changes are in its report, and the report of a change is about one environment."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tenant.toml").write_text(shop.FILE, "utf-8")
    ran = CliRunner().invoke(cli, ["report", *words], standalone_mode=False)

    assert isinstance(ran.exception, UsageError)
    assert ran.exception.what == what


def test_what_stopped_it_is_in_the_record() -> None:
    """The record has the error as the command printed it."""
    stopped(0, Refused("No.", "Why.", "Next."))
    (attempt,) = read_change_report("shop", shop.CHANGE).attempts

    assert attempt.error == ErrorMessage(what="No.", why="Why.", next="Next.")
