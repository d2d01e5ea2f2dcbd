"""Batch slots and KV blocks of a replica: SimPy resources with synchronous verbs.

The engine decides for a whole batch at once and never waits for one of its own slots or blocks, so it uses verbs that
take effect at once and cost no event: `BatchSlots.try_acquire` and `put_back`, `KVBlocks.take` and `put_back`. Other
processes use SimPy's verbs, ``with replica.slots.request() as slot: yield slot`` and ``yield
replica.kv_blocks.get(n)``, and wait where SimPy waits. These call the same synchronous verbs, so that there is one
count: `BatchSlots.count` is the number of taken slots and `KVBlocks.level` the number of free blocks.

The engine carries out planned steps late (see `blis_simpy.replica.macro_step`), so a resource asks its owner to bring
the count up to date before another process sees it.
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
    """The replica that a resource belongs to, as the resource sees it."""

    def catch_up(self) -> None:
        """Bring the count up to date."""
        ...

    def external_get(self, blocks: int) -> None:
        """Take KV blocks off the free list for another process, which has been counted."""
        ...

    def external_put(self, blocks: int) -> None:
        """Put KV blocks of another process back on the free list, which has been counted."""
        ...

    def resources_changed(self) -> None:
        """React to another process that has taken slots or blocks or put them back."""
        ...


class _NoOwner:
    """Stands in for the replica of a resource that has none."""

    def catch_up(self) -> None:
        pass

    def external_get(self, blocks: int) -> None:
        pass

    def external_put(self, blocks: int) -> None:
        pass

    def resources_changed(self) -> None:
        pass


class BatchSlots(Resource):
    """Batch slots of a replica: at most `capacity` requests run at a time.

    Parameters
    ----------
    env : Environment
        The environment.
    capacity : int
        Number of slots, >= 1.

    Attributes
    ----------
    free : int
        Number of free slots; only the verbs below change it.
    num_reserved : int
        Slots set aside for the replica itself, see `reserve`.
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
        """Number of taken slots, by requests and by other processes."""
        return self.capacity - self.free  # type: ignore[return-value]

    def try_acquire(self) -> bool:
        """Take a slot now, if there is a free one; return whether there was."""
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    def put_back(self) -> None:
        """Give an acquired slot back, and serve a process that waits for one."""
        self.free += 1
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Let the first process that waits have a free slot."""
        if self.put_queue:
            # Private, but SimPy itself serves the queue only in reaction to an event, which would cost 3 µs a request.
            self._trigger_put(None)

    def reserve(self) -> SlotReservation:
        """Return an event that succeeds when a slot is set aside for the replica itself."""
        return SlotReservation(self)

    def _do_put(self, event: Request) -> None:
        # Planned steps that have started by now come first: they may have freed slots or taken them.
        self.owner.catch_up()
        if self.try_acquire():
            if isinstance(event, SlotReservation):
                self.num_reserved += 1
            else:
                self.users.append(event)
            event.usage_since = event.env.now
            event.succeed()
            self.owner.resources_changed()

    def _do_get(self, event: Release) -> None:
        self.owner.catch_up()
        if event.request in self.users:
            self.users.remove(event.request)
            self.put_back()
        event.succeed()
        self.owner.resources_changed()


class SlotReservation(Request):
    """A batch slot that is set aside for a replica whose waiting requests find none.

    It waits in the queue of `BatchSlots` behind the processes that asked before. At its next step the replica ends the
    reservation and takes the slot for a request.
    """

    resource: BatchSlots

    def end(self) -> None:
        """Make the slot free again, without serving others, or give up waiting for it."""
        if self.triggered:
            # Serving others here would give the slot away before the replica takes it.
            self.resource.num_reserved -= 1
            self.resource.free += 1
        else:
            self.cancel()


class KVBlocks(Container):
    """KV blocks of a replica; the level is the number of free ones.

    Free blocks include cached blocks that no request uses. A process that gets blocks takes them in the order of
    eviction, oldest first, as any allocation does.

    Parameters
    ----------
    env : Environment
        The environment.
    capacity : int
        Number of blocks, >= 1.

    Attributes
    ----------
    free : int
        Number of free blocks after the steps that were carried out so far; only the verbs below change it. Other
        processes read `level`.
    held_externally : int
        Blocks that other processes hold.
    num_reserved : int
        Blocks set aside for the replica itself, see `reserve`.
    owner : ResourceOwner
        The replica.
    """

    def __init__(self, env: Environment, capacity: int) -> None:
        super().__init__(env, capacity, init=capacity)
        self.held_externally = 0
        self.num_reserved = 0
        self.owner: ResourceOwner = _NoOwner()

    # SimPy keeps the level under this private name. Here it is another name of `free`, so that there is one count, and
    # the engine reads it without a call, about five times a step.
    @property
    def _level(self) -> int:
        return self.free

    @_level.setter
    def _level(self, blocks: int) -> None:
        self.free: int = blocks

    @property
    def level(self) -> int:
        """Number of free blocks now."""
        self.owner.catch_up()
        return self.free

    def take(self, blocks: int) -> bool:
        """Take blocks now, if as many are free; return whether they were."""
        if blocks > self.free:
            return False
        self.free -= blocks
        return True

    def put_back(self, blocks: int) -> None:
        """Give taken blocks back, and serve the processes that wait for some."""
        self.free += blocks
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Let the processes that wait have free blocks, first come, first served."""
        if self.get_queue:
            # Private, but SimPy itself serves the queue only in reaction to an event, which would cost 3 µs a request.
            self._trigger_get(None)

    def reserve(self, blocks: int) -> BlockReservation:
        """Return an event that succeeds when some blocks are set aside for the replica itself."""
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
                "kv_blocks", f"only {self.held_externally} blocks are held outside and can be put back", amount
            )
        self.owner.catch_up()
        self.held_externally -= amount
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
    """KV blocks that are set aside for a replica whose first waiting request finds too few.

    It waits in the queue of `KVBlocks` behind the processes that asked before. The blocks stay on the free list, with
    what they cache: at its next step the replica ends the reservation and takes blocks for the request.
    """

    resource: KVBlocks

    def end(self) -> None:
        """Make the blocks free again, without serving others, or give up waiting for them."""
        if self.triggered:
            self.resource.num_reserved -= int(self.amount)
            self.resource.free += int(self.amount)
        else:
            self.cancel()
