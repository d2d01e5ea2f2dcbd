"""Batch slots and KV blocks of a replica: SimPy resources with synchronous methods.

The engine forms a batch in one operation and never waits for single slots or blocks, so it calls methods that take
effect immediately and cost no event: `BatchSlots.try_acquire` and `put_back`, `KVBlocks.take` and `put_back`. Other
processes use the methods of SimPy, ``with replica.slots.request() as slot: yield slot`` and ``yield
replica.kv_blocks.get(n)``, and wait in the queue of the resource. Both ways change the same count: `BatchSlots.count`
is the number of taken slots, `KVBlocks.level` the number of free blocks.

The engine commits planned steps late (see `blis_simpy.replica.macro_step`), so a resource calls `catch_up` of its owner
before another process reads the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from simpy.resources.container import Container, ContainerGet, ContainerPut
from simpy.resources.resource import Release, Request, Resource

from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    from blis_simpy.core.environment import Environment

__all__ = ["BatchSlots", "BlockReservation", "KVBlocks", "ResourceOwner", "SlotReservation"]


class ResourceOwner(Protocol):
    """Interface of the replica that owns a resource."""

    def catch_up(self) -> None:
        """Bring the count up to date."""
        ...

    def external_get(self, blocks: int) -> None:
        """Remove KV blocks from the free list for another process; the resource counts them."""
        ...

    def external_put(self, blocks: int) -> None:
        """Return KV blocks of another process to the free list; the resource counts them."""
        ...

    def resources_changed(self) -> None:
        """React to a change of slots or blocks by another process."""
        ...


class _NoOwner:
    """Owner that does nothing, for a resource without a replica."""

    def catch_up(self) -> None:
        pass

    def external_get(self, blocks: int) -> None:
        pass

    def external_put(self, blocks: int) -> None:
        pass

    def resources_changed(self) -> None:
        pass


class BatchSlots(Resource):
    """Batch slots of a replica, which limit the number of running requests.

    Parameters
    ----------
    env : Environment
        The environment.
    capacity : int
        Number of slots, >= 1.

    Attributes
    ----------
    free : int
        Number of free slots; changed only by the methods of this class.
    num_reserved : int
        Number of slots reserved for the replica itself, see `reserve`.
    owner : ResourceOwner
        The replica.
    """

    def __init__(self, env: Environment, capacity: int) -> None:
        super().__init__(env, capacity)
        self.free = capacity
        self.num_reserved = 0
        self.owner: ResourceOwner = _NoOwner()

    @property
    def count(self) -> int:
        """Number of slots held by requests and by other processes."""
        return self.capacity - self.free  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<BatchSlots: {self.count} of {self.capacity} in use>"

    def try_acquire(self) -> bool:
        """Take a slot if one is free; return whether it was taken."""
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    def put_back(self) -> None:
        """Put a slot back, and serve waiting processes."""
        self.free += 1
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Grant free slots to waiting processes, first come, first served."""
        if self.put_queue:
            # Private. The public way to serve the queue is an event, which would cost 3 µs per request.
            self._trigger_put(None)

    def reserve(self) -> SlotReservation:
        """Return an event that succeeds when a slot is reserved for the replica itself."""
        return SlotReservation(self)

    def _do_put(self, event: Request) -> None:
        # Formed steps are committed first, because they may have freed or taken slots.
        self.owner.catch_up()
        if self.try_acquire():
            if isinstance(event, SlotReservation):
                self.num_reserved += 1
            else:
                self.users.append(event)
            event.usage_since = event.env.now
            event.succeed()
            # After the count has changed: the owner decides with it whether its plan is still valid.
            self.owner.resources_changed()

    def _do_get(self, event: Release) -> None:
        self.owner.catch_up()
        if event.request in self.users:
            self.users.remove(event.request)
            self.put_back()
        event.succeed()
        self.owner.resources_changed()


class SlotReservation(Request):
    """Reservation of a batch slot for a replica with waiting requests and no free slot.

    It waits in the queue of `BatchSlots` like a request of any process. At its next step the replica ends the
    reservation and takes the slot for a request.
    """

    resource: BatchSlots

    def end(self) -> None:
        """Free the slot without serving waiting processes, or cancel a reservation that still waits."""
        if self.triggered:
            # Not `put_back`, which would grant the slot to a waiting process before the replica takes it.
            self.resource.num_reserved -= 1
            self.resource.free += 1
        else:
            self.cancel()


