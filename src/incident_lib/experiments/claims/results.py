"""What became of the fix plan's claims, as `claims.json` carries it: no ids. Knows no connection."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from incident_lib import paths
from incident_lib.experiments.claims.claim import CLAIMS, Claim
from incident_lib.model import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.experiments.claims.run import ClaimsRun
    from incident_lib.experiments.claims.trials import Trial

SCHEMA_VERSION = 1
FILE = "claims.json"

Contents = dict[str, Any]


def claims_file() -> Path:
    """Where `incident claims` leaves it: beside the environments' runs."""
    return paths.runs() / FILE


def claims_contents(tested: ClaimsRun) -> Contents:
    """All that was tested, in one dict for a file."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tested_at": tested.tested_at,
        "server_version": tested.server_version,
        "seconds": round(tested.seconds, 1),
        "claims": [_claim(claim, tested) for claim in CLAIMS],
        "latency": {
            "threads": tested.threads,
            "clients": tested.pace.clients,
            "ways": [_way(trial) for trial in tested.trials],
        },
    }


def _claim(claim: Claim, tested: ClaimsRun) -> Contents:
    scene = {"threads": tested.threads, "clients": tested.pace.clients, "reader": tested.pace.reader}
    return {
        "claim": claim.claim,
        "source": claim.source,
        "how": claim.how.format_map(scene),
        "result": claim.result(tested.trials),
        "verdict": claim.verdict(tested.trials).value,
        "figures": {trial.way.name: claim.judge(trial).figures for trial in tested.trials},
    }


def _way(trial: Trial) -> Contents:
    """What the clients saw of one way; moments are seconds since its change began."""
    seen = trial.load.seen
    return {
        "name": trial.way.name,
        "ours": trial.way.ours,
        "begin": 0.0,
        "end": round(seen.end, 3),
        "reader": [round(moment, 3) + 0.0 for moment in seen.reader],  # no -0.0
        "longest_ms": round(seen.longest * 1000, 1),
        "duplicates": seen.duplicates,
        "errors": seen.errors,
        "points": seen.points,
    }


def claims_json(found: Contents) -> str:
    """As JSON; each point of a latency on a line of its own."""
    lines = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+(-?[\d.]+),\s+(-?[\d.]+)\s+\]", r"[\1, \2]", lines) + "\n"


def write_claims(found: Contents, file: Path) -> None:
    """Write it, as a whole or not at all.

    Raises:
        Failed: the folder cannot be written.
    """
    with paths.writable(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_text(claims_json(found), "utf-8")
        part.replace(file)


def read_claims(file: Path) -> Contents:
    """What such a file holds.

    Raises:
        UsageError: there is none, or this version cannot read it.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
        readable = found["schema_version"] == SCHEMA_VERSION
    except (OSError, ValueError, KeyError, TypeError):
        readable = False
    if not readable:
        raise UsageError(
            f"{file} does not hold the plan's claims, tested.",
            "It is not there, or this version cannot read it.",
            "Make it: incident claims",
        )
    return dict(found)
