"""Rejected inserts as numbers: how many, of which families, when; each counted once, nothing else of a log is kept."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from math import isnan, nan
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from incident_lib.logs.coverage import Coverage
from incident_lib.logs.rejections import WITH_PURPOSE
from incident_lib.model import IndexKind, LogsRead, RejectedInserts, UnreadLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from incident_lib.logs.rejections import Rejection
    from incident_lib.logs.source import Log
    from incident_lib.model import Family

T = TypeVar("T")
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


class Group(NamedTuple):
    """What the rejected inserts of a group have in common.

    Attributes:
        kind: of the unique index, by its key; None: the key is not logged.
        is_run: whether they are runs, as far as their statements are logged.
        role: None: the log does not name it.
        purpose: where the index's key has it.
    """

    kind: IndexKind | None
    is_run: bool
    role: str | None
    purpose: str | None


Families = dict["Family | None", "array[float]"]


@dataclass
class Rejections:
    """The rejected inserts of some logs, in about 100 bytes for each, and less than 1 kB for each family.

    Attributes:
        not_understood: entries that could not be read, or not completely, by reason.
        duplicates: entries that were not counted, since another file has them, too.
        ours: rejections of this project's own probes: no user's inserts.
        bytes_read: of the files, compressed or not.
        files: their names.
        coverages: what was recognised of each; of an archive, of each file in it.
        before_purpose: how many were left out, since they were before the column purpose; None: unknown, none was.
        by_provider: how many were left out, since a thread of the same purpose had their key; None: unknown, none was.
    """

    not_understood: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    ours: int = 0
    bytes_read: int = 0
    files: list[str] = field(default_factory=list)
    coverages: list[Coverage] = field(default_factory=list)
    before_purpose: int | None = None
    by_provider: int | None = None
    _times: dict[Group, Families] = field(default_factory=dict, repr=False)
    _known: set[int] = field(default_factory=set, repr=False)
    _near: Counter[int] = field(default_factory=Counter, repr=False)
    _last: float | str = field(default="", repr=False)

    def begin(self, file: str) -> None:
        """Begin another file: an entry that another file has already is not counted again."""
        self.files.append(file)
        self._near.clear()

    def cover(self, log: Log) -> Coverage:
        """Begin a log, or one that is in an archive: what is recognised of it is noted in the result."""
        self.coverages.append(Coverage(log.name, log.layers, compression=log.unknown))
        return self.coverages[-1]

    def add(self, rejection: Rejection) -> None:
        """Count a rejection, unless it is a copy of one that was counted."""
        if self._is_copy(rejection):
            self.duplicates += 1
        elif rejection.ours:
            self.ours += 1
        else:
            group = Group(rejection.kind, rejection.is_run, rejection.role, rejection.purpose)
            families = self._times.setdefault(group, {})
            at = rejection.at.timestamp() if rejection.at else nan
            families.setdefault(rejection.family, array("d")).append(at)
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
        counts = self._counts(lambda group: group.kind.value if group.kind else "unknown")
        return dict(sorted(counts.items()))

    @property
    def by_role(self) -> Counter[str | None]:
        """Attempts by role; None: the log does not name it."""
        return self._counts(lambda group: group.role)

    @property
    def by_purpose(self) -> Counter[str]:
        """Attempts by purpose, where the index's key has it."""
        counts = self._counts(lambda group: group.purpose)
        return Counter({purpose: count for purpose, count in counts.items() if purpose is not None})

    @property
    def runs(self) -> int:
        """How many are runs, as far as their statements are logged."""
        return self._counts(lambda group: group.is_run)[True]

    def read(self) -> LogsRead:
        """What was read of the logs in which a server was recognised."""
        logs = [each for each in self.coverages if each.recognised]
        return LogsRead(
            entries=sum(each.entries for each in logs),
            lines=sum(each.lines for each in logs),
            not_understood=sum(each.not_understood for each in logs),
            exact=all(each.exact for each in logs),
            first=min((each.first for each in logs if each.first), default=None),
            last=max((each.last for each in logs if each.last), default=None),
            errors_logged=any(each.errors_logged for each in logs),
        )

    @property
    def unread(self) -> list[UnreadLog]:
        """The logs in which no entry of a server was recognised."""
        return [UnreadLog(file=each.name, lines=each.seen) for each in self.coverages if not each.recognised]

    @property
    def is_read(self) -> bool:
        """Whether an entry of a server was recognised in at least one of the logs."""
        return any(each.recognised for each in self.coverages)

    def since(self, purpose_since: datetime | None) -> Rejections:
        """Those that are not before the column purpose, which caused none of them; all where its time is unknown."""
        if purpose_since is None:
            return self
        least = purpose_since.timestamp()
        kept = self._filtered(lambda _group, _family, at: not at < least)  # an unknown time counts
        return replace(kept, before_purpose=self.failed_attempts - kept.failed_attempts)

    def without_same_purpose(self, same: Callable[[Group, Family | None, float], bool]) -> Rejections:
        """Those whose key a thread of another purpose had: between threads of one purpose it is the provider."""
        kept = self._filtered(lambda group, family, at: not same(group, family, at))
        return replace(kept, by_provider=self.failed_attempts - kept.failed_attempts)

    def _filtered(self, wanted: Callable[[Group, Family | None, float], bool]) -> Rejections:
        times: dict[Group, Families] = {}
        for group, family, array_ in self._all():
            if kept := array("d", (at for at in array_ if wanted(group, family, at))):
                times.setdefault(group, {})[family] = kept
        return replace(self, _times=times)

    def times_of_runs(self) -> list[tuple[Family, float]]:
        """The families and times of the runs, where both are known."""
        return [(family, at) for group, family, ats in self._all() if group.is_run and family for at in _known([ats])]

    def _all(self) -> Iterator[tuple[Group, Family | None, array[float]]]:
        return ((group, family, ats) for group, families in self._times.items() for family, ats in families.items())

    def _counts(self, name: Callable[[Group], T]) -> Counter[T]:
        counts: Counter[T] = Counter()
        for group, families in self._times.items():
            counts[name(group)] += sum(map(len, families.values()))
        return counts

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
            for group, families in self._times.items()
            if group.kind not in WITH_PURPOSE
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
            before_purpose=self.before_purpose,
            by_provider=self.by_provider,
            runs=self.runs,
            read=self.read() if self.coverages else None,
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
