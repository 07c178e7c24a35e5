"""Checks: a question that was asked before or after a change, and its answer."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Status(StrEnum):
    """The status of a check."""

    PASS = "pass"  # noqa: S105 - no password
    INFO = "info"  # worth knowing
    WARN = "warn"  # it would wait, or something else would not work
    FAIL = "fail"  # not now, or not this way


class Check(msgspec.Struct, frozen=True):
    """One check: its name, its status, what was found, and what to do about it (empty: nothing)."""

    name: str
    status: Status
    finding: str
    action: str = ""
