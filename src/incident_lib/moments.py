"""Moments in time that people write: ISO 8601, UTC where no zone is given."""

from datetime import UTC, datetime

from incident_lib.errors import UsageError


def parse(text: str) -> datetime | None:
    """The moment that a text names; None for an empty one.

    Raises:
        UsageError: it is not ISO 8601.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "purpose_since must be a time in ISO 8601.",
            f"It is {text!r}.",
            "Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
