"""`make run` on a fresh clone, compared with uv installing the same lock file, and one `incident run`.

python benchmarks/install.py [--rounds 1] [--dry]

Both start with empty caches; uv itself is there already. --dry only prints what both would do, and needs no network.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import Row

from incident_lib import paths


def clone(folder: Path) -> Path:
    """Copy the tracked and the new files into a folder."""
    command = ["git", "-C", str(paths.ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (paths.ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.ROOT / name, folder / name)
    return folder


def fresh(folder: Path) -> dict[str, str]:
    """Variables for empty caches and a new embedded server."""
    own = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "INCIDENT_DEMO_DIR": "demo"}
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "INCIDENT_RUNS")}
    return environ | {name: str(folder / f".{place}") for name, place in own.items()}


def ours(*, dry: bool) -> tuple[float, float]:
    """The seconds of `make run`, from a clone to the report, and then those of one more `incident run`."""
    with tempfile.TemporaryDirectory() as folder:
        root, words = clone(Path(folder)), ["--dry-run"] if dry else []
        root.chmod(0o755)  # the embedded server runs as another user
        made = seconds(["make", *words, "run"], root)
        if dry:
            return made, 0.0
        try:
            return made, seconds([".venv/bin/incident", "run"], root)
        finally:
            seconds([".venv/bin/incident", "demo", "stop"], root)


def uv(*, dry: bool) -> float:
    """The seconds of a virtual environment without pip, as `make` creates one, and uv's installation."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        python = str(root / "venv" / "bin" / "python")
        install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", python, "--require-hashes"]
        words = ["--help"] if dry else ["--quiet", "-r", str(paths.ROOT / "requirements.lock")]
        return seconds([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], root) + seconds(
            [*install, *words], root
        )


def seconds(command: list[str], root: Path) -> float:
    """How long a command takes in a folder with empty caches."""
    began = time.perf_counter()
    subprocess.run(command, cwd=root, env=fresh(root), capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=1)
    parser.add_argument("--dry", action="store_true", help="print what both would do; needs no network")
    options = parser.parse_args()
    rounds = [(*ours(dry=options.dry), uv(dry=options.dry)) for _ in range(options.rounds)]
    made, run, installed = map(statistics.median, zip(*rounds, strict=True))
    row = Row(
        "`make run` on a fresh clone, nothing cached",
        "uv installing the same lock, and one `incident run`",
        f"{made:.1f} s",
        f"{installed:.1f} s + {run:.1f} s",
        made / (installed + run),
        1.2,
    )
    harness.report("install", [row], options.out)


if __name__ == "__main__":
    main()
