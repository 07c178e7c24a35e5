"""Entries of server logs in every format, prefix, language and state of damage."""

from __future__ import annotations

import csv
import gettext
import gzip
import io
import json
import re
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.logs.coverage import Coverage
from incident_lib.logs.entries import FORMATS, entries, recognise_format
from incident_lib.logs.entry import (
    BEGINS_WITHIN,
    DAMAGED,
    ENDS_WITHIN,
    OTHER_WORDS,
    UNREADABLE,
    Damaged,
    Entry,
)
from incident_lib.logs.messages import DETAILS, LANGUAGES
from incident_lib.logs.prefix import USUAL
from incident_lib.logs.source import Log, open_log, total_size
from incident_lib.logs.times import check_zone, parse_log_time
from incident_lib.model.change import INDEX_NAME, PURPOSE
from incident_lib.model.errors import Failed, UsageError
from tests.support.logged import FORGED

PREFIX = "%m [%p] %e %q%u@%d "
TIME = "2025-09-22 08:00:00.123 CEST"
KEY = "(root_prompt_row_id, owner_id)=(00000000-0000-0000-0000-000000000001, 00000000-0000-0000-0000-000000000007)"
MESSAGE = f'duplicate key value violates unique constraint "{INDEX_NAME}"'
DETAIL = f"Key {KEY} already exists."
STATEMENT = 'INSERT INTO public.q_threads ("root_prompt_row_id", "owner_id") VALUES ($1, $2)'
VALUES = {
    "m": TIME,
    "t": "2025-09-22 08:00:00 CEST",
    "n": "1758520800.123",
    "p": "4101",
    "c": "68d0e1a0.1005",
    "l": "7",
    "e": "23505",
    "u": "authenticator",
    "d": "app",
    "a": "PostgREST 12.2.3",
    "h": "10.0.0.9",
    "r": "10.0.0.9(40122)",
    "b": "client backend",
    "i": "INSERT",
    "s": "2025-09-22 07:00:00 CEST",
    "v": "3/12",
    "x": "0",
    "Q": "-123",
    "P": "",
    "q": "",
    "%": "%",
}


def begun(prefix: str = PREFIX, **values: str) -> str:
    """A log_line_prefix as the server writes it, with its padding."""

    def written(escape: re.Match[str]) -> str:
        value, width = (VALUES | values)[escape["escape"]], int(escape["width"] or 0)
        return value.rjust(width) if width >= 0 else value.ljust(-width)

    return re.sub(r"%(?P<width>-?\d*)(?P<escape>[a-zA-Z%])", written, prefix)


def stderr(
    message: str = MESSAGE,
    detail: str | None = DETAIL,
    statement: str | None = STATEMENT,
    *,
    prefix: str = PREFIX,
    label: str = "ERROR",
    **values: str,
) -> str:
    """An entry in stderr format."""
    start = begun(prefix, **values)
    parts = ((label, message), ("DETAIL", detail), ("STATEMENT", statement))
    lines = [f"{start}{name}:  {text}" for name, text in parts if text is not None]
    return "".join(line.replace("\n", "\n\t") + "\n" for line in lines)


def csvlog(message: str = MESSAGE, detail: str | None = DETAIL, statement: str = STATEMENT, **other: str) -> str:
    """An entry in csvlog format: texts quoted, NULL empty."""
    had = {
        "time": TIME,
        "user": "authenticator",
        "pid": "4101",
        "tag": "INSERT",
        "state": "23505",
        "app": "web",
    } | other

    def quoted(text: str | None) -> str:
        return "" if text is None else '"' + text.replace('"', '""') + '"'

    fields = (had["time"], quoted(had["user"]), '"app"', had["pid"], '"[local]"', "68d0.1005", "1", quoted(had["tag"]))
    fields += ("2025-09-22 07:00:00 CEST", "3/12", "0", "ERROR", had["state"], quoted(message), quoted(detail), "", "")
    fields += ("", "", quoted(statement), "", "", quoted(had["app"]), '"client backend"', "", "0")
    return ",".join(fields) + "\n"


