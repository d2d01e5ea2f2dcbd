"""Plot of request and token rates over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.results.over_time import throughput
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.result import Result

__all__ = ["plot_throughput"]


def plot_throughput(result: Result, bins: int = 60, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
    """Draw requests and output tokens a second over time.

    Parameters
    ----------
    bins : int, default 60
        In how many equal parts of the time they are counted.
    axes : sequence of two matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Returns
    -------
    ndarray of matplotlib Axes, shape (2,)
    """
    rates = throughput(result, bins)
    drawn = np.asarray(figure_style.new_axes(2, height=4.4, sharex=True)[:, 0] if axes is None else axes)
    edges = rates.edges / SECOND
    upper, lower = drawn
    upper.set(ylabel="requests/s")
    lower.set(xlabel="time (s)", ylabel="output tokens/s")
    if not rates.arrived.any():
        figure_style.add_note(upper, "no request arrived")
        return drawn
    upper.stairs(rates.arrived, edges, color=figure_style.ORANGE, linewidth=1.2, label="arrived")
    upper.stairs(rates.completed, edges, color=figure_style.BLUE, fill=True, alpha=0.5, label="completed")
    figure_style.add_legend(upper, "above")
    lower.stairs(rates.generated, edges, color=figure_style.GREEN, fill=True, alpha=0.6)
    lower.yaxis.set_major_formatter(figure_style.NUMBERS)
    for ax in drawn:
        ax.set_ylim(0, None)
    figure_style.set_title(upper, f"counted every {figure_style.span(rates.edges[1])}")
    return drawn
