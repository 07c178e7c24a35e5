"""The parameters of a notebook: which it has, whether papermill injected others, and of which type they are."""

from __future__ import annotations

import ast
import shlex
from contextlib import suppress
from os import PathLike

from incident_lib import progress
from incident_lib.model import UsageError


def assigned_names(source: str) -> set[str]:
    """The names that Python code assigns at its top level.

    Raises:
        SyntaxError: it is not plain Python.
    """
    statements = ast.parse(source).body
    targets = [target for each in statements if isinstance(each, ast.Assign) for target in each.targets]
    targets += [each.target for each in statements if isinstance(each, ast.AnnAssign) and each.value]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def names_in(source: str) -> set[str]:
    """The names that Python code sets anywhere.

    Raises:
        SyntaxError: it is not plain Python.
    """
    nodes = ast.walk(ast.parse(source))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


# `papermill --inject-paths` and its relatives pass these; no notebook declares them.
_PAPERMILLS = frozenset({"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"})


def check_injected() -> None:
    """Reject parameters that papermill injected and the notebook does not have: papermill only warns of them.

    Raises:
        UsageError: there is one.
    """
    shell = progress.shell()
    known: set[str] = set()
    for cell in shell.user_ns.get("In", []) if shell else []:
        names: set[str] = set()
        with suppress(SyntaxError):  # a magic
            names = assigned_names(cell)
        if cell.startswith("# Parameters\n") and (unknown := sorted(names - known - _PAPERMILLS)):
            raise UsageError(
                f"The notebook has no parameter {', '.join(unknown)}.",
                f"Its parameters are {', '.join(sorted(known))}.",
                "Correct the name that is given with -p.",
            )
        known |= names


def check_texts(**values: object) -> None:
    """Reject parameters that are not texts.

    Raises:
        UsageError: one of them is not.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            raise wrong_type(name, value, "a text")


def check_flags(**values: object) -> None:
    """Reject parameters that are neither true nor false.

    Raises:
        UsageError: one of them is not.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise _wrong_flag(name, value)


def _wrong_flag(name: str, value: object) -> UsageError:
    if not (isinstance(value, str) and value.lower() in {"true", "false"}):
        return wrong_type(name, value, "True or False")
    return UsageError(
        f"The parameter {name} must be True or False.",
        f"It is the text {value!r}: for papermill, only True and False with a capital letter are flags.",
        f"Write -p {name} {value.capitalize()}, or -y '{name}: {value.lower()}'.",
    )


def as_log(log: object) -> str:
    """The parameter `log` as one text: the names of files, quoted where that is needed.

    Args:
        log: a text of names, separated by spaces; or a list of names.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(log, str):
        return log
    if isinstance(log, list | tuple) and all(isinstance(name, str | PathLike) for name in log):
        return shlex.join(map(str, log))
    raise wrong_type("log", log, "a text, or a list of texts")


def wrong_type(name: str, value: object, wanted: str) -> UsageError:
    """The error for a parameter of a wrong type."""
    return UsageError(
        f"The parameter {name} must be {wanted}.",
        f"It is {value!r}, of type {type(value).__name__}.",
        "Correct it in the notebook's first cell, or with -p.",
    )
