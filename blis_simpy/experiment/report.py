"""Reports of experiments, for people without Python: what was found, pictures, and all it takes to repeat it."""

from __future__ import annotations

import math
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display import canvas
from blis_simpy.display.comparisons import plot_differences, plot_saturation
from blis_simpy.display.plot_replications import plot_pairs, plot_points
from blis_simpy.display.report_page import Fold, Picture, Section, write_report
from blis_simpy.display.tables import Column, Strong, Table
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.designs import setting_label
from blis_simpy.experiment.figures import figure, percent
from blis_simpy.metrics.selection import split_latency
from blis_simpy.settings.plain import plain
from blis_simpy.units import parse_duration, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from matplotlib.axes import Axes

    from blis_simpy.display.tables import Line
    from blis_simpy.experiment.capacity import Capacity, Limit
    from blis_simpy.experiment.comparison import Comparison, Verdict
    from blis_simpy.experiment.sweep import Point, Sweep
    from blis_simpy.scenario import Scenario

__all__ = ["metric_label", "write_capacity", "write_comparison", "write_sweep"]

_UNITS = {"requests_per_s": "requests/s", "output_tokens_per_s": "output tokens/s", "duration_s": "duration (s)"}
_RATE = "workload.rate"
# From here on a linear axis, or one of percents, would show the largest value only.
_WIDE = 20
_MOST_CURVES = 6
_MOST_LINES = 40


def metric_label(metric: str) -> str:
    """Name a metric in pictures, with its unit.

    Examples
    --------
    >>> metric_label("ttft_p99_ms"), metric_label("scheduling_delay_mean_ms"), metric_label("completed")
    ('TTFT p99 (ms)', 'scheduling delay mean (ms)', 'completed')
    """
    latency = split_latency(metric)
    if latency is None:
        return _UNITS.get(metric, metric.replace("_", " "))
    name = latency[0].upper() if len(latency[0]) < 5 else latency[0].replace("_", " ")
    return f"{name} {'mean' if latency[1] is None else f'p{latency[1]:g}'} (ms)"


def write_comparison(comparison: Comparison, path: str | PathLike[str]) -> None:
    """Write the report of a comparison.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    PluginError
        If matplotlib is not installed.
    """
    pairs = [
        Picture(
            partial(_draw_pairs, comparison, metric),
            caption=f"{metric_label(metric)} of every run. Lines join runs with the same seed; bars are means.",
            alt=f"{metric}, means: "
            + ", ".join(f"{name} {figure(runs.mean(metric))}" for name, runs in comparison.replications.items()),
        )
        for metric in comparison.metrics
    ]
    sections = [
        Section("Verdicts", [comparison.table(), *_changes(comparison)]),
        Section("Runs", pairs),
        Section("What was compared", [*_compared(comparison)]),
    ]
    title = f"{', '.join(comparison.candidates)} compared with {comparison.baseline}"
    write_report(path, title, [*_findings(comparison)], sections)


def _findings(comparison: Comparison) -> Iterator[Line]:
    for candidate in comparison.candidates:
        found: dict[str, list[str]] = {}
        for verdict in comparison.verdicts:
            if verdict.candidate == candidate:
                found.setdefault(verdict.finding, []).append(verdict.metric)
        order = [name for name in ("lower", "higher", "the same", "not decided") if name in found]
        yield (Strong(candidate), ": ", "; ".join(f"{name}: {', '.join(found[name])}" for name in order))
    if not comparison.same_traffic:
        yield ("The scenarios were not sent the same requests: differences are also those of the traffic.",)


def _changes(comparison: Comparison) -> Iterator[Picture]:
    shown = [verdict for verdict in comparison.verdicts if _is_bounded(verdict)]
    shown.sort(key=lambda verdict: comparison.metrics.index(verdict.metric))
    if not shown:
        return
    ends = [end for verdict in shown for end in (verdict.ratio.low, verdict.ratio.high)]
    wide = min(ends) <= 0 or max(ends) > _WIDE * min(ends) or max(ends) > _WIDE / 2
    as_ratio = wide and min(ends) > 0
    level = percent(comparison.confidence, 4)
    left_out = len(comparison.verdicts) - len(shown)
    yield Picture(
        partial(_draw_changes, comparison, shown, as_ratio),
        caption=f"{'Ratio to' if as_ratio else 'Change from'} {comparison.baseline} with {level} confidence intervals."
        + (f" {left_out} without an interval left out." if left_out else ""),
        alt="; ".join(map(str, shown)),
        height=1.1 + 0.3 * len(shown),
    )


