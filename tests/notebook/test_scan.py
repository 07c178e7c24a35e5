"""`Incident.scan`: could this happen elsewhere? As DataFrames, and in the record of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import incident_lib as il
from incident_lib import paths
from incident_lib.logs import duplicates, open_log, reading
from incident_lib.model import INDEX_NAME, Refused
from incident_lib.records import RunFolder, add_answer

if TYPE_CHECKING:
    from incident_lib.database import Environment

LOG = str(paths.DEMO_DATA / "server.log")
TYPES = {"index": "str", "column": "str", "speaks": "str", "reason": "str"}


@pytest.fixture(autouse=True)
def _answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ANSWERS", tmp_path / "scan.toml")


@pytest.fixture(autouse=True)
def _named(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)


def test_a_log_names_the_index_to_examine() -> None:
    """With a log the index that rejected rows is examined: a row for each reason, the likeliest column first."""
    found = il.connect("staging").scan(LOG)

    assert list(found.suspects["column"].unique()) == ["purpose", "provider"]
    assert set(found.suspects["index"]) == {INDEX_NAME}
    assert str(found).splitlines()[1] == (
        f"{INDEX_NAME} rejected 1,340 rows in the logs. Does one of the columns purpose, provider belong in its key?"
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the logs that are opened, in order."""
    names: list[str] = []

    def opening(name: str, *more: object) -> object:
        names.append(name)
        return open_log(name, *more)

    for module in (duplicates, reading):
        monkeypatch.setattr(module, "open_log", opening)
    return names


def test_a_log_is_read_once(opened: list[str]) -> None:
    """As in the first notebook: the scan has what `attempts` has read of the same log, in the same words."""
    incident = il.connect("staging")
    incident.attempts(LOG)
    after_attempts = incident.scan(LOG)

    assert opened == [LOG]
    assert after_attempts.found == il.connect("staging").scan(LOG).found
    assert opened == [LOG, LOG]


def test_a_log_that_has_grown_is_read_again(tmp_path: Path, opened: list[str]) -> None:
    """What came into the log since is in the answer."""
    log = tmp_path / "server.log"
    log.write_bytes(Path(LOG).read_bytes())
    incident = il.connect("staging")
    incident.attempts(str(log))
    log.write_bytes(Path(LOG).read_bytes() * 2)

    assert "rejected 2,680 rows in the logs" in str(incident.scan(str(log)))
    assert len(opened) == 2


def test_tables_have_types_without_a_row() -> None:
    """Without a log or an index nothing is suspected: the tables are empty, and typed."""
    found = il.connect("staging").scan()

    assert found.suspects.dtypes.astype(str).to_dict() == TYPES
    assert (len(found.suspects), len(found.redundant)) == (0, 0)
    assert found.unknown[0].startswith("Which keys may lack a column was not asked")


def test_an_answer_of_a_person_is_shown() -> None:
    """A column that was answered with no is a row of its own, with the date."""
    day = add_answer(paths.ANSWERS, ("public.q_threads", INDEX_NAME, "provider"))
    suspects = il.connect("staging").scan(index=INDEX_NAME).suspects

    assert suspects.query("speaks == 'answered'")[["column", "reason"]].values.tolist() == [
        ["provider", f"no, on {day}"]
    ]


def test_an_unknown_index_is_refused() -> None:
    """A name that no index has is one message."""
    with pytest.raises(Refused, match="There is no index 'nothing'"):
        il.connect("staging").scan(index="nothing")


def test_the_record_holds_what_was_found() -> None:
    """In a notebook of a run the findings are recorded."""
    incident = il.begin("01_investigate", environment="staging")
    found = incident.scan(LOG)

    assert incident.run
    assert RunFolder(incident.run.folder).read().scan == found.found
