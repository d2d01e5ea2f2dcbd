"""HTML reports of experiments: findings, plots, and the settings and seeds to repeat them."""

from __future__ import annotations

from functools import partial, singledispatch
from itertools import islice
from typing import TYPE_CHECKING, Any

from blis_simpy.display.report_page import Fold, Picture, ReportSection, report_html
from blis_simpy.display.text_table import Strong, TextColumn, TextTable
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.experiment.capacity import Capacity
from blis_simpy.experiment.comparison import Comparison
from blis_simpy.experiment.design_points import setting_label
from blis_simpy.experiment.number_format import format_number, format_percent
from blis_simpy.experiment.plot_capacity import plot_capacity
from blis_simpy.experiment.plot_comparison import (
    bounded_verdicts,
    comparison_height,
    is_wide,
    plot_comparison,
    plot_runs,
)
from blis_simpy.experiment.plot_sweep import axes_of, has_single_runs, plot_sweep, sweep_height
from blis_simpy.experiment.sweep import Sweep
from blis_simpy.results.metrics import metric_label
from blis_simpy.settings.serialize import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from blis_simpy.display.text_table import Line
    from blis_simpy.scenario import Scenario

__all__ = ["report"]

_MOST_LINES = 40


@singledispatch
def report(thing: object) -> str:
    """Render the report of an experiment as an HTML page.

    Raises
    ------
    PluginError
        If there is no report on objects of this type, or matplotlib is not installed.
    """
    raise PluginError.at("renderer 'report'", f"cannot render objects of type {type(thing).__name__}")


@report.register
def _of_comparison(comparison: Comparison) -> str:
    """Make the report of a comparison."""
    pairs = [
        Picture(
            partial(plot_runs, comparison, metric),
            caption=f"{metric_label(metric)} of every run. Lines join runs with the same seed; bars are means.",
            alt=f"{metric}, means: "
            + ", ".join(f"{name} {format_number(runs.mean(metric))}" for name, runs in comparison.replications.items()),
        )
        for metric in comparison.metrics
    ]
    sections = [
        ReportSection("Verdicts", [comparison.table(), *_changes(comparison)]),
        ReportSection("Runs", pairs),
        ReportSection("Scenarios", [*_compared(comparison)]),
    ]
    title = f"{', '.join(comparison.candidates)} compared with {comparison.baseline}"
    return report_html(title, [*_findings(comparison)], sections)


def _findings(comparison: Comparison) -> Iterator[Line]:
    for candidate in comparison.candidates:
        found: dict[str, list[str]] = {}
        for verdict in comparison.verdicts:
            if verdict.candidate == candidate:
                found.setdefault(verdict.finding, []).append(verdict.metric)
        order = [name for name in ("lower", "higher", "the same", "not decided") if name in found]
        yield (Strong(candidate), ": ", "; ".join(f"{name}: {', '.join(found[name])}" for name in order))
    if not comparison.same_traffic:
        yield ("The scenarios did not receive the same requests: differences are also due to the traffic.",)


def _changes(comparison: Comparison) -> Iterator[Picture]:
    shown = bounded_verdicts(comparison)
    if not shown:
        return
    what, level = "Ratio to" if is_wide(shown) else "Change from", format_percent(comparison.confidence, 4)
    left_out = len(comparison.verdicts) - len(shown)
    yield Picture(
        partial(plot_comparison, comparison, None),
        caption=f"{what} {comparison.baseline} with {level} confidence intervals."
        + (f" {left_out} without a finite interval left out." if left_out else ""),
        alt="; ".join(map(str, shown)),
        height=comparison_height(shown),
    )


def _compared(comparison: Comparison) -> Iterator[Line | TextTable | Fold]:
    scenarios = {name: runs.scenario for name, runs in comparison.replications.items()}
    yield from _differing(scenarios)
    for name, scenario in scenarios.items():
        yield Fold(f"Scenario {name}", _yaml(scenario))
    yield _seeds(comparison.replications[comparison.baseline].seeds)


