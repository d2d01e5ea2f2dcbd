"""Warnings of runs: captured in the process of each run, counted, and logged once.

A scenario with a questionable setting logs a warning in each of its runs; an experiment logs it once.
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

__all__ = ["WarningSummary", "Warnings", "captured", "deferred", "log_summaries", "merge"]

_LIBRARY = "blis_simpy"
_WORDS = re.compile(r"[a-z]{3}", re.IGNORECASE)


@attrs.frozen
class WarningSummary:
    """Warnings of the library with the same message, up to the values in it.

    Attributes
    ----------
    logger : str
        Name of their logger.
    level : int
        Severity.
    text : str
        Text of the first one.
    count : int
        Number of warnings.
    is_same : bool
        Whether all have the same text.
    runs : int
        Number of runs that logged them.
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
            return f"{self.text} (and {self.count - 1:,} similar ones, {scale})"
        return f"{self.text} ({scale})" if self.count > 1 else self.text


Warnings = dict[tuple[str, str], WarningSummary]
"""Summaries by name of the logger and message without its values."""

_of_run: ContextVar[Warnings | None] = ContextVar("_of_run", default=None)


def merge(warnings: Warnings, key: tuple[str, str], more: WarningSummary, *, runs: int) -> None:
    """Add a summary of `runs` more runs to those that there are."""
    found = warnings.get(key)
    if found is not None:
        is_same = found.is_same and more.is_same and found.text == more.text
        more = attrs.evolve(found, count=found.count + more.count, is_same=is_same, runs=found.runs + runs)
    warnings[key] = more


@contextmanager
def captured() -> Iterator[Warnings]:
    """Collect the warnings of a run within a ``with`` block; needs `deferred` around it."""
    warnings: Warnings = {}
    token = _of_run.set(warnings)
    try:
        yield warnings
    finally:
        _of_run.reset(token)


@contextmanager
def deferred() -> Iterator[None]:
    """Suppress the output of the library's warnings of runs within a ``with`` block."""
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
    """Collects and suppresses the library's warnings of a run."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        warnings = _of_run.get()
        is_of_library = record.name.partition(".")[0] == _LIBRARY
        if warnings is None or not is_of_library or record.levelno < logging.WARNING:
            return True
        if not hasattr(record, "is_gathered"):  # several handlers see the same record
            record.is_gathered = True
            form, text = str(record.msg), record.getMessage()
            key = record.name, form if _WORDS.search(form) else text
            merge(warnings, key, WarningSummary(record.name, record.levelno, text), runs=0)
        return False


def _handlers() -> list[logging.Handler]:
    """Return the handlers of the library's log records, as `logging` finds them."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(_LIBRARY)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found or ([logging.lastResort] if logging.lastResort is not None else [])


def log_summaries(warnings: Warnings) -> None:
    """Log each summary as one warning."""
    for warned in warnings.values():
        logging.getLogger(warned.logger).log(warned.level, "%s", warned)
