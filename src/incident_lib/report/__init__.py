"""The postmortem, from run records and people's notes alone; this room knows no connection."""

from incident_lib.report import charts
from incident_lib.report.change_report import ChangeReport, read_change_report
from incident_lib.report.chart import WIDTH, Chart
from incident_lib.report.document import Block, Bullets, Code, Figure, Paragraph, Part, Prose, Query, Unwritten
from incident_lib.report.notes import read_notes
from incident_lib.report.picture import bundle
from incident_lib.report.postmortem import Postmortem, choose_runs, read_postmortem, read_runs
from incident_lib.report.render import escape_markdown, prepare_report, render_block, write_report
from incident_lib.report.rows import draw_bars

__all__ = [
    "WIDTH",
    "Block",
    "Bullets",
    "ChangeReport",
    "Chart",
    "Code",
    "Figure",
    "Paragraph",
    "Part",
    "Postmortem",
    "Prose",
    "Query",
    "Unwritten",
    "bundle",
    "charts",
    "choose_runs",
    "draw_bars",
    "escape_markdown",
    "prepare_report",
    "read_change_report",
    "read_notes",
    "read_postmortem",
    "read_runs",
    "render_block",
    "write_report",
]
