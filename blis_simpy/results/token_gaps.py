"""Gaps between the tokens of requests, from the steps of their replica.

A gap is no row of a table: each step makes the same gap for all requests that decode in it. So gaps are kept as the
time that each step adds, and requests as runs of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["counted_gaps", "longest_gaps", "steps_of_runs"]


def counted_gaps(num_steps: int, first_steps: NDArray[np.int64], end_steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the requests that have the gap of each step.

    Parameters
    ----------
    num_steps : int
        Number of steps of the replica.
    first_steps, end_steps : ndarray of int64, shape (num_runs,)
        First step of each run, and the step after its last one; in each step of a run, a request has a gap.

    Returns
    -------
    ndarray of int64, shape (num_steps,)
    """
    length = num_steps + 1
    change = np.bincount(first_steps, minlength=length) - np.bincount(end_steps, minlength=length)
    return np.cumsum(change)[:-1]


def longest_gaps(
    step_gaps: NDArray[np.int64], first_steps: NDArray[np.int64], end_steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the longest gap in each of some runs of steps.

    Parameters
    ----------
    step_gaps : ndarray of int64, shape (num_steps,), µs
        Time from the end of the step before to the end of each step.
    first_steps, end_steps : ndarray of int64, shape (num_runs,)
        First step of each run, and the step after its last one; no run is empty.

    Returns
    -------
    ndarray of int64, shape (num_runs,), µs
    """
    if not len(first_steps):
        return np.zeros(0, dtype=np.int64)
    # `reduceat` also reduces what lies between two runs: in order of their first steps, each step at most once.
    order = np.argsort(first_steps, kind="stable")
    bounds = np.stack((first_steps[order], end_steps[order]), axis=1).ravel()
    longest = np.empty(len(order), dtype=np.int64)
    longest[order] = np.maximum.reduceat(np.append(step_gaps, 0), bounds)[::2]
    return longest


def steps_of_runs(first_steps: NDArray[np.int64], end_steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the steps of some runs, run by run.

    Parameters
    ----------
    first_steps, end_steps : ndarray of int64, shape (num_runs,)
        First step of each run, and the step after its last one.

    Examples
    --------
    >>> steps_of_runs(np.array([3, 7, 0]), np.array([5, 7, 2])).tolist()
    [3, 4, 0, 1]
    """
    lengths = end_steps - first_steps
    starts = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(first_steps - starts, lengths) + np.arange(int(lengths.sum())))
