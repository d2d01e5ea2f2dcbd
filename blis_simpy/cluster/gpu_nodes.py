"""Nodes and their GPUs: which replica has which, and which replicas wait for some.

A replica needs all its GPUs on one node. It gets the first node that has them, pools and nodes in order. If none has,
it waits, and all that wait are tried again whenever a node becomes ready or a replica gives its GPUs back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
import simpy
from simpy.exceptions import Interrupt
from simpy.resources.container import Container, ContainerGet, ContainerPut

from blis_simpy.cluster.settings import NodePool
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy as np
    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.random_streams import RandomStreams

__all__ = ["OTHER_PROCESS", "GpuNodes", "GpuRequest", "Gpus", "Node", "NodeState", "RandomDelay"]

OTHER_PROCESS = -1
"""Holder of the GPUs that a user's process has."""

_PROVISIONED = event_priority(CONTROL_PLANE, ControlEvent.NODE)


class RandomDelay:
    """Normally distributed delays from a random stream of their own; constant ones draw nothing.

    Parameters
    ----------
    streams : RandomStreams
        Random streams of the run.
    name : str
        Name of the stream.
    """

    def __init__(self, streams: RandomStreams, name: str) -> None:
        self._streams = streams
        self._name = name
        self._stream: np.random.Generator | None = None

    def draw(self, mean: int, stddev: int) -> int:
        """Draw from the normal distribution, negative values becoming 0; all µs."""
        if not stddev:
            return mean
        if self._stream is None:
            self._stream = self._streams.generator(self._name)
        return max(0, int(mean + stddev * self._stream.standard_normal()))


class NodeState(StrEnum):
    """State of a node."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DRAINING = "draining"
    """It gets no more replicas, and is terminated when the last has left."""
    TERMINATED = "terminated"


@attrs.define(eq=False)
class Node:
    """A machine with GPUs.

    Attributes
    ----------
    name : str
        ``<pool>-<n>``; its GPUs are ``<name>-gpu-<g>``.
    pool : NodePool
        The pool that it belongs to.
    state : NodeState
        State of the node.
    holders : list of int or None, shape (gpus_per_node,)
        Index of the replica that has each GPU, `OTHER_PROCESS` if another process has it; None = free.
    process : simpy.Process or None
        The process that provisions it, while that takes time.
    """

    name: str
    pool: NodePool
    state: NodeState = NodeState.PROVISIONING
    holders: list[int | None] = attrs.field(init=False)
    process: simpy.Process | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.holders = [None] * self.pool.gpus_per_node

    @property
    def is_empty(self) -> bool:
        """Whether all its GPUs are free."""
        return all(holder is None for holder in self.holders)

    @property
    def free_gpus(self) -> list[int]:
        """Positions of its free GPUs."""
        return [position for position, holder in enumerate(self.holders) if holder is None]

    def gpus_of(self, replica: int) -> list[str]:
        """Names of the GPUs that a replica has here."""
        return [f"{self.name}-gpu-{g}" for g, holder in enumerate(self.holders) if holder == replica]


class GpuRequest(ContainerGet):
    """Request of GPUs of one node, see `Gpus.get`; its value is the node.

    Attributes
    ----------
    amount : int
        Number of GPUs.
    gpu_type : str
        Their type.
    holder : int
        Index of the replica that wants them, or `OTHER_PROCESS`.
    node : Node or None
        The node, once they are granted.
    """

    amount: int

    def __init__(self, gpus: Gpus, amount: int, gpu_type: str, holder: int) -> None:
        self.gpu_type = gpu_type
        self.holder = holder
        self.node: Node | None = None
        self.positions: list[int] = []
        super().__init__(gpus, amount)


class GpuReturn(ContainerPut):
    """Return of the GPUs of a request, see `Gpus.put`."""

    def __init__(self, gpus: Gpus, request: GpuRequest) -> None:
        self.request = request
        super().__init__(gpus, request.amount)


class Gpus(Container):
    """GPUs of all nodes; the level is the number of free ones on ready nodes.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    nodes : mapping of str to list of Node
        Nodes of each pool; nodes are added while the simulation runs.
    """

    def __init__(self, env: Environment, nodes: Mapping[str, list[Node]]) -> None:
        # The level follows from the nodes, so the container's own count has no limit and is not used.
        super().__init__(env)
        self._nodes = nodes

    @property
    def level(self) -> int:
        """Number of free GPUs on ready nodes."""
        return sum(len(node.free_gpus) for node in self.nodes if node.state is NodeState.READY)

    @property
    def nodes(self) -> list[Node]:
        """All nodes that there ever were, pools and nodes in order."""
        return [node for nodes in self._nodes.values() for node in nodes]

    def get(self, amount: int, gpu_type: str, holder: int = OTHER_PROCESS) -> GpuRequest:  # type: ignore[override]
        """Request GPUs of one node: the first that has enough, pools and nodes in order.

        Parameters
        ----------
        amount : int
            Number of GPUs, >= 1.
        gpu_type : str
            Their type, as node pools name it.
        holder : int, optional
            Index of the replica that wants them; `OTHER_PROCESS` if not given.

        Returns
        -------
        GpuRequest
            An event that succeeds when they are granted.
        """
        return GpuRequest(self, amount, gpu_type, holder)

    def put(self, request: GpuRequest) -> GpuReturn:  # type: ignore[override]
        """Return an event that gives back the GPUs of a granted request."""
        return GpuReturn(self, request)

    def put_back(self, request: GpuRequest) -> None:
        """Give back the GPUs of a request now, or cancel it if it still waits, and serve the requests that wait."""
        if request.node is None:
            request.cancel()
            return
        node = request.node
        for position in request.positions:
            node.holders[position] = None
        request.node, request.positions = None, []
        if node.state is NodeState.DRAINING and node.is_empty:
            node.state = NodeState.TERMINATED
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Grant the requests that wait, as far as there are GPUs."""
        # Private, but SimPy itself serves the queue only in reaction to an event, later in the tick.
        self._trigger_get(None)

    def _trigger_get(self, put_event: ContainerPut | None) -> None:
        # Overrides SimPy's first-come-first-served order with that of the reference, which the recorded outcomes show:
        # each waiting request is tried once, and the last takes the place of one that was granted.
        waiting = self.get_queue
        position = 0
        for _ in range(len(waiting)):
            if not self._do_get(waiting[position]):
                position += 1
                continue
            last = waiting.pop()
            if position < len(waiting):
                waiting[position] = last

    def _do_get(self, event: GpuRequest) -> bool:  # type: ignore[override]
        for node in self.nodes:
            if node.pool.gpu_type == event.gpu_type and node.state is NodeState.READY:
                free = node.free_gpus
                if len(free) >= event.amount:
                    event.node, event.positions = node, free[: event.amount]
                    for position in event.positions:
                        node.holders[position] = event.holder
                    event.succeed(node)
                    return True
        return False

    def _do_put(self, event: GpuReturn) -> bool:  # type: ignore[override]
        self.put_back(event.request)
        event.succeed()
        return True


