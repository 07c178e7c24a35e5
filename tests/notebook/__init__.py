"""Tests of the room `notebook`."""
