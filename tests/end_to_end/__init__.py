"""Tests of complete commands and notebooks, from input to output."""
