"""Plots of replications: one point per run, by scenario or over a setting."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["plot_pairs", "plot_points"]


def plot_pairs(values: Mapping[str, ArrayLike], *, ylabel: str, ax: Axes | None = None) -> Axes:
    """Draw the value of every run, one column per scenario; lines join runs with the same seed, bars mark means.

    Parameters
    ----------
    values : mapping of str to array_like, shape (num_replications,)
        One value per run by name of the scenario, in the order of the seeds.
    ylabel : str
        Label of the values with their unit.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.
    """
    ax = figure_style.one(ax, 3.6)
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    ax.plot(range(len(columns)), np.array(list(columns.values())), color=figure_style.GREY, linewidth=0.6, alpha=0.5)
    styles = figure_style.line_styles(len(columns))
    for place, column, style in zip(count(), columns.values(), styles):
        ax.plot(np.full(len(column), place), column, "o", color=style["color"], markersize=4, alpha=0.7)
        ax.plot([place - 0.18, place + 0.18], [column.mean()] * 2, color=style["color"], linewidth=2.5)
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set(ylabel=ylabel, xlim=(-0.5, len(columns) - 0.5))
    ax.grid(visible=False, axis="x")
    ax.yaxis.set_major_formatter(figure_style.NUMBERS)
    return ax


def plot_points(
    settings: ArrayLike,
    values: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw means over a setting as points, for sweeps in which other settings differ as well.

    Parameters
    ----------
    settings, values : array_like, shape (num_points,)
        The setting and the mean of each point.
    low, high : array_like, shape (num_points,), optional
        Bounds of their intervals.
    xlabel, ylabel : str
        Labels with their units.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.
    """
    ax = figure_style.one(ax, 3.6)
    means = np.asarray(values, dtype=np.float64)
    spread = None if low is None or high is None else (means - np.asarray(low), np.asarray(high) - means)
    ax.errorbar(settings, means, yerr=spread, fmt="o", color=figure_style.BLUE, markersize=4, capsize=2, elinewidth=0.8)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.yaxis.set_major_formatter(figure_style.NUMBERS)
    return ax
