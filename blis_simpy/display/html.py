"""Results as HTML for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.display.summary import column_table, result_page, selection_page
from blis_simpy.display.text_table import page_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset

__all__ = ["result_html", "selection_html", "table_html"]


def result_html(result: Result) -> str:
    """Render a run: the summary, and tables of replicas, SLO classes, models and tenants if there are several."""
    return page_html(result_page(result))


def selection_html(selection: RequestSubset) -> str:
    """Render some requests of a run: what became of them, latencies."""
    return page_html(selection_page(selection))


def table_html(columns: Mapping[str, NDArray[Any]], max_rows: int = 10) -> str:
    """Render the first and last rows of a table of columns.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (num_rows,)
        Columns whose names carry their units, such as ``ttft_us``; in them -1 stands for what has not come about.
    max_rows : int, default 10
        How many rows to show at most, >= 2.
    """
    return column_table(columns, max_rows).html()
