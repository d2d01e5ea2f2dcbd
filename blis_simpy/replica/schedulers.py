"""Order of the wait queue: schedulers and priority policies.

A scheduler computes the sort key of a waiting request; without a key the queue is first come, first served. A priority
policy computes a score, higher for more urgent requests, which some schedulers use. Both may depend on the clock. If
they do not, the order of waiting requests is constant, and the engine can compute macro-steps while requests wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = [
    "AgePriority",
    "ConstantPriority",
    "FirstComeFirstServed",
    "InverseAgePriority",
    "PriorityPolicy",
    "PriorityScheduler",
    "RequestPriorityScheduler",
    "ReversePriorityScheduler",
    "Scheduler",
    "ShortestJobFirst",
]


class PriorityPolicy(Protocol):
    """Computes scores of waiting requests.

    The optional attribute ``time_invariant = True`` states that the *order* of the scores is independent of the clock.
    Then the score of a request is computed once, when it enters the queue. Otherwise all scores are computed at every
    step.
    """

    def score(self, request: Request, now: int) -> float:
        """Return the score of a waiting request at tick `now`; higher is more urgent."""
        ...


class Scheduler(Protocol):
    """Computes sort keys of waiting requests.

    The optional attribute ``time_invariant = True`` states that the key depends on the clock only through the priority.
    """

    def key(self, request: Request, priority: float, now: int) -> Any:
        """Return the sort key of a waiting request: the smallest is admitted first; equal keys keep their order."""
        ...


class ConstantPriority:
    """Equal scores for all requests (registered as ``constant``)."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Return 0."""
        return 0.0


class AgePriority:
    """Scores that grow with age, by 1 per second (registered as ``slo-based``)."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Return the age, s."""
        return 1e-6 * float(now - request.arrived_at)


class InverseAgePriority:
    """Scores that fall with age, by 1 per second (registered as ``inverted-slo``)."""

    time_invariant = True

    def score(self, request: Request, now: int) -> float:
        """Return the negative age, s."""
        return 0.0 - 1e-6 * float(now - request.arrived_at)


class FirstComeFirstServed:
    """Order of entry; a preempted request goes to the front (registered as ``fcfs``)."""

    time_invariant = True
    key = None


class PriorityScheduler:
    """Highest score first, then by arrival, then by id (registered as ``priority-fcfs``)."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[float, int, bytes]:
        """Return the sort key."""
        return -priority, request.arrived_at, request.id.encode()


class RequestPriorityScheduler:
    """Lowest `Request.priority` first, then by arrival, then by id, as in vLLM (registered as ``priority``)."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[int, int, str]:
        """Return the sort key; it ignores the priority policy."""
        return request.priority, request.routed_at, request.id


class ReversePriorityScheduler:
    """Lowest score first, then by arrival, then by id; to measure the cost of priority inversion."""

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
