"""The text of a log, from a file or standard input: decompressed, out of its archive, in UTF-8."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from incident_lib.logs import compression, encoding
from incident_lib.logs.compression import Decompressed, archive_of, archived, compression_of, unknown_compression
from incident_lib.logs.encoding import Recoded, encoding_of
from incident_lib.model import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from incident_lib.logs.compression import Readable

STDIN = "-"
MOST_LAYERS = 4  # compressions, one within the other


class _Ahead:
    """A stream that can be looked ahead into."""

    def __init__(self, stream: Readable, listener: Callable[[int], None] = lambda done: None) -> None:  # noqa: ARG005
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

    def unread(self, data: bytes) -> None:
        """Put bytes back: they are read next."""
        self._ahead = data + self._ahead

    def _take(self, size: int) -> bytes:
        taken: bytes = self._read(size)
        self.done += len(taken)
        self._listener(self.done)
        return taken

    def seek(self, place: int) -> None:
        """Not possible; GzipFile requires the method."""
        raise OSError(place)


class Log:
    """The text of one log, decompressed and in UTF-8.

    Attributes:
        name: of the file, without its folder; within an archive with the archive's name before it.
        layers: what its bytes were: `gzip`, `tar`, `UTF-16 LE`, from the outermost on.
        broken: whether some of it could not be decompressed.
        unknown: by what its bytes are compressed that is not read here; None: by nothing.
    """

    def __init__(
        self,
        stream: Readable,
        name: str,
        listener: Callable[[int], None] = lambda done: None,  # noqa: ARG005
        layers: tuple[str, ...] = (),
    ) -> None:
        self.name, self.broken, self.layers = name, False, layers
        self._raw = self._text = _Ahead(stream, listener)
        for _ in range(MOST_LAYERS):
            if not (found := compression_of(self._text.peek(compression.HEAD))):
                break
            self.layers += (found,)
            self._text = _Ahead(Decompressed(self._text, found, self._break))
        self.unknown = unknown_compression(self._text.peek(compression.HEAD))
        self._archive = archive_of(self._text.peek(compression.HEAD))
        if self._archive:
            self.layers += (self._archive,)
        else:
            self._decode()

    def _decode(self) -> None:
        name, mark = encoding_of(self._text.peek(encoding.HEAD))
        self.skip(mark)
        if name.startswith("UTF-16"):
            self._text = _Ahead(Recoded(self._text, name))
        if name != "UTF-8":
            self.layers += (name,)

    def _break(self) -> None:
        self.broken = True

    def members(self) -> Iterator[Log]:
        """The logs in it: of an archive each file's, else this one."""
        if self._archive is None:
            yield self
            return
        for name, content in archived(self._text, self._archive, self._break):
            member = Log(content, f"{self.name}/{name}", layers=self.layers)
            yield from member.members()
            self.broken = self.broken or member.broken

    @property
    def is_archive(self) -> bool:
        """Whether it is an archive: its members are the logs."""
        return self._archive is not None

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

    def unread(self, data: bytes) -> None:
        """Put bytes back: they are read next."""
        self._text.unread(data)

    def skip(self, size: int) -> None:
        """Skip the next bytes."""
        while size > 0 and (left_out := self.read(size)):
            size -= len(left_out)


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
