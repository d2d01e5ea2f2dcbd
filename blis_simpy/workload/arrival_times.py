"""Arrival times of the requests of one client.

It owns the schedules: each is extended as far as it is needed, and its times do not depend on the pieces in which it is
extended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.bounds import MOST_REQUESTS_BY_RATE
from blis_simpy.units import HOUR
from blis_simpy.workload.plugin_draws import SampledLengths, validate_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from blis_simpy.workload.arrivals import ArrivalProcess
    from blis_simpy.workload.spec.client import Daily, RatePoint, Window

__all__ = [
    "ActiveTimes",
    "ArrivalSchedule",
    "ArrivalTimes",
    "DailyRhythm",
    "MeasuredArrivals",
    "RateCurve",
    "Rounds",
    "Scheduled",
    "SimultaneousArrivals",
    "SingleArrival",
    "TimeChange",
    "check_number",
]

_LEAST_BLOCK = 16
_LARGEST_BLOCK = 1 << 16
_DAY = 24 * HOUR
_KNOTS = 24 * 60
_LONGEST_US = 2.0**62 - 1024


def check_number(arrivals: int) -> None:
    """Refuse to draw very many requests where only rates and a horizon say how many they are.

    Raises
    ------
    ScenarioError
        If there are more than `MOST_REQUESTS_BY_RATE`.
    """
    if arrivals > MOST_REQUESTS_BY_RATE:
        rule = f"must be given, or a lower rate: more than {MOST_REQUESTS_BY_RATE:,} requests would arrive"
        raise ScenarioError.at("num_requests", rule)


class Scheduled(NamedTuple):
    """Arrivals of a client.

    Attributes
    ----------
    ticks : ndarray of int64, shape (n,), ticks
        Ascending for single requests; for sessions in the order of the sessions.
    numbers : ndarray of int64, shape (n,)
        Position among all requests of the client, including rounds that are not sent.
    """

    ticks: NDArray[np.int64]
    numbers: NDArray[np.int64]


class ArrivalSchedule(Protocol):
    """Schedule of a client, extended as far as it is needed."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing further will start."""

    def before(self, until: int) -> Scheduled:
        """Return the arrivals before a tick."""


class ActiveTimes:
    """Union of the windows of a client.

    Parameters
    ----------
    windows : iterable of Window
        Windows in any order; they may overlap. A window that ends before it starts is never active.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        edges: list[int] = []
        for window in sorted((w for w in windows if w.start_us < w.end_us), key=lambda window: window.start_us):
            if edges and window.start_us <= edges[-1]:
                edges[-1] = max(edges[-1], window.end_us)
            else:
                edges += [window.start_us, window.end_us]
        self.end = edges[-1] if edges else 0
        # Windows may reach beyond the clock, which int64 does not.
        self._edges = np.array([max(min(edge, 2**63 - 1), -1) for edge in edges], dtype=np.int64)

    def length_before(self, end: int) -> int:
        """Active time before a tick, ticks."""
        inside = np.clip(self._edges, 0, end).reshape(-1, 2)
        return int((inside[:, 1] - inside[:, 0]).sum())

    def contain(self, ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each tick lies in a window."""
        inside: NDArray[np.bool_] = np.searchsorted(self._edges, ticks, side="right") % 2 == 1
        return inside


