"""PostgreSQL's log as lines: log_destination `stderr`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.logs.entry import (
    BUILD,
    KEY,
    OTHER_WORDS,
    UNKNOWN,
    Damaged,
    Entry,
    Found,
    Unknown,
    decode,
    line_end,
    names_provider,
)
from incident_lib.logs.messages import FIRST, LATER, STATEMENTS, duplicate_patterns
from incident_lib.logs.prefix import USUAL, Prefix, split_message, usual_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEIGHBOURS = 50  # lines of other processes that may be between the lines of an entry
LONG = 5000  # bytes of a line that are looked at

_ONE_NAME = re.compile(r'[^"«»“”„]*["«»“”„]\s?\w+\s?["«»“”„][^"«»“”„]*')  # a message that quotes just one name
_DUPLICATE = duplicate_patterns(r"\w+")
REJECTION = re.compile(rf"(?<!\d)23505(?!\d).*[\"«»“”„]\s?\w+\s?[\"«»“”„]|{_DUPLICATE.pattern}")


class Stderr:
    """Entries of several lines, each of which begins with a log_line_prefix or, where it continues one, with a tab."""

    cut = re.compile(rb".*(?<![\d\[])23505(?![\d\]])(?:(?!(?:DETAIL|CONTEXT|LOCATION|STATEMENT):)[^\"\n])*")

    def __init__(self, prefix: str | None = None) -> None:
        """Prefix: the server's log_line_prefix; None: whichever of the usual ones a line begins with."""
        self._prefixes = [usual_prefix(usual) for usual in USUAL] if prefix is None else [Prefix(prefix, spaces=True)]

    def begins_within(self, line: bytes, needles: Sequence[bytes]) -> bool:
        """See `Format`."""
        if line.startswith(b"\t") or any(prefix.error.match(line) for prefix in self._prefixes):
            return False
        rest = any(needle in line for needle in needles) and not REJECTION.search(decode(line) or "")
        return KEY.search(line) is not None or (rest and not any(prefix.line.match(line) for prefix in self._prefixes))

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end = line_end(data, hit)
        line = data[begin : min(end, begin + LONG)].strip(b"\0\r\n")
        if line.startswith(b"\t"):  # within a statement, or whatever else has several lines
            return end, None
        for prefix in self._prefixes:
            if first := prefix.error.match(line):
                self._prefer(prefix)
                return end, _entry(first, [*_following(data, end, prefix, first)])
        return end, self._odd(data, end, line)

    def is_own(self, line: bytes) -> bool:
        """Whether a line begins with a prefix and a label, or continues one that does."""
        return line.startswith(b"\t") or any(prefix.line.match(line) for prefix in self._prefixes)

    def _prefer(self, prefix: Prefix) -> None:
        if prefix is not self._prefixes[0]:
            self._prefixes.remove(prefix)
            self._prefixes.insert(0, prefix)

    def _odd(self, data: bytes, end: int, line: bytes) -> Entry | Damaged | Unknown | None:
        """What a line is that does not begin with a prefix and a known severity of an error."""
        matches = ((prefix, match) for prefix in self._prefixes if (match := prefix.line.match(line)))
        for prefix, first in matches:
            following = [*_following(data, end, prefix, first)]
            entry = _entry(first, following)
            if _word(first["label"]) in FIRST | LATER or not _ONE_NAME.fullmatch(entry.message):
                return None
            return entry if entry.detail or entry.state not in {None, "23505"} else Damaged(OTHER_WORDS)
        return UNKNOWN


def _word(label: bytes) -> str:
    return label.decode("utf-8", "replace").rstrip()  # French has a space before the colon


def _process(line: re.Match[bytes]) -> bytes | None:
    """What distinguishes the lines of one server process; None where the prefix does not say."""
    had = line.groupdict()
    return had.get("process") or had.get("session")


def _detail(following: list[bytes]) -> bytes | None:
    """The DETAIL follows the message, where it was logged: known by its place, and by the key that it names."""
    return following[0] if following and KEY.search(following[0]) else None


def _entry(first: re.Match[bytes], following: list[bytes]) -> Entry:
    had = first.groupdict()
    verbose, message = split_message(had["text"])
    statements = (part for part in map(decode, following) if part and BUILD.match(part))
    return Entry(
        time=decode(had.get("time")) or "",
        message=decode(message) or "",
        state=decode(had.get("state") or verbose),
        detail=decode(_detail(following)),
        role=decode(had.get("role")),
        process=decode(_process(first)),
        application=decode(had.get("application")),
        command=decode(had.get("tag")) or next(statements, None),
        names_provider=any(names_provider(decode(part)) for part in following),
    )


def _following(data: bytes, at: int, prefix: Prefix, first: re.Match[bytes]) -> Iterator[bytes]:
    """The other parts of an entry, in order: lines of the same process, up to its next entry."""
    start = first.string[: first.start("label")]
    for raw in _lines(data, at):
        if raw.startswith(start):  # at once, as nearly always
            label, colon, part = raw[len(start) :].partition(b":  ")
        elif (line := prefix.line.match(raw)) and _process(line) == _process(first):
            label, colon, part = line["label"], b":", line["text"]
        else:
            continue
        if colon and _word(label) in FIRST:
            return
        if colon:
            yield part
        if _word(label) in STATEMENTS:  # always the last
            return


def _lines(data: bytes, at: int) -> Iterator[bytes]:
    """The next lines, each with its continuation lines, up to a limit."""
    for _ in range(NEIGHBOURS):
        end = line_end(data, at)
        while data[end : end + 1] == b"\t":
            end = line_end(data, end)
        if at == end:
            return
        yield data[at : min(end, at + LONG)].replace(b"\n\t", b"\n").strip(b"\0\r\n")
        at = end
