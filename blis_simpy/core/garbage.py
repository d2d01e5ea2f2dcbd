"""Garbage collection around a simulation, which makes many objects and hardly any cycles."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collect_rarely", "collected_rarely"]

_THRESHOLDS = (200_000, 50, 100)


def collect_rarely() -> None:
    """Let the interpreter look for cyclic garbage less often, unless it does so already or never."""
    thresholds = gc.get_threshold()
    if thresholds[0]:
        gc.set_threshold(*map(max, thresholds, _THRESHOLDS))


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Collect rarely in a block or function: with Python's own thresholds, collections take up to a sixth of a run."""
    thresholds = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
