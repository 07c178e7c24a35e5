"""The JSON Schemas of record.json, claims.json and rehearsal.json, generated from their types: `make schemas`."""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path

import msgspec

from incident_lib import paths
from incident_lib.model import ClaimsReport, RehearsalReport, RunRecord

FOLDER = paths.ROOT / "data" / "schemas"
SCHEMAS = {"record": RunRecord, "claims": ClaimsReport, "rehearsal": RehearsalReport}


def schema(name: str) -> str:
    """One of the schemas, as its file holds it."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(SCHEMAS[name])}
    for part in made["$defs"].values():
        if "description" in part:
            part["description"] = cleandoc(part["description"])
    return json.dumps(made, indent=1) + "\n"


def write_schemas(folder: Path = FOLDER) -> None:
    """Write all schemas into a folder."""
    for name in SCHEMAS:
        paths.replace_text(folder / f"{name}.schema.json", schema(name))


if __name__ == "__main__":
    write_schemas(*map(Path, sys.argv[1:]))
