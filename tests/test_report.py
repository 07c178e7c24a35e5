"""The postmortem from records alone: whole, self-contained, honest about how runs ended, and never obeying text."""

from __future__ import annotations

import base64
import copy
import json
import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mistune
import pytest

from incident_lib import paths, report
from incident_lib.errors import Failed, IncidentError, UsageError
from incident_lib.record import Record
from incident_lib.report import Postmortem

Contents = dict[str, Any]
EXAMPLE: Contents = json.loads((paths.EXAMPLE_RUN / "record.json").read_text("utf-8"))
SILENT = "2025-01-01T00:00:00Z"
STATUSES = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing that it had not said.",
    "failed": "The run FAILED. What it saw before that stands below.",
    "killed": "The run was KILLED: it stopped without a word. What it saw before that stands below.",
    "running": "The run has not ended yet.",
}
# Markup of HTML and of Markdown, a cell's end, a code span, an entity, and lines of their own.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> | a`b` &lt;i&gt; **c** [d](http://e)\n\n# f\n- g"


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its text, the texts of its cells."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.style = ""
        self.cells: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; open it, unless it can hold nothing."""
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last: any other is an error in the page."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]


def kept(folder: Path, changes: Contents, name: str = "run") -> Path:
    """The folder of a run like the example, with some keys changed."""
    made = folder / name
    made.mkdir(parents=True)
    (made / "record.json").write_text(json.dumps({**copy.deepcopy(EXAMPLE), **changes}), "utf-8")
    return made


def ended(folder: Path, how: str, environment: str = "staging") -> Path:
    """The folder of a run that ended in some way."""
    silent = {"status": "running", "heartbeat_at": SILENT} if how == "killed" else {"status": how}
    beating = {"heartbeat_at": "2999-01-01T00:00:00Z"} if how == "running" else {}
    return kept(folder, {"environment": environment, **silent, **beating}, environment)


def page(*folders: Path) -> Page:
    """The HTML report over some runs."""
    return Page(report.read(folders).html())


def rendered(*folders: Path) -> Page:
    """The Markdown report over some runs, as a wiki that lets HTML through renders it."""
    markdown = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "url"])
    return Page(str(markdown(report.read(folders).markdown("pictures"))).replace(" />", ">"))


def squeezed(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())


def test_a_page_loads_nothing() -> None:
    """Nothing in the page refers to anything outside of it."""
    found = page(paths.EXAMPLE_RUN)
    references = [
        value or ""
        for _, attributes in found.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "background")
    ]

    assert [value[:40] for value in references if not value.startswith("data:image/svg+xml;base64,")] == []
    assert re.findall(r"url\(|@import|https?:", found.style) == []
    assert found.of("script") + found.of("link") + found.of("iframe") == []


def test_the_pictures_in_a_page_load_nothing() -> None:
    """The charts inside the page refer to nothing outside of them, either."""
    pictures = [
        base64.b64decode(str(image["src"]).partition(",")[2]).decode() for image in page(paths.EXAMPLE_RUN).of("img")
    ]

    assert len(pictures) == 2
    assert [re.findall(r'(?:href|src)="(?!#)|url\((?!#)|<script', picture) for picture in pictures] == [[], []]


def test_a_page_is_well_formed() -> None:
    """Every element of the page is closed, in order."""
    assert page(paths.EXAMPLE_RUN).open == []


def test_a_page_says_its_language_and_title() -> None:
    """The page has a language, a title, and one heading of the first order, which is the finding."""
    found = page(paths.EXAMPLE_RUN)

    assert found.of("html") == [{"lang": "en"}]
    assert len(found.of("h1")) == 1
    assert "Postmortem: 1,088 families could not start a chat; now none is blocked" in found.text


def test_every_picture_has_a_text() -> None:
    """Each chart of the page has a text in its place, with its numbers."""
    assert [image["alt"] for image in page(paths.EXAMPLE_RUN).of("img")] == [
        "1,088 families could not start a chat; now none is blocked. Families blocked for chat: 1,088 before, 0 after. "
        "Families blocked for run: 168 before, 0 after.",
        "What the fix leaves: 65 provider conflicts, 159 unguarded threads. Of 1,408 active threads.",
    ]


def _figures(counts: Contents) -> list[str]:
    plain = ("families", "active_threads", "blocked_families", "affected_owners", "coexisting_families")
    more = ("residual_conflicts", "unguarded_threads")
    return [f"{counts[key]:,}" for key in (*plain, *more)] + [f"{n:,}" for n in counts["blocked"].values()]


@pytest.mark.parametrize("made", [page, rendered])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_count_of_the_record_is_in_the_report(tmp_path: Path, made: Any, moment: str) -> None:
    """Each count of the record stands in a cell of the report."""
    odd = {"families": 2001, "active_threads": 2002, "blocked_families": 2003, "affected_owners": 2004}
    odd |= {"coexisting_families": 2005, "residual_conflicts": 2006, "unguarded_threads": 2007}
    counts = {m: {**c, "blocked": {"chat": 1, "run": 1}} for m, c in EXAMPLE["counts"].items()}
    counts[moment] |= {**odd, "blocked": {"chat": 2008, "run": 2009}}
    cells = {cell.strip() for cell in made(kept(tmp_path, {"counts": counts})).cells}

    assert [figure for figure in _figures(counts[moment]) if figure not in cells] == []


@pytest.mark.parametrize("made", [page, rendered])
def test_every_purpose_is_in_the_report(made: Any) -> None:
    """What stands in the column purpose is shown with its count, whatever it is."""
    text = made(paths.EXAMPLE_RUN).text

    assert [purpose for purpose in ("chat", "eval", "run") if purpose not in text] == []
    assert [number for number in ("161", "1,240") if number not in text] == []


@pytest.mark.parametrize("made", [page, rendered])
def test_a_count_that_is_not_known_is_unknown(tmp_path: Path, made: Any) -> None:
    """A count that no look could tell is unknown in the report, never 0."""
    unread = EXAMPLE["counts"]["before"] | {"blocked": {"chat": None, "run": None}, "blocked_families": None}
    counts = {"before": unread, "after": None}
    cells = [cell.strip() for cell in made(kept(tmp_path, {"counts": counts})).cells]

    assert cells[cells.index("blocked for chat") :][1:3] == ["unknown", "–"]


@pytest.mark.parametrize("made", [page, rendered])
@pytest.mark.parametrize("how", STATUSES)
def test_the_report_says_how_a_run_ended(tmp_path: Path, made: Any, how: str) -> None:
    """How the run ended stands in the report, in a sentence."""
    assert STATUSES[how] in squeezed(made(ended(tmp_path, how)).text)


@pytest.mark.parametrize("how", STATUSES)
def test_what_did_not_end_well_is_marked(tmp_path: Path, how: str) -> None:
    """A run whose numbers are not those of a finished run is marked in the page."""
    marked = [attributes for attributes in page(ended(tmp_path, how)).of("p") if attributes.get("class") == "failed"]

    assert bool(marked) == (how not in ("succeeded", "dry-run"))


@pytest.mark.parametrize("made", [page, rendered])
def test_an_error_is_told_in_full(tmp_path: Path, made: Any) -> None:
    """What stopped a run stands in the report: what, why, and what next."""
    error = Failed("The step `drop` failed.", "PostgreSQL answered SQLSTATE 57014.", "Run it again: it_goes_on.")
    text = made(kept(tmp_path, {"status": "failed", "error": error.as_dict()})).text

    assert "The step `drop` failed. PostgreSQL answered SQLSTATE 57014. Run it again: it_goes_on." in squeezed(text)


NOTHING = {
    "status": "failed",
    "counts": {"before": None, "after": None},
    "guard": {"before": None, "after": None},
    "server_version": None,
    "preflight": None,
    "steps": [],
    "git_commit": None,
    "finished_at": None,
    "error": {"what": "It cannot be reached.", "why": "Nothing listens.", "next": "Start it."},
}


def unseen(folder: Path) -> Path:
    """The folder of a run that failed before it saw anything."""
    made = kept(folder, NOTHING)
    contents = json.loads((made / "record.json").read_text("utf-8"))
    later = ("verdict", "unknown", "plan_family", "probes", "retries", "seen_at", "incident_ended_at", "verified")
    (made / "record.json").write_text(json.dumps({k: v for k, v in contents.items() if k not in later}), "utf-8")
    return made


@pytest.mark.parametrize("made", [page, rendered])
def test_a_run_that_saw_nothing_is_reported(tmp_path: Path, made: Any) -> None:
    """A run that failed before its first look is in the report, with its error."""
    text = squeezed(made(unseen(tmp_path)).text)

    assert "Nothing was seen: the run ended before its first look." in text
    assert "It cannot be reached. Nothing listens. Start it." in text
    assert "Guard before: not seen" in text


def test_a_run_that_saw_nothing_claims_nothing(tmp_path: Path) -> None:
    """A run that saw nothing gives the report no title that could pass for a finding."""
    cells = [cell.strip() for cell in page(unseen(tmp_path)).cells]

    assert cells[cells.index("families") :][1:3] == ["–", "–"]


def test_a_run_that_saw_nothing_has_tables_in_the_notebook(tmp_path: Path) -> None:
    """The notebook's tables of a run that saw nothing can be shown."""
    post = report.read([unseen(tmp_path)])

    assert "not seen" in post.environments().to_html()
    assert "unknown" in post.chapters[0].counts_table().to_html()
    assert "<tbody>" in post.chapters[0].family_table().to_html()
    assert post.chapters[0].left is None


