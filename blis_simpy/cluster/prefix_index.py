"""Index of the prompt prefixes sent to each replica.

For each replica the index keeps the keys of the prompt blocks sent to it, the oldest first, up to a capacity. It does
not observe the replicas, so their prefix caches may differ. Blocks that prompts may share have a key each; the other
blocks of a request are one entry under its id, so the cost per request depends on the shared part of its prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import NO_KEYS, BlockHasher, BlockKeys

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["CAPACITY", "PrefixIndex"]

CAPACITY = 10_000
"""Capacity per replica in the reference, blocks."""


class _Recency:
    """Blocks sent to one replica, oldest first: a key (value 1), or the id of a request (number of its blocks)."""

    __slots__ = ("blocks", "items")

    def __init__(self) -> None:
        self.items: OrderedDict[int | str, int] = OrderedDict()
        self.blocks = 0


class PrefixIndex:
    """Leading prompt blocks recently sent to each replica.

    Parameters
    ----------
    block_size : int
        Tokens per block.
    capacity : int
        Maximum number of blocks per replica.
    """

    def __init__(self, block_size: int, capacity: int = CAPACITY) -> None:
        self._block_size = block_size
        self._capacity = capacity
        self._keys = BlockHasher(block_size)
        self._recency: dict[int, _Recency] = {}
        # Replicas of each key or request id, as a bit set.
        self._holders: dict[int | str, int] = {}
        self._everyone = 0
        self._last_request: Request | None = None
        self._last_keys = NO_KEYS

    def num_blocks(self, request: Request) -> int:
        """Return the number of full blocks of a prompt."""
        return request.input_tokens // self._block_size

    def _shared_keys(self, request: Request) -> BlockKeys:
        # A request is recorded right after it was matched.
        if request is not self._last_request:
            self._last_request = request
            self._last_keys = self._keys.shared(request.content, request.input_tokens)
        return self._last_keys

    def matched(self, request: Request) -> dict[int, int]:
        """Return the number of leading blocks of a prompt on each replica; does not renew their entries.

        Parameters
        ----------
        request : Request
            Request with the prompt.

        Returns
        -------
        dict of int to int
            Number of blocks by replica, without replicas that lack the first block.
        """
        found: dict[int, int] = {}
        holders = self._holders
        shared = self._shared_keys(request)
        left = self._everyone
        for depth, key in enumerate(chain.from_iterable(shared.ranges())):
            still = left & holders.get(key, 0)
            if still != left:
                _note(found, left ^ still, depth)
                left = still
                if not left:
                    return found
        whole = left & holders.get(request.id, 0)  # a resubmitted request was sent there before
        _note(found, whole, self.num_blocks(request))
        _note(found, left ^ whole, len(shared))
        return found

    def record(self, request: Request, replica: int) -> None:
        """Record that a request is sent to a replica.

        Parameters
        ----------
        request : Request
            Its blocks become the newest, in order, so a prompt longer than the capacity evicts its own first blocks.
        replica : int
            Index of the replica.
        """
        recency = self._recency.get(replica)
        if recency is None:
            recency = self._recency[replica] = _Recency()
            self._everyone |= 1 << replica
        items, holders, bit = recency.items, self._holders, 1 << replica
        shared = self._shared_keys(request)
        for keys in shared.ranges():
            for key in keys:
                if key in items:
                    items.move_to_end(key)
                else:
                    items[key] = 1
                    recency.blocks += 1
                    holders[key] = holders.get(key, 0) | bit
        own = self.num_blocks(request) - len(shared)
        if own:
            recency.blocks += own - items.pop(request.id, 0)
            items[request.id] = own
            holders[request.id] = holders.get(request.id, 0) | bit
        if recency.blocks > self._capacity:
            self._forget(recency, bit)

    def _forget(self, recency: _Recency, bit: int) -> None:
        """Evict the oldest blocks beyond the capacity."""
        # Once per prompt, because evictions after each key would leave the same entries.
        items, holders = recency.items, self._holders
        excess = recency.blocks - self._capacity
        recency.blocks = self._capacity
        while excess:
            item = next(iter(items))
            length = items[item]
            holding = holders.get(item, 0) & ~bit
            if holding:
                holders[item] = holding
            else:
                holders.pop(item, None)
            if length > excess:
                items[item] = length - excess
                return
            excess -= length
            del items[item]


def _note(found: dict[int, int], replicas: int, depth: int) -> None:
    if depth:
        while replicas:
            lowest = replicas & -replicas
            found[lowest.bit_length() - 1] = depth
            replicas ^= lowest
