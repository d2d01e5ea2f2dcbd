"""The router's picture of who has which prefix.

It never asks a replica: for each one it keeps the keys of the prompt blocks that were sent there, most recently sent
last, and forgets the oldest beyond a capacity, whatever the replica's cache really holds. No token is looked at. Blocks
that prompts may share are kept one by one; those that only one request has are counted, as one run under its id, so
the cost of a request grows with what it shares and not with its length.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import BlockHasher

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["CAPACITY", "PrefixIndex"]

CAPACITY = 10_000
"""Keys that the reference remembers of each replica."""


class _Recency:
    """What was sent to one replica, oldest first: keys of single blocks, and requests with the length of their run."""

    __slots__ = ("blocks", "items")

    def __init__(self) -> None:
        self.items: OrderedDict[int | str, int] = OrderedDict()
        self.blocks = 0


class PrefixIndex:
    """Which leading blocks of a prompt were sent to which replica of late.

    Parameters
    ----------
    block_size : int
        Tokens a block.
    capacity : int
        Blocks to remember of each replica.
    """

    def __init__(self, block_size: int, capacity: int = CAPACITY) -> None:
        self._block_size = block_size
        self._capacity = capacity
        self._keys = BlockHasher(block_size)
        self._recency: dict[int, _Recency] = {}
        # Replicas, as bits, that have a block, or the whole run of a request.
        self._holders: dict[int | str, int] = {}
        self._everyone = 0

    def num_blocks(self, request: Request) -> int:
        """Full blocks of a prompt."""
        return request.input_tokens // self._block_size

    def matched(self, request: Request) -> dict[int, int]:
        """Count the leading blocks of a prompt that each replica has; looking does not make them any newer.

        Parameters
        ----------
        request : Request
            Whose prompt.

        Returns
        -------
        dict of int to int
            Blocks by replica; a replica without the first block is left out.
        """
        found: dict[int, int] = {}
        holders = self._holders
        shared = self._keys.shared(request.content, request.input_tokens)
        left = self._everyone
        for depth, key in enumerate(shared):
            still = left & holders.get(key, 0)
            if still != left:
                _note(found, left ^ still, depth)
                left = still
                if not left:
                    return found
        whole = left & holders.get(request.id, 0)  # sent before: it was redirected
        _note(found, whole, self.num_blocks(request))
        _note(found, left ^ whole, len(shared))
        return found

    def record(self, request: Request, replica: int) -> None:
        """Take note that a request goes to a replica.

        Parameters
        ----------
        request : Request
            Its prompt becomes the newest, the last block most of all; a prompt beyond the capacity drives out its own
            head.
        replica : int
            Index of the replica.
        """
        recency = self._recency.get(replica)
        if recency is None:
            recency = self._recency[replica] = _Recency()
            self._everyone |= 1 << replica
        items, holders, bit = recency.items, self._holders, 1 << replica
        shared = self._keys.shared(request.content, request.input_tokens)
        for key in shared:
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
        """Drop the oldest blocks beyond the capacity.

        Once at the end of a prompt is enough: the newest so many keys are the same as after one eviction a key.
        """
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
