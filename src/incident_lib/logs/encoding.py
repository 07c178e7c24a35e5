"""Encoded text as UTF-8: which encoding a log has, and its bytes in UTF-8 without a byte order mark."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incident_lib.logs.compression import Readable

HEAD = 4096  # bytes by which an encoding is recognised
_MARKS = {
    codecs.BOM_UTF8: "UTF-8 with a byte order mark",
    codecs.BOM_UTF16_LE: "UTF-16 LE",
    codecs.BOM_UTF16_BE: "UTF-16 BE",
}
_CODECS = {"UTF-16 LE": "utf-16-le", "UTF-16 BE": "utf-16-be"}


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding of a text that begins so, and the length of its byte order mark."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    pairs = len(head) // 2
    nuls = (head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0))  # of the first and second bytes
    if pairs and max(nuls) > 0.4 * pairs and min(nuls) < 0.1 * pairs:  # mostly ASCII, without a mark
        return ("UTF-16 BE" if nuls[0] > nuls[1] else "UTF-16 LE"), 0
    return "UTF-8", 0


class Recoded:
    """The bytes of a UTF-16 text in UTF-8."""

    def __init__(self, stream: Readable, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(_CODECS[encoding])("replace")

    def read(self, size: int) -> bytes:
        """The next bytes, about so many; none at the end."""
        while raw := self._stream.read(size):
            if text := self._decoder.decode(raw):
                return text.encode("utf-8", "replace")
        return self._decoder.decode(b"", final=True).encode("utf-8", "replace")
