"""Rejected inserts in the logs of real servers and of the demo, compared with the clients' counts and the threads."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from incident_lib import paths
from incident_lib.analysis.probe import probe_semantics
from incident_lib.cli import cli
from incident_lib.database import Environment, NewThread, connecting, insert_thread, reading, sending
from incident_lib.database.demo import PURPOSE_SINCE
from incident_lib.logs import threads
from incident_lib.logs.entry import Entry, names_provider
from incident_lib.logs.reading import read_rejections
from incident_lib.logs.rejections import NO_DETAIL, NO_STATE, NO_TIME, ODD_DETAIL, Rejection, judge_entry
from incident_lib.logs.tally import DAY, Rejections, RejectionsAround
from incident_lib.logs.threads import join_threads
from incident_lib.migration.executor import apply
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.errors import IncidentError, UsageError
from incident_lib.model.threads import Family
from incident_lib.records import to_json
from tests.conftest import add
from tests.support import clusters
from tests.support.command import unmeasured
from tests.support.examples import SOAK
from tests.support.logged import FILES, PREFIX, Logged, blocked, families, make_noise, try_chats

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = paths.DEMO_DATA / "server.log"
FAMILY = Family(UUID(int=1), UUID(int=7))
TIME = "2025-09-22 08:00:00.123 CEST"
AT = datetime(2025, 9, 22, 6, 0, 0, 123000, tzinfo=UTC)
MIDNIGHT = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
MESSAGE = f'duplicate key value violates unique constraint "{INDEX_NAME}"'
DETAIL = f"Key (root_prompt_row_id, owner_id)=({FAMILY.root}, {FAMILY.owner}) already exists."


class Attempt(NamedTuple):
    """A rejected insert as the demo's clients recorded it."""

    at: datetime
    family: Family
    purpose: str


def counted() -> list[Attempt]:
    """The rejected inserts that the demo's clients recorded."""
    with (paths.DEMO_DATA / "failed_attempts.csv").open(newline="", encoding="utf-8") as file:
        return [
            Attempt(
                datetime.fromisoformat(row["attempted_at"]),
                Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"])),
                row["purpose"],
            )
            for row in csv.DictReader(file)
        ]


@cache
def of_the_demo() -> Rejections:
    """What is read from the demo's log."""
    return read_rejections([str(LOG)])


def by_family(found: Rejections) -> dict[Family, int]:
    """The number of rejected inserts of each family."""
    return {hit.family: hit.attempts for hit in found.tallies()}


def pairs(found: Rejections) -> Counter[tuple[Family, datetime]]:
    """The family and the time of each rejected insert."""
    return Counter((hit.family, at) for hit in found.tallies() for at in hit.times)


# The demo


def test_the_demos_rejected_inserts_equal_its_clients() -> None:
    """Each rejected insert of the demo's clients is read from its log, with family and time, and no other."""
    found = of_the_demo()

    assert pairs(found) == Counter((attempt.family, attempt.at) for attempt in counted())
    assert (found.failed_attempts, found.families, found.owners) == (1340, 447, 200)
    assert (found.first, found.last) == (min(counted()).at, max(counted()).at)
    assert (found.by_index, found.by_role) == ({"original": 1340}, {"postgres": 1340})
    assert (found.not_understood, found.duplicates, found.ours) == ({}, 0, 0)
    assert (found.bytes_read, found.files) == (LOG.stat().st_size, ["server.log"])


def test_families_are_sorted_by_rejected_inserts() -> None:
    """Families are sorted by their number of rejected inserts, the times of each by time."""
    hits = list(of_the_demo().tallies())

    assert [hit.attempts for hit in hits] == sorted((hit.attempts for hit in hits), reverse=True)
    assert all(list(hit.times) == sorted(hit.times) and len(hit.times) == hit.attempts for hit in hits)


# Rotation


def pieces(folder: Path, cuts: list[tuple[int, int]]) -> list[str]:
    """Files with this many of the demo's entries each, from one number to another; each entry has three lines."""
    lines = LOG.read_text("utf-8").splitlines(keepends=True)
    for number, (begin, end) in enumerate(cuts):
        (folder / f"server-{number}.log").write_text("".join(lines[3 * begin : 3 * end]), "utf-8")
    return [str(folder / f"server-{number}.log") for number in range(len(cuts))]


@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 400), (400, 1352)],
        [(400, 1352), (0, 400)],
        [(0, 900), (300, 1352)],
        [(0, 1352), (0, 1352), (10, 20)],
        [(700, 1352), (0, 800), (600, 900)],
    ],
)
def test_rotated_and_overlapping_files(tmp_path: Path, cuts: list[tuple[int, int]]) -> None:
    """An entry that is in several files is counted once, in any order of the files."""
    files = pieces(tmp_path, cuts)
    found = read_rejections(files)

    assert pairs(found) == pairs(of_the_demo())
    assert found.duplicates == sum(read_rejections([name]).failed_attempts for name in files) - 1340


def test_files_that_were_put_together(tmp_path: Path) -> None:
    """In one file with overlapping parts of a log each entry is counted once."""
    (tmp_path / "all.log").write_bytes(
        b"".join(Path(name).read_bytes() for name in pieces(tmp_path, [(0, 900), (300, 1352)]))
    )

    assert pairs(read_rejections([str(tmp_path / "all.log")])) == pairs(of_the_demo())


def test_a_compressed_copy_is_a_copy(tmp_path: Path) -> None:
    """A file and its compressed copy have the same entries."""
    (tmp_path / "server.log.gz").write_bytes(gzip.compress(LOG.read_bytes()))
    found = read_rejections([str(tmp_path / "server.log.gz"), str(LOG)])

    assert (found.failed_attempts, found.duplicates) == (1340, 1340)
    assert found.bytes_read == LOG.stat().st_size + (tmp_path / "server.log.gz").stat().st_size


def rejection(**values: object) -> Rejection:
    """A rejection with default values."""
    defaults = {"time": TIME, "at": AT, "family": FAMILY, "kind": IndexKind.ORIGINAL, "purpose": None, "role": "app"}
    return Rejection(**defaults | {"process": "1", "ours": False, "missing": ()} | values)  # type: ignore[arg-type]


def tallied(*files: list[Rejection]) -> Rejections:
    """The tally of several files' rejections."""
    found = Rejections()
    for number, file in enumerate(files):
        found.begin(f"{number}.log")
        for each in file:
            found.add(each)
    return found


