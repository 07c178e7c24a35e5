"""The fix, rehearsed on a copy of an environment's threads."""
