"""Files that are written whole: readers see the old content or the new, never a part; several files all or none."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.files.paths import input_at, is_special, reason_of, resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["check_writable", "make_folder", "write_bytes", "write_text", "write_texts", "written_together"]


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
    with _refusals(file):
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            mode = 0
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(0, "it is a directory")
        if len(os.fsencode(target.name)) > _max_name(target.parent):
            raise OSError(0, "File name too long")
        try:
            is_folder = stat.S_ISDIR(target.parent.stat().st_mode)
        except FileNotFoundError:
            is_folder = False
        if not is_folder:
            raise FileNotFoundError(0, f"there is no directory {target.parent}")
        special = is_special(target)
        if not os.access(target if special else target.parent, os.W_OK if special else os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")


def _max_name(folder: Path) -> int:
    """Longest name of a file in a folder, bytes."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255


@contextmanager
def _refusals(file: str) -> Iterator[None]:
    """Convert an error of the system into one of the library."""
    try:
        yield
    except (OSError, ValueError, MemoryError) as refused:
        raise ScenarioError.at("", f"cannot be written: {reason_of(refused)}", file=file) from None


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those that it is in, unless it is there.

    Raises
    ------
    ScenarioError
        If it cannot be made.
    """
    with _refusals(os.fspath(path)):
        Path(path).mkdir(parents=True, exist_ok=True)


class _Files:
    """Files whose content is on disk or in memory, and that are not in their places yet."""

    def __init__(self) -> None:
        self._temporary: list[tuple[Path, Path, str]] = []
        self._special: list[tuple[Path, bytes, str]] = []

    def add(self, path: str | os.PathLike[str], pieces: Iterable[str | bytes], durable: bool) -> None:
        """Write the content of a file beside its place, or keep that of a device."""
        file, target = os.fspath(path), _target(path)
        if (source := input_at(target)) is not None:
            raise ScenarioError.at("", f"cannot be written: it is read as {source}", file=file)
        if any(resolved(target) == resolved(known) for _, known, _ in self._temporary):
            raise ScenarioError.at("", "cannot be written: another output has this name", file=file)
        check_writable(path)
        data = (piece.encode() if isinstance(piece, str) else piece for piece in pieces)
        with _refusals(file):
            if is_special(target):
                self._special.append((target, b"".join(data), file))
                return
            temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
            self._temporary.append((temporary, target, file))
            with temporary.open("xb") as opened:
                opened.writelines(data)
                if durable:
                    opened.flush()
                    os.fsync(opened.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(target, temporary)

    def put_in_place(self) -> None:
        """Write to the devices, then replace the files; after an error, bring back those that were replaced."""
        for target, data, file in self._special:
            with _refusals(file):
                _write_special(target, data)
        replaced: list[tuple[Path, Path | None]] = []
        backups: list[Path] = []
        try:
            for temporary, target, file in self._temporary:
                with _refusals(file):
                    backup = None
                    if target.exists() and len(replaced) < len(self._temporary) - 1:
                        backup = target.with_name(f".{secrets.token_hex(8)}.tmp")
                        backups.append(backup)
                        _duplicate(target, backup)
                    temporary.replace(target)
                    replaced.append((target, backup))
        except BaseException:
            for target, backup in replaced:
                with suppress(OSError):
                    if backup is None:
                        target.unlink()
                    else:
                        backup.replace(target)
            raise
        finally:
            for backup in backups:
                with suppress(OSError):
                    backup.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what was not put in its place."""
        for temporary, _, _ in self._temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


_pending: ContextVar[_Files | None] = ContextVar("pending", default=None)


@contextmanager
def written_together() -> Iterator[None]:
    """Put the files that are written within a ``with`` block in their places at its end, all of them or none.

    Raises
    ------
    ScenarioError
        If a file cannot be written, would replace one that the command reads, or is written twice; nothing is left
        behind.
    """
    files = _Files()
    token = _pending.set(files)
    try:
        yield
        files.put_in_place()
    finally:
        _pending.reset(token)
        files.discard()


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 text file whole.

    Parameters
    ----------
    path : path-like
        File to write or to replace; its folder must exist. Links are followed; devices and pipes are written to
        directly.
    text : str
        Content; line ends are written as they are.
    durable : bool, default False
        Whether the content is on disk when this returns.

    Raises
    ------
    ScenarioError
        If the file cannot be written; nothing is left behind.
    """
    write_texts([(path, [text])], durable=durable)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is no text whole, as `write_text` does."""
    write_texts([(path, [data])])


def write_texts(
    contents: Sequence[tuple[str | os.PathLike[str], Iterable[str | bytes]]], *, durable: bool = False
) -> None:
    """Write several UTF-8 text files whole, and none of them if one cannot be written.

    Parameters
    ----------
    contents : sequence of (path-like, iterable of str)
        Files as for `write_text`, each with the pieces of its text; a piece is written before the next one is made.
    durable : bool, default False
        As for `write_text`.

    Raises
    ------
    ScenarioError
        If a file cannot be written; nothing is left behind.
    """
    pending = _pending.get()
    if pending is None:
        with written_together():
            write_texts(contents, durable=durable)
        return
    for path, pieces in contents:
        pending.add(path, pieces, durable)


def _target(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return resolved(path) if os.path.islink(path) and not is_special(path) else path  # noqa: PTH114


def _duplicate(target: Path, backup: Path) -> None:
    try:
        os.link(target, backup)
    except OSError:  # a file system without links
        shutil.copy2(target, backup)


def _write_special(target: Path, data: bytes) -> None:
    """Write to a device or pipe, without waiting for a process that reads it."""
    descriptor = os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "set_blocking"):
        os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
