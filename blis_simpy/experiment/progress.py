"""A progress bar with the time that is left, on a terminal or in a notebook, and nowhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


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
    if show is None:
        # In a notebook rich draws with widgets, and complains where there are none.
        show = sys.stderr.isatty() or ("ipykernel" in sys.modules and find_spec("ipywidgets") is not None)
    if not show or done >= total:
        yield lambda: None
        return
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
