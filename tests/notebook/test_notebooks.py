"""The committed notebooks: their structure, their outputs, and that they have no id or path."""

from __future__ import annotations

import ast
import json
import re
from html import unescape
from typing import Any
from uuid import UUID

import nbformat
import pytest

from incident_lib import paths
from incident_lib.model import COUNT_MEANINGS, PUBLISHED, count_name
from incident_lib.records import RunFolder
from incident_lib.runs.runner import NOTEBOOKS

Cells = list[Any]
BOOKS: dict[str, Cells] = {
    name: nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells for name in NOTEBOOKS
}
RAW = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@pytest.fixture(params=NOTEBOOKS)
def cells(request: pytest.FixtureRequest) -> Cells:
    """The cells of each notebook."""
    return BOOKS[request.param]


def code(cells: Cells) -> Cells:
    """The code cells."""
    return [cell for cell in cells if cell.cell_type == "code"]


def headings(cells: Cells) -> list[str]:
    """All headings, in order."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ .*$", text, re.MULTILINE)


def outputs(cells: Cells) -> Cells:
    """All outputs, in order."""
    return [output for cell in code(cells) for output in cell.outputs]


def is_parameters(cell: Any) -> bool:
    """Whether this is the cell tagged `parameters`."""
    return "parameters" in cell.metadata.get("tags", ())


def statements(cell: Any) -> list[ast.stmt]:
    """The statements of a code cell."""
    return ast.parse(cell.source).body


def test_it_has_code_and_markdown_cells(cells: Cells) -> None:
    """The notebook has code cells and Markdown cells."""
    assert {cell.cell_type for cell in cells} == {"code", "markdown"}


def test_it_begins_with_its_title(cells: Cells) -> None:
    """The first cell begins with the title, and there is one title only."""
    assert cells[0].source.startswith("# ")
    assert [heading for heading in headings(cells) if heading.startswith("# ")] == headings(cells)[:1]


def test_it_ends_with_what_we_do_not_know(cells: Cells) -> None:
    """The last section has the heading "What we do not know"; only questions of the reader's own come after it."""
    assert [heading for heading in headings(cells) if heading != "## Your own questions"][-1] == (
        "## What we do not know"
    )


def test_the_first_notebook_ends_with_questions_of_ones_own() -> None:
    """The last cell of the first notebook has three lines, behind the end of the record: they filter, group, plot."""
    *_, finish, text, own = BOOKS["01_investigate"]

    assert finish.source == "incident.finish()"
    assert text.source.startswith("## Your own questions\n")
    assert [word in line for word, line in zip(("query", "groupby", "plot"), own.source.splitlines(), strict=True)] == [
        True,
        True,
        True,
    ]


def test_parameters_come_first(cells: Cells) -> None:
    """Exactly one cell is tagged `parameters`, and it is the first code cell."""
    assert [is_parameters(cell) for cell in code(cells)] == [True] + [False] * (len(code(cells)) - 1)


def test_parameters_are_plain_assignments(cells: Cells) -> None:
    """Parameters are texts or flags with their types, which `papermill --help-notebook` shows."""
    kinds = [
        (ast.unparse(statement.annotation), type(ast.literal_eval(statement.value)).__name__)
        if isinstance(statement, ast.AnnAssign) and statement.value
        else type(statement)
        for statement in statements(code(cells)[0])
    ]

    assert set(kinds) <= {("str", "str"), ("bool", "bool")}


def test_each_parameter_is_explained(cells: Cells) -> None:
    """Each parameter has a comment."""
    assert [line for line in code(cells)[0].source.splitlines() if "  # " not in line] == []


def test_parameters_change_nothing_but_the_demo(cells: Cells) -> None:
    """By default a notebook reads and changes only the demo, redacts ids, and changes no report."""
    defaults = {s.target.id: s.value.value for s in statements(code(cells)[0])}  # type: ignore[attr-defined]
    allowed = {"environment": "demo", "confirm": "demo", "redact": True, "record": False, "run": ""}
    allowed |= {"purpose_since": "", "log": "", "change": "purpose"}

    assert {name: allowed[name] for name in defaults} == defaults


def test_imports_are_in_one_cell(cells: Cells) -> None:
    """Only the second code cell has an import."""
    importing = [
        place
        for place, cell in enumerate(code(cells))
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(cell.source)))
    ]

    assert importing == [1]
    assert code(cells)[1].source == "import incident_lib as il"


def test_code_cells_are_short(cells: Cells) -> None:
    """No code cell has more than eight lines."""
    assert [cell.source for cell in code(cells) if len(cell.source.splitlines()) > 8] == []


FORBIDDEN = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.For | ast.While | ast.ListComp


