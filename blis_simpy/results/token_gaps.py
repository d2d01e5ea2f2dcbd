"""Gaps between the tokens of requests, from the steps of their replica.

A gap is no row of a table: each step makes the same gap for all requests that decode in it. So gaps are kept as the
time that each step adds, and requests as runs of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.replica.log import StepLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["StepGaps", "longest_gaps", "steps_of_runs"]


@attrs.frozen(eq=False)
class StepGaps:
    """The gap between tokens that each step of a replica makes.

    Attributes
    ----------
    steps : StepLog
        The steps.
    includes_pauses : bool
        Whether a gap reaches from the end of the step before to the end of the step, or is the duration of the step.
    """

    steps: StepLog
    includes_pauses: bool

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Return the gaps, µs, in blocks of consecutive steps."""
        return self.steps.gap_blocks() if self.includes_pauses else self.steps.duration_blocks()

    def values(self) -> NDArray[np.int64]:
        """Return the gaps of all steps at once, µs."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.blocks()])

    def counted(
        self, first_steps: NDArray[np.int64], end_steps: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return gaps, and the number of requests with each.

        Parameters
        ----------
        first_steps, end_steps : ndarray of int64, shape (num_runs,)
            First step of each run, and the step after its last one; in each step of a run, a request has a gap.

        Returns
        -------
        gaps : ndarray of int64, µs
            One for each step; of more steps than a block has, one for each different gap.
        counts : ndarray of int64
            Their numbers.
        """
        first_steps, end_steps = np.sort(first_steps), np.sort(end_steps)
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        begin = decoding = 0
        for gaps in self.blocks():
            change = _numbers_at(first_steps, begin, len(gaps)) - _numbers_at(end_steps, begin, len(gaps))
            counts = decoding + np.cumsum(change)
            found.append((gaps, counts) if not begin and len(gaps) == len(self.steps) else _merged(gaps, counts))
            begin, decoding = begin + len(gaps), int(counts[-1])
        if len(found) == 1:
            return found[0]
        nothing = np.empty(0, dtype=np.int64)
        return (
            _merged(*(np.concatenate([nothing, *arrays]) for arrays in zip(*found, strict=True)))
            if found
            else (
                nothing,
                nothing,
            )
        )

    def longest(self, first_steps: NDArray[np.int64], end_steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the longest gap in each of some runs of steps, µs; no run is empty.

        Parameters
        ----------
        first_steps, end_steps
            As for `counted`.
        """
        longest = np.zeros(len(first_steps), dtype=np.int64)
        begin = 0
        for gaps in self.blocks():
            end = begin + len(gaps)
            runs = np.flatnonzero((first_steps < end) & (end_steps > begin))
            within = longest_gaps(
                gaps, np.maximum(first_steps[runs], begin) - begin, np.minimum(end_steps[runs], end) - begin
            )
            longest[runs] = np.maximum(longest[runs], within)
            begin = end
        return longest

    def ends(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sum of the gaps up to and including each of some steps, µs."""
        ends = np.empty(len(steps), dtype=np.int64)
        begin = before = 0
        for gaps in self.blocks():
            sums = before + np.cumsum(gaps)
            inside = (begin <= steps) & (steps < begin + len(gaps))
            ends[inside] = sums[steps[inside] - begin]
            begin, before = begin + len(gaps), int(sums[-1])
        return ends


def _numbers_at(ascending: NDArray[np.int64], begin: int, length: int) -> NDArray[np.int64]:
    """Return how often each of some consecutive integers is among ascending ones."""
    low, high = np.searchsorted(ascending, (begin, begin + length))
    return np.bincount(ascending[low:high] - begin, minlength=length)


def _merged(values: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different values, and the sum of the counts of each."""
    different, places = np.unique(values, return_inverse=True)
    return different, np.bincount(places, weights=counts).astype(np.int64)


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
