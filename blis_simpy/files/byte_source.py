"""Files open for reading: decompressed, with a limit of size, and without waiting for a pipe that nothing feeds."""

from __future__ import annotations

import errno
import gzip
import io
import os
import select
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from blis_simpy.files.paths import reason_of, record_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from blis_simpy.errors import BlisError

__all__ = ["MIB", "ByteSource", "opened", "read_whole"]

MIB = 2**20

_GZIP_MAGIC = b"\x1f\x8b"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_STREAM_BYTES = 256 * MIB
"""Most that a pipe or device may deliver."""
_UNPACKED_BYTES = 64 * MIB
_UNPACKED_RATIO = 100
"""A gzip file may hold `_UNPACKED_BYTES`, and this multiple of its own size. Tables of numbers reach a tenth of it."""
_PIPE_WAIT_S = 5.0


class ByteSource(Protocol):
    """A file that is open for reading."""

    def read(self, num_bytes: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        ...


class _Limited:
    """A source that must not deliver more than some bytes."""

    def __init__(self, source: ByteSource, limit: int, reason: str) -> None:
        self._source = source
        self._left = limit
        self._reason = reason

    def read(self, num_bytes: int, /) -> bytes:
        data = self._source.read(num_bytes)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(self._reason)
        return data


class _Utf16:
    """A file in UTF-16, read as UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-16", newline="")

    def read(self, num_bytes: int, /) -> bytes:
        return self._text.read(num_bytes).encode()


@contextmanager
def opened(path: str | os.PathLike[str], error: type[BlisError], *, is_text: bool = True) -> Iterator[ByteSource]:
    """Open a file for reading within a ``with`` block, and convert errors of the system into one line.

    Parameters
    ----------
    path : path-like
        File, pipe or device.
    error : type of BlisError
        What to raise.
    is_text : bool, default True
        Whether gzip and UTF-16 are recognised by content and read as UTF-8 text.

    Raises
    ------
    BlisError
        Of type `error`: not there, no access, a directory, broken gzip, too large, a pipe without a writer.
    """
    file = os.fspath(path)
    try:
        descriptor = _descriptor(path)
        with open(descriptor, "rb") as raw:  # noqa: PTH123 - a descriptor
            record_input(path)
            found = os.fstat(descriptor)
            source: ByteSource = raw
            if is_text:
                source = _decoded(raw, found.st_size)
            if not stat.S_ISREG(found.st_mode):
                source = _Limited(source, _STREAM_BYTES, f"delivers more than {_STREAM_BYTES // MIB} MiB")
            yield source
    except UnicodeDecodeError:
        raise error.at("", "must be UTF-16 text, as its byte order mark says", file=file) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as broken:
        raise error.at("", f"is a broken gzip file: {broken}", file=file) from None
    except (OSError, ValueError, MemoryError) as refused:
        raise error.at("", f"cannot be read: {reason_of(refused)}", file=file) from None


def _descriptor(path: str | os.PathLike[str]) -> int:
    """Open a file without waiting for a process to write to it, unless there is one."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")  # noqa: TRY301
        if stat.S_ISFIFO(mode):
            _await_writer(descriptor)
        if not stat.S_ISREG(mode) and hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _await_writer(descriptor: int) -> None:
    ready, _, _ = select.select([descriptor], [], [], _PIPE_WAIT_S)
    if not ready:
        try:
            os.read(descriptor, 1)
        except BlockingIOError:
            return  # a writer that takes its time
        raise ValueError(f"no process has written to this pipe for {_PIPE_WAIT_S:g} s")


def _decoded(raw: io.BufferedReader, size: int) -> ByteSource:
    if not raw.peek(2).startswith(_GZIP_MAGIC):
        return _as_utf8(raw)
    limit = max(_UNPACKED_BYTES, _UNPACKED_RATIO * size)
    unpacked = _as_utf8(gzip.GzipFile(fileobj=raw))
    return _Limited(unpacked, limit, f"is compressed and holds more than {limit // MIB} MiB")


def _as_utf8(file: io.BufferedReader | gzip.GzipFile) -> ByteSource:
    binary = cast("BinaryIO", file)
    return _Utf16(binary) if file.peek(2).startswith(_UTF_16_MARKS) else binary


def read_whole(source: ByteSource, limit: int) -> Iterator[bytes]:
    """Read blocks to the end of a source.

    Raises
    ------
    ValueError
        If there are more than `limit` bytes.
    """
    left = limit
    while block := source.read(MIB):
        left -= len(block)
        if left < 0:
            raise ValueError(f"holds more than {limit // MIB} MiB")
        yield block
