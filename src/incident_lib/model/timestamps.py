"""Moments in time, in UTC: as people write them, as records carry them, as reports show them."""

from datetime import UTC, datetime

from incident_lib.model.errors import UsageError


def parse_timestamp(text: str) -> datetime | None:
    """The moment that a text in ISO 8601 names, in UTC where it names no zone; None for an empty one.

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


def to_iso(moment: datetime, timespec: str = "milliseconds") -> str:
    """A moment as records carry it: `2025-09-22T06:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def from_iso(spelled: str) -> datetime:
    """The moment that a record carries, in UTC."""
    return datetime.fromisoformat(spelled).astimezone(UTC)


def format_timestamp(moment: datetime) -> str:
    """A moment as reports show it, in UTC: `2025-09-22 06:00:00`, with milliseconds where it has any."""
    whole = moment.microsecond // 1000 == 0
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds" if whole else "milliseconds")
