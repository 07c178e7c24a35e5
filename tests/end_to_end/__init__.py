"""Tests of the whole way, from a command or notebook to what people read."""
