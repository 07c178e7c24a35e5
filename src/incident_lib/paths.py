"""Where the project's files lie: found from the package, so that no caller's directory matters."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO

from incident_lib.model import Failed

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
DEMO_DATA = ROOT / "data" / "demo"
EXAMPLE_RUN = DEMO_DATA / "example"
NOTES = ROOT / "data" / "postmortem.md"


def private(environment: str, name: str) -> Path:
    """A file beside an environment's runs, for what is not to be shared."""
    folder = runs() / environment
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def query(name: str) -> str:
    """The text of one of the project's queries, named `room/query`, as it is sent."""
    room, _, query = name.partition("/")
    return files(__package__).joinpath(room, "sql", f"{query}.sql").read_text("utf-8")


def runs() -> Path:
    """The folder of all runs: `data/runs`, or where INCIDENT_RUNS points."""
    return Path(os.environ.get("INCIDENT_RUNS") or ROOT / "data" / "runs")


@contextmanager
def private_file(file: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner may read, for raw ids: written as a whole, or not at all."""
    part = file.with_suffix(".part")
    with writable(file.parent):
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        try:
            with part.open("wb") as out:
                yield out
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn what keeps a folder from being written into one message."""
    try:
        yield
    except OSError as error:
        raise Failed(
            f"{os.path.relpath(folder)} cannot be written.",
            f"{error.strerror or error}.",
            "Make it writable, or name another folder with --out.",
        ) from None