def hostile(folder: Path) -> Path:
    """The folder of a run whose every free text is hostile."""
    definition = {"name": HOSTILE, "kind": "unreadable", "definition": HOSTILE, "flags": "valid"}
    row = {"created_at": "2025-09-22", "purpose": HOSTILE, "provider": HOSTILE, "is_active": True}
    purposes = {m: {**c, "active_by_purpose": {HOSTILE: 7}} for m, c in EXAMPLE["counts"].items()}
    guard = {"state": "unknown", "definitions": [definition]}
    changes = {
        "guard": {"before": guard, "after": guard},
        "counts": purposes,
        "verdict": HOSTILE,
        "unknown": [HOSTILE],
        "probes": [HOSTILE],
        "retries": HOSTILE,
        "plan_family": {"after": {HOSTILE: row}},
        "steps": [{"name": "build", "sql": [HOSTILE], "seconds": 1.0, "outcome": "done"}],
        "error": {"what": HOSTILE, "why": HOSTILE, "next": HOSTILE},
    }
    return kept(folder, changes)


@pytest.mark.parametrize("made", [page, rendered])
def test_hostile_text_is_not_obeyed(tmp_path: Path, made: Any) -> None:
    """Markup in a text makes no element: the report has those of a harmless one."""
    tags = {tag for tag, _ in made(hostile(tmp_path)).elements}
    scripts = [attributes for _, attributes in made(tmp_path / "run").elements if "onerror" in attributes]

    assert tags & {"script", "i", "em", "a"} == set()
    assert scripts == []


