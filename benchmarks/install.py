"""`make run` on a fresh clone, compared with pip installing the same lock file into a new virtual environment.

python benchmarks/install.py [--rounds 1] [--dry]

Both start with empty caches. --dry only prints what both would do, and needs no network.
"""

from __future__ import annotations

import os
import shutil
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


def ours(*, dry: bool) -> float:
    """`make run`, from a clone to the report."""
    with tempfile.TemporaryDirectory() as folder:
        root, words = clone(Path(folder)), ["--dry-run"] if dry else []
        root.chmod(0o755)  # the embedded server runs as another user
        began = time.perf_counter()
        subprocess.run(["make", *words, "run"], cwd=root, env=fresh(root), capture_output=True, check=True)
        return time.perf_counter() - began


def pip(*, dry: bool) -> float:
    """A virtual environment, and pip install."""
    with tempfile.TemporaryDirectory() as folder:
        root, words = Path(folder), ["--help"] if dry else []
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
        command = [str(root / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
        command += ["-r", str(paths.ROOT / "requirements.lock"), *words]
        subprocess.run(command, env=fresh(root), capture_output=True, check=True)
        return time.perf_counter() - began


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=1)
    parser.add_argument("--dry", action="store_true")
    dry = parser.parse_args().dry
    options = parser.parse_args()
    took = harness.medians(options.rounds, {"ours": lambda: ours(dry=dry), "pip": lambda: pip(dry=dry)})
    row = Row(
        "`make run` on a fresh clone, nothing cached",
        "pip installing the same lock file",
        f"{took['ours']:.1f} s",
        f"{took['pip']:.1f} s",
        took["ours"] / took["pip"],
        1.5,
    )
    harness.report("install", [row], options.out)


if __name__ == "__main__":
    main()
