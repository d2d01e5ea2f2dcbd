"""The life cycle of replicas: placement on a node, loading, warm-up, service, draining.

::

    scheduling -> loading -> warming-up -> active -> draining -> terminated -> scheduling (restored)

A process (`ReplicaLifecycle.bring_up`) waits for the GPUs of a replica, for the transfer of its weights, and for the
rest of its loading, as far as they take time. Any state can change to *terminated*, which interrupts that process. The
router sends requests to replicas in the states *warming-up* and *active*.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
import simpy
from simpy.exceptions import Interrupt

from blis_simpy.cluster.gpu_nodes import GpuNodes, GpuRequest, RandomDelay
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import SimulationError
from blis_simpy.network.fabric import Site
from blis_simpy.network.network import replica_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from simpy.events import Event

    from blis_simpy.cluster.settings import LifecycleSettings, NodePool
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Leg, Request, Route
    from blis_simpy.network.flow import Flow

__all__ = ["ReplicaLifecycle", "ReplicaState"]

_SERVED = (RequestOutcome.COMPLETED, RequestOutcome.HANDED_OVER)
_LOADED = event_priority(CONTROL_PLANE, ControlEvent.INSTANCE)


class ReplicaState(StrEnum):
    """State of a replica."""

    SCHEDULING = "scheduling"
    """Waiting for GPUs."""
    LOADING = "loading"
    """Loading the model."""
    WARMING_UP = "warming-up"
    """Serving its first requests."""
    ACTIVE = "active"
    DRAINING = "draining"
    """Serving its last requests, without new ones."""
    TERMINATED = "terminated"

    @property
    def is_routable(self) -> bool:
        """Whether the router may send requests to the replica."""
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
class _ReplicaLifecycle:
    """State and GPUs of one replica."""

    gpu_type: str
    num_gpus: int
    state: ReplicaState = ReplicaState.TERMINATED
    # Tick from which on it has its GPUs, while it has them, and periods in which it had them before.
    placed_at: int | None = None
    periods: list[tuple[int, int]] = attrs.field(factory=list)
    gpus: GpuRequest | None = None
    # Its GPUs as seen by the network, once asked for in this state: each transfer asks.
    site: Site | None = None
    # Process `bring_up`, while it waits.
    process: simpy.Process | None = None
    # Number of further requests that the warm-up slows down, and that it has to complete.
    to_slow: int = 0
    to_complete: int = 0


class ReplicaLifecycle:
    """Changes the states of replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    settings : LifecycleSettings
        Delays and warm-up.
    pools : sequence of NodePool
        Node pools for the replicas; empty = unlimited GPUs.
    streams : RandomStreams
        Random streams of the run; loading delays use ``instance-loading``.
    observers : Observers
        Observers of the states of replicas.
    fetch_weights : callable, optional
        Starts the transfer of the weights of a replica.

    Attributes
    ----------
    placement : GpuNodes or None
        Nodes with their GPUs; None without node pools.
    """

    def __init__(
        self,
        env: Environment,
        *,
        settings: LifecycleSettings,
        pools: Sequence[NodePool],
        streams: RandomStreams,
        observers: Observers,
        fetch_weights: Callable[[int], Flow] | None = None,
    ) -> None:
        self._fetch_weights = fetch_weights
        self.placement = GpuNodes(env, pools, streams) if pools else None
        self._env = env
        self._settings = settings
        self._delays = RandomDelay(streams, "instance-loading")
        self._observers = observers
        self._replicas: list[_ReplicaLifecycle] = []
        self._slowed_legs: list[Leg] = []
        if settings.warm_up_requests:
            observers.add("routed", self._routed)
            observers.add("leg_finished", self._leg_finished)

    @property
    def slowed(self) -> set[Request]:
        """Requests routed to a replica during its warm-up, without withdrawn ones."""
        return {
            leg.request
            for leg in self._slowed_legs
            if leg.request.prompt_leg is not None and leg.request.prompt_leg.first is leg
        }

    def state(self, replica: int) -> ReplicaState:
        """Return the state of a replica."""
        return self._replicas[replica].state

    def num_gpus(self, replica: int) -> int:
        """GPUs of a replica, while it has any."""
        return self._replicas[replica].num_gpus

    def site(self, replica: int) -> Site:
        """Return the GPUs of a replica.

        Raises
        ------
        SimulationError
            If it has none now.
        """
        this = self._replicas[replica]
        if this.site is None:
            this.site = self._new_site(replica)
        return this.site

    def _new_site(self, replica: int) -> Site:
        this, endpoint = self._replicas[replica], replica_endpoint(replica)
        if self.placement is None:
            return Site(endpoint, this.num_gpus, node=endpoint)
        node = None if this.gpus is None else this.gpus.node
        if node is None:
            raise SimulationError.at(f"replica {replica}", "has no GPUs now")
        return Site(endpoint, this.num_gpus, node.name, node.pool.name, node.number, node.pool.gpus_per_node)

    def placed(self, replica: int, end: int) -> list[tuple[int, int]]:
        """Periods up to a tick in which a replica has its GPUs: from the start of loading to its termination."""
        this = self._replicas[replica]
        periods = this.periods if this.placed_at is None else [*this.periods, (this.placed_at, end)]
        return [(start, min(stop, end)) for start, stop in periods if start < end]

    def add(self, gpu_type: str, num_gpus: int) -> None:
        """Add the replica of the next index; `start` starts it."""
        self._replicas.append(_ReplicaLifecycle(gpu_type, num_gpus))

    def start(self, replica: int, *, loaded: bool = False) -> None:
        """Place, load and warm up a replica; `loaded` skips the loading, except with node pools."""
        this = self._replicas[replica]
        self._move(replica, ReplicaState.SCHEDULING)
        if self.placement is not None:
            this.gpus = self.placement.gpus.get(this.num_gpus, this.gpu_type, replica)
            if not this.gpus.triggered:
                this.process = self._env.process(self.bring_up(replica, this.gpus))
                return
            loaded = False
        delay = self._load(replica, loaded=loaded)
        if self._fetch_weights is not None and not loaded:
            this.process = self._env.process(self.bring_up(replica, None, delay))
        elif delay:
            loaded_event = self._env.event_at(self._env.now + delay, _LOADED)
            this.process = self._env.process(self.bring_up(replica, loaded_event))
        else:
            self._serve(replica)

    def bring_up(self, replica: int, event: Event | None, delay: int = 0) -> Generator[Event, None, None]:
        """Wait for the GPUs of a replica, and for its loading.

        Parameters
        ----------
        replica : int
            Its index.
        event : simpy.Event or None
            GPUs, or the end of the loading, if one of them is pending; None before the transfer of the weights.
        delay : int, µs
            Time from the end of that transfer to the end of the loading.
        """
        weights: Flow | None = None
        try:
            if event is not None:
                yield event
            if isinstance(event, GpuRequest):
                # Drawn after the wait, so that the order of the draws is that in which replicas begin to load.
                delay = self._load(replica)
            if self._fetch_weights is not None:
                weights = self._fetch_weights(replica)
                yield weights
            if delay:
                yield self._env.event_at(self._env.now + delay, _LOADED)
        except Interrupt:
            if weights is not None:
                weights.cancel()
            return
        self._serve(replica)

    def drain(self, replica: int) -> None:
        """Drain a replica; one that does not serve yet is terminated."""
        if self.state(replica) in (ReplicaState.SCHEDULING, ReplicaState.LOADING):
            self.terminate(replica)
        else:
            self._move(replica, ReplicaState.DRAINING)

    def terminate(self, replica: int) -> None:
        """Terminate a replica, and put its GPUs back."""
        this = self._replicas[replica]
        self._move(replica, ReplicaState.TERMINATED)
        if this.process is not None:
            # SimPy delivers an interrupt before all other events of the tick, so a restored replica, which gets a new
            # process, is not affected.
            this.process.interrupt("terminated")
            this.process = None
        if self.placement is not None and this.gpus is not None:
            self.placement.gpus.put_back(this.gpus)
            this.gpus = None

    def _load(self, replica: int, *, loaded: bool = False) -> int:
        """Begin to load the model; return the loading delay, µs."""
        self._move(replica, ReplicaState.LOADING)
        return 0 if loaded else self._delays.draw(self._settings.loading_delay, self._settings.loading_delay_stddev)

    def _serve(self, replica: int) -> None:
        this = self._replicas[replica]
        this.process = None
        this.to_slow = this.to_complete = self._settings.warm_up_requests
        self._move(replica, ReplicaState.WARMING_UP if this.to_complete else ReplicaState.ACTIVE)

    def _routed(self, route: Route) -> None:
        this = self._replicas[route.legs[0][0]]
        if this.to_slow and route.request.leg is not None:
            this.to_slow -= 1
            self._slowed_legs.append(route.request.leg)

    def _leg_finished(self, leg: Leg) -> None:
        this = self._replicas[leg.replica]
        if leg.outcome in _SERVED and this.state is ReplicaState.WARMING_UP:
            this.to_complete -= 1
            if not this.to_complete:
                self._move(leg.replica, ReplicaState.ACTIVE)

    def _move(self, replica: int, state: ReplicaState) -> None:
        this = self._replicas[replica]
        before = this.state
        to_end = state is ReplicaState.TERMINATED and before is not ReplicaState.TERMINATED
        if state not in _NEXT[before] and not to_end:
            raise SimulationError.at(f"replica {replica}", f"is {before} and cannot become {state}")
        this.state, this.site = state, None
        if state is ReplicaState.LOADING:
            this.placed_at = self._env.now
        elif to_end and this.placed_at is not None:
            this.periods.append((this.placed_at, self._env.now))
            this.placed_at = None
        if self._observers.replica_state is not None:
            self._observers.replica_state(replica, state)
