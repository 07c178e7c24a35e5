"""Tests of `incident_lib.runs`."""
