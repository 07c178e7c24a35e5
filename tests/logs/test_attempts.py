"""Rejected inserts in a notebook: the parameter `log`, the numbers from logs and threads, and `incident run --log`."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from incident_lib import paths
from incident_lib.cli import cli
from incident_lib.database.demo import PURPOSE_SINCE
from incident_lib.logs.attempts import log_files, read_attempts
from incident_lib.model import Pseudonyms, UnreadLog
from incident_lib.model.errors import IncidentError, UsageError
from incident_lib.notebook.incident import Incident
from incident_lib.notebook.session import Recording
from incident_lib.records import RunFolder, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

AN_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
LOG = paths.DEMO_DATA / "server.log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of logs."""
    for name in ("a.log", "b.log", "c.csv", "with space.log", "old/a.log", "old/older/a.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


# The parameter `log`


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("{0}/a.log", ["a.log"]),
        ("{0}/b.log {0}/a.log", ["b.log", "a.log"]),
        ("  {0}/a.log\n{0}/c.csv ", ["a.log", "c.csv"]),
        ("{0}/?.log", ["a.log", "b.log"]),
        ("{0}/*.csv {0}/a.*", ["c.csv", "a.log"]),
        ("{0}/**/a.log", ["a.log", "old/a.log", "old/older/a.log"]),
        ("'{0}/with space.log'", ["with space.log"]),
        ("{0}/with\\ space.log", ["with space.log"]),
        ("", []),
    ],
)
def test_names_and_patterns(folder: Path, named: str, found: list[str]) -> None:
    """The parameter has names and patterns, separated by spaces, in this order; a pattern's files are sorted."""
    assert log_files(named.format(folder)) == [str(folder / name) for name in found]


@pytest.mark.parametrize("named", ["none.log", "{0}/*.gz", "{0}/a.log {0}/none.log"])
def test_a_log_that_does_not_exist(folder: Path, named: str) -> None:
    """A name or a pattern without a file is an error, whatever files the others have."""
    with pytest.raises(UsageError) as raised:
        log_files(named.format(folder))

    assert str(raised.value) == (
        "There is no such log.\n"
        f"  why:  {named.format(folder).split()[-1]} leads to no file.\n"
        "  next: Correct the parameter log."
    )


def test_a_folder_is_not_a_log(folder: Path) -> None:
    """A folder is an error, and a pattern does not match a folder."""
    with pytest.raises(UsageError):
        log_files(str(folder))
    assert log_files(f"{folder}/[ao]*") == [str(folder / "a.log")]


def test_a_quote_without_its_end(folder: Path) -> None:
    """A quote without its end is an error with a message."""
    with pytest.raises(IncidentError):
        log_files(f"'{folder}/a.log")


def test_a_name_that_looks_like_a_pattern(folder: Path) -> None:
    """A name with characters of a pattern leads to the file of exactly this name."""
    (folder / "log[1].log").touch()

    assert log_files(f"{folder}/log[1].log") == [str(folder / "log[1].log")]


def test_no_name_leads_to_no_log() -> None:
    """An empty text names no log."""
    assert log_files("") == []


# The numbers from logs and threads