def jsonlog(message: str = MESSAGE, detail: str | None = DETAIL, statement: str = STATEMENT, **other: Any) -> str:
    """An entry in jsonlog format: without spaces and without NULL values."""
    had = {"timestamp": TIME, "user": "authenticator", "dbname": "app", "pid": 4101, "ps": "INSERT"}
    had |= {"error_severity": "ERROR", "state_code": "23505", "message": message, "detail": detail}
    had |= {"statement": statement, "application_name": "web", "query_id": 0} | other
    return json.dumps({key: value for key, value in had.items() if value is not None}, separators=(",", ":")) + "\n"


FORMS = {"stderr": stderr, "csvlog": csvlog, "jsonlog": jsonlog}
BYTES = {form: made().encode() for form, made in FORMS.items()}


def read(log: str | bytes, **options: Any) -> list[Entry | Damaged]:
    """The entries about the unique index in a log."""
    data = log.encode() if isinstance(log, str) else log
    return list(entries(Log(io.BytesIO(data), "server.log"), (INDEX_NAME,), **options))


def entry(**values: Any) -> Entry:
    """The expected entry for these helpers' logs, with the demo's prefix."""
    defaults = {"time": TIME, "message": MESSAGE, "state": "23505", "detail": DETAIL, "role": "authenticator"}
    return Entry(**defaults | {"process": "4101"} | values)


# Formats


def test_an_entry_of_stderr() -> None:
    """The prefix and the parts of an entry in stderr format are read."""
    assert read(stderr()) == [entry()]


def test_an_entry_of_csvlog() -> None:
    """The fields of an entry in csvlog format are read by position."""
    assert read(csvlog()) == [entry(application="web", command="INSERT")]


def test_an_entry_of_jsonlog() -> None:
    """The values of an entry in jsonlog format are read by key."""
    assert read(jsonlog()) == [entry(application="web", command="INSERT")]


@pytest.mark.parametrize("form", FORMS)
def test_a_format_is_recognised(form: str) -> None:
    """A format is recognized, even if the log is cut off within its first entry."""
    log = (BYTES[form] * 3).decode()

    assert [recognise_format(log[cut:].encode()) for cut in (0, 1, 40, 300)] == [form] * 4


@pytest.mark.parametrize("form", FORMS)
def test_other_entries_are_not_read(form: str) -> None:
    """An entry is ignored unless its message names the unique index."""
    others = FORMS[form]("permission denied", DETAIL, f"DROP INDEX {INDEX_NAME}")

    assert read(others + FORMS[form]() + others) == read(FORMS[form]())


@pytest.mark.parametrize("form", FORMS)
def test_entries_quoted_in_a_statement_are_not_read(form: str) -> None:
    """Entries of a log that are quoted in a statement or a message are not read as entries."""
    assert [e for e in read(FORMS[form]("no", None, FORGED) + FORMS[form](f"no\n{FORGED}", "x")) if e != entry()] == []


@pytest.mark.parametrize("form", FORMS)
def test_lines_may_end_as_on_windows(form: str) -> None:
    """Lines may end with CR LF."""
    log = FORMS[form]() + FORMS[form]()

    assert read(log.replace("\n", "\r\n")) == read(log)


@pytest.mark.parametrize("form", FORMS)
def test_a_statement_of_megabytes(form: str) -> None:
    """A statement of megabytes is not stored, and the entries after it are read."""
    long = FORMS[form]("no", None, f"{INDEX_NAME} " * 200_000)

    assert read(long + FORMS[form]() + long) == read(FORMS[form]())


@pytest.mark.parametrize("form", FORMS)
def test_an_entry_after_nul_bytes_is_read(form: str) -> None:
    """An entry after NUL bytes is read."""
    assert read(BYTES[form] + b"\0" * 600 + BYTES[form]) == 2 * read(BYTES[form])


def test_the_format_may_be_given() -> None:
    """A given format is used without detection."""
    assert read(stderr("no") + csvlog(), form="stderr") == [Damaged(DAMAGED)]


def test_an_empty_log() -> None:
    """An empty log has no entry."""
    assert read("") == []


# stderr


