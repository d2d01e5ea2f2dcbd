"""Plots of latency distributions.

Groups of requests are drawn by name; a single group with an empty name is all requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.results.by_label import latencies
from blis_simpy.results.metrics import latency_family
from blis_simpy.results.percentiles import ecdf, histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.result import Result

__all__ = ["plot_ecdf", "plot_ecdfs", "plot_histogram", "plot_latencies"]

_NO_VALUES = "no values"


def plot_latencies(result: Result, by: str | None = None, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
    """Draw the cumulative distributions of TTFT, ITL and E2E side by side.

    Parameters
    ----------
    result : Result
        The run.
    by : str, optional
        A line for each ``replica``, ``slo_class``, ``tenant``, ``model``, ``client``, ``session`` or
        ``prefix_group``.
    axes : sequence of three matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Returns
    -------
    ndarray of matplotlib Axes, shape (3,)

    Raises
    ------
    ScenarioError
        If `by` is unknown.
    """
    groups_of = {metric: latencies(result, metric, by) for metric in ("ttft", "itl", "e2e")}
    drawn = np.asarray(figure_style.new_axes(1, len(groups_of), height=3.0)[0] if axes is None else axes)
    # A group keeps its colour where another one has no values.
    styles = _styles(name for groups in groups_of.values() for name in groups)
    for ax, (metric, groups) in zip(drawn, groups_of.items(), strict=True):
        _draw_steps(ax, groups, styles)
        family = latency_family(metric)
        ax.set_xlabel(f"{family.label} (ms)")
        ax.locator_params(axis="x", nbins=4)
        if not groups:
            figure_style.add_note(ax, _NO_VALUES)
        elif list(groups) == [""]:
            figure_style.set_title(ax, _percentiles(groups[""]))
        ax.set_ylabel(f"share of {family.counted}")
    # Every request that has gaps or an end has a first token.
    figure_style.add_legend(drawn[-1], "beside", of=drawn[0])
    return drawn


def plot_ecdf(result: Result, metric: str = "ttft", by: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the cumulative distribution of a latency.

    Parameters
    ----------
    result : Result
        The run.
    metric : str
        ``ttft``, ``itl``, ``e2e`` or ``scheduling_delay``.
    by : str, optional
        A line for each group, as for `plot_latencies`.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If `metric` or `by` is unknown.
    """
    return _draw_ecdf(latencies(result, metric, by), metric, ax)


def plot_ecdfs(results: Mapping[str, Result], metric: str = "ttft", ax: Axes | None = None) -> Axes:
    """Draw the cumulative distribution of a latency in several runs, a line a run.

    Parameters
    ----------
    results : mapping of str to Result
        Runs by name, at most 28.
    metric, ax
        As for `plot_ecdf`.

    Raises
    ------
    ScenarioError
        If `metric` is unknown.
    """
    found = {name: latencies(result, metric) for name, result in results.items()}
    return _draw_ecdf({name: groups[""] for name, groups in found.items() if groups}, metric, ax)


def plot_histogram(
    result: Result, metric: str = "ttft", by: str | None = None, bins: int = 50, ax: Axes | None = None
) -> Axes:
    """Draw a histogram of a latency; those of several groups as outlines.

    Parameters
    ----------
    result, metric, by, ax
        As for `plot_ecdf`.
    bins : int, default 50
        Number of bins.

    Raises
    ------
    ScenarioError
        If `metric` or `by` is unknown.
    """
    family, groups = latency_family(metric), latencies(result, metric, by)
    ax = figure_style.one(ax, 3.6)
    if groups:
        edges, shares = histogram(groups, bins)
        filled: dict[str, Any] = {"fill": True, "alpha": 0.7} if len(groups) == 1 else {}
        for name, style in _styles(groups).items():
            ax.stairs(shares[name], edges, label=name, **style, **filled)
        width = format(edges[1] - edges[0], ",.3g")
        ax.set_ylabel(f"share of {family.counted} per {width} ms")
    ax.set(xlabel=f"{family.title} (ms)", ylim=(0, None))
    ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    _name_groups(ax, groups)
    return ax


def _draw_ecdf(groups: Mapping[str, Percentiles], metric: str, ax: Axes | None) -> Axes:
    family, ax = latency_family(metric), figure_style.one(ax, 3.6)
    _draw_steps(ax, groups, _styles(groups))
    ax.set(xlabel=f"{family.title} (ms)", ylabel=f"share of {family.counted}")
    _name_groups(ax, groups)
    return ax


def _percentiles(group: Percentiles) -> str:
    return f"p50 {group.percentile_ms(50):,.1f}, p99 {group.percentile_ms(99):,.1f} ms"


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, figure_style.line_styles(len(distinct)), strict=True))


def _draw_steps(ax: Axes, groups: Mapping[str, Percentiles], styles: Mapping[str, Mapping[str, Any]]) -> None:
    for name, group in groups.items():
        values, shares = ecdf(group)
        # From the ground up, so that a single value shows too.
        ax.step(np.append(values[:1], values), np.append(0, shares), where="post", label=name or None, **styles[name])
    ax.set_ylim(0, 1.02)
    ax.xaxis.set_major_formatter(figure_style.NUMBERS)


def _name_groups(ax: Axes, groups: Mapping[str, Percentiles]) -> None:
    """Say how large the values are: in the title, or of several groups in the legend."""
    if not groups:
        figure_style.add_note(ax, _NO_VALUES)
    elif list(groups) == [""]:
        figure_style.set_title(ax, _percentiles(groups[""]))
    else:
        labels = [f"{name}: {_percentiles(group)}" for name, group in groups.items()]
        figure_style.add_legend(ax, "beside" if len(groups) > 3 else "inside", labels)
