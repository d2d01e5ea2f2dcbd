"""The lives of replicas: from a place on a node over loading and warm-up to work, and out again.

::

    scheduling -> loading -> warming-up -> active -> draining -> terminated -> scheduling (restored)

Stages that take no time are passed in the same moment; any stage may end in *terminated*. The router sees a replica
while it warms up or is active.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from blis_simpy.cluster.gpu_nodes import GpuNodes, RandomDelay
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simpy.events import Event

    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Request

__all__ = ["ReplicaLifecycle", "ReplicaState"]


class ReplicaState(StrEnum):
    """How a replica stands."""

    SCHEDULING = "scheduling"
    """It waits for GPUs."""
    LOADING = "loading"
    """It loads the model."""
    WARMING_UP = "warming-up"
    """It serves, and has not completed its first requests."""
    ACTIVE = "active"
    DRAINING = "draining"
    """It finishes what it has and gets nothing new."""
    TERMINATED = "terminated"

    @property
    def is_routable(self) -> bool:
        """Whether the router may send it requests."""
        return self in (ReplicaState.WARMING_UP, ReplicaState.ACTIVE)


_NEXT = {
    ReplicaState.SCHEDULING: {ReplicaState.LOADING},
    ReplicaState.LOADING: {ReplicaState.WARMING_UP, ReplicaState.ACTIVE},
    ReplicaState.WARMING_UP: {ReplicaState.ACTIVE, ReplicaState.DRAINING},
    ReplicaState.ACTIVE: {ReplicaState.DRAINING},
    ReplicaState.DRAINING: {ReplicaState.DRAINING},
    ReplicaState.TERMINATED: {ReplicaState.SCHEDULING},
}


@attrs.define
class _ReplicaStage:
    """Where one replica is in its life, and what it needs to live."""

    gpu_type: str
    num_gpus: int
    state: ReplicaState = ReplicaState.SCHEDULING
    # Counts the lives: what was under way in an earlier one is void.
    number: int = 0
    to_mark: int = 0
    to_complete: int = 0


class ReplicaLifecycle:
    """Moves replicas through their lives.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    settings : LifecycleSettings
        Delays and warm-up.
    pools : sequence of NodePool
        Where replicas are placed; without any, GPUs are no limit.
    streams : RandomStreams
        Random streams of the run; loading delays draw from ``instance-loading``.
    on_routable : callable
        Told when the router may, or must not any more, send requests to a replica.

    Attributes
    ----------
    placement : GpuNodes or None
        Nodes and GPUs, if there are node pools.
    slowed : set of Request
        Requests that were among the first of their replica.
    """

    def __init__(
        self,
        env: Environment,
        *,
        settings: LifecycleSettings,
        pools: Sequence[NodePool],
        streams: RandomStreams,
        on_routable: Callable[[int, bool], None],
    ) -> None:
        self.placement = GpuNodes(env, pools, streams, self._load) if pools else None
        self.slowed: set[Request] = set()
        self._env = env
        self._settings = settings
        self._delays = RandomDelay(streams, "instance-loading")
        self._on_routable = on_routable
        self._lives: list[_ReplicaStage] = []

    def state(self, replica: int) -> ReplicaState:
        """How a replica stands."""
        return self._lives[replica].state

    def add(self, gpu_type: str, num_gpus: int) -> None:
        """Take in the replica of the next index, which waits to be started."""
        self._lives.append(_ReplicaStage(gpu_type, num_gpus, ReplicaState.TERMINATED))

    def start(self, replica: int, *, loaded: bool = False) -> None:
        """Begin a life; where there are no node pools, a replica may have been loaded before."""
        life = self._lives[replica]
        self._move(replica, ReplicaState.SCHEDULING)
        life.number += 1
        if self.placement is not None:
            if self.placement.place(replica, life.gpu_type, life.num_gpus):
                self._load(replica)
        elif loaded:
            self._move(replica, ReplicaState.LOADING)
            self._serve(replica)
        else:
            self._load(replica)

    def drain(self, replica: int) -> None:
        """Send a replica no more requests; one that does not serve yet is terminated."""
        if self.state(replica) in (ReplicaState.SCHEDULING, ReplicaState.LOADING):
            self.terminate(replica)
        else:
            self._move(replica, ReplicaState.DRAINING)

    def terminate(self, replica: int) -> None:
        """End a life, and give the GPUs back."""
        self._move(replica, ReplicaState.TERMINATED)
        if self.placement is not None:
            self.placement.release(replica)

    def routed(self, replica: int, request: Request) -> None:
        """Take note of a request that was sent to a replica."""
        life = self._lives[replica]
        if life.to_mark:
            life.to_mark -= 1
            self.slowed.add(request)

    def completed(self, replica: int) -> None:
        """Take note of a request that a replica completed."""
        life = self._lives[replica]
        if life.state is ReplicaState.WARMING_UP:
            life.to_complete -= 1
            if not life.to_complete:
                self._move(replica, ReplicaState.ACTIVE)

    def _load(self, replica: int) -> None:
        self._move(replica, ReplicaState.LOADING)
        delay = self._delays.draw(self._settings.loading_delay, self._settings.loading_delay_stddev)
        if delay:
            priority = event_priority(CONTROL_PLANE, ControlEvent.INSTANCE)
            life = replica, self._lives[replica].number
            self._env.call_at(self._env.now + delay, priority, self._loaded, life)
        else:
            self._serve(replica)

    def _loaded(self, turn: Event) -> None:
        replica, number = turn._value
        life = self._lives[replica]
        if life.state is ReplicaState.LOADING and life.number == number:
            self._serve(replica)

    def _serve(self, replica: int) -> None:
        life = self._lives[replica]
        life.to_mark = life.to_complete = self._settings.warm_up_requests
        self._move(replica, ReplicaState.WARMING_UP if life.to_complete else ReplicaState.ACTIVE)

    def _move(self, replica: int, state: ReplicaState) -> None:
        life = self._lives[replica]
        before = life.state
        to_end = state is ReplicaState.TERMINATED and before is not ReplicaState.TERMINATED
        if state not in _NEXT[before] and not to_end:
            raise SimulationError.at(f"replica {replica}", f"is {before} and cannot become {state}")
        life.state = state
        if before.is_routable != state.is_routable:
            self._on_routable(replica, state.is_routable)
