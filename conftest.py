"""What every pytest process does first: it loads nbval without a package that takes two seconds to import."""

import os
import sys
from pathlib import Path

import pytest

# jsonschema imports rfc3987_syntax where it is installed, to check formats that notebooks do not use.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

pytest_plugins = ["nbval.plugin"]


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval find its file from any folder, and outputs have no line of progress on a busy machine.

    An option in pyproject.toml would be relative to the caller's folder.
    """
    sanitize = Path(__file__).parent / "tests" / "sanitize.cfg"
    config.option.nbval_sanitize_with = config.option.nbval_sanitize_with or str(sanitize)
    os.environ.setdefault("INCIDENT_PROGRESS", "off")
