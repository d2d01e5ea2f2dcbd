"""Plots of a comparison: changes with their intervals, and the runs in pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.display.comparisons import plot_differences
from blis_simpy.display.plot_replications import plot_pairs
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.plot_axes import HEIGHT, WIDE, widen
from blis_simpy.results.metrics import metric_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from blis_simpy.experiment.comparison import Comparison
    from blis_simpy.experiment.verdict import Verdict

__all__ = ["bounded_verdicts", "comparison_height", "is_wide", "plot_comparison", "plot_runs"]


def bounded_verdicts(comparison: Comparison) -> list[Verdict]:
    """Return the verdicts whose relative change has a finite interval, by metric."""
    bounded = [v for v in comparison.verdicts if math.isfinite(v.ratio.low) and math.isfinite(v.ratio.high)]
    return sorted(bounded, key=lambda verdict: comparison.metrics.index(verdict.metric))


def is_wide(verdicts: Sequence[Verdict]) -> bool:
    """Whether to draw changes as ratios on a logarithmic axis."""
    ends = [end for verdict in verdicts for end in (verdict.ratio.low, verdict.ratio.high)]
    return min(ends) > 0 and (max(ends) > WIDE * min(ends) or max(ends) > WIDE / 2)


def comparison_height(verdicts: Sequence[Verdict]) -> float:
    """Return the height of `plot_comparison`, inches."""
    return 1.1 + 0.3 * len(verdicts)


def plot_comparison(comparison: Comparison, metric: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the change of each metric and candidate from the baseline, with its confidence interval.

    Parameters
    ----------
    comparison : Comparison
        Object to draw; verdicts without a finite interval are left out, and named below the others.
    metric : str, optional
        Metric to draw; default is all that the comparison reports.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the comparison does not report the metric.
    """
    if metric is not None and metric not in comparison.metrics:
        raise ScenarioError.at("metric", "is not reported", metric, hint=nearest(str(metric), comparison.metrics))
    bounded = bounded_verdicts(comparison)
    verdicts = [verdict for verdict in bounded if metric in (None, verdict.metric)]
    ax = figure_style.one(ax, comparison_height(verdicts))
    omitted = sorted({v.metric for v in comparison.verdicts if v not in bounded and metric in (None, v.metric)})
    if omitted:
        ax.set_title(f"without an interval: {', '.join(omitted)}", fontsize="small")
    if not verdicts:
        figure_style.add_note(ax, "no change has an interval")
        return ax
    several = len(comparison.candidates) > 1
    names = [f"{v.metric}, {v.candidate}" if several else v.metric for v in verdicts]
    ends = np.array([(v.ratio.estimate, v.ratio.low, v.ratio.high) for v in verdicts]).T
    as_ratio = is_wide(verdicts)
    if as_ratio:
        label, reference = f"divided by that of {comparison.baseline}", 1.0
    else:
        ends, label, reference = 100 * (ends - 1), f"change from {comparison.baseline} (%)", 0.0
    findings = [v.finding for v in verdicts]
    plot_differences(names, *ends, xlabel=label, verdicts=findings, reference=reference, ax=ax)
    if as_ratio:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    return ax


def plot_runs(comparison: Comparison, metric: str, ax: Axes | None = None) -> Axes:
    """Draw a metric of every run; lines join runs with the same seed."""
    ax = figure_style.one(ax, HEIGHT)
    values = {name: runs.values(metric) for name, runs in comparison.replications.items()}
    plot_pairs(values, ylabel=metric_label(metric), ax=ax)
    widen(ax, np.concatenate(list(values.values())))
    return ax
