"""The postmortem, from run records and notes alone."""

from incident_lib.report.chart import WIDTH, Chart
from incident_lib.report.document import Block, Table
from incident_lib.report.postmortem import Postmortem, postmortem, read_runs

__all__ = ["WIDTH", "Block", "Chart", "Postmortem", "Table", "postmortem", "read_runs"]
