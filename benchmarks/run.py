"""`incident run` on the demo, compared with the start of its three kernels and its SQL.

python benchmarks/run.py [--rounds 5] [--kernels 3]

The time of the SQL is that of psycopg's calls while one process executes the cells of the notebooks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import Row

from incident_lib import paths
from incident_lib.runs.runner import NOTEBOOKS

KERNEL = """
import sys, time
from jupyter_client.manager import KernelManager
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    manager = KernelManager(kernel_name="python3", transport_encryption="auto")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    if sys.argv[2]:
        client.execute_interactive(sys.argv[2])
    client.stop_channels()
    manager.shutdown_kernel()
seconds = time.perf_counter() - began
"""
DEMO = {"INCIDENT_DEMO_DIR": str(harness.HOME / "demo")}  # a server without the large databases
HEAVY = "import pandas, sqlalchemy, matplotlib.figure"

SQL = """
import contextlib, io, json, pathlib, sys, threading, time
import psycopg
import incident_lib.notebook
seconds, depth = 0.0, 0
def timed(call):
    def wrapped(*words, **options):
        global seconds, depth
        if threading.current_thread() is not threading.main_thread():
            return call(*words, **options)  # the monitor's: in parallel with the step
        depth += 1
        began = time.perf_counter()
        try:
            return call(*words, **options)
        finally:
            depth -= 1
            seconds += 0 if depth else time.perf_counter() - began
    return wrapped
psycopg.connect = timed(psycopg.connect)
psycopg.Connection.close = timed(psycopg.Connection.close)
for kind in (psycopg.Cursor, psycopg.ClientCursor):
    for name in ("execute", "fetchall", "fetchone"):
        setattr(kind, name, timed(getattr(kind, name)))
psycopg.Copy.read = timed(psycopg.Copy.read)
psycopg.Connection.commit = timed(psycopg.Connection.commit)
for notebook in sys.argv[1:]:
    cells, names = json.loads(pathlib.Path(notebook).read_text("utf-8"))["cells"], {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
"""


def incident(*words: str) -> None:
    """Run a command of this project."""
    command = [sys.executable, "-m", "incident_lib", *words]
    subprocess.run(command, capture_output=True, check=True, env=os.environ | DEMO)


def ours(out: Path) -> float:
    """The command, from its start to its end."""
    began = time.perf_counter()
    incident("run", "--out", str(out))
    return time.perf_counter() - began


def sql() -> float:
    """The SQL of the cells of all notebooks, in their order."""
    notebooks = [str(paths.NOTEBOOKS / f"{name}.ipynb") for name in NOTEBOOKS]
    with tempfile.TemporaryDirectory() as folder:
        return harness.child(SQL, *notebooks, INCIDENT_RUNS=folder, **DEMO).seconds


def kernels(count: int, imported: str = "") -> float:
    """So many kernels, one after the other: start, wait until it answers, stop."""
    return harness.child(KERNEL, str(count), imported).seconds


def profile(out: Path) -> str:
    """How long each notebook of a run took, and each of its cells that took a tenth of a second."""
    lines = []
    for file in sorted(out.glob("demo/*/*.ipynb")):
        notebook = json.loads(file.read_text("utf-8"))
        lines.append(f"{notebook['metadata']['papermill']['duration']:6.2f} s {file.name}")
        for cell in notebook["cells"]:
            seconds = cell["metadata"].get("papermill", {}).get("duration") or 0
            if cell["cell_type"] == "code" and seconds >= 0.1:
                lines.append(f"{seconds:10.2f} s   {''.join(cell['source']).splitlines()[0][:90]}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--kernels", type=int, default=3)
    options = parser.parse_args()
    (harness.HOME / "demo").mkdir(parents=True, exist_ok=True)
    incident("demo", "url")  # starts the server: its start is not measured
    count = options.kernels
    with tempfile.TemporaryDirectory() as folder:
        folders = (Path(folder) / str(number) for number in range(options.rounds))
        measures = {
            "ours": lambda: ours(next(folders)),
            "sql": sql,
            "kernels": lambda: kernels(count),
            "with imports": lambda: kernels(count, HEAVY),
        }
        took = harness.medians(options.rounds, measures)
        last = profile(Path(folder) / str(options.rounds - 1))
    what, run = "`incident run` on the demo, with the server running", took["ours"]
    rows = [
        Row(
            what, f"{against}, and the SQL", f"{run:.2f} s", f"{peer:.2f} s + {took['sql']:.2f} s",
            run / (peer + took["sql"]), 1.0,
        )
        for against, peer in (
            (f"{count} kernels' start", took["kernels"]),
            (f"{count} kernels' start with their imports", took["with imports"]),
        )
    ]  # fmt: skip
    rows.append(Row(what, "15 seconds", f"{run:.2f} s", "15 s", run, 15, "{:.1f} s"))
    harness.report("run", rows, options.out, harness.details("The time of each notebook and cell", last))
    incident("demo", "stop")


if __name__ == "__main__":
    main()
