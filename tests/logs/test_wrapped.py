"""Server logs as they really come: wrapped, encoded, compressed; each is read, or is said to be unread."""

# ruff: noqa: ARG005 - lambdas of one form; numbers of the examples
from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incident_lib import paths
from incident_lib.logs import Rejections, read_rejections
from incident_lib.logs.entry import DAMAGED
from incident_lib.logs.rejections import CARRIED, NO_TIME
from tests.support import clusters
from tests.support.examples import rounds
from tests.support.logged import Logged, Told, blocked, make_noise, try_chats
from tests.support.wrappings import KINDS, Part, led, text, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CASES = sorted((Path(__file__).parent / "data").iterdir())
WITHOUT_DETAIL = {"18_terse.log", "40b_alloydb_text_nodetail.log"}
FIRST = (10, 2, 7, 15, 5)


def read(folder: Path, data: bytes) -> Rejections:
    """The rejected inserts in a log of these bytes."""
    (folder / "log").write_bytes(data)
    return read_rejections([str(folder / "log")])


def families(found: Rejections) -> list[int]:
    """How many rejected inserts each family has."""
    return sorted(each.attempts for each in found.tallies())


def begun(found: Rejections) -> tuple[int, ...] | None:
    """When the first was rejected, without the year, which syslog does not have."""
    return found.first.timetuple()[1:6] if found.first else None


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_cases(case: Path) -> None:
    """Each log that people have is read: six rejected inserts of three families, unless it has no DETAIL."""
    found = read_rejections([str(case)])

    assert (found.failed_attempts, begun(found)) == (6, FIRST)
    assert families(found) == ([] if case.name in WITHOUT_DETAIL else [1, 2, 3])
    assert found.unread == []


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str, tmp_path: Path) -> None:
    """Each way in which programs wrap a log is undone: six rejected inserts of three families, with their times."""
    found = read(tmp_path, KINDS[kind](truth()))

    assert (found.failed_attempts, families(found), found.owners, begun(found)) == (6, [1, 2, 3], 3, FIRST)
    assert found.is_read


@pytest.mark.parametrize("lead", ["", "db-1  | ", "[pod/pg-0/postgres] "])
def test_a_log_without_a_time(lead: str, tmp_path: Path) -> None:
    """If neither the server nor what carries its lines has a time, the times are unknown, and the rest is read."""
    found = read(tmp_path, led(lambda part, n: lead, "[%p] ")(truth()))

    assert (found.failed_attempts, families(found), found.first) == (6, [1, 2, 3], None)
    assert found.not_understood == {NO_TIME: 6}


def test_the_time_of_what_carries_a_line(tmp_path: Path) -> None:
    """If the log_line_prefix has no time, the time before it serves, and the result says so."""
    found = read(tmp_path, led(lambda part, n: f"{part.iso(9)} ", "[%p] ")(truth()))

    assert (found.failed_attempts, begun(found), found.not_understood) == (6, FIRST, {CARRIED: 6})


def test_an_error_within_something_else(tmp_path: Path) -> None:
    """If a record has an error about the index that cannot be taken out of it, that is counted as not read."""
    found = read(tmp_path, repr([part.line() for part in truth()]).encode())

    assert (found.failed_attempts, found.not_understood) == (0, {DAMAGED: 1})


def test_a_name_alone_on_its_line(tmp_path: Path) -> None:
    """If a log is broken in an unknown way, a line that ends with the index's name may be a rejected insert."""
    found = read(tmp_path, text(truth()).replace("unique constraint", "unique\n    constraint").encode())

    assert (found.failed_attempts, found.not_understood) == (0, {DAMAGED: 6})


@pytest.mark.parametrize("kinds", [("plain", "docker json-file"), ("docker json-file", "plain"), ("compose", "CRI")])
def test_several_kinds_in_one_file(kinds: tuple[str, str], tmp_path: Path) -> None:
    """One file may have a log of one kind after that of another."""
    parts = truth()
    half = next(place for place, part in enumerate(parts) if part.pid == 4103)
    found = read(tmp_path, KINDS[kinds[0]](parts[:half]) + KINDS[kinds[1]](parts[half:]))

    assert (found.failed_attempts, families(found)) == (6, [1, 2, 3])


