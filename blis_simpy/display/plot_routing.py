"""Plot of how requests were distributed over replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.results.by_label import routed_by_label, routed_over_time
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.result import Result

__all__ = ["plot_routing"]

_MOST_CELL_COUNTS = 200


def plot_routing(result: Result, by: str | None = None, bins: int = 60, ax: Axes | None = None) -> Axes:
    """Draw as a heat map how many requests went to which replica.

    Parameters
    ----------
    by : str, optional
        A line for each group, as for `latencies`, and a column a replica; without it, a line a replica over time.
    bins : int, default 60
        In how many parts of the time they are counted, without `by`.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If `by` is unknown.
    """
    table = routed_over_time(result, bins) if by is None else routed_by_label(result, by)
    num_rows, num_columns = table.counts.shape
    ax = figure_style.one(ax, max(2.0, 1.0 + 0.28 * num_rows))
    ax.grid(visible=False)
    if by is None:
        ax.set(xlabel="time (s)", ylabel="replica")
    else:
        ax.set(xlabel="replica", ylabel=by.replace("_", " ").replace("slo", "SLO"))
    if not table.counts.any():
        figure_style.add_note(ax, "no request was sent to a replica")
        return ax
    if table.edges is None:
        edges, label = np.arange(num_columns + 1) - 0.5, "share of the group"
        colours = table.counts / table.counts.sum(axis=1, keepdims=True)
        ax.set_xticks(range(num_columns))
        if table.counts.size <= _MOST_CELL_COUNTS:
            _write_counts(ax, table.counts, colours < colours.max() / 2)
    else:
        edges, label = table.edges / SECOND, f"requests in {figure_style.span(table.edges[1])}"
        colours = table.counts
    heat = ax.pcolormesh(edges, np.arange(num_rows + 1) - 0.5, colours, cmap="cividis", vmin=0)
    ax.figure.colorbar(heat, ax=ax, label=label)
    ax.set_yticks(range(num_rows), table.rows)
    ax.set_ylim(num_rows - 0.5, -0.5)
    return ax


def _write_counts(ax: Axes, counts: NDArray[np.int64], dark: NDArray[np.bool_]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if dark[row, column] else "black"
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize="small")
