"""How many examples a test tries: most in `make soak`, all in `make test-all`, fewer in `make test`."""

import os

SOAK = os.environ.get("INCIDENT_TEST_EXAMPLES") == "soak"
# Seconds that a wait may be longer than promised: `make soak` measures on a quiet machine, CI on shared and slow ones.
SLACK = 1.0 if SOAK else 2.0
ALL = SOAK or os.environ.get("INCIDENT_TEST_EXAMPLES") == "all"


def examples(number: int) -> int:
    """So many examples of a property for hypothesis, or a fifth of them in `make test`."""
    return number if ALL else max(number // 5, min(number, 10))


def few_examples(number: int) -> int:
    """So many examples of a property each of which takes long: a third in `make test-all`, a tenth in `make test`."""
    return number if SOAK else number // 3 if ALL else max(number // 10, 5)


def rounds(number: int, soak: int) -> int:
    """So many rounds of a slow test, or as many as `soak` says in `make soak`."""
    return soak if SOAK else number
