"""Rejected inserts: those that clients of a real server counted, those of the demo, beside their threads."""

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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from incident_lib import paths
from incident_lib.cli import cli
from incident_lib.database import Environment, NewThread, connecting, insert_thread, reading
from incident_lib.logs import threads
from incident_lib.logs.entry import Entry
from incident_lib.logs.reading import read_rejections
from incident_lib.logs.rejections import NO_DETAIL, NO_STATE, NO_TIME, ODD_DETAIL, Rejection, judge_entry
from incident_lib.logs.tally import Rejections, RejectionsAround
from incident_lib.logs.threads import join_threads
from incident_lib.migration.executor import apply
from incident_lib.migration.probe import probe_semantics
from incident_lib.model.catalog import BUILD_NAME, INDEX_NAME, INDEX_NAMES, RETIRED_NAME, IndexKind
from incident_lib.model.errors import IncidentError, UsageError
from incident_lib.model.threads import Family
from incident_lib.records import to_json
from tests.conftest import add
from tests.support import clusters
from tests.support.logged import FILES, PREFIX, Logged, blocked, families, make_noise, try_chats

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = paths.DEMO_DATA / "server.log"
FAMILY = Family(UUID(int=1), UUID(int=7))
TIME = "2025-09-22 08:00:00.123 CEST"
AT = datetime(2025, 9, 22, 6, 0, 0, 123000, tzinfo=UTC)
MESSAGE = f'duplicate key value violates unique constraint "{INDEX_NAME}"'
DETAIL = f"Key (root_prompt_row_id, owner_id)=({FAMILY.root}, {FAMILY.owner}) already exists."


class Attempt(NamedTuple):
    """A rejection as the demo's clients counted it."""

    at: datetime
    family: Family


def counted() -> list[Attempt]:
    """What the demo's clients counted."""
    with (paths.DEMO_DATA / "failed_attempts.csv").open(newline="", encoding="utf-8") as file:
        return [
            Attempt(
                datetime.fromisoformat(row["attempted_at"]),
                Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"])),
            )
            for row in csv.DictReader(file)
        ]


def by_family(found: Rejections) -> dict[Family, int]:
    """How many attempts each family made."""
    return {hit.family: hit.attempts for hit in found.tallies()}


def pairs(found: Rejections) -> Counter[tuple[Family, datetime]]:
    """The family and the time of each attempt."""
    return Counter((hit.family, at) for hit in found.tallies() for at in hit.times)


# The demo


def test_the_demo_is_what_its_clients_counted() -> None:
    """Every rejection in the demo's log is read, of its family, at its time; and no other error of it."""
    found = read_rejections([str(LOG)])

    assert pairs(found) == Counter((attempt.family, attempt.at) for attempt in counted())
    assert (found.failed_attempts, found.families, found.owners) == (1340, 447, 200)
    assert (found.first, found.last) == (min(counted()).at, max(counted()).at)
    assert (found.by_index, found.by_role) == ({"original": 1340}, {"postgres": 1340})
    assert (found.not_understood, found.duplicates, found.ours) == ({}, 0, 0)
    assert (found.bytes_read, found.files) == (LOG.stat().st_size, ["server.log"])


def test_hits_begin_with_those_who_tried_most() -> None:
    """Families are told in the order of their attempts, the times of each in their order."""
    hits = list(read_rejections([str(LOG)]).tallies())

    assert [hit.attempts for hit in hits] == sorted((hit.attempts for hit in hits), reverse=True)
    assert all(list(hit.times) == sorted(hit.times) and len(hit.times) == hit.attempts for hit in hits)


# Rotation


def pieces(folder: Path, cuts: list[tuple[int, int]]) -> list[str]:
    """Files with so many of the demo's entries each, from one number to another; each entry has three lines."""
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
    """An entry that several files have is counted once, whatever the order of the files."""
    files = pieces(tmp_path, cuts)
    found = read_rejections(files)

    assert pairs(found) == pairs(read_rejections([str(LOG)]))
    assert found.duplicates == sum(read_rejections([name]).failed_attempts for name in files) - 1340


