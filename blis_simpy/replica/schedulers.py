"""Who waits in front of whom: schedulers, priority policies and the wait queue.

A scheduler turns a waiting request into a sort key; without a key the queue is first come, first served. A priority
policy turns it into a score, higher being more urgent, which only some schedulers look at. Both may depend on the
clock. As long as they do not, the order of a queue never changes between arrivals, which lets the engine compute many
steps at once.
"""

from __future__ import annotations

from bisect import insort_left, insort_right
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blis_simpy.core.request import Request
    from blis_simpy.replica.running_request import RunningRequest

__all__ = [
    "AgePriority",
    "ConstantPriority",
    "FirstComeFirstServed",
    "InverseAgePriority",
    "PriorityPolicy",
    "PriorityScheduler",
    "ReversePriorityScheduler",
    "Scheduler",
    "ShortestJobFirst",
    "WaitQueue",
]


class PriorityPolicy(Protocol):
    """Scores waiting requests.

    A policy whose *order* never changes with the clock says so with ``time_invariant = True``. It may then be asked
    at any time, and the simulation runs faster; without the attribute it is asked again at every step.
    """

    def score(self, request: Request, now: int) -> float:
        """Urgency of a waiting request at tick `now`; higher is more urgent."""
        ...


class Scheduler(Protocol):
    """Orders the wait queue.

    ``time_invariant = True`` on the class says that the key depends on the clock through the priority alone.
    """

    def key(self, request: Request, priority: float, now: int) -> Any:
        """Sort key of a waiting request, smallest first; equal keys keep their order."""
        ...


class ConstantPriority:
    """All requests are equally urgent."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Return 0."""
        return 0.0


class AgePriority:
    """Urgency grows with age, by 1 a second (registered as ``slo-based``)."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Age in seconds."""
        return 1e-6 * float(now - request.arrived_at)


class InverseAgePriority:
    """Urgency falls with age, by 1 a second (registered as ``inverted-slo``)."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Negative age in seconds."""
        return 0.0 - 1e-6 * float(now - request.arrived_at)


class FirstComeFirstServed:
    """Requests stay in the order of their entry; a preempted one goes to the front."""

    time_invariant = True
    key = None


class PriorityScheduler:
    """Most urgent first, then by arrival, then by id."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[float, int, bytes]:
        """Return the sort key."""
        return -priority, request.arrived_at, request.id.encode()


class ReversePriorityScheduler:
    """Least urgent first, then by arrival, then by id; a policy to show what inversions cost."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[float, int, bytes]:
        """Return the sort key."""
        return priority, request.arrived_at, request.id.encode()


class ShortestJobFirst:
    """Shortest prompt first, then by arrival, then by id (registered as ``sjf``)."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[int, int, bytes]:
        """Return the sort key."""
        return request.input_tokens, request.arrived_at, request.id.encode()


class WaitQueue:
    """The wait queue of a replica, in the order of its scheduler.

    Parameters
    ----------
    scheduler : Scheduler
        Gives the sort key; a ``key`` of None means first come, first served.
    priority : PriorityPolicy
        Gives the score that the key may use.
    """

    def __init__(self, scheduler: Scheduler | FirstComeFirstServed, priority: PriorityPolicy) -> None:
        self._key: Callable[[Request, float, int], Any] | None = scheduler.key
        self._score = priority.score
        self.time_invariant = self._key is None or bool(
            getattr(scheduler, "time_invariant", False) and getattr(priority, "time_invariant", False)
        )
        """Whether the order of those who wait never changes by itself."""
        self.waiting: deque[RunningRequest] | list[RunningRequest] = deque() if self._key is None else []
        """Those who wait, in order; only to be looked at."""

    def __len__(self) -> int:
        return len(self.waiting)

    def __iter__(self) -> Iterator[RunningRequest]:
        return iter(self.waiting)

    def _sort_key(self, now: int) -> Callable[[RunningRequest], Any]:
        key, score = self._key, self._score
        assert key is not None
        return lambda sequence: key(sequence.request, score(sequence.request, now), now)

    def append(self, sequence: RunningRequest, now: int) -> None:
        """Add one that just entered, or at its place if the order allows."""
        if self._key is not None and self.time_invariant:
            insort_right(self.waiting, sequence, key=self._sort_key(now))
        else:
            self.waiting.append(sequence)

    def return_to_front(self, sequence: RunningRequest, now: int) -> None:
        """Add a preempted one: at the front, or at its place."""
        if self._key is not None and self.time_invariant:
            insort_left(self.waiting, sequence, key=self._sort_key(now))
        else:
            self.waiting.insert(0, sequence)

    def refresh(self, now: int) -> None:
        """Sort anew at the start of a step, where keys depend on the clock."""
        if not self.time_invariant and len(self.waiting) > 1:
            assert isinstance(self.waiting, list)
            self.waiting.sort(key=self._sort_key(now))

    @property
    def head(self) -> RunningRequest | None:
        """Next to be admitted."""
        return self.waiting[0] if self.waiting else None

    def pop(self) -> RunningRequest:
        """Remove and return the head."""
        waiting = self.waiting
        return waiting.popleft() if isinstance(waiting, deque) else waiting.pop(0)

    def remove(self, sequence: RunningRequest) -> None:
        """Remove one that gave up."""
        self.waiting.remove(sequence)