class TimeChange(Protocol):
    """Map from a clock on which the rate is constant to ticks (Çinlar's method), for any arrival process."""

    def ticks(self, clock: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map arrivals at the constant rate to ticks."""


class DailyRhythm:
    """Time transformation for a rate that follows a cosine over each day.

    Arrivals at a constant rate are mapped through the inverse of the cumulative rate. The mean rate over a day is kept.

    Parameters
    ----------
    daily : Daily
        Time of the peak and ratio of the highest to the lowest rate.
    """

    def __init__(self, daily: Daily) -> None:
        depth = (daily.peak_to_trough_ratio - 1) / (daily.peak_to_trough_ratio + 1)
        angle = 2 * np.pi / _DAY
        peak = daily.peak_hour * HOUR
        self._times = np.linspace(0.0, _DAY, _KNOTS + 1)
        self._clock = self._times + depth / angle * (np.sin(angle * (self._times - peak)) + np.sin(angle * peak))

    def ticks(self, clock: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map arrivals at the constant rate to ticks."""
        days, rest = np.divmod(clock, _DAY)
        ticks: NDArray[np.int64] = days * _DAY + np.interp(rest, self._clock, self._times).astype(np.int64)
        return ticks


class RateCurve:
    """Time change of a process whose rate is linear between points.

    Parameters
    ----------
    points : sequence of RatePoint
        In ascending order of their times; at least one factor is > 0.
    """

    def __init__(self, points: Sequence[RatePoint]) -> None:
        is_late = points[0].at > 0
        start, end = points[:1] if is_late else (), points[-1]
        self._times = np.array([*(0 for _ in start), *(point.at for point in points), 2.0**63])
        self._factors = np.array([point.factor for point in (*start, *points, end)])
        lengths = np.diff(self._times)
        areas = lengths * (self._factors[:-1] + self._factors[1:]) / 2
        self._slopes = np.append(np.diff(self._factors) / lengths, 0.0)
        self._clock = np.append(0.0, np.cumsum(areas))

    def ticks(self, clock: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map arrivals at the constant rate to ticks; those that a rate of 0 keeps from arriving are after all."""
        at = np.searchsorted(self._clock[:-1], clock, side="right") - 1
        rest, factor, slope = clock - self._clock[at], self._factors[at], self._slopes[at]
        # Time to a rest of the area under factor + slope * time, in the form without cancellation.
        root = np.sqrt(np.maximum(factor * factor + 2 * slope * rest, 0.0))
        passed = np.divide(2 * rest, factor + root, out=np.full(len(rest), np.inf), where=factor + root > 0)
        times = self._times[at] + np.where(rest > 0, passed, 0.0)
        ticks: NDArray[np.int64] = np.minimum(times, _LONGEST_US).astype(np.int64)
        ticks[times >= _LONGEST_US] = 2**63 - 1
        return ticks


class ArrivalTimes:
    """Arrivals of single requests, or of sessions.

    Parameters
    ----------
    process : ArrivalProcess
        Draws the gaps between arrivals.
    rate_per_s : float
        Mean number of arrivals per second, > 0.
    rng : numpy.random.Generator
        Random stream of the gaps.
    active : ActiveTimes or None
        Arrivals outside are discarded; None = always active.
    limit : int, ticks
        Arrivals are strictly before it.
    cap : int or None
        Maximum number of arrivals; None = no limit.
    rhythm : TimeChange, optional
        Makes the rate a function of time; None = constant rate.
    """

    def __init__(
        self,
        process: ArrivalProcess,
        rate_per_s: float,
        rng: np.random.Generator,
        active: ActiveTimes | None,
        limit: int,
        cap: int | None,
        rhythm: TimeChange | None = None,
    ) -> None:
        self._rhythm = rhythm
        self._reached = 0
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
        """Return the arrivals before a tick."""
        blocks = [self._accepted]
        count = len(self._accepted)
        while not self.exhausted and self._reached < until:
            blocks.append(self._next_block(until, count))
            count += len(blocks[-1])
            if self._cap is None:
                check_number(count)
        self._accepted = np.concatenate(blocks)
        ticks = self._accepted[: int(np.searchsorted(self._accepted, until))]
        return Scheduled(ticks, np.arange(len(ticks), dtype=np.int64))

    def _next_block(self, until: int, count: int) -> NDArray[np.int64]:
        expected = self._rate_per_s * (min(until, self._limit) - self._reached) * 1.05e-6
        n = int(min(max(expected + _LEAST_BLOCK, _LEAST_BLOCK), _LARGEST_BLOCK))
        if self._cap is not None and self._active is None:
            n = min(n, self._cap - count)
        gaps = self._process.inter_arrival_times(self._rng, self._rate_per_s, n)
        ticks = self._now + np.cumsum(validate_samples("arrivals", self._process, gaps, n, at_least=1))
        last = int(ticks[-1])
        if self._rhythm is not None:
            ticks = self._rhythm.ticks(ticks)
        # The first sum beyond 2**63 µs is negative, because a single gap is shorter than that.
        beyond = (ticks >= self._limit) | (ticks < 0)
        if beyond.any():
            self.exhausted = True
            ticks = ticks[: int(beyond.argmax())]
        else:
            self._now, self._reached = last, int(ticks[-1])
        if self._active is not None:
            ticks = ticks[self._active.contain(ticks)]
        if self._cap is not None and count + len(ticks) >= self._cap:
            self.exhausted = True
            ticks = ticks[: self._cap - count]
        return ticks


class MeasuredArrivals:
    """Arrivals of single requests in windows with their own rates; the process starts anew in each window.

    Parameters
    ----------
    process : ArrivalProcess
        Draws the gaps between arrivals.
    rng : callable
        Makes the random stream of the gaps of the window that starts at a tick.
    windows : iterable of Window
        Each with a rate.
    limit : int, ticks
        Arrivals are strictly before it.
    cap : int or None
        Maximum number of arrivals of a window; None = no limit.
    """

    def __init__(
        self,
        process: ArrivalProcess,
        rng: Callable[[int], np.random.Generator],
        windows: Iterable[Window],
        limit: int,
        cap: int | None,
    ) -> None:
        self._process = process
        self._rng = rng
        self._limit = limit
        self._cap = cap
        inside = (window for window in windows if max(window.start_us, 0) < min(window.end_us, limit))
        self._pending = sorted(inside, key=lambda window: window.start_us)
        self._begun: list[tuple[int, ArrivalTimes]] = []

    @property
    def exhausted(self) -> bool:
        """Whether there is no further arrival."""
        return not self._pending and all(arrivals.exhausted for _, arrivals in self._begun)

    def before(self, until: int) -> Scheduled:
        """Return all arrivals before a tick."""
        while self._pending and self._pending[0].start_us < until:
            window = self._pending.pop(0)
            start, end = max(window.start_us, 0), min(window.end_us, self._limit)
            rng = self._rng(window.start_us)
            arrivals = ArrivalTimes(self._process, window.rate or 0.0, rng, None, end - start, self._cap)
            self._begun.append((start, arrivals))
        ticks = [start + arrivals.before(until - start).ticks for start, arrivals in self._begun]
        merged = np.sort(np.concatenate(ticks)) if ticks else np.empty(0, dtype=np.int64)
        return Scheduled(merged, np.arange(len(merged), dtype=np.int64))


class SimultaneousArrivals:
    """Arrivals at an infinite rate: all at tick 0.

    Parameters
    ----------
    number : int
        Number of arrivals.
    """

    exhausted = True

    def __init__(self, number: int) -> None:
        self._ticks = np.zeros(number, dtype=np.int64)

    def before(self, until: int) -> Scheduled:
        """Return the arrivals if they are before a tick."""
        ticks = self._ticks[: len(self._ticks) if until > 0 else 0]
        return Scheduled(ticks, np.arange(len(ticks), dtype=np.int64))


class SingleArrival:
    """Start of the only session of a client: one gap after tick 0, or after the start of its first window.

    Parameters
    ----------
    process, rate_per_s, rng, limit
        As for `ArrivalTimes`.
    start : int, tick
        Start of the gap.
    active : ActiveTimes or None
        If the session would start outside, there is none; None = always active.
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
        """Return the arrival if it is before a tick."""
        ticks = self._ticks[self._ticks < until]
        return Scheduled(ticks, np.arange(len(ticks), dtype=np.int64))


class Rounds:
    """Rounds of the sessions of a client, each after the output and the think time of the previous round.

    A token is assumed to take 1 µs, as in the reference, because the duration of a round is not known before the
    simulation.

    Parameters
    ----------
    starts : ArrivalTimes or SingleArrival
        Starts of the sessions.
    outputs : SampledLengths
        Output lengths in the order of sessions and rounds.
    max_rounds : int
        Rounds of a session.
    think_time_us : int, µs
        Pause before the next round.
    active, limit
        As for `ArrivalTimes`. A round outside the windows is left out; a later round of the session may be inside.
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
        """Return the rounds before a tick."""
        starts = self._starts.before(until).ticks
        rounds = np.empty((len(starts), self._max_rounds), dtype=np.int64)
        rounds[:, 0] = 0
        outputs = self._outputs.first(rounds.size).reshape(rounds.shape)
        np.cumsum(outputs[:, :-1] + self._think_time_us, axis=1, out=rounds[:, 1:])
        ticks = (rounds + starts[:, np.newaxis]).ravel()
        # A sum beyond 2**63 µs is negative, because a session is shorter than 2**62 µs.
        sent = (ticks >= 0) & (ticks < min(until, self._limit))
        if self._active is not None:
            sent &= self._active.contain(ticks)
        numbers = np.flatnonzero(sent)
        return Scheduled(ticks[numbers], numbers)