def test_twice_within_the_clocks_resolution() -> None:
    """Two equal entries in one file are two rejected inserts; the same two in another file are duplicates."""
    file = [rejection(), rejection(), rejection(process="2")]

    assert tallied(file).failed_attempts == 3
    assert (tallied(file, file).failed_attempts, tallied(file, file).duplicates) == (3, 3)


def test_entries_without_a_time_are_not_duplicates() -> None:
    """Entries without a time are not recognized as duplicates."""
    file = [rejection(time="", at=None)] * 2

    assert tallied(file, file).failed_attempts == 4


def test_duplicates_with_an_ambiguous_zone() -> None:
    """For a time with an ambiguous zone, duplicates are recognized by its text."""
    file = [rejection(time=f"2025-01-22 08:00:0{second} IST", at=None) for second in (1, 1, 2)]

    assert (tallied(file, file).failed_attempts, tallied(file, file).duplicates) == (3, 3)


# The judgment of one entry


def entry(**values: object) -> Entry:
    """An entry of a rejected insert with default values."""
    defaults = {"time": TIME, "message": MESSAGE, "state": "23505", "detail": DETAIL, "role": "app", "process": "1"}
    return Entry(**defaults | values)  # type: ignore[arg-type]


def test_a_rejection() -> None:
    """An entry gives the family, the time and the unique index."""
    assert judge_entry(entry()) == rejection()


ROOT, OWNER = FAMILY


@pytest.mark.parametrize(
    ("key", "family", "kind", "purpose"),
    [
        (f"(root_prompt_row_id, owner_id)=({ROOT}, {OWNER})", FAMILY, IndexKind.ORIGINAL, None),
        (f"(owner_id, root_prompt_row_id)=({OWNER}, {ROOT})", FAMILY, IndexKind.ORIGINAL, None),
        (f"(root_prompt_row_id, owner_id, purpose)=({ROOT}, {OWNER}, chat)", FAMILY, IndexKind.FIXED, "chat"),
        (f"(purpose, root_prompt_row_id, owner_id)=(run, {ROOT}, {OWNER})", FAMILY, IndexKind.FIXED, "run"),
        (f"(root_prompt_row_id, owner_id, purpose)=({ROOT}, {OWNER}, )", FAMILY, IndexKind.FIXED, ""),
        (
            f"(root_prompt_row_id, owner_id, purpose)=({ROOT}, {OWNER}, a, b) =(c\n)",
            FAMILY,
            IndexKind.FIXED,
            "a, b) =(c\n",
        ),
        (f'("root_prompt_row_id", "owner_id")=({ROOT}, {OWNER})', FAMILY, IndexKind.ORIGINAL, None),
        (f"(root_prompt_row_id, owner_id)=({ROOT}, null)", Family(ROOT, None), IndexKind.ORIGINAL, None),
        (f"(root_prompt_row_id, owner_id, provider)=({ROOT}, {OWNER}, openai)", FAMILY, None, None),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        *("Key {} already exists.", "Schlüssel »{}« existiert bereits.", "La clé « {} » existe déjà.", "{}"),
        *("キー {} はすでに存在します。", "გასაღები უკვე არსებობს: {}.", "{} 키가 이미 있습니다.", 'Ключ "{}" уже'),
    ],
)
def test_a_key(key: str, family: Family, kind: IndexKind | None, purpose: str | None, words: str) -> None:
    """A key has two or three columns in any order, NULL or quotes, in a sentence of any language."""
    said = judge_entry(entry(detail=words.format(key)))

    assert said == rejection(family=family, kind=kind, purpose=purpose)


@pytest.mark.parametrize("name", [*PURPOSE.names, f"{INDEX_NAME}_ccnew", f"{PURPOSE.build_name}_ccold1"])
def test_names_of_the_index(name: str) -> None:
    """The index, its build, the retired one, and REINDEX's copies of these are recognized by name."""
    assert judge_entry(entry(message=MESSAGE.replace(INDEX_NAME, name))) == rejection()


PARTITION = "q_threads_p1_root_prompt_row_id_owner_id_idx"


@pytest.mark.parametrize("name", [PARTITION, PARTITION.replace("_idx", "_purpose_idx1"), f"p2025{PARTITION[12:]}"])
def test_names_of_a_partitions_index(name: str) -> None:
    """The index of a partition, which has a name of its own, is recognised by the columns of its key."""
    assert judge_entry(entry(message=MESSAGE.replace(INDEX_NAME, name))) == rejection()


def test_a_similar_index_of_another_table() -> None:
    """An index of another table is ignored, unless its key is the unique index's."""
    other = MESSAGE.replace(INDEX_NAME, "q_messages_root_prompt_row_id_owner_id_number_idx")

    assert judge_entry(entry(message=other)) is None
    assert judge_entry(entry(message=other.replace("_number", ""), detail=None)) is None


@pytest.mark.parametrize("name", [f"{INDEX_NAME}_2", f"my_{INDEX_NAME}", "q_threads_pkey"])
def test_names_of_others(name: str) -> None:
    """Another index is ignored, even if its name begins with the unique index's name."""
    assert judge_entry(entry(message=MESSAGE.replace(INDEX_NAME, name))) is None


@pytest.mark.parametrize(
    "other",
    [
        {"state": "42P07", "message": f'relation "{INDEX_NAME}" already exists'},
        {"state": "P0001"},
        {"message": f'could not create unique index "{PURPOSE.build_name}"', "detail": "Key is duplicated."},
        {"command": "CREATE INDEX"},  # a concurrent build reports so what its last scan finds
        {"command": "REINDEX"},
        {"state": None, "message": f"konnte Unique Index »{PURPOSE.build_name}« nicht erstellen"},
        {"state": None, "message": f'無法建立唯一索引 "{PURPOSE.retired_name}"'},
        {"command": f"/* x */ CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.build_name} ON q_threads (purpose)"},
    ],
)
def test_entries_that_are_not_rejected_inserts(other: dict[str, str | None]) -> None:
    """Another SQLSTATE, or a failed build in any language, is not a rejected insert."""
    assert judge_entry(entry(**other)) is None


@pytest.mark.parametrize(
    ("lacking", "missing"),
    [
        ({"detail": None}, (NO_DETAIL,)),
        ({"detail": "Key (root_prompt_row_id, owner_id)=(1, 2) already exists."}, (ODD_DETAIL,)),
        ({"detail": f"Key (root_prompt_row_id, owner_id)=({ROOT}, "}, (ODD_DETAIL,)),
        ({"detail": f"Key (root_prompt_row_id)=({ROOT}) already exists."}, (ODD_DETAIL,)),
    ],
)
def test_a_rejection_whose_family_is_not_known(lacking: dict[str, str | None], missing: tuple[str, ...]) -> None:
    """A rejected insert with an unknown family counts, with the reason."""
    said = judge_entry(entry(**lacking))

    assert isinstance(said, Rejection)
    assert (said.at, said.family, said.missing) == (AT, None, missing)


