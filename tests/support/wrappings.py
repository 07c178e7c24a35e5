"""The ways in which people have a server's log: one log of known truth, wrapped as other programs write it."""

# ruff: noqa: ARG005 - lambdas of one form; numbers of the examples
from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

Lines = list["Part"]


class Part(NamedTuple):
    """A part of an entry: its first line, its DETAIL, its STATEMENT; continuation lines begin after a line break."""

    at: datetime
    pid: int
    entry: int
    label: str
    text: str

    @property
    def state(self) -> str:
        """The SQLSTATE of its entry."""
        return "23505" if "duplicate key" in self.text or self.label not in {"LOG", "FATAL"} else "00000"

    def iso(self, digits: int = 3, zone: str = "Z") -> str:
        """Its time as ISO 8601."""
        return f"{self.at:%Y-%m-%dT%H:%M:%S}.{self.at.microsecond * 1000:09}"[: 20 + digits].rstrip(".") + zone

    def line(self, prefix: str = "%m [%p] ", *, gap: str = "  ") -> str:
        """As stderr has it, without the end of the line."""
        values = {
            "%m": f"{self.at:%Y-%m-%d %H:%M:%S}.{self.at.microsecond // 1000:03} UTC",
            "%t": f"{self.at:%Y-%m-%d %H:%M:%S} UTC",
            "%p": str(self.pid),
            "%c": f"68de.{self.pid:x}",
            "%u": "app",
            "%d": "chat",
            "%e": self.state,
            "%r": "10.0.0.7(51515)",
            "%l": str(self.entry),
        }
        for escape, value in values.items():
            prefix = prefix.replace(escape, value)
        return f"{prefix}{self.label}:{gap}" + self.text.replace("\n", "\n\t")


RDS, SQL, AZURE = "%t:%r:%u@%d:[%p]:", "%m [%p]: [%l-1] db=%d,user=%u ", "%t-%c-"
INDEX = "idx_q_threads_family_unique"


def truth() -> Lines:
    """A log with six rejected inserts of three families (3, 2, 1 attempts), and noise, on 2025-10-02 from 07:15 UTC."""
    begin = datetime(2025, 10, 2, 7, 15, 3, 120000, tzinfo=UTC)
    parts: Lines = []
    entries = 0

    def add(seconds: int, pid: int, *texts: tuple[str, str]) -> None:
        nonlocal entries
        entries += 1
        parts.extend(Part(begin + timedelta(seconds=seconds), pid, entries, label, text) for label, text in texts)

    def reject(seconds: int, pid: int, family: int, statement: str) -> None:
        key = f"(11111111-aaaa-4aaa-8aaa-00000000000{family}, 22222222-bbbb-4bbb-8bbb-00000000000{family})"
        add(
            seconds,
            pid,
            ("ERROR", f'duplicate key value violates unique constraint "{INDEX}"'),
            ("DETAIL", f"Key (root_prompt_row_id, owner_id)={key} already exists."),
            ("STATEMENT", statement),
        )

    short = 'INSERT INTO public.q_threads ("root_prompt_row_id", "owner_id", "purpose") VALUES ($1, $2, $3)'
    columns = "(\n\troot_prompt_row_id,\n\towner_id, purpose\n)"
    long = f"INSERT INTO public.q_threads {columns}\nVALUES ($1, $2, $3)\n\nRETURNING x"
    add(0, 4101, ("LOG", "connection authorized: user=app database=chat application_name=api"))
    add(
        1,
        4101,
        ("ERROR", 'duplicate key value violates unique constraint "q_prompts_pkey"'),
        ("DETAIL", "Key (row_id)=(11111111-aaaa-4aaa-8aaa-000000000001) already exists."),
        ("STATEMENT", "INSERT INTO public.q_prompts (row_id) VALUES ($1)"),
    )
    reject(2, 4101, 1, short)
    add(3, 4102, ("LOG", f"AUDIT: SESSION,1,1,WRITE,INSERT,TABLE,q,\"INSERT INTO q VALUES ('{INDEX}')\",<none>"))
    reject(4, 4102, 1, long)
    add(
        5,
        4103,
        ("ERROR", 'insert or update on table "q_threads" violates foreign key constraint "q_threads_fkey"'),
        ("DETAIL", 'Key (root_prompt_row_id)=(33333333-aaaa-4aaa-8aaa-000000000009) is not present in table "q".'),
        ("STATEMENT", short),
    )
    reject(61, 4103, 2, short)
    reject(62, 4103, 2, short)
    add(
        63,
        4104,
        ("LOG", f"duration: 1543.21 ms  statement: SELECT x\n\tFROM pg_index\n\tWHERE x = '{INDEX}'::regclass"),
    )
    reject(3700, 4104, 3, long)
    add(3701, 4104, ("FATAL", "terminating connection due to administrator command"))
    reject(3800, 4101, 1, short)
    add(3900, 999, ("LOG", "checkpoint starting: time"))
    return parts