@pytest.mark.parametrize("made", [page, rendered])
def test_hostile_text_adds_no_heading(tmp_path: Path, made: Any) -> None:
    """Lines of their own in a text make no heading and no further chapter."""
    headings = [tag for tag, _ in made(hostile(tmp_path)).elements if re.fullmatch(r"h\d", tag)]

    assert headings == [tag for tag, _ in made(paths.EXAMPLE_RUN).elements if re.fullmatch(r"h\d", tag)]


def test_hostile_text_is_shown_in_html(tmp_path: Path) -> None:
    """In the page hostile text is seen as it was written."""
    assert page(hostile(tmp_path)).text.count(HOSTILE) >= 10


def test_hostile_text_is_shown_in_markdown(tmp_path: Path) -> None:
    """In the rendered Markdown hostile text is seen as it was written, on one line."""
    shown = squeezed(HOSTILE).replace("&lt;i&gt;", "<i>")  # an entity is text of no harm there

    assert rendered(hostile(tmp_path)).text.count(shown) >= 8


def test_hostile_text_ends_no_cell(tmp_path: Path) -> None:
    """A pipe in a text adds no cell to a Markdown table."""
    lines = report.read([hostile(tmp_path)]).markdown("pictures").splitlines()
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}

    assert widths == {5, 6}


