"""Tests of the room `logs`."""
