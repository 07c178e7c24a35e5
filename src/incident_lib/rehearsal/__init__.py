"""The fix rehearsed on a copy of what an environment's guards see: the environment itself is only read."""
