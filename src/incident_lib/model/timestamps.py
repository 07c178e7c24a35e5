"""Times in UTC: as people write them, as files hold them, as people read them."""

from datetime import UTC, datetime

from incident_lib.model.errors import UsageError


def utc_now() -> datetime:
    """The time now in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def parse_timestamp(text: str) -> datetime | None:
    """The time that a text in ISO 8601 names, in UTC where it names no zone; None for an empty text.

    Raises:
        UsageError: it is not ISO 8601.
    """
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "purpose_since must be a time in ISO 8601.",
            f"It is {text!r}.",
            "Write it like 2025-09-22T06:00:00+00:00, or leave it empty.",
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def to_iso(at: datetime, timespec: str = "milliseconds") -> str:
    """A time as files hold it: `2025-09-22T06:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def format_timestamp(at: datetime) -> str:
    """A time as people read it, in UTC: `2025-09-22 06:00:00`, with milliseconds where it has any."""
    whole = at.microsecond // 1000 == 0
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds" if whole else "milliseconds")


def format_minute(at: datetime) -> str:
    """A time as people read it in a table, in UTC: `2025-09-22 06:00`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
