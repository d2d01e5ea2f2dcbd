"""Replications: one scenario with many seeds, its figures and their confidence intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.table import Table
from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.findings import Findings
from blis_simpy.experiment.intervals import Interval, bootstrap_interval, t_interval
from blis_simpy.experiment.measurement import Metrics
from blis_simpy.experiment.number_format import check_count, check_fraction, format_number, format_percent
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.seeds import replication_seeds
from blis_simpy.results.metrics import get_metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from blis_simpy.experiment.measurement import Measurement
    from blis_simpy.experiment.runner import Options
    from blis_simpy.scenario import Scenario

__all__ = ["Replications", "replicate"]

FIRST_STAGE = 10
"""Number of replications by default, and of the first ones if a precision is given."""


class Replications(Findings):
    """Figures of one scenario with independent seeds.

    Attributes
    ----------
    scenario : Scenario
        What was simulated.
    seeds : list of int, shape (num_replications,)
        ``scenario.run(seed=seeds[i])`` repeats replication i.
    metrics : tuple of str
        Metrics that are reported; others can be asked for by name.
    confidence : float, fraction
        Default confidence of the intervals.
    measurements : list of Measurement, shape (num_replications,)
        Figures of each run.
    precise : bool or None
        Whether the requested precision was reached; None if none was requested.
    """

    def __init__(
        self,
        scenario: Scenario,
        seeds: Sequence[int],
        measurements: Sequence[Measurement],
        *,
        metrics: Sequence[str],
        confidence: float = 0.95,
        precise: bool | None = None,
    ) -> None:
        self.scenario = scenario
        self.seeds = list(seeds)
        self.measurements = list(measurements)
        self.metrics = tuple(metrics)
        self.confidence = confidence
        self.precise = precise

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def runs(self) -> dict[str, NDArray[Any]]:
        """One row per replication as columns: its index, ``seed``, ``warm_up_us``, and all metrics."""
        known = dict.fromkeys((*self.metrics, *self.measurements[0].metrics))
        return {
            "replication": np.arange(len(self)),
            "seed": np.array(self.seeds, dtype=np.int64),
            "warm_up_us": np.array([found.warm_up_us for found in self.measurements], dtype=np.int64),
            **{name: self.values(name) for name in known},
        }

    def values(self, metric: str) -> NDArray[np.float64]:
        """Return a metric of every run, in the order of the replications.

        Raises
        ------
        ScenarioError
            If it was not measured.
        """
        if metric not in self.measurements[0].metrics:
            hint = nearest(str(metric), self.measurements[0].metrics)
            raise ScenarioError.at("metric", "was not measured", metric, hint=hint)
        return np.array([found.metrics[metric] for found in self.measurements], dtype=np.float64)

    def samples(self, sampler: int = 0) -> Table:
        """Return what a sampler of the scenario's processes recorded in all runs, one run after the other.

        Parameters
        ----------
        sampler : int
            Number of the sampler, in the order in which the processes started them.

        Returns
        -------
        Table
            Its columns after a column ``replication``.

        Raises
        ------
        ScenarioError
            If a run has no such sampler.
        """
        tables = [found.samples for found in self.measurements]
        if not all(-len(run) <= sampler < len(run) for run in tables):
            raise ScenarioError.at("sampler", "is not in every run", sampler)
        chosen = [run[sampler] for run in tables]
        numbers = np.repeat(np.arange(len(chosen)), [len(table["at_us"]) for table in chosen])
        columns = {name: np.concatenate([table[name] for table in chosen]) for name in chosen[0]}
        return Table.of({"replication": numbers, **columns, "at_us": columns["at_us"].astype(np.int64)})

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the replications; NaN if a run has no value."""
        return float(self.values(metric).mean())

    def interval(self, metric: str, *, method: str = "t", confidence: float | None = None) -> Interval:
        """Return the confidence interval of the mean of a metric.

        Parameters
        ----------
        metric : str
            Name of the metric.
        method : {"t", "bootstrap"}
            Student's t; or the bootstrap (bias-corrected and accelerated), which does not assume normal values but
            needs many of them: of twenty skewed ones, its intervals are narrower than their confidence says.
        confidence : float, fraction, optional
            Default is the confidence of the replications.

        Raises
        ------
        ScenarioError
            If the metric was not measured or there is no such method.
        """
        level = self.confidence if confidence is None else confidence
        if method == "t":
            return t_interval(self.values(metric), level)
        if method != "bootstrap":
            raise ScenarioError.at("method", "must be one of t, bootstrap", method)
        return bootstrap_interval(self.values(metric), level)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per metric: mean, bounds of its interval, standard deviation."""
        rows = []
        for metric in self.metrics:
            interval = self.interval(metric)
            rows.append(
                {
                    "metric": metric,
                    "replications": len(self),
                    "mean": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "standard_deviation": self._deviation(metric),
                }
            )
        return rows

    def _deviation(self, metric: str) -> float:
        return float(self.values(metric).std(ddof=1)) if len(self) > 1 else math.nan

    def table(self, method: str = "t") -> TextTable:
        """Return mean, interval and standard deviation of the reported metrics."""
        columns = [
            TextColumn("metric", align="left"),
            *(TextColumn(name) for name in ("mean", "±", "from", "to", "std. dev.", "±, relative")),
        ]
        rows = []
        for metric in self.metrics:
            interval = self.interval(metric, method=method)
            relative = interval.relative_half_width
            rows.append(
                (
                    metric,
                    format_number(interval.estimate),
                    format_number(interval.half_width, 3),
                    format_number(interval.low),
                    format_number(interval.high),
                    format_number(self._deviation(metric), 3),
                    format_percent(relative) if math.isfinite(relative) else "-",
                )
            )
        return TextTable(columns, rows, title=self._title())

    def _title(self) -> str:
        missed = "; the precision was not reached" if self.precise is False else ""
        count = f"{len(self):,} replication{'s' if len(self) != 1 else ''}"
        return f"{count}, {format_percent(self.confidence, 4)} confidence intervals{missed}"


def replicate(
    scenario: Scenario,
    n: int | None = None,
    *,
    precision: Mapping[str, float] | None = None,
    max_replications: int = 1000,
    confidence: float = 0.95,
    seed: int | None = None,
    **options: Unpack[Options],
) -> Replications:
    """Simulate a scenario with independent seeds.

    Parameters
    ----------
    scenario : Scenario
        What to simulate.
    n : int, optional
        Number of replications, at least 1; default is 10. With a precision, number of the first ones, at least 2.
    precision : mapping of str to float, optional
        Replications are added until the half-width of the interval of each metric is at most this fraction of its
        mean: ``{"ttft_p99_ms": 0.02}``.
    max_replications : int
        Maximum number of replications; `Replications.precise` states whether the precision was reached.
    confidence : float, fraction
        Confidence of the intervals.
    seed : int, optional
        Seed of the experiment; default is that of the scenario. Replication i has the seed
        ``replication_seeds(seed, n)[i]``.
    **options
        Options of all experiments, see `blis_simpy.experiment.runner.Options`.

    Returns
    -------
    Replications
        Figures of each run, and intervals.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated or a parameter is wrong.
    PluginError
        If a plug-in cannot be pickled for the workers, or the function of a metric does not return a number.

    Notes
    -----
    An interval that is also the stopping criterion contains the true mean slightly less often than its confidence; the
    guide has figures. The number of replications does not depend on the number of workers.

    Examples
    --------
    >>> scenario = Scenario(
    ...     model="qwen/qwen3-14b", workload=Workload(rate=20, num_requests=200, arrivals="poisson")
    ... )
    >>> replications = replicate(scenario, 5, executor="serial")
    >>> len(replications), "ttft_p99_ms" in replications.runs
    (5, True)
    """
    wanted = dict(precision or {})
    count = (FIRST_STAGE if n is None else n) if not isinstance(n, bool) else n
    count = check_count("n", count, 2 if wanted else 1)
    max_replications = check_count("max_replications", max_replications, 1)
    confidence = check_fraction("confidence", confidence)
    metrics = Metrics.of(options.get("metrics"))
    for metric, width in wanted.items():
        if metric not in metrics.names:
            get_metric(metric, "precision")
        wanted[metric] = check_fraction(f"precision[{metric!r}]", width)
    options["metrics"] = {**dict.fromkeys((*metrics.names, *wanted)), **metrics.functions}
    base = scenario.seed if seed is None else seed
    found: list[Measurement] = []
    with Runner(**options) as runner:
        while True:
            count = min(count, max_replications) if wanted else count
            seeds = replication_seeds(base, count)
            found += runner.run([Job(scenario, new) for new in seeds[len(found) :]], "replicating")
            result = Replications(scenario, seeds, found, metrics=runner.metrics.names, confidence=confidence)
            excess = [result.interval(name).relative_half_width / width for name, width in wanted.items()]
            if not wanted or count >= max_replications or all(e <= 1 for e in excess):
                result.precise = all(e <= 1 for e in excess) if wanted else None
                return result
            count = _next_count(count, max(excess))


def _next_count(count: int, excess: float) -> int:
    """Return the next number of replications: as the half-width requires, which shrinks like 1/√n, at most doubled."""
    needed = count * excess**2 if math.isfinite(excess) else math.inf
    return max(count + 1, math.ceil(min(needed, 2 * count)))