def test_files_that_were_put_together(tmp_path: Path) -> None:
    """One file that holds overlapping stretches of a log has each entry once."""
    (tmp_path / "all.log").write_bytes(
        b"".join(Path(name).read_bytes() for name in pieces(tmp_path, [(0, 900), (300, 1352)]))
    )

    assert pairs(read_rejections([str(tmp_path / "all.log")])) == pairs(read_rejections([str(LOG)]))


def test_a_compressed_copy_is_a_copy(tmp_path: Path) -> None:
    """A file and its compressed copy hold the same entries."""
    (tmp_path / "server.log.gz").write_bytes(gzip.compress(LOG.read_bytes()))
    found = read_rejections([str(tmp_path / "server.log.gz"), str(LOG)])

    assert (found.failed_attempts, found.duplicates) == (1340, 1340)
    assert found.bytes_read == LOG.stat().st_size + (tmp_path / "server.log.gz").stat().st_size


def rejection(**values: object) -> Rejection:
    """A rejection; as of one entry, unless told otherwise."""
    told = {"time": TIME, "at": AT, "family": FAMILY, "kind": IndexKind.ORIGINAL, "purpose": None, "role": "app"}
    return Rejection(**told | {"process": "1", "ours": False, "missing": ()} | values)  # type: ignore[arg-type]


def tallied(*files: list[Rejection]) -> Rejections:
    """The tally of some files' rejections."""
    found = Rejections()
    for number, file in enumerate(files):
        found.begin(f"{number}.log")
        for each in file:
            found.add(each)
    return found


def test_twice_within_the_clocks_resolution() -> None:
    """Two entries of one file that read the same are two attempts; in another file, they are the same two."""
    file = [rejection(), rejection(), rejection(process="2")]

    assert tallied(file).failed_attempts == 3
    assert (tallied(file, file).failed_attempts, tallied(file, file).duplicates) == (3, 3)


def test_without_a_time_nothing_tells_a_copy() -> None:
    """Where no time is logged, every entry counts."""
    file = [rejection(time="", at=None)] * 2

    assert tallied(file, file).failed_attempts == 4


def test_an_ambiguous_zone_tells_a_copy() -> None:
    """Where a time cannot be told, its text tells a copy."""
    file = [rejection(time=f"2025-01-22 08:00:0{second} IST", at=None) for second in (1, 1, 2)]

    assert (tallied(file, file).failed_attempts, tallied(file, file).duplicates) == (3, 3)


# What an entry says


def entry(**values: object) -> Entry:
    """A rejection's entry."""
    told = {"time": TIME, "message": MESSAGE, "state": "23505", "detail": DETAIL, "role": "app", "process": "1"}
    return Entry(**told | values)  # type: ignore[arg-type]


def test_a_rejection() -> None:
    """Who, when, by which unique index: all from one entry."""
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
    """A key of two columns or three, in any order, with NULL, quoted, in any language's sentence."""
    said = judge_entry(entry(detail=words.format(key)))

    assert said == rejection(family=family, kind=kind, purpose=purpose)


@pytest.mark.parametrize("name", [*INDEX_NAMES, f"{INDEX_NAME}_ccnew", f"{BUILD_NAME}_ccold1"])
def test_names_of_the_index(name: str) -> None:
    """The index, its build, the retired one, and REINDEX's copies of these are found by their names."""
    assert judge_entry(entry(message=MESSAGE.replace(INDEX_NAME, name))) == rejection()


@pytest.mark.parametrize("name", [f"{INDEX_NAME}_2", f"my_{INDEX_NAME}", "q_threads_pkey"])
def test_names_of_others(name: str) -> None:
    """Another index's rejection is not the unique index's, even where its name begins as the unique index's."""
    assert judge_entry(entry(message=MESSAGE.replace(INDEX_NAME, name))) is None


