"""Tests of `incident_lib.model`."""
