"""Legs: the stays of a request on its replicas, and their states.

Times are ticks (µs since the start of the simulation), durations are µs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from blis_simpy.native import mypyc_attr

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["NEVER", "Leg", "Phase", "RequestOutcome"]

NEVER = -1
"""Value of a timestamp or duration that is not set."""


class RequestOutcome(IntEnum):
    """State of a request or of a leg; final from `COMPLETED` on."""

    PENDING = 0
    """Not yet in a wait queue."""
    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    TIMED_OUT = 4
    DROPPED = 5
    """Beyond the limits of the replica, or dropped when the replica is drained."""
    REJECTED = 6
    """Rejected by admission or routing; requests only."""
    PREEMPTED = 7
    """Preempted, and replaced by a leg that starts over; legs only."""
    WITHDRAWN = 8
    """Withdrawn from the replica, and routed again; legs only."""


# Here and in other modules of the hot path: in Python 3.11 an access to a member of an enum class costs ten times as
# much as one to a name of the module.
_PENDING = RequestOutcome.PENDING


class Phase(IntEnum):
    """Part of a request that a leg serves."""

    BOTH = 0
    """Prefill and decode."""
    PREFILL = 1
    DECODE = 2


# mypyc skips `__init__` of a serializable class that interpreted code calls, unless it may have interpreted subclasses.
@mypyc_attr(serializable=True, allow_interpreted_subclasses=True)
class Leg:
    """Stay of a request on a replica.

    Parameters
    ----------
    request : Request
        The request.
    replica : int
        Index of the replica.
    phase : Phase, default BOTH
        Part of the request that the replica serves.
    routed_at : int, tick
        Time of the routing decision.

    Attributes
    ----------
    previous : Leg or None
        Previous leg on the same replica, which was preempted; None for the first.
    outcome : RequestOutcome
        State of the leg.
    queued_at : int, tick
        Time of the entry into the wait queue of the replica; unchanged by preemptions.
    first_scheduled_at, scheduled_at : int, tick
        Time of the first and of the last admission to the batch.
    ttft : int, µs
        Arrival of the request to the first token of this leg.
    e2e : int, µs
        Arrival of the request to its last token, if it completed here.
    itl_sum : int, µs
        Sum of its inter-token latencies. For running requests, updated when a result is made.
    itl_count : int
        Number of its inter-token latencies.
    itl_first_step : int
        Number of the step with the first of them.
    segments : tuple of (int, int)
        First and last number of each series of consecutive steps with an output. Only set if there are several, because
        steps without a token or a preemption with kept outputs came between them.
    generated_tokens : int
        Output tokens, if it completed here.
    length_capped : bool
        Whether the maximum model length ended it.
    cached_tokens : int
        Tokens found in the prefix cache at its first admission to the batch.
    num_preemptions : int
        Preemptions of the request so far, those of earlier legs included; failures of its replica count.
    finished_at : int, tick
        When the leg ended: completion without the overheads of the latency model, timeout, drop, preemption,
        withdrawal.
    """

    __slots__ = (
        "cached_tokens",
        "e2e",
        "finished_at",
        "first_scheduled_at",
        "generated_tokens",
        "itl_count",
        "itl_first_step",
        "itl_sum",
        "length_capped",
        "num_preemptions",
        "outcome",
        "phase",
        "previous",
        "queued_at",
        "replica",
        "request",
        "routed_at",
        "scheduled_at",
        "segments",
        "ttft",
    )

    def __init__(self, request: Request, replica: int, phase: Phase = Phase.BOTH, routed_at: int = NEVER) -> None:
        self.request = request
        self.replica = replica
        self.phase = phase
        self.previous: Leg | None = None
        self.outcome: RequestOutcome = _PENDING
        self.routed_at = routed_at
        self.queued_at = NEVER
        self.first_scheduled_at = NEVER
        self.scheduled_at = NEVER
        self.ttft = NEVER
        self.e2e = NEVER
        self.itl_sum = 0
        self.itl_count = 0
        self.itl_first_step = NEVER
        self.segments: tuple[tuple[int, int], ...] = ()
        self.generated_tokens = 0
        self.length_capped = False
        self.cached_tokens = 0
        self.num_preemptions: int = request.lost_legs[-1].num_preemptions if request.lost_legs else 0
        self.finished_at = NEVER

    @property
    def first(self) -> Leg:
        """The first leg of the route."""
        leg = self
        while leg.previous is not None:
            leg = leg.previous
        return leg

    def withdraw(self, now: int) -> None:
        """End the leg as withdrawn and detach it from the request, which can be routed again."""
        self.outcome = RequestOutcome.WITHDRAWN
        self.finished_at = now
        self.request.lost_legs = (*self.request.lost_legs, self)
        self.request.leg = None

    def __repr__(self) -> str:
        return f"<Leg of {self.request.id} on replica {self.replica}: {self.outcome.name.lower()}>"