def test_the_demos_numbers_equal_those_of_its_clients(incident: Environment) -> None:
    """The demo's numbers equal those of its clients without runs beside runs of another provider, without an id."""
    with (paths.DEMO_DATA / "failed_attempts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    progress: list[tuple[int, int | None]] = []
    found, unread, _, families = read_attempts(
        incident, [str(LOG)], lambda done, total: progress.append((done, total)), PURPOSE_SINCE
    )
    assert found is not None
    counted = Counter(row["purpose"] for row in rows if row["attempted_at"] >= "2025-09-22 06")

    assert unread == []
    assert (found.failed_attempts - found.runs, found.runs + found.by_provider) == (counted["chat"], counted["run"])
    assert (found.before_purpose, found.by_provider, found.failed_attempts) == (93, 41, 1206)
    assert sum(count for _, count in found.per_hour) == 1206
    assert (found.blocked, found.files, found.bytes_read) == (1088, ["server.log"], LOG.stat().st_size)
    assert found.hit_and_blocked + found.blocked_never_hit == 1088
    assert found.hit_and_blocked + found.hit_not_blocked == found.got_a_chat + found.without_a_chat == len(families)
    assert progress[-1] == (LOG.stat().st_size, LOG.stat().st_size)
    assert not AN_ID.search(to_json(found))


def test_overlapping_logs_are_counted_once(incident: Environment, tmp_path: Path) -> None:
    """In overlapping logs each rejected insert is counted once, and the number of duplicates is known."""
    lines = LOG.read_bytes().splitlines(keepends=True)
    (tmp_path / "first.log").write_bytes(b"".join(lines[:3000]))
    (tmp_path / "second.log").write_bytes(b"".join(lines[2400:]))
    found = read_attempts(incident, log_files(f"{tmp_path}/*.log"), lambda *_: None).rejected
    assert found is not None

    assert (found.failed_attempts + found.by_provider, found.files) == (1340, ["first.log", "second.log"])
    assert found.duplicates == sum(b"23505" in line and b" ERROR: " in line for line in lines[2400:3000])


def recorded(incident: Environment, run: RunFolder, since: datetime | None = None) -> Incident:
    """The incident with a record that is open."""
    recording = Recording(notebook="01_investigate", run=run, names=Pseudonyms("a key"), alone=True)
    recording.open()
    return Incident(incident, recording=recording, purpose_since=since)


def test_a_notebook_without_a_log(
    incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a log, the notebook says that rejected inserts are unknown, and the record has none."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    run = RunFolder.create("staging", "a test")
    families = recorded(incident, run).attempts()

    assert capsys.readouterr().out == "- No log was given: rejected inserts are unknown.\n"
    assert families.empty
    assert str(families["last"].dtype) == "datetime64[us, UTC]"
    assert run.read().rejected_inserts is None


UNREADABLE = "Nov 26 21:00:00 web-1 nginx[7]: GET / 200\n" * 3
UNREAD = "The log was not read: no entry of a PostgreSQL server was recognised in web.log (3 lines looked at)."


def test_a_log_of_which_nothing_was_understood_is_not_read(incident: Environment, tmp_path: Path) -> None:
    """A log without an entry of a server is not read: there is no number of rejected inserts, also not 0."""
    (tmp_path / "web.log").write_text(UNREADABLE, "utf-8")
    found = read_attempts(incident, [str(tmp_path / "web.log")], lambda *_: None)

    assert found.rejected is None
    assert found.unread == [UnreadLog(file="web.log", lines=3)]


def test_of_two_logs_the_one_that_was_not_read_is_named(incident: Environment, tmp_path: Path) -> None:
    """The numbers are those of the log that was read; the other one is named."""
    (tmp_path / "web.log").write_text(UNREADABLE, "utf-8")
    found = read_attempts(incident, [str(LOG), str(tmp_path / "web.log")], lambda *_: None)

    assert found.rejected is not None
    assert found.rejected.failed_attempts > 1000
    assert [log.file for log in found.unread] == ["web.log"]


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-13 11:00:00.123 UTC [7] LOG:  checkpoint starting: time\n",
        '2025-10-13 11:00:00.123 UTC,,,7,,68ecdb50.7,1,,2025-10-13 10:00:00 UTC,,0,LOG,00000,"started"\n',
        '{"timestamp":"2025-10-13 11:00:00.123 UTC","pid":7,"error_severity":"LOG","message":"started"}\n',
        "timestamp,event_message\n1758520800123000,started\n",
    ],
)
def test_a_log_without_rejected_inserts_is_read(incident: Environment, tmp_path: Path, text: str) -> None:
    """A log of a server, in any format, that has no rejected insert was read: there was none."""
    (tmp_path / "server.log").write_text(text, "utf-8")
    found = read_attempts(incident, [str(tmp_path / "server.log")], lambda *_: None)

    assert (found.rejected and found.rejected.failed_attempts, found.unread) == (0, [])


def test_a_notebook_says_that_a_log_was_not_read(
    incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The notebook says that rejected inserts are unknown, and the record names the log and has no number."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    (tmp_path / "web.log").write_text(UNREADABLE, "utf-8")
    run = RunFolder.create("staging", "a test")
    notebook = recorded(incident, run)

    assert notebook.attempts(str(tmp_path / "web.log")).empty
    assert notebook.rejected_inserts.empty
    assert capsys.readouterr().out.replace("\\", "") == f"- {UNREAD} Rejected inserts are unknown.\n"
    assert run.read().rejected_inserts is None
    assert run.read().unread_logs == [UnreadLog(file="web.log", lines=3)]


def test_a_notebook_says_what_is_not_the_incidents(
    incident: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The notebook says how many rejected inserts were left out, and why; the record has the same numbers."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    run = RunFolder.create("staging", "a test")
    notebook = recorded(incident, run, PURPOSE_SINCE)
    families = notebook.attempts(str(LOG))
    found = run.read().rejected_inserts

    assert [line.partition(".")[0] for line in capsys.readouterr().out.splitlines()] == [
        "- Not counted: 93 rejected inserts before the column purpose was added",
        "- Not counted: 41 inserts rejected because of a thread of the same purpose, of another provider",
    ]
    assert found is not None
    assert (found.failed_attempts, found.before_purpose, found.by_provider) == (1206, 93, 41)
    assert (families["attempts"].sum(), len(families)) == (1206, found.families)
    assert notebook.rejected_inserts.set_index("count")["number"]["rejected inserts"] == 1206


# incident run --log


@pytest.fixture
def runs(staging: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of this test, and a second environment `other`."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("INCIDENT_OTHER_URL", staging.address)
    return tmp_path / "runs"


def refused(*words: str) -> tuple[int, str]:
    """Run `incident run …`, which fails: its exit code and its message."""
    done = CliRunner().invoke(cli, ["run", *words], standalone_mode=False)
    assert isinstance(done.exception, IncidentError)
    assert done.stdout == ""
    return done.exception.exit_code, str(done.exception)


def test_a_log_belongs_to_one_environment(runs: Path) -> None:
    """A log with several environments is refused before any run begins."""
    assert refused("--env", "staging", "--env", "other", "--log", str(LOG)) == (
        2,
        "A log belongs to one environment.\n"
        "  why:  --log is given for 2 environments.\n"
        "  next: Run that environment by itself.",
    )
    assert not runs.exists()


def test_a_run_with_a_log_that_does_not_exist(runs: Path) -> None:
    """A log that does not exist is an error before any run begins."""
    assert refused("--env", "staging", "--log", "none.log") == (
        2,
        "There is no such log.\n  why:  none.log leads to no file.\n  next: Correct the parameter log.",
    )
    assert not runs.exists()
