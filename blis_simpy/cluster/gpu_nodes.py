"""Nodes, and the placement of replicas on their GPUs.

All GPUs of a replica are on one node: the first with enough free ones, in the order of pools and nodes. Without such a
node the replica waits. All waiting replicas are tried again when a node becomes ready or a replica puts GPUs back.
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
"""Holder of GPUs acquired by a user process."""

_PROVISIONED = event_priority(CONTROL_PLANE, ControlEvent.NODE)


class RandomDelay:
    """Normally distributed delays from a random stream; constant delays draw nothing.

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
        """Draw a delay, µs; negative values become 0."""
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
    """Without new replicas, and terminated after its last one."""
    TERMINATED = "terminated"


@attrs.define(eq=False)
class Node:
    """A machine with GPUs.

    Attributes
    ----------
    pool : NodePool
        Its node pool.
    number : int
        Its number in the pool.
    state : NodeState
        State of the node.
    holders : list of int or None, shape (gpus_per_node,)
        Holder of each GPU: index of a replica, or `OTHER_PROCESS`; None = free.
    process : simpy.Process or None
        The process that waits for its provisioning.
    """

    pool: NodePool
    number: int
    state: NodeState = NodeState.PROVISIONING
    holders: list[int | None] = attrs.field(init=False)
    process: simpy.Process | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.holders = [None] * self.pool.gpus_per_node

    @property
    def name(self) -> str:
        """``<pool>-<number>``; its GPUs are ``<name>-gpu-<g>``."""
        return f"{self.pool.name}-{self.number}"

    @property
    def is_empty(self) -> bool:
        """Whether all its GPUs are free."""
        return all(holder is None for holder in self.holders)

    @property
    def free_gpus(self) -> list[int]:
        """Positions of its free GPUs."""
        return [position for position, holder in enumerate(self.holders) if holder is None]

    def gpus_of(self, replica: int) -> list[str]:
        """Return the names of the GPUs of a replica on this node."""
        return [f"{self.name}-gpu-{g}" for g, holder in enumerate(self.holders) if holder == replica]


class GpuRequest(ContainerGet):
    """Request for GPUs of one node, see `Gpus.get`; the value of the event is the node.

    Attributes
    ----------
    amount : int
        Number of GPUs.
    gpu_type : str
        Type of the GPUs.
    holder : int
        Index of the replica, or `OTHER_PROCESS`.
    node : Node or None
        Their node; None until they are granted.
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
    """GPUs of all nodes; the level is the number of free GPUs on ready nodes.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    nodes : mapping of str to list of Node
        Nodes of each pool; nodes are added while the simulation runs.
    """

    def __init__(self, env: Environment, nodes: Mapping[str, list[Node]]) -> None:
        # Unlimited, because the count of the container is not used: the level is computed from the nodes.
        super().__init__(env)
        self._nodes = nodes

    @property
    def level(self) -> int:
        """Number of free GPUs on ready nodes."""
        return sum(len(node.free_gpus) for node in self.nodes if node.state is NodeState.READY)

    @property
    def nodes(self) -> list[Node]:
        """All nodes, including terminated ones, in the order of pools and nodes."""
        return [node for nodes in self._nodes.values() for node in nodes]

    def get(self, amount: int, gpu_type: str, holder: int = OTHER_PROCESS) -> GpuRequest:  # type: ignore[override]
        """Request GPUs of one node: the first with enough free ones, in the order of pools and nodes.

        Parameters
        ----------
        amount : int
            Number of GPUs, >= 1.
        gpu_type : str
            Type of the GPUs, as named by node pools.
        holder : int, optional
            Index of the replica; `OTHER_PROCESS` if not given.

        Returns
        -------
        GpuRequest
            An event that succeeds when they are granted.
        """
        return GpuRequest(self, amount, gpu_type, holder)

    def put(self, request: GpuRequest) -> GpuReturn:  # type: ignore[override]
        """Return an event that puts back the GPUs of a granted request."""
        return GpuReturn(self, request)

    def put_back(self, request: GpuRequest) -> None:
        """Put back the GPUs of a request, or cancel it if it waits, and serve waiting requests."""
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
        """Grant waiting requests, as far as there are free GPUs."""
        # Private. The public way to serve the queue is an event, later in the tick.
        self._trigger_get(None)

    def _trigger_get(self, put_event: ContainerPut | None) -> None:
        # Not first come, first served, but the order of the reference, known from recorded runs: each waiting request
        # is tried once, and the last one takes the place of a granted one.
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
            if node.pool.gpu_type.lower() == event.gpu_type.lower() and node.state is NodeState.READY:
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
        Node pools; their initial nodes are ready at the start.
    streams : RandomStreams
        Random streams of the run; provisioning delays use ``node-provisioning``.

    Attributes
    ----------
    gpus : Gpus
        GPUs of all nodes, a `simpy.Container`. A process acquires GPUs with ``yield gpus.get(2, "H100")``.
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
        """All nodes, including terminated ones, in the order of pools and nodes."""
        return self.gpus.nodes

    @property
    def waiting(self) -> list[int]:
        """Indices of the replicas that wait for GPUs, in the order of the next attempt."""
        return [request.holder for request in self.gpus.get_queue]

    def provision(self, pool: str) -> Node:
        """Add a node, which is ready after the provisioning delay of its pool.

        Raises
        ------
        SimulationError
            If there is no such pool, or it has its maximum number of nodes.
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
        """Drain a node: it gets no new replicas, and is terminated after its last one.

        Raises
        ------
        SimulationError
            If it is neither ready nor being provisioned, or the pool has its minimum number of nodes.
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
        node = Node(pool, len(nodes))
        nodes.append(node)
        return node

    def _make_ready(self, node: Node) -> None:
        node.state = NodeState.READY
        self.gpus.serve_waiting()