def test_a_rejection_whose_time_is_not_known() -> None:
    """A rejected insert with an unknown time counts; a given zone makes the time known."""
    said = judge_entry(entry(time="2025-01-22 08:00:00 IST"))
    helped = judge_entry(entry(time="2025-01-22 08:00:00 IST"), "Asia/Kolkata")

    assert said == rejection(time="2025-01-22 08:00:00 IST", at=None, missing=(NO_TIME,))
    assert helped == rejection(time="2025-01-22 08:00:00 IST", at=datetime(2025, 1, 22, 2, 30, tzinfo=UTC))


def test_an_entry_that_is_not_understood() -> None:
    """An entry in an unknown language without SQLSTATE and key is reported as not understood."""
    assert judge_entry(entry(state=None, detail=None, message=f'jo: "{INDEX_NAME}"')) == NO_STATE


def test_our_own_inserts_are_counted_separately() -> None:
    """Inserts of this project's own sessions are counted separately."""
    said = judge_entry(entry(application="incident_lib probe"))

    assert said == rejection(ours=True)
    found = tallied([rejection(), rejection(ours=True, process="2")])
    assert (found.failed_attempts, found.ours) == (1, 1)


# The tally


def test_rejected_inserts_per_hour_and_day() -> None:
    """Hours and days are in UTC; a rejected insert of unknown time is in none of them."""
    times = [AT, AT + timedelta(minutes=59), AT + timedelta(hours=1), AT + timedelta(days=2)]
    found = tallied([*(rejection(at=at) for at in times), rejection(at=None)])
    midnight = AT.replace(hour=0, minute=0, second=0, microsecond=0)

    assert found.per(3600) == [
        (midnight + timedelta(hours=6), 2),
        (midnight + timedelta(hours=7), 1),
        (midnight + timedelta(days=2, hours=6), 1),
    ]
    assert found.per(86400) == [(midnight, 3), (midnight + timedelta(days=2), 1)]
    assert (found.failed_attempts, found.first, found.last) == (5, times[0], times[-1])


def test_rejected_inserts_before_and_after_the_fix() -> None:
    """Rejected inserts before and after the fix; those of the fixed index are not counted in either."""
    found = tallied(
        [rejection(at=AT + timedelta(hours=hour)) for hour in range(4)]
        + [rejection(at=AT + timedelta(hours=9), kind=IndexKind.FIXED, purpose="chat")]
    )

    assert found.ended(AT + timedelta(hours=3)) == RejectionsAround(4, 0, AT + timedelta(hours=3))
    assert found.ended(AT + timedelta(hours=1)) == RejectionsAround(2, 2, AT + timedelta(hours=3))
    assert Rejections().ended(AT) == RejectionsAround(0, 0, None)
    assert found.by_index == {"fixed": 1, "original": 4}


def test_a_record_has_no_id() -> None:
    """A run record has counts, times and file names only."""
    found = msgspec.to_builtins(of_the_demo().as_record())
    hours = found.pop("per_hour")
    read = found.pop("read")

    assert (read["entries"], read["not_understood"], read["exact"], read["errors_logged"]) == (1352, 0, True, True)
    assert {name: value for name, value in found.items() if value is not None} == {
        "failed_attempts": 1340,
        "families": 447,
        "owners": 200,
        "first": "2025-09-04T07:12:56.816000Z",
        "last": "2025-10-13T11:25:17.691000Z",
        "by_index": {"original": 1340},
        "per": "hour",
        "not_understood": {},
        "duplicates": 0,
        "ours": 0,
        "bytes_read": LOG.stat().st_size,
        "files": ["server.log"],
        "runs": 350,
    }
    assert sum(number for _, number in hours) == 1340
    assert hours[0] == ("2025-09-04T07:00:00Z", 2)
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", json.dumps(hours)) is None


def test_a_record_of_a_long_time_has_days() -> None:
    """If more than a thousand hours have rejected inserts, a record has days."""
    record = tallied([rejection(at=AT + timedelta(hours=hour)) for hour in range(1001)]).as_record()

    assert (record.per, len(record.per_hour)) == ("day", 42)
    assert sum(number for _, number in record.per_hour) == 1001


def test_an_empty_tally() -> None:
    """Without a rejected insert there is no first and no last one."""
    found = Rejections()

    assert (found.failed_attempts, found.families, found.owners, found.first, found.last) == (0, 0, 0, None, None)
    assert (found.per(3600), list(found.tallies()), found.by_index) == ([], [], {})


# What is not the incident's


def test_rejected_inserts_before_the_column_purpose_are_left_out() -> None:
    """Rejected inserts before the column purpose came are in no count; one of unknown time is counted."""
    times = [AT - timedelta(seconds=1), AT, AT + timedelta(seconds=1), None]
    found = tallied([rejection(at=at, process=str(place)) for place, at in enumerate(times)])
    after = found.since(AT)

    assert (after.failed_attempts, after.before_purpose, after.first) == (3, 1, AT)
    assert (after.by_role, after.by_index, after.per(DAY)) == (
        {"app": 3},
        {"original": 3},
        [(AT.replace(**MIDNIGHT), 2)],
    )
    assert (found.since(None).failed_attempts, found.since(None).before_purpose) == (4, None)


def test_the_demos_rejected_inserts_are_split_as_its_clients_counted_them(incident: Environment) -> None:
    """Of 1,340 rejected inserts 93 are before the purpose and 41 beside another provider's run; 990 are chats."""
    since = PURPOSE_SINCE
    with reading(incident) as connection:
        found = join_threads(connection, of_the_demo().since(since)).rejections
    after = [attempt for attempt in counted() if attempt.at >= since]
    chats = sum(attempt.purpose == "chat" for attempt in after)

    assert (found.before_purpose, found.by_provider) == (1340 - len(after), 41) == (93, 41)
    assert found.failed_attempts - found.runs == chats == 990
    assert found.failed_attempts == len(after) - 41
    assert found.first == min(attempt.at for attempt in after)