@pytest.mark.parametrize(
    "other",
    [
        {"state": "42P07", "message": f'relation "{INDEX_NAME}" already exists'},
        {"state": "P0001"},
        {"message": f'could not create unique index "{BUILD_NAME}"', "detail": "Key is duplicated."},
        {"command": "CREATE INDEX"},  # a concurrent build speaks so of what its last scan finds
        {"command": "REINDEX"},
        {"state": None, "message": f"konnte Unique Index »{BUILD_NAME}« nicht erstellen"},
        {"state": None, "message": f'無法建立唯一索引 "{RETIRED_NAME}"'},
        {"command": f"/* x */ CREATE UNIQUE INDEX CONCURRENTLY {BUILD_NAME} ON q_threads (purpose)"},
    ],
)
def test_what_is_no_attempt(other: dict[str, str | None]) -> None:
    """Another SQLSTATE, and a build that failed, in whatever language, is no attempt."""
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
    """An attempt whose family cannot be told is one all the same, and it is told why."""
    said = judge_entry(entry(**lacking))

    assert isinstance(said, Rejection)
    assert (said.at, said.family, said.missing) == (AT, None, missing)


def test_a_rejection_whose_time_is_not_known() -> None:
    """An attempt whose time cannot be told is one all the same; the server's zone tells it."""
    said = judge_entry(entry(time="2025-01-22 08:00:00 IST"))
    helped = judge_entry(entry(time="2025-01-22 08:00:00 IST"), "Asia/Kolkata")

    assert said == rejection(time="2025-01-22 08:00:00 IST", at=None, missing=(NO_TIME,))
    assert helped == rejection(time="2025-01-22 08:00:00 IST", at=datetime(2025, 1, 22, 2, 30, tzinfo=UTC))


def test_an_error_that_cannot_be_told() -> None:
    """Without SQLSTATE and key, words that are not known may be a rejection's: it is told that they are there."""
    assert judge_entry(entry(state=None, detail=None, message=f'jo: "{INDEX_NAME}"')) == NO_STATE


def test_our_own_probe_is_nobodys_attempt() -> None:
    """What our own sessions were refused is counted apart."""
    said = judge_entry(entry(application="incident_lib probe"))

    assert said == rejection(ours=True)
    found = tallied([rejection(), rejection(ours=True, process="2")])
    assert (found.failed_attempts, found.ours) == (1, 1)


# The tally


def test_attempts_per_hour_and_day() -> None:
    """Hours and days are those of UTC; an attempt whose time is not known is in none."""
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


def test_attempts_that_the_migration_ended() -> None:
    """Attempts before and after the fix; what the fixed index rejects is what it is for."""
    found = tallied(
        [rejection(at=AT + timedelta(hours=hour)) for hour in range(4)]
        + [rejection(at=AT + timedelta(hours=9), kind=IndexKind.FIXED, purpose="chat")]
    )

    assert found.ended(AT + timedelta(hours=3)) == RejectionsAround(4, 0, AT + timedelta(hours=3))
    assert found.ended(AT + timedelta(hours=1)) == RejectionsAround(2, 2, AT + timedelta(hours=3))
    assert Rejections().ended(AT) == RejectionsAround(0, 0, None)
    assert found.by_index == {"fixed": 1, "original": 4}


def test_a_record_carries_no_id() -> None:
    """What a run record carries is counts, times and names of files."""
    found = msgspec.to_builtins(read_rejections([str(LOG)]).as_record())
    hours = found.pop("per_hour")

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
    }
    assert sum(number for _, number in hours) == 1340
    assert hours[0] == ("2025-09-04T07:00:00Z", 2)
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", json.dumps(hours)) is None


def test_a_record_of_a_long_time_carries_days() -> None:
    """Beyond a thousand hours with attempts a record carries days."""
    told = tallied([rejection(at=AT + timedelta(hours=hour)) for hour in range(1001)]).as_record()

    assert (told.per, len(told.per_hour)) == ("day", 42)
    assert sum(number for _, number in told.per_hour) == 1001


def test_an_empty_tally() -> None:
    """Without an attempt there is no first and no last."""
    found = Rejections()

    assert (found.failed_attempts, found.families, found.owners, found.first, found.last) == (0, 0, 0, None, None)
    assert (found.per(3600), list(found.tallies()), found.by_index) == ([], [], {})


# Beside the threads


class Plain(NamedTuple):
    """What a plain reading of the demo's files says of a family that tried."""

    threads: int
    blocked: bool
    chat_at: datetime | None
    tries: int | None