@pytest.mark.parametrize("prefix", USUAL)
@pytest.mark.parametrize("label", ["ERROR", "ОШИБКА"])
def test_usual_prefixes_are_recognised(prefix: str, label: str) -> None:
    """Each usual prefix is recognized among the others, and its fields are read."""
    (found,) = read(stderr(prefix=prefix, label=label))
    shown = {escape: f"%{escape}" in prefix for escape in VALUES}

    assert found == Entry(
        time=VALUES["m"] if shown["m"] else VALUES["t"],
        message=MESSAGE,
        state="23505" if shown["e"] else None,
        detail=DETAIL,
        role="authenticator" if shown["u"] else None,
        process="4101" if shown["p"] else VALUES["c"] if shown["c"] else None,
        application="PostgREST 12.2.3" if shown["a"] else None,
    )


@pytest.mark.parametrize(
    ("prefix", "values", "expected"),
    [
        ("%n|%10p|%-20u|%i|%e|%l> ", {}, {"time": VALUES["n"], "command": "INSERT"}),
        ("%u@%d %m %e %p: ", {"u": "my role", "d": "my app"}, {"role": "my role"}),
        ("100%% %m (%p) %Q %z%e %u ", {"z": ""}, {}),
        ("[%m] [%e] [%p] [%u] ", {}, {}),
        ("%e%u%p %m", {}, {}),
    ],
)
def test_a_prefix_may_be_given(prefix: str, values: dict[str, str], expected: dict[str, str]) -> None:
    """Any log_line_prefix can be given: with padding, percent signs, and names with spaces."""
    log = stderr(prefix=prefix.replace("%z", ""), **values)

    assert read(log, prefix=prefix) == [entry(**expected)]


def test_another_prefix_than_the_given_one() -> None:
    """Lines that do not begin with the given prefix are read by what stands before all their labels."""
    assert read(stderr(), prefix="%t ") == [entry(state=None, role=None)]
    assert read(stderr(), prefix="%t ", form="stderr") == [Damaged(DAMAGED)]


def test_an_unknown_prefix() -> None:
    """An unknown prefix is recognised by what stands before all labels; one before a single line is not."""
    assert read(stderr(prefix="(%p)%m ")) == [entry(state=None, role=None)]
    assert read(stderr(prefix="%m|%p|", detail=None, statement=None)) == [Damaged(DAMAGED)]


def test_prefixes_may_change_midway() -> None:
    """If the prefix changed, entries before and after the change are read."""
    log = stderr(prefix="%m [%p] ") + stderr() + stderr(prefix="%m [%p] %q%u@%d ")

    assert read(log) == [entry(state=None, role=None), entry(), entry(state=None)]


def test_verbose_messages_begin_with_their_state() -> None:
    """With log_error_verbosity = verbose the SQLSTATE precedes the message."""
    assert read(stderr(f"23505: {MESSAGE}", prefix="%m [%p] ")) == [entry(role=None)]


def test_entries_of_several_processes_may_be_interleaved() -> None:
    """The parts of an entry are found by its process, with lines of other processes between them."""
    mine, other = stderr().splitlines(), stderr(p="4102", detail=DETAIL.replace("7)", "8)"), u="other").splitlines()
    log = "\n".join(line for pair in zip(mine, other, strict=True) for line in pair) + "\n"

    assert read(log) == [entry(), entry(process="4102", role="other", detail=DETAIL.replace("7)", "8)"))]


def test_the_detail_of_another_process_is_not_taken() -> None:
    """The DETAIL of another process is not used."""
    log = stderr(detail=None) + stderr(message="no", p="4102") + stderr(message="no")

    assert read(log) == [entry(detail=None)]


def test_the_detail_of_the_next_entry_is_not_taken() -> None:
    """The DETAIL of the same process's next error is not used."""
    assert read(stderr(detail=None, statement=None) + stderr()) == [entry(detail=None), entry()]


def test_a_detail_of_several_lines() -> None:
    """A value of the key may have line breaks: the lines of the DETAIL continue after a tab."""
    detail = "Key (root_prompt_row_id, owner_id, purpose)=(a, b, chat\n) or\n) already exists."

    assert read(stderr(detail=detail)) == [entry(detail=detail)]