def text(parts: Lines, prefix: str = "%m [%p] ", **options: Any) -> str:
    """The log as stderr has it."""
    return "".join(part.line(prefix, **options) + "\n" for part in parts)


def led(
    lead: Callable[[Part, int], str], prefix: str = "%m [%p] ", *, tab: str = "\t", first: str = ""
) -> Callable[[Lines], bytes]:
    """With something before each line; lead: of a part, and the number of the line."""

    def wrap(parts: Lines) -> bytes:
        out, number = [first], 0
        for part in parts:
            for place, line in enumerate(part.line(prefix).split("\n")):
                number += 1
                out.append(lead(part, number) + (tab + line.removeprefix("\t") if place else line) + "\n")
        return "".join(out).encode()

    return wrap


def syslog(head: Callable[[Part], str], prefix: str = "") -> Callable[[Lines], bytes]:
    """With PostgreSQL's own sequence numbers, which count its messages, and the lines of each."""

    def wrap(parts: Lines) -> bytes:
        out, message, line_number = [], 0, 0
        for part in parts:
            message, line_number = (part.entry, line_number + 1) if part.entry == message else (part.entry, 1)
            for place, line in enumerate(part.line(prefix).split("\n")):
                line_number += bool(place)
                shown = "#011" + line.removeprefix("\t") if place else line
                out.append(f"{head(part)}[{message}-{line_number}] {shown}\n")
        return "".join(out).encode()

    return wrap


def each(
    event: Callable[[Part], Any],
    write: Callable[[list[Any]], str] = lambda events: "".join(json.dumps(each) + "\n" for each in events),
    *,
    latest_first: bool = False,
) -> Callable[[Lines], bytes]:
    """An object for each part."""

    def wrap(parts: Lines) -> bytes:
        events = [event(part) for part in parts]
        return write(events[::-1] if latest_first else events).encode()

    return wrap


def rows(
    header: str, cells: Callable[[Part], tuple[Any, ...]], *, latest_first: bool = False, sign: str = ","
) -> Callable[[Lines], bytes]:
    """A row of CSV for each part."""
    return each(cells, lambda events: table(header, events, sign), latest_first=latest_first)


def table(header: str, rows_: list[Any], sign: str = ",") -> str:
    """A table as CSV."""
    out = io.StringIO()
    csv.writer(out, delimiter=sign).writerows([header.split(","), *rows_])
    return out.getvalue()


def docker_parts(parts: Lines) -> bytes:
    """Docker's JSON of lines that were longer than it writes at once."""
    lines = []
    for part in parts:
        line = part.line() + "\n"
        pieces = [line[at : at + 60] for at in range(0, len(line), 60)]
        events = ({"log": piece, "stream": "stderr", "time": part.iso(9)} for piece in pieces)
        lines += [json.dumps(event, separators=(",", ":")) for event in events]
    return "\n".join(lines).encode()


def cri_parts(parts: Lines) -> bytes:
    """The CRI's lines that were longer than it writes at once."""
    lines = []
    for part in parts:
        for line in part.line().split("\n"):
            *pieces, last = (line[at : at + 70] for at in range(0, len(line) + 1, 70))
            lines += [f"{part.iso(9)} stderr P {piece}" for piece in pieces]
            lines.append(f"{part.iso(9)} stderr F {last}")
    return "\n".join(lines).encode()


def loki_levels(parts: Lines) -> bytes:
    """The answer of Loki's API where it tells levels apart: errors in one stream, their DETAIL in another."""
    streams = [
        {
            "stream": {"pod": "pg-0", "detected_level": level},
            "values": [
                [nanoseconds(p), p.line()] for p in reversed(parts) if (p.label == "ERROR") == (level == "error")
            ],
        }
        for level in ("error", "unknown")
    ]
    return json.dumps({"data": {"resultType": "streams", "result": streams}}).encode()


def coloured(parts: Lines) -> bytes:
    """Objects as `jq -C` writes them."""
    texts = (json.dumps({"message": part.line(), "timestamp": part.iso()}) for part in parts)
    return "".join(f"\x1b[1;39m{{\x1b[0m{text[1:-1]}\x1b[1;39m}}\x1b[0m\n" for text in texts).encode()