def plain() -> dict[Family, Plain]:
    """What the demo's files say of each family that tried."""
    attempts, threads = defaultdict(list), defaultdict(list)
    for attempt in counted():
        attempts[attempt.family].append(attempt.at)
    with (paths.DEMO_DATA / "threads.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["root_prompt_row_id"] and row["owner_id"]:
                threads[Family(UUID(row["root_prompt_row_id"]), UUID(row["owner_id"]))].append(row)

    def told(family: Family) -> Plain:
        chats = (row for row in threads[family] if row["purpose"] == "chat" and row["created_at"])
        times = (datetime.fromisoformat(row["created_at"]) for row in chats)
        chat_at = min((at for at in times if at > min(attempts[family])), default=None)
        stands = any(row["is_active"] == "t" and row["purpose"] != "chat" for row in threads[family])
        tries = sum(at < chat_at for at in attempts[family]) if chat_at else None
        return Plain(len(threads[family]), stands, chat_at, tries)

    return {family: told(family) for family in attempts}


def test_families_beside_their_threads(incident: Environment) -> None:
    """Of each family that tried: its threads, whether it is blocked now, when it got a chat, after how many tries."""
    with reading(incident) as connection:
        joined = join_threads(connection, read_rejections([str(LOG)]))

    assert {each.family: Plain(each.threads, each.blocked, each.chat_at, each.tries) for each in joined.families} == (
        plain()
    )


def test_counts_beside_the_threads(incident: Environment) -> None:
    """Who tried and is blocked, who is not, who is blocked and never tried, and who got a chat in the end."""
    with reading(incident) as connection:
        told = join_threads(connection, read_rejections([str(LOG)])).counts()
    expected = plain().values()
    tries = Counter(each.tries for each in expected if each.tries is not None)

    assert told == {
        "blocked": 1088,
        "hit_and_blocked": sum(each.blocked for each in expected),
        "hit_not_blocked": sum(not each.blocked for each in expected),
        "blocked_never_hit": 1088 - sum(each.blocked for each in expected),
        "without_their_chat": 32,
        "without_threads": 0,
        "got_a_chat": tries.total(),
        "without_a_chat": 447 - tries.total(),
        "tries": [(number, tries[number]) for number in sorted(tries)],
    }


def test_families_are_asked_about_in_batches(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many families are asked about at a time, the answers are theirs."""
    found = read_rejections([str(LOG)])
    with reading(incident) as connection:
        at_once = join_threads(connection, found)
        monkeypatch.setattr(threads, "BATCH", 7)
        in_batches = join_threads(connection, found)

    assert (in_batches.families, in_batches.blocked) == (at_once.families, at_once.blocked)


def test_under_the_fixed_index_nobody_is_blocked(incident: Environment) -> None:
    """Once the fix is in, whoever tried is not blocked."""
    apply(incident, confirm="staging")
    with reading(incident) as connection:
        told = join_threads(connection, read_rejections([str(LOG)])).counts()

    assert (told["blocked"], told["hit_and_blocked"], told["hit_not_blocked"], told["blocked_never_hit"]) == (
        0,
        0,
        447,
        0,
    )


def test_beside_a_index_that_cannot_be_read(incident: Environment) -> None:
    """Where a unique index cannot be read, nobody is said to be blocked or not."""
    with psycopg.connect(incident.address) as connection:
        connection.execute("CREATE UNIQUE INDEX odd ON public.q_threads (row_id, lower(provider)) WHERE is_active")
    with reading(incident) as connection:
        joined = join_threads(connection, read_rejections([str(LOG)]))

    assert (joined.blocked, joined.hit_and_blocked, joined.hit_not_blocked, joined.blocked_never_hit) == (None,) * 4
    assert {each.blocked for each in joined.families} == {None}


def test_families_of_another_database(environment: Environment) -> None:
    """Families that have no thread in the table are told."""
    with reading(environment) as connection:
        told = join_threads(connection, read_rejections([str(LOG)])).counts()

    assert (told["without_threads"], told["without_a_chat"], told["tries"]) == (447, 447, [])


# The command


def ran(*words: str, given: bytes | None = None) -> tuple[int, str, str]:
    """Run `incident failures …`: its code, standard output, and standard error or the message."""
    done = CliRunner().invoke(cli, ["failures", *words], standalone_mode=False, input=given)
    if isinstance(done.exception, IncidentError):
        return done.exception.exit_code, done.stdout, str(done.exception)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


SENTENCE = "1,340 rejected inserts by 447 families (200 users), from 2025-09-04 07:12 to 2025-10-13 11:25 UTC."


def lines(out: str) -> list[str]:
    """The lines of a table, each with single spaces."""
    return [" ".join(line.split()) for line in out.splitlines() if line.strip()]


def test_the_table() -> None:
    """For people: the sum, days, the busiest hours; no id."""
    code, out, err = ran(str(LOG))

    assert (code, err) == (0, "")
    assert lines(out)[0] == SENTENCE
    assert "2025-09-22 303 ████████████████████████████████████████" in lines(out)
    assert "2025-09-04 3 █" in lines(out)
    assert lines(out)[-10] == "2025-09-22 12:00 43"
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", out) is None


def test_the_table_beside_the_threads(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an environment, what its threads say of those families."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    _, out, _ = ran(str(LOG), "--env", "staging")

    assert lines(out)[-7:] == [
        "hit and blocked 303 families with rejected inserts that were blocked for chat when the logs were read",
        "hit not blocked 144 families with rejected inserts that were not blocked for chat then",
        "blocked never hit 785 families that were blocked for chat then, without a rejected insert",
        "got a chat 148 families with rejected inserts that got a chat later",
        "without a chat 299 families with rejected inserts that have not got a chat since",
        "without their chat 32 families with rejected inserts whose chats have all been ended",
        "without threads 0 families with rejected inserts that have no thread in this table",
    ]


def test_the_table_tells_what_was_not_understood(tmp_path: Path) -> None:
    """What was not understood, or left out, is told with its number."""
    (tmp_path / "odd.log").write_text(f"(7) 23505 ERROR:  {MESSAGE}\n" * 2, "utf-8")
    _, out, _ = ran(str(LOG), str(LOG), str(tmp_path / "odd.log"))

    assert [line for line in lines(out)[-4:] if "─" not in line] == [
        "entries remark",
        "2 not counted: its line is damaged, or does not begin with the log_line_prefix",
        "1,340 not counted: another file has it, too",
    ]


def test_a_log_without_an_attempt(tmp_path: Path) -> None:
    """Without an attempt, that is what is said."""
    (tmp_path / "empty.log").write_text("", "utf-8")

    assert ran(str(tmp_path / "empty.log")) == (0, "No rejected insert is in these logs.\n", "")


def test_a_log_that_names_no_family(tmp_path: Path) -> None:
    """Where no DETAIL was logged, it is said that the families are not told."""
    (tmp_path / "terse.log").write_text(f"2025-09-22 08:00:00.123 CEST [1] ERROR:  {MESSAGE}\n", "utf-8")
    _, out, _ = ran(str(tmp_path / "terse.log"))

    assert lines(out)[0] == ("1 rejected insert by unknown families, from 2025-09-22 06:00 to 2025-09-22 06:00 UTC.")
    assert lines(out)[-1] == f"1 {NO_DETAIL}"


def test_json() -> None:
    """JSON has standard output for itself: the record's keys, roles, and a row for each family."""
    code, out, err = ran(str(LOG), "--format", "json")
    told = json.loads(out)

    assert (code, err) == (0, f"{SENTENCE}\n")
    assert next(iter(told)) == "failed_attempts"
    record = json.loads(to_json(read_rejections([str(LOG)]).as_record()))
    assert {key: value for key, value in record.items() if value is not None} == {
        key: told[key] for key, value in record.items() if value is not None
    }
    assert (told["by_role"], told["by_purpose"], told["beside_the_threads"]) == ({"postgres": 1340}, {}, None)
    assert Counter({row["root_prompt_row_id"]: 1 for row in told["attempts"]}).total() <= len(told["attempts"]) == 447
    assert list(told["attempts"][0]) == ["root_prompt_row_id", "owner_id", "attempts", "first", "last"]


def test_csv_beside_the_threads(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV has a row for each family; with an environment, what its threads say, too."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    _, out, err = ran(str(LOG), "--env", "staging", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))

    assert err == f"{SENTENCE}\n"
    assert sum(int(row["attempts"]) for row in rows) == 1340
    assert list(rows[0]) == [
        *("root_prompt_row_id", "owner_id", "attempts", "first", "last"),
        *("threads", "blocked", "chat_at", "tries"),
    ]
    assert {Family(UUID(r["root_prompt_row_id"]), UUID(r["owner_id"])): r["tries"] for r in rows} == {
        family: "" if told.tries is None else str(told.tries) for family, told in plain().items()
    }


def test_csv_without_an_attempt(tmp_path: Path) -> None:
    """CSV without a family has its header."""
    (tmp_path / "empty.log").write_text("", "utf-8")

    assert ran(str(tmp_path / "empty.log"), "--format", "csv")[1].split() == [
        "root_prompt_row_id,owner_id,attempts,first,last"
    ]


def test_standard_input() -> None:
    """`-` is standard input."""
    assert lines(ran("-", given=gzip.compress(LOG.read_bytes()))[1])[0] == SENTENCE


def test_out_is_for_its_owner_alone(tmp_path: Path) -> None:
    """With --out all goes to a file that only its owner may read, whatever was there before."""
    out = tmp_path / "failures.json"
    out.write_text("old", "utf-8")
    code, told, err = ran(str(LOG), "--format", "json", "--out", str(out))

    assert (code, told, err) == (0, "", f"{SENTENCE}\n")
    assert json.loads(out.read_text("utf-8"))["failed_attempts"] == 1340
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    """That the file cannot be written is told before the logs are read."""
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "failures.csv"

    assert ran("-", "--out", str(out), given=b"") == (
        3,
        "",
        f"{os.path.relpath(out.parent)} cannot be written.\n"
        "  why:  File exists.\n"
        "  next: Name another file with --out.",
    )


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """Where something fails, the file that was there stays, and nothing beside it."""
    out = tmp_path / "failures.json"
    out.write_text("old", "utf-8")

    assert ran(str(LOG), "--out", str(out), "--time-zone", "Nowhere")[0] == 2
    assert (list(tmp_path.iterdir()), out.read_text("utf-8")) == ([out], "old")


def test_options_of_the_log(tmp_path: Path) -> None:
    """Format, prefix and zone of the log may be given."""
    (tmp_path / "odd.log").write_text(f"<2025-01-22 08:00:00 IST|app> ERROR:  {MESSAGE}\n", "utf-8")
    words = ("--log-format", "stderr", "--log-line-prefix", "<%t|%u> ", "--time-zone", "Asia/Kolkata")
    told = json.loads(ran(str(tmp_path / "odd.log"), *words, "--format", "json")[1])

    assert (told["first"], told["by_role"]) == ("2025-01-22T02:30:00Z", {"app": 1})


def test_an_environment_that_is_not_known() -> None:
    """An environment that is not known is told before the logs are read."""
    with pytest.raises(UsageError, match=r"^The environment 'nowhere' is not known\."):
        cli.main(["failures", "-", "--env", "nowhere"], standalone_mode=False)


def test_a_file_that_is_not_there() -> None:
    """A file that is not there is bad usage."""
    done = CliRunner().invoke(cli, ["failures", "none.log"])

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: Invalid value for 'LOG…': File 'none.log' does not exist." in done.stderr


def test_it_can_be_interrupted() -> None:
    """Ctrl-C ends it at once, with 130 and no traceback."""
    command = [sys.executable, "-m", "incident_lib", "failures", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
    ) as running:
        assert running.stdin
        running.stdin.write(LOG.read_bytes()[:800_000])  # more than a pipe holds: it is reading by then
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


def test_real_logs_are_what_clients_counted(logged: Logged, tmp_path: Path) -> None:
    """In each format exactly the attempts are read that clients, side by side, were rejected; and nothing else."""
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    with logged.logging() as told:
        make_noise(logged)
        try_chats(logged, told, blocked(logged, 12), times=5)
        make_noise(logged)
    for name in told.write(tmp_path).values():
        found = read_rejections([name])
        assert by_family(found) == told.rejected
        assert (found.by_role, found.not_understood, found.duplicates) == ({"postgres": 240}, {}, 0)
        assert began <= min(each for hit in found.tallies() for each in hit.times)
        assert found.last <= datetime.now(UTC)


def test_formats_of_one_server_hold_the_same(logged: Logged, tmp_path: Path) -> None:
    """What a server logged in several formats at once is counted once."""
    with logged.logging() as told:
        try_chats(logged, told, blocked(logged, 4), times=25)
    found = read_rejections(told.write(tmp_path).values())

    assert by_family(found) == told.rejected
    assert found.duplicates == 2 * sum(told.rejected.values())


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
    """Whatever the prefix, the zone and the verbosity: each attempt is read, in its minute, in every format."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    with logged.logging(**settings) as told:
        try_chats(logged, told, blocked(logged, 4), times=3)
    read = {form: read_rejections([name], **given) for form, name in told.write(tmp_path).items()}

    assert {form: by_family(found) for form, found in read.items()} == dict.fromkeys(FILES, told.rejected)
    assert all(began <= found.first <= found.last <= datetime.now(UTC) for found in read.values())
    assert [found.not_understood for found in read.values()] == [{}, {}, {}]


@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] "])
def test_without_a_detail(logged: Logged, tmp_path: Path, prefix: str) -> None:
    """With log_error_verbosity = terse, stderr has no DETAIL: attempts count, their families are told as unknown."""
    with logged.logging(log_line_prefix=prefix, log_error_verbosity="terse") as told:
        try_chats(logged, told, blocked(logged, 4), times=3)
    read = {form: read_rejections([name]) for form, name in told.write(tmp_path).items()}

    assert (read["stderr"].failed_attempts, read["stderr"].families) == (48, 0)
    assert read["stderr"].not_understood == {NO_DETAIL: 48}
    assert by_family(read["csvlog"]) == by_family(read["jsonlog"]) == told.rejected


def test_under_row_level_security(logged: Logged, tmp_path: Path) -> None:
    """Whom row level security applies to, PostgreSQL tells no key: it is in no format of the log."""
    blocked(logged, 1)
    with logged.connect() as connection:
        for statement in (
            "CREATE ROLE authenticated LOGIN",
            "GRANT ALL ON public.q_threads, public.q_prompts TO authenticated",
            "CREATE POLICY all_of_them ON public.q_threads TO authenticated USING (true)",
        ):
            connection.execute(statement)
    with logged.logging() as told, logged.connect(user="authenticated") as client:
        for _ in range(3):
            with pytest.raises(psycopg.errors.UniqueViolation):
                insert_thread(client, NewThread(*families(1)[0], purpose="chat"))
    for name in told.write(tmp_path).values():
        found = read_rejections([name])
        assert (found.failed_attempts, found.by_role) == (3, {"authenticated": 3})
        assert found.not_understood == {NO_DETAIL: 3}


@pytest.fixture
def swapped(logged: Logged) -> Iterator[Logged]:
    """The server, with the fixed index, until the test ends."""
    environment = Environment("staging", "a test", str(logged.server.get_uri()))
    apply(environment, confirm="staging")
    yield logged
    with logged.connect() as connection:
        connection.execute("TRUNCATE public.q_threads")
    apply(environment, confirm="staging", target=IndexKind.ORIGINAL)


def test_the_fixed_index_tells_the_purpose(swapped: Logged, tmp_path: Path) -> None:
    """The fixed index's key has the purpose, whatever it holds, and its rejections are told apart."""
    purposes = ("run", "chat", "", "a, b", "c) already (d)=(e", "line\nbreak", "\ttab", '"quoted"', "ünï")
    blocked(swapped, 1)
    with swapped.logging() as told, swapped.connect() as client:
        for purpose, _ in [(purpose, time) for purpose in purposes for time in range(3)]:
            try:
                insert_thread(client, NewThread(*families(1)[0], purpose=purpose))
            except psycopg.errors.UniqueViolation:
                told.rejected[families(1)[0]] += 1
    for name in told.write(tmp_path).values():
        found = read_rejections([name])
        assert by_family(found) == told.rejected
        assert found.by_index == {"fixed": 1 + 2 * len(purposes)}
        assert found.by_purpose == {purpose: 3 if purpose == "run" else 2 for purpose in purposes}


def test_an_owner_that_is_null(logged: Logged, tmp_path: Path) -> None:
    """A unique index that takes NULLs for equal rejects threads without an owner: the family has none."""
    key = "(root_prompt_row_id, owner_id) NULLS NOT DISTINCT WHERE is_active"
    ownerless = Family(families(1)[0].root, None)
    blocked(logged, 1)
    with logged.connect() as connection:
        connection.execute(f"CREATE UNIQUE INDEX {BUILD_NAME} ON public.q_threads {key}")
        add(connection, *ownerless)
    with logged.logging() as told, logged.connect() as client, pytest.raises(psycopg.errors.UniqueViolation):
        insert_thread(client, NewThread(*ownerless))
    with logged.connect() as connection:
        connection.execute(f"DROP INDEX public.{BUILD_NAME}")

    read = [read_rejections([name]) for name in told.write(tmp_path).values()]
    assert [(by_family(found), found.owners) for found in read] == [({ownerless: 1}, 0)] * 3


def test_our_own_probe(logged: Logged, tmp_path: Path) -> None:
    """What a probe of ours was refused is no client's attempt, where the log tells who it was."""
    family = blocked(logged, 1)[0]
    environment = Environment("staging", "a test", str(logged.server.get_uri()))
    prefix = "%m [%p] %q[user=%u,db=%d,app=%a] "
    with logged.logging(log_line_prefix=prefix) as told, connecting(environment, "probe") as connection:
        probe_semantics(connection, [family])
    read = [read_rejections([name], prefix=prefix) for name in told.write(tmp_path).values()]

    assert [(found.failed_attempts, found.ours) for found in read] == [(0, 3)] * 3


LOCALES = {"de_DE": "FEHLER:  ", "fr_FR": "ERREUR:  ", "ja_JP": "詳細:  ", "ru_RU": "ОШИБКА:  ", "ka_GE": "შეცდომა:  "}


@pytest.fixture(scope="module")
def foreign() -> Iterator[Logged]:
    """A real server that can log in other languages; skips where there is none."""
    if not shutil.which("localedef") or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("locales cannot be made here: no localedef, or no sources of locales")
    home = Path(tempfile.mkdtemp(prefix="incident-foreign-"))
    home.chmod(0o755)
    for locale in LOCALES:
        subprocess.run(["localedef", "-i", locale, "-f", "UTF-8", home / f"{locale}.UTF-8"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCPATH", str(home))
        server = Logged(home / "server", version=15)
    yield server
    clusters.remove(server.server)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] "])
@pytest.mark.parametrize("verbosity", ["default", "terse", "verbose"])
def test_real_languages(foreign: Logged, tmp_path: Path, locale: str, prefix: str, verbosity: str) -> None:
    """A server that logs in another language is read as any: its failed builds, too, are no attempts."""
    settings = {"log_line_prefix": prefix, "log_error_verbosity": verbosity, "lc_messages": f"{locale}.UTF-8"}
    with foreign.logging(**settings) as told:
        make_noise(foreign)
        try_chats(foreign, told, blocked(foreign, 4), times=3)
        make_noise(foreign)
    read = {form: read_rejections([name]) for form, name in told.write(tmp_path).items()}

    assert LOCALES[locale].encode() in told.logs["stderr"] or verbosity == "terse"
    assert [found.failed_attempts for found in read.values()] == [48, 48, 48]
    assert by_family(read["csvlog"]) == by_family(read["jsonlog"]) == told.rejected
    assert by_family(read["stderr"]) == ({} if verbosity == "terse" else told.rejected)


# The benchmark


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    """The benchmark runs on a small log, and finds in it what was written."""
    script = paths.ROOT / "benchmarks" / "logs.py"
    variables = os.environ | {"INCIDENT_BENCH_DIR": str(tmp_path)}
    command = [sys.executable, str(script), "--megabytes", "1", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=variables)
    told = (tmp_path / "logs.md").read_text("utf-8")

    assert re.search(r"- PASS: the same count as was written: \d\d", told)
    assert "| ours, the whole command |" in told