@pytest.mark.parametrize("made", [page, rendered])
def test_a_hostile_folder_is_not_obeyed(tmp_path: Path, made: Any) -> None:
    """Markup in the name of a run's folder makes no element."""
    folder = kept(tmp_path, {}, "<script>alert(1)<b>")

    assert [tag for tag, _ in made(folder).elements if tag in ("script", "b")] == []


def test_a_hostile_environment_leads_nowhere_else(tmp_path: Path) -> None:
    """A record whose environment is a path, as no run makes it, writes nothing outside the report's own folder."""
    folder = kept(tmp_path, {"environment": "../../outside"})
    out = tmp_path / "reports" / "postmortem.html"
    out.parent.mkdir()
    with suppress(IncidentError):
        report.read([folder]).write(out)

    assert not (tmp_path / "outside.svg").exists()


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    """A report that is written twice is the same bytes, in each of its files."""
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report.read([paths.EXAMPLE_RUN, ended(tmp_path / name, "dry-run")]).write(tmp_path / name / "postmortem.html")
        written = sorted(file for file in (tmp_path / name).rglob("*") if file.suffix in (".html", ".md", ".svg"))
        files.append([(file.name, file.read_bytes()) for file in written])

    assert [name for name, _ in files[0]] == ["demo.svg", "staging.svg", "postmortem.html", "postmortem.md"]
    assert files[0] == files[1]


def test_write_names_its_files(tmp_path: Path) -> None:
    """Writing a report returns the page, the Markdown beside it, and the folder of its charts."""
    written = report.read([paths.EXAMPLE_RUN]).write(tmp_path / "post.html")

    assert written == [tmp_path / "post.html", tmp_path / "post.md", tmp_path / "post"]
    assert [file.name for file in (tmp_path / "post").iterdir()] == ["demo.svg"]


def test_markdown_shows_the_charts_beside_it(tmp_path: Path) -> None:
    """The Markdown's pictures are files of the folder beside it, each with its text."""
    report.read([paths.EXAMPLE_RUN, ended(tmp_path, "dry-run")]).write(tmp_path / "post.html")
    markdown = (tmp_path / "post.md").read_text("utf-8")

    assert re.findall(r"!\[[^\]]{40,}\]\(([^)]*)\)", markdown) == ["post/demo.svg", "post/staging.svg"]
    assert all((tmp_path / name).exists() for name in ("post/demo.svg", "post/staging.svg"))


def test_write_where_nothing_can_be_written_is_a_message(tmp_path: Path) -> None:
    """Where the report cannot be written, an error with a message says so."""
    (tmp_path / "file").touch()
    with pytest.raises(Failed):
        report.read([paths.EXAMPLE_RUN]).write(tmp_path / "file" / "post.html")


@pytest.mark.parametrize("made", [page, rendered])
def test_each_environment_has_a_chapter(tmp_path: Path, made: Any) -> None:
    """The report over several environments has a chapter of each, in their order."""
    folders = [ended(tmp_path, "dry-run", name) for name in ("prod", "eu_west_1", "staging")]
    text = made(*folders).text
    places = [text.index(name) for name in ("prod", "eu_west_1", "staging")]

    assert places == sorted(places)
    assert text.count("This was a dry run: it changed nothing.") == 3


def test_chapters_have_ids_of_their_own(tmp_path: Path) -> None:
    """No two elements of a page share an id, also where two runs are of one environment."""
    one, two = (kept(tmp_path, {}, name) for name in ("one", "two"))
    ids = [attributes["id"] for _, attributes in page(one, two).elements if "id" in attributes]

    assert len(ids) == len(set(ids))


def test_two_runs_of_one_environment_have_two_charts(tmp_path: Path) -> None:
    """Two runs of one environment have a chart of their own each in the Markdown."""
    one = kept(tmp_path, {}, "one")
    two = kept(tmp_path, {"status": "dry-run", "counts": {**EXAMPLE["counts"], "after": None}}, "two")
    report.read([one, two]).write(tmp_path / "post.html")
    pictures = re.findall(r"\]\(([^)]*\.svg)\)", (tmp_path / "post.md").read_text("utf-8"))

    assert len({(tmp_path / picture).read_bytes() for picture in pictures}) == 2