def test_a_context_is_not_a_detail() -> None:
    """Lines after the message that name no key are not read as the DETAIL."""
    log = stderr(detail=None, statement=None) + begun() + f"CONTEXT:  SQL function {KEY[:20]}\n"

    assert read(log) == [entry(detail=None)]


@pytest.mark.parametrize(
    "label", ["LOG", "WARNING", "DETAIL", "CONTEXT", "HINT", "STATEMENT", "ANWEISUNG", "СООБЩЕНИЕ"]
)
def test_only_errors_are_read(label: str) -> None:
    """The same text in a line other than an error's first line is not an entry."""
    assert read(stderr(prefix="%m [%p] ", label=label, detail=None, statement=None)) == []


def test_statements_that_build_an_index_are_stored() -> None:
    """A statement that builds an index is stored, with or without comments before it."""
    statement = (
        f"/* a */ -- b\n  create unique index concurrently {PURPOSE.build_name} ON q_threads (root_prompt_row_id)"
    )

    assert read(stderr(statement=statement)) == [entry(command=statement)]


# Languages


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] "])
@pytest.mark.parametrize("detail", [DETAIL, None])
def test_every_language_is_read(language: str, prefix: str, detail: str | None) -> None:
    """An error is recognized in each language of PostgreSQL, with and without SQLSTATE and DETAIL."""
    words = LANGUAGES[language]
    log = stderr(words.duplicate % INDEX_NAME, detail, prefix=prefix, label=words.error)
    state, role = ("23505", "authenticator") if prefix == PREFIX else (None, None)

    assert read(log) == [entry(message=words.duplicate % INDEX_NAME, detail=detail, state=state, role=role)]


@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] "])
def test_an_unknown_language(prefix: str) -> None:
    """In an unknown language, an entry is recognized by structure: the message names one object, and a key follows."""
    message = f'duplicitní hodnota klíče porušuje unikátní omezení "{INDEX_NAME}"'
    state, role = ("23505", "authenticator") if prefix == PREFIX else (None, None)

    assert read(stderr(message, prefix=prefix, label="CHYBA")) == [entry(message=message, state=state, role=role)]
    assert read(stderr(message, None, prefix=prefix, label="CHYBA")) == [Damaged(OTHER_WORDS)]


CATALOGS = sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/postgres-*.mo"))


@pytest.mark.skipif(not CATALOGS, reason="no message catalogs of PostgreSQL are installed")
@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_words_equal_postgresqls_message_catalogs(catalog: Path) -> None:
    """The words of each language equal those of PostgreSQL's own message catalog."""
    with catalog.open("rb") as file:
        said = gettext.GNUTranslations(file).gettext
    words = LANGUAGES[catalog.parts[-3]]

    assert (words.error, words.log) == (said("ERROR"), said("LOG"))
    assert words.statement == said("STATEMENT:  ").rstrip(": ")
    assert said("DETAIL:  ").rstrip(": ") in DETAILS
    assert words.duplicate == said('duplicate key value violates unique constraint "%s"')
    assert words.build == said('could not create unique index "%s"')


# Damage


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", ["message", "name"])
def test_a_log_that_ends_within_an_entry(form: str, cut: str) -> None:
    """An entry that is cut off before the index name is reported as cut off; the others are read."""
    whole = FORMS[form]()
    at = whole.index("violates") if cut == "message" else whole.index(INDEX_NAME) + 12

    assert read(whole + whole[:at]) == [*read(whole), Damaged(ENDS_WITHIN)]


