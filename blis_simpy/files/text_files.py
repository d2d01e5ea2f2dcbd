"""Text files: UTF-8, or UTF-16 with a byte order mark, compressed or not."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from blis_simpy.errors import BlisError, ScenarioError
from blis_simpy.files.byte_source import MIB, opened, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DATA_BYTES", "SETTINGS_BYTES", "read_bytes", "read_start", "read_text", "text_blocks"]

_BYTE_ORDER_MARK = codecs.BOM_UTF8
SETTINGS_BYTES = 64 * MIB
"""Most that a file of settings may hold."""
DATA_BYTES = 1024 * MIB
"""Most that a file of data may hold where it is read whole."""
_LINE_BYTES = 64 * MIB
"""Most that a line may hold where a file is read in blocks of lines."""


def read_text(
    path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, *, max_bytes: int = SETTINGS_BYTES
) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, compressed or not.

    Parameters
    ----------
    path : path-like
        File to read. Content that starts like gzip is decompressed, whatever the name.
    error : type of BlisError, default ScenarioError
        What to raise.
    max_bytes : int, bytes
        Largest size, decompressed.

    Returns
    -------
    str
        The text with its line ends as they are, without a byte order mark.

    Raises
    ------
    BlisError
        Of type `error`: no such file, a directory, not readable, too large, broken gzip, another encoding, or a NUL
        byte in it.
    """
    with opened(path, error) as file:
        blocks = []
        for block in read_whole(file, max_bytes):
            blocks.append(block)
            if b"\0" in block:
                break
    return _decoded(b"".join(blocks).removeprefix(_BYTE_ORDER_MARK), 1, os.fspath(path), error)


def read_bytes(
    path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, *, max_bytes: int = DATA_BYTES
) -> bytes:
    """Read a file that is no text; errors as for `read_text`."""
    with opened(path, error, is_text=False) as file:
        return b"".join(read_whole(file, max_bytes))


def text_blocks(
    path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, block_bytes: int = MIB
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
        As `read_text`, when the place is reached; and for a line of more than 64 MiB.
    """
    file = os.fspath(path)
    line = 1
    for data in _byte_blocks(path, error, block_bytes):
        text = _decoded(data, line, file, error)
        yield line, text
        line += text.count("\n")


def _decoded(data: bytes, line: int, file: str, error: type[BlisError]) -> str:
    """Decode a part of a file that begins at a line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as broken:
        line += data.count(b"\n", 0, broken.start)
        wrong = data[broken.start : broken.end]
        raise error.at("", "must be UTF-8 text", wrong, file=file, line=line) from None
    if (position := text.find("\0")) >= 0:
        line += text.count("\n", 0, position)
        raise error.at("", "must not contain NUL bytes", file=file, line=line)
    return text


def read_start(path: str | os.PathLike[str], error: type[BlisError] = ScenarioError, num_bytes: int = 4096) -> bytes:
    """First bytes of a file, decompressed and in UTF-8, without a byte order mark; errors as for `read_text`."""
    with opened(path, error) as file:
        return file.read(num_bytes).removeprefix(_BYTE_ORDER_MARK)


def _byte_blocks(path: str | os.PathLike[str], error: type[BlisError], block_bytes: int) -> Iterator[bytes]:
    """Content in blocks that end with a line, without a byte order mark; the last one with the first NUL byte."""
    with opened(path, error) as file:
        pieces = [file.read(block_bytes).removeprefix(_BYTE_ORDER_MARK)]
        held = len(pieces[0])
        while more := file.read(block_bytes):
            nul = more.find(b"\0") + 1
            if nul:
                pieces.append(more[:nul])
                break
            cut = more.rfind(b"\n") + 1
            if cut:
                yield b"".join((*pieces, more[:cut]))
                pieces.clear()
                held = 0
            pieces.append(more[cut:])
            held += len(more) - cut
            if held > _LINE_BYTES:
                raise ValueError(f"has a line of more than {_LINE_BYTES // MIB} MiB")
        if rest := b"".join(pieces):
            yield rest
