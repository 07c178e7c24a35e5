"""What was done in one environment: the steps, how they were verified, and its rehearsal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.model import format_minute
from incident_lib.report.chapter import checks
from incident_lib.report.document import Bullets, Paragraph, Part

if TYPE_CHECKING:
    from incident_lib.report.chapter import Chapter
    from incident_lib.report.document import Block


def resolution_blocks(chapter: Chapter) -> list[Block]:
    """What was done in one environment, and how it was verified."""
    blocks: list[Block] = [Paragraph(chapter.status, "failed" if chapter.failed else "plain")]
    steps = chapter.steps
    blocks.append(Part("Steps", (steps,), folded=True) if steps else Paragraph("No step was run."))
    if ended := chapter.record.incident_ended_at:
        at = format_minute(ended)
        lasts = "since then the original index rejects no insert."
        if chapter.is_undone:
            lasts = "but the latest snapshot shows that the fix is not in place any more."
        blocks.append(Paragraph(f"The incident ended at {at} UTC: {lasts}"))
    if verification := checks(chapter.record.verification):
        blocks.append(Part("Verification", (verification,)))
    if chapter.results:
        blocks.append(Bullets(tuple(chapter.results)))
    if preflight := checks(chapter.record.preflight):
        blocks.append(Part("Preflight", (preflight,), folded=True))
    return blocks
