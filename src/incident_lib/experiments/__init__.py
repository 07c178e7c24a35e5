"""The fix tried on scratch databases: the plan's claims, and the rehearsal on a copy."""

from incident_lib.experiments.claims.claim import Verdict
from incident_lib.experiments.claims.results import claims_contents, claims_file, claims_json, write_claims
from incident_lib.experiments.claims.run import run_claims
from incident_lib.experiments.rehearsal.rehearse import rehearse
from incident_lib.experiments.rehearsal.results import Rehearsal

__all__ = [
    "Rehearsal",
    "Verdict",
    "claims_contents",
    "claims_file",
    "claims_json",
    "rehearse",
    "run_claims",
    "write_claims",
]
