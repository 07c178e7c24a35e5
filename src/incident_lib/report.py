"""The postmortem, from run records alone: in HTML, in Markdown, and in the notebook. Knows no connection."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incident_lib import charts, paths, words
from incident_lib.model import Counts
from incident_lib.record import Contents, Record, latest, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas.io.formats.style import Styler

_STATUS = {
    "succeeded": "The run succeeded.",
    "dry-run": "This was a dry run: it changed nothing.",
    "refused": "The run was refused: it changed nothing that it had not said.",
    "failed": "The run FAILED. What it saw before that stands below.",
    "killed": "The run was KILLED: it stopped without a word. What it saw before that stands below.",
    "running": "The run has not ended yet.",
}


@dataclass(frozen=True)
class Chapter:
    """One environment's part of the postmortem: its latest run, in the report's words."""

    record: Contents
    folder: str

    @property
    def environment(self) -> str:
        """The environment's name."""
        return str(self.record["environment"])

    @property
    def status(self) -> str:
        """How the run ended, in a sentence."""
        return _STATUS[status(self.record)]

    @property
    def failed(self) -> bool:
        """Whether the numbers must not be read as those of a finished run."""
        return status(self.record) not in ("succeeded", "dry-run")

    @property
    def verdict(self) -> str:
        """The verdict line of the last look."""
        return str(self.record.get("verdict") or "Nothing was seen: the run ended before its first look.")

    @cached_property
    def before(self) -> Counts | None:
        """The counts before."""
        return self._counts("before")

    @cached_property
    def after(self) -> Counts | None:
        """The counts after; None where nothing was applied."""
        return self._counts("after")

    def _counts(self, moment: str) -> Counts | None:
        found = self.record["counts"][moment]
        return Counts.from_dict(found) if found else None

    @property
    def chart(self) -> charts.Chart:
        """Before and after, per purpose."""
        return charts.before_after(self.before, self.after)

    @property
    def left(self) -> charts.Chart | None:
        """What the fix leaves."""
        last = self.after or self.before
        return charts.left_behind(last) if last else None

    @property
    def counts(self) -> list[tuple[str, str, str, str]]:
        """Every count: its word, before, after, and what it means."""
        before, after = words.counts_by_word(self.before), words.counts_by_word(self.after)
        return [
            (word, _shown(before[word], self.before), _shown(after[word], self.after), meaning)
            for word, meaning in words.MEANINGS.items()
        ]

    def counts_table(self) -> Styler:
        """The counts before and after, as a table for the notebook."""
        from incident_lib import tables

        return tables.shown(tables.counts(before=self.before, after=self.after))

    def family_table(self) -> Styler:
        """The threads of the fix plan's own family, as a table for the notebook."""
        from incident_lib import tables

        return tables.shown(tables.family(self.family))

    @property
    def family(self) -> list[tuple[str, Any]]:
        """The threads of the fix plan's own family, at the last look that saw them."""
        seen = self.record.get("plan_family", {})
        return list((seen.get("after") or seen.get("before") or {}).items())

    def guard(self, moment: str) -> str:
        """The guard state before or after, and the definitions that were in the catalog."""
        found = self.record["guard"][moment]
        if not found:
            return "not seen"
        definitions = "; ".join(f"{d['definition']} ({d['flags']})" for d in found["definitions"])
        return f"{found['state']}: {definitions}" if definitions else str(found["state"])


def _shown(number: int | None, look: Counts | None) -> str:
    return "–" if look is None else words.shown(number)


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
        pictures.mkdir(parents=True, exist_ok=True)
        for chapter in self.chapters:
            (pictures / f"{chapter.environment}.svg").write_text(chapter.chart.svg(), "utf-8")
        out.write_text(self.html(), "utf-8")
        markdown.write_text(self.markdown(pictures.name), "utf-8")
        return [out, markdown, pictures]


def _state(chapter: Chapter, moment: str) -> str:
    found = chapter.record["guard"][moment]
    return found["state"] if found else "not seen"


def postmortem(environment: str = "", run: str = "") -> Postmortem:
    """The postmortem of one run, or of the latest run of an environment, or of all of them.

    On the demo, without a run, it is that of the committed example run: the same figures for everybody.

    Raises:
        UsageError: the folder holds no run record.
    """
    if run:
        return read([Path(run)])
    if environment == "demo":
        return read([paths.EXAMPLE_RUN])
    return read(latest(environment or None))


def read(folders: Sequence[Path]) -> Postmortem:
    """The postmortem over these run folders, in their order."""
    return Postmortem(tuple(Chapter(Record(folder).read(), folder.name) for folder in folders))


def _inline(chart: charts.Chart) -> str:
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
