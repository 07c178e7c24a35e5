"""Rejected inserts as numbers: how many, of which families, when; each counted once, nothing else of a log is kept."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from math import isnan, nan
from typing import TYPE_CHECKING

from incident_lib.model import IndexKind, RejectedInserts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from incident_lib.logs.rejections import Rejection
    from incident_lib.model import Family

SECONDS_APART = 1.0  # the entries of one file are never further out of order
HOUR, DAY = 3600, 86400
MOST_HOURS = 1000  # that a record carries; beyond, it carries days


@dataclass(frozen=True)
class FamilyTally:
    """A family whose attempts were rejected."""

    family: Family
    attempts: int
    times: tuple[datetime, ...]  # in order; of those attempts whose time is known

    @property
    def first(self) -> datetime | None:
        """When it was first rejected, as far as is known."""
        return self.times[0] if self.times else None

    @property
    def last(self) -> datetime | None:
        """When it was last rejected, as far as is known."""
        return self.times[-1] if self.times else None


@dataclass(frozen=True)
class RejectionsAround:
    """The rejected inserts before and after the fix; without those that the fixed index rejected."""

    before: int
    after: int
    last: datetime | None


@dataclass
class Rejections:
    """The rejected inserts of some logs, in about 100 bytes for each, and less than 1 kB for each family.

    Attributes:
        by_role: rejected inserts by role; None: the log does not name it.
        by_purpose: rejected inserts by purpose, where the index's key has it.
        not_understood: entries that could not be read, or not completely, by reason.
        duplicates: entries that were not counted, since another file has them, too.
        ours: rejections of this project's own probes: no user's inserts.
        bytes_read: of the files, compressed or not.
        files: their names.
    """

    by_role: Counter[str | None] = field(default_factory=Counter)
    by_purpose: Counter[str] = field(default_factory=Counter)
    not_understood: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    ours: int = 0
    bytes_read: int = 0
    files: list[str] = field(default_factory=list)
    _times: dict[IndexKind | None, dict[Family | None, array[float]]] = field(default_factory=dict, repr=False)
    _known: set[int] = field(default_factory=set, repr=False)
    _near: Counter[int] = field(default_factory=Counter, repr=False)
    _last: float | str = field(default="", repr=False)

    def begin(self, file: str) -> None:
        """Begin another file: an entry that another file has already is not counted again."""
        self.files.append(file)
        self._near.clear()

    def add(self, rejection: Rejection) -> None:
        """Count a rejection, unless it is a copy of one that was counted."""
        if self._is_copy(rejection):
            self.duplicates += 1
        elif rejection.ours:
            self.ours += 1
        else:
            families = self._times.setdefault(rejection.kind, {})
            at = rejection.at.timestamp() if rejection.at else nan
            families.setdefault(rejection.family, array("d")).append(at)
            self.by_role[rejection.role] += 1
            self.by_purpose.update([rejection.purpose] if rejection.purpose is not None else [])
            self.not_understood.update(rejection.missing)

    def _is_copy(self, rejection: Rejection) -> bool:
        """Whether another file, or another stretch of this one, has the same entry.

        One process may be rejected twice within the resolution of the log's clock. So within one stretch of a file
        a second entry that reads the same is a second rejection.
        """
        at = rejection.at.timestamp() if rejection.at else rejection.time
        if at == "":  # no time is logged: a copy cannot be recognized
            return False
        if not (at == self._last or _is_near(at, self._last)):
            self._near.clear()
        self._last = at
        same = hash((at, rejection.process, rejection.family, rejection.purpose))
        self._near[same] += 1
        entry = hash((same, self._near[same]))
        copy = entry in self._known
        self._known.add(entry)
        return copy

    @property
    def failed_attempts(self) -> int:
        """How many there are."""
        return sum(map(len, self._arrays()))

    @property
    def first(self) -> datetime | None:
        """When the first was made, as far as is known."""
        return min(self._timestamps(), default=None)

    @property
    def last(self) -> datetime | None:
        """When the last was made, as far as is known."""
        return max(self._timestamps(), default=None)

    @property
    def families(self) -> int:
        """How many families they are of, as far as is known."""
        return len(self._families())

    @property
    def owners(self) -> int:
        """How many users they are of, as far as is known."""
        return len({family.owner for family in self._families()} - {None})

    @property
    def by_index(self) -> dict[str, int]:
        """Attempts by the kind of unique index that rejected them; `unknown` where its key is not logged."""
        counts = {kind: sum(map(len, families.values())) for kind, families in self._times.items()}
        return {kind.value if kind else "unknown": count for kind, count in sorted(counts.items(), key=str)}

    def tallies(self) -> Iterator[FamilyTally]:
        """The families that are known, those with most rejected inserts first."""
        arrays = {family: [*self._arrays(family)] for family in self._families()}
        for family in sorted(arrays, key=lambda family: (-sum(map(len, arrays[family])), str(family))):
            times = sorted(_known(arrays[family]))
            yield FamilyTally(family, sum(map(len, arrays[family])), tuple(map(_timestamp, times)))

    def per(self, seconds: int) -> list[tuple[datetime, int]]:
        """Attempts in each HOUR or DAY, in UTC, that has some; of those whose time is known."""
        counts = Counter(int(at // seconds) for at in _known(self._arrays()))
        return [(_timestamp(slot * seconds), count) for slot, count in sorted(counts.items())]

    def ended(self, at: datetime) -> RejectionsAround:
        """The rejected inserts before and after a time, such as that of the fix."""
        left = (
            times
            for kind, families in self._times.items()
            if kind is not IndexKind.FIXED
            for times in families.values()
        )
        known = sorted(_known(left))
        after = sum(each > at.timestamp() for each in known)
        return RejectionsAround(len(known) - after, after, _timestamp(known[-1]) if known else None)

    def as_record(self) -> RejectedInserts:
        """The counts, times and file names for a run record; no id, no role.

        Its `per_hour` is one per day where that would be more than MOST_HOURS rows; `per` says so.
        """
        hours = self.per(HOUR)
        fine = len(hours) <= MOST_HOURS
        return RejectedInserts(
            failed_attempts=self.failed_attempts,
            families=self.families,
            owners=self.owners,
            first=self.first,
            last=self.last,
            by_index=self.by_index,
            per="hour" if fine else "day",
            per_hour=hours if fine else self.per(DAY),
            not_understood=dict(sorted(self.not_understood.items())),
            duplicates=self.duplicates,
            ours=self.ours,
            bytes_read=self.bytes_read,
            files=list(self.files),
        )

    def _families(self) -> set[Family]:
        return {family for families in self._times.values() for family in families if family}

    def _arrays(self, *of: Family) -> Iterator[array[float]]:
        """The times of all attempts, or of those of one family."""
        for families in self._times.values():
            yield from (families[family] for family in (of or families) if family in families)

    def _timestamps(self) -> Iterator[datetime]:
        return map(_timestamp, _known(self._arrays()))


def _is_near(at: float | str, last: float | str) -> bool:
    return isinstance(at, float) and isinstance(last, float) and abs(at - last) < SECONDS_APART


def _known(arrays: Iterable[array[float]]) -> Iterator[float]:
    return (at for at in chain.from_iterable(arrays) if not isnan(at))


def _timestamp(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
