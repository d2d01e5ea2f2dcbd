"""Plot of the load of network links over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.result import Result

__all__ = ["plot_links"]

_MOST_LINKS = 6


def plot_links(
    result: Result, links: Sequence[str] | None = None, bins: int = 120, axes: Sequence[Axes] | None = None
) -> NDArray[np.object_]:
    """Draw the load of network links over time.

    Parameters
    ----------
    result : Result
        The run.
    links : sequence of str, optional
        Names of links; default is those with the highest mean load, at most 6.
    bins : int, default 120
        Number of equal parts of the time, of each of which the mean load is drawn.
    axes : sequence of matplotlib Axes, optional
        Axes to draw on, one per link; default is a new figure.

    Returns
    -------
    ndarray of matplotlib Axes, shape (num_links,)
        One Axes without links.
    """
    table = result.links
    means = dict(zip(table["link"].tolist(), table["mean_load"].tolist(), strict=True))
    # Stable, so that of equally loaded links the one used first comes first.
    chosen = sorted(means, key=means.__getitem__, reverse=True)[:_MOST_LINKS] if links is None else list(links)
    count = max(len(chosen), 1)
    given = figure_style.new_axes(count, height=1.2 + 0.9 * count, sharex=True, sharey=True) if axes is None else axes
    drawn = np.ravel(np.asarray(given))
    end = max(result.record.observed_at, 1)
    edges = np.linspace(0, end, bins + 1)
    loads = result.link_loads
    for ax, name in zip(drawn, chosen, strict=False):
        mine = loads["link"] == name
        values = 100 * _mean_loads(loads["at_us"][mine], loads["load"][mine], edges)
        ax.stairs(values, edges / SECOND, color=figure_style.BLUE, fill=True, alpha=0.5)
        ax.set_title(f"{name}: mean {100 * means.get(name, 0.0):.1f}%", loc="left", fontsize="small")
        ax.set_ylim(0, 105)
    if not chosen:
        figure_style.add_note(drawn[0], "no transfer")
    drawn[len(chosen) // 2 if chosen else 0].set_ylabel("load (% of bandwidth)")
    drawn[-1].set_xlabel("time (s)")
    return drawn


def _mean_loads(at: NDArray[np.int64], loads: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of a step function in each interval; it is 0 before its first change."""
    if not len(at):
        return np.zeros(len(edges) - 1)
    # Its integral is linear between its changes.
    integral = np.concatenate(([0.0], np.cumsum(loads[:-1] * np.diff(at))))
    ends = np.searchsorted(at, edges, side="right") - 1
    known = np.where(ends >= 0, integral[ends] + loads[ends] * (edges - at[ends]), 0.0)
    return np.asarray(np.diff(known) / np.diff(edges))
