"""One line of a server's log, wherever it comes from: its label and text, and what stands before the label."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from incident_lib.logs.messages import DETAILS, FIRST, LANGUAGES, LATER, STATEMENTS
from incident_lib.logs.prefix import OWN_TIME, USUAL, Prefix, split_message, usual_prefix

TABS = (b"\t", b"#011")  # how a line begins that continues one of stderr; syslog writes it in octal
MOST_SHAPES = 1000  # of what stands before the labels
LONG = 5000  # bytes of a line that are looked at
_OTHERS = {
    "ERROR",
    "WARNING",
    "NOTICE",
    "INFO",
    "FATAL",
    "PANIC",
    "HINT",
    "QUERY",
}  # other programs have these labels, too
_OWN = (FIRST | LATER) - _OTHERS
_SERVERS = STATEMENTS | {words.log for words in LANGUAGES.values()}  # what only the server's log has, no client's
_DEBUG = frozenset(f"DEBUG{level}" for level in ("", 1, 2, 3, 4, 5))
SEVERITIES = FIRST | _DEBUG
_WORDS = b"|".join(re.escape(word.encode()) for word in sorted(SEVERITIES | LATER, key=len, reverse=True))
_OWN_TIME = re.compile(OWN_TIME)
_LABEL = re.compile(rb"(?<![A-Za-z0-9_])(?P<label>%b)(?:\xc2\xa0|\xe2\x80\xaf| )?:(?P<gap>  ?|\t|\Z)" % _WORDS)

_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
TIMES = re.compile(
    rb"\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    rb"(?: ?(?:Z|[+-]\d\d:?\d\d|[+-]\d\d(?!\d)|(?!LOG|INFO|WARN|ERROR|DEBUG|FATAL|TRACE)[A-Z]{2,5})(?![A-Za-z]))?"
    rb"|(?:[A-Z][a-z]{2} )?%b [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,6})?"
    rb"|(?<!\d)\d{10}(?:\.\d{1,6}|\d{3}|\d{6}|\d{9})?(?!\d)" % _MONTH
)
_COUNTER = re.compile(rb"\[\d+-\d+\]|(?:(?:^|[:-])\d+)+[:-](?=T?\Z)")  # PostgreSQL's in syslog; grep's line numbers
_NUMBER = re.compile(rb" *(?<![\w.-])\d+(?![\w.-])|(?<=postgres\.)\d+")  # blanks align numbers
_PROCESS = re.compile(
    rb"postgres(?:ql)?[^\s\[\]]*(?:\[| )(?P<syslog>\d+)|pid[=:]\"?(?P<named>\d+)|[\[(](?P<bare>\d+)(?:-\d+)?[\])]"
)


class Piece(NamedTuple):
    """One part of an entry of the log: its first line, its DETAIL or its STATEMENT, say."""

    label: str
    text: bytes
    source: str = ""  # what the lines of one server have in common
    time: str = ""
    process: str | None = None
    state: str | None = None
    role: str | None = None
    application: str | None = None
    command: str | None = None
    detail: str | None = None
    statement: str | None = None
    shape: bytes | None = None  # of what stands before a label that no usual prefix precedes; None: a usual prefix does
    lead: bytes = b""  # what stands before the prefix
    carried: bool = False  # whether its time is that of what carries it

    @property
    def begins(self) -> bool:
        """Whether it is the first line of an entry."""
        return self.label in SEVERITIES

    @property
    def ends(self) -> bool:
        """Whether an entry has nothing after it."""
        return self.label in STATEMENTS

    def belongs_to(self, first: Piece) -> bool:
        """Whether both were written by one server process, as far as they say."""
        return self.source == first.source and self.process == first.process


class Rest(NamedTuple):
    """A line without a label, which continues the piece before it: the shape of what is before its tab, and after."""

    shape: bytes
    text: bytes
    source: str = ""  # of what carries it

    def continues(self, piece: Piece) -> bool:
        """Whether it may continue a piece: of the same source, with the same before it."""
        return piece.source.startswith(self.source) and mask(piece.lead).startswith(self.shape)


class Carrier(NamedTuple):
    """What carries a line: when it was taken, from where."""

    time: str = ""
    source: str = ""
    process: str | None = None


def mask(text: bytes) -> bytes:
    """The shape of what stands before PostgreSQL's own: without what differs from line to line."""
    return _NUMBER.sub(b"N", _COUNTER.sub(b"C", TIMES.sub(b"T", text)))