@pytest.mark.parametrize(("active", "counts"), [("run", 0), ("chat", 1), ("eval", 1)])
def test_a_run_that_another_providers_run_prevents_is_left_out(
    environment: Environment, active: str, counts: int
) -> None:
    """A rejected run is the incident's only if a thread of another purpose had its key."""
    [family] = families(1)
    with psycopg.connect(environment.address, autocommit=True) as connection:
        add(connection, *family, purpose=active, created_at=AT)
    rejected = tallied([rejection(family=family, at=datetime.now(UTC), is_run=True)])
    with reading(environment) as connection:
        found = join_threads(connection, rejected).rejections

    assert (found.failed_attempts, found.by_provider) == (counts, 1 - counts)


def test_a_chat_that_a_run_prevents_is_the_incidents(environment: Environment) -> None:
    """A rejected insert that names no provider is a chat, and a run that had its key is what the fix changes."""
    [family] = families(1)
    with psycopg.connect(environment.address, autocommit=True) as connection:
        add(connection, *family, purpose="run", created_at=AT)
    rejected = tallied([rejection(family=family, at=datetime.now(UTC))])
    with reading(environment) as connection:
        found = join_threads(connection, rejected).rejections

    assert (found.failed_attempts, found.by_provider) == (1, 0)


def test_what_the_fixed_index_rejected_is_left_out(environment: Environment) -> None:
    """The fixed index rejects only what has the purpose of the thread that is there: the fix changes none of it."""
    with reading(environment) as connection:
        found = join_threads(connection, tallied([rejection(kind=IndexKind.FIXED, purpose="run")])).rejections

    assert (found.failed_attempts, found.by_provider) == (0, 1)


@pytest.mark.parametrize(
    ("statement", "is_run"),
    [
        ('INSERT INTO public.q_threads ("row_id", "provider", "purpose") VALUES ($1, $2, $3)', True),
        ("insert into q_threads(owner_id,\n\tprovider) select 1, 2", True),
        ('WITH s AS (INSERT INTO "public"."q_threads"("name", "provider") SELECT 1) SELECT 2', True),
        ('INSERT INTO public.q_threads ("row_id", "purpose") VALUES ($1, \'provider\')', False),
        ("INSERT INTO q_other (provider) VALUES ($1)", False),
        ("UPDATE q_threads SET provider = 'openai'", False),
        (None, False),
    ],
)
def test_a_run_names_its_provider(statement: str | None, is_run: bool) -> None:
    """An insert is a run if it names a provider: the chat client never does."""
    assert names_provider(statement) is is_run


# Compared with the threads


class Plain(NamedTuple):
    """The expected values of a family with rejected inserts."""

    threads: int
    blocked: bool
    chat_at: datetime | None
    tries: int | None


def parsed(written: str) -> datetime:
    """A time of the demo's files."""
    return datetime.fromisoformat(written)


