"""The router and the replicas, and methods for user processes to add, drain, fail and restore replicas.

Any process may call `Cluster.add_replica`, `drain`, `fail` and `restore` at any tick. A request withdrawn from its
replica is submitted to the router again: it keeps its arrival and deadline, and starts over with a new leg.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from blis_simpy.cluster.handovers import HandoverRules, Handovers
from blis_simpy.cluster.leg_planner import LegPlanner
from blis_simpy.cluster.lifecycle import ReplicaLifecycle, ReplicaState
from blis_simpy.cluster.policies import Decider, RoutingPolicy
from blis_simpy.cluster.roles import check_roles
from blis_simpy.cluster.router import Router, RouterTiming
from blis_simpy.cluster.settings import DRAIN_POLICIES
from blis_simpy.cluster.snapshots import SnapshotTable
from blis_simpy.core.request import Phase, RequestOutcome
from blis_simpy.errors import ScenarioError, SimulationError
from blis_simpy.network.network import Network
from blis_simpy.plain_values import plain
from blis_simpy.replica.replica import Intake, Replica

if TYPE_CHECKING:
    from simpy.events import Event

    from blis_simpy.cluster.gpu_nodes import GpuNodes
    from blis_simpy.cluster.policies import AdmissionPolicy, Snapshot
    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Leg, Request, Route
    from blis_simpy.network.fabric import Site
    from blis_simpy.network.flow import Flow

__all__ = ["Cluster", "Disaggregation", "ReplicaKind"]

_WEIGHTS = "weights"
_BOTH = Phase.BOTH
_RUNNING = RequestOutcome.RUNNING
_WITHDRAWN = RequestOutcome.WITHDRAWN


@attrs.frozen(kw_only=True)
class ReplicaKind:
    """Common attributes of the replicas of a group.

    Attributes
    ----------
    model : str
        Name of their model.
    gpu_type : str
        GPU, as named by node pools.
    num_gpus : int
        Number of GPUs per replica.
    replicas : int
        Number of replicas at the start.
    make : callable
        Builds the replica with an index.
    role : str
        Phases that they serve: ``both``, ``prefill`` or ``decode``.
    kv_bytes_per_token : callable
        Returns the size of the KV cache of a token on all GPUs of a replica; None if unknown.
    weight_bytes : callable
        Returns the size of the weights of a replica; None if unknown.
    """

    model: str
    gpu_type: str
    num_gpus: int
    replicas: int
    make: Callable[[int], Replica]
    role: str = "both"
    kv_bytes_per_token: Callable[[], float | None] = lambda: None
    weight_bytes: Callable[[], float | None] = lambda: None


@attrs.frozen(kw_only=True)
class Disaggregation:
    """Handovers between the replicas of a cluster.

    Attributes
    ----------
    decider : Decider
        Decides whether a prefill replica computes the prompt of a request.
    prefill_routing : RoutingPolicy
        Chooses the prefill replica.
    rules : HandoverRules
        Settings of the handovers.
    network : Network
        Network between the replicas.
    """

    decider: Decider
    prefill_routing: RoutingPolicy
    rules: HandoverRules
    network: Network


class Cluster:
    """A router and its replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    kinds : sequence of ReplicaKind
        Groups of replicas.
    admission : AdmissionPolicy
        Decides which requests are accepted.
    routing : RoutingPolicy
        Chooses the replica of each request.
    timing : RouterTiming
        Delays of these decisions, and maximum age of the snapshots.
    lifecycle : LifecycleSettings
        Loading, warm-up and draining of replicas.
    pools : sequence of NodePool
        Node pools for the replicas; empty = unlimited GPUs.
    streams : RandomStreams
        Random streams of the run.
    observers : Observers
        Observers of requests and replicas.
    disaggregation : Disaggregation
        Handovers between replicas, which happen with the roles prefill and decode, and with migrations.

    Attributes
    ----------
    replicas : list of Replica
        The replicas by index.
    router : Router
        Takes requests at their arrival.
    """

    def __init__(
        self,
        env: Environment,
        *,
        kinds: Sequence[ReplicaKind],
        admission: AdmissionPolicy,
        routing: RoutingPolicy,
        timing: RouterTiming,
        lifecycle: LifecycleSettings,
        pools: Sequence[NodePool],
        streams: RandomStreams,
        observers: Observers,
        disaggregation: Disaggregation,
    ) -> None:
        self.replicas: list[Replica] = []
        self._kinds = kinds
        self._groups: list[int] = []
        self._bytes_per_token: dict[int, float] = {}
        self._env = env
        self._disaggregation = disaggregation
        self._handovers: Handovers | None = None
        # Draining replicas whose decoding requests are migrated.
        self._emptied: set[int] = set()
        self._observers = observers
        self._drain_policy = lifecycle.drain_policy
        self._draining: set[int] = set()
        self._snapshots = SnapshotTable(env, timing.snapshot_interval_us)
        self.router = Router(
            env, admission=admission, routing=routing, timing=timing, snapshots=self._snapshots, observers=observers
        )
        # Added before the observers of the life cycle and of users, so that they see the request on its replica.
        observers.add("routed", self._dispatch)
        # Called after all others, because it announces the next event of the request.
        observers.add("leg_finished", self._leg_finished, last=True)
        observers.add("replica_state", self._replica_state)
        observers.add("idle", self._end_drain)
        self._lifecycle = ReplicaLifecycle(
            env,
            settings=lifecycle,
            pools=pools,
            streams=streams,
            observers=observers,
            fetch_weights=None if lifecycle.weights_bandwidth is None else self._fetch_weights,
        )
        self._weights_size = lifecycle.weights_size
        if lifecycle.weights_bandwidth is not None:
            network = disaggregation.network
            network.attach(
                _WEIGHTS,
                out=network.add_link(f"{_WEIGHTS} read", lifecycle.weights_bandwidth),
                into=network.add_link(f"{_WEIGHTS} write", math.inf),
            )
        for group, kind in enumerate(kinds):
            for _ in range(kind.replicas):
                self._add(group, loaded=True)
        if any(kind.role != "both" for kind in kinds):
            check_roles(kinds, [self.replicas[self._groups.index(group)] for group in range(len(kinds))])
            self._enable_handovers()

    def __repr__(self) -> str:
        return f"<Cluster of {len(self.replicas):,} replicas>"

    @property
    def is_idle(self) -> bool:
        """Whether all replicas are idle."""
        return all(replica.is_idle for replica in self.replicas)

    @property
    def placement(self) -> GpuNodes | None:
        """Nodes with their GPUs; None without node pools."""
        return self._lifecycle.placement

    @property
    def slowed(self) -> set[Request]:
        """Requests routed to a replica during its warm-up."""
        return self._lifecycle.slowed

    def placed(self, replica: int, end: int) -> list[tuple[int, int]]:
        """Periods up to a tick in which a replica has its GPUs: from the start of loading to its termination."""
        return self._lifecycle.placed(self._index(replica), end)

    def num_gpus(self, replica: int) -> int:
        """GPUs of a replica, while it has any."""
        return self._lifecycle.num_gpus(self._index(replica))

    def site(self, replica: int) -> Site:
        """Return the GPUs of a replica.

        Raises
        ------
        SimulationError
            If there is no such replica, or it has no GPUs now.
        """
        return self._lifecycle.site(self._index(replica))

    def in_flight(self, replica: int) -> int:
        """Return the number of requests in flight on a replica."""
        return self._snapshots.in_flight(replica)

    def state(self, replica: int) -> ReplicaState:
        """Return the state of a replica."""
        return self._lifecycle.state(self._index(replica))

    def add_replica(self, group: int = 0) -> int:
        """Add a replica, which is placed, loaded and warmed up first.

        Parameters
        ----------
        group : int
            Index of its group in the scenario.

        Returns
        -------
        int
            Index of the replica.

        Raises
        ------
        SimulationError
            If there is no such group.
        """
        if group not in range(len(self._kinds)):
            raise SimulationError.at("group", f"must be a group of the scenario, below {len(self._kinds)}", group)
        return self._add(group, loaded=False)

    def drain(self, replica: int, policy: str | None = None) -> None:
        """Drain a replica: it gets no new requests, and is terminated after its last one.

        Parameters
        ----------
        replica : int
            Index of the replica.
        policy : {"wait", "immediate", "redirect", "migrate"}, optional
            Treatment of requests in its wait queue and on their way to it: ``wait`` serves them, ``immediate`` drops
            them, ``redirect`` routes them again. Running requests complete there. ``migrate`` routes waiting requests
            again, and moves decoding ones, with their KV blocks, to replicas that the routing policy chooses. Default
            is `lifecycle.drain_policy` of the scenario.

        Raises
        ------
        SimulationError
            If there is no such replica or policy, the replica is terminated, or it cannot hand over requests.
        """
        policy = self._drain_policy if policy is None else policy
        if policy not in DRAIN_POLICIES:
            raise SimulationError.at("policy", "is unknown", policy, hint=f"known: {', '.join(DRAIN_POLICIES)}")
        drained = self.replicas[self._index(replica)]
        if policy == "migrate":
            self._check_can_hand_over(drained)
        self._lifecycle.drain(replica)
        if self.state(replica) is ReplicaState.TERMINATED:
            return
        self._draining.add(replica)
        if policy == "wait":
            drained.intake = Intake.ACCEPT
        else:
            drained.refuse_queue(Intake.DROP if policy == "immediate" else Intake.WITHDRAW)
        if policy == "migrate":
            self._empty(drained)
        self._end_drain(replica)

    def migrate(self, request: Request, replica: int) -> Event:
        """Move a decoding request, with its KV blocks, to another replica.

        The request leaves with the last step that is formed, gets no tokens until its blocks have arrived, and keeps
        the tokens that it has. The replica that it leaves holds the blocks until then.

        Parameters
        ----------
        request : Request
            A request that decodes.
        replica : int
            Index of a routable replica with the same model.

        Returns
        -------
        simpy.Event
            Succeeds with True when the blocks have arrived, and with False if the migration is given up: because the
            request ends or is preempted first, or a replica fails.

        Raises
        ------
        SimulationError
            If the request does not decode, or the replica cannot take it over.

        Examples
        --------
        A process that moves a request after a second::

            def move(simulation, request):
                yield simulation.env.timeout(blis.SECOND)
                moved = yield simulation.cluster.migrate(request, 1)
        """
        target = self.replicas[self._index(replica)]
        place = f"request {request.id}"
        leg = request.leg
        if leg is None or not self.replicas[leg.replica].decodes(leg):
            raise SimulationError.at(place, "must decode to be migrated", request.outcome.name.lower())
        source = self.replicas[leg.replica]
        if target is source:
            raise SimulationError.at(place, "must be migrated to another replica than its own", replica)
        if not self._snapshots.is_routable(replica, source.model):
            raise SimulationError.at("replica", f"must be routable and serve {source.model}", replica)
        for other in (source, target):
            self._check_can_hand_over(other)
        if source.block_size != target.block_size:
            raise SimulationError.at("replica", f"must have KV blocks of {source.block_size} tokens", target.block_size)
        if leg not in source.decoding():  # its last output is pending
            return self._env.event().succeed(value=False)
        return self._enable_handovers().migrate(leg, replica)

    def decode_snapshots(self, now: int) -> Sequence[Snapshot]:
        """Return the snapshots of the routable replicas that decode."""
        return self._snapshots.snapshots_for(now, "")

    def migratable(self, replica: int) -> list[Request]:
        """Return the requests that decode on a replica, without those with their last output pending."""
        return [leg.request for leg in self.replicas[self._index(replica)].decoding()]

    def _check_can_hand_over(self, replica: Replica) -> None:
        if not replica.can_hand_over:
            rule = "must have the engine profile vllm, and a KV store that can receive blocks, for migrations"
            raise SimulationError.at(f"replica {replica.index}", rule)
        if self._kinds[self._groups[replica.index]].kv_bytes_per_token() is None:
            hint = "set kv.bytes_per_token"
            raise SimulationError.at(f"replica {replica.index}", "must have a known size of its KV cache", hint=hint)

    def _empty(self, drained: Replica) -> None:
        """Migrate the decoding requests of a replica, now and when they begin to decode."""
        handovers = self._enable_handovers()
        if not self._emptied:
            self._observers.add_deferred("first_token", self._move_on)
        self._emptied.add(drained.index)
        for leg in drained.decoding():
            handovers.migrate(leg, None)

    def _move_on(self, leg: Leg) -> None:
        if leg.replica in self._emptied and leg.outcome is _RUNNING and leg in self.replicas[leg.replica].decoding():
            self._enable_handovers().migrate(leg, None)

    def _enable_handovers(self) -> Handovers:
        """Return the handovers, which exist from their first use on."""
        if self._handovers is None:
            parts = self._disaggregation
            self._handovers = handovers = Handovers(
                self._env,
                replicas=self.replicas,
                snapshots=self._snapshots,
                network=parts.network,
                rules=parts.rules,
                bytes_per_token=self._kv_bytes_per_token,
                reroute=self.router.reroute,
                restart=self.router.resubmit,
                on_change=self._end_drain,
                observers=self._observers,
            )
            self.router.planner = LegPlanner(
                parts.decider,
                parts.prefill_routing,
                count_cached=lambda request, replica: self.replicas[replica].cached_tokens(request),
                is_prefilled=handovers.is_prefilled,
                is_undivided=handovers.is_undivided,
            )
        return self._handovers

    def _fetch_weights(self, replica: int) -> Flow:
        kind = self._kinds[self._groups[replica]]
        size = kind.weight_bytes() if self._weights_size is None else self._weights_size
        if size is None:
            rule = f"must be given with weights_bandwidth: the architecture of {kind.model} is not known"
            raise ScenarioError.at("lifecycle.weights_size", rule)
        return self._disaggregation.network.send(_WEIGHTS, replica, math.ceil(size), kind=_WEIGHTS)

    def _kv_bytes_per_token(self, replica: int) -> float:
        group = self._groups[replica]
        if group not in self._bytes_per_token:
            known = self._kinds[group].kv_bytes_per_token()
            assert known is not None
            self._bytes_per_token[group] = known
        return self._bytes_per_token[group]

    def num_expected(self, replica: int) -> int:
        """Return the number of requests in flight to a replica whose KV blocks come from another one later."""
        return 0 if self._handovers is None else self._handovers.num_expected(replica)

    @property
    def has_handovers(self) -> bool:
        """Whether requests may have been handed over: with roles, and after a migration."""
        return self._handovers is not None

    @property
    def restarts(self) -> list[Request]:
        """Requests that started over, because their KV blocks were lost between two replicas; in order."""
        return [] if self._handovers is None else self._handovers.restarts

    def role(self, replica: int) -> str:
        """Return the role of a replica: ``both``, ``prefill`` or ``decode``."""
        return self._kinds[self._groups[self._index(replica)]].role

    def fail(self, replica: int) -> None:
        """Terminate a replica immediately: its requests are routed again, and its prefix cache is lost.

        With effects at the start of a step, the effects of the current step have been applied.

        Raises
        ------
        SimulationError
            If there is no such replica, or it is terminated.
        """
        failed = self.replicas[self._index(replica)]
        self._lifecycle.terminate(replica)
        self._draining.discard(replica)
        self._emptied.discard(replica)
        failed.abort()
        if self._handovers is not None:
            self._handovers.replica_failed(replica)

    def restore(self, replica: int) -> None:
        """Restart a terminated replica, which is placed, loaded and warmed up first.

        Raises
        ------
        SimulationError
            If there is no such replica, or it is not terminated.
        """
        self._lifecycle.start(self._index(replica))

    def _index(self, replica: int) -> int:
        known = plain(replica)
        if not (type(known) is int and 0 <= known < len(self.replicas)):
            raise SimulationError.at("replica", f"must be an index below {len(self.replicas)}", replica)
        return known

    def _add(self, group: int, *, loaded: bool) -> int:
        kind = self._kinds[group]
        index = len(self.replicas)
        replica = kind.make(index)
        self.replicas.append(replica)
        self._groups.append(group)
        self._snapshots.add(replica, kind.role)
        self._lifecycle.add(kind.gpu_type, kind.num_gpus)
        self._lifecycle.start(index, loaded=loaded)
        return index

    def _replica_state(self, replica: int, state: ReplicaState) -> None:
        self._snapshots.set_routable(replica, state.is_routable)
        if state.is_routable:
            self.replicas[replica].intake = Intake.ACCEPT

    def _dispatch(self, route: Route) -> None:
        replica, phase = route.legs[0]
        self._snapshots.sent(replica)
        if phase is not _BOTH:
            self._dispatch_phase(route)
            return
        self.replicas[replica].submit(route.request, phase)

    def _dispatch_phase(self, route: Route) -> None:
        """Submit a request whose phases have separate replicas to the first of them."""
        assert self._handovers is not None
        replica, phase = route.legs[0]
        if phase is Phase.DECODE:
            self._handovers.resume(route.request, replica)
            return
        if self._disaggregation.rules.shows_first_token and self.replicas[replica].planned_outputs(route.request) == 1:
            # The first token is the last one: no replica decodes.
            self.replicas[replica].submit(route.request)
            return
        decode, _ = route.legs[1]
        self._snapshots.sent(decode)
        self._handovers.expect(route.request, decode)
        self.replicas[replica].submit(route.request, phase)

    def _leg_finished(self, leg: Leg) -> None:
        self._snapshots.finished(leg.replica)
        if self._draining:
            self._end_drain(leg.replica)
        if self._handovers is not None and self._handovers.leg_finished(leg):
            return
        if leg.outcome is _WITHDRAWN:
            self.router.resubmit(leg.request)
        elif self._observers.ended is not None:
            self._observers.ended(leg.request)

    def _end_drain(self, replica: int) -> None:
        """Terminate a draining replica that is idle, has no requests in flight and holds no KV blocks for others."""
        if replica not in self._draining or self.in_flight(replica):
            return
        drained = self.replicas[replica]
        if drained.is_idle and not drained.held_legs:
            self._draining.discard(replica)
            self._emptied.discard(replica)
            self._lifecycle.terminate(replica)
