"""Questions about paths, which are answered whatever the system says, and paths that a command reads.

`pathlib` raises where a folder may not be entered, a name is too long or links form a loop. Here such a path counts as
absent: opening it, in `blis_simpy.files.text_files` or `blis_simpy.files.outputs`, names the reason.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "exists",
    "files_in",
    "input_at",
    "inputs_recorded",
    "is_directory",
    "is_regular",
    "is_special",
    "reason_of",
    "record_input",
    "resolved",
]

_inputs: ContextVar[dict[tuple[int, int], str] | None] = ContextVar("inputs", default=None)


def _mode(path: str | os.PathLike[str]) -> int:
    """Type and permissions of what is at a path, links followed; 0 if there is nothing that can be looked at."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - Path() of a text with NUL bytes is fine, its methods are not
    except (OSError, ValueError):
        return 0


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is something at a path."""
    return _mode(path) != 0


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a regular file."""
    return stat.S_ISREG(_mode(path))


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a directory."""
    return stat.S_ISDIR(_mode(path))


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a path is there and is neither file nor directory, such as ``/dev/stdout`` or a pipe.

    It must not be replaced, and may perhaps be read only once.
    """
    mode = _mode(path)
    return mode != 0 and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def resolved(path: str | os.PathLike[str]) -> Path:
    """Absolute path without links; a loop of links stays as it is."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return Path(path)


def files_in(folder: str | os.PathLike[str], pattern: str) -> list[Path]:
    """Files of a folder whose names match a pattern, sorted; none if the folder cannot be read."""
    try:
        return sorted(Path(folder).glob(pattern), key=str)
    except (OSError, ValueError):
        return []


def reason_of(error: BaseException) -> str:
    """Say in a few words why the system refuses something."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def inputs_recorded() -> Iterator[None]:
    """Record the files that are read within a ``with`` block, which outputs must not replace."""
    token = _inputs.set({})
    try:
        yield
    finally:
        _inputs.reset(token)


def record_input(path: str | os.PathLike[str]) -> None:
    """Record a file that is read, if files are recorded."""
    known = _inputs.get()
    if known is not None:
        with suppress(OSError, ValueError):
            found = os.stat(path)  # noqa: PTH116
            if stat.S_ISREG(found.st_mode):
                known.setdefault((found.st_dev, found.st_ino), os.fspath(path))


def input_at(path: str | os.PathLike[str]) -> str | None:
    """Name under which a recorded file was read; None if the path leads to none."""
    known = _inputs.get()
    if known:
        with suppress(OSError, ValueError):
            found = os.stat(path)  # noqa: PTH116
            return known.get((found.st_dev, found.st_ino))
    return None
