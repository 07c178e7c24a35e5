"""The section of the report that asks whether the same could happen elsewhere in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import PURPOSE, make_table, redundant_table, scan_sentence, suspects_table
from incident_lib.report.document import Bullets, Paragraph, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.model import ExaminedIndex, RejectedInserts, ScanFindings
    from incident_lib.report.document import Block

_FIXED_SINCE = "The scan was made before the fix, which then added purpose to the key of {index}."
_OF_INCIDENT = "Of these {all:,} rows, {of_incident:,} are rejected inserts of this incident: see Impact."
_ASKED = (
    "These are questions for people who know what the rows stand for. They come from the catalog and the statistics "
    "alone; no row was read."
)


def elsewhere(
    found: ScanFindings, rejected: RejectedInserts | None = None, *, is_fixed: bool = False
) -> Iterator[Block]:
    """What a scan found: its sentences, the pairs of rules, the suspects of each index, what it cannot tell.

    Args:
        found: by the scan of one environment.
        rejected: the rejected inserts of the incident; None: not known.
        is_fixed: whether the fix has been applied there, perhaps after the scan.
    """
    for sentence in scan_sentence(found).splitlines():
        yield Paragraph(sentence)
    fixed_since = [index for index in found.examined if is_fixed and _is_original(index)]
    for index in found.examined:
        if rejected and _is_original(index) and (index.rejected or 0) > rejected.failed_attempts:
            yield Paragraph(_OF_INCIDENT.format(all=index.rejected, of_incident=rejected.failed_attempts))
    for index in fixed_since:
        yield Paragraph(_FIXED_SINCE.format(index=index.index))
    yield Paragraph(_ASKED, "note")
    if found.redundant:
        yield Part("Two unique rules, one without effect", (redundant_table(found),))
    for index in found.examined:
        yield Part(
            f"{index.table}: {index.index}", tuple(_examined(index, found, is_old=index in fixed_since)), folded=True
        )
    yield Bullets(tuple(found.unknown))


def _is_original(index: ExaminedIndex) -> bool:
    """Whether the scan found the unique index of the incident as it was before the fix."""
    return index.index == PURPOSE.index and tuple(index.key) == PURPOSE.before.parts


def _examined(index: ExaminedIndex, found: ScanFindings, *, is_old: bool) -> Iterator[Block]:
    where = f" WHERE {index.predicate}" if index.predicate else ""
    yield Paragraph(f"{'Before the fix its key was' if is_old else 'Its key is'} ({', '.join(index.key)}){where}.")
    suspects = suspects_table(found)
    if rows := [row[1:] for row in suspects.rows if row[0] == index.index]:
        yield make_table(suspects.columns[1:], rows)
    if index.remarks:
        yield Bullets(tuple(index.remarks))
