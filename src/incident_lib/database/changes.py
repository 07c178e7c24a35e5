"""The changes that `--change` names: those of the incident, and any that a file describes."""

from __future__ import annotations

from pathlib import Path

from incident_lib.model import CHANGES, IndexChange, UsageError, parse_change


def named_change(name: str) -> IndexChange:
    """The change of that name, or the one that the file of that name describes.

    Raises:
        UsageError: there is neither, or the file does not describe a change.
        Refused: it describes one that is not applied.
    """
    if name in CHANGES:
        return CHANGES[name]
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError):
        raise UsageError(
            f"There is no change {name!r}.",
            f"It is neither {' nor '.join(CHANGES)}, and no file of that name can be read.",
            "Name one of these, or a file that describes a change: docs/migration.md has the format.",
        ) from None
    return parse_change(text, name)
