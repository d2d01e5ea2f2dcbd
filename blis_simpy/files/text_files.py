"""Text files in and out: gzip recognised by content on the way in, all or nothing on the way out."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import secrets
import shutil
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from blis_simpy.errors import BlisError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

__all__ = [
    "check_writable",
    "is_special",
    "read_start",
    "read_text",
    "text_blocks",
    "write_bytes",
    "write_text",
    "write_texts",
]

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK_BYTES = 1 << 20


def read_text(path: str | os.PathLike[str], error: type[BlisError] = ScenarioError) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, compressed or not.

    Parameters
    ----------
    path : path-like
        File to read. Content that starts like gzip is decompressed, whatever the name.
    error : type of BlisError, default ScenarioError
        What to raise.

    Returns
    -------
    str
        The text with its line ends as they are, without a byte order mark.

    Raises
    ------
    BlisError
        Of type `error`: no such file, a directory, not readable, broken gzip, another encoding, or a NUL byte in it.
    """
    return "".join(text for _, text in text_blocks(path, error))


def text_blocks(
    path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, block_bytes: int = _BLOCK_BYTES
) -> Iterator[tuple[int, str]]:
    """Read a text file as `read_text` does, a block at a time.

    Parameters
    ----------
    path, error
        As for `read_text`.
    block_bytes : int, bytes
        About how much to hold at once.

    Yields
    ------
    (int, str)
        Number of the first line, from 1, and some whole lines with their ends.

    Raises
    ------
    BlisError
        As `read_text`, when the place is reached.
    """
    file = os.fspath(path)
    line = 1
    for data in _byte_blocks(path, error, block_bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as broken:
            line += data.count(b"\n", 0, broken.start)
            wrong = data[broken.start : broken.end]
            raise error.at("", "must be UTF-8 text", wrong, file=file, line=line) from None
        if (position := text.find("\0")) >= 0:
            line += text.count("\n", 0, position)
            raise error.at("", "must not contain NUL bytes", file=file, line=line)
        yield line, text
        line += text.count("\n")


def read_start(path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, num_bytes: int = 4096) -> bytes:
    """First bytes of a file, decompressed and in UTF-8, without a byte order mark.

    Raises
    ------
    BlisError
        Of type `error`: no such file, a directory, not readable, broken gzip.
    """
    with _refusals(path, error), _opened(path) as file:
        return file.read(num_bytes).removeprefix(_BYTE_ORDER_MARK)


def _byte_blocks(path: str | os.PathLike[str], error: type[BlisError], block_bytes: int) -> Iterator[bytes]:
    """Content in blocks that end with a line, without a byte order mark."""
    with _refusals(path, error), _opened(path) as file:
        pieces = [file.read(block_bytes).removeprefix(_BYTE_ORDER_MARK)]
        while more := file.read(block_bytes):
            cut = more.rfind(b"\n") + 1
            if cut:
                yield b"".join((*pieces, more[:cut]))
                pieces.clear()
            pieces.append(more[cut:])
        if rest := b"".join(pieces):
            yield rest


class _Source(Protocol):
    """A file that is open for reading."""

    def read(self, num_bytes: int, /) -> bytes: ...


class _Utf16:
    """A file in UTF-16, read as UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-16", newline="")

    def read(self, num_bytes: int, /) -> bytes:
        return self._text.read(num_bytes).encode()


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_Source]:
    with Path(path).open("rb") as raw:
        if raw.peek(2).startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield _decoded(unpacked)
        else:
            yield _decoded(raw)


def _decoded(file: io.BufferedReader | gzip.GzipFile) -> _Source:
    binary = cast("BinaryIO", file)
    return _Utf16(binary) if file.peek(2).startswith(_UTF_16_MARKS) else binary


@contextmanager
def _refusals(path: str | os.PathLike[str], error: type[BlisError]) -> Iterator[None]:
    """Convert an error of the system into one of the library."""
    file = os.fspath(path)
    try:
        yield
    except UnicodeDecodeError:
        raise error.at("", "must be UTF-16 text, as its byte order mark says", file=file) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as broken:
        raise error.at("", f"is a broken gzip file: {broken}", file=file) from None
    except (OSError, ValueError) as refused:
        raise error.at("", f"cannot be read: {_reason(refused)}", file=file) from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out early that `write_text` would fail.

    Parameters
    ----------
    path : path-like
        Where text is to be written later.

    Raises
    ------
    ScenarioError
        If the path is a directory, or its folder does not exist or does not admit new files.
    """
    file, target = os.fspath(path), _target(path)
    if target.is_dir():
        raise ScenarioError.at("", "cannot be written: it is a directory", file=file)
    if not target.parent.is_dir():
        raise ScenarioError.at("", f"cannot be written: there is no directory {target.parent}", file=file)
    if not os.access(target if is_special(target) else target.parent, os.W_OK):
        raise ScenarioError.at("", "cannot be written: Permission denied", file=file)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file whole: readers see the old content or the new, never a part.

    Parameters
    ----------
    path : path-like
        File to write or to replace; its folder must exist. Links are followed; devices and pipes are written to
        directly.
    text : str
        Content; line ends are written as they are.

    Raises
    ------
    ScenarioError
        If the file cannot be written; nothing is left behind.
    """
    write_texts([(path, [text])])


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is no text whole, as `write_text` does.

    Raises
    ------
    ScenarioError
        If the file cannot be written; nothing is left behind.
    """
    write_texts([(path, [data])])


def write_texts(contents: Sequence[tuple[str | os.PathLike[str], Iterable[str | bytes]]]) -> None:
    """Write several UTF-8 text files whole, and none of them if one cannot be written.

    Parameters
    ----------
    contents : sequence of (path-like, iterable of str)
        Files as for `write_text`, each with the pieces of its text; a piece is written before the next one is made.

    Raises
    ------
    ScenarioError
        If a file cannot be written; nothing is left behind.
    """
    for path, _ in contents:
        check_writable(path)
    written: list[tuple[Path, Path]] = []
    path = contents[0][0]
    try:
        for path, pieces in contents:
            target = _target(path)
            if is_special(target):
                _write(target, "wb", pieces)
                continue
            temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
            written.append((temporary, target))
            _write(temporary, "xb", pieces)
            if target.exists():
                shutil.copymode(target, temporary)
        for temporary, target in written:
            temporary.replace(target)
    except OSError as refused:
        raise ScenarioError.at("", f"cannot be written: {_reason(refused)}", file=os.fspath(path)) from None
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)


def _write(path: Path, mode: str, pieces: Iterable[str | bytes]) -> None:
    with path.open(mode) as file:
        for piece in pieces:
            file.write(piece.encode() if isinstance(piece, str) else piece)


def _target(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path.resolve() if path.is_symlink() and not is_special(path) else path


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a path is there and is neither file nor directory, such as ``/dev/stdout`` or a pipe.

    It must not be replaced, and may perhaps be read only once.
    """
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
