"""Requests, routes and legs.

A `Request` holds the input of the workload. A `Leg` is one stay of the request on one replica, with timestamps written
only by that replica. Most requests have one leg. A request gets another one if a preemption makes it start over, if its
replica withdraws it and the router sends it to another replica, or if it is handed over: then the next replica
continues with the KV blocks of the one before.

Times are ticks (µs since the start of the simulation), durations are µs.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import attrs

from blis_simpy.core.leg import NEVER, Handover, Leg, Phase, RequestOutcome
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.core.token_spans import TokenSpans
from blis_simpy.errors import ScenarioError
from blis_simpy.units import format_ticks, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simpy.events import Event
else:
    # Requests of a scenario file are checked against these annotations; settings import this module, and SimPy is slow.
    Event = object

__all__ = ["NEVER", "Handover", "Leg", "Phase", "Request", "RequestOutcome", "Route"]


@attrs.define(eq=False, slots=True, repr=False)
class Request:
    """One LLM request.

    The parameters of the constructor come from the workload. The other attributes are written during the run: `due_at`
    by the client, `admitted_at` and `rejected_at` by the router, the others by its replicas, through the legs.

    Attributes
    ----------
    id : str
        Unique name, such as ``request_17``.
    arrived_at : int, tick
        Time at which the client sends it.
    input_tokens : int
        Prompt length, including shared prefix and context of the session.
    output_tokens : int
        Planned output length, which a limit may reduce.
    max_output_tokens : int
        Output budget stated by the client; 0 = none. The engine settings decide whether it limits the output.
    deadline : int, tick
        Time at which the request times out; 0 = never.
    content : TokenSpans or None
        Leading tokens of the prompt that other prompts may share; None = none.
    output_stream : str or None
        Name of the token stream of its output, if later prompts may contain it.
    slo_class, tenant, model, client, session, prefix_group : str
        Labels; empty = none.
    round_index : int
        Round of its session, from 0.
    priority : int
        Priority for the scheduler ``priority``; the lowest number is the most urgent.
    streaming : bool
        Label: whether the client requested streaming.
    slo_targets : SLOTargets or None
        Latency targets that replace those of its SLO class, one by one; None = none.
    due_at : int, tick
        Planned arrival, if a cap on the requests in flight delayed it; else `NEVER`.
    admitted_at : int, tick
        Time of the last admission.
    rejected_at : int, tick
        Time of the rejection by admission or routing.
    leg : Leg or None
        The current leg; None while the request is on no replica.
    earlier_legs : tuple of Leg
        The last leg on each replica from which it was withdrawn or that handed it over, in order.
    done : simpy.Event or None
        Succeeds when the request ends; only set if a process waits for it.
    row : int
        Position among the requests of its simulation, as in `Simulation.requests` and the result; `NEVER` before.
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
    slo_targets: SLOTargets | None = None

    due_at: int = attrs.field(default=NEVER, init=False)
    admitted_at: int = attrs.field(default=NEVER, init=False)
    rejected_at: int = attrs.field(default=NEVER, init=False)
    leg: Leg | None = attrs.field(default=None, init=False, repr=False)
    earlier_legs: tuple[Leg, ...] = attrs.field(default=(), init=False, repr=False)
    done: Event | None = attrs.field(default=None, init=False, repr=False)
    row: int = attrs.field(default=NEVER, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not type(self.arrived_at) is type(self.deadline) is type(self.priority) is type(self.round_index) is int:
            self.arrived_at, self.deadline = ticks("arrived_at", self.arrived_at), ticks("deadline", self.deadline)
            self.priority, self.round_index = (_integer(self, name) for name in ("priority", "round_index"))
        if not type(self.input_tokens) is type(self.output_tokens) is type(self.max_output_tokens) is int:
            self.input_tokens, self.output_tokens, self.max_output_tokens = (_integer(self, name) for name in _TOKENS)
        if self.input_tokens < 0 or self.output_tokens < 0 or self.deadline < 0:
            name = next(name for name in ("input_tokens", "output_tokens", "deadline") if getattr(self, name) < 0)
            raise ScenarioError.at(name, "must be >= 0", getattr(self, name))

    def __repr__(self) -> str:
        tokens = f"{self.input_tokens:,} input and {self.output_tokens:,} output tokens"
        return f"<Request {self.id} at {format_ticks(self.arrived_at)}: {tokens}, {self.outcome.name.lower()}>"

    @property
    def legs(self) -> list[Leg]:
        """All legs in order, including those that were withdrawn or handed over."""
        legs: list[Leg] = []
        for last in (*self.earlier_legs, self.leg):
            route: list[Leg] = []
            leg = last
            while leg is not None:
                route.append(leg)
                leg = leg.previous
            legs += reversed(route)
        return legs

    @property
    def outcome(self) -> RequestOutcome:
        """State of the request."""
        leg = self.leg
        if leg is not None and (leg.outcome is not RequestOutcome.PENDING or leg.handover is None):
            return leg.outcome
        if self.rejected_at >= 0:
            return RequestOutcome.REJECTED
        # On the way from one replica to another.
        if self.earlier_legs and self.earlier_legs[-1].outcome is RequestOutcome.HANDED_OVER:
            return RequestOutcome.QUEUED
        return RequestOutcome.PENDING

    @property
    def replica(self) -> int:
        """Index of its current or last replica; `NEVER` while it is on no replica."""
        return NEVER if self.leg is None else self.leg.replica

    @property
    def routed_at(self) -> int:
        """Time of the routing decision for the replica that computes the prompt, tick."""
        leg = self.prompt_leg
        return NEVER if leg is None else leg.routed_at

    @property
    def prompt_leg(self) -> Leg | None:
        """The leg whose replica computes or computed the prompt."""
        return self.leg if self.leg is None or self.leg.handover is None else self.leg.prompt_leg

    @property
    def queued_at(self) -> int:
        """Time of the entry into the wait queue of the replica that computes the prompt, tick."""
        leg = self.prompt_leg
        return NEVER if leg is None else leg.queued_at

    @property
    def first_scheduled_at(self) -> int:
        """Time of the first admission to the batch of the replica that computes the prompt, tick."""
        leg = self.prompt_leg
        return NEVER if leg is None else leg.first.first_scheduled_at

    @property
    def scheduled_at(self) -> int:
        """Time of the last admission to the batch of the replica that computes the prompt, tick."""
        leg = self.prompt_leg
        if leg is None:
            return NEVER
        while leg.scheduled_at < 0 and leg.previous is not None:
            leg = leg.previous
        return leg.scheduled_at

    @property
    def ttft(self) -> int:
        """Arrival to first token of the last complete prefill, µs; `NEVER` without one."""
        leg = self.leg
        if leg is None:
            return NEVER
        while leg.ttft < 0 and leg.previous is not None:
            leg = leg.previous
        return leg.ttft

    @property
    def first_ttft(self) -> int:
        """Arrival to the first token of the first completed prefill on any replica, µs; `NEVER` if there was none."""
        if not self.num_preemptions:
            return self.ttft
        return next((leg.ttft for leg in self.legs if leg.ttft >= 0 and leg.phase is not Phase.PREFILL), NEVER)

    @property
    def e2e(self) -> int:
        """Arrival to last token, µs; `NEVER` unless the request is completed."""
        return NEVER if self.leg is None else self.leg.e2e

    @property
    def itl_sum(self) -> int:
        """Sum of its inter-token latencies since its last prefill, µs.

        For requests that are not completed, it is updated when they leave the batch and when a result is made.
        """
        return 0 if self.leg is None else self.leg.itl_sum

    @property
    def itl_count(self) -> int:
        """Number of its inter-token latencies since its last prefill."""
        return 0 if self.leg is None else self.leg.itl_count

    @property
    def itl_first_step(self) -> int:
        """Number of the step with the first inter-token latency; `NEVER` without any."""
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
        """Tokens found in the prefix cache at the first admission to the replica that computes the prompt."""
        leg = self.prompt_leg
        return 0 if leg is None else leg.first.cached_tokens

    @property
    def num_preemptions(self) -> int:
        """Number of times that it lost its KV blocks, by a preemption or a failure of its replica."""
        if self.leg is not None:
            return self.leg.num_preemptions
        return self.earlier_legs[-1].num_preemptions if self.earlier_legs else 0

    @property
    def finished_at(self) -> int:
        """Time of the end, tick: completion, timeout, drop or rejection."""
        return self.rejected_at if self.leg is None else self.leg.finished_at


_TOKENS = ("input_tokens", "output_tokens", "max_output_tokens")


def _integer(request: Request, name: str) -> int:
    value = getattr(request, name)
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return index(value)
    raise ScenarioError.at(name, "must be an integer", value)


class Route:
    """Answer of the router: the replica of each leg of a request, with the reason.

    Parameters
    ----------
    request : Request
        The request.
    at : int, tick
        Time of the decision.
    legs : tuple of (int, Phase)
        Replica and phase of each leg, in order; one leg with `Phase.BOTH` unless the phases have separate replicas.
    reason : str
        Reason of the routing policy; may be empty.
    scores : sequence of float or None
        Score of each snapshot; None if the policy has no scores.
    snapshots : sequence of Snapshot
        Snapshots of the replicas that the policy chose from, valid until the request is submitted to its replica.
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
        """Index of the replica that the routing policy chose: that of the last leg."""
        return self.legs[-1][0]
