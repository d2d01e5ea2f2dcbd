"""One long run: where its warm-up ends, and how sure its means are.

The observations of one run depend on each other, so their spread says little about that of their mean. Means of long
batches hardly do; how much they still do is checked.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.number_format import check_count
from blis_simpy.experiment.statistics import Interval, t_interval
from blis_simpy.units import parse_duration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from blis_simpy.results.result import Result

__all__ = ["BatchMeans", "batch_means", "mser"]

_MSER_BATCH = 5


def mser(values: ArrayLike) -> int:
    """Where the warm-up of a series ends, by the rule MSER-5.

    Parameters
    ----------
    values : array-like of float, shape (num_values,)
        Observations in order of time.

    Returns
    -------
    int
        How many to leave out: that multiple of 5, up to half of them, which makes the standard error of the mean of the
        rest least.

    Notes
    -----
    Source: K. P. White, M. J. Cobb, S. C. Spratt, "A comparison of five steady-state truncation heuristics for
    simulation", Winter Simulation Conference 2000. Where half of the series is left out, it is too short to tell.

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
    """What one long run says of a mean.

    Attributes
    ----------
    name : str
        Column or metric.
    interval : Interval
        Of the mean of the batches.
    batches : ndarray of float, shape (num_batches,)
        Their means, in order.
    correlation : float
        Of neighbouring batches.
    reliable : bool
        Whether that is no more than chance would make it (at 5 %); else the interval is too narrow, and longer batches
        are needed.
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
    """Interval of a mean from one long run.

    Parameters
    ----------
    result : Result
        The run.
    name : str
        Column of its requests, such as ``ttft_us``: batches are of equally many requests in order of arrival, those
        without a value (-1) left out. Or a metric, such as ``ttft_p99_ms``: batches are of equal time of arrival.
    batches : int
        How many, at least 5.
    warm_up : int, µs, or str
        What to leave out at the start, such as ``30s``.
    confidence : float, fraction
        Of the interval.

    Raises
    ------
    ScenarioError
        If there is no such column or metric, or the run is too short for so many batches.
    """
    check_count("batches", batches, 5)
    try:
        start = parse_duration(warm_up)
    except ValueError as error:
        raise ScenarioError.at("warm_up", str(error), warm_up) from None
    requests = result.requests
    arrived = requests["arrived_at_us"]
    if name in requests:
        column = requests[name]
        if column.dtype.kind not in "iuf":
            raise ScenarioError.at(name, "is no column of numbers")
        order = np.argsort(arrived, kind="stable")
        series = column[order[(arrived[order] >= start) & (column[order] >= 0)]]
        size = len(series) // batches
        if not size:
            raise ScenarioError.at("batches", f"must be <= {len(series)}, the values there are", batches)
        # What does not fill a batch is left out where the system may still have been filling up.
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
        # Bound of a one-sided test: the estimate has about the mean -1/n and the standard deviation 1/√n.
        reliable=correlation <= 1.645 / math.sqrt(batches),
    )


def _lag_one(values: NDArray[np.float64]) -> float:
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    return float(deviations[:-1] @ deviations[1:]) / total if total else 0.0
