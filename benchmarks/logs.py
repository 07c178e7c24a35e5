"""How fast are rejected inserts found in a server's log, against grep, which only counts, and pgBadger, which parses?

python benchmarks/logs.py [--megabytes 500] [--rounds 3] [--out DIR]

It writes benchmarks/logs.md. pgBadger is Debian's package of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import harness

from incident_lib.model.change import INDEX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
PREFIX = "%m [%p] %e %q%u@%d "
MESSAGE = f'duplicate key value violates unique constraint "{INDEX_NAME}"'
FAMILIES, OWNERS = 2000, 800
OURS, PEER = "ours, the whole command", "pgBadger, errors only"
TARGET, MOST_BYTES, LEAST_SHARE = 5.0, 150_000_000, 0.2

# What a busy server with log_min_duration_statement and log_connections writes; weights of entries, not of lines.
# No other rejection of a unique index is among them: pgBadger adds up those of all indexes.
ENTRIES = (
    (30, "00000 LOG:  connection received: host=10.0.0.{small} port={port}"),
    (30, "00000 {who} LOG:  connection authorized: user={user} database=app application_name=PostgREST 12.2.3"),
    (
        60,
        "00000 {who} LOG:  duration: {ms} ms  execute <unnamed>: SELECT row_id, name, purpose FROM public.q_threads"
        " WHERE root_prompt_row_id = $1 AND owner_id = $2 AND is_active = true ORDER BY created_at DESC LIMIT 1\n"
        "00000 {who} DETAIL:  Parameters: $1 = '{root}', $2 = '{owner}'",
    ),
    (
        25,
        "00000 {who} LOG:  duration: {ms} ms  statement: WITH pgrst_source AS (\n\tSELECT m.row_id, m.content,"
        " m.created_at\n\tFROM public.messages m\n\tWHERE m.thread_row_id = '{root}'\n\tORDER BY m.created_at\n\t)"
        "\n\tSELECT coalesce(json_agg(s), '[]') FROM pgrst_source s",
    ),
    (20, "00000 {who} LOG:  disconnection: session time: 0:00:0{digit}.{small} user={user} database=app host=10.0.0.9"),
    (
        4,
        '00000 LOG:  automatic vacuum of table "app.public.messages": index scans: 1\n\tpages: {port} remain',
    ),
    (2, "57014 {who} ERROR:  canceling statement due to statement timeout\n57014 {who} STATEMENT:  SELECT pg_sleep(9)"),
    (
        1,
        '23503 {who} ERROR:  insert or update on table "q_threads" violates foreign key constraint "root_fkey"\n'
        '23503 {who} DETAIL:  Key (root_prompt_row_id)=({root}) is not present in table "q_prompts".\n'
        "23503 {who} STATEMENT:  INSERT INTO public.q_threads (root_prompt_row_id) VALUES ($1)",
    ),
    (
        1,
        f"23505 {{who}} ERROR:  {MESSAGE}\n"
        "23505 {who} DETAIL:  Key (root_prompt_row_id, owner_id)=({root}, {owner}) already exists.\n"
        '23505 {who} STATEMENT:  INSERT INTO public.q_threads ("root_prompt_row_id", "owner_id", "name", "purpose")'
        " VALUES ($1, $2, $3, $4) RETURNING row_id",
    ),
)


class Run(NamedTuple):
    """What a command took: seconds by the clock, bytes of memory at most; and how many rejections it found."""

    seconds: float
    memory: int
    count: int


def entries(rng: Random) -> Iterator[str]:
    """Entries without end, a few milliseconds apart, of twenty processes."""
    weights, texts = zip(*ENTRIES, strict=True)
    at = datetime(2025, 9, 22, tzinfo=UTC)
    while True:
        for text in rng.choices(texts, weights, k=1000):
            at += timedelta(milliseconds=rng.randrange(30))
            user, family = rng.choice(("authenticator", "postgres")), rng.randrange(FAMILIES)
            filled = text.format(
                who=f"{user}@app",
                user=user,
                small=rng.randrange(100, 250),
                port=rng.randrange(1024, 65536),
                ms=rng.randrange(100_000) / 1000,
                digit=rng.randrange(10),
                root=UUID(int=family << 64 | 1),
                owner=UUID(int=family % OWNERS),
            )
            start = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC [{4000 + rng.randrange(20)}] "
            yield "".join(f"{line}\n" if line[0] == "\t" else f"{start}{line}\n" for line in filled.split("\n"))


def made(megabytes: int) -> Path:
    """The log, made once; how many rejections it has is in a file beside it."""
    file = harness.HOME / f"server-{megabytes}.log"
    if not file.with_suffix(".count").exists():
        print(f"making {file} …", flush=True)
        harness.HOME.mkdir(parents=True, exist_ok=True)
        size = count = 0
        with file.open("w", encoding="utf-8") as out:
            for text in entries(Random(20250922)):
                size, count = size + out.write(text), count + (MESSAGE in text)
                if size >= megabytes * 10**6:
                    break
        file.with_suffix(".count").write_text(str(count))
    return file


def wrapped(log: Path, name: str) -> Path:
    """The log as another program writes it, made once, line by line."""
    file = log.with_name(f"{log.stem}-{name.replace(' ', '-')}.log")
    if not file.exists():
        print(f"making {file} …", flush=True)
        part = file.with_suffix(".part")
        with log.open(encoding="utf-8") as lines, part.open("w", encoding="utf-8") as out:
            out.writelines(WRAPPINGS[name](lines))
        part.rename(file)
    return file


def kubectl(lines: Iterable[str]) -> Iterator[str]:
    """With what `kubectl logs --prefix --timestamps` has before each line."""
    at = "2025-09-22T00:00:00.123456789Z"
    for line in lines:
        at = at if line[0] == "\t" else f"{line[:10]}T{line[11:23]}456789Z"
        yield f"[pod/pg-0/postgres] {at} {line}"


def docker(lines: Iterable[str]) -> Iterator[str]:
    """Docker's json-file."""
    for line in lines:
        yield f'{{"log":{json.dumps(line)},"stream":"stderr","time":"2025-09-22T00:00:00.123456789Z"}}\n'