def plain() -> dict[Family, Plain]:
    """The expected values of each family with rejected inserts, from the demo's files.

    Without runs whose key a run of another provider had: at a rejection, the newest thread of its family has the key.
    """
    attempts, threads = defaultdict(list), defaultdict(list)
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["root_prompt_row_id"] and row["owner_id"]:
                threads[Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"]))].append(row)

    def beside_a_run(attempt: Attempt) -> bool:
        born = [row for row in threads[attempt.family] if (at := row["created_at"]) and parsed(at) <= attempt.at]
        newest = max(born, key=lambda row: parsed(row["created_at"]), default={"purpose": None})
        return attempt.purpose == "run" and newest["purpose"] == "run"

    for attempt in counted():
        if not beside_a_run(attempt):
            attempts[attempt.family].append(attempt.at)

    def plain_of(family: Family) -> Plain:
        chats = (row for row in threads[family] if row["purpose"] == "chat" and row["created_at"])
        times = (parsed(row["created_at"]) for row in chats)
        chat_at = min((at for at in times if at > min(attempts[family])), default=None)
        blocked = any(row["is_active"] == "t" and row["purpose"] != "chat" for row in threads[family])
        tries = sum(at < chat_at for at in attempts[family]) if chat_at else None
        return Plain(len(threads[family]), blocked, chat_at, tries)

    return {family: plain_of(family) for family in attempts}


def test_families_compared_with_their_threads(incident: Environment) -> None:
    """Each family's threads, whether it is blocked now, its chat's time, and its rejected inserts before the chat."""
    with reading(incident) as connection:
        joined = join_threads(connection, of_the_demo())

    assert {each.family: Plain(each.threads, each.blocked, each.chat_at, each.tries) for each in joined.families} == (
        plain()
    )


def test_counts_compared_with_the_threads(incident: Environment) -> None:
    """The families with rejected inserts by whether they are blocked and have a chat, and the blocked ones without."""
    with reading(incident) as connection:
        counts = join_threads(connection, of_the_demo()).counts()
    expected = plain().values()
    tries = Counter(each.tries for each in expected if each.tries is not None)

    assert counts == {
        "blocked": 1088,
        "hit_and_blocked": sum(each.blocked for each in expected),
        "hit_not_blocked": sum(not each.blocked for each in expected),
        "blocked_never_hit": 1088 - sum(each.blocked for each in expected),
        "without_their_chat": 32,
        "without_threads": 0,
        "got_a_chat": tries.total(),
        "without_a_chat": len(expected) - tries.total(),
        "tries": [(number, tries[number]) for number in sorted(tries)],
    }


def test_families_are_queried_in_batches(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result does not depend on the batch size of the query."""
    found = of_the_demo()
    with reading(incident) as connection:
        at_once = join_threads(connection, found)
        monkeypatch.setattr(threads, "BATCH", 7)
        in_batches = join_threads(connection, found)

    assert (in_batches.families, in_batches.blocked) == (at_once.families, at_once.blocked)


def test_under_the_fixed_index_no_family_is_blocked(incident: Environment) -> None:
    """After the fix, no family with rejected inserts is blocked."""
    apply(incident, confirm="staging")
    with reading(incident) as connection:
        counts = join_threads(connection, of_the_demo()).counts()
    names = ("blocked", "hit_and_blocked", "hit_not_blocked", "blocked_never_hit")

    assert [counts[name] for name in names] == [0, 0, len(plain()), 0]


def test_with_an_index_that_cannot_be_read(incident: Environment) -> None:
    """If a unique index cannot be read, it is unknown which families are blocked."""
    with psycopg.connect(incident.address) as connection:
        connection.execute("CREATE UNIQUE INDEX odd ON public.q_threads (row_id, lower(provider)) WHERE is_active")
    with reading(incident) as connection:
        joined = join_threads(connection, of_the_demo())

    assert (joined.blocked, joined.hit_and_blocked, joined.hit_not_blocked, joined.blocked_never_hit) == (None,) * 4
    assert {each.blocked for each in joined.families} == {None}


def test_families_of_another_database(environment: Environment) -> None:
    """Families without a thread in the table are counted."""
    with reading(environment) as connection:
        counts = join_threads(connection, of_the_demo()).counts()

    assert (counts["without_threads"], counts["without_a_chat"], counts["tries"]) == (447, 447, [])


# The command


def ran(*words: str, given: bytes | None = None) -> tuple[int, str, str]:
    """Run `incident failures …`: its exit code, standard output, and standard error or the message."""
    done = CliRunner().invoke(cli, ["failures", *words], standalone_mode=False, input=given)
    if isinstance(done.exception, IncidentError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


UNKNOWN_SINCE = (
    "It is unknown when the column purpose was added (parameter purpose_since). Rejected inserts before it are "
    "counted, too, although the purpose cannot have caused them."
)
SENTENCE = "1,340 rejected inserts by 447 families (200 users), from 2025-09-04 07:12 to 2025-10-13 11:25 UTC."


def lines(out: str) -> list[str]:
    """The lines of a table, with single spaces."""
    return [" ".join(line.split()) for line in out.splitlines() if line.strip()]


def test_the_table() -> None:
    """The table has the total, the days and the busiest hours, and no id."""
    code, out, err = ran(str(LOG))

    assert (code, err) == (0, "")
    assert lines(out)[:2] == [SENTENCE, UNKNOWN_SINCE]
    assert "2025-09-22 303 ████████████████████████████████████████" in lines(out)
    assert "2025-09-04 3 █" in lines(out)
    assert lines(out)[-10] == "2025-09-22 12:00 43"
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", out) is None


def test_the_table_compared_with_the_threads(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an environment, the table also has the comparison with the threads."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    _, out, _ = ran(str(LOG), "--env", "staging")

    assert lines(out)[-10:-3] == [
        "rejected and blocked 277 families with rejected inserts that were blocked for chat when the logs were read",
        "rejected, not blocked 142 families with rejected inserts that were not blocked for chat then",
        "blocked, never rejected 811 families that were blocked for chat then, without a rejected insert",
        "got a chat 148 families with rejected inserts that got a chat later",
        "without a chat 271 families with rejected inserts that have not got a chat since",
        "without their chat 32 families with rejected inserts whose chats have all been ended",
        "without threads 0 families with rejected inserts that have no thread in this table",
    ]


def test_the_table_counts_what_was_not_understood(tmp_path: Path) -> None:
    """The table has the number of entries that were not understood or left out."""
    (tmp_path / "odd.log").write_text(f"(7) 23505 ERROR:  {MESSAGE}\n" * 2, "utf-8")
    _, out, _ = ran(str(LOG), str(LOG), str(tmp_path / "odd.log"))

    assert lines(out)[-3:] == [
        "entries remark",
        "2 not counted: its line is damaged, or does not begin with the log_line_prefix",
        "1,340 not counted: another file has it, too",
    ]


def test_a_log_without_a_rejected_insert(tmp_path: Path) -> None:
    """Without a rejected insert, the output says how much was read."""
    (tmp_path / "calm.log").write_text(
        "2025-09-22 08:00:00.123 UTC [1] LOG:  checkpoint starting: time\n"
        "2025-09-22 09:00:00.123 UTC [7] ERROR:  canceling statement due to statement timeout\n",
        "utf-8",
    )
    code, out, err = ran(str(tmp_path / "calm.log"))

    assert (code, err) == (0, "")
    assert lines(out) == [
        "No rejected insert is in these logs. "
        "Read: 2 entries of PostgreSQL, from 2025-09-22 08:00 to 2025-09-22 09:00 UTC."
    ]


def test_a_server_that_logs_no_errors(tmp_path: Path) -> None:
    """A log without an error of any kind tells nothing about rejected inserts: the output says so."""
    (tmp_path / "calm.log").write_text("2025-09-22 08:00:00 UTC [1] LOG:  checkpoint starting: time\n", "utf-8")

    assert "a server that logs no errors logs no rejected inserts, either." in ran(str(tmp_path / "calm.log"))[1]


def test_entries_that_may_be_rejected_inserts(tmp_path: Path) -> None:
    """If the only entries about the index cannot be read, the headline says so, and the exit code is 3."""
    (tmp_path / "odd.log").write_text(
        "2025-09-22 08:00:00 UTC [1] LOG:  checkpoint starting: time\n"
        f"2025-09-22 08:00:01 UTC [7] WARNUNG:  23505: {MESSAGE}\n",
        "utf-8",
    )
    code, out, _ = ran(str(tmp_path / "odd.log"))

    assert code == 3
    assert lines(out)[0].startswith(
        "No rejected insert is in these logs. 1 entry may be rejected inserts, but could not be read."
    )


def test_a_log_that_is_not_read(tmp_path: Path) -> None:
    """A log in which no entry is recognised is not read: exit code 3, its lines without values, and what to try."""
    (tmp_path / "api.log").write_text("INFO user=4711 path=/chats status=500 'secret'\n" * 3, "utf-8")
    code, out, err = ran(str(tmp_path / "api.log"))

    assert (code, out) == (3, "")
    assert err == (
        "The log was not read: no entry of a PostgreSQL server was recognised in api.log (3 lines looked at).\n"
        '  why:  Rejected inserts are unknown, not none. Its lines look like: INFO user=… path=… status=… "…"\n'
        "  next: incident failures --explain shows what its lines are; --log-line-prefix and --log-format name what "
        "they should be."
    )


def test_an_empty_log(tmp_path: Path) -> None:
    """An empty log is not read."""
    (tmp_path / "empty.log").write_text("", "utf-8")
    code, _, err = ran(str(tmp_path / "empty.log"))

    assert code == 3
    assert "Rejected inserts are unknown, not none. It is empty." in err


def test_a_compression_that_is_not_known(tmp_path: Path) -> None:
    """A log that is compressed in a way that this project does not read is not read: the message names it."""
    (tmp_path / "a.log.lz4").write_bytes(b"\x04\x22\x4d\x18" + b"x" * 40)
    code, _, err = ran(str(tmp_path / "a.log.lz4"))

    assert code == 3
    assert "Rejected inserts are unknown, not none. It is compressed with lz4: decompress it first." in err


def test_one_of_two_logs_is_not_read(tmp_path: Path) -> None:
    """If one of several logs is not read, the headline says so beside the count, and the exit code is 3."""
    (tmp_path / "api.log").write_text("hello\n", "utf-8")
    code, out, _ = ran(str(LOG), str(tmp_path / "api.log"))

    assert code == 3
    assert lines(out)[0].startswith(SENTENCE)
    assert "The log was not read: no entry of a PostgreSQL server was recognised in api.log" in out


def test_a_log_that_is_partly_read(tmp_path: Path) -> None:
    """If lines of a log are not understood, the headline has both numbers."""
    (tmp_path / "mixed.log").write_text("2025-09-22 08:00:00 UTC [1] ERROR:  no\n" + "hello\n" * 3, "utf-8")

    assert "Partly read: 3 of 4 lines were not understood." in ran(str(tmp_path / "mixed.log"))[1]


def test_what_was_recognised(tmp_path: Path) -> None:
    """--explain has wrapping, encoding, lead-in, prefix, times, severities, and lines without ids or values."""
    lead = "2025-10-02T07:15:03.127272144Z "
    entry_ = (
        f"{lead}2025-09-22 08:00:00.123 UTC [1] ERROR:  {MESSAGE}\n{lead}2025-09-22 08:00:00.123 UTC [1] DETAIL:  x\n"
    )
    (tmp_path / "pod.log").write_text(f"Defaulted container 'postgres' out of: 12 {ROOT}\n{entry_}", "utf-16")
    code, out, _ = ran(str(tmp_path / "pod.log"), "--explain")

    assert code == 0
    assert lines(out) == [
        "pod.log",
        "what",
        "bytes UTF-16 LE",
        "wrapping lines",
        "in front of each line 'T '",
        "log_line_prefix '%m [%p] '",
        "time PostgreSQL's own",
        "first and last entry 2025-09-22 08:00:00.123000+00:00 to 2025-09-22 08:00:00.123000+00:00",
        "lines 3",
        "understood 2 of 3",
        "severity entries",
        "ERROR 1",
        'not understood: Defaulted container "…" out of: 00 (an id, hidden)',
    ]


def test_a_log_without_families(tmp_path: Path) -> None:
    """Without a DETAIL in the log, the families are unknown."""
    (tmp_path / "terse.log").write_text(f"2025-09-22 08:00:00.123 CEST [1] ERROR:  {MESSAGE}\n", "utf-8")
    _, out, _ = ran(str(tmp_path / "terse.log"))

    assert lines(out)[0] == ("1 rejected insert by unknown families, from 2025-09-22 06:00 to 2025-09-22 06:00 UTC.")
    assert lines(out)[-1] == f"1 {NO_DETAIL}"


def test_json() -> None:
    """JSON is alone on standard output: the record's own counts, the roles, and an object for each family."""
    code, out, err = ran(str(LOG), "--format", "json")
    told = json.loads(out)
    result = told["result"]

    assert (code, err) == (0, "")
    assert (told["command"], told["answer"]) == ("failures", f"{SENTENCE}\n{UNKNOWN_SINCE}")
    assert result["rejected_inserts"] == json.loads(to_json(of_the_demo().as_record()))
    assert (result["by_role"], result["by_purpose"], result["unread"]) == ({"postgres": 1340}, {}, [])
    assert (
        Counter({row["root_prompt_row_id"]: 1 for row in result["attempts"]}).total() <= len(result["attempts"]) == 447
    )
    assert sum(row["attempts"] for row in result["attempts"]) == 1340
    assert result["attempts"][0]["threads"] is None


def test_csv_compared_with_the_threads(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV has a row for each family; with an environment, also the comparison with its threads."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    _, out, err = ran(str(LOG), "--env", "staging", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))

    assert err.startswith("1,211 rejected inserts by 419 families (196 users)")
    assert sum(int(row["attempts"]) for row in rows) == 1211
    assert list(rows[0]) == [
        *("root_prompt_row_id", "owner_id", "attempts", "first", "last"),
        *("threads", "blocked", "chat_at", "tries"),
    ]
    assert {Family(UUID(r["root_prompt_row_id"]), UUID(r["owner_id"])): r["tries"] for r in rows} == {
        family: "" if expected.tries is None else str(expected.tries) for family, expected in plain().items()
    }


def test_csv_without_a_rejected_insert(tmp_path: Path) -> None:
    """CSV without a family has its header only."""
    (tmp_path / "calm.log").write_text("2025-09-22 08:00:00 UTC [1] LOG:  checkpoint starting: time\n", "utf-8")

    assert ran(str(tmp_path / "calm.log"), "--format", "csv")[1].split() == [
        "root_prompt_row_id,owner_id,attempts,first,last"
    ]


def test_standard_input() -> None:
    """`-` reads standard input."""
    assert lines(ran("-", given=gzip.compress(LOG.read_bytes()))[1])[0] == SENTENCE


def test_the_file_of_out_is_private(tmp_path: Path) -> None:
    """The file of --out is readable by its owner only, also if it replaces another file."""
    out = tmp_path / "failures.json"
    out.write_text("old", "utf-8")
    code, printed, err = ran(str(LOG), "--format", "json", "--out", str(out))

    assert (code, printed, err) == (0, "", f"{SENTENCE}\n{UNKNOWN_SINCE}\n")
    assert json.loads(out.read_text("utf-8"))["result"]["rejected_inserts"]["failed_attempts"] == 1340
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    """An output file that cannot be written is an error before the logs are read."""
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "failures.csv"

    assert ran("-", "--out", str(out), given=b"") == (
        3,
        "",
        f"{os.path.relpath(out.parent)} cannot be written.\n"
        "  why:  File exists.\n"
        "  next: Name another file with --out.",
    )


def test_a_failure_does_not_change_the_old_file(tmp_path: Path) -> None:
    """After a failure the previous file is unchanged, and no other file is left."""
    out = tmp_path / "failures.json"
    out.write_text("old", "utf-8")

    assert ran(str(LOG), "--out", str(out), "--time-zone", "Nowhere")[0] == 2
    assert (list(tmp_path.iterdir()), out.read_text("utf-8")) == ([out], "old")


def test_options_of_the_log(tmp_path: Path) -> None:
    """The format, the prefix and the zone of the log are options."""
    (tmp_path / "odd.log").write_text(f"<2025-01-22 08:00:00 IST|app> ERROR:  {MESSAGE}\n", "utf-8")
    words = ("--log-format", "stderr", "--log-line-prefix", "<%t|%u> ", "--time-zone", "Asia/Kolkata")
    data = json.loads(ran(str(tmp_path / "odd.log"), *words, "--format", "json")[1])["result"]

    assert (data["rejected_inserts"]["first"], data["by_role"]) == ("2025-01-22T02:30:00Z", {"app": 1})


def test_an_unknown_environment() -> None:
    """An unknown environment is an error before the logs are read."""
    with pytest.raises(UsageError, match=r"^The environment 'nowhere' is not known\."):
        cli.main(["failures", "-", "--env", "nowhere"], standalone_mode=False)


def test_a_file_that_does_not_exist() -> None:
    """A file that does not exist is bad usage."""
    done = CliRunner().invoke(cli, ["failures", "none.log"])

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: Invalid value for 'LOG…': File 'none.log' does not exist." in done.stderr


def test_it_can_be_interrupted() -> None:
    """Ctrl-C ends the command with 130 and without a traceback."""
    command = [sys.executable, "-m", "incident_lib", "failures", "-"]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **piped, text=False, env=unmeasured(os.environ)) as running:
        assert running.stdin
        running.stdin.write(LOG.read_bytes()[:800_000])  # more than fits into a pipe: the command is reading by then
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate()

    assert (running.returncode, out) == (130, b"")
    assert err.strip().startswith(b"incident: interrupted.")
    assert b"Traceback" not in err


# A real server


@pytest.fixture(scope="module")
def logged() -> Iterator[Logged]:
    """A real server that logs in all formats."""
    home = Path(tempfile.mkdtemp(prefix="incident-logged-"))
    server = Logged(home / "server")
    yield server
    clusters.remove(server.server)
    shutil.rmtree(home, ignore_errors=True)


def test_real_logs_have_the_clients_rejected_inserts(logged: Logged, tmp_path: Path) -> None:
    """In each format exactly the inserts of concurrent clients that the server rejected are read."""
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    with logged.logging() as logs:
        make_noise(logged)
        try_chats(logged, logs, blocked(logged, 12), times=5)
        make_noise(logged)
    for name in logs.write(tmp_path).values():
        found = read_rejections([name])
        assert by_family(found) == logs.rejected
        assert (found.by_role, found.not_understood, found.duplicates) == ({"postgres": 240}, {}, 0)
        assert began <= min(each for hit in found.tallies() for each in hit.times)
        assert found.last <= datetime.now(UTC)


def test_several_formats_of_one_server_are_counted_once(logged: Logged, tmp_path: Path) -> None:
    """Rejected inserts that a server logged in several formats at once are counted once."""
    with logged.logging() as logs:
        try_chats(logged, logs, blocked(logged, 4), times=25)
    found = read_rejections(logs.write(tmp_path).values())

    assert by_family(found) == logs.rejected
    assert found.duplicates == 2 * sum(logs.rejected.values())


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"log_line_prefix": "%m [%p] "}, {}),
        ({"log_line_prefix": "%t:%r:%u@%d:[%p]:", "log_timezone": "Europe/Berlin"}, {}),
        ({"log_line_prefix": "%h %m [%p] %q%u@%d ", "log_timezone": "America/Sao_Paulo"}, {}),
        ({"log_line_prefix": "%m [%p]: [%l-1] db=%d,user=%u ", "log_error_verbosity": "verbose"}, {}),
        ({"log_line_prefix": "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ", "log_timezone": "Asia/Kathmandu"}, {}),
        ({"log_line_prefix": "%t-%c-"}, {}),
        ({"log_line_prefix": "%m [%p][%b][%v][%x] %q[user=%u,db=%d,app=%a] "}, {}),
        (
            {"log_line_prefix": "%n|%10p|%-20u|%i|%l> ", "log_statement": "all"},
            {"prefix": "%n|%10p|%-20u|%i|%l> "},
        ),
        ({"log_line_prefix": "%m [%p] ", "log_timezone": "Asia/Kolkata"}, {"zone": "Asia/Kolkata"}),
        ({"log_line_prefix": PREFIX, "log_min_error_statement": "panic"}, {}),
    ],
    ids=lambda each: " ".join(each.values()) if isinstance(each, dict) else "",
)
def test_real_prefixes(logged: Logged, tmp_path: Path, settings: dict[str, str], given: dict[str, str]) -> None:
    """With any prefix, zone and verbosity each rejected insert is read from every format, with its time."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    with logged.logging(**settings) as logs:
        try_chats(logged, logs, blocked(logged, 4), times=3)
    read = {form: read_rejections([name], **given) for form, name in logs.write(tmp_path).items()}

    assert {form: by_family(found) for form, found in read.items()} == dict.fromkeys(FILES, logs.rejected)
    assert all(began <= found.first <= found.last <= datetime.now(UTC) for found in read.values())
    assert [found.not_understood for found in read.values()] == [{}, {}, {}]


@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] "])
def test_without_a_detail(logged: Logged, tmp_path: Path, prefix: str) -> None:
    """With log_error_verbosity = terse, stderr has no DETAIL: rejected inserts count, their families are unknown."""
    with logged.logging(log_line_prefix=prefix, log_error_verbosity="terse") as logs:
        try_chats(logged, logs, blocked(logged, 4), times=3)
    read = {form: read_rejections([name]) for form, name in logs.write(tmp_path).items()}

    assert (read["stderr"].failed_attempts, read["stderr"].families) == (48, 0)
    assert read["stderr"].not_understood == {NO_DETAIL: 48}
    assert by_family(read["csvlog"]) == by_family(read["jsonlog"]) == logs.rejected


def test_under_row_level_security(logged: Logged, tmp_path: Path) -> None:
    """For roles with row level security PostgreSQL logs no key, in any format."""
    blocked(logged, 1)
    with logged.connect() as connection:
        for statement in (
            "CREATE ROLE authenticated LOGIN",
            "GRANT ALL ON public.q_threads, public.q_prompts TO authenticated",
            "CREATE POLICY all_of_them ON public.q_threads TO authenticated USING (true)",
        ):
            connection.execute(statement)
    with logged.logging() as logs, logged.connect(user="authenticated") as client:
        for _ in range(3):
            with pytest.raises(psycopg.errors.UniqueViolation):
                insert_thread(client, NewThread(*families(1)[0], purpose="chat"))
    for name in logs.write(tmp_path).values():
        found = read_rejections([name])
        assert (found.failed_attempts, found.by_role) == (3, {"authenticated": 3})
        assert found.not_understood == {NO_DETAIL: 3}


@pytest.fixture
def swapped(logged: Logged) -> Iterator[Logged]:
    """The server with the fixed index, for one test."""
    environment = Environment("staging", "a test", str(logged.server.get_uri()))
    apply(environment, confirm="staging")
    yield logged
    with logged.connect() as connection:
        connection.execute("TRUNCATE public.q_threads")
    apply(environment, confirm="staging", target=IndexKind.ORIGINAL)


def test_the_fixed_indexs_key_has_the_purpose(swapped: Logged, tmp_path: Path) -> None:
    """The purpose of a rejected insert is read from the fixed index's key, whatever text it is."""
    purposes = ("run", "chat", "", "a, b", "c) already (d)=(e", "line\nbreak", "\ttab", '"quoted"', "ünï")
    blocked(swapped, 1)
    with swapped.logging() as logs, swapped.connect() as client:
        for purpose, _ in [(purpose, time) for purpose in purposes for time in range(3)]:
            try:
                insert_thread(client, NewThread(*families(1)[0], purpose=purpose))
            except psycopg.errors.UniqueViolation:
                logs.rejected[families(1)[0]] += 1
    for name in logs.write(tmp_path).values():
        found = read_rejections([name])
        assert by_family(found) == logs.rejected
        assert found.by_index == {"fixed": 1 + 2 * len(purposes)}
        assert found.by_purpose == {purpose: 3 if purpose == "run" else 2 for purpose in purposes}


