"""Digest of a user's source code: the file or package of a module, and everything that it imports.

Installed packages such as numpy do not count. Imports are read from the source text, so that imports inside functions
and of constants are found.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from blis_simpy.files.paths import is_regular
from blis_simpy.files.text_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["content_of", "is_foreign", "source_of_module"]

_PACKAGE = "blis_simpy"
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([^\n#;]+))", re.MULTILINE)


def is_foreign(module: str) -> bool:
    """Whether a module is neither the library's nor Python's."""
    top = module.partition(".")[0]
    return top != _PACKAGE and (top not in sys.stdlib_module_names or module == "__main__")


@functools.cache
def source_of_module(name: str) -> str | None:
    """Return the digest of the source of a module and its imports; None if it has no file."""
    own = _files(name)
    return content_of(sorted(_with_imports(own))) if own else None


def content_of(files: Iterable[Path]) -> str:
    """Return the digest of names and contents of files.

    Raises
    ------
    ScenarioError
        If one cannot be read.
    """
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(f"\n{file.name}\n".encode() + read_bytes(file))
    return state.hexdigest()


def _with_imports(files: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    seen: set[str] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        new = {name for name in _imports(path) if is_foreign(name)} - seen
        seen |= new
        waiting += [file for name in new for file in _files(name) if not _is_installed(file)]
    return found


def _imports(path: Path) -> set[str]:
    try:
        text = path.read_bytes() if path.suffix == ".py" else b""
    except OSError:  # reported when the content is read
        return set()
    names: set[str] = set()
    for origin, listed in _IMPORT.findall(text):
        several = [origin] if origin else [item.split()[0] for item in listed.split(b",") if item.split()]
        names |= {name.decode(errors="replace") for name in several}
    # Relative imports are of the same package, all of whose files count.
    return {name for name in names if not name.startswith(".")}


def _files(name: str) -> list[Path]:
    """Files of the top-level package of a module; of a namespace package, those that are loaded."""
    top = name.partition(".")[0]
    file = _file(top)
    if file is None:
        loaded = (_file(other) for other in tuple(sys.modules) if other.startswith(f"{top}."))
        return [file for file in loaded if file is not None]
    return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]


def _file(name: str) -> Path | None:
    module = sys.modules.get(name)
    place = getattr(module, "__file__", None)
    if module is None and "." not in name:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        place = found.origin if found is not None and found.has_location else None
    path = Path(place) if place else None
    return path if path is not None and is_regular(path) else None


def _is_installed(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
