"""The bytes of a log, from a file or standard input, decompressed, and how many were read."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from incident_lib.model import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STDIN = "-"
_GZIP = b"\x1f\x8b"


class _Bytes(Protocol):
    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class _Ahead:
    """A stream that can be looked ahead into."""

    def __init__(self, stream: _Bytes, listener: Callable[[int], None] = lambda done: None) -> None:  # noqa: ARG005
        self.done, self._listener = 0, listener  # bytes that were taken from the stream; who gets their number
        self._read = getattr(stream, "read1", stream.read)  # what is there, without waiting for more
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, so many unless the stream ends before; they are read again afterwards."""
        while len(self._ahead) < size and (more := self._take(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        if not self._ahead:
            return self._take(size)
        given, self._ahead = self._ahead[:size], self._ahead[size:]
        return given

    def _take(self, size: int) -> bytes:
        taken: bytes = self._read(size)
        self.done += len(taken)
        self._listener(self.done)
        return taken

    def seek(self, place: int) -> None:
        """Not possible; GzipFile requires the method."""
        raise OSError(place)


class Log:
    """The bytes of one log, decompressed where they are compressed by gzip.

    Attributes:
        name: of the file, without its folder.
        broken: whether some of it could not be decompressed.
    """

    def __init__(self, stream: _Bytes, name: str, listener: Callable[[int], None] = lambda done: None) -> None:  # noqa: ARG005
        self.name, self.broken = name, False
        self._raw = _Ahead(stream, listener)
        compressed = self._raw.peek(len(_GZIP)) == _GZIP
        self._text = _Ahead(_Unzipped(self._raw, self)) if compressed else self._raw

    @property
    def done(self) -> int:
        """How many of its bytes, compressed or not, were read."""
        return self._raw.done

    def peek(self, size: int) -> bytes:
        """The next bytes, so many unless the log ends before; they are read again afterwards."""
        return self._text.peek(size)

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        return self._text.read(size)

    def skip(self, size: int) -> None:
        """Skip the next bytes."""
        while size > 0 and (left_out := self.read(size)):
            size -= len(left_out)


class _Unzipped:
    """The decompressed bytes of a gzip file, up to the first damage."""

    def __init__(self, stream: _Ahead, log: Log) -> None:
        self._stream, self._log = gzip.GzipFile(fileobj=stream, mode="rb"), log

    def read(self, size: int) -> bytes:
        """The next bytes, so many at most; none at the end, or where it is damaged."""
        try:
            return b"" if self._log.broken else self._stream.read1(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self._log.broken = True
            return b""


@contextmanager
def open_log(name: str, listener: Callable[[int], None]) -> Iterator[Log]:
    """A log by its file's name; `-` is standard input.

    Args:
        name: the file.
        listener: called with the number of bytes read, after each read.

    Raises:
        Failed: the file cannot be read, or not to its end.
    """
    try:
        if name == STDIN:
            yield Log(sys.stdin.buffer, "standard input", listener)
        else:
            with Path(name).open("rb", buffering=0) as file:
                yield Log(file, Path(name).name, listener)
    except OSError as error:
        raise Failed(
            f"{name} cannot be read.", f"{error.strerror or error}.", "Name a file that this user may read, or `-`."
        ) from None


def total_size(names: Iterable[str]) -> int | None:
    """How many bytes these files have together; None where one is standard input, or not there."""
    try:
        return sum(Path(name).stat().st_size for name in names)
    except OSError:
        return None