def test_environments_are_compared(tmp_path: Path) -> None:
    """The notebook's comparison has a row of each environment: outcome, guard and blocked, before and after."""
    seen_once = {"guard": {**EXAMPLE["guard"], "after": None}, "counts": {**EXAMPLE["counts"], "after": None}}
    dry = kept(tmp_path, {"environment": "prod", "status": "dry-run", **seen_once})
    html = report.read([paths.EXAMPLE_RUN, dry]).environments().to_html()

    assert re.findall(r"<td[^>]*>(.*?)</td>", html) == [
        *["demo", "succeeded", "original", "fixed", "1,088", "0"],
        *["prod", "dry-run", "original", "not seen", "1,088", "unknown"],
    ]


def test_verdicts_name_environment_and_end(tmp_path: Path) -> None:
    """The lines on the terminal are the environment's name, its verdict, and how its run ended."""
    folder = kept(tmp_path, {"environment": "prod", "verdict": "All is well.", "status": "dry-run"})

    assert report.read([folder]).verdicts() == ["prod: All is well. This was a dry run: it changed nothing."]


def test_a_report_over_nothing_says_so() -> None:
    """Without a run the report says that there is none."""
    assert report.read([]).title == "No run has been recorded"
    assert "No run has been recorded" in report.read([]).html()


def test_a_guard_is_told_with_its_definition() -> None:
    """What stood in the catalog is told as it stood there."""
    assert report.read([paths.EXAMPLE_RUN]).chapters[0].guard("before") == (
        "original: CREATE UNIQUE INDEX idx_q_threads_family_unique ON public.q_threads USING btree "
        "(root_prompt_row_id, owner_id) WHERE ((is_active = true) AND (root_prompt_row_id IS NOT NULL)) (valid)"
    )


def test_steps_are_told_with_their_sql(tmp_path: Path) -> None:
    """Each step stands in the page with what was sent."""
    found = page(paths.EXAMPLE_RUN)

    assert [step["sql"][0] for step in EXAMPLE["steps"] if step["sql"][0] not in found.text] == []


def _records(post: Postmortem) -> list[Contents]:
    return [chapter.record for chapter in post.chapters]


def test_on_the_demo_it_is_the_committed_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, without a run, the postmortem is that of the example run, whatever runs there are."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    Record.create("demo", started_by="a test")

    assert _records(report.postmortem("demo")) == [EXAMPLE]


def test_a_run_is_named_by_its_folder(tmp_path: Path) -> None:
    """A run's folder names it, on the demo as well."""
    folder = kept(tmp_path, {"verdict": "Mine."})

    assert [record["verdict"] for record in _records(report.postmortem("demo", str(folder)))] == ["Mine."]


def test_an_environments_latest_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the postmortem is that of the environment's latest run."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    _, last = (Record.create("prod", started_by=who) for who in ("one", "two"))
    Record.create("staging", started_by="three")

    assert [chapter.folder for chapter in report.postmortem("prod").chapters] == [last.folder.name]


def test_no_name_means_each_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment the postmortem has a chapter of each."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    for name in ("staging", "prod"):
        Record.create(name, started_by="a test")

    assert [chapter.environment for chapter in report.postmortem().chapters] == ["prod", "staging"]


def test_what_is_no_run_is_a_message(tmp_path: Path) -> None:
    """A folder that holds no run is named in a message."""
    with pytest.raises(UsageError) as raised:
        report.postmortem("prod", str(tmp_path))

    assert str(raised.value) == (
        f"{tmp_path} is not the folder of a run.\n"
        "  why:  It holds no record.json that this version can read.\n"
        "  next: Name a folder like data/runs/demo/20260101T120000Z."
    )


def test_the_committed_report_is_that_of_the_committed_record() -> None:
    """The example's Markdown is what its record gives now; `make example` makes both anew."""
    committed = (paths.EXAMPLE_RUN / "postmortem.md").read_text("utf-8")

    assert report.read([paths.EXAMPLE_RUN]).markdown("postmortem") == committed
