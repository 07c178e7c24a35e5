"""JSON files of a type: written as a whole or not at all; read with one message for all that can be wrong."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from incident_lib import paths
from incident_lib.model import SCHEMA_VERSION, UsageError, from_json

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
_PAIR = re.compile(r"\[\n *([^\s,\[\]{}]+),\n *([^\s,\[\]{}]+)\n *\]")  # JSON's texts hold no line break


def to_json(thing: Any) -> str:
    """A struct as JSON for a file: an item a line, pairs of values on one line."""
    text = msgspec.json.format(msgspec.json.encode(thing), indent=1).decode()
    return _PAIR.sub(r"[\1, \2]", text) + "\n"


def write_json(file: Path, thing: Any) -> None:
    """Replace a file by a struct as JSON.

    Raises:
        Failed: the file cannot be written.
    """
    paths.replace_text(file, to_json(thing))


def read_json(file: Path, type_: type[T], action: str) -> T:
    """The struct that a JSON file holds.

    Args:
        file: the file.
        type_: of the struct.
        action: what to do where the file does not hold one.

    Raises:
        UsageError: the file cannot be read, lacks a key, or a key has a wrong type or version; the message names
            the file and the key.
    """
    try:
        return from_json(file.read_bytes(), type_)
    except OSError as error:
        why = f"{error.strerror or error}."
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = explain_error(str(error))
    raise UsageError(f"{os.path.relpath(file)} cannot be read.", why, action)


_MISSING = re.compile(r"Object missing required field `(?P<key>\w+)`(?: - at `(?P<at>.*)`)?")
_WRONG = re.compile(r"(?P<what>.*?)(?: - at `(?P<at>.*)`)?")


def explain_error(error: str) -> str:
    """What a msgspec error says, with the path of the key, such as `It lacks the key steps[0].sql`."""
    if found := _MISSING.fullmatch(error):
        return f"It lacks the key {_path(found['at'], found['key'])}."
    wrong = _WRONG.fullmatch(error)
    if wrong and wrong["at"]:
        key = _path(wrong["at"])
        if key == "schema_version":
            return f"It is of another version: this one reads schema_version {SCHEMA_VERSION} only."
        return f"The key {key} is wrong: {_clause(wrong['what'])}."
    return f"It is not valid JSON, or no object: {_clause(error)}."


def _clause(error: str) -> str:
    """An error as the end of a sentence."""
    return error if error.startswith("JSON") else error[0].lower() + error[1:]


def _path(at: str | None, key: str = "") -> str:
    inner = (at or "$").removeprefix("$").lstrip(".")
    return ".".join(filter(None, (inner, key))).replace(".[", "[")
