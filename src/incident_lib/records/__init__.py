"""Run folders on disk: written by notebooks and runs, read for a report."""

from incident_lib.records.run_record import Contents, RunRecord, all_runs, latest_runs, status_now, status_of, utc_now

__all__ = ["Contents", "RunRecord", "all_runs", "latest_runs", "status_now", "status_of", "utc_now"]
