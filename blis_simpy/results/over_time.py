"""A run over time: rates, queue depths and batch sizes as arrays that plots draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from blis_simpy.results.result import Result

__all__ = ["Throughput", "peaks", "throughput", "time_edges"]


@attrs.frozen(eq=False)
class Throughput:
    """Rates in equal intervals of a run.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,), ticks
        Bounds of the intervals.
    arrived, completed : ndarray of float64, shape (bins,), requests/s
        Requests by arrival, and completed ones by completion.
    generated : ndarray of float64, shape (bins,), tokens/s
        Output tokens by the time they were computed, including those of requests that did not complete or restarted.
    """

    edges: NDArray[np.float64]
    arrived: NDArray[np.float64]
    completed: NDArray[np.float64]
    generated: NDArray[np.float64]


def throughput(result: Result, bins: int = 60) -> Throughput:
    """Compute rates in `bins` (>= 1) equal intervals from tick 0 to the end of the run, or to the last arrival."""
    requests, steps = result.requests, result.steps
    arrived_at, ttft = requests["arrived_at_us"], requests["ttft_us"]
    ended_at = max(result.aggregate.ended_at, int(arrived_at.max(initial=0)), 1)
    edges = np.linspace(0, ended_at, bins + 1)
    seconds = ended_at / bins / SECOND

    def rate(at: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        # What ends with the last step, or by delays after it, belongs to the last interval.
        return np.histogram(np.minimum(at, ended_at), edges, weights=weights)[0] / seconds

    started = ttft >= 0
    return Throughput(
        edges,
        rate(arrived_at),
        rate(requests["finished_at_us"][requests["outcome"] == "completed"]),
        # A decode step generates a token for each of its requests; prefill generates the first token of a request.
        rate(steps["start_us"] + steps["duration_us"], steps["decode_tokens"]) + rate((arrived_at + ttft)[started]),
    )


def time_edges(
    starts: NDArray[np.int64], durations: NDArray[np.int64], most: int = 1_000
) -> tuple[NDArray[np.float64], bool]:
    """Divide the time of the steps of a replica into intervals.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Starts and durations of the steps.
    most : int
        Maximum number of intervals.

    Returns
    -------
    edges : ndarray of float64, shape (num_intervals + 1,), ticks
        The bounds of the steps, or of equal intervals if those exceed the maximum; empty without steps.
    exact : bool
        Whether each interval lies within one step or between two.
    """
    bounds = np.unique(np.concatenate((starts, starts + durations)))
    if len(bounds) <= most + 1:
        return bounds.astype(np.float64), True
    return np.linspace(bounds[0], bounds[-1], most + 1), False


def peaks(
    starts: NDArray[np.int64], durations: NDArray[np.int64], values: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the maximum of a value in each interval, so that a plot shows every peak.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Steps of one replica, in order.
    values : ndarray of int64, shape (num_steps,)
        The value during each step.
    edges : ndarray of float64, shape (num_intervals + 1,), ticks
        Bounds of the intervals.

    Returns
    -------
    ndarray of float64, shape (num_intervals,)
        NaN for intervals without a step.
    """
    first = np.searchsorted(starts + durations, edges[:-1], side="right")
    end = np.searchsorted(starts, edges[1:], side="left")
    found = np.full(len(edges) - 1, np.nan)
    some = end > first
    # One pair of indices per interval; the maxima are at the even positions of the result.
    pairs = np.stack((first[some], end[some]), axis=1).ravel()
    if len(pairs):
        found[some] = np.maximum.reduceat(np.append(values, values[-1]), pairs)[::2]
    return found
