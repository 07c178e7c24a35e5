"""Where the project's files are, and the one way to replace a file: as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO

from incident_lib.model import Failed

ROOT = Path(__file__).resolve().parents[2]
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file() and (ROOT / "notebooks").is_dir()
# A wheel brings the notebooks and the demo's data along, and what is written goes to the working directory.
_BROUGHT = ROOT if IS_CHECKOUT else Path(__file__).resolve().parent / "packaged"
_WORK = ROOT if IS_CHECKOUT else Path.cwd()
NOTEBOOKS = _BROUGHT / "notebooks"
DEMO_DATA = _BROUGHT / "data" / "demo"
EXAMPLE_RUN = DEMO_DATA / "example"
NOTES = _WORK / "data" / "postmortem.md"
ANSWERS = _WORK / "data" / "scan.toml"  # what people answered to the questions of a scan


def runs() -> Path:
    """The folder of all runs: `data/runs` of the checkout or the working directory, or what INCIDENT_RUNS names."""
    return Path(os.environ.get("INCIDENT_RUNS") or _WORK / "data" / "runs")


def environment_file(environment: str, name: str) -> Path:
    """A file beside the runs of an environment; its folder is made."""
    folder = runs() / environment
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def query(name: str) -> str:
    """The text of a query, named `room/query`, as it is sent to PostgreSQL."""
    room, _, file = name.partition("/")
    return files(__package__).joinpath(room, "sql", f"{file}.sql").read_text("utf-8")


@contextmanager
def replacing(
    file: Path, *, private: bool = False, hint: str = "Make it writable, or name another folder with --out."
) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `file` once it is complete; on any error nothing is replaced.

    Args:
        file: its folder is made where it is missing.
        private: only its owner may read it (mode 0600): for raw ids.
        hint: what to do where it cannot be written.

    Raises:
        Failed: the file cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    with writable(file.parent, hint):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.touch(mode=0o600 if private else 0o666, exist_ok=False)
        try:
            with part.open("wb") as out:
                yield out
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def replace_text(file: Path, text: str) -> None:
    """Replace a file by this text, as a whole or not at all.

    Raises:
        Failed: the file cannot be written.
    """
    with replacing(file) as out:
        out.write(text.encode())


@contextmanager
def writable(folder: Path, hint: str = "Make it writable, or name another folder with --out.") -> Iterator[None]:
    """Turn an OSError while a folder is written into one message."""
    try:
        yield
    except OSError as error:
        raise Failed(f"{os.path.relpath(folder)} cannot be written.", f"{error.strerror or error}.", hint) from None
