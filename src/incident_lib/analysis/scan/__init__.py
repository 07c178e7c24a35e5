"""Could this happen elsewhere? Questions about the unique indexes of a whole database, without reading a row."""

from incident_lib.analysis.scan.prefill import change_file
from incident_lib.analysis.scan.scan import Wanted, require_column, require_pairs, scan

__all__ = ["Wanted", "change_file", "require_column", "require_pairs", "scan"]
