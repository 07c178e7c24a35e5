"""Tests of the room `database`."""
