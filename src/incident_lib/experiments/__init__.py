"""Try the fix on scratch databases of the embedded server: test the fix plan's claims, and rehearse on a copy."""

from incident_lib.experiments.claims.run import run_claims
from incident_lib.experiments.rehearsal.rehearse import rehearse

__all__ = ["rehearse", "run_claims"]
