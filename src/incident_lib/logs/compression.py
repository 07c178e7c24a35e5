"""Compressed bytes and archives: recognised by their first bytes, decompressed as streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Protocol, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = 512  # bytes by which a compression or an archive is recognised
_PIECE = 1 << 16  # compressed bytes that are decompressed at a time
_IN_MEMORY = 1 << 20  # bytes of a zip file within another stream; beyond, it is a temporary file
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError, OSError, ValueError)
_ARCHIVE_DAMAGE = (*_DAMAGE, tarfile.TarError, zipfile.BadZipFile, RuntimeError, NotImplementedError)

_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_OTHERS = {
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\x1f\x9d": "compress",
    b"\xff\x06\0\0sNaPpY": "snappy",
}


class Readable(Protocol):
    """Anything that yields bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class _Decompressor(Protocol):
    """What the decompressors of bz2, lzma and zstd have in common."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Some of the decompressed bytes."""


def compression_of(head: bytes) -> str | None:
    """How bytes that begin so are compressed: `gzip`, `bzip2`, `xz`, `zstd`; None: not by any of these."""
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def unknown_compression(head: bytes) -> str | None:
    """By what bytes that begin so are compressed, where this project does not read it."""
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def archive_of(head: bytes) -> str | None:
    """Whether bytes that begin so are an archive: `zip`, `tar`, or None."""
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else None


class Decompressed:
    """The decompressed bytes of a stream, up to the first damage."""

    def __init__(self, stream: Readable, compression: str, on_damage: Callable[[], None]) -> None:
        self._on_damage, self._damaged = on_damage, False
        self._stream: Any = (
            gzip.GzipFile(fileobj=cast("Any", stream), mode="rb")
            if compression == "gzip"
            else _Members(stream, _DECOMPRESSORS[compression])
        )

    def read(self, size: int) -> bytes:
        """The next bytes, so many at most; none at the end, or where it is damaged."""
        try:
            return b"" if self._damaged else cast("bytes", self._stream.read1(size))
        except _DAMAGE:
            self._damaged = True
            self._on_damage()
            return b""


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "bzip2": cast("Any", bz2.BZ2Decompressor),
    "xz": cast("Any", lzma.LZMADecompressor),
    "lzma": cast("Any", lzma.LZMADecompressor),
    "zstd": cast("Any", zstd.ZstdDecompressor),
}


class _Members:
    """One compressed stream after the other, as one: what `cat a.xz b.xz` writes."""

    def __init__(self, stream: Readable, make: Callable[[], _Decompressor]) -> None:
        self._stream, self._make, self._current, self._left = stream, make, make(), b""
        self._begun = False

    def read1(self, size: int) -> bytes:
        """The next bytes, so many at most; none at the end.

        Raises:
            EOFError: the stream ends within a member.
        """
        while True:
            if self._current.eof:
                self._left = self._current.unused_data.lstrip(b"\0")
                self._current, self._begun = self._make(), False
            piece = b""
            if self._current.needs_input and not (piece := self._left or self._stream.read(_PIECE)):
                if self._begun:
                    raise EOFError
                return b""
            self._left = b"" if piece else self._left
            self._begun = True
            if given := self._current.decompress(piece, size):
                return given


def archived(stream: Readable, archive: str, on_damage: Callable[[], None]) -> Iterator[tuple[str, Readable]]:
    """The files in an archive, in its order: name and bytes; each is to be read before the next."""
    try:
        yield from (_zipped if archive == "zip" else _tarred)(stream)
    except _ARCHIVE_DAMAGE:
        on_damage()


def _tarred(stream: Readable) -> Iterator[tuple[str, Readable]]:
    with tarfile.open(fileobj=cast("Any", stream), mode="r|") as files:
        for member in files:
            if member.isfile() and (content := files.extractfile(member)):
                yield member.name, cast("Readable", content)


def _zipped(stream: Readable) -> Iterator[tuple[str, Readable]]:
    """A zip file's directory is at its end: so it is kept as a whole while it is read."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as whole:
        shutil.copyfileobj(cast("Any", stream), whole)
        with zipfile.ZipFile(cast("Any", whole)) as files:
            for member in files.infolist():
                if not member.is_dir():
                    with files.open(member) as content:
                        yield member.filename, cast("Readable", content)
