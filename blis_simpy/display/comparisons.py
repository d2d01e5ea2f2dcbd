"""Plots of several runs: a latency over the arrival rate, and differences with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

__all__ = ["plot_differences", "plot_saturation"]

# Ratio of values above which small ones could not be distinguished on a linear axis.
_LOG_FROM = 20
_MARKER = "o"


def plot_saturation(
    rates: ArrayLike,
    values: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    ylabel: str,
    label: str = "",
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a latency over the arrival rate; several calls with the same `ax` draw several curves.

    Parameters
    ----------
    rates : array_like, shape (num_rates,), requests/s
        In any order.
    values : array_like, shape (num_rates,)
        The latency, e.g. its mean over replications.
    low, high : array_like, shape (num_rates,), optional
        Bounds of its interval, drawn as a band.
    ylabel : str
        Label of the values with their unit: ``TTFT p99 (ms)``.
    label : str
        Name of the curve.
    target : float, optional
        Limit of the latency, drawn as a line.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure. The axis of values is logarithmic if they cover a wide range.

    Raises
    ------
    ScenarioError
        If the lengths differ.
    """
    given = {"rates": rates, "values": values, "low": low, "high": high}
    columns = _columns({name: column for name, column in given.items() if column is not None})
    order = np.argsort(columns["rates"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    ax = figure_style.one(ax, 3.8)
    num_curves = sum(line.get_marker() == _MARKER for line in ax.get_lines())
    *_, style = figure_style.line_styles(num_curves + 1)
    ax.plot(columns["rates"], columns["values"], marker=_MARKER, markersize=4, label=label or None, **style)
    if low is not None and high is not None:
        ax.fill_between(
            columns["rates"], columns["low"], columns["high"], color=style["color"], alpha=0.25, linewidth=0
        )
    if target is not None:
        ax.axhline(target, color=figure_style.GREY, linestyle="--", linewidth=1, zorder=1)
        ax.annotate(
            f"target {target:,g}",
            (0, target),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
        )
    positive = columns["values"][columns["values"] > 0]
    if len(positive) and positive.max() > _LOG_FROM * positive.min():
        ax.set_yscale("log")
    elif ax.get_yscale() == "linear":
        ax.set_ylim(0, None, auto=True)  # a later curve may be higher
    ax.yaxis.set_major_formatter(figure_style.NUMBERS)
    ax.set(xlabel="arrival rate (requests/s)", ylabel=ylabel)
    figure_style.add_legend(ax)
    return ax


def plot_differences(
    names: Sequence[str],
    estimates: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    xlabel: str,
    verdicts: Sequence[str] = (),
    reference: float | None = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with their confidence intervals, one row each.

    Parameters
    ----------
    names : sequence of str
        Names of the rows, from the top.
    estimates, low, high : array_like, shape (num_names,)
        Estimates and the bounds of their intervals.
    xlabel : str
        Label of the values with their unit: ``change of TTFT p99 (ms)``.
    verdicts : sequence of str, optional
        Texts beside the rows; rows with equal texts have the same colour.
    reference : float or None, default 0
        Value that means no difference, drawn as a line.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the lengths differ.
    """
    columns = _columns({"estimates": estimates, "low": low, "high": high}, len(names))
    words = list(verdicts) or [""] * len(names)
    _same_lengths({"names": len(names), "verdicts": len(words)})
    ax = figure_style.one(ax, 1.2 + 0.32 * max(len(names), 1))
    if reference is not None:
        ax.axvline(reference, color=figure_style.GREY, linewidth=1, zorder=1)
    kinds = list(dict.fromkeys(words))
    for kind, style in zip(kinds, figure_style.line_styles(len(kinds)), strict=True):
        lines = np.flatnonzero([word == kind for word in words])
        estimate = columns["estimates"][lines]
        ax.errorbar(
            estimate,
            lines,
            # Lists: matplotlib converts an array of one to a number, of which NumPy warns before 2.4.
            xerr=((estimate - columns["low"][lines]).tolist(), (columns["high"][lines] - estimate).tolist()),
            fmt="o",
            color=style["color"],
            capsize=4,
            markersize=5,
        )
    for line, word in enumerate(words):
        ax.annotate(
            word, (1, line), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(range(len(names)), list(names))
    ax.set(xlabel=xlabel, ylim=(max(len(names), 1) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    ax.grid(visible=False, axis="y")
    return ax


def _columns(given: Mapping[str, ArrayLike], length: int | None = None) -> dict[str, NDArray[np.float64]]:
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in given.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    _same_lengths(lengths if length is None else {"names": length, **lengths})
    return columns


def _same_lengths(lengths: Mapping[str, int]) -> None:
    (first, length), *others = lengths.items()
    for name, other in others:
        if other != length:
            raise ScenarioError.at(name, f"must have as many values as {first}, {length}", other)
