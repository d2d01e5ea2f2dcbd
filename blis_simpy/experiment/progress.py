"""Progress bar of an experiment, in a terminal and in a notebook."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]

_WIDTH = 30
"""Width of the bar in a notebook, characters."""


@contextmanager
def progress_bar(what: str, total: int, done: int = 0, *, show: bool | None = None) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error within a ``with`` block.

    Parameters
    ----------
    what : str
        Label.
    total, done : int
        Number of runs, and of those already done.
    show : bool, optional
        Whether to show it; default is in a terminal and in a notebook only.

    Yields
    ------
    callable
        Advances the bar; call it after each run.
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
    """Whether the process is a Jupyter kernel."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return "IPKernelApp" in getattr(get_ipython(), "config", {})


@contextmanager
def _line_in_notebook(what: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    """Show one line that is updated in place, which rich can do with widgets only. The line is cleared at the end."""
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
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda: bar.advance(task)
