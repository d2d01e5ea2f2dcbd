"""Plot of sweeps over the split of replicas into those that compute prompts and those that decode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.display import figure_style
from blis_simpy.display.comparisons import plot_saturation
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.design_points import setting_label
from blis_simpy.experiment.plot_axes import HEIGHT
from blis_simpy.experiment.plot_sweep import interval_ends
from blis_simpy.results.metrics import higher_is_better, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from blis_simpy.experiment.sweep import Point, Sweep

__all__ = ["plot_splits"]


def plot_splits(sweep: Sweep, metric: str, together: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw a metric over the numbers of prefill and decode replicas, with confidence bands.

    There is one curve for each combination of the settings that are not numbers of replicas. The splits are in the
    order of the fraction of prefill replicas; circles mark the best ones of each curve.

    Parameters
    ----------
    sweep : Sweep
        Object to draw.
    metric : str
        One of its metrics.
    together : float, optional
        The metric of replicas that do both, drawn as a line.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the sweep has no such metric, or a point has no groups of the roles prefill and decode.

    Examples
    --------
    >>> splits = [{"groups[0].replicas": n, "groups[1].replicas": 8 - n} for n in range(1, 8)]
    >>> found = sweep(scenario, splits, metrics=["e2e_mean_ms"])  # doctest: +SKIP
    >>> found.plot.splits("e2e_mean_ms")  # doctest: +SKIP
    """
    if metric not in sweep.metrics:
        raise ScenarioError.at("metric", "is unknown", metric, hint=nearest(metric, tuple(sweep.metrics)))
    split_of = [_split(point) for point in sweep.points]
    splits = sorted(set(split_of), key=lambda split: (split[0] / sum(split), split))
    curves: dict[str, list[int]] = {}
    for index, point in enumerate(sweep.points):
        curves.setdefault(_others(point), []).append(index)
    ax = figure_style.one(ax, HEIGHT)
    for name, indices in curves.items():
        places = [splits.index(split_of[index]) for index in indices]
        ends = interval_ends(sweep, metric, indices)
        plot_saturation(places, **ends, ylabel=metric_label(metric), label=name, ax=ax)
        known = [pair for pair in zip(ends["values"], places, strict=True) if not math.isnan(pair[0])]
        if known:
            best, _ = (max if higher_is_better(metric) else min)(known)
            at = sorted(place for value, place in known if value == best)
            ax.plot(at, [best] * len(at), "o", markersize=11, markerfacecolor="none", color=figure_style.GREY)
    if together is not None:
        ax.axhline(together, color=figure_style.GREY, linestyle="--", linewidth=1, label="replicas that do both")
    ax.set_xticks(range(len(splits)), [f"{prefill}+{decode}" for prefill, decode in splits])
    ax.set_xlabel("prefill + decode replicas")
    if together is not None or any(curves):
        figure_style.add_legend(ax)
    return ax


def _split(point: Point) -> tuple[int, int]:
    """Return the numbers of prefill and of decode replicas of a point."""
    groups = point.replications.scenario.groups
    prefill, decode = (sum(group.replicas for group in groups if group.role == role) for role in ("prefill", "decode"))
    if not (prefill and decode):
        raise ScenarioError.at(f"point {point}", "must have groups of the roles prefill and decode")
    return prefill, decode


def _others(point: Point) -> str:
    """Return the settings of a point that are not numbers of replicas, as the name of its curve."""
    others = {path: value for path, value in point.settings.items() if not path.endswith(".replicas")}
    return ", ".join(f"{path}={setting_label(value)}" for path, value in others.items())
