"""Plots of sweeps: a metric over a setting, with confidence bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import figure_style
from blis_simpy.display.comparisons import plot_differences, plot_saturation
from blis_simpy.display.plot_replications import plot_points
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.design_points import setting_label
from blis_simpy.experiment.plot_axes import HEIGHT, RATE, name_axis, widen
from blis_simpy.results.metrics import metric_label
from blis_simpy.units import parse_duration, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

    from blis_simpy.experiment.sweep import Point, Sweep

__all__ = ["axes_of", "has_single_runs", "interval_ends", "plot_sweep", "sweep_height"]

_MOST_CURVES = 6
_MOST_LINES = 40


def axes_of(sweep: Sweep) -> list[str | None]:
    """Choose the settings to draw a sweep over, one plot each; None is a plot with one row per point."""
    numbers = _numeric(sweep)
    axis = _axis(numbers)
    if axis is not None and _forms_curves(sweep, axis):
        return [axis]
    if numbers:
        return list(numbers)
    return [None] if len(sweep) <= _MOST_LINES else []


def sweep_height(sweep: Sweep, over: str | None) -> float:
    """Return the height of `plot_sweep`, inches."""
    return HEIGHT if over is not None else 1.1 + 0.3 * len(sweep)


def plot_sweep(sweep: Sweep, metric: str, over: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a metric over a setting, with confidence bands; one curve for each combination of the other settings.

    Parameters
    ----------
    sweep : Sweep
        Object to draw.
    metric : str
        One of its metrics.
    over : str, optional
        Numeric setting; default is the one with the most values. Without any, each point is a row.
    ax : matplotlib Axes, optional
        Axes to draw on; default is a new figure.

    Raises
    ------
    ScenarioError
        If the sweep has no such metric or numeric setting.
    """
    if metric not in sweep.metrics:
        raise ScenarioError.at("metric", "is unknown", metric, hint=nearest(metric, tuple(sweep.metrics)))
    numbers = _numeric(sweep)
    if over is not None and over not in numbers:
        raise ScenarioError.at("over", "is not a numeric setting of the sweep", over, hint=nearest(over, numbers))
    axis = over or _axis(numbers)
    ax = figure_style.one(ax, sweep_height(sweep, axis))
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
    return max(numbers, key=lambda path: (len(set(numbers[path])), path == RATE), default=None)


def _forms_curves(sweep: Sweep, axis: str) -> bool:
    return len(_others(sweep, axis)) <= _MOST_CURVES and len(_others(sweep, axis)) < len(sweep)


def _others(sweep: Sweep, axis: str) -> dict[str, list[int]]:
    """Return the indices of the points of each curve, by its name."""
    others: dict[str, list[int]] = {}
    for index, point in enumerate(sweep.points):
        rest = ", ".join(f"{path}={setting_label(value)}" for path, value in point.settings.items() if path != axis)
        others.setdefault(rest, []).append(index)
    return others


def _numbers(points: Iterable[Point], path: str) -> list[float] | None:
    """Return the values of a setting as numbers; None if some are not numeric, or all are equal."""
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
    """Whether every point has one run only, so that there are no intervals."""
    return all(len(point.replications) < 2 for point in sweep.points)


def interval_ends(sweep: Sweep, metric: str, indices: Iterable[int]) -> dict[str, Any]:
    """Return the means of some points as ``values``, and bounds of their intervals, if any, as ``low`` and ``high``."""
    intervals = [sweep.points[index].replications.interval(metric) for index in indices]
    ends = {"values": [interval.estimate for interval in intervals]}
    if not has_single_runs(sweep):
        ends |= {"low": [interval.low for interval in intervals], "high": [interval.high for interval in intervals]}
    return ends


def _draw_curves(sweep: Sweep, metric: str, axis: str, numbers: Sequence[float], ax: Axes) -> None:
    for name, indices in _others(sweep, axis).items():
        rates = [numbers[index] for index in indices]
        plot_saturation(rates, **interval_ends(sweep, metric, indices), ylabel=metric_label(metric), label=name, ax=ax)
    name_axis(ax, axis, numbers)


def _draw_points(sweep: Sweep, metric: str, path: str, numbers: Sequence[float], ax: Axes) -> None:
    ends = interval_ends(sweep, metric, range(len(sweep)))
    plot_points(numbers, **ends, xlabel=path, ylabel=metric_label(metric), ax=ax)
    widen(ax, np.array(ends["values"]))
    name_axis(ax, path, numbers)


def _draw_lines(sweep: Sweep, metric: str, ax: Axes) -> None:
    ends = interval_ends(sweep, metric, range(len(sweep)))
    means = ends["values"]
    names = [", ".join(map(setting_label, point.settings.values())) for point in sweep.points]
    low, high = ends.get("low", means), ends.get("high", means)
    plot_differences(names, means, low, high, xlabel=metric_label(metric), reference=None, ax=ax)
