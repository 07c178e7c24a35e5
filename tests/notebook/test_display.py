"""The report's sections in a notebook: all of them, with the content of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from incident_lib import paths
from incident_lib.model import PLAN_OWNER
from incident_lib.notebook.display import show, show_section
from incident_lib.report import charts
from tests.support.reports import EXAMPLE, Page, blocker_count, page, read, run_folder, run_without_snapshot, wiki

if TYPE_CHECKING:
    from pathlib import Path

KIND = EXAMPLE["blocked_by"][0]


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The objects that a notebook displays."""
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", lambda it, **_: shown.append(it))
    return shown


def forms(shown: list[Any], kind: str) -> list[str]:
    """What was displayed in one form, such as `text/markdown`, in order; of HTML not that of charts."""
    bundles = [it._repr_mimebundle_()[0] for it in shown]
    return [str(each[kind]) for each in bundles if kind in each and (kind != "text/html" or "image/png" not in each)]


@pytest.mark.parametrize("name", [section.name for section in read(paths.EXAMPLE_RUN).sections])
def test_a_notebook_shows_every_section(displayed: list[Any], name: str) -> None:
    """Each section of a successful run can be displayed."""
    show_section(read(paths.EXAMPLE_RUN), name)

    assert displayed


@pytest.mark.parametrize("name", [section.name for section in read(paths.EXAMPLE_RUN).sections])
def test_each_section_has_a_text(displayed: list[Any], name: str) -> None:
    """The text of what is displayed is its content, which a diff can compare: no name of an object, no markup."""
    show_section(read(paths.EXAMPLE_RUN), name)
    texts = forms(displayed, "text/plain")

    assert len(texts) == len(displayed)
    assert [text for text in texts if not text.strip() or " object>" in text or "</" in text] == []


def test_a_notebook_shows_a_run_without_a_snapshot(displayed: list[Any], tmp_path: Path) -> None:
    """Each section of a run without a snapshot can be displayed."""
    post = read(run_without_snapshot(tmp_path))
    for section in post.sections:
        show_section(post, section.name)

    assert any("FAILED" in text for text in forms(displayed, "text/html"))


def test_a_notebook_has_the_cells_of_the_page(displayed: list[Any]) -> None:
    """The displayed sections have the cells of the page, in the same order."""
    post = read(paths.EXAMPLE_RUN)
    for section in post.sections:
        show_section(post, section.name)
    html = "".join(forms(displayed, "text/html"))

    assert Page(html).cells == page(paths.EXAMPLE_RUN).cells


def test_a_notebook_shows_markup_as_text(displayed: list[Any], tmp_path: Path) -> None:
    """Markup in a record or in notes is shown as text and makes no element."""
    bad = "<img src=x onerror=alert(1)>"
    (tmp_path / "notes.md").write_text(f"## Summary\n\n{bad} ![x](http://e/x.png)\n", "utf-8")
    post = read(run_folder(tmp_path, {"unknown": [bad], "probes": [bad], "retries": bad}), notes=tmp_path / "notes.md")
    for section in post.sections:
        show_section(post, section.name)
    made = [wiki(text) for text in forms(displayed, "text/markdown")]
    made += [Page(text) for text in forms(displayed, "text/html")]

    assert sum(found.text.count(bad) for found in made) == 4
    assert [image for found in made for image in found.of("img")] == []


def test_a_notebook_shows_no_raw_id(displayed: list[Any], tmp_path: Path) -> None:
    """Raw ids in a record or in notes are hidden; published ones are not."""
    raw = "5b0c1a52-7a0e-4dd9-8a11-3c6f1e0d9b77"
    (tmp_path / "notes.md").write_text(f"## Summary\n\n{raw} and {PLAN_OWNER}\n", "utf-8")
    folder = run_folder(tmp_path, {"environment": raw, "unknown": [raw], "blocked_by": [{**KIND, "provider": raw}]})
    post = read(folder, notes=tmp_path / "notes.md")
    for section in post.sections:
        show_section(post, section.name)
    shown_texts = [text for kind in ("text/plain", "text/html", "text/markdown") for text in forms(displayed, kind)]

    assert [text for text in shown_texts if raw in text] == []
    assert any(str(PLAN_OWNER) in text for text in shown_texts)


def test_a_notebook_shows_the_markup_of_a_caption_as_text(displayed: list[Any]) -> None:
    """Markup in a name that stands in the caption of a chart, since its font lacks it, is shown as text."""
    show(charts.blockers([blocker_count("chat", 7, "run", "会 *a* <b>c</b>")]))
    shown, _ = displayed[-1]._repr_mimebundle_()

    assert shown["text/html"].endswith("Provider 1: 会 *a* &lt;b&gt;c&lt;/b&gt;.</em></p>")
    assert shown["text/plain"].endswith("Provider 1: 会 *a* <b>c</b>.")