@pytest.mark.parametrize("form", FORMS)
def test_a_log_that_ends_after_a_message(form: str) -> None:
    """An entry that is cut off after its message counts, without the missing part."""
    whole = FORMS[form]()
    (found,) = read(whole[: whole.index(DETAIL[:3])])

    assert (found.message, found.detail) == (MESSAGE, None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", ["unique constraint", "Key"])
def test_a_log_that_begins_within_an_entry(form: str, cut: str) -> None:
    """An entry whose beginning is missing is reported; the others are read."""
    whole = FORMS[form]()
    rest = whole[whole.index(cut) :]

    assert read(rest + whole) == [Damaged(BEGINS_WITHIN), *read(whole)]


def test_a_log_that_begins_with_a_detail() -> None:
    """A log that begins with the DETAIL of an entry is reported as incomplete."""
    assert read(stderr().partition("\n")[2] + stderr()) == [Damaged(BEGINS_WITHIN), entry()]


def test_a_log_that_begins_with_another_detail() -> None:
    """A DETAIL of another key is not reported."""
    other = stderr("no", 'Key (root_prompt_row_id)=(1) is not present in table "q_prompts".')

    assert read(other.partition("\n")[2] + stderr()) == [entry()]


@pytest.mark.parametrize("form", FORMS)
def test_an_entry_within_the_line_of_another(form: str) -> None:
    """A rejection written into the line of another entry is reported as damaged."""
    whole = FORMS[form]()

    assert read(whole[:40] + whole + whole) == [Damaged(DAMAGED), *read(whole)]


@pytest.mark.parametrize("form", FORMS)
def test_bytes_that_are_not_utf_8(form: str) -> None:
    """Bytes that are not UTF-8 are replaced."""
    log = BYTES[form].replace(b"authenticator", b"\xe9\xff")

    assert [found.role for found in read(log)] == ["\ufffd\ufffd"]


# Bytes


@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_any_size(form: str) -> None:
    """The result does not depend on the size of the chunks."""
    noise = FORMS[form]("permission denied", None, FORGED)
    log = (noise + BYTES[form].decode()) * 2 + noise
    sizes = (1, 2, 3, 7, 64, 1000, len(log.encode()))

    assert [read(log, chunk=size, after=3000) for size in sizes] == [read(log)] * len(sizes)


class Endless(io.RawIOBase):
    """A log of a given size that repeats one part, generated while it is read."""

    def __init__(self, part: bytes, left: int) -> None:
        self.part, self.at, self.left = part * (1 + 2**20 // len(part)), 0, left

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        given = self.part[self.at : self.at + min(size, self.left)]
        self.left -= len(given)
        self.at = (self.at + len(given)) % len(self.part)
        return given


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noise", ["permission denied", "one line without an end"])
def test_memory_does_not_grow(form: str, noise: str) -> None:
    """A log of 100 MB, or one line of 100 MB, is read with a few megabytes of memory."""
    part = FORMS[form](noise).encode() if noise == "permission denied" else BYTES[form].replace(b"\n", b" ")
    tracemalloc.start()
    found = sum(1 for _ in entries(Log(Endless(part, 10**8), "x"), (INDEX_NAME,), form=form))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (found <= 1, most < 10 * 2**20) == (True, True)


@pytest.mark.parametrize("form", FORMS)
def test_compressed_logs(form: str) -> None:
    """A gzip file is read, also with several members."""
    assert read(gzip.compress(BYTES[form]) + gzip.compress(BYTES[form])) == read(BYTES[form] * 2)


def test_a_compressed_log_that_is_cut_off() -> None:
    """A truncated gzip file is read to its end, and reported as truncated."""
    whole = gzip.compress("".join(stderr(p=str(pid)) for pid in range(5000, 9000)).encode())
    *found, end = read(whole[: len(whole) // 2])

    assert end == Damaged(UNREADABLE)
    assert found[:1000] == [entry(process=str(pid)) for pid in range(5000, 6000)]


def test_a_compressed_log_that_is_damaged() -> None:
    """A damaged gzip file is read up to the damage, and reported as damaged."""
    assert read(gzip.compress(BYTES["stderr"])[:20]) == [Damaged(UNREADABLE)]


def test_progress_is_in_bytes_of_the_file(tmp_path: Path) -> None:
    """The progress counts bytes of the file, compressed or not."""
    file, progress = tmp_path / "server.log.gz", list[int]()
    file.write_bytes(gzip.compress(BYTES["stderr"] * 1000))
    with open_log(str(file), progress.append) as log:
        assert len(list(entries(log, (INDEX_NAME,)))) == 1000

    assert (progress[-1], log.done, log.name) == (file.stat().st_size, file.stat().st_size, "server.log.gz")
    assert total_size([str(file), str(file)]) == 2 * file.stat().st_size
    assert total_size([str(file), "-"]) is None


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    """The message on a file that cannot be read names the file."""
    with pytest.raises(Failed) as raised, open_log(str(tmp_path / "none.log"), print):
        pass

    assert str(raised.value) == (
        f"{tmp_path}/none.log cannot be read.\n"
        "  why:  No such file or directory.\n"
        "  next: Name a file that this user may read, or `-`."
    )


# Exports


EVENT = {
    "event_message": MESSAGE,
    "id": "c4d8c54b-74d9-407f-bdf9-65fa6a6904a8",
    "metadata": [
        {
            "host": "db-abc",
            "metadata": [],
            "parsed": [
                {
                    "application_name": "web",
                    "command_tag": "INSERT",
                    "detail": DETAIL,
                    "error_severity": "ERROR",
                    "hint": None,
                    "process_id": 4101,
                    "query": STATEMENT,
                    "sql_state_code": "23505",
                    "timestamp": "2025-09-22 06:00:00.123 UTC",
                    "user_name": "authenticator",
                }
            ],
        }
    ],
    "timestamp": 1758520800123000,
}
EXPORTED = entry(time="1758520800123000", application="web", command="INSERT")
OTHER = {**EVENT, "event_message": "permission denied", "metadata": []}


@pytest.mark.parametrize(
    "log",
    [
        json.dumps([OTHER, EVENT, OTHER]),
        json.dumps([EVENT, OTHER], indent=2),
        json.dumps({"result": [OTHER, EVENT], "error": None}),
        json.dumps({"result": [EVENT], "error": None}, indent=2),
        "".join(json.dumps(event) + "\n" for event in (OTHER, EVENT, OTHER)),
        "\ufeff" + json.dumps(EVENT),
        json.dumps(
            [
                {
                    **EVENT,
                    "metadata": None,
                    "log_attributes": {
                        f"parsed.{key}": str(value) for key, value in EVENT["metadata"][0]["parsed"][0].items() if value
                    },
                }
            ]
        ),
    ],
    ids=["a list", "indented", "a result", "an indented result", "lines", "one, with a mark", "ClickHouse's"],
)
def test_exported_json(log: str) -> None:
    """Events of Supabase's log explorer are read from lists, results and lines, in both of its formats."""
    assert read(log) == [EXPORTED]
    assert read(log, chunk=5) == [EXPORTED]


def table(*rows: dict[str, Any], quoting: int = csv.QUOTE_MINIMAL) -> str:
    """CSV as Supabase's log explorer writes it: values other than text are JSON."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=quoting)  # type: ignore[arg-type]  # an int will do
    writer.writerow(rows[0])
    writer.writerows([v if isinstance(v, str) else json.dumps(v) for v in row.values()] for row in rows)
    return out.getvalue()


PARSED = EVENT["metadata"][0]["parsed"][0]
FLAT = {
    "timestamp": "2025-09-22T06:00:00.123000",
    "event_message": MESSAGE,
    "log_attributes['parsed.sql_state_code']": "23505",
    "arrayElement(log_attributes, 'parsed.detail')": DETAIL,
    "parsed.user_name": "authenticator",
    "process_id": 4101,
}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_exported_csv(quoting: int) -> None:
    """Events of Supabase's log explorer are read from CSV with records in its cells."""
    assert read(table(OTHER, EVENT, OTHER, quoting=quoting)) == [EXPORTED]
    assert read(table(OTHER, EVENT, OTHER, quoting=quoting), chunk=5) == [EXPORTED]


def test_exported_csv_of_any_query() -> None:
    """A column of a query may have any name that ends with the name of the field."""
    assert read(table(FLAT)) == [entry(time="2025-09-22T06:00:00.123000")]


def test_exported_csv_of_the_log_viewer() -> None:
    """The log viewer's own columns have no SQLSTATE, role or process."""
    row = {"identifier": "db", "timestamp": 1758520800123000, "id": "c4", "event_message": MESSAGE, "detail": DETAIL}

    assert read(table(row)) == [entry(time="1758520800123000", state=None, role=None, process=None)]


def test_exported_lines_with_their_prefix() -> None:
    """If the message is the complete line, as a self-hosted server exports it, its prefix is read."""
    row = {"timestamp": 1758520800123000, "event_message": f"{begun('%m [%p] ')}ERROR:  {MESSAGE}"}

    assert read(table(row)) == [Entry(TIME, MESSAGE, process="4101")]


def test_json_with_the_columns_of_csvlog() -> None:
    """Entries in CloudNativePG's JSON form of csvlog are read."""
    record = {"log_time": TIME, "user_name": "authenticator", "process_id": "4101", "sql_state_code": "23505"}
    event = {"level": "info", "logger": "postgres", "record": record | {"message": MESSAGE, "detail": DETAIL}}

    assert read(json.dumps(event) + "\n") == [entry()]


def test_an_export_without_the_message() -> None:
    """Without the message the index is unknown: the export is not read."""
    without = {name: value for name, value in FLAT.items() if name != "event_message"} | {"sql_state_code": "23505"}
    for log in (table(without), json.dumps([without, without])):
        coverage = Coverage("export")
        assert read(log, coverage=coverage) == []
        assert not coverage.recognised


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("damage", [30, 8], ids=["cut", "quote"])
def test_damaged_json(indent: int | None, damage: int) -> None:
    """A damaged event is reported, and those before and after it are read."""
    log = json.dumps([EVENT, {**EVENT, "id": "damaged"}, OTHER, EVENT], indent=indent)
    at = log.index("damaged")

    assert read(log[:at] + log[at + damage :]) == [EXPORTED, Damaged(DAMAGED), EXPORTED]


def test_json_that_is_cut_off() -> None:
    """An event that is cut off is reported."""
    log = json.dumps([EVENT, EVENT])

    assert read(log[:-200]) == [EXPORTED, Damaged(DAMAGED)]


def test_a_damaged_row() -> None:
    """A row with another length than the header is reported, and those before and after it are read."""
    log = table(FLAT, FLAT, FLAT).splitlines(keepends=True)
    log[2] = log[2].partition(",")[2]

    assert read("".join(log)) == [read(table(FLAT))[0], Damaged(DAMAGED), read(table(FLAT))[0]]


# Times


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2025-09-22 08:00:00.123 CEST", None, "2025-09-22T06:00:00.123"),
        ("2025-01-22 08:00:00 CET", None, "2025-01-22T07:00:00"),
        ("2025-10-26 02:30:00 CEST", None, "2025-10-26T00:30:00"),
        ("2025-10-26 02:30:00 CET", None, "2025-10-26T01:30:00"),
        ("2025-09-22 08:00:00 UTC", None, "2025-09-22T08:00:00"),
        ("2025-09-22 08:00:00 GMT", None, "2025-09-22T08:00:00"),
        ("2025-09-22 08:00:00 MSK", None, "2025-09-22T05:00:00"),
        ("2025-09-22 08:00:00 EDT", None, "2025-09-22T12:00:00"),
        ("2025-09-22 08:00:00 -03", None, "2025-09-22T11:00:00"),
        ("2025-09-22 08:00:00 +0545", None, "2025-09-22T02:15:00"),
        ("2025-09-22 08:00:00+05:30", None, "2025-09-22T02:30:00"),
        ("2025-01-22 08:00:00 IST", "Asia/Kolkata", "2025-01-22T02:30:00"),
        ("2025-01-22 08:00:00 IST", "Asia/Jerusalem", "2025-01-22T06:00:00"),
        ("2025-01-22 08:00:00 CST", "America/Chicago", "2025-01-22T14:00:00"),
        ("2025-01-22 08:00:00 CET", "Asia/Kolkata", "2025-01-22T07:00:00"),
        ("2026-06-22T09:34:06.215000", None, "2026-06-22T09:34:06.215"),
        ("2026-06-22T09:34:06Z", None, "2026-06-22T09:34:06"),
        ("1758520800", None, "2025-09-22T06:00:00"),
        ("1758520800.123", None, "2025-09-22T06:00:00.123"),
        ("1758520800123", None, "2025-09-22T06:00:00.123"),
        ("1758520800123000", None, "2025-09-22T06:00:00.123"),
    ],
)
def test_times(text: str, zone: str | None, expected: str) -> None:
    """A time in any format and zone is converted to UTC."""
    assert parse_log_time(text, zone) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "12345", "2025-01-22 08:00:00 IST", "2025-01-22 08:00:00 CST", "2025-01-22 08:00:00 XYZ"),
        *("2025-02-30 08:00:00 UTC", "0001-01-01 00:00:00 +02", "2025-01-22 08:00:00 CEST"),
    ],
)
def test_times_that_cannot_be_read(text: str) -> None:
    """An ambiguous zone, a zone that is not in use then, or a text that is not a time gives no time."""
    assert parse_log_time(text) is None


