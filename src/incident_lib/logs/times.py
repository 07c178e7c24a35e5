"""The times of a log in UTC: as PostgreSQL writes them in any zone, as epochs, and as in exports."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from incident_lib.model import UsageError

_WRITTEN = re.compile(
    r"(?P<local>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?)\d*"
    r" ?(?P<zone>[A-Za-z]{1,6}|[+-]\d\d(?::?\d\d){0,2}|)",
    re.ASCII,
)
_EPOCH = re.compile(r"\d{10}(?:\.\d{1,6})?|\d{13}|\d{16}|\d{19}", re.ASCII)
_SYSLOG = re.compile(r"(?:[A-Z][a-z]{2} )?(?P<day>[A-Z][a-z]{2} [ \d]\d) (?P<time>\d\d:\d\d:\d\d)(?:\.\d+)?", re.ASCII)
_NAMED = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}),? (?P<year>\d{4}),?(?: @)? "
    r"(?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<rest>\d{1,6}))?",
    re.ASCII,
)
_DOTTED = re.compile(r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d:\d\d(?::\d\d)?)", re.ASCII)  # as Excel writes it in Europe
_ZERO = frozenset({"", "UTC", "GMT", "UCT", "Z"})


def check_zone(zone: str | None) -> None:
    """Check that a zone is known.

    Raises:
        UsageError: it is not.
    """
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"{zone!r} is not a known time zone.",
            "It is what `SHOW log_timezone` says on the server: the name of a zone.",
            "Write it like Europe/Berlin.",
        ) from None


def parse_log_time(text: str, zone: str | None = None) -> datetime | None:
    """The time in UTC that a log's text names; None where it names no time, or an ambiguous one.

    Args:
        text: `2025-09-22 08:00:00.123 CEST`, ISO 8601, syslog's `Sep 22 08:00:00`, which has no year, or an epoch
            in seconds, milli-, micro- or nanoseconds. Without a zone it is UTC, as exports are.
        zone: the server's log_timezone, for an abbreviation that several zones share, like `IST`.
    """
    try:
        if _EPOCH.fullmatch(text):
            return _from_epoch(text)
        if without_year := _SYSLOG.fullmatch(text):
            return _from_syslog(without_year, zone)
        if named := _NAMED.fullmatch(text):
            whole = datetime.strptime(" ".join(named.group("month", "day", "year", "time")), "%b %d %Y %H:%M:%S")
            text = f"{whole:%Y-%m-%d %H:%M:%S}.{named['rest'] or 0}"
        elif dotted := _DOTTED.fullmatch(text):
            text = f"{dotted[3]}-{dotted[2]}-{dotted[1]} {dotted[4]:0<5}"
            text += ":00" if text.count(":") == 1 else ""
        found = _WRITTEN.fullmatch(text.replace("/", "-"))
        if found is None:
            return None
        local = datetime.fromisoformat(found["local"])
        offset = _offset(found["zone"], local, zone)
        return None if offset is None else (local - offset).replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # 2025-02-30, or the year 0001 east of Greenwich
        return None


def _from_epoch(text: str) -> datetime:
    scale = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}[len(text.partition(".")[0])]
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(float(text) * 10**6 / scale))


def has_year(text: str) -> bool:
    """Whether a log's time names its year; syslog's does not."""
    return _SYSLOG.fullmatch(text) is None


def _from_syslog(found: re.Match[str], zone: str | None) -> datetime:
    """A time without a year: the latest that is not in the future."""
    now = datetime.now(UTC)
    for year in range(now.year + 1, now.year - 9, -1):  # 29 February is in one of eight
        try:
            local = datetime.strptime(f"{year} {found['day']} {found['time']}", "%Y %b %d %H:%M:%S")
        except ValueError:
            continue
        at = local.replace(tzinfo=ZoneInfo(zone) if zone else UTC).astimezone(UTC)
        if at <= now + timedelta(days=1):
            return at
    raise ValueError(found[0])


def _offset(written: str, local: datetime, zone: str | None) -> timedelta | None:
    if written in _ZERO:
        return timedelta(0)
    if written[0] in "+-":
        return _numeric(written)
    hour = local.replace(minute=0, second=0, microsecond=0)
    offsets = _at((zone,), written, hour) if zone else frozenset[timedelta]()
    offsets = offsets or _at(_using(written, hour.year), written, hour)
    return next(iter(offsets)) if len(offsets) == 1 else None


def _numeric(written: str) -> timedelta:
    digits = f"{written[1:].replace(':', ''):0<6}"
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return size if written[0] == "+" else -size


@cache
def _using(written: str, year: int) -> tuple[str, ...]:
    """The zones of the world that use an abbreviation in that year, in winter or in summer."""
    zones = {name: ZoneInfo(name) for name in sorted(available_timezones())}
    seasons = [(name, datetime(year, month, 15, tzinfo=zone)) for name, zone in zones.items() for month in (1, 7)]
    return tuple(dict.fromkeys(name for name, day in seasons if day.tzname() == written))


@lru_cache(maxsize=4096)
def _at(zones: tuple[str, ...], written: str, hour: datetime) -> frozenset[timedelta]:
    """The offsets that an abbreviation has at that local hour in these zones."""
    moments = (hour.replace(tzinfo=ZoneInfo(name), fold=fold) for name in zones for fold in (0, 1))
    return frozenset(offset for at in moments if at.tzname() == written and (offset := at.utcoffset()) is not None)
