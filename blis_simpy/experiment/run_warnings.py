"""Warnings of runs: gathered where the runs are done, counted, and reported once.

A mistake in a scenario is logged by every run of it, in whatever process that is. An experiment says it once.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WarningSummary", "Warnings", "add", "captured", "deferred", "report"]

_LIBRARY = "blis_simpy"
_WORDS = re.compile(r"[a-z]{3}", re.IGNORECASE)


@attrs.frozen
class WarningSummary:
    """Warnings of the library that are alike.

    Attributes
    ----------
    logger : str
        Name of their logger.
    level : int
        Severity.
    text : str
        What the first one says.
    count : int
        How many there are.
    is_same : bool
        Whether all say the same; else they differ in the values that are put in.
    runs : int
        How many runs they are of.
    """

    logger: str
    level: int
    text: str
    count: int = 1
    is_same: bool = True
    runs: int = 1

    def __str__(self) -> str:
        scale = f"in {self.runs:,} run{'s' if self.runs > 1 else ''}"
        if not self.is_same:
            return f"{self.text} (and {self.count - 1:,} more like it, {scale})"
        return f"{self.text} ({scale})" if self.count > 1 else self.text


Warnings = dict[tuple[str, str], WarningSummary]
"""By name of the logger, and what makes them alike: their text before values are put in."""

_of_run: ContextVar[Warnings | None] = ContextVar("_of_run", default=None)


def add(warnings: Warnings, key: tuple[str, str], more: WarningSummary, *, runs: int) -> None:
    """Count warnings among those that are alike, as of so many more runs."""
    found = warnings.get(key)
    if found is not None:
        is_same = found.is_same and more.is_same and found.text == more.text
        more = attrs.evolve(found, count=found.count + more.count, is_same=is_same, runs=found.runs + runs)
    warnings[key] = more


@contextmanager
def captured() -> Iterator[Warnings]:
    """Note the warnings of a run, which is done in a ``with`` block, within `deferred`."""
    warnings: Warnings = {}
    token = _of_run.set(warnings)
    try:
        yield warnings
    finally:
        _of_run.reset(token)


@contextmanager
def deferred() -> Iterator[None]:
    """Keep the library's warnings of runs from being shown within a ``with`` block; all else is."""
    gate = _Gate()
    handlers = _handlers()
    for handler in handlers:
        handler.addFilter(gate)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(gate)


class _Gate(logging.Filter):
    """Lets none of the library's warnings of a run pass, and notes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to show a record."""
        warnings = _of_run.get()
        is_of_library = record.name.partition(".")[0] == _LIBRARY
        if warnings is None or not is_of_library or record.levelno < logging.WARNING:
            return True
        if not hasattr(record, "is_gathered"):  # several handlers see the same record
            record.is_gathered = True
            form, text = str(record.msg), record.getMessage()
            key = record.name, form if _WORDS.search(form) else text
            add(warnings, key, WarningSummary(record.name, record.levelno, text), runs=0)
        return False


def _handlers() -> list[logging.Handler]:
    """Handlers that show what the library logs, as `logging` finds them."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(_LIBRARY)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found or ([logging.lastResort] if logging.lastResort is not None else [])


def report(warnings: Warnings) -> None:
    """Log warnings, those that are alike as one."""
    for warned in warnings.values():
        logging.getLogger(warned.logger).log(warned.level, "%s", warned)