@pytest.mark.skipif(not shutil.which("pgbadger"), reason="pgBadger is not installed")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("plain", ["-f", "stderr", "-p", "%m [%p] "]),
        ("RDS", ["-f", "rds"]),
        ("syslog and a prefix", ["-f", "syslog", "-p", "%m [%p] %u@%d "]),
    ],
)
def test_pgbadger_counts_the_same(kind: str, words: list[str], tmp_path: Path) -> None:
    """PgBadger counts the same rejections, and the one by another unique index."""
    found = read(tmp_path, KINDS[kind](truth()))
    out = tmp_path / "out.json"
    subprocess.run(
        ["pgbadger", "-q", "-w", "--pid-dir", tmp_path, *words, "-x", "json", "-o", out, tmp_path / "log"], check=True
    )
    errors = json.loads(out.read_text("utf-8"))["error_info"]["postgres"]

    assert sum(e["count"] for text, e in errors.items() if "duplicate key" in text) == found.failed_attempts + 1


# What is no server's log


MESSAGE = 'duplicate key value violates unique constraint "idx_q_threads_family_unique"'
KEY = "Key (root_prompt_row_id, owner_id)=(11111111-aaaa-4aaa-8aaa-000000000001, 22222222-bbbb-4bbb-8bbb-000000000001)"
OTHERS: dict[str, Callable[[int], str]] = {
    "node": lambda n: json.dumps(
        {
            "level": "error",
            "time": 1759389305000 + n,
            "msg": MESSAGE,
            "code": "23505",
            "detail": KEY,
            "severity": "ERROR",
        }
    ),
    "pino": lambda n: json.dumps({"level": 30, "time": 1759389305000 + n, "pid": 7, "msg": f"request {n} completed"}),
    "uvicorn": lambda n: f'INFO:     10.0.0.7:{n} - "POST /chats HTTP/1.1" 500 Internal Server Error',
    "uvicorn in docker": lambda n: json.dumps({"log": f"INFO:     started {n}\n", "time": "2025-10-02T07:15:05.1Z"}),
    "python": lambda n: f"2025-10-02 07:15:05,{n % 1000:03} ERROR: {MESSAGE}",
    "rails": lambda n: (
        f"E, [2025-10-02T07:15:05.1 #{n}] ERROR -- : PG::UniqueViolation: ERROR:  {MESSAGE}\nDETAIL:  {KEY}"
    ),
    "psql": lambda n: f"psql:chats.sql:{n}: ERROR:  {MESSAGE}\nDETAIL:  {KEY}",
    "psql in kubectl": lambda n: f"2025-10-02T07:15:05.1Z ERROR:  {MESSAGE}\n2025-10-02T07:15:05.1Z DETAIL:  {KEY}",
    "traceback": lambda n: f"psycopg.errors.UniqueViolation: {MESSAGE}\nDETAIL:  {KEY} already exists.",
    "nginx": lambda n: f'10.0.0.7 - - [02/Oct/2025:07:15:05 +0000] "GET /{n} HTTP/1.1" 200 612 "-" "curl"',
    "logfmt": lambda n: (
        f'time=2025-10-02T07:15:05Z level=error msg="insert failed" err="{MESSAGE.replace(chr(34), "")}"'
    ),
    "csv": lambda n: f"{n},2025-10-02,ok,0.5",
    "code": lambda n: f'    raise Failed("ERROR:  {n}", f"DETAIL: {{detail}}")',
}


@pytest.mark.parametrize("program", OTHERS)
def test_other_programs_logs_are_not_read(program: str, tmp_path: Path) -> None:
    """The log of another program is not read, and has no rejected insert, even if it quotes PostgreSQL's message."""
    found = read(tmp_path, "".join(OTHERS[program](number) + "\n" for number in range(500)).encode())

    assert (found.failed_attempts, found.is_read) == (0, False)


