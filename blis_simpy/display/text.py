"""Results as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from blis_simpy.display.summary import summary_page
from blis_simpy.display.text_table import print_page

if TYPE_CHECKING:
    from blis_simpy.results.result import Result

__all__ = ["print_summary"]


def print_summary(result: Result, file: TextIO | None = None) -> None:
    """Print what a run came to: what was simulated, what became of the requests, latencies, KV cache.

    Parameters
    ----------
    result : Result
        The run.
    file : text stream, optional
        Where to; standard output unless given.
    """
    print_page(summary_page(result), file)
