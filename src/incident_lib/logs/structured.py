"""PostgreSQL's log as records: log_destination `csvlog` and `jsonlog`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from incident_lib.logs.entry import DAMAGED, KEY, Damaged, Entry, Found, decode, line_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TIME = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ "
_NULS = re.compile(rb"\0*")  # what a crash may leave of a write


_ANY = rb"(?:\"[^\"]*(?:\"\"[^\"]*)*\"|[^\",\r\n]*)"  # a field of CSV: two quotes stand for one


def _fields(names: str) -> bytes:
    """So many fields of CSV, captured unless their name is a dot."""
    return b",".join(_ANY if name == "." else b"(?P<%b>%b)" % (name.encode(), _ANY) for name in names.split())


_BEFORE = (  # of a record, with its message
    _fields("time role . process . . . tag . . . severity state") + rb",\"(?P<message>[^\"]*(?:\"\"[^\"]*)*)"
)


class Csvlog:
    """Records of comma-separated fields; one that is quoted may hold line breaks.

    What a statement quotes of a log has an even number of quotes wherever a record has one, so it is no record.
    """

    line = re.compile(_TIME + rb"[^,\"\n]+,(?:\"|,)")
    first = re.compile(b"^" + line.pattern, re.MULTILINE)
    cut = re.compile(rb".*,23505,\"[^\"\n]*")
    record = re.compile(
        _BEFORE
        + rb"\"(?=,|\r?\n|\Z)"
        + rb"(?:,%b(?:,%b(?:,%b)?)?)?" % (_fields("detail"), _fields(". . . . query"), _fields(". . application"))
    )
    begun = re.compile(_BEFORE + rb"\Z")  # a line whose message goes on in the next
    _rejection = re.compile(rb",23505,\"[^\"\n]*\"\"\Z")

    def begins_within(self, line: bytes, needles: Sequence[bytes]) -> bool:
        """See `Format`."""
        rest = KEY.search(line) is not None or any(needle + b'"""' in line for needle in needles)
        return rest and not self.line.match(line) and b",23505," not in line

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end, begin = line_end(data, hit), _after_nuls(data, begin)
        record = self.record.match(data, begin) if self.line.match(data, begin) else None
        if record and record.start("message") <= hit < record.end("message"):
            had = _values(record)
            return end, Entry.of({**had, "command": had["tag"] or had["query"], "statement": had["query"]})
        return end, Damaged(DAMAGED) if self._rejection.search(data, begin, hit) else None


def csv_fields(line: bytes, begin: int) -> dict[str, str | None] | None:
    """The fields of a record of csvlog that begins within a line, as far as the line has them; None: it is none."""
    found = Csvlog.record.match(line, begin) or Csvlog.begun.match(line, begin)
    return {**dict.fromkeys(Csvlog.record.groupindex), **_values(found)} if found else None


def _values(record: re.Match[bytes]) -> dict[str, str | None]:
    return {name: _unquoted(field) for name, field in record.groupdict().items()}


def _unquoted(field: bytes | None) -> str | None:
    bare = field[1:-1] if field and field[:1] == b'"' else field
    return decode(bare.replace(b'""', b'"')) if bare else None


class Jsonlog:
    """An object on each line, its keys in a fixed order, the statement after what we look for."""

    line = re.compile(rb"\{\"timestamp\":\"" + _TIME + rb"[^\"\n]+\",")
    first = re.compile(b"^" + line.pattern, re.MULTILINE)
    cut = re.compile(rb".*\"state_code\":\"23505\",\"message\":\"[^\"\\]*")
    _pair = re.compile(rb"[{,]\"(\w+)\":(\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"|[^\",{}\[\]\n]+)")
    _rejection = re.compile(rb"\"state_code\":\"23505\",\"message\":\"[^\"\\\n]*\\\"\Z")

    def begins_within(self, line: bytes, needles: Sequence[bytes]) -> bool:
        """See `Format`."""
        rest = KEY.search(line) is not None or any(needle + b'\\"' in line for needle in needles)
        return rest and not self.line.match(line) and b'"state_code":"23505"' not in line

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end, begin = line_end(data, hit), _after_nuls(data, begin)
        had = self._values(data, begin, end) if self.line.match(data, begin) else {}
        if "message" in had and data.find(b'"message":', begin, hit) >= 0:
            return end, self._entry(had)
        return end, Damaged(DAMAGED) if self._rejection.search(data, begin, hit) else None

    def _values(self, data: bytes, begin: int, end: int) -> dict[str, str]:
        """The values of an object, of a damaged one as far as they are whole."""
        try:
            found = json.loads(data[begin:end].decode("utf-8", "replace"), strict=False)
            return {key: str(value) for key, value in found.items()}
        except ValueError:
            return dict(self._pairs(data, begin))

    def _pairs(self, data: bytes, at: int) -> Iterator[tuple[str, str]]:
        while pair := self._pair.match(data, at):
            at, written = pair.end(), pair[2].decode("utf-8", "replace")
            try:
                yield pair[1].decode(), str(json.loads(written, strict=False))
            except ValueError:  # an escape that JSON does not know
                yield pair[1].decode(), written.strip('"')

    @staticmethod
    def _entry(had: dict[str, str]) -> Entry:
        names = {"timestamp": "time", "state_code": "state", "user": "role", "pid": "process"}
        known = {names.get(key, key): value for key, value in had.items()}
        command = had.get("ps") or had.get("statement")
        known["state"] = known.get("state", "00000")  # left out where it is that
        return Entry.of({**known, "application": had.get("application_name"), "command": command})


def _after_nuls(data: bytes, begin: int) -> int:
    found = _NULS.match(data, begin)
    return found.end() if found else begin
