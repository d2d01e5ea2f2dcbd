"""A progress bar with the time that is left, on a terminal or in a notebook, and nowhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]

_WIDTH = 30
"""Of the bar in a notebook, characters."""


@contextmanager
def progress_bar(what: str, total: int, done: int = 0, *, show: bool | None = None) -> Iterator[Callable[[], None]]:
    """Show how far an experiment is, on standard error, within a ``with`` block.

    Parameters
    ----------
    what : str
        What is counted.
    total, done : int
        Runs, and how many are done already.
    show : bool, optional
        Whether to show it; unset means where somebody can see it.

    Yields
    ------
    callable
        To be called after each run.
    """
    notebook = _in_notebook()
    if show is None:
        show = notebook or sys.stderr.isatty()
    if not show or done >= total:
        yield lambda: None
    elif notebook:
        with _line_in_notebook(what, total, done) as advance:
            yield advance
    else:
        with _bar_on_terminal(what, total, done) as advance:
            yield advance


def _in_notebook() -> bool:
    """Whether the program is a kernel of Jupyter."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return "IPKernelApp" in getattr(get_ipython(), "config", {})


@contextmanager
def _line_in_notebook(what: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    """Show one line that is written over; rich would need widgets for that. It is gone in the end."""
    from IPython.display import display

    started_at, count = monotonic(), done
    first = {"text/plain": _line(what, done, total, None)}
    line = display(first, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython has no types

    def advance() -> None:
        nonlocal count
        count += 1
        left_s = (monotonic() - started_at) / (count - done) * (total - count)
        line.update({"text/plain": _line(what, count, total, left_s)}, raw=True)

    try:
        yield advance
    finally:
        line.update({"text/plain": ""}, raw=True)


def _line(what: str, done: int, total: int, left_s: float | None) -> str:
    filled = _WIDTH * done // total
    minutes, seconds = divmod(round(left_s or 0), 60)
    left = "" if left_s is None else f", {minutes}:{seconds:02} left"
    return f"{what} {'#' * filled}{'.' * (_WIDTH - filled)} {done} of {total} runs{left}"


@contextmanager
def _bar_on_terminal(what: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs,"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda: bar.advance(task)