def cloud_sql(lines: Iterable[str]) -> Iterator[str]:
    """What `gcloud logging read --format json` prints of Cloud SQL, an object for each line with its continuations."""
    sign, held = "[", ""
    for line in lines:
        if held and line[0] != "\t":
            yield f"{sign}\n{_event(held)}"
            sign, held = ",", ""
        held += line
    yield f"{sign}\n{_event(held)}\n]\n"


def _event(line: str) -> str:
    event = {
        "insertId": "s=1",
        "logName": "projects/p/logs/cloudsql.googleapis.com%2Fpostgres.log",
        "resource": {"labels": {"database_id": "p:chat", "region": "europe-west1"}, "type": "cloudsql_database"},
        "severity": "INFO",
        "textPayload": line.rstrip("\n"),
        "timestamp": f"{line[:10]}T{line[11:23]}456Z",
    }
    return "\n".join(f"  {text}" for text in json.dumps(event, indent=2).split("\n"))


WRAPPINGS = {"kubectl": kubectl, "docker JSON": docker, "Cloud SQL JSON": cloud_sql}


def ran(*command: str) -> tuple[float, int, str]:
    """Seconds, bytes of memory at most, and standard output of a command; its first run warmed the file's cache."""
    with tempfile.TemporaryFile("w+") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
        out.seek(0)
        return took, used.ru_maxrss * 1024, out.read()


def ours(log: Path) -> Run:
    """The whole command, its imports too."""
    took, memory, out = ran(sys.executable, "-m", "incident_lib", "failures", str(log), "--format", "json")
    return Run(took, memory, json.loads(out)["result"]["rejected_inserts"]["failed_attempts"])


def grep(log: Path) -> Run:
    """Grep for the name; it only counts lines."""
    took, memory, out = ran("grep", "-c", "-E", f'constraint .?"{INDEX_NAME}', str(log))
    return Run(took, memory, int(out))


