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
    """Rates in equal parts of the time of a run.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,), ticks
        Bounds of the parts.
    arrived, completed : ndarray of float64, shape (bins,), requests/s
        Requests by arrival, and completed ones by their end.
    generated : ndarray of float64, shape (bins,), tokens/s
        Output tokens when they were computed, be it for requests that did not complete or had to start over.
    """

    edges: NDArray[np.float64]
    arrived: NDArray[np.float64]
    completed: NDArray[np.float64]
    generated: NDArray[np.float64]


def throughput(result: Result, bins: int = 60) -> Throughput:
    """Work out rates over time, in `bins` parts (>= 1) from tick 0 to the end of the run, or the last arrival."""
    requests, steps = result.requests, result.steps
    arrived_at, ttft = requests["arrived_at_us"], requests["ttft_us"]
    ended_at = max(result.aggregate.ended_at, int(arrived_at.max(initial=0)), 1)
    edges = np.linspace(0, ended_at, bins + 1)
    seconds = ended_at / bins / SECOND

    def rate(at: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        # What ends with the last step, or overheads after it, belongs to the last part.
        return np.histogram(np.minimum(at, ended_at), edges, weights=weights)[0] / seconds

    started = ttft >= 0
    return Throughput(
        edges,
        rate(arrived_at),
        rate(requests["finished_at_us"][requests["outcome"] == "completed"]),
        # A decode step gives each of its requests a token; the first token of a request comes from its prefill.
        rate(steps["start_us"] + steps["duration_us"], steps["decode_tokens"]) + rate((arrived_at + ttft)[started]),
    )


def time_edges(
    starts: NDArray[np.int64], durations: NDArray[np.int64], most: int = 1_000
) -> tuple[NDArray[np.float64], bool]:
    """Cut the time of the steps of a replica into parts.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Of its steps.
    most : int
        How many parts to return at most.

    Returns
    -------
    edges : ndarray of float64, shape (num_parts + 1,), ticks
        The bounds of the steps, or of parts of equal length if those were too many; empty without steps.
    exact : bool
        Whether each part lies within one step or between two.
    """
    bounds = np.unique(np.concatenate((starts, starts + durations)))
    if len(bounds) <= most + 1:
        return bounds.astype(np.float64), True
    return np.linspace(bounds[0], bounds[-1], most + 1), False


def peaks(
    starts: NDArray[np.int64], durations: NDArray[np.int64], values: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the largest value in each part of the time, so that no peak is lost in a picture.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Steps of one replica, in order.
    values : ndarray of int64, shape (num_steps,)
        What held during each step.
    edges : ndarray of float64, shape (num_parts + 1,), ticks
        Bounds of the parts.

    Returns
    -------
    ndarray of float64, shape (num_parts,)
        NaN where no step was under way.
    """
    first = np.searchsorted(starts + durations, edges[:-1], side="right")
    end = np.searchsorted(starts, edges[1:], side="left")
    found = np.full(len(edges) - 1, np.nan)
    some = end > first
    # A pair of indices a part; the largest value in between stands at the even places.
    pairs = np.stack((first[some], end[some]), axis=1).ravel()
    if len(pairs):
        found[some] = np.maximum.reduceat(np.append(values, values[-1]), pairs)[::2]
    return found
