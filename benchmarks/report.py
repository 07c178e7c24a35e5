"""A report over fifty environments, compared with one environment's; its PDF compared with its HTML.

python benchmarks/report.py [--rounds 5] [--environments 50]

Every environment has the committed example's record under a name of its own.
"""

from __future__ import annotations

import cProfile
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import harness
from harness import Row

from incident_lib import paths
from incident_lib.report import read_runs, write_report

EXAMPLE = paths.DEMO_DATA / "example" / "record.json"


def runs(folder: Path, environments: int) -> list[Path]:
    """So many run folders with the example's record."""
    record = json.loads(EXAMPLE.read_text("utf-8"))
    made = [folder / f"env-{number:02d}" / "20260101T000000Z" for number in range(environments)]
    for run in made:
        run.mkdir(parents=True)
        (run / "record.json").write_text(json.dumps(record | {"environment": run.parent.name}), "utf-8")
    return made


def seconds(folders: list[Path], out: Path, *, pdf: bool = False) -> float:
    """How long it takes to read the records and to write HTML, Markdown and charts; with a PDF, that one, too."""
    began = time.perf_counter()
    write_report(read_runs(folders), out, pdf=pdf)
    return time.perf_counter() - began


def profile(folders: list[Path], out: Path) -> str:
    """The packages in whose functions the time of a report with its PDF is spent, by cProfile."""
    with cProfile.Profile() as profiler:
        seconds(folders, out, pdf=True)
    profiler.create_stats()
    spent: Counter[str] = Counter()
    for (file, _, _), (_, _, own, *_) in profiler.stats.items():  # type: ignore[attr-defined]
        package = re.search(r"(?:site-packages|src)/(\w+)", file)
        spent[package[1] if package else "Python and its library"] += own
    whole = spent.total()
    return "\n".join(f"{100 * own / whole:5.1f} %  {package}" for package, own in spent.most_common(8))


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--environments", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder) / "one", Path(folder) / "many"
        alone, all_of_them = runs(one, 1), runs(many, options.environments)
        seconds(alone, one / "postmortem.html")  # imports
        took = harness.medians(
            options.rounds,
            {
                "one": lambda: seconds(alone, one / "postmortem.html"),
                "many": lambda: seconds(all_of_them, many / "postmortem.html"),
                "pdf": lambda: seconds(all_of_them, many / "postmortem.html", pdf=True),
            },
        )
        packages = profile(all_of_them, many / "postmortem.html")
    what, pdf = f"report of {options.environments} environments", took["pdf"] - took["many"]
    rows = [
        Row(
            f"{what}: HTML, Markdown, charts", "the same of one environment",
            f"{took['many']:.2f} s", f"{took['one']:.2f} s", took["many"] / took["one"], 3.0,
        ),
        Row(
            f"{what}: PDF", "its HTML, Markdown and charts",
            f"{pdf:.2f} s", f"{took['many']:.2f} s", pdf / took["many"], 5.0,
        ),
    ]  # fmt: skip
    harness.report("report", rows, options.out, harness.details("In which packages the time of the PDF goes", packages))


if __name__ == "__main__":
    main()
