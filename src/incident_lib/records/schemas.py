"""The JSON Schemas of the files and of the commands' answers, generated from their types: `make schemas`."""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from incident_lib import paths
from incident_lib.model import RESULTS, ChangeRecord, ClaimsReport, Envelope, Problem, RehearsalReport, RunRecord

FOLDER = paths.ROOT / "data" / "schemas"
ANSWERS = "answers"
SCHEMAS = {
    "record": RunRecord,
    "claims": ClaimsReport,
    "rehearsal": RehearsalReport,
    "change": ChangeRecord,
}


def schema(name: str) -> str:
    """One of the schemas, as its file holds it."""
    own = _answers() if name == ANSWERS else msgspec.json.schema(SCHEMAS[name])
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own}
    for part in made["$defs"].values():
        if "description" in part:
            part["description"] = cleandoc(part["description"])
    return json.dumps(made, indent=1) + "\n"


def _answers() -> dict[str, Any]:
    """One schema for all answers: which result an envelope has depends on its command; and one for errors."""
    types = [Envelope[result] for result in RESULTS.values()]  # type: ignore[valid-type]
    made, parts = msgspec.json.schema_components([*types, Problem], ref_template="#/$defs/{name}")
    *envelopes, problem = made
    by_command = [
        {"if": {"required": ["command"], "properties": {"command": {"const": command}}}, "then": envelope}
        for command, envelope in zip(RESULTS, envelopes, strict=True)
    ]
    return {
        "if": {"required": ["command"]},
        "then": {"properties": {"command": {"enum": list(RESULTS)}}, "allOf": by_command},
        "else": problem,
        "$defs": parts,
    }


def write_schemas(folder: Path = FOLDER) -> None:
    """Write all schemas into a folder."""
    for name in (*SCHEMAS, ANSWERS):
        paths.replace_text(folder / f"{name}.schema.json", schema(name))


if __name__ == "__main__":
    write_schemas(*map(Path, sys.argv[1:]))