class Pieces:
    """Reads lines as pieces, and knows which shapes stand before the labels in this log."""

    def __init__(self, prefix: str | None = None) -> None:
        """Prefix: the server's log_line_prefix; None: any of the usual ones, or whatever is before most labels."""
        self._prefixes = [usual_prefix(usual) for usual in USUAL] if prefix is None else [Prefix(prefix, spaces=True)]
        self.leads: Counter[bytes] = Counter()
        self.labels: dict[bytes, set[str]] = {}
        self.prefixes: Counter[str] = Counter()
        self._names = dict(zip(map(id, self._prefixes), USUAL if prefix is None else (prefix,), strict=True))

    def read(self, line: bytes, carrier: Carrier = Carrier()) -> Piece | None:  # noqa: B008 - it cannot be changed
        """The piece that a line is; None if it has no label, or only within a text."""
        label = _label(line[:LONG])
        if label is None:
            return None
        head = label.string[: label.start("label")]
        if len(label["gap"]) == 1:  # as pasted text has it, and other programs
            return self._with_any(head, label, carrier)
        return self._with_prefix(head, label, carrier) or self._with_any(head, label, carrier)

    def _with_prefix(self, head: bytes, label: re.Match[bytes], carrier: Carrier) -> Piece | None:
        for number, prefix in enumerate(self._prefixes):
            if had := prefix.end.search(head):
                if number:
                    self._prefixes.insert(0, self._prefixes.pop(number))
                self.prefixes[self._names[id(prefix)]] += 1
                return self._piece(head[: had.start()], had.groupdict(), label, carrier)
        return None

    def _with_any(self, head: bytes, label: re.Match[bytes], carrier: Carrier) -> Piece | None:
        """A piece behind something unusual: it counts only if the same stands before other labels, too."""
        usual = next((found for prefix in self._prefixes if (found := prefix.end.search(head))), None)
        times = TIMES.findall(head)
        timed = times or carrier.time
        if (not timed and len(label["gap"]) == 1) or len(head) > LONG // 2:
            return None
        had: dict[str, bytes | None] = {"time": _own_time(times)} if times else {}
        if usual:
            had = usual.groupdict()
        piece = self._piece(head, had, label, carrier, unusual=True)
        if piece.shape is not None:
            self.labels.setdefault(piece.shape, set()).add(piece.label)
        return piece

    def _piece(
        self,
        lead: bytes,
        had: dict[str, bytes | None],
        label: re.Match[bytes],
        carrier: Carrier,
        *,
        unusual: bool = False,
    ) -> Piece:
        verbose, text = split_message(label.string[label.end() :])
        shape = mask(lead)
        self.leads[shape] += 1
        self._forget()
        own = _text(had.get("time"))
        time = own or next(map(_text, TIMES.findall(lead)), None) or carrier.time
        return Piece(
            label=label["label"].decode(),
            text=text,
            source=f"{carrier.source}|{shape.decode('utf-8', 'replace')}",
            time=time,
            process=_text(had.get("process") or had.get("session")) or _process(lead) or carrier.process,
            state=_text(had.get("state") or verbose),
            role=_text(had.get("role")),
            application=_text(had.get("application")),
            command=_text(had.get("tag")),
            shape=shape if unusual else None,
            lead=lead,
            carried=own is None or (unusual and not _OWN_TIME.fullmatch(had["time"] or b"")),
        )

    def _forget(self) -> None:
        """Keep the usual shapes only, where each line has another."""
        if len(self.leads) > MOST_SHAPES:
            self.leads = Counter(dict(self.leads.most_common(MOST_SHAPES // 10)))
        if len(self.labels) > MOST_SHAPES:
            self.labels = {shape: labels for shape, labels in self.labels.items() if shape in self.leads}

    def accepts(self, piece: Piece) -> bool:
        """Whether a piece is one of the server's log: what is before it must be before other lines, too."""
        if piece.shape is not None:
            own = self.labels.get(piece.shape, set()) & _OWN
            if not (piece.time and piece.process):  # psql may print the rest, and kubectl a time before it
                return not own.isdisjoint(_SERVERS)
            return bool(own if piece.shape else own - DETAILS)
        shape = mask(piece.lead)
        if not shape:
            return True
        often = self.leads[shape] >= 2 and not shape.endswith(TABS)
        return often or 4 * self.leads[shape] >= self.leads.total()

    def is_continued(self, lead: bytes) -> bool:
        """Whether a line with this before it continues another: what is before its tab is before labels elsewhere."""
        shape = mask(lead)
        before = next((shape.removesuffix(tab) for tab in TABS if shape.endswith(tab)), None)
        return before is not None and any(known.startswith(before) for known in self.leads)

    def is_own(self, found: Piece | Rest) -> bool:
        """Whether a piece, or a line without a label, is of the server's log."""
        if isinstance(found, Piece):
            return self.accepts(found)
        return any(lead.startswith(found.shape) for lead in self.leads)


def _label(line: bytes) -> re.Match[bytes] | None:
    """The first label with its two blanks; of a line without such a one, the first with one blank."""
    one_blank = None
    for label in _LABEL.finditer(line):
        if len(label["gap"]) != 1:
            others = label["label"] == b"INFO" and line[label.end() : label.end() + 1] == b" "  # uvicorn's
            return None if others else label
        one_blank = one_blank or label
    return one_blank


def _own_time(times: list[bytes]) -> bytes:
    """PostgreSQL's among the times before a label: the latest in its own form; a session began before its entry."""
    return max((time for time in times if _OWN_TIME.fullmatch(time)), default=times[-1])


def _process(lead: bytes) -> str | None:
    found = _PROCESS.search(lead)
    return _text(found[found.lastgroup]) if found and found.lastgroup else None


def _text(raw: bytes | None) -> str | None:
    return raw.decode("utf-8", "replace") if raw else None
