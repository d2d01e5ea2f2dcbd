"""Sweep: one scenario over a range of settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.experiment.design_points import changed_scenario, design_points, label, setting_label
from blis_simpy.experiment.findings import ExperimentFindings, column_of
from blis_simpy.experiment.number_format import check_count, check_fraction, format_number, format_percent
from blis_simpy.experiment.replications import Replications
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.seeds import replication_seeds
from blis_simpy.results.metrics import higher_is_better

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from blis_simpy.experiment.runner import Options
    from blis_simpy.plain_values import DataFrame
    from blis_simpy.scenario import Scenario

__all__ = ["Point", "Sweep", "sweep"]


@attrs.frozen
class Point:
    """One combination of settings.

    Attributes
    ----------
    settings : dict of str to object
        Changed settings, by dotted path.
    replications : Replications
        Scenario and figures.
    """

    settings: dict[str, Any]
    replications: Replications

    def __str__(self) -> str:
        return label(self.settings)


class Sweep(ExperimentFindings):
    """Figures of a scenario over a range of settings.

    Attributes
    ----------
    points : list of Point
        Points in the order of the design.
    metrics : tuple of str
        Metrics that are reported; others can be asked for by name.
    confidence : float, fraction
        Confidence of the intervals.
    """

    _kind = "sweep"
    _default_plot = "curves"

    def __init__(self, points: Sequence[Point], *, metrics: tuple[str, ...], confidence: float = 0.95) -> None:
        self.points = list(points)
        self.metrics = metrics
        self.confidence = confidence

    def __len__(self) -> int:
        return len(self.points)

    @property
    def settings(self) -> tuple[str, ...]:
        """Dotted paths of the settings that were changed."""
        return tuple(dict.fromkeys(path for point in self.points for path in point.settings))

    @property
    def runs(self) -> dict[str, NDArray[Any]]:
        """One row per run as columns: index of the ``point``, its settings, columns of `Replications.runs`."""
        tables = [point.replications.runs for point in self.points]
        counts = [len(point.replications) for point in self.points]
        settings = {path: column_of([point.settings.get(path) for point in self.points]) for path in self.settings}
        return {
            "point": np.repeat(np.arange(len(self.points)), counts),
            **{path: np.repeat(column, counts) for path, column in settings.items()},
            **{name: np.concatenate([table[name] for table in tables]) for name in tables[0]},
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per point: its settings, ``replications``, and each metric as ``_mean``, ``_low``, ``_high``."""
        rows = []
        for point in self.points:
            row: dict[str, Any] = {path: point.settings.get(path) for path in self.settings}
            row |= {"replications": len(point.replications)}
            for metric in self.metrics:
                interval = point.replications.interval(metric)
                row |= {
                    f"{metric}_mean": interval.estimate,
                    f"{metric}_low": interval.low,
                    f"{metric}_high": interval.high,
                }
            rows.append(row)
        return rows

    def best(self, metric: str, *, maximise: bool | None = None) -> Point:
        """Return the point with the best mean, whether or not it is significantly better than the others.

        Parameters
        ----------
        metric : str
            Name of the metric; points with a run without a value are left out.
        maximise : bool, optional
            Whether the largest mean is the best; default is the direction of the metric.

        Raises
        ------
        ScenarioError
            If the metric was not measured, or no point has it.
        """
        more = higher_is_better(metric) if maximise is None else maximise
        means = [(point.replications.mean(metric), index) for index, point in enumerate(self.points)]
        known = [(-mean if more else mean, index) for mean, index in means if not math.isnan(mean)]
        if not known:
            raise ScenarioError.at("metric", "is missing in some runs of every point", metric)
        return self.points[min(known)[1]]

    def table(self) -> TextTable:
        """Return settings and means with the half-widths of their intervals."""
        columns = [TextColumn(path, align="left") for path in self.settings]
        columns += [TextColumn(metric) for metric in self.metrics]
        rows = []
        for point in self.points:
            row = [setting_label(point.settings[path]) if path in point.settings else "" for path in self.settings]
            for metric in self.metrics:
                interval = point.replications.interval(metric)
                spread = f" ± {format_number(interval.half_width, 3)}" if math.isfinite(interval.half_width) else ""
                row.append(format_number(interval.estimate) + spread)
            rows.append(row)
        return TextTable(columns, rows, title=self._title())

    def _title(self) -> str:
        counts = {len(point.replications) for point in self.points}
        each = f", {max(counts)} replications each, {format_percent(self.confidence, 4)}" if max(counts) > 1 else ""
        return f"{len(self):,} points{each}"


def sweep(
    scenario: Scenario,
    grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | DataFrame,
    *,
    replications: int = 1,
    design: str = "grid",
    samples: int | None = None,
    confidence: float = 0.95,
    seed: int | None = None,
    **options: Unpack[Options],
) -> Sweep:
    """Simulate a scenario over a range of settings.

    Parameters
    ----------
    scenario : Scenario
        The settings that do not change.
    grid : mapping of str to sequence or Range, iterable of mappings, or DataFrame
        Values to combine, by dotted path: ``{"replicas": [1, 2], "workload.rate": [5, 10]}``. For the other designs a
        `Range`, ``(low, high)``, or a list of values to choose from. A list may be a range or an array. Or the points
        themselves, as mappings or as the rows of a data frame. ``workload.rate`` is
        also the rate of a workload specification.
    replications : int
        Number of runs of each point. All points have the same seeds, hence the same random numbers.
    design : {"grid", "latin-hypercube", "sobol"}
        All combinations, or points that fill the space evenly.
    samples : int, optional
        Number of points of the latter two designs; a power of two for Sobol points.
    confidence : float, fraction
        Confidence of the intervals.
    seed : int, optional
        Seed of the experiment and of the design; default is that of the scenario.
    **options
        Options of all experiments, see `blis_simpy.experiment.runner.Options`.

    Returns
    -------
    Sweep
        Figures of all points.

    Raises
    ------
    ScenarioError
        If a setting does not exist or a value is wrong, before anything is simulated; or if a point cannot be
        simulated, which the message names.
    PluginError
        If a plug-in cannot be pickled for the workers, or the function of a metric does not return a number.

    Examples
    --------
    >>> scenario = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=20, num_requests=50))
    >>> found = sweep(scenario, {"replicas": [1, 2], "workload.rate": [20, 60]}, executor="serial")
    >>> len(found), found.best("ttft_p99_ms").settings["replicas"]
    (4, 2)
    """
    replications = check_count("replications", replications, 1)
    confidence = check_fraction("confidence", confidence)
    base = scenario.seed if seed is None else seed
    seeds = replication_seeds(base, replications)
    points = design_points(grid, design, samples, base)
    if any("seed" in point for point in points):
        raise ScenarioError(
            Problem(path="grid['seed']", rule="cannot be varied: each replication has a seed of its own")
        )
    scenarios = []
    problems = []
    for point in points:
        try:
            scenarios.append(changed_scenario(scenario, point))
        except ScenarioError as error:
            problems += [attrs.evolve(problem, file=label(point)) for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    jobs = [
        Job(changed, new, label=label(point)) for point, changed in zip(points, scenarios, strict=True) for new in seeds
    ]
    with Runner(**options) as runner:
        found = runner.run(jobs, "sweeping")
    names = runner.metrics.names
    return Sweep(
        [
            Point(
                point,
                Replications(
                    changed,
                    seeds,
                    found[index * replications : (index + 1) * replications],
                    metrics=names,
                    confidence=confidence,
                ),
            )
            for index, (point, changed) in enumerate(zip(points, scenarios, strict=True))
        ],
        metrics=names,
        confidence=confidence,
    )
