"""Order of the wait queue: schedulers and priority policies.

A scheduler gives a waiting request a sort key; without a key the queue is first come, first served. A priority policy
gives it a score, higher being more urgent, which some schedulers use. Both may depend on the clock. If they do not, the
order of a queue never changes between arrivals, which lets the engine compute many steps at once.
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
    """Gives waiting requests a score.

    A policy whose *order* never changes with the clock has the attribute ``time_invariant = True``. Then a score is
    computed once, when a request enters the queue; without the attribute all scores are computed again at every step.
    """

    def score(self, request: Request, now: int) -> float:
        """Urgency of a waiting request at tick `now`; higher is more urgent."""
        ...


class Scheduler(Protocol):
    """Gives waiting requests a sort key.

    The attribute ``time_invariant = True`` says that the key depends on the clock through the priority alone.
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
    """Requests keep the order of their entry; a preempted one goes to the front."""

    time_invariant = True
    key = None


class PriorityScheduler:
    """Most urgent first, then by arrival, then by id."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[float, int, bytes]:
        """Return the sort key."""
        return -priority, request.arrived_at, request.id.encode()


class RequestPriorityScheduler:
    """Lowest `Request.priority` first, then by arrival, then by id, as in vLLM (registered as ``priority``)."""

    time_invariant = True

    def key(self, request: Request, priority: float, now: int) -> tuple[int, int, str]:
        """Return the sort key; the score of the priority policy plays no part."""
        return request.priority, request.routed_at, request.id


class ReversePriorityScheduler:
    """Least urgent first, then by arrival, then by id; shows what priority inversions cost."""

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
