"""What the numbers mean, in every form of the report: HTML, Markdown, PDF, notebook."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from incident_lib.notebook.display import Shown, show_section
from incident_lib.report.render import render_html, render_markdown, write_report
from tests.support.reports import EXAMPLE, NO_AFTER, Page, empty_pictures, end, read, run_folder, squeezed, wiki

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


@pytest.fixture(params=[html, markdown, pdf, notebook], ids=lambda form: form.__name__)
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
