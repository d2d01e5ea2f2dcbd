"""Whether a queue grows over a run: the trends of TTFT and of the number of requests in the system.

A run whose queue grows has no latency of its own: a longer run would have a higher one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blis_simpy.results.requests import RequestTable

__all__ = ["Stationarity", "mean_growth", "queue_grows", "stationarity"]

_LEAST_REQUESTS = 30
_TTFT_GROWTH, _BACKLOG_GROWTH = 0.1, 0.05
"""Mean of several runs from which on a trend matters, if it is not due to chance."""
_OBVIOUS_TTFT_GROWTH, _OBVIOUS_BACKLOG_GROWTH = 0.3, 0.15
"""Trends of a single run that chance hardly produces together."""
_CONFIDENCE = 0.99
_START_QUANTILE = 0.95
"""Share of the first requests that end within the start of a run."""


@attrs.frozen
class Stationarity:
    """Trends of a run: of its last third of arrivals against the middle one.

    The first third is left out because the system is empty at the start. It is extended to the time that requests of it
    take, so that the first ones have ended, up to one half of the run; the rest is halved.

    Attributes
    ----------
    ttft_growth : float, fraction
        Mean TTFT of the last third, relative to that of the middle third, minus 1. A queue that grows steadily from 0
        has 2/3. NaN for fewer than 30 requests, or arrivals that are all at one tick.
    backlog_growth : float, fraction
        Share of the arrivals by which the number of requests in the system grows: the mean that the arrivals of the
        last third find there, minus that of the middle third, per arrival of a third. A load of `r` times what is
        served has 1 - 1/r, a stationary run 0. NaN as above.
    backlog : int, requests
        Requests that had arrived and not ended at the last arrival.
    """

    ttft_growth: float
    backlog_growth: float
    backlog: int


def stationarity(requests: RequestTable) -> Stationarity:
    """Compute the trends of a run.

    Parameters
    ----------
    requests : RequestTable
        Requests of the run, or of a window of it.
    """
    order = np.argsort(requests["arrived_at_us"], kind="stable")
    arrived, ttft = requests["arrived_at_us"][order], requests["ttft_us"][order]
    count = len(arrived)
    if not count:
        return Stationarity(math.nan, math.nan, 0)
    last = int(arrived[-1])
    ended = np.where(requests.completed[order], arrived + requests["e2e_us"][order], requests["finished_at_us"][order])
    is_left = (ended < 0) | (ended > last)
    backlog = int(is_left.sum())
    if count < _LEAST_REQUESTS or last == arrived[0]:
        return Stationarity(math.nan, math.nan, backlog)
    # Those that still wait would make the end look better than it is: they have waited since their arrival.
    waited = np.where(ttft >= 0, ttft, np.where(is_left, last - arrived, -1))
    start = _end_of_start(arrived, np.where(ended >= 0, ended, last))
    middle = (start + count) // 2
    before, after = (
        float(part[part >= 0].mean()) if (part >= 0).any() else math.nan
        for part in (waited[start:middle], waited[middle:])
    )
    in_system = np.arange(count) - np.searchsorted(np.sort(ended[ended >= 0]), arrived, side="right")
    fewer, more = float(in_system[start:middle].mean()), float(in_system[middle:].mean())
    return Stationarity(
        ttft_growth=after / before - 1 if before else math.nan,
        backlog_growth=(more - fewer) / ((count - start) / 2),
        backlog=backlog,
    )


def queue_grows(runs: Sequence[Stationarity]) -> bool:
    """Return whether the runs of a scenario show that a queue grows.

    Several runs show it if TTFT grows by a tenth or more, or the number of requests in the system by a twentieth of the
    arrivals or more, and the mean over the runs exceeds 0 with 99 % confidence. Both have to grow by much in each run
    where chance cannot be ruled out in this way, as of a single run.

    The number of requests in the system also grows at the start of a run, until the first requests end, so that runs
    that are not much longer than a request takes are not stationary either.
    """
    ttft = np.array([run.ttft_growth for run in runs])
    backlog = np.array([run.backlog_growth for run in runs])
    if ((ttft > _OBVIOUS_TTFT_GROWTH) & (backlog > _OBVIOUS_BACKLOG_GROWTH)).all():
        return bool(runs)
    ttft, backlog = ttft[np.isfinite(ttft)], backlog[np.isfinite(backlog)]
    of_ttft = mean_growth(ttft) >= _TTFT_GROWTH and _is_positive(np.log1p(ttft))
    return of_ttft or bool(len(backlog) and backlog.mean() >= _BACKLOG_GROWTH and _is_positive(backlog))


def mean_growth(growth: NDArray[np.float64]) -> float:
    """Return the geometric mean of ratios minus 1, which their arithmetic mean exceeds if they vary; NaN of none."""
    return float(np.expm1(np.log1p(growth).mean())) if len(growth) else math.nan


def _end_of_start(arrived: NDArray[np.int64], ended: NDArray[np.int64]) -> int:
    """Return the number of arrivals of the start of a run, in which the number of requests in the system rises."""
    count = len(arrived)
    third = count // 3
    long = np.quantile(ended[:third] - arrived[:third], _START_QUANTILE)
    return int(np.clip(np.searchsorted(arrived, arrived[0] + long), third, count // 2))


def _is_positive(values: NDArray[np.float64]) -> bool:
    """Return whether the mean exceeds 0 by Student's t test."""
    from scipy.special import stdtrit

    count = len(values)
    if count < 2:
        return False
    return bool(values.mean() > stdtrit(count - 1, _CONFIDENCE) * values.std(ddof=1) / math.sqrt(count))
