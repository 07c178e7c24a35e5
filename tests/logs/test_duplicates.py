"""Which unique indexes rejected rows, by server logs: those of any table, in any language and wrapping."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib import paths
from incident_lib.logs import read_duplicates
from incident_lib.logs.messages import LANGUAGES
from incident_lib.model import INDEX_NAME

if TYPE_CHECKING:
    from pathlib import Path

TIME = "2025-09-22 08:00:00.123 UTC"


def line(message: str, severity: str = "ERROR") -> str:
    """An entry of a log with the usual prefix."""
    return f"{TIME} [4711] {severity}:  {message}\n"


def duplicate(index: str) -> str:
    """The message about a row that a unique index rejected."""
    return f'duplicate key value violates unique constraint "{index}"'


def rejected(tmp_path: Path, text: str) -> dict[str, int]:
    """What a log with this text says."""
    file = tmp_path / "server.log"
    file.write_text(text, "utf-8")
    return read_duplicates([str(file)]).rejected


def test_the_demo_has_one_such_index() -> None:
    """The demo's log names the incident's index alone."""
    found = read_duplicates([str(paths.DEMO_DATA / "server.log")])

    assert (found.rejected, found.unread) == ({INDEX_NAME: 1340}, [])


def test_indexes_of_any_table_are_counted(tmp_path: Path) -> None:
    """Each index is counted by its name, the one that rejected most rows first; other errors are not."""
    text = "".join(
        (
            line(duplicate("users_email_key")),
            line(duplicate("Weird Name")) * 3,
            line('could not create unique index "users_email_key"'),
            line('null value in column "a" violates not-null constraint'),
            line(duplicate("users_email_key"), "LOG"),
        )
    )

    assert rejected(tmp_path, text) == {"Weird Name": 3, "users_email_key": 1}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_is_read(tmp_path: Path, language: str) -> None:
    """The message is recognised in every language of PostgreSQL's."""
    words = LANGUAGES[language]

    assert rejected(tmp_path, line(words.duplicate.replace("%s", "users_email_key"), words.error)) == {
        "users_email_key": 1
    }


def test_a_wrapped_and_compressed_log_is_read(tmp_path: Path) -> None:
    """What carries the lines is recognised, as for rejected inserts."""
    file = tmp_path / "pod.log.gz"
    lines = [line("database system is ready", "LOG"), line(duplicate("users_email_key"))]
    docker = "".join(
        json.dumps({"log": each, "stream": "stderr", "time": "2025-09-22T08:00:00Z"}) + "\n" for each in lines
    )
    file.write_bytes(gzip.compress(docker.encode()))

    assert read_duplicates([str(file)]).rejected == {"users_email_key": 1}


def test_what_is_no_log_is_not_read(tmp_path: Path) -> None:
    """A file without an entry of a server is unread, which is not the same as no rejection."""
    file = tmp_path / "notes.txt"
    file.write_text("nothing of a server\n" * 3, "utf-8")
    found = read_duplicates([str(file)])

    assert (found.rejected, [log.file for log in found.unread], found.is_read) == ({}, ["notes.txt"], False)


def test_a_real_server_names_the_index(server: str, tmp_path: Path) -> None:
    """The message of a real server about any index is recognised."""
    with psycopg.connect(server) as connection:
        connection.execute('CREATE TEMP TABLE t (a int, CONSTRAINT "one each" UNIQUE (a))')
        with pytest.raises(psycopg.errors.UniqueViolation) as raised:
            connection.execute("INSERT INTO t VALUES (1), (1)")

    assert rejected(tmp_path, line(str(raised.value.diag.message_primary))) == {"one each": 1}
