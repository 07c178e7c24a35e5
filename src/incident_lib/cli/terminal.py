"""What the terminal shows: tables for people, CSV and JSON for programs."""

from __future__ import annotations

import json as json_module
import shutil
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from incident_lib.experiments import Verdict
from incident_lib.model import COUNT_MEANINGS, BlockedFamily, Failed, Status, format_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from incident_lib.analysis import Investigation, Thread
    from incident_lib.model import Check, Plan
    from incident_lib.runs import RunResult

WIDE = 2000  # columns of what is no terminal: nothing is cut or folded there
_MARKS: dict[str, str] = {
    Status.PASS: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Verdict.HOLDS: "green",
    Verdict.OURS: "yellow",
    Verdict.NO: "bold red",
}


def _console() -> Console:
    from rich.console import Console

    made = Console(highlight=False, markup=False)
    if not made.is_terminal:
        made.width = WIDE
    return made


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        *columns,
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in rows:
        cells = (printable(cell) if cell is not None else "–" for cell in row)
        table.add_row(*(Text(cell, style=_style(cell), overflow="fold") for cell in cells))
    _console().print(table)


def printable(text: object) -> str:
    """Text that cannot steer a terminal: control characters are shown as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))


def _style(cell: str) -> str:
    return _MARKS.get(cell, "")


def investigation(verdict: str, found: Investigation, families: Sequence[BlockedFamily]) -> None:
    """Print the verdict first, then guards, counts and blocked families."""
    _console().print(verdict, style="bold")
    _table(
        ("guard", "kind", "flags", "definition"),
        [(i.name, i.kind.value, i.flags(), i.definition) for i in found.catalog.family_indexes],
        f"Guards: {found.catalog.state}",
    )
    _table(
        ("count", "", "what it counts"),
        [
            (word.replace("_", " "), format_count(number), COUNT_MEANINGS[word])
            for word, number in counts_by_name(found.counts).items()
        ],
        "Counts",
    )
    purposes = ", ".join(f"{printable(purpose)} {n:,}" for purpose, n in found.counts.active_by_purpose.items())
    _console().print(f"Active threads by purpose: {purposes}\n")
    _table(_COLUMNS, map(_cells, families), f"Blocked families, {len(families)} shown: raw ids, not to be shared")


_COLUMNS = tuple(field.name for field in fields(BlockedFamily))


def _cells(family: BlockedFamily) -> list[object]:
    values = asdict(family) | {"since": f"{family.since:%Y-%m-%d %H:%M}" if family.since else "unknown"}
    return list(values.values())


def csv(spooled: BinaryIO) -> None:
    """Print a CSV file that was written before, from its beginning."""
    spooled.seek(0)
    sys.stdout.flush()
    shutil.copyfileobj(spooled, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def json(environment: str, found: Investigation, families: Iterable[BlockedFamily]) -> None:
    """Print an investigation as JSON."""
    guard = {"state": found.catalog.state.value, "definitions": found.catalog.definitions()}
    told = {
        "environment": environment,
        "guard": guard,
        "counts": found.counts.as_dict(),
        "blocked": [vars(family) for family in families],
    }
    json_module.dump(told, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def checks(found: Iterable[Check]) -> None:
    """Print checks with their answers and cures."""
    _table(("check", "answer", "seen", "cure"), [(c.name, c.status.value, c.finding, c.action) for c in found])


def plan(way: Plan) -> None:
    """Print a plan, step by step."""
    if way.steps:
        _table(
            ("step", "SQL", "strongest lock", "why"),
            [(s.name, ";\n".join(s.sql), s.lock, s.why) for s in way.steps],
            "Steps",
        )


def runs(ended: Sequence[RunResult]) -> None:
    """Print how the run of each environment ended, and its verdict."""
    from incident_lib.report import read_runs

    post = read_runs([one.folder for one in ended])
    rows = [
        (c.environment, *(c.number(moment, "chat") for moment in ("before", "after")), one.status, f"{one.seconds:.1f}")
        for c, one in zip(post.chapters, ended, strict=True)
    ]
    for line in post.verdicts:
        _console().print(printable(line))
    _table(("environment", "blocked for chat before", "after", "outcome", "seconds"), rows)


def names(known: Iterable[tuple[str, str]]) -> None:
    """Print names of environments, and how each resolves."""
    _table(("environment", "resolves by"), known)


def threads(found: Sequence[Thread]) -> None:
    """Print the threads of a family, and what each blocks."""
    if not found:
        _console().print("This family has no thread.")
        return
    rows = [
        (
            t.row_id,
            t.created_at and f"{t.created_at:%Y-%m-%d %H:%M}",
            t.purpose,
            t.provider,
            "yes" if t.is_active else "no",
            "unknown" if t.blocks is None else ", ".join(t.blocks) or "nothing",
            ", ".join(t.would_block) or "nothing",
        )
        for t in found
    ]
    columns = ("thread", "created (UTC)", "purpose", "provider", "active", "blocks a new", "under the fixed guard")
    _table(columns, rows)


def claims(found: Iterable[Mapping[str, object]]) -> None:
    """Print the fix plan's claims, the verdict on each, and what came out; the file tells how each was tested."""
    columns = {"claim": "the plan's claim", "verdict": "verdict", "result": "what came out"}
    _table(tuple(columns.values()), [tuple(claim[key] for key in columns) for claim in found])


def families(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows about families, under their columns' names."""
    _table(tuple(rows[0]), [tuple(row.values()) for row in rows], "Families, raw ids: not to be shared")


def write_files(folder: str, files: Iterable[tuple[str, str]]) -> None:
    """Write files into a folder, and print where.

    Raises:
        Failed: the folder cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in files:
            (Path(folder) / name).write_text(text, "utf-8")
            _console().print(str(Path(folder) / name))
    except OSError as error:
        raise Failed(f"{folder} cannot be written.", f"{error.strerror}.", "Name another folder with --out.") from None
