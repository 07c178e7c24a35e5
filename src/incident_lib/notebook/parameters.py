"""The parameters of a notebook: which it has, whether papermill injected others, and of which type they are."""

from __future__ import annotations

import ast
from contextlib import suppress

from incident_lib import progress
from incident_lib.model import UsageError


def assigned_names(source: str) -> set[str]:
    """The names that Python code assigns at its top level.

    Raises:
        SyntaxError: it is not plain Python.
    """
    statements = [statement for statement in ast.parse(source).body if isinstance(statement, ast.Assign)]
    targets = [target for statement in statements for target in statement.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


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
        if cell.startswith("# Parameters\n") and (unknown := sorted(names - known)):
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
            raise wrong_type(name, value, "true or false")


def wrong_type(name: str, value: object, wanted: str) -> UsageError:
    """The error for a parameter of a wrong type."""
    return UsageError(
        f"The parameter {name} must be {wanted}.",
        f"It is {value!r}, of type {type(value).__name__}.",
        "Correct it in the notebook's first cell, or with -p.",
    )
