"""The router and the replicas, and methods for user processes to add, drain, fail and restore replicas.

`Cluster.add_replica`, `drain`, `fail` and `restore` may be called by any process at any tick. A request that its
replica gives up is submitted to the router again: it is admitted and routed again at once, keeps its arrival and its
deadline, and starts over with a new leg.
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
from blis_simpy.replica.replica import Intake, Replica

if TYPE_CHECKING:
    from blis_simpy.cluster.gpu_nodes import GpuNodes
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Leg, Request, Route

__all__ = ["Cluster", "ReplicaKind"]

_WITHDRAWN = RequestOutcome.WITHDRAWN


@attrs.frozen(kw_only=True)
class ReplicaKind:
    """What the replicas of a group have in common.

    Attributes
    ----------
    model : str
        Name of the model that they serve.
    gpu_type : str
        GPU, as node pools name it.
    num_gpus : int
        GPUs of a replica.
    replicas : int
        Number of replicas at the start.
    make : callable
        Makes the replica of an index.
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
        Delays of these decisions, and age of the snapshots that they are based on.
    lifecycle : LifecycleSettings
        Loading, warm-up and draining of replicas.
    pools : sequence of NodePool
        Nodes that replicas are placed on; without any, GPUs are no limit.
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
        self._snapshots = SnapshotTable(timing.snapshot_interval_us)
        self.router = Router(
            env, admission=admission, routing=routing, timing=timing, snapshots=self._snapshots, observers=observers
        )
        # Before the observers that the life cycle and the user add: those see the request at its replica.
        observers.add("routed", self._dispatch)
        # After all others, because it announces the end of the request, which follows.
        observers.add("leg_finished", self._leg_finished, last=True)
        observers.add("replica_state", self._replica_state)
        observers.add("idle", self._end_drain)
        self._lifecycle = ReplicaLifecycle(env, settings=lifecycle, pools=pools, streams=streams, observers=observers)
        for group, kind in enumerate(kinds):
            for _ in range(kind.replicas):
                self._add(group, loaded=True)

    @property
    def is_idle(self) -> bool:
        """Whether no replica has anything to do."""
        return all(replica.is_idle for replica in self.replicas)

    @property
    def placement(self) -> GpuNodes | None:
        """Nodes, and the GPUs that replicas have on them; None without node pools."""
        return self._lifecycle.placement

    @property
    def slowed(self) -> set[Request]:
        """Requests that were among the first of their replica, while it warmed up."""
        return self._lifecycle.slowed

    def in_flight(self, replica: int) -> int:
        """Return the number of requests that were sent to a replica and have not ended there."""
        return self._snapshots.in_flight(replica)

    def state(self, replica: int) -> ReplicaState:
        """State of a replica."""
        return self._lifecycle.state(self._index(replica))

    def add_replica(self, group: int = 0) -> int:
        """Add a replica, which is placed, loaded and warmed up first.

        Parameters
        ----------
        group : int
            Position of its group in the scenario.

        Returns
        -------
        int
            Its index.

        Raises
        ------
        SimulationError
            If there is no such group.
        """
        if group not in range(len(self._kinds)):
            raise SimulationError.at("group", f"must be a group of the scenario, below {len(self._kinds)}", group)
        return self._add(group, loaded=False)

    def drain(self, replica: int, policy: str | None = None) -> None:
        """Send no more requests to a replica; it is terminated when the last of its requests has left.

        Parameters
        ----------
        replica : int
            Index of the replica.
        policy : {"wait", "immediate", "redirect"}, optional
            Treatment of its wait queue, and of requests on their way to it: they are served here; they are dropped, and
            count as such; they are routed again. Running requests are finished in any case. The scenario's
            `lifecycle.drain_policy` if not given.

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
        """Terminate a replica at once: its requests are submitted to the router again, its cached prefixes are lost.

        A step takes effect at its start, so the current step still counts.

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
        """Bring a terminated replica back, which is placed, loaded and warmed up first.

        Raises
        ------
        SimulationError
            If there is no such replica, or it is not terminated.
        """
        self._lifecycle.start(self._index(replica))

    def _index(self, replica: int) -> int:
        if not (type(replica) is int and 0 <= replica < len(self.replicas)):
            raise SimulationError.at("replica", f"must be an index below {len(self.replicas)}", replica)
        return replica

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
        """Terminate a draining replica once it has no request, none is on its way, and its last step is over."""
        if replica in self._draining and not self.in_flight(replica) and self.replicas[replica].is_idle:
            self._draining.discard(replica)
            self._lifecycle.terminate(replica)
