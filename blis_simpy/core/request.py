"""A request, its route, and its legs.

The workload decides what a `Request` asks for. What happens to it is read from its *legs*: a `Leg` is one stay on one
replica, with timestamps that this replica alone writes. Most requests have one leg. A request has several if a
preemption makes it start over, or if its replica gives it up and the router sends it to another.

Instants are ticks (µs since the start of the simulation), durations are µs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import attrs
from simpy.events import Event

from blis_simpy.core.token_spans import TokenSpans

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NEVER", "Leg", "Phase", "Request", "RequestOutcome", "Route"]

NEVER = -1
"""Value of a timestamp or duration that does not exist (yet)."""


class RequestOutcome(IntEnum):
    """State of a request or of a leg; from `COMPLETED` on, how it ended."""

    PENDING = 0
    """Not yet in a wait queue."""
    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    TIMED_OUT = 4
    DROPPED = 5
    """The replica can never serve it, or discarded it."""
    REJECTED = 6
    """Refused by admission or routing; requests only."""
    PREEMPTED = 7
    """Lost its KV blocks and starts over; legs only."""
    WITHDRAWN = 8
    """The replica gave it up, to be served elsewhere; legs only."""


# Here and in other modules of the hot path: in Python 3.11 reading a member from its class takes ten times as long as
# reading a name of the module.
_PENDING = RequestOutcome.PENDING


class Phase(IntEnum):
    """Part of a request that a leg serves."""

    BOTH = 0
    """Prefill and decode."""
    PREFILL = 1
    DECODE = 2


class Leg:
    """One stay of a request on one replica.

    Parameters
    ----------
    request : Request
        The request.
    replica : int
        Index of the replica.
    phase : Phase, default BOTH
        Part of the request that the replica serves.
    routed_at : int, tick
        When the replica got the request.

    Attributes
    ----------
    previous : Leg or None
        The leg before it on the same route; None for the first.
    outcome : RequestOutcome
        State of the leg.
    queued_at : int, tick
        When the request entered the wait queue of the replica. A leg that starts over after a preemption has the time
        of the leg before it.
    first_scheduled_at, scheduled_at : int, tick
        First and last time that it joined a batch.
    ttft : int, µs
        Arrival of the request to the first token of this leg.
    e2e : int, µs
        Arrival of the request to its last token, if it completed here.
    itl_sum : int, µs
        Sum of its inter-token latencies. While it runs, brought up to date when a result is made.
    itl_count : int
        Number of its inter-token latencies.
    itl_first_step : int
        Number of the replica's step that produced the first of them.
    segments : tuple of (int, int)
        First and last of the replica's steps in each run of steps that gave it an output each. Only kept if there is
        more than one, because it missed a token, or was preempted and kept its outputs.
    generated_tokens : int
        Output tokens, if it completed here.
    length_capped : bool
        Whether the maximum model length ended it.
    cached_tokens : int
        Tokens that it found in the prefix cache when it first joined a batch.
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
        """End the leg and detach the request from the replica, so that it can be routed again."""
        self.outcome = RequestOutcome.WITHDRAWN
        self.finished_at = now
        self.request.lost_legs = (*self.request.lost_legs, self)
        self.request.leg = None

    def __repr__(self) -> str:
        return f"<Leg of {self.request.id} on replica {self.replica}: {self.outcome.name.lower()}>"


