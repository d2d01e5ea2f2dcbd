"""Handovers: requests that continue on another replica with the KV blocks of the one before.

A handover submits the request to its destination, waits until the destination has allocated blocks, sends the content
over the network, and releases the blocks of the source. With layered transfer, it begins when the source computes the
prompt, and adds the last layer after the prefill. A migration is a handover after the last step of a decoding request.

Each of these actions is a callback of the event before. As a process, a handover would take twice as many events.

State: a `_Passage` for each request from the routing of two legs, or the start of a migration, to the arrival of its
blocks. The blocks themselves belong to the engines: those of a leg that has ended to `Engine.held` of the source, the
reserved ones to `WaitQueue.loading` of the destination.

::

    source        prefill ──> holds blocks ─────────────────────────────> releases them
                                  │                                            ▲
    destination                   └─> wait queue ──> reserves blocks ──> receives content ──> batch

Replicas that hold blocks for each other can all lack those that they wait for. Then the request that has been held for
the longest time starts over, as if its lease had ended.

If the destination is lost, the router chooses another one, while the source still holds the blocks. If the source is
lost, the request starts over. If its lease ends, too, but with both phases on one replica: a lease that is too short
for the transfer would end again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import attrs
from simpy.events import Event

from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, OrderedEvent, event_priority
from blis_simpy.core.request import NEVER, Handover, Leg, Phase, Request, RequestOutcome, Route
from blis_simpy.network.flow import Flow
from blis_simpy.replica.running_request import RunningRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blis_simpy.cluster.snapshots import SnapshotTable
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.network.network import Network
    from blis_simpy.replica.replica import Replica

__all__ = ["HandoverRules", "Handovers"]

_DUE = event_priority(CONTROL_PLANE, ControlEvent.LINK, 2)
_LEASE = event_priority(CONTROL_PLANE, ControlEvent.LINK, 3)
_KIND = "kv"


@attrs.frozen(kw_only=True)
class HandoverRules:
    """Settings of handovers.

    Attributes
    ----------
    num_layers : int
        Number of layers that are sent one by one, each when it is computed; 1 = all together, after the prefill.
    shows_first_token : bool
        Whether the prefill replica gives the client its first token.
    dispatch_delay_us : int, µs
        Time from the end of the prefill until the destination gets the request.
    hold_timeout_us : int, µs
        Maximum time for which a source holds its blocks.
    """

    num_layers: int = 1
    shows_first_token: bool = False
    dispatch_delay_us: int = 0
    hold_timeout_us: int = 480_000_000


@attrs.define(eq=False)
class _Passage:
    """A request on its way from one replica to another.

    `source` is the leg that has ended or, during a layered transfer, computes the prompt; None before. `target` is the
    destination, once it is chosen, and `leg` the leg there. `goal` is the destination of a migration that has not been
    handed over.
    """

    target: int | None = None
    goal: int | None = None
    source: RunningRequest | None = None
    leg: RunningRequest | None = None
    # End of the delay before the next action, and transfer in flight.
    due: OrderedEvent | None = None
    flow: Flow | None = None
    # Whether the source computes the prompt, and the start of the first step of that.
    is_prefilling: bool = False
    prefill_started_at: int = NEVER
    # Bytes of the last layer of a layered transfer until they are sent; None before and after.
    last_layer: int | None = None
    # Succeeds at the end of a migration; None for other handovers.
    migrated: Event | None = None
    # Whether the router is choosing a destination.
    is_at_router: bool = False


class Handovers:
    """Passes requests, with their KV blocks, from replica to replica.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    replicas : sequence of Replica
        All replicas by index; later ones are added to it.
    snapshots : SnapshotTable
        Counts requests in flight, and knows the routable replicas.
    network : Network
        Network between the replicas.
    rules : HandoverRules
        Settings.
    bytes_per_token : callable
        Returns the KV bytes of a token on a replica.
    reroute : callable
        Chooses another destination for a request whose blocks are held.
    restart : callable
        Submits a request to the router again.
    on_change : callable
        Called with the index of a replica that has released held blocks, or has a request less in flight.
    observers : Observers
        Observers of requests.

    Attributes
    ----------
    restarts : list of Request
        Requests that started over, because their blocks were lost between two replicas.
    """

    def __init__(
        self,
        env: Environment,
        *,
        replicas: Sequence[Replica],
        snapshots: SnapshotTable,
        network: Network,
        rules: HandoverRules,
        bytes_per_token: Callable[[int], float],
        reroute: Callable[[Request], None],
        restart: Callable[[Request], None],
        on_change: Callable[[int], None],
        observers: Observers,
    ) -> None:
        self.restarts: list[Request] = []
        self._env = env
        self._replicas = replicas
        self._snapshots = snapshots
        self._network = network
        self._rules = rules
        self._bytes_per_token = bytes_per_token
        self._reroute = reroute
        self._restart = restart
        self._on_change = on_change
        self._observers = observers
        self._passages: dict[Request, _Passage] = {}
        # Legs that this object withdraws: their end needs no further action.
        self._dismissed: set[Leg] = set()
        # End of the lease and source, in order.
        self._leases: deque[tuple[int, RunningRequest]] = deque()
        self._undivided: set[Request] = set()
        observers.add("blocks_reserved", self._blocks_reserved)
        observers.add("preempted", self._preempted)
        observers.add("ended", self._ended)
        observers.add_deferred("blocked", self._break_cycle)
        observers.add("enqueued", self._enqueued)
        if rules.num_layers > 1:
            observers.add("scheduled", self._scheduled)

    def __repr__(self) -> str:
        return f"<Handovers: {len(self._passages):,} requests>"

    def is_prefilled(self, request: Request) -> bool:
        """Whether a replica holds the KV blocks of a request, which needs a destination."""
        passage = self._passages.get(request)
        return passage is not None and passage.source is not None

    def is_undivided(self, request: Request) -> bool:
        """Whether one replica has to serve both phases of a request, because its blocks have been held for too long."""
        return request in self._undivided

    def num_expected(self, replica: int) -> int:
        """Return the number of requests that count as in flight to a replica, but are not in its wait queue yet."""
        return sum(
            passage.target == replica and (passage.leg is None or passage.leg.outcome is RequestOutcome.PENDING)
            for passage in self._passages.values()
        )

    def expect(self, request: Request, target: int) -> None:
        """Record the destination of a request whose prompt another replica computes."""
        self._passages[request] = _Passage(target)

    def resume(self, request: Request, target: int) -> None:
        """Send held blocks to another destination than before."""
        passage = self._passages[request]
        passage.target, passage.is_at_router = target, False
        self._start(passage)

    def migrate(self, leg: RunningRequest, target: int | None) -> Event:
        """Move a decoding request to another replica, or to one that the router chooses."""
        passage = self._passages[leg.request] = _Passage(goal=target, migrated=self._env.event())
        assert passage.migrated is not None
        self._replicas[leg.replica].hand_over(leg)
        return passage.migrated

    def _start(self, passage: _Passage) -> None:
        """Submit a request whose blocks are held to its destination, after the delay of the dispatch."""
        if self._rules.dispatch_delay_us:
            at = self._env.now + self._rules.dispatch_delay_us
            passage.due = self._env.call_at(at, _DUE, self._submit_later, passage)
        else:
            self._submit(passage)

    def _submit_later(self, event: Event) -> None:
        passage = cast("_Passage", event.value)
        passage.due = None
        self._submit(passage)

    def _submit(self, passage: _Passage) -> None:
        """Submit a request to its destination."""
        source, target = passage.source, passage.target
        assert source is not None
        assert target is not None
        passage.leg = leg = self._replicas[target].take_over(self._handover(source))
        if not passage.is_prefilling:
            leg.request.leg = leg
            leg.num_preemptions = source.num_preemptions

    def _blocks_reserved(self, leg: Leg) -> None:
        """Send the blocks of a request; if the prompt is being computed, all layers but the last one first."""
        handover, passage = leg.handover, self._passages[leg.request]
        assert handover is not None
        handover.num_bytes = round(handover.moved_tokens * self._bytes_per_token(leg.replica))
        if not passage.is_prefilling:
            self._send(passage, handover.num_bytes)
            return
        passage.last_layer = handover.num_bytes // self._rules.num_layers
        first_layer_at = self._first_layer_at(passage)
        if first_layer_at > self._env.now:
            passage.due = self._env.call_at(first_layer_at, _DUE, self._send_layers, passage)
        else:
            self._send(passage, handover.num_bytes - passage.last_layer)

    def _first_layer_at(self, passage: _Passage) -> int:
        """Return the tick at which the source has computed the first layer of the first chunk of the prompt."""
        assert passage.source is not None
        start, duration = self._replicas[passage.source.replica].last_step
        if start > passage.prefill_started_at:
            # The step of the first chunk has ended when a later one starts, at the earliest.
            start, duration = passage.prefill_started_at, start - passage.prefill_started_at
        return start - -duration // self._rules.num_layers

    def _send_layers(self, event: Event) -> None:
        passage = cast("_Passage", event.value)
        assert passage.leg is not None
        assert passage.leg.handover is not None
        assert passage.last_layer is not None
        passage.due = None
        self._send(passage, passage.leg.handover.num_bytes - passage.last_layer)

    def _handover(self, source: RunningRequest) -> Handover:
        if source.phase is Phase.PREFILL and not self._rules.shows_first_token:
            return Handover(source, source.last_progress)
        return Handover(source, source.last_progress, max(source.generated_tokens, 1))

    def _send(self, passage: _Passage, num_bytes: int) -> None:
        source, leg = passage.source, passage.leg
        assert source is not None
        assert leg is not None
        request = leg.request.id
        passage.flow = flow = self._network.send(source.replica, leg.replica, num_bytes, kind=_KIND, request=request)
        flow.callbacks.append(lambda _: self._sent(passage, flow))

    def _send_last_layer(self, passage: _Passage) -> None:
        """Send the last layer of a prompt that is computed, after the others."""
        flow = passage.flow
        if passage.last_layer is None or passage.due is not None or (flow is not None and flow.is_over):
            return
        num_bytes, passage.last_layer = passage.last_layer, None
        if flow is None:
            self._send(passage, num_bytes)
        else:
            flow.extend(num_bytes)

    def _sent(self, passage: _Passage, flow: Flow) -> None:
        # A handover may be given up at the tick at which the transfer ends.
        if flow is not passage.flow:
            return
        passage.flow = None
        if passage.last_layer is None:
            self._arrived(passage)
        elif not passage.is_prefilling:
            self._send_last_layer(passage)
        else:
            assert passage.leg is not None
            self._check_soon(passage.leg.replica)

    def _arrived(self, passage: _Passage) -> None:
        """Release the blocks of the source, and let the request continue at its destination."""
        leg, source = passage.leg, passage.source
        assert leg is not None
        assert leg.handover is not None
        assert source is not None
        del self._passages[leg.request]
        leg.handover.received_at = self._env.now
        self._release(source, leg.handover)
        self._replicas[leg.replica].receive(leg)
        if passage.migrated is not None:
            passage.migrated.succeed(True)

    def _release(self, source: RunningRequest, handover: Handover | None) -> None:
        if handover is not None:
            handover.released_at = self._env.now
        self._replicas[source.replica].release_held(source)
        self._check_soon(source.replica)
        self._on_change(source.replica)

    def _scheduled(self, leg: Leg) -> None:
        """Submit a request to its destination with the first step of its prefill, for a layered transfer."""
        passage = self._passages.get(leg.request)
        if leg.phase is Phase.PREFILL and passage is not None and passage.source is None and passage.target is not None:
            assert isinstance(leg, RunningRequest)
            passage.source, passage.is_prefilling = leg, True
            passage.prefill_started_at = max(self._env.now, sum(self._replicas[leg.replica].last_step))
            self._submit(passage)

    def leg_finished(self, leg: Leg) -> bool:
        """React to the end of a leg; return whether its request goes on."""
        if leg in self._dismissed:
            self._dismissed.remove(leg)
            return True
        request = leg.request
        passage = self._passages.get(request)
        if leg.outcome is RequestOutcome.HANDED_OVER:
            assert isinstance(leg, RunningRequest)
            assert passage is not None
            self._handed_over(leg, passage)
            return True
        if passage is None:
            return False
        if leg is not passage.leg:
            # The source has ended without a handover: its request starts over, has ended, or completes there.
            self._close(request, passage)
            return False
        self._stop(passage)
        source = passage.source
        assert source is not None
        if leg.outcome is not RequestOutcome.WITHDRAWN:
            if request.leg is not leg:
                # The source computes the prompt of a request that its destination has dropped.
                self._dismissed.add(source)
                if source.outcome < RequestOutcome.COMPLETED:
                    self._replicas[source.replica].withdraw(source)
                request.leg = leg
            return False
        passage.leg = passage.target = None
        if self._replicas[source.replica].holds(source):
            self._ask_router(request, passage)
        elif source.outcome is RequestOutcome.HANDED_OVER:
            del self._passages[request]
            self.restarts.append(request)
            return False
        return True

    def _handed_over(self, leg: RunningRequest, passage: _Passage) -> None:
        """Begin to pass on a request whose blocks the replica of a leg holds from now on."""
        request = leg.request
        if not self._replicas[leg.replica].holds(leg):
            # It has failed between the end of its last step and the response.
            self._close(request, passage)
            self._start_over(request)
            return
        if self._rules.shows_first_token and leg.phase is Phase.PREFILL and self._observers.first_token is not None:
            self._observers.first_token(leg)
        passage.source, passage.is_prefilling = leg, False
        self._leases.append((self._env.now + self._rules.hold_timeout_us, leg))
        if len(self._leases) == 1:
            self._env.call_at(self._leases[0][0], _LEASE, self._end_leases)
        if passage.leg is not None:
            request.leg = passage.leg
            passage.leg.num_preemptions = leg.num_preemptions
            self._send_last_layer(passage)
        elif passage.target is not None:
            self._start(passage)
        elif passage.goal is not None and self._snapshots.is_routable(passage.goal, request.model):
            assert self._observers.routed is not None
            legs, snapshots = ((passage.goal, Phase.DECODE),), (self._snapshots.snapshot(passage.goal),)
            self._observers.routed(Route(request, self._env.now, legs, "migration", None, snapshots))
        else:
            self._ask_router(request, passage)

    def _ask_router(self, request: Request, passage: _Passage) -> None:
        passage.is_at_router = True
        self._reroute(request)

    def _end_leases(self, _event: Event) -> None:
        """Release blocks that have been held for too long."""
        leases, now = self._leases, self._env.now
        while leases:
            ends_at, source = leases[0]
            is_held = self._replicas[source.replica].holds(source)
            if is_held and ends_at > now:
                self._env.call_at(ends_at, _LEASE, self._end_leases)
                return
            leases.popleft()
            if is_held:
                self._undivided.add(source.request)
                self._lose_source(source.request)

    def _enqueued(self, leg: Leg) -> None:
        if leg.handover is not None:
            self._check_soon(leg.replica)

    def _check_soon(self, replica: int) -> None:
        """Look for a cycle if a replica is still blocked after what happens at this tick."""
        if self._replicas[replica].is_blocked:
            self._env.call_at(self._env.now + 1, _DUE, self._look_for_cycle, replica)

    def _look_for_cycle(self, event: Event) -> None:
        self._break_cycle(cast("int", event.value))

    def _break_cycle(self, replica: int) -> None:
        """Let the oldest held request start over, if replicas wait for each other's blocks."""
        cycle: set[int] = set()
        if not self._is_stuck(replica, cycle):
            return
        holders = (source for _, source in self._leases if self._replicas[source.replica].holds(source))
        oldest = next((source for source in holders if source.replica in cycle), None)
        if oldest is not None:
            self._undivided.add(oldest.request)
            self._lose_source(oldest.request)
            return
        reserved = (leg for number in sorted(cycle) for leg in self._replicas[number].loading_legs)
        if (leg := next(reserved, None)) is not None:
            self._postpone(self._passages[leg.request], leg)

    def _is_stuck(self, replica: int, cycle: set[int]) -> bool:
        """Whether only replicas that are stuck themselves could free the blocks that a replica waits for.

        `cycle` collects the replicas that this has been assumed of; it holds for all of them if it holds for the first.
        """
        if replica in cycle:
            return True
        this = self._replicas[replica]
        if not this.is_blocked:
            return False
        cycle.add(replica)
        for held in this.held_legs:
            passage = self._passages.get(held.request)
            if passage is None or passage.source is not held or not _waits_for_blocks(passage):
                return False
            assert passage.target is not None
            if not self._is_stuck(passage.target, cycle):
                return False
        for loading in this.loading_legs:
            passage = self._passages.get(loading.request)
            if passage is None or not passage.is_prefilling or passage.flow is not None or passage.due is not None:
                return False
            assert passage.source is not None
            if not self._is_stuck(passage.source.replica, cycle):
                return False
        return bool(this.held_legs or this.loading_legs)

    def _postpone(self, passage: _Passage, leg: RunningRequest) -> None:
        """Free the blocks of a layered transfer at its destination, which gets the request after its prefill."""
        self._stop(passage)
        passage.leg = None
        self._dismissed.add(leg)
        # The destination still expects it.
        self._snapshots.sent(leg.replica)
        self._replicas[leg.replica].withdraw(leg)
        self._check_soon(leg.replica)

    def replica_failed(self, replica: int) -> None:
        """Give up the handovers from a replica, and choose other destinations for those to it."""
        for request, passage in list(self._passages.items()):
            if passage.source is not None and passage.source.replica == replica:
                if passage.source.outcome is RequestOutcome.HANDED_OVER:
                    self._lose_source(request)
            elif passage.target == replica and passage.leg is None:
                passage.target = None
                self._forget(replica)
                self._stop(passage)
                if passage.source is not None and not passage.is_prefilling:
                    self._ask_router(request, passage)

    def _lose_source(self, request: Request) -> None:
        """Let a request start over whose blocks are lost."""
        passage = self._passages[request]
        source = passage.source
        assert source is not None
        if passage.is_prefilling:
            # Its response is still on the way.
            self._dismissed.add(source)
        self._close(request, passage)
        self._start_over(request, is_at_router=passage.is_at_router)

    def _start_over(self, request: Request, *, is_at_router: bool = False) -> None:
        self.restarts.append(request)
        request.leg = None
        # A request for which the router chooses a destination now gets replicas for both phases instead.
        if not is_at_router:
            self._restart(request)

    def _preempted(self, leg: Leg) -> None:
        """Give up the migration of a request that has lost its blocks."""
        passage = self._passages.get(leg.request)
        if passage is not None and passage.migrated is not None and passage.source is None:
            self._close(leg.request, passage)

    def _ended(self, request: Request) -> None:
        passage = self._passages.get(request)
        if passage is not None:
            self._close(request, passage)

    def _close(self, request: Request, passage: _Passage) -> None:
        """End a handover before the blocks have arrived: free the blocks on both sides."""
        del self._passages[request]
        self._stop(passage)
        leg, source = passage.leg, passage.source
        if leg is None:
            if passage.target is not None:
                self._forget(passage.target)
        elif leg.outcome < RequestOutcome.COMPLETED:
            self._dismissed.add(leg)
            self._replicas[leg.replica].withdraw(leg)
        if source is not None and self._replicas[source.replica].holds(source):
            self._release(source, None if leg is None else leg.handover)
        if passage.migrated is not None:
            passage.migrated.succeed(False)

    def _forget(self, target: int) -> None:
        """No longer count a request as in flight to a destination that has not got it."""
        self._snapshots.finished(target)
        self._on_change(target)

    def _stop(self, passage: _Passage) -> None:
        """Withdraw the next action, and end the transfer."""
        if passage.due is not None:
            passage.due.callbacks = []
        if passage.flow is not None:
            passage.flow.cancel()
        passage.due = passage.flow = passage.last_layer = None


def _waits_for_blocks(passage: _Passage) -> bool:
    """Whether a request waits at its destination, which has not reserved blocks for it."""
    leg = passage.leg
    return (
        leg is not None
        and leg.outcome is RequestOutcome.QUEUED
        and leg.handover is not None
        and leg.handover.reserved_at == NEVER
    )
