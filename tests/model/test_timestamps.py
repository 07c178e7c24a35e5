"""Times: read from ISO 8601, written in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from incident_lib.model import UsageError, format_minute, format_timestamp, parse_timestamp, to_iso, utc_now

AT = datetime(2025, 9, 22, 8, 0, 1, 250_999, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", None),
        ("2025-09-22T06:00:00+00:00", datetime(2025, 9, 22, 6, tzinfo=UTC)),
        ("2025-09-22T06:00:00Z", datetime(2025, 9, 22, 6, tzinfo=UTC)),
        ("2025-09-22 06:00", datetime(2025, 9, 22, 6, tzinfo=UTC)),
        ("2025-09-22T08:00:00+02:00", datetime(2025, 9, 22, 6, tzinfo=UTC)),
    ],
)
def test_a_time_is_parsed(text: str, at: datetime | None) -> None:
    """A time in ISO 8601 is parsed, in UTC if it has no zone; an empty text gives no time."""
    assert parse_timestamp(text) == at


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "22.09.2025"])
def test_a_text_that_is_not_a_time_is_an_error(text: str) -> None:
    """A text that is not ISO 8601 is an error whose message has the text."""
    with pytest.raises(UsageError) as raised:
        parse_timestamp(text)

    assert raised.value.why == f"It is {text!r}."


def test_a_time_is_written_in_utc() -> None:
    """Times are formatted in UTC: in files to the millisecond, for people to the second or the minute."""
    assert to_iso(AT) == "2025-09-22T06:00:01.250Z"
    assert format_timestamp(AT) == "2025-09-22 06:00:01.250"
    assert format_timestamp(AT.replace(microsecond=999)) == "2025-09-22 06:00:01"
    assert format_minute(AT) == "2025-09-22 06:00"


def test_now_is_utc_to_the_second() -> None:
    """The current time is in UTC without a fraction of a second."""
    assert (utc_now().tzinfo, utc_now().microsecond) == (UTC, 0)
