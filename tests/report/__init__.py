"""Tests of `incident_lib.report`."""
