"""Invariants of a simulation, checked while it runs.

The checker is an observer: it follows the state of each request from event to event, and compares what replicas, router
and nodes report. The first breach ends the run with a `SimulationError` that names tick, replica and request.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from blis_simpy.cluster.gpu_nodes import OTHER_PROCESS
from blis_simpy.core.observers import EVENTS
from blis_simpy.core.request import NEVER, Phase, RequestOutcome
from blis_simpy.errors import SimulationError
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.cluster.cluster import Cluster
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.request import Leg, Request, Route
    from blis_simpy.network.links import FlowGroup, Link
    from blis_simpy.network.network import Network
    from blis_simpy.replica.replica import Replica

__all__ = ["InvariantChecker"]

# States of a request,
_AT_ROUTER, _ON_REPLICAS, _LEG_ENDED, _ENDED = "at the router", "on its replicas", "finished by its replica", "ended"
# and its states on each replica that has it: two of them while one sends KV blocks that the other computes.
_ON_THE_WAY, _QUEUED, _LOADING, _RUNNING = "on the way to a replica", "queued", "loading its KV blocks", "running"
_LEFT = (RequestOutcome.COMPLETED, RequestOutcome.TIMED_OUT, RequestOutcome.DROPPED, RequestOutcome.HANDED_OVER)
_ENDS = (RequestOutcome.COMPLETED, RequestOutcome.TIMED_OUT, RequestOutcome.DROPPED)


class InvariantChecker:
    """Checks the invariants of one simulation.

    Parameters
    ----------
    env : Environment
        The environment.
    cluster : Cluster
        Router and replicas.
    network : Network
        The network between the replicas.
    observers : Observers
        Observers of the simulation, to which it is added.

    Raises
    ------
    SimulationError
        In the run, at the first breach.
    """

    def __init__(self, env: Environment, cluster: Cluster, network: Network, observers: Observers) -> None:
        self._env = env
        self._network = network
        network.on_share = self._check_shares
        self._cluster = cluster
        self._now = env.now
        self._states: dict[Request, str] = {}
        self._legs: dict[tuple[Request, int], str] = {}
        for event in EVENTS:
            if hasattr(self, event):
                observers.add(event, getattr(self, event))
        for event in ("enqueued", "blocks_reserved", "blocks_received", "leg_finished", "preempted"):
            observers.add_deferred(event, lambda leg: self._check_replica(self._cluster.replicas[leg.replica]))
        observers.add_deferred("idle", lambda replica: self._check_replica(self._cluster.replicas[replica]))

    def _fail(self, rule: str, *, replica: int = NEVER, request: Request | None = None) -> NoReturn:
        parts = [f"tick {self._env.now}"]
        if replica != NEVER:
            parts.append(f"replica {replica}")
        if request is not None:
            parts.append(f"request {request.id}")
        raise SimulationError.at("invariant", f"is broken: {rule}", hint=", ".join(parts), code="invariant")

    def _move(self, request: Request, to: str, *allowed: str, replica: int = NEVER) -> None:
        """Let a request change its state at the present tick."""
        if self._env.now < self._now:
            self._fail(f"the clock went back from tick {self._now}", request=request)
        self._now = self._env.now
        state = self._states.get(request, "")
        if state not in allowed:
            self._fail(f"a request that is {state or 'new'} became one that is {to}", replica=replica, request=request)
        self._states[request] = to

    def _move_leg(self, leg: Leg, to: str, *allowed: str) -> None:
        """Let a leg change its state."""
        key = (leg.request, leg.replica)
        state = self._legs.get(key, "")
        if state not in allowed:
            rule = f"a leg that is {state or 'new'} became one that is {to}"
            self._fail(rule, replica=leg.replica, request=leg.request)
        self._legs[key] = to

    def arrived(self, request: Request) -> None:
        """Check that a request is new and arrives now."""
        self._move(request, _AT_ROUTER, "")
        if request.arrived_at != self._env.now:
            self._fail(f"a request arrived at another tick than {request.arrived_at}", request=request)

    def admitted(self, request: Request, _reason: str) -> None:
        """Check that a request is at the router."""
        self._move(request, _AT_ROUTER, _AT_ROUTER)

    def rejected(self, request: Request, _reason: str) -> None:
        """Check that a request is at the router, or lacks a destination while another replica computes its prompt."""
        is_prefilling = any(other == request for other, _ in self._legs)
        self._move(request, _LEG_ENDED, _ON_REPLICAS if is_prefilling else _AT_ROUTER)

    def routed(self, route: Route) -> None:
        """Check that a request is at the router, and follow it to its replica."""
        replica, phase = route.legs[0]
        if phase is Phase.DECODE:
            # The request comes later, or never, if the lease of its blocks ends before. Until then it is where it was:
            # with a layered transfer, another replica may compute the prompt.
            state = self._states.get(route.request, "")
            self._move(route.request, state, _AT_ROUTER, _ON_REPLICAS, replica=replica)
        else:
            self._move(route.request, _ON_REPLICAS, _AT_ROUTER, replica=replica)
            self._legs[route.request, replica] = _ON_THE_WAY

    def enqueued(self, leg: Leg) -> None:
        """Check that a request enters the queue of the replica that it was sent to."""
        if leg.handover is None:
            self._move_leg(leg, _QUEUED, _ON_THE_WAY)
            return
        self._move(leg.request, _ON_REPLICAS, _AT_ROUTER, _ON_REPLICAS, replica=leg.replica)
        self._move_leg(leg, _QUEUED, "")

    def blocks_reserved(self, leg: Leg) -> None:
        """Check that a request waits, and that its source has the blocks or computes them."""
        self._move_leg(leg, _LOADING, _QUEUED)
        handover = leg.handover
        if handover is None:
            self._fail("blocks are reserved without a handover", replica=leg.replica, request=leg.request)
        source = handover.source
        holds = self._cluster.replicas[source.replica].holds(source)
        if not holds and self._legs.get((leg.request, source.replica)) != _RUNNING:
            self._fail("blocks are sent that the source has not", replica=source.replica, request=leg.request)

    def blocks_received(self, leg: Leg) -> None:
        """Check that a request loads its blocks, that all of them are here, and that the source has released them."""
        self._move_leg(leg, _QUEUED, _LOADING)
        handover = leg.handover
        assert handover is not None
        if not handover.source.finished_at <= handover.released_at == handover.received_at == self._env.now:
            rule = f"blocks arrived at {handover.received_at} and were released at {handover.released_at}"
            self._fail(rule, replica=leg.replica, request=leg.request)
        size = self._cluster.replicas[leg.replica].block_size
        blocks = -(-handover.tokens // size)
        if blocks * size != handover.moved_tokens + leg.cached_tokens:
            rule = f"{handover.moved_tokens} tokens arrived and {leg.cached_tokens} were here, of {blocks} blocks"
            self._fail(rule, replica=leg.replica, request=leg.request)

    def scheduled(self, leg: Leg) -> None:
        """Check that a request joins the batch from the queue."""
        self._move_leg(leg, _RUNNING, _QUEUED)

    def first_token(self, leg: Leg) -> None:
        """Check that the request was in a batch, and that its token is not made before it arrived."""
        # With asynchronous scheduling, a step may deliver the token of a request that the next step has preempted.
        known = self._legs.get((leg.request, leg.replica))
        state = _QUEUED if leg.num_preemptions and known == _QUEUED else _RUNNING
        # The token of a prefill replica reaches the client with its response.
        if leg.outcome is not RequestOutcome.HANDED_OVER:
            self._move_leg(leg, state, state)
        if leg.ttft < 0:
            self._fail(f"the TTFT is {leg.ttft} us", replica=leg.replica, request=leg.request)

    def preempted(self, leg: Leg) -> None:
        """Check that the request runs; it is in the queue again."""
        self._move_leg(leg, _QUEUED, _RUNNING)

    def leg_finished(self, leg: Leg) -> None:
        """Check the stamps of a leg, and that its request was on this replica."""
        request, outcome = leg.request, leg.outcome
        if outcome in _ENDS:
            # A decode replica may drop a request on the way to its wait queue.
            before = (_ON_REPLICAS,) if leg.handover is None else (_ON_REPLICAS, _AT_ROUTER)
            self._move(request, _LEG_ENDED, *before, replica=leg.replica)
        elif not any(other == request and number != leg.replica for other, number in self._legs):
            # A request that has ended on one of its replicas is withdrawn from the other.
            state = self._states[request]
            to = state if state == _LEG_ENDED else _AT_ROUTER
            self._move(request, to, _ON_REPLICAS, _AT_ROUTER, _LEG_ENDED, replica=leg.replica)
        is_new = leg.handover is not None and leg.queued_at == NEVER
        if self._legs.pop((request, leg.replica), NEVER) == NEVER and not is_new:
            self._fail("a request is finished by another replica than its own", replica=leg.replica, request=request)
        self._check_stamps(leg)

    def _check_stamps(self, leg: Leg) -> None:
        request, outcome = leg.request, leg.outcome
        stamps = {
            "arrival": request.arrived_at,
            "admission": request.admitted_at,
            "routing": leg.routed_at,
            "queue": leg.queued_at,
            "batch": leg.scheduled_at,
        }
        before = "arrival"
        for name, at in stamps.items():
            if at != NEVER and at < stamps[before]:
                self._fail(
                    f"{name} at {at} is before {before} at {stamps[before]}", replica=leg.replica, request=request
                )
            before = name if at != NEVER else before
        if outcome is not RequestOutcome.COMPLETED:
            return
        if leg.e2e < leg.ttft or leg.ttft < 0:
            self._fail(
                f"the E2E of {leg.e2e} us is below the TTFT of {leg.ttft} us", replica=leg.replica, request=request
            )
        planned = self._planned_outputs(leg)
        if not leg.length_capped and leg.generated_tokens != planned:
            rule = f"{leg.generated_tokens} of {planned} output tokens were generated"
            self._fail(rule, replica=leg.replica, request=request)

    def _planned_outputs(self, leg: Leg) -> int:
        request: Request = leg.request
        engine = self._cluster.replicas[leg.replica].settings
        planned = request.output_tokens
        if engine.step_effects == "end":
            planned = max(planned, 1)
        if engine.over_length == "clip" and request.max_output_tokens:
            planned = min(planned, request.max_output_tokens)
        return planned

    def ended(self, request: Request) -> None:
        """Check that a request ends once, with an outcome."""
        self._move(request, _ENDED, _LEG_ENDED)
        if request.outcome not in (*_ENDS, RequestOutcome.REJECTED):
            self._fail(f"a request ended as {request.outcome.name.lower()}", request=request)

    def check_all(self) -> None:
        """Check all replicas, nodes and steps as of now."""
        for replica in self._cluster.replicas:
            self._check_replica(replica)
            self._check_steps(replica)
            self._check_tiers(replica)
        self._check_gpus()
        for link in self._network.links.values():
            self._check_bytes(link)

    def _check_replica(self, replica: Replica) -> None:
        seen, index = replica.observe(), replica.index
        blocks, slots = replica.kv_blocks, replica.slots
        if not 0 <= seen.used_blocks <= blocks.capacity:
            self._fail(f"{seen.used_blocks} of {blocks.capacity} KV blocks are in use", replica=index)
        if not slots.count == seen.batch_size + len(slots.users) + slots.num_reserved <= slots.capacity:
            rule = f"{slots.count} of {slots.capacity} slots are taken by {seen.batch_size} requests and "
            self._fail(f"{rule}{len(slots.users)} other processes", replica=index)
        own = Counter(self._state(key) for key in self._legs if key[1] == index)
        waiting = own[_QUEUED] + own[_LOADING]
        if (waiting, own[_RUNNING]) != (seen.queue_depth, seen.batch_size):
            rule = f"{waiting} requests wait and {own[_RUNNING]} run, but the replica has {seen.queue_depth} and "
            self._fail(f"{rule}{seen.batch_size}", replica=index)
        in_flight = own.total() + self._cluster.num_expected(index)
        if in_flight != self._cluster.in_flight(index):
            rule = f"{in_flight} requests are in flight, the router counts {self._cluster.in_flight(index)}"
            self._fail(rule, replica=index)
        held = replica.held_blocks()
        if held is not None and seen.used_blocks != held + blocks.held_externally + blocks.num_reserved:
            rule = f"{seen.used_blocks} KV blocks are in use, but requests hold {held}"
            self._fail(f"{rule} and other processes {blocks.held_externally + blocks.num_reserved}", replica=index)
        if replica.is_idle:
            idle = blocks.held_externally + blocks.num_reserved
            if seen.used_blocks != idle and not (len(replica.held_legs) or own[_LOADING]):
                self._fail(f"an idle replica has {seen.used_blocks} KV blocks in use", replica=index)
            if own[_QUEUED] + own[_RUNNING]:
                self._fail(f"a replica is idle although {own[_QUEUED]} requests wait", replica=index)

    def _state(self, key: tuple[Request, int]) -> str:
        # With effects at the end of a step, a request leaves the batch before the overheads of its response.
        request, replica = key
        legs = (leg for leg in (request.leg, *request.earlier_legs[::-1]) if leg is not None and leg.replica == replica)
        latest = next(legs, None)
        ended = latest is not None and latest.outcome in _LEFT
        return _LEG_ENDED if ended and self._legs[key] in (_RUNNING, _QUEUED) else self._legs[key]

    def _check_steps(self, replica: Replica) -> None:
        """Check that steps follow each other and keep to the limits of the replica."""
        table, index = replica.steps.table(), replica.index
        starts, durations = table["start_us"], table["duration_us"]
        tokens = table["decode_tokens"] + table["prefill_tokens"]
        overlaps = np.zeros(len(starts), dtype=bool)
        overlaps[1:] = starts[1:] < (starts + durations)[:-1]
        rules = (
            ("a step has no duration", durations < 1),
            ("a step begins before the one before it ends", overlaps),
            ("a step computes more tokens than its budget", tokens > replica.token_budget),
            ("a step has more requests than slots", table["batch_size"] > replica.slots.capacity),
            ("a step uses more KV blocks than there are", table["used_blocks"] > replica.kv_blocks.capacity),
        )
        for rule, broken in rules:
            if broken.any():
                self._fail(f"{rule} (step at {starts[int(np.argmax(broken))]})", replica=index)

    def _check_tiers(self, replica: Replica) -> None:
        """Check that tiers hold no more than their capacity, and each chunk once."""
        for tier in replica.kv_tiers:
            if tier.capacity is not None and tier.num_chunks > tier.capacity:
                rule = f"{tier.num_chunks} of {tier.capacity} chunks are in tier {tier.endpoint}"
                self._fail(rule, replica=replica.index)
            if not tier.is_consistent:
                self._fail(f"a chunk of tier {tier.endpoint} is in two states", replica=replica.index)

    def _check_shares(self, groups: Sequence[FlowGroup]) -> None:
        """Check that every flow has a rate, and that no link is loaded above its capacity."""
        for group in groups:
            if group.rate <= 0:
                self._fail("a flow has no share of its links")
            for link in group.links:
                if sum(other.rate * other.num_flows for other in link.groups) > link.capacity:
                    self._fail(f"the load of link {link.name} is above its bandwidth of {link.bandwidth:g} bytes/s")

    def _check_bytes(self, link: Link) -> None:
        """Check that a link has transferred the bytes of its flows, up to a microsecond each that ends are rounded."""
        if not link.is_limited:
            return
        now, changes = self._env.now, link.load_changes
        ends = [at for at, _ in changes[1:]] + [now]
        sent = sum(load * (end - at) for (at, load), end in zip(changes, ends, strict=False)) / SECOND
        received = link.bytes_carried + self._network.bytes_in_flight(link)
        num_ends = len(changes) + 1
        if not -1e-6 * sent - 1 <= sent - received <= 1e-6 * sent + 1 + num_ends * link.bandwidth / SECOND:
            self._fail(f"link {link.name} has carried {sent:.0f} bytes, but {received} have arrived")

    def _check_gpus(self) -> None:
        placement = self._cluster.placement
        if placement is None:
            return
        node_of: dict[int, str] = {}
        for node in placement.nodes:
            if len(node.holders) != node.pool.gpus_per_node:
                self._fail(f"node {node.name} has {len(node.holders)} of {node.pool.gpus_per_node} GPUs")
            for holder in {holder for holder in node.holders if holder is not None and holder != OTHER_PROCESS}:
                if node_of.setdefault(holder, node.name) != node.name:
                    self._fail(f"a replica has GPUs of the nodes {node_of[holder]} and {node.name}", replica=holder)
