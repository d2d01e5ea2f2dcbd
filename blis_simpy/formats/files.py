"""Text files in and out: gzip recognised by content on the way in, all or nothing on the way out."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import zlib
from pathlib import Path

from blis_simpy.errors import BlisError, ScenarioError

__all__ = ["check_writable", "read_text", "write_text"]

_GZIP_MAGIC = b"\x1f\x8b"


def read_text(path: str | os.PathLike[str], error: type[BlisError] = ScenarioError) -> str:
    """Read a UTF-8 text file, compressed or not.

    Parameters
    ----------
    path : path-like
        File to read. Content that starts like gzip is decompressed, whatever the name says.
    error : type of BlisError, default ScenarioError
        What to raise.

    Returns
    -------
    str
        The text with its line ends as they are, without a byte order mark.

    Raises
    ------
    BlisError
        Of type `error`: no such file, a directory, not readable, broken gzip, not UTF-8, or a NUL byte in it.
    """
    file = os.fspath(path)
    try:
        data = Path(path).read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as broken:
        raise error.at("", f"is a broken gzip file: {broken}", file=file) from None
    except (OSError, ValueError) as refused:
        raise error.at("", f"cannot be read: {_reason(refused)}", file=file) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = data.count(b"\n", 0, broken.start) + 1
        raise error.at("", "must be UTF-8 text", data[broken.start : broken.end], file=file, line=line) from None
    if (position := text.find("\0")) >= 0:
        raise error.at("", "must not contain NUL bytes", file=file, line=text.count("\n", 0, position) + 1)
    return text


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
    if not os.access(target if _is_special(target) else target.parent, os.W_OK):
        raise ScenarioError.at("", "cannot be written: Permission denied", file=file)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file whole: whoever reads it sees the old content or the new, never a part.

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
    check_writable(path)
    target = _target(path)
    data = text.encode()
    try:
        if _is_special(target):
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as refused:
        raise ScenarioError.at("", f"cannot be written: {_reason(refused)}", file=os.fspath(path)) from None


def _target(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path.resolve() if path.is_symlink() and not _is_special(path) else path


def _is_special(path: Path) -> bool:
    """Whether a path is there and is neither file nor directory, such as ``/dev/stdout``: it must not be replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
