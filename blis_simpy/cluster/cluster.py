"""The replicas and what stands in front of them, and the levers by which your own processes move them.

`Cluster.drain`, `fail`, `restore` and `add_replica` may be called by any process at any tick. A request that loses its
replica enters by the front door again: it is admitted and routed anew at once, keeps its arrival and its deadline, and
starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from blis_simpy.cluster.lifecycle import ReplicaLifecycle, ReplicaState
from blis_simpy.cluster.router import Router
from blis_simpy.cluster.settings import DRAIN_POLICIES
from blis_simpy.cluster.snapshots import SnapshotTable
from blis_simpy.core.request import NEVER, Request, RequestOutcome
from blis_simpy.errors import SimulationError
from blis_simpy.replica.replica import Replica

if TYPE_CHECKING:
    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.cluster.gpu_nodes import GpuNodes
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Hooks
    from blis_simpy.core.random_streams import RandomStreams

__all__ = ["Cluster", "ReplicaKind"]


@attrs.frozen(kw_only=True)
class ReplicaKind:
    """What replicas of a group have in common.

    Attributes
    ----------
    model : str
        Name of the model that they serve.
    gpu_type : str
        GPU, as node pools name it.
    num_gpus : int
        GPUs of a replica.
    replicas : int
        How many there are at the start.
    make : callable
        Makes the replica of an index; it tells the first function of each request that ended on it, and the second
        when it has run out of work.
    """

    model: str
    gpu_type: str
    num_gpus: int
    replicas: int
    make: Callable[[int, Callable[[Request], None], Callable[[], None]], Replica]


class Cluster:
    """A router and its replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    kinds : sequence of ReplicaKind
        Groups of replicas that are alike.
    admission, routing : policy
        Who is let in, and who goes where.
    admission_delay_us, routing_delay_us : int, µs
        Time that these decisions take.
    snapshot_interval_us : int, µs
        Age from which a look at a replica reads it anew; 0 = always.
    lifecycle : LifecycleSettings
        How replicas come and go.
    pools : sequence of NodePool
        Where they are placed; without any, GPUs are no limit.
    streams : RandomStreams
        Random streams of the run.
    log : DecisionLog or None
        Told of each decision.
    on_end : callable
        Told of each request that ended, refused ones included.
    on_idle : callable
        Told whenever a replica has run out of work.
    hooks : Hooks
        Told of each request that was let in, and of each that was handed to a replica.

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
        admission_delay_us: int,
        routing: RoutingPolicy,
        routing_delay_us: int,
        snapshot_interval_us: int,
        lifecycle: LifecycleSettings,
        pools: Sequence[NodePool],
        streams: RandomStreams,
        log: DecisionLog | None,
        on_end: Callable[[Request], None],
        on_idle: Callable[[], None],
        hooks: Hooks,
    ) -> None:
        self.replicas: list[Replica] = []
        self._kinds = kinds
        self._on_end = on_end
        self._on_idle = on_idle
        self._drain_policy = lifecycle.drain_policy
        self._warms_up = lifecycle.warm_up_requests > 0
        self._draining: set[int] = set()
        self._book = SnapshotTable(snapshot_interval_us)
        self._lifecycle = ReplicaLifecycle(
            env, settings=lifecycle, pools=pools, streams=streams, on_routable=self._set_routable
        )
        self.router = Router(
            env,
            admission=admission,
            admission_delay_us=admission_delay_us,
            routing=routing,
            routing_delay_us=routing_delay_us,
            book=self._book,
            dispatch=self._dispatch,
            log=log,
            on_rejected=on_end,
            hooks=hooks,
        )
        for group, kind in enumerate(kinds):
            for _ in range(kind.replicas):
                self._add(group, loaded=True)

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def is_idle(self) -> bool:
        """Whether no replica has anything to do."""
        return all(replica.is_idle for replica in self.replicas)

    @property
    def placement(self) -> GpuNodes | None:
        """Nodes, and which replica has which GPUs; None without node pools."""
        return self._lifecycle.placement

    @property
    def slowed(self) -> set[Request]:
        """Requests that were among the first of their replica, while it warmed up."""
        return self._lifecycle.slowed

    def in_flight(self, replica: int) -> int:
        """Count the requests that went to a replica and have not ended."""
        return self._book.in_flight(replica)

    def state(self, replica: int) -> ReplicaState:
        """How a replica stands."""
        return self._lifecycle.state(self._index(replica))

    # ------------------------------------------------------------------------------------------------ the levers

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
        """
        return self._add(group, loaded=False)

    def drain(self, replica: int, policy: str | None = None) -> None:
        """Send a replica nothing more; it is terminated when the last of its requests has left.

        Parameters
        ----------
        replica : int
            Index of the replica.
        policy : {"wait", "immediate", "redirect"}, optional
            What becomes of its wait queue, and of requests on their way to it: they are served here; they are dropped,
            and count as such; they are routed anew. What runs is finished in any case. The scenario's
            `lifecycle.drain_policy` if not given.

        Raises
        ------
        SimulationError
            If there is no such replica or policy, or the replica is terminated.
        """
        policy = self._drain_policy if policy is None else policy
        if policy not in DRAIN_POLICIES:
            raise SimulationError.at("policy", "is unknown", policy, hint=f"known: {', '.join(DRAIN_POLICIES)}")
        engine = self.replicas[self._index(replica)]
        self._lifecycle.drain(replica)
        if self.state(replica) is ReplicaState.TERMINATED:
            return
        self._draining.add(replica)
        if policy == "wait":
            engine.turn_away = None
        else:
            engine.turn_away = turn_away = engine.discard if policy == "immediate" else self._enter_again
            for request in engine.withdraw_queue():
                turn_away(request)
        self._end_drain(replica)

    def fail(self, replica: int) -> None:
        """Let a replica go down at once: all its requests enter the cluster again, its cached prefixes are lost.

        A step takes effect at its start, so the step under way still counts.

        Raises
        ------
        SimulationError
            If there is no such replica, or it is terminated.
        """
        engine = self.replicas[self._index(replica)]
        self._lifecycle.terminate(replica)
        self._draining.discard(replica)
        engine.turn_away = self._enter_again
        for request in engine.abort():
            self._enter_again(request)

    def restore(self, replica: int) -> None:
        """Bring a terminated replica back, which is placed, loaded and warmed up first.

        Raises
        ------
        SimulationError
            If there is no such replica, or it is not terminated.
        """
        self._lifecycle.start(self._index(replica))

    # ------------------------------------------------------------------------------------------------ inside

    def _index(self, replica: int) -> int:
        if not (type(replica) is int and 0 <= replica < len(self.replicas)):
            raise SimulationError.at("replica", f"must be an index below {len(self.replicas)}", replica)
        return replica

    def _add(self, group: int, *, loaded: bool) -> int:
        kind = self._kinds[group]
        index = len(self.replicas)
        replica = kind.make(index, self._ended, partial(self._idle, index))
        self.replicas.append(replica)
        self._book.add(replica, kind.model.lower())
        self._lifecycle.add(kind.gpu_type, kind.num_gpus)
        self._lifecycle.start(index, loaded=loaded)
        if not self._lifecycle.state(index).is_routable:
            self._book.set_routable(index, False)
        return index

    def _set_routable(self, replica: int, routable: bool) -> None:
        self._book.set_routable(replica, routable)
        if routable:
            self.replicas[replica].turn_away = None

    def _dispatch(self, replica: int, request: Request) -> None:
        self._book.sent(replica)
        if self._warms_up:
            self._lifecycle.routed(replica, request)
        self.replicas[replica].submit(request)

    def _enter_again(self, request: Request) -> None:
        left = request.replica
        self._book.ended(left)
        request.admitted_at = request.routed_at = request.queued_at = request.replica = NEVER
        self.slowed.discard(request)
        self.router.resubmit(request)
        if self._draining:
            self._end_drain(left)

    def _ended(self, request: Request) -> None:
        replica = request.replica
        self._book.ended(replica)
        if self._warms_up and request.outcome is RequestOutcome.COMPLETED:
            self._lifecycle.completed(replica)
        if self._draining:
            self._end_drain(replica)
        self._on_end(request)

    def _idle(self, replica: int) -> None:
        if self._draining:
            self._end_drain(replica)
        self._on_idle()

    def _end_drain(self, replica: int) -> None:
        """Terminate a draining replica once nobody is there, nobody is on the way, and its last step is over."""
        if replica in self._draining and not self.in_flight(replica) and self.replicas[replica].is_idle:
            self._draining.discard(replica)
            self._lifecycle.terminate(replica)