def noise(kind: str, size: int) -> bytes:
    """So many bytes that are no server's log: random ones, random text, source code, or another program's JSON."""
    if kind == "JSON":
        records = "".join(OTHERS["node"](number) + "\n" + OTHERS["pino"](number) + "\n" for number in range(1000))
        return (records * (1 + size // len(records)))[:size].encode()
    if kind == "code":
        code = b"".join(path.read_bytes() for path in sorted(paths.ROOT.rglob("src/**/*.py")))
        return (code * (1 + size // len(code)))[:size]
    raw = random.Random(1).randbytes(size)
    return base64.encodebytes(raw)[:size] if kind == "text" else raw


# More than is looked at as a whole, and than the largest record. Each of the records of the JSON quotes a rejection.
NOISE = {"bytes": 18_000_000, "text": 18_000_000, "code": 18_000_000, "JSON": 5_000_000}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_not_read(kind: str, tmp_path: Path) -> None:
    """In many megabytes of anything no rejected insert and no entry is found."""
    found = read(tmp_path, noise(kind, rounds(NOISE[kind], soak=50_000_000)))

    assert (found.failed_attempts, found.is_read) == (0, False)


# A real server's log, wrapped at random


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """What clients counted, and what a real server logged meanwhile."""
    home = Path(tempfile.mkdtemp(prefix="incident-wrapped-"))
    server = Logged(home / "server")
    with server.logging(log_line_prefix="%m [%p] ") as logs:
        make_noise(server)
        try_chats(server, logs, blocked(server, 6), times=3)
        make_noise(server)
    yield logs
    clusters.remove(server.server)
    shutil.rmtree(home, ignore_errors=True)


TOKENS: list[Callable[[int], str]] = [
    lambda n: f"2025-10-02T07:15:{n % 60:02}.{n:09}Z",
    lambda n: f"Oct  2 07:15:{n % 60:02}",
    lambda n: f"[02/Oct/2025:07:15:{n % 60:02} +0000]",
    lambda n: f"{n}",
    lambda n: f"n={n}",
    lambda n: f"<{n % 8}>",
    lambda n: "pg-0",
    lambda n: "[pod/pg-0/postgres]",
    lambda n: "a/server.log",
    lambda n: "(info)",
    lambda n: "stderr F",
    lambda n: "\x1b[33mdb-1\x1b[0m",
]
leads = st.builds(
    lambda tokens, between, end: lambda n: between.join(token(n) for token in tokens) + (end if tokens else ""),
    st.lists(st.sampled_from(TOKENS), max_size=4),
    st.sampled_from([" ", "  ", "|", " | ", ": ", "\t", " - "]),
    st.sampled_from([" ", " | ", ": ", "> ", "\t"]),
)
CODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "with a mark": lambda log: log.encode("utf-8-sig"),
    "UTF-16": lambda log: log.encode("utf-16"),
    "CRLF": lambda log: log.replace("\n", "\r\n").encode(),
}
CARRIERS: dict[str, Callable[[str, str], str]] = {
    "lines": lambda line, name: line,
    "docker": lambda line, name: json.dumps({name: line + "\n", "stream": "stderr", "time": "2025-10-02T07:15:03.1Z"}),
    "nested": lambda line, name: json.dumps(
        {"a": {"b": [{name: line, "host": "x"}]}, "@timestamp": "2025-10-02T07:15:03Z"}
    ),
    "in text": lambda line, name: json.dumps({"message": json.dumps({name: line})}),
}
PACKINGS = ["plain", "gzip", "bzip2", "xz", "zstd"]


def packed(data: bytes, packing: str) -> bytes:
    """Compressed bytes."""
    import bz2
    import gzip
    import lzma

    from incident_lib.logs.compression import zstd

    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "zstd": zstd.compress,
    }
    return packers.get(packing, bytes)(data)


FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(
    lead=leads,
    name=st.sampled_from(["log", "message", "textPayload", "zeile", "x_1"]),
    carrier=st.sampled_from(sorted(CARRIERS)),
    coding=st.sampled_from(sorted(CODINGS)),
    packing=st.sampled_from(PACKINGS),
    other=st.integers(0, 3),
)
def test_a_real_log_in_any_wrapping(
    told: Told,
    tmp_path: Path,
    lead: Callable[[int], str],
    name: str,
    carrier: str,
    coding: str,
    packing: str,
    other: int,
) -> None:
    """However a real log is led, carried, encoded, compressed and interleaved, the clients' own counts are read."""
    out = []
    for number, line in enumerate(told.logs["stderr"].decode().splitlines()):
        out.append(CARRIERS[carrier](lead(number) + line, name))
        out += [f"api-{each}  | GET /chats {number} 200" for each in range(other)]
    found = read(tmp_path, packed(CODINGS[coding]("\n".join(out) + "\n"), packing))

    assert {each.family: each.attempts for each in found.tallies()} == told.rejected
    assert found.is_read


@FEW
@given(
    kind=st.sampled_from(["plain", "kubectl --timestamps", "compose", "docker json-file", "CloudNativePG", "Heroku"]),
    data=st.data(),
)
def test_noise_changes_no_other_entry(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    """A line of anything between entries changes none of them; a log that is cut off keeps those before."""
    lines = KINDS[kind](truth()).splitlines(keepends=True)
    begins = [place for place, line in enumerate(lines) if b"duplicate key" in line or b"checkpoint" in line]
    place = data.draw(st.sampled_from(begins))
    rubbish = data.draw(st.binary(max_size=80)).replace(b"\n", b"").lstrip(b"\t[{") + b"\n"
    noisy = read(tmp_path, b"".join([*lines[:place], rubbish, *lines[place:]]))
    cut = read(tmp_path, b"".join(lines[:place]))

    assert (noisy.failed_attempts, families(noisy)) == (6, [1, 2, 3])
    assert cut.failed_attempts == sum(
        b"idx_q_threads_family_unique" in line and b"duplicate" in line for line in lines[:place]
    )


@pytest.mark.slow
def test_large_documents_are_read_in_pieces(tmp_path: Path) -> None:
    """A JSON document that is larger than what is held at once is read element by element."""
    parts = truth()
    filler = [Part(parts[0].at, 7, -1, "LOG", f"filler {number} " + "x" * 3000) for number in range(1_200)]
    for kind in ("Cloud SQL, JSON, the earliest first", "Loki's API", "aws logs filter-log-events"):
        found = read(tmp_path, KINDS[kind]([*filler, *parts, *filler]))
        assert (kind, found.failed_attempts, families(found)) == (kind, 6, [1, 2, 3])


def test_containers_with_equal_process_numbers(tmp_path: Path) -> None:
    """Two containers' lines are kept apart by what stands before them, even if the processes have the same number."""

    def line(pod: int, label: str, rest: str) -> str:
        return f"pg-{pod} postgres 2025-10-02 07:15:05.120 UTC [17] {label}:  {rest}\n"

    def key(number: int) -> str:
        root, owner = (f"{digit * 8}-0000-4000-8000-00000000000{number}" for digit in "01")
        return f"Key (root_prompt_row_id, owner_id)=({root}, {owner}) x."

    found = read(
        tmp_path,
        (
            line(0, "ERROR", MESSAGE)
            + line(1, "ERROR", MESSAGE)
            + line(1, "DETAIL", key(1))
            + line(0, "DETAIL", key(0))
            + line(0, "ERROR", MESSAGE)
            + line(0, "DETAIL", key(0))
            + line(0, "LOG", "x")
            + line(1, "LOG", "x")
        ).encode(),
    )

    assert {each.family.root.int % 16: each.attempts for each in found.tallies()} == {0: 2, 1: 1}


def test_leads_of_any_shape(tmp_path: Path) -> None:
    """What stands before the lines needs to be known to nobody: it stands before most of them."""
    shapes: list[Callable[[Part, int], str]] = [
        lambda part, n: f"<{n}> cluster/eu-1 >> ",
        lambda part, n: f"{part.iso()}|db|",
        lambda part, n: f"node7 {{svc=pg}} {n}# ",
    ]
    found: Any = [read(tmp_path, led(lead)(truth())) for lead in shapes]

    assert [(each.failed_attempts, families(each)) for each in found] == [(6, [1, 2, 3])] * len(shapes)
    assert families(read(tmp_path, text(truth(), "[%p|%u] %m ~ ").encode())) == [1, 2, 3]