class GpuNodes:
    """Node pools, their nodes, and the GPUs on them.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    pools : sequence of NodePool
        Node pools; their initial nodes are ready at once.
    streams : RandomStreams
        Random streams of the run; the delays of further nodes draw from ``node-provisioning``.

    Attributes
    ----------
    gpus : Gpus
        GPUs of all nodes, a `simpy.Container`. A process takes some with ``yield gpus.get(2, "H100")``.
    """

    def __init__(self, env: Environment, pools: Sequence[NodePool], streams: RandomStreams) -> None:
        self._env = env
        self._delays = RandomDelay(streams, "node-provisioning")
        self._pools = {pool.name: pool for pool in pools}
        self._nodes: dict[str, list[Node]] = {pool.name: [] for pool in pools}
        self.gpus = Gpus(env, self._nodes)
        for pool in pools:
            for _ in range(pool.initial_nodes):
                self._new_node(pool).state = NodeState.READY

    @property
    def nodes(self) -> list[Node]:
        """All nodes that there ever were, pools and nodes in order."""
        return self.gpus.nodes

    @property
    def waiting(self) -> list[int]:
        """Indices of the replicas that wait for GPUs, in the order in which they are tried again."""
        return [request.holder for request in self.gpus.get_queue]

    def provision(self, pool: str) -> Node:
        """Add a node, which is ready after the provisioning delay of its pool.

        Raises
        ------
        SimulationError
            If there is no such pool, or it has the most nodes that it may have.
        """
        if pool not in self._pools:
            raise SimulationError.at("pool", "is unknown", pool, hint=f"known: {', '.join(self._pools)}")
        settings = self._pools[pool]
        if settings.max_nodes is not None and self._num_nodes(pool) >= settings.max_nodes:
            raise SimulationError.at(f"pool {pool}", f"must not have more than {settings.max_nodes} nodes")
        node = self._new_node(settings)
        delay = self._delays.draw(settings.provisioning_delay, settings.provisioning_delay_stddev)
        if delay:
            ready = self._env.event_at(self._env.now + delay, _PROVISIONED)
            node.process = self._env.process(self.set_up(node, ready))
        else:
            self._make_ready(node)
        return node

    def set_up(self, node: Node, ready: Event) -> Generator[Event, None, None]:
        """Wait until a node is provisioned."""
        try:
            yield ready
        except Interrupt:
            return
        node.process = None
        self._make_ready(node)

    def drain(self, node: Node) -> None:
        """Place no more replicas on a node, and terminate it when the last has left; at once if there is none.

        Raises
        ------
        SimulationError
            If it is neither ready nor being provisioned, or the pool would have too few nodes.
        """
        if node.state not in (NodeState.READY, NodeState.PROVISIONING):
            raise SimulationError.at(
                f"node {node.name}", "must be ready or provisioning to be drained", str(node.state)
            )
        if self._num_nodes(node.pool.name) <= node.pool.min_nodes:
            raise SimulationError.at(f"pool {node.pool.name}", f"must keep {node.pool.min_nodes} nodes")
        node.state = NodeState.TERMINATED if node.is_empty else NodeState.DRAINING
        if node.process is not None:
            node.process.interrupt("drained")
            node.process = None

    def _num_nodes(self, pool: str) -> int:
        return sum(node.state in (NodeState.READY, NodeState.PROVISIONING) for node in self._nodes[pool])

    def _new_node(self, pool: NodePool) -> Node:
        nodes = self._nodes[pool.name]
        node = Node(f"{pool.name}-{len(nodes)}", pool)
        nodes.append(node)
        return node

    def _make_ready(self, node: Node) -> None:
        node.state = NodeState.READY
        self.gpus.serve_waiting()