def _differing(scenarios: Mapping[str, Scenario]) -> Iterator[Line | TextTable]:
    """Yield a table of the settings that differ between scenarios, if they can be written as YAML."""
    try:
        written = {name: dict(_leaves(to_plain(scenario, complete=True))) for name, scenario in scenarios.items()}
    except ScenarioError:
        return
    paths = [path for path in dict.fromkeys(path for leaves in written.values() for path in leaves) if path != "seed"]
    rows = []
    for path in paths:
        values = [leaves.get(path) for leaves in written.values()]
        if any(value != values[0] for value in values):
            rows.append((path, *("-" if value is None else setting_label(value) for value in values)))
    if rows:
        columns = [TextColumn("setting", align="left"), *(TextColumn(name, align="left") for name in written)]
        yield TextTable(columns, rows[:_MOST_LINES], title="Settings that differ")
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


@report.register
def _of_sweep(sweep: Sweep) -> str:
    """Make the report of a sweep."""
    scenarios = [point.replications.scenario for point in sweep.points]
    sections = [
        ReportSection("Points", [*_curves(sweep), sweep.table()]),
        ReportSection(
            "Scenario",
            [Fold("Scenario of the first point", _yaml(scenarios[0])), _seeds(sweep.points[0].replications.seeds)],
        ),
    ]
    return report_html(f"Sweep over {', '.join(sweep.settings)}", [*_best(sweep)], sections)


def _best(sweep: Sweep) -> Iterator[Line]:
    for metric in sweep.metrics:
        try:
            best = sweep.best(metric)
        except ScenarioError:
            continue
        yield (f"Best {metric_label(metric)}: ", Strong(format_number(best.replications.mean(metric))), f" at {best}")


def _curves(sweep: Sweep) -> Iterator[Picture]:
    for over in axes_of(sweep):
        for metric in sweep.metrics:
            yield _picture(sweep, metric, over)


def _picture(sweep: Sweep, metric: str, over: str | None) -> Picture:
    rows = ((str(point), format_number(point.replications.mean(metric))) for point in sweep.points)
    bands = "" if has_single_runs(sweep) else f", with {format_percent(sweep.confidence, 4)} confidence intervals"
    return Picture(
        partial(plot_sweep, sweep, metric, over),
        caption=f"{metric_label(metric)} over {over or ', '.join(sweep.settings)}{bands}.",
        alt=f"{metric} at " + "; ".join(f"{point}: {mean}" for point, mean in islice(rows, _MOST_LINES)),
        height=sweep_height(sweep, over),
    )


@report.register
def _of_capacity(capacity: Capacity) -> str:
    """Make the report of a search for a capacity."""
    pictures = [
        Picture(
            partial(plot_capacity, capacity, limit.metric),
            caption=f"{metric_label(limit.metric)} over {capacity.vary}: means, with bounds at"
            f" {format_percent(capacity.confidence, 4)} confidence each. The dashed line is the limit.",
            alt="; ".join(
                f"{capacity.vary} {format_number(probe.value)}: {format_number(probe.replications.mean(limit.metric))}"
                for probe in capacity.probes
            ),
        )
        for limit in capacity.limits
    ]
    scenario = capacity.probes[-1].replications.scenario
    seeds = [seed for probe in capacity.probes for seed in probe.replications.seeds]
    sections = [
        ReportSection("Probes", [*pictures, _without_title(capacity.table())]),
        ReportSection(
            "Scenario",
            [Fold(f"Scenario at the last value of {capacity.vary}", _yaml(scenario)), _seeds(seeds)],
        ),
    ]
    outcome = str(capacity)
    level = " and ".join(map(str, capacity.limits))
    return report_html(
        f"Capacity: {capacity.vary} with {level}", [(Strong(outcome[0].upper() + outcome[1:]),)], sections
    )


def _without_title(table: TextTable) -> TextTable:
    return TextTable(table.columns, table.rows)


def _yaml(scenario: Scenario) -> str:
    try:
        return scenario.to_yaml()
    except ScenarioError as error:
        return "\n".join(map(str, error.problems))


def _seeds(seeds: Iterable[int]) -> Fold:
    distinct = list(dict.fromkeys(seeds))
    what = "Seed of the run" if len(distinct) == 1 else f"Seeds of the {len(distinct):,} replications"
    return Fold(what, "\n".join(map(str, distinct)))
