"""Eviction policies of KV tiers: they choose the chunk that makes room for a new one."""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = [
    "EVICTION_POLICIES",
    "EvictionPolicy",
    "FirstInFirstOut",
    "LeastFrequentlyUsed",
    "LeastRecentlyUsed",
    "Optimal",
    "num_hits",
]


class EvictionPolicy(Protocol):
    """Order in which the chunks of a tier are evicted."""

    def add(self, key: int) -> None:
        """Add a chunk."""
        ...

    def use(self, key: int) -> None:
        """Note that a chunk is read, or asked for and not there."""
        ...

    def remove(self, key: int) -> None:
        """Remove a chunk."""
        ...

    def victim(self, pinned: Collection[int]) -> int | None:
        """Return the chunk to evict next that is not pinned; None if all are."""
        ...


class FirstInFirstOut:
    """Evicts the chunk that was added first."""

    def __init__(self) -> None:
        self._order: OrderedDict[int, None] = OrderedDict()

    def add(self, key: int) -> None:
        """Add a chunk."""
        self._order[key] = None

    def use(self, key: int) -> None:
        """Do nothing."""

    def remove(self, key: int) -> None:
        """Remove a chunk."""
        del self._order[key]

    def victim(self, pinned: Collection[int]) -> int | None:
        """Return the oldest chunk that is not pinned."""
        return next((key for key in self._order if key not in pinned), None)


class LeastRecentlyUsed(FirstInFirstOut):
    """Evicts the chunk whose last use is the longest ago; a chunk is used when it is added and when it is read."""

    def use(self, key: int) -> None:
        """Move a chunk to the end."""
        if key in self._order:
            self._order.move_to_end(key)


class LeastFrequentlyUsed:
    """Evicts the chunk with the fewest uses since it was added; of several, the one with the oldest last use."""

    def __init__(self) -> None:
        self._uses: dict[int, tuple[int, int]] = {}
        self._clock = 0
        # Entries (uses, time of the last use, key); those that are not the present one of their key are old.
        self._heap: list[tuple[int, int, int]] = []

    def add(self, key: int) -> None:
        """Add a chunk."""
        self._set(key, 1)

    def use(self, key: int) -> None:
        """Count a use."""
        if key in self._uses:
            self._set(key, self._uses[key][0] + 1)

    def _set(self, key: int, uses: int) -> None:
        self._clock += 1
        self._uses[key] = uses, self._clock
        heappush(self._heap, (uses, self._clock, key))
        if len(self._heap) > 2 * len(self._uses) + 64:
            self._heap = [(uses, at, key) for key, (uses, at) in self._uses.items()]
            heapify(self._heap)

    def remove(self, key: int) -> None:
        """Remove a chunk."""
        del self._uses[key]

    def victim(self, pinned: Collection[int]) -> int | None:
        """Return the chunk with the fewest uses that is not pinned."""
        skipped = []
        found = None
        while self._heap and found is None:
            uses, at, key = self._heap[0]
            if self._uses.get(key) != (uses, at):
                heappop(self._heap)
            elif key in pinned:
                skipped.append(heappop(self._heap))
            else:
                found = key
        for entry in skipped:
            heappush(self._heap, entry)
        return found


class Optimal:
    """Evicts the chunk whose next use is the farthest away (Belady, IBM Systems Journal 5, 1966).

    It must know the future, which depends on what is evicted, so it is a bound for other policies on a recorded
    sequence, not a policy of a simulation.

    Parameters
    ----------
    accesses : sequence of int
        Keys in the order in which they will be used.
    """

    def __init__(self, accesses: Sequence[int]) -> None:
        self._uses: dict[int, deque[int]] = {}
        for at, key in enumerate(accesses):
            self._uses.setdefault(key, deque()).append(at)
        self._present: dict[int, None] = {}

    def add(self, key: int) -> None:
        """Add a chunk."""
        self._present[key] = None

    def use(self, key: int) -> None:
        """Move on to the next access, which is to this key."""
        self._uses[key].popleft()

    def remove(self, key: int) -> None:
        """Remove a chunk."""
        del self._present[key]

    def victim(self, pinned: Collection[int]) -> int | None:
        """Return the chunk that is not pinned with the farthest next use."""
        candidates = [key for key in self._present if key not in pinned]
        return max(candidates, key=self._next_use, default=None)

    def _next_use(self, key: int) -> float:
        uses = self._uses[key]
        return uses[0] if uses else float("inf")


def num_hits(accesses: Sequence[int], capacity: int, policy: EvictionPolicy) -> int:
    """Return the number of hits of a sequence of accesses in a cache that keeps every missed key.

    Parameters
    ----------
    accesses : sequence of int
        Keys in order.
    capacity : int
        Number of keys that fit, >= 1.
    policy : EvictionPolicy
        A new instance.

    Examples
    --------
    >>> accesses = [1, 2, 3, 1, 2, 3]
    >>> num_hits(accesses, 2, LeastRecentlyUsed()), num_hits(accesses, 2, Optimal(accesses))
    (0, 2)
    """
    present: set[int] = set()
    hits = 0
    for key in accesses:
        policy.use(key)
        if key in present:
            hits += 1
            continue
        if len(present) == capacity:
            victim = policy.victim(())
            assert victim is not None
            policy.remove(victim)
            present.remove(victim)
        policy.add(key)
        present.add(key)
    return hits


EVICTION_POLICIES: dict[str, Callable[[], EvictionPolicy]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "fifo": FirstInFirstOut,
}
"""Eviction policies of a simulation by name."""
