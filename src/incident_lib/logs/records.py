"""PostgreSQL's log in records for programs: log_destination `csvlog` and `jsonlog`."""

from __future__ import annotations

import json
import re

from incident_lib.logs.entry import DAMAGED, KEY, Damaged, Entry, Found, line_end, text

_TIME = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ "
_NULS = re.compile(rb"\0*")  # what a crash may leave of a write


class Csvlog:
    """Records of comma-separated fields. One that is quoted may hold line breaks, and two quotes stand for one.

    So what a statement quotes of a log has an even number of quotes wherever a record has one: it is never taken
    for a record.
    """

    line = re.compile(_TIME + rb"[^,\"\n]+,(?:\"|,)")
    first = re.compile(b"^" + line.pattern, re.MULTILINE)
    cut = re.compile(rb".*,23505,\"[^\"\n]*")
    _field = re.compile(rb"(?:\"([^\"]*(?:\"\"[^\"]*)*)\"|([^,\"\r\n]*))(,|\r?\n|\Z)")
    _rejection = re.compile(rb",23505,\"[^\"\n]*\"\"\Z")
    _places = {"time": 0, "role": 1, "process": 3, "state": 12, "detail": 14, "application": 22}  # noqa: RUF012
    _message, _tag, _query = 13, 7, 19

    def begins_within(self, line: bytes, needle: bytes) -> bool:
        """See `Format`."""
        rest = KEY.search(line) is not None or needle + b'"""' in line
        return rest and not self.line.match(line) and b",23505," not in line

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end = line_end(data, hit)
        fields = self._fields(data, _after_nuls(data, begin))
        if len(fields) > self._message and fields[self._message].start(1) <= hit < fields[self._message].end(1):
            return end, self._entry([text(field[1] or field[2]) for field in fields])
        return end, Damaged(DAMAGED) if self._rejection.search(data, begin, hit) else None

    def _fields(self, data: bytes, at: int) -> list[re.Match[bytes]]:
        """The fields of a record, as far as they are whole; none where no record begins."""
        fields: list[re.Match[bytes]] = []
        more = self.line.match(data, at) is not None
        while more and (field := self._field.match(data, at)):
            fields.append(field)
            at, more = field.end(), field[3] == b","
        return fields

    def _entry(self, fields: list[str | None]) -> Entry:
        had = {place: value and value.replace('""', '"') for place, value in enumerate(fields)}
        return Entry.of(
            {name: had.get(place) for name, place in self._places.items()}
            | {"message": had[self._message], "command": had.get(self._tag) or had.get(self._query)}
        )


class Jsonlog:
    """An object on each line, its keys in a fixed order, the statement after what we look for."""

    line = re.compile(rb"\{\"timestamp\":\"" + _TIME + rb"[^\"\n]+\",")
    first = re.compile(b"^" + line.pattern, re.MULTILINE)
    cut = re.compile(rb".*\"state_code\":\"23505\",\"message\":\"[^\"\\]*")
    _pair = re.compile(rb"[{,]\"(\w+)\":(\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"|[^\",{}\[\]\n]+)")
    _rejection = re.compile(rb"\"state_code\":\"23505\",\"message\":\"[^\"\\\n]*\\\"\Z")

    def begins_within(self, line: bytes, needle: bytes) -> bool:
        """See `Format`."""
        rest = KEY.search(line) is not None or needle + b'\\"' in line
        return rest and not self.line.match(line) and b'"state_code":"23505"' not in line

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end = line_end(data, hit)
        pairs = self._pairs(data, _after_nuls(data, begin))
        message = pairs.get("message")
        if message and message.start(2) <= hit < message.end(2) and b"\\n" not in data[message.start(2) : hit]:
            return end, self._entry({key: _value(pair[2]) for key, pair in pairs.items()})
        return end, Damaged(DAMAGED) if self._rejection.search(data, begin, hit) else None

    def _pairs(self, data: bytes, at: int) -> dict[str, re.Match[bytes]]:
        """The pairs of an object, as far as they are whole; none where no object begins."""
        pairs: dict[str, re.Match[bytes]] = {}
        begins = self.line.match(data, at) is not None
        while begins and (pair := self._pair.match(data, at)):
            pairs[pair[1].decode()] = pair
            at = pair.end()
        return pairs

    @staticmethod
    def _entry(had: dict[str, str]) -> Entry:
        names = {"timestamp": "time", "state_code": "state", "user": "role", "pid": "process"}
        known = {names.get(key, key): value for key, value in had.items()}
        command = had.get("ps") or had.get("statement")
        known["state"] = known.get("state", "00000")  # left out where it is that
        return Entry.of({**known, "application": had.get("application_name"), "command": command})


def _value(raw: bytes) -> str:
    written = raw.decode("utf-8", "replace")
    try:
        return str(json.loads(written, strict=False))
    except ValueError:  # an escape that JSON does not know: damage
        return written.strip('"')


def _after_nuls(data: bytes, begin: int) -> int:
    found = _NULS.match(data, begin)
    return found.end() if found else begin