def test_an_unknown_zone() -> None:
    """An unknown zone is an error."""
    with pytest.raises(UsageError) as raised:
        check_zone("Europe/Atlantis")

    assert str(raised.value) == (
        "'Europe/Atlantis' is not a known time zone.\n"
        "  why:  It is what `SHOW log_timezone` says on the server: the name of a zone.\n"
        "  next: Write it like Europe/Berlin."
    )


# Random input


MARKS = [
    "\n",
    "\t",
    '"',
    '""',
    ",",
    "{",
    "}",
    "[",
    "\\",
    "\0",
    "\r",
    ":  ",
    "ERROR:  ",
    "23505",
    INDEX_NAME,
    KEY,
    begun(),
]
GARBAGE = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(MARKS), max_size=12).map("".join).map(str.encode))
CHUNKS = st.sampled_from([1, 5, 100, 1 << 20])


@given(
    form=st.sampled_from(sorted(FORMS)),
    garbage=st.lists(GARBAGE, min_size=1, max_size=6),
    chunk=CHUNKS,
)
def test_garbage_between_entries(form: str, garbage: list[bytes], chunk: int) -> None:
    """With any bytes in the lines between complete entries, exactly those entries are read."""
    log = b"".join(BYTES[form] + part.replace(INDEX_NAME.encode(), b"idx") + b"\n" for part in garbage)
    found = [each for each in read(log, form=form, chunk=chunk, after=2000) if isinstance(each, Entry)]

    assert [each.message for each in found] == [MESSAGE] * len(garbage)


