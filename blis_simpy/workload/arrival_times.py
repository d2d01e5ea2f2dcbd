"""When the requests of one client arrive, before anybody serves them.

A schedule is extended as far as it is needed, and what it says does not depend on the steps in which that happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blis_simpy.workload.length_sampler import SampledLengths, validate_samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blis_simpy.workload.arrivals import ArrivalProcess
    from blis_simpy.workload.spec.client import Window

__all__ = ["ActiveTimes", "ArrivalTimes", "Rounds", "Scheduled", "SingleArrival"]

_LEAST_BLOCK = 16
_LARGEST_BLOCK = 1 << 16


class Scheduled(NamedTuple):
    """Arrivals of a client.

    Attributes
    ----------
    ticks : ndarray of int64, shape (n,), ticks
        Single requests: ascending. Sessions: session after session.
    numbers : ndarray of int64, shape (n,)
        Position among all requests of the client, counting also rounds that are not sent.
    """

    ticks: NDArray[np.int64]
    numbers: NDArray[np.int64]


class ActiveTimes:
    """The union of a client's windows.

    Parameters
    ----------
    windows : iterable of Window
        In any order, overlapping or not; a reversed one is never active.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        edges: list[int] = []
        for window in sorted((w for w in windows if w.start_us < w.end_us), key=lambda window: window.start_us):
            if edges and window.start_us <= edges[-1]:
                edges[-1] = max(edges[-1], window.end_us)
            else:
                edges += [window.start_us, window.end_us]
        self.end = edges[-1] if edges else 0
        # Outside the clock nothing happens.
        self._edges = np.array([max(min(edge, 2**63 - 1), -1) for edge in edges], dtype=np.int64)

    def contain(self, ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each tick lies in a window."""
        inside: NDArray[np.bool_] = np.searchsorted(self._edges, ticks, side="right") % 2 == 1
        return inside


class ArrivalTimes:
    """Arrivals of single requests, or of sessions.

    Parameters
    ----------
    process : ArrivalProcess
        Law of the gaps.
    rate_per_s : float
        Mean number of arrivals per second, > 0.
    rng : numpy.random.Generator
        Stream of the gaps.
    active : ActiveTimes or None
        Arrivals outside are discarded; None = always active.
    limit : int, ticks
        Arrivals lie strictly before it.
    cap : int or None
        Number of arrivals at most.
    """

    def __init__(
        self,
        process: ArrivalProcess,
        rate_per_s: float,
        rng: np.random.Generator,
        active: ActiveTimes | None,
        limit: int,
        cap: int | None,
    ) -> None:
        self._process = process
        self._rate_per_s = rate_per_s
        self._rng = rng
        self._active = active
        self._limit = limit if active is None else min(limit, active.end)
        self._cap = cap
        self._now = 0
        self._accepted: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.exhausted = self._limit <= 0

    def before(self, until: int) -> Scheduled:
        """Return all arrivals before a tick."""
        blocks = [self._accepted]
        count = len(self._accepted)
        while not self.exhausted and self._now < until:
            blocks.append(self._next_block(until, count))
            count += len(blocks[-1])
        self._accepted = np.concatenate(blocks)
        ticks = self._accepted[: int(np.searchsorted(self._accepted, until))]
        return Scheduled(ticks, np.arange(len(ticks), dtype=np.int64))

    def _next_block(self, until: int, count: int) -> NDArray[np.int64]:
        expected = self._rate_per_s * (min(until, self._limit) - self._now) * 1.05e-6
        n = int(min(max(expected + _LEAST_BLOCK, _LEAST_BLOCK), _LARGEST_BLOCK))
        gaps = self._process.inter_arrival_times(self._rng, self._rate_per_s, n)
        ticks = self._now + np.cumsum(validate_samples("arrivals", self._process, gaps, n, at_least=1))
        # A clock that runs past 2**63 µs turns negative first, as one gap cannot carry it all the way round.
        beyond = (ticks >= self._limit) | (ticks < 0)
        if beyond.any():
            self.exhausted = True
            ticks = ticks[: int(beyond.argmax())]
        else:
            self._now = int(ticks[-1])
        if self._active is not None:
            ticks = ticks[self._active.contain(ticks)]
        if self._cap is not None and count + len(ticks) >= self._cap:
            self.exhausted = True
            ticks = ticks[: self._cap - count]
        return ticks


class SingleArrival:
    """The start of a client's only session: one gap after tick 0, or after the start of its first window.

    Parameters
    ----------
    process, rate_per_s, rng, limit
        As for `ArrivalTimes`.
    start : int, tick
        Where the gap begins.
    active : ActiveTimes or None
        Outside there is no session.
    """

    exhausted = True

    def __init__(
        self,
        process: ArrivalProcess,
        rate_per_s: float,
        rng: np.random.Generator,
        active: ActiveTimes | None,
        limit: int,
        start: int,
    ) -> None:
        gap = validate_samples("arrivals", process, process.inter_arrival_times(rng, rate_per_s, 1), 1, at_least=1)
        tick = start + int(gap[0])
        ticks = np.array([tick] if 0 <= tick < limit else [], dtype=np.int64)
        self._ticks = ticks if active is None else ticks[active.contain(ticks)]

    def before(self, until: int) -> Scheduled:
        """Return the arrival, if it is before a tick."""
        ticks = self._ticks[self._ticks < until]
        return Scheduled(ticks, np.arange(len(ticks), dtype=np.int64))


class Rounds:
    """Rounds of a client's sessions, each after the output and the think time of the one before.

    The model is taken to produce one token in each µs, as in the reference: how long rounds really take is known only
    in the simulation.

    Parameters
    ----------
    starts : ArrivalTimes or OneArrival
        When the sessions start.
    outputs : SampledLengths
        Output lengths, session after session.
    max_rounds : int
        Rounds of a session.
    think_time_us : int, µs
        Pause before the next round.
    active, limit
        As for `ArrivalTimes`: rounds outside the windows are left out one by one, those at the limit and all after
        them.
    """

    def __init__(
        self,
        starts: ArrivalTimes | SingleArrival,
        outputs: SampledLengths,
        max_rounds: int,
        think_time_us: int,
        active: ActiveTimes | None,
        limit: int,
    ) -> None:
        self._starts = starts
        self._outputs = outputs
        self._max_rounds = max_rounds
        self._think_time_us = think_time_us
        self._active = active
        self._limit = limit

    @property
    def exhausted(self) -> bool:
        """Whether no further session will start."""
        return self._starts.exhausted

    def before(self, until: int) -> Scheduled:
        """Return all rounds before a tick."""
        starts = self._starts.before(until).ticks
        rounds = np.empty((len(starts), self._max_rounds), dtype=np.int64)
        rounds[:, 0] = 0
        outputs = self._outputs.first(rounds.size).reshape(rounds.shape)
        np.cumsum(outputs[:, :-1] + self._think_time_us, axis=1, out=rounds[:, 1:])
        ticks = (rounds + starts[:, np.newaxis]).ravel()
        # As one session is shorter than 2**62 µs, a clock that runs over is negative.
        sent = (ticks >= 0) & (ticks < min(until, self._limit))
        if self._active is not None:
            sent &= self._active.contain(ticks)
        numbers = np.flatnonzero(sent)
        return Scheduled(ticks[numbers], numbers)
