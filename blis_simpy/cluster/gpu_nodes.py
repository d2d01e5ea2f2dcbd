"""Which replica has which GPUs: nodes, where their GPUs went, and who waits for some.

A replica needs all its GPUs on one node. It gets the first node that has them, pools and nodes in order; where none
has, it waits, and everyone who waits is tried again whenever a node becomes ready or a replica gives its GPUs back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from blis_simpy.cluster.settings import NodePool
from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.random_streams import RandomStreams

__all__ = ["GpuNodes", "Node", "NodeState", "RandomDelay"]


class RandomDelay:
    """Delays that scatter about a mean, from a stream of their own; a constant one draws nothing.

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
        """Draw from the normal distribution, what is below 0 being 0; all µs."""
        if not stddev:
            return mean
        if self._stream is None:
            self._stream = self._streams.generator(self._name)
        return max(0, int(mean + stddev * self._stream.standard_normal()))


class NodeState(StrEnum):
    """How a node stands."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DRAINING = "draining"
    """It gets no more replicas, and goes when the last is gone."""
    TERMINATED = "terminated"


@attrs.define(eq=False)
class Node:
    """A machine with GPUs.

    Attributes
    ----------
    name : str
        ``<pool>-<n>``; its GPUs are ``<name>-gpu-<g>``.
    pool : NodePool
        What it is made of.
    state : NodeState
        How it stands.
    holders : list of int or None, shape (gpus_per_node,)
        Index of the replica that has each GPU; None = free.
    """

    name: str
    pool: NodePool
    state: NodeState = NodeState.PROVISIONING
    holders: list[int | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.holders = [None] * self.pool.gpus_per_node

    @property
    def is_empty(self) -> bool:
        """Whether no replica has any of its GPUs."""
        return all(holder is None for holder in self.holders)

    def gpus_of(self, replica: int) -> list[str]:
        """Names of the GPUs that a replica has here."""
        return [f"{self.name}-gpu-{g}" for g, holder in enumerate(self.holders) if holder == replica]


class GpuNodes:
    """Node pools and the GPUs that replicas have on them.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    pools : sequence of NodePool
        Their initial nodes are ready at once.
    streams : RandomStreams
        Random streams of the run; the delays of further nodes draw from ``node-provisioning``.
    on_placed : callable
        Told of each replica that had to wait and has been placed.

    Attributes
    ----------
    waiting : list of int
        Replicas that found no GPUs, in the order in which they are tried again.
    """

    def __init__(
        self, env: Environment, pools: Sequence[NodePool], streams: RandomStreams, on_placed: Callable[[int], None]
    ) -> None:
        self.waiting: list[int] = []
        self._env = env
        self._on_placed = on_placed
        self._delays = RandomDelay(streams, "node-provisioning")
        self._pools = {pool.name: pool for pool in pools}
        self._nodes: dict[str, list[Node]] = {pool.name: [] for pool in pools}
        self._needs: dict[int, tuple[str, int]] = {}
        for pool in pools:
            for _ in range(pool.initial_nodes):
                self._new_node(pool).state = NodeState.READY

    @property
    def nodes(self) -> list[Node]:
        """All nodes that there ever were, pools and nodes in order."""
        return [node for nodes in self._nodes.values() for node in nodes]

    # ------------------------------------------------------------------------------------------------ nodes

    def provision(self, pool: str) -> Node:
        """Order a further node; it is ready after the provisioning delay of its pool.

        Raises
        ------
        SimulationError
            If there is no such pool, or it has its most nodes already.
        """
        if pool not in self._pools:
            raise SimulationError.at("pool", "is unknown", pool, hint=f"known: {', '.join(self._pools)}")
        settings = self._pools[pool]
        if settings.max_nodes is not None and self._num_nodes(pool) >= settings.max_nodes:
            raise SimulationError.at(f"pool {pool}", f"must not have more than {settings.max_nodes} nodes")
        node = self._new_node(settings)
        delay = self._delays.draw(settings.provisioning_delay, settings.provisioning_delay_stddev)
        if delay:
            priority = event_priority(CONTROL_PLANE, ControlEvent.NODE)
            self._env.call_at(self._env.now + delay, priority, self._provisioned, node)
        else:
            self._make_ready(node)
        return node

    def drain(self, node: Node) -> None:
        """Give a node no more replicas, and let it go when the last is gone; at once if none is there.

        Raises
        ------
        SimulationError
            If it is neither ready nor under way, or the pool would have too few nodes.
        """
        if node.state not in (NodeState.READY, NodeState.PROVISIONING):
            raise SimulationError.at(
                f"node {node.name}", "must be ready or provisioning to be drained", str(node.state)
            )
        if self._num_nodes(node.pool.name) <= node.pool.min_nodes:
            raise SimulationError.at(f"pool {node.pool.name}", f"must keep {node.pool.min_nodes} nodes")
        node.state = NodeState.TERMINATED if node.is_empty else NodeState.DRAINING

    def _num_nodes(self, pool: str) -> int:
        return sum(node.state in (NodeState.READY, NodeState.PROVISIONING) for node in self._nodes[pool])

    def _new_node(self, pool: NodePool) -> Node:
        nodes = self._nodes[pool.name]
        node = Node(f"{pool.name}-{len(nodes)}", pool)
        nodes.append(node)
        return node

    def _provisioned(self, turn: Event) -> None:
        node: Node = turn._value
        if node.state is NodeState.PROVISIONING:
            self._make_ready(node)

    def _make_ready(self, node: Node) -> None:
        node.state = NodeState.READY
        self._try_again()

    # ------------------------------------------------------------------------------------------------ replicas

    def place(self, replica: int, gpu_type: str, num_gpus: int) -> bool:
        """Give GPUs of one node to a replica.

        Returns
        -------
        bool
            False if no node has enough; then the replica waits.
        """
        self._needs[replica] = gpu_type, num_gpus
        placed = self._fits(replica)
        if not placed:
            self.waiting.append(replica)
        return placed

    def release(self, replica: int) -> None:
        """Take back the GPUs of a replica, or its wish for some."""
        if replica in self.waiting:
            self.waiting.remove(replica)
            return
        for node in self.nodes:
            if replica in node.holders:
                node.holders = [None if holder == replica else holder for holder in node.holders]
                if node.state is NodeState.DRAINING and node.is_empty:
                    node.state = NodeState.TERMINATED
        self._try_again()

    def _fits(self, replica: int) -> bool:
        gpu_type, num_gpus = self._needs[replica]
        for node in self.nodes:
            if node.pool.gpu_type == gpu_type and node.state is NodeState.READY:
                free = [position for position, holder in enumerate(node.holders) if holder is None]
                if len(free) >= num_gpus:
                    for position in free[:num_gpus]:
                        node.holders[position] = replica
                    return True
        return False

    def _try_again(self) -> None:
        """Try everyone who waits once; the last of them takes the place of one that was placed, as in the reference."""
        waiting = self.waiting
        placed = []
        position = 0
        for _ in range(len(waiting)):
            replica = waiting[position]
            if not self._fits(replica):
                position += 1
                continue
            placed.append(replica)
            last = waiting.pop()
            if position < len(waiting):
                waiting[position] = last
        for replica in placed:
            self._on_placed(replica)
