"""The postmortem, from run records alone: in HTML, in Markdown, and in the notebook. Knows no connection."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.chapter import Chapter
from incident_lib.errors import UsageError
from incident_lib.record import Record, latest, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas.io.formats.style import Styler

    from incident_lib.charts import Chart


@dataclass(frozen=True)
class Postmortem:
    """The postmortem over one or many runs, a chapter for each environment."""

    chapters: tuple[Chapter, ...]

    @property
    def title(self) -> str:
        """The finding of the first chapter that has one, as a title."""
        return self.chapters[0].chart.title if self.chapters else "No run has been recorded"

    def verdicts(self) -> list[str]:
        """The verdict line of each environment, its name first, and how its run ended."""
        return [f"{chapter.environment}: {chapter.verdict} {chapter.status}" for chapter in self.chapters]

    def environments(self) -> Styler:
        """The environments compared: outcome, guard and blocked families before and after; <NA> where not seen."""
        from incident_lib.tables import frame, shown

        rows = [
            (
                c.environment,
                status(c.record),
                *(_state(c, m) for m in ("before", "after")),
                *(look.blocked.chat if look else None for look in (c.before, c.after)),
            )
            for c in self.chapters
        ]
        columns = {
            "environment": "str",
            "run": "str",
            "guard_before": "str",
            "guard_after": "str",
            "blocked_before": "Int64",
            "blocked_after": "Int64",
        }
        return shown(frame(rows, columns))

    def html(self) -> str:
        """One HTML file that asks nobody for anything: charts and styles are in it."""
        template = _templates(autoescape=True).get_template("report.html.j2")
        return str(template.render(post=self, picture=_inline))

    def markdown(self, pictures: str) -> str:
        """Markdown, for a pull request or a wiki; `pictures` is the folder of its charts beside it."""
        template = _templates(autoescape=False).get_template("report.md.j2")
        return str(template.render(post=self, pictures=pictures))

    def write(self, out: Path) -> list[Path]:
        """Write `out` (.html), the Markdown beside it, and the folder of the Markdown's charts."""
        markdown, pictures = out.with_suffix(".md"), out.with_suffix("")
        with paths.writable(out.parent):
            pictures.mkdir(parents=True, exist_ok=True)
            for slug, chapter in self.slugs():
                (pictures / f"{slug}.svg").write_text(chapter.chart.svg(), "utf-8")
            out.write_text(self.html(), "utf-8")
            markdown.write_text(self.markdown(pictures.name), "utf-8")
        return [out, markdown, pictures]

    def slugs(self) -> list[tuple[str, Chapter]]:
        """Each chapter and a name for its files and anchors: safe in any folder, and no chapter's but its own."""
        plain = [re.sub(r"[^A-Za-z0-9_-]", "_", chapter.environment) for chapter in self.chapters]
        return [
            (f"{slug}-{place + 1}" if plain.count(slug) > 1 else slug, chapter)
            for place, (slug, chapter) in enumerate(zip(plain, self.chapters, strict=True))
        ]


def _state(chapter: Chapter, moment: str) -> str:
    found = chapter.record["guard"][moment]
    return found["state"] if found else "not seen"


def postmortem(environment: str = "", run: str = "") -> Postmortem:
    """The postmortem of one run, or of the latest run of an environment, or of all of them.

    On the demo, without a run, it is that of the committed example run: the same figures for everybody.

    Raises:
        UsageError: the folder holds no run record, or there is no run.
    """
    if run:
        return read([Path(run)])
    if environment == "demo":
        return read([paths.EXAMPLE_RUN])
    if not (found := latest(environment or None)):
        where = f"the environment {environment!r}" if environment else "any environment"
        raise UsageError(f"There is no run of {where} yet.", f"{paths.runs()} holds none.", "Begin one: incident run")
    return read(found)


def read(folders: Sequence[Path]) -> Postmortem:
    """The postmortem over these run folders, in their order."""
    return Postmortem(tuple(Chapter(Record(folder).read(), folder.name) for folder in folders))


def _inline(chart: Chart) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(chart.svg().encode()).decode()


def _templates(*, autoescape: bool) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("incident_lib"),
        autoescape=autoescape,  # noqa: S701 - Markdown escapes its own way, cell by cell
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["cell"] = _cell
    return made


_MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|"})


def _cell(text: object) -> str:
    """Text as a cell of a Markdown table: its markup is taken literally, and it stays on one line."""
    return " ".join(str(text).split()).translate(_MARKUP)