def firehose(parts: Lines) -> bytes:
    """CloudWatch's events as Firehose delivers them: objects without anything between."""
    groups = [parts[at : at + 6] for at in range(0, len(parts), 6)]
    events = [[{"id": "3", "timestamp": int(nanoseconds(p)[:13]), "message": p.line(RDS)} for p in g] for g in groups]
    return "".join(json.dumps({"messageType": "DATA_MESSAGE", "logEvents": each}) for each in events).encode()


def entries_of(parts: Lines) -> list[dict[str, str]]:
    """Whole entries: the parts of each by their labels."""
    found: dict[int, dict[str, str]] = {}
    for part in parts:
        entry = found.setdefault(part.entry, {"severity": part.label, "message": part.text, "state": part.state})
        entry |= {"pid": str(part.pid), "time": part.iso(), part.label.lower(): part.text}
        entry.setdefault("log_time", f"{part.at:%Y-%m-%d %H:%M:%S}.120 UTC")
    return list(found.values())


def whole(
    event: Callable[[dict[str, str]], Any], write: Callable[[list[Any]], str] | None = None
) -> Callable[[Lines], bytes]:
    """An object for each entry."""
    written = write or (lambda events: "".join(json.dumps(each) + "\n" for each in events))
    return lambda parts: written([event(entry) for entry in entries_of(parts)]).encode()


def pretty(events: list[Any]) -> str:
    """A list, indented."""
    return json.dumps(events, indent=2) + "\n"


def within(*keys: str, indent: int | None = None) -> Callable[[list[Any]], str]:
    """A list within objects."""

    def write(events: list[Any]) -> str:
        thing: Any = events
        for key in reversed(keys):
            thing = {key: thing}
        return json.dumps(thing, indent=indent) + "\n"

    return write


def nanoseconds(part: Part) -> str:
    """Its time since 1970."""
    return f"{int(part.at.timestamp() * 1000)}000000"


def documents(events: list[Any]) -> str:
    """YAML, one document after the other."""
    return "".join("---\n" + yaml.safe_dump(each, allow_unicode=True, width=80) for each in events)


