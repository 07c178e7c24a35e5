"""The fix rehearsed on a copy of what an environment's unique indexes see: the environment itself is only read."""