class KVBlocks(Container):
    """KV blocks of a replica; the level is the number of free blocks.

    Free blocks include cached blocks without a request. A process gets blocks in the order of eviction, the oldest
    first, like a request.

    Parameters
    ----------
    env : Environment
        The environment.
    capacity : int
        Number of blocks, >= 1.

    Attributes
    ----------
    free : int
        Number of free blocks after the committed steps; changed only by the methods of this class. Other processes read
        `level`.
    held_externally : int
        Number of blocks held by other processes.
    num_reserved : int
        Number of blocks reserved for the replica itself, see `reserve`.
    owner : ResourceOwner
        The replica.
    """

    def __init__(self, env: Environment, capacity: int) -> None:
        super().__init__(env, capacity, init=capacity)
        self.held_externally = 0
        self.num_reserved = 0
        self.owner: ResourceOwner = _NoOwner()

    # Private name of the level in SimPy. It is an alias of `free`, so that there is one count. The plain attribute is
    # `free`, because the engine reads it about five times per step.
    @property
    def _level(self) -> int:
        return self.free

    @_level.setter
    def _level(self, blocks: int) -> None:
        self.free: int = blocks

    @property
    def level(self) -> int:
        """Number of free blocks."""
        self.owner.catch_up()
        return self.free

    def __repr__(self) -> str:
        return f"<KVBlocks: {self.level:,} of {self.capacity:,} free>"

    def take(self, blocks: int) -> bool:
        """Take blocks if as many are free; return whether they were taken."""
        if blocks > self.free:
            return False
        self.free -= blocks
        return True

    def put_back(self, blocks: int) -> None:
        """Put blocks back, and serve waiting processes."""
        self.free += blocks
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Grant free blocks to waiting processes, first come, first served."""
        if self.get_queue:
            # Private. The public way to serve the queue is an event, which would cost 3 µs per request.
            self._trigger_get(None)

    def reserve(self, blocks: int) -> BlockReservation:
        """Return an event that succeeds when blocks are reserved for the replica itself."""
        return BlockReservation(self, blocks)

    def _do_get(self, event: ContainerGet) -> bool | None:
        amount = event.amount
        if type(amount) is not int or amount > self.capacity:
            self.get_queue.remove(event)
            raise self._wrong_amount(amount)
        self.owner.catch_up()
        if not self.take(amount):
            return None
        if isinstance(event, BlockReservation):
            self.num_reserved += amount
        else:
            self.held_externally += amount
            self.owner.external_get(amount)
        event.succeed()
        self.owner.resources_changed()
        return True

    def _do_put(self, event: ContainerPut) -> bool | None:
        amount = event.amount
        if type(amount) is not int or amount > self.capacity:
            self.put_queue.remove(event)
            raise self._wrong_amount(amount)
        if amount > self.held_externally:
            self.put_queue.remove(event)
            raise SimulationError.at(
                "kv_blocks", f"amount must be <= {self.held_externally}, the blocks held by other processes", amount
            )
        self.owner.catch_up()
        self.held_externally -= amount
        # The free list first: `put_back` serves waiting processes, which take blocks off it immediately.
        self.owner.external_put(amount)
        self.put_back(amount)
        event.succeed()
        self.owner.resources_changed()
        return True

    def _wrong_amount(self, amount: object) -> SimulationError:
        return SimulationError.at(
            "kv_blocks", f"amount must be a whole number up to the capacity of {self.capacity}", amount
        )


class BlockReservation(ContainerGet):
    """Reservation of KV blocks for the head of the wait queue of a replica with too few free blocks.

    It waits in the queue of `KVBlocks` like a request of any process. Reserved blocks stay on the free list and keep
    their content. At its next step the replica ends the reservation and takes blocks for the head.
    """

    resource: KVBlocks

    def end(self) -> None:
        """Free the blocks without serving waiting processes, or cancel a reservation that still waits."""
        if self.triggered:
            self.resource.num_reserved -= int(self.amount)
            self.resource.free += int(self.amount)
        else:
            self.cancel()