def test_code_cells_define_no_function_and_have_no_loop(cells: Cells) -> None:
    """No code cell defines a function or has a loop."""
    nodes = [node for cell in code(cells) for node in ast.walk(ast.parse(cell.source))]

    assert [ast.unparse(node) for node in nodes if isinstance(node, FORBIDDEN)] == []


def test_code_cells_have_no_sql(cells: Cells) -> None:
    """No code cell has SQL."""
    keywords = r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|WHERE|FROM \w+\.\w+)\b"

    assert [cell.source for cell in code(cells) if re.search(keywords, cell.source)] == []


def test_code_cells_style_no_chart(cells: Cells) -> None:
    """No code cell styles a chart or uses matplotlib, pandas or a database driver."""
    styling = r"\b(plt|matplotlib|figsize|color|colour|set_\w+|rcParams|pandas|pd|psycopg|sqlalchemy)\b"

    assert [cell.source for cell in code(cells)[1:] if re.search(styling, cell.source)] == []


def test_few_code_cells_follow_each_other(cells: Cells) -> None:
    """After the headline, at most three code cells follow each other without text between them."""
    kinds = "".join(cell.cell_type[0] for cell in cells)

    assert kinds.startswith("mccc")
    assert re.findall(r"c{4,}", kinds[1:]) == []


def test_every_section_has_an_output(cells: Cells) -> None:
    """Each section is followed by a cell with an output."""
    shown = [bool(cell.cell_type == "code" and cell.outputs) for cell in cells]
    places = [place for place, cell in enumerate(cells) if cell.cell_type == "markdown" and "## " in cell.source]

    assert [cells[place].source for place in places if not any(shown[place + 1 : place + 3])] == []


def test_its_cells_were_run_in_order(cells: Cells) -> None:
    """Each code cell was run once, in order."""
    assert [cell.execution_count for cell in code(cells)] == list(range(1, len(code(cells)) + 1))


def test_it_is_committed_with_its_outputs(cells: Cells) -> None:
    """Each cell that displays something is committed with its output."""
    showing = [
        cell
        for cell in code(cells)
        if isinstance(statements(cell)[-1], ast.Expr) and cell.source != "incident.finish()"
    ]

    assert [cell.source for cell in showing if not cell.outputs] == []


def test_no_output_is_an_error(cells: Cells) -> None:
    """No output is an error or a warning."""
    assert [output for output in outputs(cells) if output.output_type == "error"] == []
    assert [output for output in outputs(cells) if output.get("name") == "stderr"] == []


def test_every_picture_has_an_alternative_text(cells: Cells) -> None:
    """Each picture has an alternative text with numbers, in every form."""
    pictures = [output for output in outputs(cells) if "image/png" in output.get("data", {})]
    texts = [output.metadata["image/png"]["alt"] for output in pictures]

    assert pictures
    assert [text for text in texts if not re.search(r"\d", text)] == []
    assert [unescape(re.findall(r'alt="([^"]*)"', output.data["text/html"])[0]) for output in pictures] == texts
    assert [output.data["text/plain"].split("\n")[0] for output in pictures] == texts


def test_every_picture_has_a_caption(cells: Cells) -> None:
    """Each picture has a caption, but that of the reader's own question."""
    pictures = [
        output
        for cell in code(cells)
        for output in cell.outputs
        if "image/png" in output.get("data", {}) and "plot.bars" not in cell.source
    ]

    assert [output for output in pictures if not output.data["text/html"].endswith("</em></p>")] == []


def test_no_raw_id_is_committed(cells: Cells) -> None:
    """The notebook has no id except the published ones."""
    assert {UUID(raw) for raw in RAW.findall(json.dumps(cells))} <= PUBLISHED


def test_no_path_is_committed(cells: Cells) -> None:
    """No output has a path of the machine that ran the notebook."""
    shown = [text for output in outputs(cells) for text in (output.get("text", ""), *output.get("data", {}).values())]

    assert [text for text in shown if re.search(r"/(home|root|tmp|work|Users|mnt)/", str(text))] == []


def test_the_example_record_has_the_numbers_of_the_notebook() -> None:
    """The counts in the second notebook equal those of the committed example run."""
    counts = RunFolder(paths.EXAMPLE_RUN).read().counts
    snapshots = [moment.by_name() for moment in (counts.before, counts.after) if moment]
    (table,) = (
        output.data["text/html"]
        for cell in code(BOOKS["02_migrate"])
        for output in cell.outputs
        if cell.source.startswith("il.counts(before=")
    )
    found = [unescape(text) for text in re.findall(r"<td[^>]*>(.*?)</td>", table)]

    assert [tuple(found[n : n + 3]) for n in range(0, len(found), 4)] == [
        (count_name(word), *(f"{snapshot[word]:,}" for snapshot in snapshots)) for word in COUNT_MEANINGS
    ]