def zipped(parts: Lines) -> bytes:
    """A zip file with two logs."""
    out = io.BytesIO()
    half = next(place for place in range(len(parts) // 2, len(parts)) if parts[place + 1].entry != parts[place].entry)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr("logs/a.log", text(parts[: half + 1]))
        files.writestr("logs/b.log", text(parts[half + 1 :]))
    return out.getvalue()


def tarred(parts: Lines) -> bytes:
    """A compressed tar file with a log that is compressed itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as files:
        data = gzip.compress(text(parts).encode())
        member = tarfile.TarInfo("pg/postgresql.log.gz")
        member.size = len(data)
        files.addfile(member, io.BytesIO(data))
    return out.getvalue()


def interleaved(parts: Lines) -> bytes:
    """Three containers, one of which is not PostgreSQL; two have processes of the same numbers."""
    names = {pid: f"pg-{number % 2}" for number, pid in enumerate((4101, 4102, 4103, 4104, 999))}
    out = []
    noise = [part for part in parts if part.label == "LOG"]
    for number, part in enumerate(parts):
        for line in part.line().split("\n"):
            name = names[part.pid]
            out.append(f"{name:8} | {line.replace(f'[{part.pid}]', '[17]')}")
        other = noise[number % len(noise)].line().replace("UTC [", "UTC [17] x").partition("[17]")[0]
        out.append(f'api      | INFO:     10.0.0.7:{number} - "POST /chats HTTP/1.1" 500 Internal Server Error')
        out.append(f"pg-2     | {other}[17] LOG:  checkpoint complete")
    return ("\n".join(out) + "\n").encode()


def otel(parts: Lines) -> bytes:
    """OpenTelemetry's JSON: a batch on each line."""
    lines = []
    for begin in range(0, len(parts), 7):
        records = [
            {
                "timeUnixNano": nanoseconds(part),
                "severityText": "",
                "body": {"stringValue": part.line()},
                "attributes": [{"key": "log.file.name", "value": {"stringValue": "postgresql.log"}}],
            }
            for part in parts[begin : begin + 7]
        ]
        resource = {"attributes": [{"key": "host.name", "value": {"stringValue": "db-8"}}]}
        lines.append(
            json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": records}]}]})
        )
    return ("\n".join(lines) + "\n").encode()


def loki(parts: Lines) -> bytes:
    """The answer of Loki's API: streams of pairs, the latest first."""
    values = [[nanoseconds(part), part.line()] for part in reversed(parts)]
    result = [{"stream": {"pod": "pg-0", "container": "postgres"}, "values": values}]
    return json.dumps({"status": "success", "data": {"resultType": "streams", "result": result}}).encode()


def insights(parts: Lines) -> bytes:
    """CloudWatch Insights' results: a list of fields for each event, the latest first."""
    results = [
        [{"field": "@timestamp", "value": f"{p.at:%Y-%m-%d %H:%M:%S}.120"}, {"field": "@message", "value": p.line(RDS)}]
        for p in reversed(parts)
    ]
    return json.dumps(
        {"results": results, "statistics": {"recordsMatched": 9.0}, "status": "Complete"}, indent=4
    ).encode()


def heroku(parts: Lines) -> bytes:
    """Heroku's log of its database."""
    prefix = ' sql_error_code = %e time_ms = "%m" pid="%p" proc_start_time="%m" session_id="%c" vtid="5/4" tid="0" '
    prefix += 'log_line="%l" database="d1" connection_source="%r" user="u9" application_name="api" '
    return syslog(lambda part: f"{part.iso(6, '+00:00')} app[postgres.{part.pid}]: [DATABASE] ", prefix)(parts)


def stamp(part: Part) -> str:
    """Its time as syslog has it."""
    return f"{part.at:%b} {part.at.day:2} {part.at:%H:%M:%S}"


def cloud(part: Part) -> dict[str, Any]:
    """An event of Cloud SQL."""
    return {
        "insertId": f"s={part.entry}",
        "labels": {"INSTANCE_UID": "1-x"},
        "logName": "projects/p/logs/cloudsql.googleapis.com%2Fpostgres.log",
        "resource": {"labels": {"database_id": "p:chat", "region": "europe-west1"}, "type": "cloudsql_database"},
        "severity": "ERROR" if part.label == "ERROR" else "INFO",
        "textPayload": part.line(SQL),
        "timestamp": part.iso(6),
    }


def drained(entry: dict[str, str]) -> dict[str, Any]:
    """An event of Supabase's drains."""
    parsed = {"error_severity": entry["severity"], "sql_state_code": entry["state"], "process_id": int(entry["pid"])}
    parsed |= {
        "detail": entry.get("detail"),
        "query": entry.get("statement"),
        "user_name": "app",
        "command_tag": "INSERT",
    }
    return {
        "event_message": entry["message"],
        "id": "c4",
        "metadata": {"parsed": parsed, "host": "db-8"},
        "timestamp": entry["time"],
    }


def azure(part: Part, *, capital: bool = False) -> dict[str, Any]:
    """An event of Azure's diagnostic settings, a part of an entry."""
    names = ("Timestamp", "ProcessId", "ErrorLevel", "SqlErrCode", "Message", "TimeGenerated", "Properties")
    if not capital:
        names = ("timestamp", "processId", "errorLevel", "sqlerrcode", "message", "time", "properties")
    inner = (part.line("%m").partition("UTC")[0] + "UTC", part.pid, part.label, part.state, part.line(AZURE))
    values = dict(zip(names[:5], inner, strict=True))
    return {names[5]: part.iso(7), names[6]: values, "category": "PostgreSQLLogs"}


def azure_whole(entry: dict[str, str]) -> dict[str, Any]:
    """An event of Azure's that has the DETAIL beside the message."""
    had = {"errorLevel": entry["severity"], "sqlerrcode": entry["state"], "processId": entry["pid"]}
    had |= {"message": f"{entry['log_time'][:19]} UTC-68de.1-{entry['severity']}:  {entry['message']}"}
    return {"time": entry["time"], "properties": had | {"detail": entry.get("detail", "")}, "LogicalServerName": "pg-8"}


def translated(parts: Lines) -> Lines:
    """The labels and messages in French, of which a DETAIL has another label than in English."""
    labels = {"ERROR": "ERREUR", "DETAIL": "DÉTAIL", "STATEMENT": "INSTRUCTION"}
    english = 'duplicate key value violates unique constraint "'
    french = "la valeur d'une clé dupliquée rompt la contrainte unique « "
    return [
        part._replace(
            label=labels.get(part.label, part.label),
            text=part.text.replace(english, french).replace('"', " »") if english in part.text else part.text,
        )
        for part in parts
    ]


def rewrapped(parts: Lines, columns: int, *, within_words: bool, quote: str = "") -> bytes:
    """A log whose lines a terminal or a mail program has wrapped."""
    out = []
    for line in text(parts).expandtabs().splitlines():
        left = line
        while len(left) > columns:
            end = columns if within_words else left.rfind(" ", 0, columns + 1) + 1 or columns
            out.append(left[:end].rstrip(" " if not within_words else ""))
            left = left[end:]
        out.append(left)
    return "".join(f"{quote}{line}\n" for line in out).encode()


KINDS: dict[str, Callable[[Lines], bytes]] = {
    "plain": lambda parts: text(parts).encode(),
    "RDS": lambda parts: text(parts, RDS).encode(),
    "AlloyDB's place": lambda parts: text(parts, SQL).replace("R:  dup", "R:  [nbtinsert.c:671]  dup").encode(),
    "one blank": lambda parts: text(parts, gap=" ").encode(),
    "CRLF": lambda parts: text(parts).replace("\n", "\r\n").encode(),
    "UTF-8 with a mark": lambda parts: text(parts).encode("utf-8-sig"),
    "UTF-16 LE": lambda parts: b"\xff\xfe" + text(parts).replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16 BE": lambda parts: b"\xfe\xff" + text(parts).encode("utf-16-be"),
    "UTF-16 LE without a mark": lambda parts: text(parts).encode("utf-16-le"),
    "gzip": lambda parts: gzip.compress(text(parts).encode()),
    "bzip2": lambda parts: bz2.compress(text(parts).encode()),
    "xz": lambda parts: lzma.compress(text(parts).encode()),
    "zstd": lambda parts: zstd.compress(text(parts).encode()),
    "two of zstd": lambda parts: zstd.compress(text(parts[:9]).encode()) + zstd.compress(text(parts[9:]).encode()),
    "zip": zipped,
    "tar": tarred,
    "gzip of UTF-16": lambda parts: gzip.compress(text(parts).encode("utf-16")),
    "kubectl --timestamps": led(lambda part, n: f"{part.iso(9)} "),
    "kubectl --prefix": led(lambda part, n: "[pod/pg-0/postgres] "),
    "kubectl --prefix --timestamps": led(lambda part, n: f"[pod/pg-0/postgres] {part.iso(9)} "),
    "stern": led(lambda part, n: "pg-0 postgres "),
    "stern --timestamps in colour": led(lambda part, n: f"\x1b[36mpg-0\x1b[0m \x1b[36mpostgres\x1b[0m {part.iso(9)} "),
    "compose": led(lambda part, n: "docker-db-1    | "),
    "compose without a service's number": led(lambda part, n: "db  | "),
    "compose in colour": led(lambda part, n: "\x1b[36mdb-1  | \x1b[0m"),
    "compose --timestamps": led(lambda part, n: f"db-1  | {part.iso(9)} "),
    "swarm": led(lambda part, n: "chat_db.1.0zq3l5v2xk@node-1    | "),
    "interleaved containers": interleaved,
    "CRI": led(lambda part, n: f"{part.iso(9)} stderr F "),
    "grep -Hn": led(lambda part, n: f"/var/log/postgresql/server.log:{n}:"),
    "grep -n": led(lambda part, n: f"{n}:"),
    "grep -H": led(lambda part, n: "server.log:"),
    "grep -HnA": led(lambda part, n: f"server.log{':-'[part.label != 'ERROR']}{n}{':-'[part.label != 'ERROR']}"),
    "syslog with a sequence": syslog(lambda part: f"{stamp(part)} db-8 postgres[{part.pid}]: "),
    "syslog and a prefix": syslog(lambda part: f"{stamp(part)} db-8 postgres[{part.pid}]: ", "%m [%p] %u@%d "),
    "syslog with parts of a prefix": syslog(
        lambda part: f"{stamp(part)} db-8 postgres[{part.pid}]: ", "user=%u,db=%d "
    ),
    "rsyslog": syslog(lambda part: f"{part.iso(6, '+00:00')} db-8 postgres[{part.pid}]: "),
    "syslog of RFC 5424": syslog(lambda part: f"<131>1 {part.iso(6)} db-8 postgres {part.pid} - - "),
    "RFC 5424 with a length": syslog(lambda part: f"312 <131>1 {part.iso(6)} db-8 postgres {part.pid} - - "),
    "journald, short": led(lambda part, n: f"{stamp(part)} db-8 postgres[{part.pid}]: "),
    "journald, short-precise": led(lambda part, n: f"{stamp(part)}.120345 db-8 postgres[{part.pid}]: "),
    "journald, short, without a prefix": led(lambda part, n: f"{stamp(part)} db-8 postgres[{part.pid}]: ", ""),
    "journald, short-iso": led(lambda part, n: f"{part.iso(0, '+0000')} db-8 postgres[{part.pid}]: "),
    "journald, short-unix": led(lambda part, n: f"{part.at.timestamp():.6f} db-8 postgres[{part.pid}]: "),
    "journald, JSON": each(
        lambda part: {
            "__REALTIME_TIMESTAMP": nanoseconds(part)[:16],
            "_PID": str(part.pid),
            "_HOSTNAME": "db-8",
            "SYSLOG_IDENTIFIER": "postgres",
            "MESSAGE": part.line(),
        }
    ),
    "journald, JSON, MESSAGE as bytes": each(
        lambda part: {
            "__REALTIME_TIMESTAMP": nanoseconds(part)[:16],
            "_PID": str(part.pid),
            "MESSAGE": list(part.line().encode()) if "\n" in part.text else part.line(),
        }
    ),
    "journald, pretty JSON": lambda parts: "".join(
        json.dumps({"__REALTIME_TIMESTAMP": nanoseconds(p)[:16], "_PID": str(p.pid), "MESSAGE": p.line()}, indent=8)
        + "\n"
        for p in parts
    ).encode(),
    "Heroku": heroku,
    "CloudWatch's export to S3": lambda parts: gzip.compress(led(lambda part, n: f"{part.iso()} ", RDS)(parts)),
    "aws logs tail": led(lambda part, n: f"{part.iso(6, '+00:00')} db-1.0 ", RDS),
    "aws logs tail --format short": led(lambda part, n: f"{part.iso(0, '')} ", RDS),
    "aws logs filter-log-events": each(
        lambda p: {
            "logStreamName": "db-1.0",
            "timestamp": int(nanoseconds(p)[:13]),
            "message": p.line(RDS),
            "eventId": "3",
        },
        within("events", indent=4),
    ),
    "aws logs filter-log-events, text": led(
        lambda p, n: f"EVENTS\t377\t{nanoseconds(p)[:13]}\tdb-1.0\t" if p.text else "", RDS
    ),
    "aws logs, YAML": each(
        lambda p: {"logStreamName": "db-1.0", "timestamp": int(nanoseconds(p)[:13]), "message": p.line(RDS)},
        lambda events: yaml.safe_dump({"events": events}),
    ),
    "Insights, JSON": insights,
    "Insights, CSV": rows(
        "@timestamp,@message", lambda p: (f"{p.at:%Y-%m-%d %H:%M:%S}.120", p.line(RDS)), latest_first=True
    ),
    "download-db-log-file-portion": lambda parts: json.dumps(
        {"LogFileData": text(parts, RDS), "Marker": "10:4711", "AdditionalDataPending": False}, indent=4
    ).encode(),
    "Cloud SQL, JSON": each(cloud, pretty, latest_first=True),
    "Cloud SQL, JSON, the earliest first": each(cloud, pretty),
    "Cloud SQL, JSON lines": each(cloud),
    "Cloud SQL, YAML": each(cloud, documents, latest_first=True),
    "Cloud SQL, CSV": rows(
        "insertId,severity,textPayload,timestamp", lambda p: ("s=1", "ERROR", p.line(SQL), p.iso(6))
    ),
    "Cloud SQL, value(textPayload)": lambda parts: text(parts[::-1], SQL).encode(),
    "AlloyDB, JSON": each(
        lambda p: {"textPayload": p.line(SQL).replace("R:  ", "R:  [nbtinsert.c:671]  "), "timestamp": p.iso(6)}, pretty
    ),
    "Azure": each(azure),
    "Azure, capitalised": each(lambda part: azure(part, capital=True)),
    "Azure, records": each(azure, within("records")),
    "Azure, DETAIL beside": whole(azure_whole),
    "Azure, CSV": rows(
        "TimeGenerated [UTC],errorLevel_s,processId_d,Message", lambda p: (p.iso(), p.label, p.pid, p.line(AZURE))
    ),
    "CloudNativePG": whole(
        lambda e: {
            "level": "info",
            "ts": e["time"],
            "logger": "postgres",
            "msg": "record",
            "record": {
                "log_time": e["log_time"],
                "process_id": e["pid"],
                "error_severity": e["severity"],
                "sql_state_code": e["state"],
                "message": e["message"],
                "detail": e.get("detail", ""),
                "query": e.get("statement", ""),
            },
        }
    ),
    "docker json-file": each(lambda p: {"log": p.line() + "\n", "stream": "stderr", "time": p.iso(9)}),
    "docker json-file, by line": lambda parts: "".join(
        json.dumps({"log": line + "\n", "stream": "stderr", "time": p.iso(9)}) + "\n"
        for p in parts
        for line in p.line().split("\n")
    ).encode(),
    "docker json-file of CloudNativePG": whole(
        lambda e: {
            "log": json.dumps(
                {
                    "logger": "postgres",
                    "msg": "record",
                    "record": {"process_id": e["pid"], "error_severity": e["severity"], "message": e["message"]}
                    | {"log_time": e["log_time"], "sql_state_code": e["state"], "detail": e.get("detail", "")},
                }
            )
            + "\n",
            "stream": "stdout",
            "time": e["time"],
        }
    ),
    "kubectl --timestamps of CloudNativePG": lambda parts: "".join(
        f"{e['time']} "
        + json.dumps(
            {
                "msg": "record",
                "record": {"process_id": e["pid"], "error_severity": e["severity"], "message": e["message"]}
                | {"log_time": e["log_time"], "sql_state_code": e["state"], "detail": e.get("detail", "")},
            }
        )
        + "\n"
        for e in entries_of(parts)
    ).encode(),
    "OpenTelemetry": otel,
    "OpenTelemetry's collector": each(
        lambda p: {"body": p.line(), "timestamp": p.iso(9), "attributes": {"log.file.name": "a"}, "resource": {}}
    ),
    "Loki's API": loki,
    "logcli": led(lambda p, n: f'{p.iso(0)} {{container="postgres", pod="pg-0"}} '),
    "logcli, jsonl": each(
        lambda p: {"labels": {"pod": "pg-0"}, "line": p.line(), "timestamp": p.iso(9)}, latest_first=True
    ),
    "Grafana, text": lambda parts: (
        b'Common labels: {"pod":"pg-0"}\nLine limit: "1000 (23 returned)"\n\n\n'
        + "".join(f"{nanoseconds(p)[:13]}\t{p.iso()}\t{p.line()}\n" for p in parts[::-1]).encode()
    ),
    "Grafana, JSON": each(
        lambda p: {"line": p.line(), "timestamp": nanoseconds(p), "date": p.iso(), "fields": {"pod": "pg-0"}}, pretty
    ),
    "Grafana, CSV": rows("Date,Line,labels", lambda p: (p.iso(), p.line(), '{"pod":"pg-0"}'), latest_first=True),
    "Vector": each(
        lambda p: {
            "file": "/var/log/a.log",
            "host": "db-8",
            "message": p.line(),
            "source_type": "file",
            "timestamp": p.iso(9),
        }
    ),
    "Fluent Bit": each(lambda p: [float(nanoseconds(p)[:10]), {"log": p.line()}]),
    "Supabase's drain, HTTP": whole(drained, json.dumps),
    "Supabase's drain, Datadog": whole(
        lambda e: {"ddsource": "Supabase", "message": json.dumps(drained(e)), "hostname": "db-8", "service": "x"},
        json.dumps,
    ),
    "Datadog's export, CSV": rows("Date,Host,Service,Message", lambda p: (p.iso(), "db-8", "postgres", p.line())),
    "Papertrail": led(
        lambda p, n: f"80{n}\t{p.iso(0)}\t{p.iso(0)}\t71\tdb-8\t10.0.0.9\tLocal0\tError\tpostgres[{p.pid}]\t"
    ),
    "docker json-file, in parts": docker_parts,
    "CRI, in parts": cri_parts,
    "Loki's API, streams by level": loki_levels,
    "JSON in colour": coloured,
    "Firehose": firehose,
    "lzma": lambda parts: lzma.compress(text(parts).encode(), format=lzma.FORMAT_ALONE),
    "cat -n": led(lambda part, n: f"{n:6}\t"),
    "ripgrep": led(lambda part, n: f"{n}:17:"),
    "foreman": led(lambda part, n: f"{part.at:%H:%M:%S} db.1   | "),
    "Fly.io in colour": led(lambda p, n: f"\x1b[2m{p.iso(0)}\x1b[0m app[148e21] \x1b[32mams\x1b[0m [info] postgres | "),
    "a semicolon between cells": rows("Timestamp,Message", lambda p: (p.iso(), p.line()), sign=";"),
    "a tab between cells": rows("Timestamp,Message", lambda p: (p.iso(), p.line()), sign="\t"),
    "csvlog's columns in another order": lambda parts: table(
        "log_time,process_id,error_severity,sql_state_code,message,detail,query",
        [
            (e["log_time"], e["pid"], e["severity"], e["state"], e["message"], e.get("detail"), e.get("statement"))
            for e in entries_of(parts)
        ],
    ).encode(),
    "fields of jsonlog as OpenTelemetry has them": whole(
        lambda e: {
            "body": e["message"],
            "timestamp": e["time"],
            "attributes": {"error_severity": e["severity"], "state_code": e["state"], "detail": e.get("detail")},
        }
    ),
    "objects under their ids": each(
        lambda p: {"message": p.line(), "timestamp": p.iso()},
        lambda events: json.dumps({f"id{number}": event for number, event in enumerate(events)}),
    ),
    "Elasticsearch": each(
        lambda p: {"_id": "3", "_source": {"@timestamp": p.iso(), "message": p.line(), "host": {"name": "db-8"}}},
        within("hits", "hits"),
    ),
    "Splunk": each(
        lambda p: {"preview": False, "result": {"_raw": p.line(), "_time": p.iso(3, "+00:00")}}, latest_first=True
    ),
    "the rows of a table in Azure": lambda parts: json.dumps(
        {
            "tables": [
                {
                    "columns": [{"name": "TimeGenerated"}, {"name": "errorLevel_s"}, {"name": "Message"}],
                    "rows": [[p.iso(), p.label, p.line(AZURE)] for p in parts],
                }
            ]
        }
    ).encode(),
    "in French, with syslog": lambda parts: syslog(lambda part: f"{stamp(part)} db-8 postgres[{part.pid}]: ")(
        translated(parts)
    ),
    "something behind the key": lambda parts: "".join(f"Body: Str({part.line()})\n" for part in parts).encode(),
    "a session's start after the time": lambda parts: text(
        parts, "%m:%r:%u@%d:[%p]:%l:%e:2025-10-02 07:00:00 UTC:5/42:0:%c::api:"
    ).encode(),
    "a time of a session, and a query's id": lambda parts: text(
        parts, "%m [%p] since 2025-10-02 07:00:00 UTC, query 4429391828 "
    ).encode(),
    "docker json-file, in parts, with blanks": lambda parts: (
        docker_parts(parts).replace(b'","stream":"', b'", "stream": "').replace(b'{"log":"', b'{"log": "')
    ),
    "blanks that do not break": lambda parts: text(parts).replace(" ", "\N{NO-BREAK SPACE}").encode(),
    "GELF": each(
        lambda p: {"short_message": p.line()[:90], "full_message": p.line(), "timestamp": p.at.timestamp()},
        lambda events: "".join(json.dumps(event) + "\0" for event in events),
    ),
    "gcloud --format=text": lambda parts: "".join(
        f"---\nseverity:     ERROR\ntextPayload:  {p.line(SQL)}\ntimestamp:    {p.iso(6)}\n" for p in parts
    ).encode(),
    "a file's name, as ripgrep has it": led(lambda part, n: f"{n}:", first="postgresql.log\n"),
    "a tab after each label": lambda parts: text(parts, gap="\t").encode(),
    "wrapped at blanks": lambda parts: rewrapped(parts, 80, within_words=False),
    "wrapped by a terminal": lambda parts: rewrapped(parts, 80, within_words=True),
    "wrapped and quoted": lambda parts: rewrapped(parts, 76, within_words=False, quote="> "),
    "the date of syslog with a year": led(
        lambda part, n: f"{part.at:%b} {part.at.day:2} {part.at:%Y %H:%M:%S} db-8 postgres[{part.pid}]: ", ""
    ),
    "slashes in the date": led(lambda part, n: f"err {part.at:%Y/%m/%d %H:%M:%S} postgres[{part.pid}]: ", ""),
    "Kibana, CSV": rows(
        "@timestamp,message", lambda p: (f"{p.at:%b} {p.at.day}, {p.at:%Y @ %H:%M:%S}.120", p.line("[%p] "))
    ),
    "saved by Excel": rows("log_time,message", lambda p: (f"{p.at:%d.%m.%Y %H:%M:%S}", p.line("[%p] ")), sign=";"),
    "a level after the time": led(lambda part, n: f"{part.iso(3, '')} INFO postgres ", "[%p] "),
    "syslog without line breaks": lambda parts: "".join(
        f"{stamp(entry[0])} db-8 postgres[{entry[0].pid}]: "
        + "#012".join(part.line().replace("\n", "#012").replace("\t", "#011") for part in entry)
        + "\n"
        for _, entry in ((number, [*each]) for number, each in groupby(parts, key=attrgetter("entry")))
    ).encode(),
    "aws logs --query 'events[].message' --output text": lambda parts: "\t".join(p.line(RDS) for p in parts).encode(),
    "Splunk, CSV, a row for each entry": lambda parts: table(
        "_raw,host",
        [("\n".join(p.line() for p in entry), "db-8") for _, entry in groupby(parts, key=attrgetter("entry"))],
    ).encode(),
    "a banner of kubectl": lambda parts: (
        b'Defaulted container "postgres" out of: postgres, init (init)\n' + led(lambda p, n: f"{p.iso(9)} ")(parts)
    ),
}
