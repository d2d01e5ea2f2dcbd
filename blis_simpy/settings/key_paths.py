"""Paths of settings: the keys and indices that lead to a part, and their dotted form in messages and changes."""

from __future__ import annotations

import re

__all__ = ["KeyPath", "dotted", "parts"]

KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """Write a key path in dotted form.

    Examples
    --------
    >>> dotted(("workload", "clients", 2, "rate"))
    'workload.clients[2].rate'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parts(path: str) -> KeyPath:
    """Split a dotted path.

    Examples
    --------
    >>> parts("workload.clients[2].rate")
    ('workload', 'clients', 2, 'rate')
    """
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", path))