def pgbadger(log: Path, jobs: int) -> Run:
    """PgBadger where it does the least: errors only (-w)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        words = (
            "-q",
            "-w",
            "--pid-dir",
            folder,
            "-j",
            str(jobs),
            "-f",
            "stderr",
            "-p",
            PREFIX,
            "-x",
            "json",
            "-o",
            str(out),
            str(log),
        )
        took, memory, _ = ran("pgbadger", *words)
        errors = json.loads(out.read_text("utf-8"))["error_info"]["postgres"]
    counts = [error["count"] for text, error in errors.items() if "duplicate key value" in text]
    return Run(took, memory, sum(counts))


def usual(log: Path, rounds: int) -> Run:
    """Our command's median of so many rounds."""
    return sorted(ours(log) for _ in range(rounds))[rounds // 2]


def measured(log: Path, rounds: int) -> dict[str, Run]:
    """Each reader's run, by what it is; ours the median of the rounds."""
    grep(log)  # so that nobody pays for a cold cache
    runs = {"`grep -c`, which only counts": grep(log), OURS: usual(log, rounds)}
    if shutil.which("pgbadger"):
        for jobs in sorted({1, os.cpu_count() or 1}):
            runs[f"{PEER}, {jobs} {'job' if jobs == 1 else 'jobs'}"] = pgbadger(log, jobs)
    return runs


def measured_wrapped(log: Path, name: str, rounds: int) -> dict[str, Run]:
    """Ours, the median of the rounds, beside grep on the same file."""
    file = wrapped(log, name)
    grep(file)
    return {f"{name}: `grep -c`": grep(file), f"{name}: {OURS}": usual(file, rounds)}


def judged_wrapped(log: Path, runs: dict[str, Run], name: str, expected: int) -> list[str]:
    """What was to hold of a wrapped log: pgBadger has to read the same entries without what is around them."""
    mine, plain, peers = runs[f"{name}: {OURS}"], runs[OURS], [r for what, r in runs.items() if what.startswith(PEER)]
    share = (wrapped(log, name).stat().st_size / mine.seconds) / (log.stat().st_size / plain.seconds)
    told = [
        harness.passed(f"{name}: the same count as was written: {mine.count:,}", good=mine.count == expected),
        harness.passed(
            f"{name}: {share:.0%} of the bytes per second of the plain log, at least {LEAST_SHARE:.0%}; "
            f"{mine.memory / 10**6:.0f} MB of memory, under 150 MB",
            good=share >= LEAST_SHARE and mine.memory < MOST_BYTES,
        ),
    ]
    if peers:
        ratio = min(peers).seconds / mine.seconds
        text = f"{name}: {ratio:.0f} × as fast as pgBadger reads the same entries plain, at least {TARGET:.0f} ×"
        told.append(harness.passed(text, good=ratio >= TARGET))
    return told


def judged(runs: dict[str, Run], expected: int) -> list[str]:
    """What was to hold, and whether it did."""
    mine, peers = runs[OURS], [run for what, run in runs.items() if what.startswith(PEER)]
    told = [
        harness.passed(f"the same count as was written: {mine.count:,}", good=mine.count == expected),
        harness.passed(f"{mine.memory / 10**6:.0f} MB of memory, under 150 MB", good=mine.memory < MOST_BYTES),
    ]
    if not peers:
        return [*told, "SKIPPED: pgBadger is not installed; on Debian: apt-get install pgbadger"]
    ratio = min(peers).seconds / mine.seconds
    return [
        *told,
        harness.passed(f"the same count as pgBadger: {peers[0].count:,}", good=peers[0].count == mine.count),
        harness.passed(
            f"{ratio:.0f} × as fast as pgBadger at its fastest, at least {TARGET:.0f} ×", good=ratio >= TARGET
        ),
    ]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    log = made(options.megabytes)
    size, expected = log.stat().st_size / 10**6, int(log.with_suffix(".count").read_text())
    runs = measured(log, options.rounds)
    sizes = dict.fromkeys(runs, size)
    for name in WRAPPINGS:
        more = measured_wrapped(log, name, options.rounds)
        runs |= more
        sizes |= dict.fromkeys(more, wrapped(log, name).stat().st_size / 10**6)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}"
    lines = [
        "# Rejected inserts from a server's log",
        "",
        f"{machine}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}; a stderr log of {size:,.0f} MB, "
        f"{expected:,} rejections in it, read before. `python benchmarks/logs.py`",
        "",
        "| what | seconds | MB/s | rejections |",
        "|---|---:|---:|---:|",
        *(
            f"| {what} | {run.seconds:.2f} | {sizes[what] / run.seconds:,.0f} | {run.count:,} |"
            for what, run in runs.items()
        ),
        "",
        *(f"- {verdict}" for verdict in judged(runs, expected)),
        *(f"- {verdict}" for name in WRAPPINGS for verdict in judged_wrapped(log, runs, name, expected)),
    ]
    (options.out / "logs.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
