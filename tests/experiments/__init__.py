"""Tests of `incident_lib.experiments`."""
