"""One long run: detection of its warm-up, and confidence intervals of its means from batches.

The observations of one run are correlated, so their variance does not give the error of their mean. Means of long
batches are nearly independent; their remaining correlation is checked.
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

__all__ = ["BatchMeans", "batch_means", "mser"]

_MSER_BATCH = 5


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
    reliable : bool
        Whether the correlation is within chance (at 5 %); if not, the interval is too narrow and the batches need to
        be longer.
    """

    name: str
    interval: Interval
    batches: NDArray[np.float64] = attrs.field(eq=False)
    correlation: float
    reliable: bool

    def __str__(self) -> str:
        doubt = "" if self.reliable else f"; too narrow: neighbouring batches correlate by {self.correlation:.2f}"
        return f"{self.name}: {self.interval}{doubt}"


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
    requests = result.requests
    arrived = requests["arrived_at_us"]
    if name in requests:
        column = requests[name]
        if column.dtype.kind not in "iuf":
            raise ScenarioError.at(name, "is not a column of numbers")
        order = np.argsort(arrived, kind="stable")
        series = column[order[(arrived[order] >= start) & (column[order] >= 0)]]
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
    correlation = _lag_one(means)
    return BatchMeans(
        name=name,
        interval=t_interval(means, confidence),
        batches=means,
        correlation=correlation,
        # One-sided test: without correlation the estimate has about the mean -1/n and the standard deviation 1/√n.
        reliable=correlation <= 1.645 / math.sqrt(batches),
    )


def _lag_one(values: NDArray[np.float64]) -> float:
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    return float(deviations[:-1] @ deviations[1:]) / total if total else 0.0
