"""The section of the report that asks whether this could happen elsewhere."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec
import pytest

from incident_lib import paths
from incident_lib.model import PURPOSE, ExaminedIndex, RedundantRule, ScanFindings, Suspect, UniqueRule
from incident_lib.records import RunFolder
from incident_lib.report import read_runs
from incident_lib.report.render import render_markdown

if TYPE_CHECKING:
    from pathlib import Path

FOUND = ScanFindings(
    tables=2,
    unique_indexes=4,
    redundant=[
        RedundantRule(
            table="shop.orders",
            narrow=UniqueRule(index="orders_number", key=["number"], partial=False, constraint=True),
            wide=UniqueRule(index="orders_year", key=["number", "year"], partial=False, constraint=False),
            remarks=[],
        )
    ],
    examined=[
        ExaminedIndex(
            table="shop.products",
            index="products_slug",
            key=["slug"],
            predicate=None,
            nulls_not_distinct=False,
            constraint=False,
            because="log",
            rejected=3,
            suspects=[
                Suspect(column="tenant_id", reasons=["Reason one."], objections=["Objection."], nullable=True),
                Suspect(
                    column="channel", reasons=["Two."], objections=[], nullable=True, answered_no=date(2025, 9, 22)
                ),
            ],
            remarks=["A remark."],
        )
    ],
    unknown=["A column that is not listed may still belong in a key."],
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of the example run, with a scan in its record."""
    folder = tmp_path / "demo" / "20250101T120000Z"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes((paths.EXAMPLE_RUN / "record.json").read_bytes())
    RunFolder(folder).set(scan=FOUND)
    return folder


def section(folder: Path) -> str:
    """The section as Markdown; empty where there is none."""
    text = render_markdown(read_runs([folder], None), "report")
    return text.partition("\n## Could this happen elsewhere?\n")[2].partition("\n## ")[0]


def test_the_findings_of_a_scan_are_questions(run: Path) -> None:
    """The section has both questions, what speaks for and against a column, the answer of a person, the limits."""
    text = section(run)

    assert "4 unique indexes of 2 tables: in 1 pair one has no effect. Which of the two is meant?" in text
    assert "rejected 3 rows in the logs. Does tenant\\_id belong in its key?" in text
    assert "| shop.orders | orders\\_number (number) | orders\\_year (number, year) | – |" in text
    assert "| tenant\\_id | for | Reason one. |" in text
    assert "| tenant\\_id | against | Objection. |" in text
    assert "| channel | answered | no, on 2025-09-22 |" in text
    assert text.rstrip().endswith("- A column that is not listed may still belong in a key.")


def test_a_pair_that_a_person_answered_is_no_question(run: Path) -> None:
    """Where a person answered that both are needed, the section has that answer with its date, and asks nothing."""
    (pair,) = FOUND.redundant
    answered = msgspec.structs.replace(pair, answered_both=date(2025, 9, 22))
    RunFolder(run).set(scan=msgspec.structs.replace(FOUND, redundant=[answered]))
    text = section(run)

    assert "Which of the two is meant?" not in text
    assert "| Answered: both are needed, on 2025-09-22. |" in text


def test_a_scan_from_before_the_fix_says_what_the_fix_added(run: Path) -> None:
    """Where the scan asked about the original index and the fix has been applied, its key is said to be the old one."""
    index = msgspec.structs.replace(
        FOUND.examined[0], table="public.q_threads", index=PURPOSE.index, key=list(PURPOSE.before.parts)
    )
    RunFolder(run).set(scan=msgspec.structs.replace(FOUND, examined=[index]))
    text = section(run)

    assert "The scan was made before the fix, which then added purpose to the key of" in text
    assert "Before the fix its key was (root\\_prompt\\_row\\_id, owner\\_id)." in text


def test_the_rejected_rows_of_a_scan_are_more_than_the_incidents(run: Path) -> None:
    """Where the logs have more rejected rows than the incident has inserts, the section says how many are its."""
    index = msgspec.structs.replace(
        FOUND.examined[0], index=PURPOSE.index, key=list(PURPOSE.before.parts), rejected=1340, because="log"
    )
    RunFolder(run).set(scan=msgspec.structs.replace(FOUND, examined=[index]))

    assert "Of these 1,340 rows, 1,206 are rejected inserts of this incident: see Impact." in section(run)


def test_a_scan_of_another_index_says_nothing_of_the_fix(run: Path) -> None:
    """The key of an index that the fix does not change is told as it is."""
    text = section(run)

    assert "before the fix" not in text
    assert "Its key is (slug)." in text


def test_a_run_without_a_scan_has_no_such_section(run: Path) -> None:
    """Where no run asked, the section is left out."""
    RunFolder(run).set(scan=None)

    assert section(run) == ""


def test_the_record_keeps_the_findings(run: Path) -> None:
    """What was written is what is read."""
    assert msgspec.to_builtins(RunFolder(run).read().scan) == msgspec.to_builtins(FOUND)
