"""Tests of `incident_lib.logs`."""