def test_an_owner_that_is_null(logged: Logged, tmp_path: Path) -> None:
    """A unique index with NULLS NOT DISTINCT rejects threads without an owner: the family has no owner."""
    key = "(root_prompt_row_id, owner_id) NULLS NOT DISTINCT WHERE is_active"
    ownerless = Family(families(1)[0].root, None)
    blocked(logged, 1)
    with logged.connect() as connection:
        connection.execute(f"CREATE UNIQUE INDEX {PURPOSE.build_name} ON public.q_threads {key}")
        add(connection, *ownerless)
    with logged.logging() as logs, logged.connect() as client, pytest.raises(psycopg.errors.UniqueViolation):
        insert_thread(client, NewThread(*ownerless))
    with logged.connect() as connection:
        connection.execute(f"DROP INDEX public.{PURPOSE.build_name}")

    read = [read_rejections([name]) for name in logs.write(tmp_path).values()]
    assert [(by_family(found), found.owners) for found in read] == [({ownerless: 1}, 0)] * 3


def test_a_probe_is_not_logged(logged: Logged, tmp_path: Path) -> None:
    """What a probe of this project tries is no error in the server's log."""
    family = blocked(logged, 1)[0]
    environment = Environment("staging", "a test", str(logged.server.get_uri()))
    with logged.logging() as logs, sending(environment, "probe") as connection:
        answers = probe_semantics(connection, [family])
    read = [read_rejections([name]) for name in logs.write(tmp_path).values()]

    assert [answer.rejected for answer in answers] == [1, 1, 1]
    assert [(found.failed_attempts, found.ours) for found in read] == [(0, 0)] * 3


