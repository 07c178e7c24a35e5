"""Tests of `incident_lib.records`."""
