"""A log_line_prefix as a regular expression, and the prefixes that servers usually have."""

from __future__ import annotations

import re
from functools import cache, cached_property

from incident_lib.logs.messages import ERRORS

# Where each is from: the demo; Debian; PostgreSQL's default; Supabase; RDS and Aurora, two; Cloud SQL; pgBadger's
# advice, in four lengths; Azure; Crunchy Data; Heroku; older Debian; Red Hat's. `%t` and `%m` stand for each other.
USUAL = (
    "%m [%p] %e %q%u@%d ",
    "%m [%p] %q%u@%d ",
    "%m [%p] ",
    "%h %m [%p] %q%u@%d ",
    "%t:%r:%u@%d:[%p]:",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:",
    "%m [%p]: [%l-1] db=%d,user=%u ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d ",
    "%t [%p]: user=%u,db=%d ",
    "%t [%p]: db=%d,user=%u ",
    "%t [%p]: [%l-1] ",
    "%t [%p]: ",
    "%t-%c-",
    "%m [%p][%b][%v][%x] %q[user=%u,db=%d,app=%a] ",
    ' sql_error_code = %e time_ms = "%m" pid="%p" proc_start_time="%s" session_id="%c" vtid="%v" tid="%x" '
    'log_line="%l" %qdatabase="%d" connection_source="%r" user="%u" application_name="%a" ',
    "%t [%p-%l] %q%u@%d ",
    "%t %u@%d ",
    "< %m > ",
    "< %m >",
    "%t ",
)

OWN_TIME = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? (?:[A-Za-z]{1,6}|[+-][\d:]{2,8})"
_ESCAPES = {
    "m": ("time", OWN_TIME),
    "t": ("time", OWN_TIME),
    "n": ("time", rb"\d{10}(?:\.\d+)?"),
    "p": ("process", rb"\d+"),
    "c": ("session", rb"[0-9a-f]+\.[0-9a-f]+"),
    "e": ("state", rb"[0-9A-Z]{5}"),
    "u": ("role", rb"\S*?"),
    "a": ("application", rb".*?"),
    "i": ("tag", rb"[A-Za-z ]*?"),
    "d": ("", rb"\S*?"),
    "s": ("", OWN_TIME),
    "l": ("", rb"\d+"),
    "x": ("", rb"\d*"),
    "v": ("", rb"[\d/]*"),
    "P": ("", rb"\d*"),
    "Q": ("", rb"-?\d*"),
    "b": ("", rb"[a-z ]*?"),
    **dict.fromkeys("rhL", ("", rb"\S*?")),
}
_PARTS = re.compile(r"%(?P<width>-?\d*)(?P<escape>[A-Za-z%])|(?P<literal>[^%]+|%)")
_WORD = rb"[^\s:\d@=\[\]\"]+"
_LABEL = rb"(?P<label>%b(?: %b)?\d? ?): {2,3}(?P<text>(?s:.*))" % (_WORD, _WORD)
_ERROR = rb"(?P<label>%b):  (?P<text>.*)" % b"|".join(re.escape(word.encode()) for word in sorted(ERRORS))
_LOCATION = re.compile(rb"\[\w+\.c:\d+\] +")  # AlloyDB writes the place in the source before the message
_STATE = re.compile(rb"([0-9A-Z]{5}): ")  # and PostgreSQL the SQLSTATE, where log_error_verbosity is verbose


def split_message(text: bytes) -> tuple[bytes | None, bytes]:
    """The SQLSTATE that stands before a message, if it does, and the message itself."""
    if located := _LOCATION.match(text):
        text = text[located.end() :]
    if state := _STATE.match(text):
        return state[1], text[state.end() :]
    return None, text


@cache
def usual_prefix(written: str) -> Prefix:
    """One of the usual prefixes."""
    return Prefix(written)


class Prefix:
    """One log_line_prefix as regular expressions, each compiled when it is first needed.

    Their groups: label, text, and the prefix's time, process, session, state, role, application, tag.
    """

    def __init__(self, prefix: str, *, spaces: bool = False) -> None:
        """Spaces: whether the names of roles and databases may have spaces, which makes similar prefixes ambiguous."""
        taken: set[str] = set()
        pattern = b"".join(self._part(part, taken, spaces=spaces) for part in _PARTS.finditer(prefix))
        self._pattern = pattern

    @cached_property
    def error(self) -> re.Pattern[bytes]:
        """An error's first line."""
        return re.compile(self._pattern + _ERROR)

    @cached_property
    def line(self) -> re.Pattern[bytes]:
        """Any line of an entry but its continuations."""
        return re.compile(self._pattern + _LABEL)

    @cached_property
    def end(self) -> re.Pattern[bytes]:
        """The prefix, at the end of what stands before a label."""
        return re.compile(self._pattern + rb"\Z")

    @staticmethod
    def _part(part: re.Match[str], taken: set[str], *, spaces: bool) -> bytes:
        if part["literal"] or part["escape"] == "%":
            return re.escape((part["literal"] or "%").encode())
        group, pattern = _ESCAPES.get(part["escape"], ("", b""))  # %q, and what PostgreSQL ignores: nothing
        if spaces and part["escape"] in "ud":
            pattern = rb".*?"
        named = group and group not in taken
        taken.add(group)
        padding = rb" *" if part["width"] else b""
        return padding + (b"(?P<%b>%b)" % (group.encode(), pattern) if named else b"(?:%b)" % pattern) + padding
