"""Batch slots and KV blocks as real SimPy resources.

They hold the truth, not a copy: `BatchSlots.count` is the number of taken slots, `KVBlocks.level` the number of free
blocks. The engine takes and gives synchronously, which costs no event. Any other process uses the ordinary verbs,
``with replica.slots.request() as slot: yield slot`` and ``yield replica.kv_blocks.get(n)``, and the replica feels it:
its admission, preemption and observations respect what others hold. Between its events a replica's state is only known
when somebody asks, so the pools ask their *keeper* to bring it up to date before they look at themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from simpy.resources.container import Container, ContainerGet, ContainerPut
from simpy.resources.resource import Release, Request, Resource

from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from blis_simpy.core.environment import Environment

__all__ = ["BatchSlots", "KVBlocks", "ResourceOwner"]


class ResourceOwner(Protocol):
    """The replica that a pool belongs to, as the pool sees it."""

    def settle(self) -> None:
        """Bring the pool's figures up to date."""
        ...

    def external_get(self, blocks: int) -> None:
        """Hand blocks from the free list to somebody else."""
        ...

    def external_put(self, blocks: int) -> None:
        """Put blocks of somebody else back on the free list."""
        ...

    def pools_changed(self) -> None:
        """Somebody else took or gave something."""
        ...


class BatchSlots(Resource):
    """Batch slots of a replica: at most `capacity` requests run at a time.

    Parameters
    ----------
    env : Environment
        Where it lives.
    capacity : int
        Number of slots, >= 1.
    """

    def __init__(self, env: Environment, capacity: int) -> None:
        super().__init__(env, capacity)
        self.keeper: ResourceOwner | None = None
        self.num_running = 0
        """Slots that the replica's own requests take; only its engine writes it."""

    @property
    def count(self) -> int:
        """Number of taken slots, by requests and by other processes."""
        return self.num_running + len(self.users)

    @property
    def free(self) -> int:
        """Number of free slots; negative never."""
        return self.capacity - self.num_running - len(self.users)  # type: ignore[return-value]

    def vacate(self) -> None:
        """Give back the slot of a request that left the batch."""
        self.num_running -= 1
        if self.put_queue:
            self._trigger_put(None)

    def _do_put(self, event: Request) -> None:
        if self.keeper is not None:
            self.keeper.settle()
        if self.free > 0:
            self.users.append(event)
            event.usage_since = self._env.now
            event.succeed()
            if self.keeper is not None:
                self.keeper.pools_changed()

    def _do_get(self, event: Release) -> None:
        if self.keeper is not None:
            self.keeper.settle()
        super()._do_get(event)
        if self.keeper is not None:
            self.keeper.pools_changed()


class KVBlocks(Container):
    """KV blocks of a replica; the level is the number of free ones.

    Free blocks include cached blocks that no request uses. Whoever gets blocks from outside takes them in the order of
    eviction, oldest first, as any allocation does. The engine decides for a whole batch at once and may overtake a
    waiting process.

    Parameters
    ----------
    env : Environment
        Where it lives.
    capacity : int
        Number of blocks, >= 1.
    """

    def __init__(self, env: Environment, capacity: int) -> None:
        super().__init__(env, capacity, init=capacity)
        self.keeper: ResourceOwner | None = None
        self.free: int = capacity
        """Free blocks as of the engine's last step; only the KV store writes it. Others read `level`."""
        self.held_externally = 0
        """Blocks that other processes hold."""

    @property
    def level(self) -> int:
        """Number of free blocks now."""
        if self.keeper is not None:
            self.keeper.settle()
        return self.free

    def wake_getters(self) -> None:
        """Serve waiting processes after blocks were given back."""
        if self.get_queue:
            self._trigger_get(None)

    def _check(self, amount: float) -> int:
        if type(amount) is not int or amount > self.capacity:
            raise SimulationError.at(
                "kv_blocks", f"amount must be a whole number up to the capacity of {self.capacity}", amount
            )
        return amount

    def _do_get(self, event: ContainerGet) -> bool | None:
        amount = self._check(event.amount)
        if self.keeper is not None:
            self.keeper.settle()
        if self.free < amount:
            return None
        self.held_externally += amount
        if self.keeper is not None:
            self.keeper.external_get(amount)
            self.keeper.pools_changed()
        else:
            self.free -= amount
        event.succeed()
        return True

    def _do_put(self, event: ContainerPut) -> bool | None:
        amount = self._check(event.amount)
        if amount > self.held_externally:
            raise SimulationError.at(
                "kv_blocks", f"only {self.held_externally} blocks are held outside and can be put back", amount
            )
        if self.keeper is not None:
            self.keeper.settle()
        self.held_externally -= amount
        if self.keeper is not None:
            self.keeper.external_put(amount)
            self.keeper.pools_changed()
        else:
            self.free += amount
        event.succeed()
        return True
