"""Tests of `incident_lib.notebook`."""