def _is_bounded(verdict: Verdict) -> bool:
    return math.isfinite(verdict.ratio.low) and math.isfinite(verdict.ratio.high)


def _draw_changes(comparison: Comparison, verdicts: Sequence[Verdict], as_ratio: bool, ax: Axes) -> None:
    several = len(comparison.candidates) > 1
    names = [f"{v.metric}, {v.candidate}" if several else v.metric for v in verdicts]
    ends = np.array([(v.ratio.estimate, v.ratio.low, v.ratio.high) for v in verdicts]).T
    if as_ratio:
        label, reference = f"divided by that of {comparison.baseline}", 1.0
    else:
        ends, label, reference = 100 * (ends - 1), f"change from {comparison.baseline} (%)", 0.0
    findings = [v.finding for v in verdicts]
    plot_differences(names, *ends, xlabel=label, verdicts=findings, reference=reference, ax=ax)
    if as_ratio:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(canvas.NUMBERS)


def _draw_pairs(comparison: Comparison, metric: str, ax: Axes) -> None:
    values = {name: runs.values(metric) for name, runs in comparison.replications.items()}
    plot_pairs(values, ylabel=metric_label(metric), ax=ax)
    _widen(ax, np.concatenate(list(values.values())))


def _compared(comparison: Comparison) -> Iterator[Line | Table | Fold]:
    scenarios = {name: runs.scenario for name, runs in comparison.replications.items()}
    yield from _differing(scenarios)
    for name, scenario in scenarios.items():
        yield Fold(f"Scenario {name}", _yaml(scenario))
    yield _seeds(comparison.replications[comparison.baseline].seeds)


def _differing(scenarios: Mapping[str, Scenario]) -> Iterator[Line | Table]:
    """Table of the settings that are not the same in all scenarios, as far as they can be written down."""
    try:
        written = {name: dict(_leaves(plain(scenario, complete=True))) for name, scenario in scenarios.items()}
    except ScenarioError:
        return
    paths = [path for path in dict.fromkeys(path for leaves in written.values() for path in leaves) if path != "seed"]
    rows = []
    for path in paths:
        values = [leaves.get(path) for leaves in written.values()]
        if any(value != values[0] for value in values):
            rows.append((path, *("-" if value is None else setting_label(value) for value in values)))
    if rows:
        columns = [Column("setting", align="left"), *(Column(name, align="left") for name in written)]
        yield Table(columns, rows[:_MOST_LINES], title="Settings that differ")
    if len(rows) > _MOST_LINES:
        yield (f"{len(rows) - _MOST_LINES:,} more differ.",)


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and any(isinstance(item, dict) for item in data):
        for index, item in enumerate(data):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, data


def write_sweep(sweep: Sweep, path: str | PathLike[str]) -> None:
    """Write the report of a sweep.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    PluginError
        If matplotlib is not installed.
    """
    scenarios = [point.replications.scenario for point in sweep.points]
    sections = [
        Section("Points", [*_curves(sweep), sweep.table()]),
        Section(
            "What was simulated",
            [Fold("Scenario of the first point", _yaml(scenarios[0])), _seeds(sweep.points[0].replications.seeds)],
        ),
    ]
    write_report(path, f"Sweep over {', '.join(sweep.settings)}", [*_best(sweep)], sections)


def _best(sweep: Sweep) -> Iterator[Line]:
    for metric in sweep.metrics:
        try:
            best = sweep.best(metric)
        except ScenarioError:
            continue
        yield (f"Best {metric_label(metric)}: ", Strong(figure(best.replications.mean(metric))), f" at {best}")


def _curves(sweep: Sweep) -> Iterator[Picture]:
    numbers = {path: found for path in sweep.settings if (found := _numbers(sweep.points, path)) is not None}
    axis = max(numbers, key=lambda path: (len(set(numbers[path])), path == _RATE), default=None)
    if axis is not None:
        others: dict[str, list[int]] = {}
        for index, point in enumerate(sweep.points):
            rest = ", ".join(f"{p}={setting_label(v)}" for p, v in point.settings.items() if p != axis)
            others.setdefault(rest, []).append(index)
        if len(others) <= _MOST_CURVES and len(others) < len(sweep):
            for metric in sweep.metrics:
                yield _picture(sweep, metric, axis, partial(_draw_curves, sweep, metric, axis, numbers[axis], others))
            return
    for path, found in numbers.items():
        for metric in sweep.metrics:
            yield _picture(sweep, metric, path, partial(_draw_points, sweep, metric, path, found))
    if not numbers and len(sweep) <= _MOST_LINES:
        for metric in sweep.metrics:
            drawn = partial(_draw_lines, sweep, metric)
            yield _picture(sweep, metric, ", ".join(sweep.settings), drawn, height=1.1 + 0.3 * len(sweep))


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


