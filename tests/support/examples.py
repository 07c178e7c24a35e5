"""How many examples of a property hypothesis tries: all of them in `make test-all`, a fifth in `make test`."""

import os

ALL = os.environ.get("INCIDENT_TEST_EXAMPLES") == "all"


def examples(number: int) -> int:
    """So many examples, or a fifth of them."""
    return number if ALL else max(number // 5, min(number, 10))
