"""Tests of `incident_lib.analysis`."""
