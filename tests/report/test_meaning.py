"""What the numbers mean, in every form of the report: HTML, Markdown, PDF, notebook."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import to_builtins

from incident_lib.model import HIDDEN_ROWS, Check, Status
from incident_lib.notebook.display import Shown, show_section
from incident_lib.report.render import figures, render_html, render_markdown, write_report
from tests.support import crafted
from tests.support.reports import (
    EXAMPLE,
    NO_AFTER,
    Page,
    empty_pictures,
    end,
    ended_run,
    read,
    run_folder,
    snapshot_counts,
    squeezed,
    wiki,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from incident_lib.report import Postmortem
    from tests.support.reports import Contents


def html(post: Postmortem, _folder: Path) -> str:
    """The text of the page."""
    return Page(render_html(post)).text


def markdown(post: Postmortem, _folder: Path) -> str:
    """The text that a wiki makes of the Markdown."""
    return wiki(render_markdown(post, "pictures")).text


def pdf(post: Postmortem, folder: Path) -> str:
    """The text of the PDF."""
    pytest.importorskip("weasyprint")
    if shutil.which("pdftotext") is None:
        pytest.skip("Poppler is not installed: no `pdftotext`")
    file = write_report(post, folder / "post.html", pdf=True)[-1]
    return subprocess.run(["pdftotext", "-raw", file, "-"], capture_output=True, check=True).stdout.decode()


def notebook(post: Postmortem, _folder: Path) -> str:
    """The text that the notebook displays."""
    import IPython.display

    shown: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:  # without a kernel, what is displayed would be printed
        patch.setattr(IPython.display, "display", lambda it, **_: shown.append(it))
        for section in post.sections:
            show_section(post, section.name)
    return " ".join(Page(it._repr_mimebundle_()[0]["text/html"]).text for it in shown if isinstance(it, Shown))


@pytest.fixture(
    params=[html, markdown, pytest.param(pdf, marks=pytest.mark.slow), notebook], ids=lambda form: form.__name__
)
def text(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Make one form of the report over some folders, and return its text on one line."""

    def made(*folders: Path) -> str:
        with empty_pictures():
            found: str = request.param(read(*folders), tmp_path)
        return squeezed(re.sub(r"-\n", "-", found))

    return made


REJECTED: Contents = {
    **EXAMPLE["rejected_inserts"],
    "failed_attempts": 1206,
    "runs": 216,
    "before_purpose": 93,
    "by_provider": 41,
}


def test_rejected_inserts_that_are_not_the_incidents(tmp_path: Path, text: Callable[..., str]) -> None:
    """The number is that of the incident; what was left out is said, and why."""
    found = text(run_folder(tmp_path, {"rejected_inserts": REJECTED}))

    assert "The server logs hold 1,206 rejected inserts" in found
    assert "Not counted: 93 rejected inserts before the column purpose was added. The purpose cannot have" in found
    assert "Not counted: 41 inserts rejected because of a thread of the same purpose, of another provider." in found
    assert "up to 990 orphaned conversations" in found


def test_a_log_that_was_not_read(tmp_path: Path, text: Callable[..., str]) -> None:
    """A log of which nothing was understood was not read: there is no number of rejected inserts."""
    unread: Any = [{"file": "web.log", "lines": 7}]
    found = text(run_folder(tmp_path, {"rejected_inserts": None, "unread_logs": unread}))

    assert "Rejected inserts are unknown." in found
    assert "The log was not read: no entry of a PostgreSQL server was recognised in web.log (7 lines looked" in found
    assert not re.search(r"\b0 rejected inserts", found)


def test_no_rollback_is_possible_as_of_the_last_snapshot(tmp_path: Path, text: Callable[..., str]) -> None:
    """Users who came back after the fix are in the last snapshot, whichever run took it: no rollback is possible."""
    counts = EXAMPLE["counts"]
    fixed = {"counts": counts | {"after": counts["after"] | {"coexisting_families": 0}}}
    look = {
        **NO_AFTER,
        **end("dry-run"),
        "started_at": "2999-01-01T00:00:00Z",
        "indexes": {"before": EXAMPLE["indexes"]["after"], "after": None},
        "counts": {"before": counts["after"] | {"coexisting_families": 271}, "after": None},
    }
    at_once, later = run_folder(tmp_path, fixed, "1"), run_folder(tmp_path, look, "2")

    assert "A rollback is not possible: 271 families have several active threads." in text(at_once, later)
    assert "A rollback is still possible: no family has several active threads yet." in text(at_once)


def rows_hidden(folder: Path, blocked: int, **changes: Any) -> Path:
    """A dry run by a role from which row level security hides rows, which saw this many blocked families."""
    hidden = Check("row level security", Status.FAIL, "row level security hides rows from this role", "Use the owner.")
    seen = snapshot_counts(blocked, 0, conflicts=0, unguarded=0)
    found: Contents = {
        **NO_AFTER,
        **end("dry-run"),
        **dict.fromkeys(("rejected_inserts", "residual", "example")),
        "counts": {"before": to_builtins(seen), "after": None},
        "preflight": [to_builtins(hidden)],
        "blocked_by": [],
        "blocked_since": {"chat": [], "run": []},
        "unknown": [HIDDEN_ROWS],
    }
    return run_folder(folder, {**found, **changes}, "hidden")