def test_our_own_sessions(logged: Logged, tmp_path: Path) -> None:
    """Rejected inserts of this project's own sessions are counted separately if the log has the application's name."""
    family = blocked(logged, 1)[0]
    environment = Environment("staging", "a test", str(logged.server.get_uri()))
    prefix = "%m [%p] %q[user=%u,db=%d,app=%a] "
    with logged.logging(log_line_prefix=prefix) as logs, connecting(environment, "trial") as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.UniqueViolation):
                insert_thread(connection, NewThread(*family))
    read = [read_rejections([name], prefix=prefix) for name in logs.write(tmp_path).values()]

    assert [(found.failed_attempts, found.ours) for found in read] == [(0, 3)] * 3


LOCALES = {"de_DE": "FEHLER:  ", "fr_FR": "ERREUR:  ", "ja_JP": "詳細:  ", "ru_RU": "ОШИБКА:  ", "ka_GE": "შეცდომა:  "}


@pytest.fixture(scope="module")
def foreign() -> Iterator[Logged]:
    """A real server that can log in other languages; skips if its locales cannot be created."""
    if not shutil.which("localedef") or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("locales cannot be made here: no localedef, or no sources of locales")
    home = Path(tempfile.mkdtemp(prefix="incident-foreign-"))
    home.chmod(0o755)
    # PostgreSQL's texts are found by the name of a locale; making each would take three seconds.
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", home / "de_DE.UTF-8"], check=True)
    for locale in LOCALES.keys() - {"de_DE"}:
        shutil.copytree(home / "de_DE.UTF-8", home / f"{locale}.UTF-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCPATH", str(home))
        server = Logged(home / "server", version=15)
    yield server
    clusters.remove(server.server)
    shutil.rmtree(home, ignore_errors=True)