@given(form=st.sampled_from(sorted(FORMS)), data=st.data(), chunk=CHUNKS)
def test_cut_anywhere(form: str, data: st.DataObject, chunk: int) -> None:
    """If a log is cut at both ends, its complete entries are read, with at most one more entry and two reports."""
    log, number = BYTES[form] * 4, len(BYTES[form])
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(log))] * 2)))
    whole = max(0, end // number - -(-begin // number))
    found = read(log[begin:end], form=form, chunk=chunk, after=2000)
    counted = sum(isinstance(each, Entry) for each in found)

    assert whole <= counted <= whole + 1
    assert len(found) - counted <= 2


@given(form=st.sampled_from([*FORMATS, None]), parts=st.lists(GARBAGE, max_size=8), chunk=CHUNKS)
def test_reading_never_fails(form: str | None, parts: list[bytes], chunk: int) -> None:
    """Reading never fails, whatever the bytes."""
    for log in (b"".join(parts), gzip.compress(b"".join(parts))[:-9], b"\x1f\x8b" + b"".join(parts)):
        read(log, form=form, chunk=chunk, after=500)


@given(form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_a_changed_byte(form: str, data: st.DataObject) -> None:
    """A changed byte in one entry does not change the other entries."""
    log = bytearray(BYTES[form] * 3)
    place = data.draw(st.integers(len(BYTES[form]), 2 * len(BYTES[form]) - 2))
    log[place] = data.draw(st.integers(0, 255))
    found = [each for each in read(bytes(log), form=form) if isinstance(each, Entry)]

    assert found[0] == found[-1] == read(BYTES[form])[0]
    assert 2 <= len(found) <= 3