def _picture(sweep: Sweep, metric: str, over: str, draw: Any, height: float = 3.6) -> Picture:
    rows = ((str(point), figure(point.replications.mean(metric))) for point in sweep.points)
    alt = "; ".join(f"{point}: {mean}" for point, mean in islice(rows, _MOST_LINES))
    bands = "" if _single(sweep) else f", with {percent(sweep.confidence, 4)} confidence intervals"
    return Picture(draw, caption=f"{metric_label(metric)} over {over}{bands}.", alt=f"{metric} at {alt}", height=height)


def _single(sweep: Sweep) -> bool:
    return all(len(point.replications) < 2 for point in sweep.points)


def _ends(sweep: Sweep, metric: str, indices: Iterable[int]) -> dict[str, Any]:
    intervals = [sweep.points[index].replications.interval(metric) for index in indices]
    ends = {"values": [interval.estimate for interval in intervals]}
    if not _single(sweep):
        ends |= {"low": [interval.low for interval in intervals], "high": [interval.high for interval in intervals]}
    return ends


def _draw_curves(
    sweep: Sweep, metric: str, axis: str, numbers: Sequence[float], others: Mapping[str, list[int]], ax: Axes
) -> None:
    for name, indices in others.items():
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


def _widen(ax: Axes, values: Any) -> None:
    """Make the axis of values logarithmic where they cover much."""
    positive = values[values > 0]
    if len(positive) and positive.min() == values.min() and positive.max() > _WIDE * positive.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(canvas.NUMBERS)


def _name_axis(ax: Axes, path: str, numbers: Sequence[float]) -> None:
    if path == _RATE:
        ax.set_xlabel("arrival rate (requests/s)")
    else:
        ax.set_xlabel(path)
    if min(numbers) > 0 and max(numbers) > _WIDE * min(numbers):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(canvas.NUMBERS)
    elif all(isinstance(number, int) for number in numbers) and len(set(numbers)) <= 10:
        ax.set_xticks(sorted(set(numbers)))


def write_capacity(capacity: Capacity, path: str | PathLike[str]) -> None:
    """Write the report of a search for a capacity.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    PluginError
        If matplotlib is not installed.
    """
    pictures = [
        Picture(
            partial(_draw_limit, capacity, limit),
            caption=f"{metric_label(limit.metric)} over {capacity.vary}: means, and bounds that each hold with"
            f" {percent(capacity.confidence, 4)} confidence. The dashed line is the limit.",
            alt="; ".join(
                f"{capacity.vary} {figure(probe.value)}: {figure(probe.replications.mean(limit.metric))}"
                for probe in capacity.probes
            ),
        )
        for limit in capacity.limits
    ]
    scenario = capacity.probes[-1].replications.scenario
    seeds = [seed for probe in capacity.probes for seed in probe.replications.seeds]
    sections = [
        Section("Values that were tried", [*pictures, _without_title(capacity.table())]),
        Section(
            "What was simulated",
            [Fold(f"Scenario at the last value of {capacity.vary}", _yaml(scenario)), _seeds(seeds)],
        ),
    ]
    outcome = str(capacity)
    level = " and ".join(map(str, capacity.limits))
    write_report(
        path, f"Capacity: {capacity.vary} with {level}", [(Strong(outcome[0].upper() + outcome[1:]),)], sections
    )


def _without_title(table: Table) -> Table:
    return Table(table.columns, table.rows)


def _draw_limit(capacity: Capacity, limit: Limit, ax: Axes) -> None:
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
        ax.axvline(capacity.value, color=canvas.GREEN, linewidth=1.2, zorder=1)
        ax.annotate(
            figure(capacity.value),
            (capacity.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
        )
    _name_axis(ax, capacity.vary, [probe.value for probe in capacity.probes])


def _yaml(scenario: Scenario) -> str:
    try:
        return scenario.to_yaml()
    except ScenarioError as error:
        return "\n".join(map(str, error.problems))


def _seeds(seeds: Iterable[int]) -> Fold:
    distinct = list(dict.fromkeys(seeds))
    what = "Seed of the run" if len(distinct) == 1 else f"Seeds of the {len(distinct):,} replications"
    return Fold(what, "\n".join(map(str, distinct)))