# Without the SQLSTATE the words count: in each language. With it one language stands for all, except in soak's numbers.
LANGUAGES = [
    (verbosity, prefix, locale)
    for verbosity, prefix, locale in product(["default", "terse", "verbose"], [PREFIX, "%m [%p] "], LOCALES)
    if SOAK or prefix != PREFIX or locale == "ru_RU"
]


@pytest.mark.slow
@pytest.mark.parametrize(("verbosity", "prefix", "locale"), LANGUAGES)
def test_real_languages(foreign: Logged, tmp_path: Path, locale: str, prefix: str, verbosity: str) -> None:
    """The logs of a server in another language are read; its failed builds are not rejected inserts."""
    settings = {"log_line_prefix": prefix, "log_error_verbosity": verbosity, "lc_messages": f"{locale}.UTF-8"}
    with foreign.logging(**settings) as logs:
        make_noise(foreign)
        try_chats(foreign, logs, blocked(foreign, 4), times=3)
        make_noise(foreign)
    read = {form: read_rejections([name]) for form, name in logs.write(tmp_path).items()}

    assert LOCALES[locale].encode() in logs.logs["stderr"] or verbosity == "terse"
    assert [found.failed_attempts for found in read.values()] == [48, 48, 48]
    assert by_family(read["csvlog"]) == by_family(read["jsonlog"]) == logs.rejected
    assert by_family(read["stderr"]) == ({} if verbosity == "terse" else logs.rejected)


# The benchmark


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    """The benchmark runs on a small log, and finds the number of entries that was written."""
    script = paths.ROOT / "benchmarks" / "logs.py"
    variables = os.environ | {"INCIDENT_BENCH_DIR": str(tmp_path)}
    command = [sys.executable, str(script), "--megabytes", "1", "--rounds", "1", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=variables)
    results = (tmp_path / "logs.md").read_text("utf-8")

    assert re.search(r"- PASS: the same count as was written: \d\d", results)
    assert "| ours, the whole command |" in results