def test_where_rows_are_hidden_no_count_is_zero(tmp_path: Path, text: Callable[..., str]) -> None:
    """A role that sees no blocked family cannot tell that there is none: nothing is 0, and nothing is "none"."""
    found = text(rows_hidden(tmp_path, 0))

    assert "It cannot be told which families are blocked: row level security hides rows" in found
    assert "No family is blocked" not in found
    assert "No provider conflict remains" not in found
    assert not re.search(r"blocked for chat:? 0\b", found)
    assert "not over" not in found
    assert "not ended" not in found


def test_where_rows_are_hidden_a_count_is_a_minimum(tmp_path: Path, text: Callable[..., str]) -> None:
    """A role that sees some blocked families says that there may be more."""
    post = rows_hidden(tmp_path, 7)

    assert read(post).title == "At least 7 families are blocked for chat: row level security hides rows"
    assert "At least 7 families are blocked for chat, whether or not" in text(post)


def test_a_look_that_sees_no_row_is_no_look_without_blocked_families(tmp_path: Path) -> None:
    """In the timeline, too, a role from which rows are hidden does not find that none is blocked."""
    looks = [rows_hidden(tmp_path / "1", 0), run_folder(tmp_path / "2", {"environment": "demo", **NO_AFTER})]
    found = markdown(read(*looks), tmp_path)

    assert "Looked: it is not known how many families are blocked for chat." in found
    assert "no family is blocked for chat" not in found


def test_a_rollback_where_rows_are_hidden(tmp_path: Path, text: Callable[..., str]) -> None:
    """A role that sees no family with several active threads cannot tell that a rollback is possible."""
    counts = EXAMPLE["counts"] | {"after": EXAMPLE["counts"]["after"] | {"coexisting_families": 0}}
    found = text(run_folder(tmp_path, {"counts": counts, "unknown": [HIDDEN_ROWS]}))

    assert "Whether a rollback is possible is unknown: row level security hides rows." in found
    assert "still possible" not in found


def fixed_and_undone(folder: Path) -> list[Path]:
    """A run that applied the fix, and a later look that found the original index and 900 blocked families."""
    look = {
        **NO_AFTER,
        **end("dry-run"),
        "started_at": "2999-01-01T00:00:00Z",
        "counts": {"before": EXAMPLE["counts"]["before"] | {"blocked": {"chat": 900, "run": 120}}, "after": None},
    }
    return [run_folder(folder, {}, "1"), run_folder(folder, look, "2")]


def test_a_fix_that_is_gone_again(tmp_path: Path, text: Callable[..., str]) -> None:
    """After a rollback nothing says that nothing was applied, or that the original index rejects no insert."""
    runs = fixed_and_undone(tmp_path)
    found = text(*runs)

    assert read(*runs).title == "900 families are blocked for chat again: the fix is not in place any more"
    assert "was applied; the latest snapshot shows that it is not in place any more." in found
    assert "nothing was applied" not in found
    assert "since then the original index rejects no insert" not in found
    assert "does not block the other" not in found


def test_a_fix_that_was_never_applied_has_no_rollback(tmp_path: Path, text: Callable[..., str]) -> None:
    """Where nothing was applied families are blocked, not were; there is no word about a rollback."""
    found = text(ended_run(tmp_path, "dry-run", "prod", **NO_AFTER))

    assert "1,088 families are blocked for chat, whether or not a user has tried to start one." in found
    assert "families were blocked" not in found
    assert "A rollback" not in found


def test_how_many_are_still_blocked_in_several_environments(tmp_path: Path, text: Callable[..., str]) -> None:
    """Of several environments the story says how many families are blocked now, and where that is unknown."""
    runs = [run_folder(tmp_path, {"environment": "dev"}, "dev"), crafted.failed(tmp_path), crafted.refused(tmp_path)]
    unseen = crafted.run_without_snapshot(tmp_path)

    assert "is applied in 1 of 3 environments. 2,176 families are still blocked for chat. A roll" in text(*runs)
    found = text(*runs, unseen)
    assert "2,176 families are still blocked for chat. How many are blocked in unreachable is unknown." in found
    assert "A rollback is not possible in dev." in found


def test_a_run_without_a_snapshot_has_no_numbers(tmp_path: Path, text: Callable[..., str]) -> None:
    """A run that failed before its first snapshot does not speak of numbers from before the failure."""
    found = text(crafted.run_without_snapshot(tmp_path))

    assert "The run ended before its first snapshot. The run FAILED." in found
    assert "numbers below" not in found


def test_what_blocked_families_where_one_of_several_is_fixed(tmp_path: Path) -> None:
    """The chart of blocking threads is from before the fix: of an environment that is fixed, no family is blocked."""
    post = read(run_folder(tmp_path, {"environment": "dev"}, "dev"), crafted.failed(tmp_path))
    (chart,) = (each.chart for each in figures(post.section("impact").blocks) if each.name == "blockers")

    assert "families were blocked for chat by" in chart.title
    assert "of the thread that blocked them before the fix" in chart.caption
