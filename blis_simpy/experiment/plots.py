"""Pictures of experiments: changes with their intervals, runs in pairs, curves over settings, the way to a capacity.

They need the extra ``plot``. `Comparison.plot`, `Sweep.plot`, `Capacity.plot` and the reports draw with them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.display.comparisons import plot_differences, plot_saturation
from blis_simpy.display.plot_replications import plot_pairs, plot_points
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.design_points import setting_label
from blis_simpy.experiment.number_format import figure
from blis_simpy.results.metrics import metric_label
from blis_simpy.units import parse_duration, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

    from blis_simpy.experiment.capacity import Capacity
    from blis_simpy.experiment.comparison import Comparison, Verdict
    from blis_simpy.experiment.sweep import Point, Sweep

__all__ = [
    "axes_of",
    "bounded_verdicts",
    "comparison_height",
    "has_single_runs",
    "is_wide",
    "plot_capacity",
    "plot_comparison",
    "plot_runs",
    "plot_sweep",
    "sweep_height",
]

_RATE = "workload.rate"
# From here on a linear axis, or one of percents, would show the largest value only.
_WIDE = 20
_MOST_CURVES = 6
_MOST_LINES = 40
_HEIGHT = 3.6
"""Of a picture with two axes of values, inches."""


# ------------------------------------------------------------------------------------------------ comparisons


def bounded_verdicts(comparison: Comparison) -> list[Verdict]:
    """Those whose relative change has an interval, by metric."""
    bounded = [v for v in comparison.verdicts if math.isfinite(v.ratio.low) and math.isfinite(v.ratio.high)]
    return sorted(bounded, key=lambda verdict: comparison.metrics.index(verdict.metric))


def is_wide(verdicts: Sequence[Verdict]) -> bool:
    """Whether changes are better drawn as ratios, on a logarithmic axis."""
    ends = [end for verdict in verdicts for end in (verdict.ratio.low, verdict.ratio.high)]
    return min(ends) > 0 and (max(ends) > _WIDE * min(ends) or max(ends) > _WIDE / 2)


def comparison_height(verdicts: Sequence[Verdict]) -> float:
    """Height of `plot_comparison`, inches."""
    return 1.1 + 0.3 * len(verdicts)


def plot_comparison(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Draw the change of each metric and candidate from the baseline, with its confidence interval.

    Parameters
    ----------
    comparison : Comparison
        What to draw; what has no interval is left out.
    ax : matplotlib Axes, optional
        Where to; a new figure unless given.
    """
    verdicts = bounded_verdicts(comparison)
    ax = _axes(ax, comparison_height(verdicts))
    if not verdicts:
        figure_style.say(ax, "no change has an interval")
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
    """Draw a metric of every run, runs with one seed joined by a line."""
    ax = _axes(ax, _HEIGHT)
    values = {name: runs.values(metric) for name, runs in comparison.replications.items()}
    plot_pairs(values, ylabel=metric_label(metric), ax=ax)
    _widen(ax, np.concatenate(list(values.values())))
    return ax


# ------------------------------------------------------------------------------------------------ sweeps


def axes_of(sweep: Sweep) -> list[str | None]:
    """Choose the settings to draw a sweep over, one picture each; None is a picture with a line a point."""
    numbers = _numeric(sweep)
    axis = _axis(numbers)
    if axis is not None and _forms_curves(sweep, axis):
        return [axis]
    if numbers:
        return list(numbers)
    return [None] if len(sweep) <= _MOST_LINES else []


def sweep_height(sweep: Sweep, over: str | None) -> float:
    """Height of `plot_sweep`, inches."""
    return _HEIGHT if over is not None else 1.1 + 0.3 * len(sweep)


