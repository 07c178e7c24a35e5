"""JSON and Python's values as structs: the only use of msgspec's conversion to a type.

One thread at a time: at its first use of a struct msgspec runs Python code before it has all that it knows of it.
Another thread that converts to the same struct meanwhile ends the process by SIGSEGV (msgspec 0.22). So did the
heartbeat of a run whose notebooks took longer than three seconds to begin.
"""

from __future__ import annotations

from threading import RLock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_LOCK = RLock()


def as_type(value: Any, type_: type[T], *, strict: bool = True) -> T:
    """A value made of dicts, lists and scalars as a type; see `msgspec.convert`.

    Args:
        value: the value.
        type_: the type.
        strict: whether a text is no number, and so on.

    Raises:
        msgspec.ValidationError: it does not fit.
    """
    with _LOCK:
        return msgspec.convert(value, type_, strict=strict)


def from_json(contents: bytes, type_: type[T]) -> T:
    """JSON as a type; see `msgspec.json.decode`.

    Raises:
        msgspec.DecodeError: it is no JSON, or does not fit.
    """
    with _LOCK:
        return msgspec.json.decode(contents, type=type_)
