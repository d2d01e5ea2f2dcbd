"""Legs: the stays of a request on its replicas, and their states.

Times are ticks (µs since the start of the simulation), durations are µs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from blis_simpy.native import mypyc_attr

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["NEVER", "Handover", "Leg", "Phase", "RequestOutcome"]

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
    HANDED_OVER = 9
    """Ended on the replica, for another one to continue with its KV blocks; legs only."""


# Here and in other modules of the hot path: in Python 3.11 an access to a member of an enum class costs ten times as
# much as one to a name of the module.
_PENDING = RequestOutcome.PENDING


class Phase(IntEnum):
    """Part of a request that a leg serves."""

    BOTH = 0
    """Prefill and decode."""
    PREFILL = 1
    """Prefill only; another replica decodes."""
    DECODE = 2
    """Decode only, with KV blocks from another replica."""


class Handover:
    """Passing of a request, with its KV blocks, from one replica to another.

    Parameters
    ----------
    source : Leg
        Leg whose replica has the KV blocks, and holds them until they have been sent.
    tokens : int
        Tokens in these blocks.
    num_outputs : int, default 0
        Output tokens that the source has delivered to the client.

    Attributes
    ----------
    moved_tokens : int
        Tokens in the blocks that are sent: those that the prefix cache of the destination does not have.
    num_bytes : int
        Size of these blocks.
    reserved_at : int, tick
        When the destination allocated blocks for all tokens, and the transfer began.
    received_at : int, tick
        When the last byte arrived at the destination.
    released_at : int, tick
        When the source released its blocks.
    """

    __slots__ = (
        "moved_tokens",
        "num_bytes",
        "num_outputs",
        "received_at",
        "released_at",
        "reserved_at",
        "source",
        "tokens",
    )

    def __init__(self, source: Leg, tokens: int, num_outputs: int = 0) -> None:
        self.source = source
        self.tokens = tokens
        self.num_outputs = num_outputs
        self.moved_tokens = 0
        self.num_bytes = 0
        self.reserved_at = NEVER
        self.received_at = NEVER
        self.released_at = NEVER

    def __repr__(self) -> str:
        return f"<Handover of {self.source.request.id} from replica {self.source.replica}: {self.tokens:,} tokens>"


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
    handover : Handover or None
        Where its KV blocks come from, if another replica computed them.
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
        withdrawal, handover.
    """

    __slots__ = (
        "cached_tokens",
        "e2e",
        "finished_at",
        "first_scheduled_at",
        "generated_tokens",
        "handover",
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
        self.handover: Handover | None = None
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
        self.num_preemptions: int = request.earlier_legs[-1].num_preemptions if request.earlier_legs else 0
        self.finished_at = NEVER

    @property
    def first(self) -> Leg:
        """The first leg of the route."""
        leg = self
        while leg.previous is not None:
            leg = leg.previous
        return leg

    @property
    def prompt_leg(self) -> Leg:
        """The leg whose replica computed the prompt: this one, unless the KV blocks came from another replica."""
        leg = self
        while leg.handover is not None:
            leg = leg.handover.source
        return leg

    def withdraw(self, now: int) -> None:
        """End the leg as withdrawn and detach it from the request, which can be routed again."""
        self.outcome = RequestOutcome.WITHDRAWN
        self.finished_at = now
        self.detach()

    def detach(self) -> None:
        """Make it an earlier leg of its request."""
        request = self.request
        request.earlier_legs = (*request.earlier_legs, self)
        # The next replica may have the request already, while its blocks are sent during the prefill.
        if request.leg is self:
            request.leg = None

    def __repr__(self) -> str:
        return f"<Leg of {self.request.id} on replica {self.replica}: {self.outcome.name.lower()}>"