def plot_sweep(sweep: Sweep, metric: str, over: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a metric over a setting, with confidence bands; a curve for each choice of the other settings.

    Parameters
    ----------
    sweep : Sweep
        What to draw.
    metric : str
        One of its metrics.
    over : str, optional
        A setting with numbers; unless given, the one with the most values. Where there is none, each point is a line.
    ax : matplotlib Axes, optional
        Where to; a new figure unless given.

    Raises
    ------
    ScenarioError
        If the sweep has no such metric, or no such setting with numbers.
    """
    if metric not in sweep.metrics:
        raise ScenarioError.at("metric", "is unknown", metric, hint=nearest(metric, tuple(sweep.metrics)))
    numbers = _numeric(sweep)
    if over is not None and over not in numbers:
        raise ScenarioError.at("over", "is no setting of the sweep that has numbers", over, hint=nearest(over, numbers))
    axis = over or _axis(numbers)
    ax = _axes(ax, sweep_height(sweep, axis))
    if axis is None:
        _draw_lines(sweep, metric, ax)
    elif _forms_curves(sweep, axis):
        _draw_curves(sweep, metric, axis, numbers[axis], ax)
    else:
        _draw_points(sweep, metric, axis, numbers[axis], ax)
    return ax


def _numeric(sweep: Sweep) -> dict[str, list[float]]:
    return {path: found for path in sweep.settings if (found := _numbers(sweep.points, path)) is not None}


def _axis(numbers: Mapping[str, Sequence[float]]) -> str | None:
    return max(numbers, key=lambda path: (len(set(numbers[path])), path == _RATE), default=None)


def _forms_curves(sweep: Sweep, axis: str) -> bool:
    return len(_others(sweep, axis)) <= _MOST_CURVES and len(_others(sweep, axis)) < len(sweep)


def _others(sweep: Sweep, axis: str) -> dict[str, list[int]]:
    """Points of each curve, by what it is called."""
    others: dict[str, list[int]] = {}
    for index, point in enumerate(sweep.points):
        rest = ", ".join(f"{path}={setting_label(value)}" for path, value in point.settings.items() if path != axis)
        others.setdefault(rest, []).append(index)
    return others


def _numbers(points: Iterable[Point], path: str) -> list[float] | None:
    """Values of a setting as numbers, if they are such, and not all the same."""
    found = [_number(point.settings.get(path)) for point in points]
    numbers = [number for number in found if number is not None]
    return numbers if len(numbers) == len(found) and len(set(numbers)) > 1 else None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        for read in (parse_rate, parse_duration):
            try:
                return read(value)
            except ValueError:
                continue
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def has_single_runs(sweep: Sweep) -> bool:
    """Whether no point was simulated twice, so that there are no intervals."""
    return all(len(point.replications) < 2 for point in sweep.points)


def _ends(sweep: Sweep, metric: str, indices: Iterable[int]) -> dict[str, Any]:
    intervals = [sweep.points[index].replications.interval(metric) for index in indices]
    ends = {"values": [interval.estimate for interval in intervals]}
    if not has_single_runs(sweep):
        ends |= {"low": [interval.low for interval in intervals], "high": [interval.high for interval in intervals]}
    return ends


def _draw_curves(sweep: Sweep, metric: str, axis: str, numbers: Sequence[float], ax: Axes) -> None:
    for name, indices in _others(sweep, axis).items():
        rates = [numbers[index] for index in indices]
        plot_saturation(rates, **_ends(sweep, metric, indices), ylabel=metric_label(metric), label=name, ax=ax)
    _name_axis(ax, axis, numbers)


def _draw_points(sweep: Sweep, metric: str, path: str, numbers: Sequence[float], ax: Axes) -> None:
    ends = _ends(sweep, metric, range(len(sweep)))
    plot_points(numbers, **ends, xlabel=path, ylabel=metric_label(metric), ax=ax)
    _widen(ax, np.array(ends["values"]))
    _name_axis(ax, path, numbers)


def _draw_lines(sweep: Sweep, metric: str, ax: Axes) -> None:
    ends = _ends(sweep, metric, range(len(sweep)))
    means = ends["values"]
    names = [", ".join(map(setting_label, point.settings.values())) for point in sweep.points]
    low, high = ends.get("low", means), ends.get("high", means)
    plot_differences(names, means, low, high, xlabel=metric_label(metric), reference=None, ax=ax)


# ------------------------------------------------------------------------------------------------ capacities


def plot_capacity(capacity: Capacity, metric: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the values that were tried and the limit that a metric has to keep.

    Parameters
    ----------
    capacity : Capacity
        What to draw.
    metric : str, optional
        One of those with a limit; the first unless given.
    ax : matplotlib Axes, optional
        Where to; a new figure unless given.

    Raises
    ------
    ScenarioError
        If the metric has no limit.
    """
    limits = {limit.metric: limit for limit in capacity.limits}
    if metric is not None and metric not in limits:
        raise ScenarioError.at("metric", "has no limit", metric, hint=nearest(metric, tuple(limits)))
    limit = limits[metric] if metric is not None else capacity.limits[0]
    ax = _axes(ax, _HEIGHT)
    for purpose, label in (("search", "searching"), ("confirm", "confirming, with new seeds")):
        probes = [probe for probe in capacity.probes if probe.purpose == purpose]
        if probes:
            low, high = zip(*(probe.bounds[limit.metric] for probe in probes), strict=True)
            plot_saturation(
                [probe.value for probe in probes],
                [probe.replications.mean(limit.metric) for probe in probes],
                low,
                high,
                ylabel=metric_label(limit.metric),
                label=label,
                target=limit.value if purpose == "search" else None,
                ax=ax,
            )
    if capacity.value is not None:
        ax.axvline(capacity.value, color=figure_style.GREEN, linewidth=1.2, zorder=1)
        ax.annotate(
            figure(capacity.value),
            (capacity.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
        )
    _name_axis(ax, capacity.vary, [probe.value for probe in capacity.probes])
    return ax


# ------------------------------------------------------------------------------------------------ axes


def _axes(ax: Axes | None, height: float) -> Axes:
    return figure_style.new_axes(height=height)[0, 0] if ax is None else ax


def _widen(ax: Axes, values: Any) -> None:
    """Make the axis of values logarithmic where they cover much."""
    positive = values[values > 0]
    if len(positive) and positive.min() == values.min() and positive.max() > _WIDE * positive.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(figure_style.NUMBERS)


def _name_axis(ax: Axes, path: str, numbers: Sequence[float]) -> None:
    if path == _RATE:
        ax.set_xlabel("arrival rate (requests/s)")
    else:
        ax.set_xlabel(path)
    if min(numbers) > 0 and max(numbers) > _WIDE * min(numbers):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    elif all(isinstance(number, int) for number in numbers) and len(set(numbers)) <= 10:
        ax.set_xticks(sorted(set(numbers)))
