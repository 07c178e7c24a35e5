"""PostgreSQL's own formats in one stream: which line is of which, also where one follows the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.logs.entry import DAMAGED, UNKNOWN, Damaged, Unknown, line_end
from incident_lib.logs.stderr import REJECTION, Stderr
from incident_lib.logs.structured import Csvlog, Jsonlog

if TYPE_CHECKING:
    from incident_lib.logs.entry import Format, Found

_NULS = re.compile(rb"\0*")  # what a crash may leave of a write
NATIVE = ("stderr", "csvlog", "jsonlog")


def native_format(form: str, prefix: str | None = None) -> Format:
    """One of PostgreSQL's formats by its name, as it is without anything else between."""
    if form == "stderr":
        return Only(Stderr(prefix))
    return Csvlog() if form == "csvlog" else Jsonlog()


class Only:
    """A format that is given: a line of another is damage."""

    def __init__(self, form: Format) -> None:
        self._form, self.cut, self.begins_within = form, form.cut, form.begins_within

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        end, found = self._form.find(data, begin, hit)
        if isinstance(found, Unknown):
            line = data[begin : line_end(data, hit)].decode("utf-8", "replace")
            return end, Damaged(DAMAGED) if REJECTION.search(line[:5000]) else None
        return end, found


class Native:
    """Whichever of PostgreSQL's formats a line is of; unknown where it is of none."""

    def __init__(self, form: str, prefix: str | None) -> None:
        """Form: that of the beginning; prefix: the server's log_line_prefix, or None."""
        self._stderr, self._csvlog, self._jsonlog = Stderr(prefix), Csvlog(), Jsonlog()
        first: dict[str, Format] = {"stderr": self._stderr, "csvlog": self._csvlog, "jsonlog": self._jsonlog}
        self._form = form
        self.cut, self.begins_within = first[form].cut, first[form].begins_within

    def find(self, data: bytes, begin: int, hit: int) -> Found:
        """See `Format`."""
        if self._form == "csvlog" and _is_quoted(data, begin):
            return line_end(data, hit), None
        for line, form in ((Csvlog.line, self._csvlog), (Jsonlog.line, self._jsonlog)):
            if line.match(data, _begin(data, begin)):
                return form.find(data, begin, hit)
        if self._form == "stderr" or self._stderr.is_own(data[begin : begin + 5000].partition(b"\n")[0]):
            return self._stderr.find(data, begin, hit)
        form = self._csvlog if self._form == "csvlog" else self._jsonlog
        end, found = form.find(data, begin, hit)
        return end, found if isinstance(found, Damaged) else UNKNOWN


def _begin(data: bytes, begin: int) -> int:
    found = _NULS.match(data, begin)
    return found.end() if found else begin


def _is_quoted(data: bytes, begin: int) -> bool:
    """Whether a line is within a quoted field of csvlog that began before it."""
    for line in Csvlog.first.finditer(data, 0, begin):
        if Csvlog.record.match(data, line.start()):
            return data.count(b'"', line.start(), begin) % 2 == 1
    return False
