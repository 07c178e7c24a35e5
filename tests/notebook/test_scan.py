"""`Incident.scan`: could this happen elsewhere? As DataFrames, and in the record of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import incident_lib as il
from incident_lib import paths
from incident_lib.model import INDEX_NAME, Refused
from incident_lib.records import RunFolder, add_answer

if TYPE_CHECKING:
    from pathlib import Path

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
