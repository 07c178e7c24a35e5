"""What the commands about the migration print in common."""

from __future__ import annotations

import pytest

from incident_lib.cli.preflight import print_nothing_to_do
from incident_lib.model.catalog import IndexKind


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (IndexKind.FIXED, "staging: already applied: only the fixed index is enforced.\n"),
        (IndexKind.ORIGINAL, "staging: already rolled back: only the original index is enforced.\n"),
    ],
)
def test_nothing_to_do(capsys: pytest.CaptureFixture[str], target: IndexKind, said: str) -> None:
    """Where no step is left it is said that all is done already."""
    print_nothing_to_do("staging", target)
    assert capsys.readouterr().out == said