@attrs.define(eq=False, slots=True)
class Request:
    """One LLM request.

    The constructor takes what the workload decides. The attributes after `streaming` are written while the request is
    served: `due_at` by the client, `admitted_at` and `rejected_at` by the router, the others by its replica, through
    the legs.

    Attributes
    ----------
    id : str
        Unique name, e.g. ``request_17``.
    arrived_at : int, tick
        When the client sent it.
    input_tokens : int
        Prompt length, shared prefix and context included.
    output_tokens : int
        Planned output length; what the model generates unless something ends it early.
    max_output_tokens : int
        Output budget that the client states; 0 = none. Checked at enqueue, never limits generation.
    deadline : int, tick
        When the client gives up; 0 = never.
    content : TokenSpans or None
        Leading tokens of the prompt that other prompts may share; None = shares nothing.
    output_stream : str or None
        Stream name of its output, if a later prompt may contain it.
    slo_class, tenant, model, client, session, prefix_group : str
        Labels; empty = none.
    round_index : int
        Round of its session, from 0.
    priority : int
        Urgency for schedulers that read it; the lowest number is the most urgent.
    streaming : bool
        Label: whether the client asked for a stream.
    due_at : int, tick
        When its client meant to send it, if a cap on the requests in flight held it back; else `NEVER`.
    admitted_at : int, tick
        When it was admitted; the last time, if its replica gave it up.
    rejected_at : int, tick
        When it was refused by admission or routing.
    leg : Leg or None
        The current leg; None while no replica has the request.
    lost_legs : tuple of Leg
        The last leg on each replica that gave the request up, in order.
    done : simpy.Event or None
        Succeeds when the request has ended, at the start of its last step; only set if a process waits for it.
    """

    id: str
    arrived_at: int
    input_tokens: int
    output_tokens: int
    max_output_tokens: int = 0
    deadline: int = 0
    content: TokenSpans | None = None
    output_stream: str | None = None
    slo_class: str = ""
    tenant: str = ""
    model: str = ""
    client: str = ""
    session: str = ""
    prefix_group: str = ""
    round_index: int = 0
    streaming: bool = False
    priority: int = 0

    due_at: int = attrs.field(default=NEVER, init=False)
    admitted_at: int = attrs.field(default=NEVER, init=False)
    rejected_at: int = attrs.field(default=NEVER, init=False)
    leg: Leg | None = attrs.field(default=None, init=False, repr=False)
    lost_legs: tuple[Leg, ...] = attrs.field(default=(), init=False, repr=False)
    done: Event | None = attrs.field(default=None, init=False, repr=False)

    @property
    def legs(self) -> list[Leg]:
        """All legs in order, those on replicas that gave the request up included."""
        legs: list[Leg] = []
        for last in (*self.lost_legs, self.leg):
            route: list[Leg] = []
            leg = last
            while leg is not None:
                route.append(leg)
                leg = leg.previous
            legs += reversed(route)
        return legs

    @property
    def outcome(self) -> RequestOutcome:
        """State of the request, or how it ended."""
        if self.leg is not None:
            return self.leg.outcome
        return RequestOutcome.PENDING if self.rejected_at < 0 else RequestOutcome.REJECTED

    @property
    def replica(self) -> int:
        """Index of the replica that has it, or where it ended; `NEVER` while none has."""
        return NEVER if self.leg is None else self.leg.replica

    @property
    def routed_at(self) -> int:
        """Tick at which its replica got it."""
        return NEVER if self.leg is None else self.leg.routed_at

    @property
    def queued_at(self) -> int:
        """Tick at which it entered the wait queue of its replica."""
        return NEVER if self.leg is None else self.leg.queued_at

    @property
    def first_scheduled_at(self) -> int:
        """Tick at which it first joined a batch."""
        return NEVER if self.leg is None else self.leg.first.first_scheduled_at

    @property
    def scheduled_at(self) -> int:
        """Tick at which it last joined a batch."""
        leg = self.leg
        if leg is None:
            return NEVER
        while leg.scheduled_at < 0 and leg.previous is not None:
            leg = leg.previous
        return leg.scheduled_at

    @property
    def ttft(self) -> int:
        """Arrival to first token of the last completed prefill, µs; `NEVER` if there was none."""
        leg = self.leg
        if leg is None:
            return NEVER
        while leg.ttft < 0 and leg.previous is not None:
            leg = leg.previous
        return leg.ttft

    @property
    def e2e(self) -> int:
        """Arrival to last token, µs, for completed requests; else `NEVER`."""
        return NEVER if self.leg is None else self.leg.e2e

    @property
    def itl_sum(self) -> int:
        """Sum of its inter-token latencies since its last prefill, µs.

        For requests that have not completed it is brought up to date when they leave the batch for good and when a
        result is made.
        """
        return 0 if self.leg is None else self.leg.itl_sum

    @property
    def itl_count(self) -> int:
        """Number of its inter-token latencies since its last prefill."""
        return 0 if self.leg is None else self.leg.itl_count

    @property
    def itl_first_step(self) -> int:
        """Number of the replica's step that produced the first of them; `NEVER` without any."""
        return NEVER if self.leg is None else self.leg.itl_first_step

    @property
    def generated_tokens(self) -> int:
        """Output tokens of a completed request."""
        return 0 if self.leg is None else self.leg.generated_tokens

    @property
    def length_capped(self) -> bool:
        """Whether the maximum model length ended it."""
        return self.leg is not None and self.leg.length_capped

    @property
    def cached_tokens(self) -> int:
        """Tokens that it found in the prefix cache when it first joined a batch of its replica."""
        return 0 if self.leg is None else self.leg.first.cached_tokens

    @property
    def num_preemptions(self) -> int:
        """How often it lost its KV blocks and started over, by a preemption or the failure of its replica."""
        if self.leg is not None:
            return self.leg.num_preemptions
        return self.lost_legs[-1].num_preemptions if self.lost_legs else 0

    @property
    def finished_at(self) -> int:
        """Tick at which it ended: completion without the overheads of the latency model, timeout, drop or rejection."""
        return self.rejected_at if self.leg is None else self.leg.finished_at


class Route:
    """Answer of the router: the replicas that serve a request, and why.

    Parameters
    ----------
    request : Request
        The request.
    at : int, tick
        When the decision was taken.
    legs : tuple of (int, Phase)
        Replica and phase of each leg, in order; one leg with `Phase.BOTH` unless the phases are served apart.
    reason : str
        Reason of the routing policy; may be empty.
    scores : sequence of float or None
        Score of each snapshot, if the policy has any.
    snapshots : sequence of Snapshot
        Views of the replicas that the policy chose from, valid until the request is handed over.
    """

    __slots__ = ("at", "legs", "reason", "request", "scores", "snapshots")

    def __init__(
        self,
        request: Request,
        at: int,
        legs: tuple[tuple[int, Phase], ...],
        reason: str = "",
        scores: Sequence[float] | None = None,
        snapshots: Sequence[Any] = (),
    ) -> None:
        self.request = request
        self.at = at
        self.legs = legs
        self.reason = reason
        self.scores = scores
        self.snapshots = snapshots

    @property
    def replica(self) -> int:
        """Index of the replica that gets the request first."""
        return self.legs[0][0]
