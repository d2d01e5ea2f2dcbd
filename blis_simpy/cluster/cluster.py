"""The router and the replicas, and methods for user processes to add, drain, fail and restore replicas.

Any process may call `Cluster.add_replica`, `drain`, `fail` and `restore` at any tick. A request withdrawn from its
replica is submitted to the router again: it keeps its arrival and deadline, and starts over with a new leg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from blis_simpy.cluster.lifecycle import ReplicaLifecycle, ReplicaState
from blis_simpy.cluster.router import Router, RouterTiming
from blis_simpy.cluster.settings import DRAIN_POLICIES
from blis_simpy.cluster.snapshots import SnapshotTable
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import SimulationError
from blis_simpy.plain_values import plain
from blis_simpy.replica.replica import Intake, Replica

if TYPE_CHECKING:
    from blis_simpy.cluster.gpu_nodes import GpuNodes
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Leg, Request, Route
    from blis_simpy.network.fabric import Site

__all__ = ["Cluster", "ReplicaKind"]

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
    """

    model: str
    gpu_type: str
    num_gpus: int
    replicas: int
    make: Callable[[int], Replica]


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
    ) -> None:
        self.replicas: list[Replica] = []
        self._kinds = kinds
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
        self._lifecycle = ReplicaLifecycle(env, settings=lifecycle, pools=pools, streams=streams, observers=observers)
        for group, kind in enumerate(kinds):
            for _ in range(kind.replicas):
                self._add(group, loaded=True)

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
        policy : {"wait", "immediate", "redirect"}, optional
            Treatment of requests in its wait queue and on their way to it: ``wait`` serves them, ``immediate`` drops
            them, ``redirect`` routes them again. Running requests always complete. Default is
            `lifecycle.drain_policy` of the scenario.

        Raises
        ------
        SimulationError
            If there is no such replica or policy, or the replica is terminated.
        """
        policy = self._drain_policy if policy is None else policy
        if policy not in DRAIN_POLICIES:
            raise SimulationError.at("policy", "is unknown", policy, hint=f"known: {', '.join(DRAIN_POLICIES)}")
        drained = self.replicas[self._index(replica)]
        self._lifecycle.drain(replica)
        if self.state(replica) is ReplicaState.TERMINATED:
            return
        self._draining.add(replica)
        if policy == "wait":
            drained.intake = Intake.ACCEPT
        else:
            drained.refuse_queue(Intake.DROP if policy == "immediate" else Intake.WITHDRAW)
        self._end_drain(replica)

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
        failed.abort()

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
        self._snapshots.add(replica)
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
        self.replicas[replica].submit(route.request, phase)

    def _leg_finished(self, leg: Leg) -> None:
        self._snapshots.finished(leg.replica)
        if self._draining:
            self._end_drain(leg.replica)
        if leg.outcome is _WITHDRAWN:
            self.router.resubmit(leg.request)
        elif self._observers.ended is not None:
            self._observers.ended(leg.request)

    def _end_drain(self, replica: int) -> None:
        """Terminate a draining replica that is idle and has no requests in flight."""
        if replica in self._draining and not self.in_flight(replica) and self.replicas[replica].is_idle:
            self._draining.discard(replica)
            self._lifecycle.terminate(replica)
