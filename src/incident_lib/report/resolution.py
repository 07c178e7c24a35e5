"""What was done in one environment: the steps, how they were verified, and what had been rehearsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.report import evidence
from incident_lib.report.document import Bullets, Paragraph, Part

if TYPE_CHECKING:
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block


def resolution_blocks(chapter: Chapter) -> list[Block]:
    """What was done in one environment, and how it was verified."""
    blocks: list[Block] = [Paragraph(chapter.status, "failed" if chapter.failed else "plain")]
    steps = chapter.steps
    blocks.append(Part("Steps", (steps,)) if steps else Paragraph("No step was taken."))
    if ended := chapter.record.get("incident_ended_at"):
        blocks.append(Paragraph(f"The incident ended at {ended}: from then on the original index rejected nothing."))
    for title, key in (("Verification", "verification"), ("Preflight", "preflight")):
        if checks := chapter.checks(key):
            blocks.append(Part(title, (checks,), folded=key == "preflight"))
        if key == "verification" and chapter.told:
            blocks.append(Bullets(tuple(chapter.told)))
    return [*blocks, *evidence.rehearsed(chapter)]
