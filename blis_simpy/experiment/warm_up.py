"""One long run: detection of its warm-up, and confidence intervals of its means from batches.

The observations of one run are correlated, so their variance does not give the error of their mean. Means of batches
are nearly independent if the batches are long beside the correlation of the observations, which is checked.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import Interval, t_interval
from blis_simpy.experiment.number_format import check_count
from blis_simpy.units import parse_duration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from blis_simpy.results.result import Result

__all__ = ["BatchMeans", "autocorrelation_time", "batch_means", "mser"]

_MSER_BATCH = 5
_LEAST_BATCH = 15
"""Least length of a batch in autocorrelation times. On M/M/1 queues with utilisations of 0.5 to 0.9 and 400 to 200,000
requests, at most one experiment in sixteen then has an interval of 95 % that is called reliable and misses the mean."""
_INDEPENDENT = 1.7
"""Estimates of the autocorrelation time of independent values with 20 batches are below it in 97 of 100 cases."""


def mser(values: ArrayLike) -> int:
    """Return the number of observations in the warm-up of a series, by the rule MSER-5.

    Parameters
    ----------
    values : array-like of float, shape (num_values,)
        Observations in order of time.

    Returns
    -------
    int
        The multiple of 5, at most half of the series, that minimises the standard error of the mean of the rest.

    Notes
    -----
    Source: K. P. White, M. J. Cobb, S. C. Spratt, "A comparison of five steady-state truncation heuristics for
    simulation", Winter Simulation Conference 2000. If half of the series is left out, it is too short for a decision.

    Examples
    --------
    >>> mser([100] * 10 + [1, 2] * 50)
    10
    """
    array = np.asarray(values, dtype=np.float64)
    count = len(array) // _MSER_BATCH
    if count < 2:
        return 0
    means = array[: count * _MSER_BATCH].reshape(count, _MSER_BATCH).mean(axis=1)
    best, best_error = 0, math.inf
    for start in range(count // 2 + 1):
        rest = means[start:]
        error = float(rest.var()) / len(rest)
        if error < best_error:
            best, best_error = start, error
    return best * _MSER_BATCH


@attrs.frozen(kw_only=True)
class BatchMeans:
    """A mean with its confidence interval, from batches of one long run.

    Attributes
    ----------
    name : str
        Column or metric.
    interval : Interval
        Confidence interval of the mean.
    batches : ndarray of float, shape (num_batches,)
        Means of the batches, in order.
    correlation : float
        Lag-1 correlation of the batches.
    batch_length : int
        Values in a batch; of a metric, requests that arrived in it, on average.
    autocorrelation_time : float
        Number of successive values that say as much of the mean as one independent value. Of a metric, that of TTFT,
        which shows how long the queue remembers.
    reliable : bool
        Whether the correlation is within chance (at 5 %) and batches are long beside the autocorrelation time; if not,
        the interval is too narrow and the run needs to be longer.
    """

    name: str
    interval: Interval
    batches: NDArray[np.float64] = attrs.field(eq=False)
    correlation: float
    batch_length: int
    autocorrelation_time: float

    @property
    def reliable(self) -> bool:
        """Whether the interval is as wide as it has to be, as far as the run shows."""
        return not self._doubt()

    def _doubt(self) -> str:
        # One-sided test: without correlation the estimate has about the mean -1/n and the standard deviation 1/√n.
        if self.correlation > 1.645 / math.sqrt(len(self.batches)):
            return f"neighbouring batches correlate by {self.correlation:.2f}"
        needed = _LEAST_BATCH * self.autocorrelation_time
        if self.autocorrelation_time > _INDEPENDENT and self.batch_length < needed:
            times = math.ceil(needed / self.batch_length)
            return f"the run is too short; it would have to be at least {times} times as long"
        return ""

    def __str__(self) -> str:
        doubt = self._doubt()
        return f"{self.name}: {self.interval}{'; too narrow: ' if doubt else ''}{doubt}"


def batch_means(
    result: Result, name: str, *, batches: int = 20, warm_up: float | str = 0, confidence: float = 0.95
) -> BatchMeans:
    """Compute a mean and its confidence interval from batches of one long run.

    Parameters
    ----------
    result : Result
        The run.
    name : str
        Column of the requests, such as ``ttft_us``: batches have equal numbers of requests in order of arrival, without
        those that have no value (-1). Or a metric, such as ``ttft_p99_ms``: batches cover equal intervals of arrival.
    batches : int
        Number of batches, at least 5.
    warm_up : int, µs, or str
        What to leave out at the start, such as ``30s``.
    confidence : float, fraction
        Confidence of the interval.

    Raises
    ------
    ScenarioError
        If there is no such column or metric, or the run is too short for so many batches.
    """
    batches = check_count("batches", batches, 5)
    try:
        start = parse_duration(warm_up)
    except ValueError as error:
        raise ScenarioError.at("warm_up", str(error), warm_up) from None
    arrived = result.requests["arrived_at_us"]
    if name in result.requests:
        series = _series(result, name, start)
        size = len(series) // batches
        if not size:
            raise ScenarioError.at("batches", f"must be <= {len(series)}, the number of values", batches)
        # The remainder that does not fill a batch is left out at the start, where the warm-up may not be over.
        means = series[len(series) - size * batches :].reshape(batches, size).mean(axis=1)
    else:
        edges = np.linspace(start, max(int(arrived.max(initial=0)) + 1, start), batches + 1).astype(np.int64).tolist()
        parts = [result.where(start=low, end=high) for low, high in pairwise(edges)]
        means = np.array([part.metric(name) for part in parts])
        if not np.isfinite(means).all():
            raise ScenarioError.at("batches", f"is too many: {name} has no value in some of them", batches)
        series = _series(result, "ttft_us", start)
    return BatchMeans(
        name=name,
        interval=t_interval(means, confidence),
        batches=means,
        correlation=_lag_one(means),
        batch_length=len(series) // batches,
        autocorrelation_time=autocorrelation_time(series, batches),
    )


def _series(result: Result, name: str, start: int) -> NDArray[np.float64]:
    """Values of a column in order of arrival, from a tick on, without those that are missing."""
    arrived, column = result.requests["arrived_at_us"], result.requests[name]
    if column.dtype.kind not in "iuf":
        raise ScenarioError.at(name, "is not a column of numbers")
    order = np.argsort(arrived, kind="stable")
    return column[order[(arrived[order] >= start) & (column[order] >= 0)]].astype(np.float64)


def autocorrelation_time(series: NDArray[np.float64], batches: int) -> float:
    """Estimate the number of successive values that say as much of the mean as one independent value.

    Parameters
    ----------
    series : ndarray of float, shape (num_values,)
        Values in order of time.
    batches : int
        Number of batches to estimate it from; it is never found to be longer than a batch.

    Notes
    -----
    The variance of the means of batches of b values is the variance of the values times the time / b.
    """
    size = len(series) // batches
    variance = float(series.var()) if size else 0.0
    if not variance:
        return 1.0
    means = series[len(series) - size * batches :].reshape(batches, size).mean(axis=1)
    return size * float(means.var(ddof=1)) / variance


def _lag_one(values: NDArray[np.float64]) -> float:
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    return float(deviations[:-1] @ deviations[1:]) / total if total else 0.0
