"""A run of decode steps that is planned but not yet carried out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from blis_simpy.latency.base import IntTicks

__all__ = ["MacroStep"]


class MacroStep:
    """Consecutive decode steps of an unchanged batch.

    Parameters
    ----------
    start : int, tick
        When the first step starts.
    durations : int, list of int or ndarray of int64, µs
        How long each step takes; one int if all take the same.
    steps : int
        How many they are.

    Attributes
    ----------
    committed : int
        How many have been carried out.
    """

    __slots__ = ("_bounds", "_durations", "committed", "start", "steps")

    def __init__(self, start: int, durations: int | list[int] | IntTicks, steps: int) -> None:
        self.start = start
        self.steps = steps
        self.committed = 0
        self._durations = durations
        # Start of each step, and the end of the last.
        self._bounds: list[int] | IntTicks | None = None
        if isinstance(durations, list):
            self._bounds = list(accumulate(durations, initial=start))
        elif not isinstance(durations, int):
            bounds = np.empty(steps + 1, np.int64)
            bounds[0] = 0
            np.cumsum(durations, out=bounds[1:])
            bounds += start
            self._bounds = bounds

    def boundary(self, step: int) -> int:
        """Tick at which a step starts, which is the end of the one before; `steps` gives the end of the run."""
        if self._bounds is None:
            return self.start + step * cast("int", self._durations)
        return int(self._bounds[step])

    def started(self, now: int, at_now: bool) -> int:
        """How many steps have started before a tick, those that start at the tick counted if `at_now`."""
        bounds = self._bounds
        if bounds is None:
            duration = cast("int", self._durations)
            elapsed = now - self.start
            started = elapsed // duration + 1 if at_now else -(-elapsed // duration)
            return min(max(started, 0), self.steps)
        if isinstance(bounds, list):
            started = bisect_right(bounds, now) if at_now else bisect_left(bounds, now)
        else:
            started = int(np.searchsorted(bounds, now, side="right" if at_now else "left"))
        return min(started, self.steps)

    def durations(self, first: int, steps: int) -> list[int] | IntTicks:
        """Durations of some of the steps, µs."""
        if isinstance(self._durations, int):
            return list(repeat(self._durations, steps))
        return self._durations[first : first + steps]
