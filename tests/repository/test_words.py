"""Texts for people use the terms of PostgreSQL, and one term for each thing."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import nbformat
import pytest

from incident_lib import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPLACED = re.compile(  # by: unique index, enforced, blocked, another session, again, separated, provider conflict …
    r"\bguards?\b|\bin force\b|\bkept from\b|\bis at it\b|\bnobody\b|\bwhom\b|\bwhoever\b|\banew\b|\bapart by\b"
    r"|\bnot to be had\b|\bchange hands\b|\bCounted is\b|families that tried|residual conflict\b|unguarded thread\b",
    re.IGNORECASE,
)
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "data/*.md",
    "data/demo/**/*.md",
    "benchmarks/*.md",
)


@cache
def texts() -> list[tuple[Path, str]]:
    """Each page, cell and string for people, with its file."""
    return [*_texts()]


def _texts() -> Iterator[tuple[Path, str]]:
    for pattern in PAGES:
        for file in paths.ROOT.glob(pattern):
            yield file, file.read_text("utf-8")
    for file in paths.NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            yield file, cell.source
    for file in (paths.ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield file, node.value
    for file in (paths.ROOT / "src").rglob("templates/*"):
        yield file, file.read_text("utf-8")


@pytest.mark.parametrize("suffix", [".md", ".ipynb", ".py", ".j2"])
def test_no_replaced_word_is_left(suffix: str) -> None:
    """No page, notebook, string of the source or template has a replaced word."""
    found = [
        (file.name, match[0]) for file, text in texts() if file.suffix == suffix for match in REPLACED.finditer(text)
    ]

    assert found == []
