"""The section of the report that asks whether the same could happen elsewhere in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import make_table, redundant_table, scan_sentence, suspects_table
from incident_lib.report.document import Bullets, Paragraph, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import ExaminedIndex, ScanFindings
    from incident_lib.report.document import Block

_ASKED = (
    "These are questions for people who know what the rows stand for. They come from the catalog and the statistics "
    "alone; no row was read."
)


def elsewhere(found: ScanFindings) -> Iterator[Block]:
    """What a scan found: its sentences, the pairs of rules, the suspects of each index, what it cannot tell."""
    for sentence in scan_sentence(found).splitlines():
        yield Paragraph(sentence)
    yield Paragraph(_ASKED, "note")
    if found.redundant:
        yield Part("Two unique rules, one without effect", (redundant_table(found),))
    for index in found.examined:
        yield Part(f"{index.table}: {index.index}", tuple(_examined(index, found)))
    yield Bullets(tuple(found.unknown))


def _examined(index: ExaminedIndex, found: ScanFindings) -> Iterator[Block]:
    where = f" WHERE {index.predicate}" if index.predicate else ""
    yield Paragraph(f"Its key is ({', '.join(index.key)}){where}.")
    suspects = suspects_table(found)
    if rows := [row[1:] for row in suspects.rows if row[0] == index.index]:
        yield make_table(suspects.columns[1:], rows)
    if index.remarks:
        yield Bullets(tuple(index.remarks))
