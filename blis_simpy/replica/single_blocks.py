"""Single KV blocks, for a store in which the order of each block matters.

The stores of a single tier keep segments instead (`blis_simpy.replica.paged_blocks`), with the same results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import BlockHasher
from blis_simpy.native import mypyc_attr

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["Block", "SingleBlocks"]


class Block:
    """A KV block with an identity; blocks that no other prompt can match are only counted.

    Attributes
    ----------
    key : int
        Identity of its content and of everything before it.
    num_holders : int
        Running requests that hold it; 0 = it is on the free list.
    """

    __slots__ = ("key", "num_holders")

    def __init__(self, key: int) -> None:
        self.key = key
        self.num_holders = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class SingleBlocks(ABC):
    """Free list and lookup of single blocks.

    Parameters
    ----------
    pool : KVBlocks
        The blocks, with the number of free ones.
    block_size : int
        Tokens per block.
    """

    caches_prefixes = True

    def __init__(self, pool: KVBlocks, block_size: int) -> None:
        self.pool = pool
        self.block_size = block_size
        self.hits = 0
        self.misses = 0
        # The free list, in the order of allocation: first a number of blank blocks, then blocks with a key (value 1)
        # and runs of blocks without a key (number of the run to its length).
        self._blank = pool.free
        self._freed: OrderedDict[Block | int, int] = OrderedDict()
        self._run_at_tail = -1
        self._next_run = 0
        self._keys = BlockHasher(block_size)
        # Newest block of each key.
        self._found: dict[int, Block] = {}

    @abstractmethod
    def _keys_of(self, leg: RunningRequest) -> Sequence[int]:
        """Keys of the leading prompt blocks that can be found in the cache."""

    def cached_prefix(self, leg: RunningRequest) -> list[Block]:
        """Return the leading prompt blocks in the cache, free or in use, at most up to the last prompt token."""
        keys = leg.keys
        if keys is None:
            keys = leg.keys = self._keys_of(leg)
        found = self._found
        prefix: list[Block] = []
        limit = (leg.input_tokens - 1) // self.block_size
        for key in keys:
            block = found.get(key)
            if block is None or len(prefix) >= limit:
                break
            prefix.append(block)
        return prefix

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of new blocks; an empty prompt takes one, for its first output token."""
        return -(-(end or 1) // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Return the number of new blocks, and of prefix blocks on the free list."""
        return self.blocks_to_admit(leg, prefix, end) + sum(not block.num_holders for block in prefix)

    def take(self, blocks: int) -> bool:
        """Allocate blocks for decode tokens from the head of the free list; their content is lost."""
        if not self.pool.take(blocks):
            return False
        self.misses += blocks
        self._pop(blocks)
        return True

    def external_get(self, blocks: int) -> None:
        """Remove blocks from the head of the free list for another process."""
        self._pop(blocks)

    def external_put(self, blocks: int) -> None:
        """Append blocks of another process to the free list."""
        self._append_run(blocks)

    def _pop(self, blocks: int) -> None:
        if self._blank:
            blank = min(self._blank, blocks)
            self._blank -= blank
            blocks -= blank
        freed = self._freed
        while blocks:
            item = next(iter(freed))
            if type(item) is int:
                length = freed[item]
                if length > blocks:
                    freed[item] = length - blocks
                    return
                blocks -= length
                del freed[item]
                if item == self._run_at_tail:
                    self._run_at_tail = -1
            else:
                assert isinstance(item, Block)
                del freed[item]
                blocks -= 1
                # A newer block with the same content stays in the cache.
                if self._found.get(item.key) is item:
                    del self._found[item.key]

    def _append_run(self, blocks: int) -> None:
        """Append blocks without a key to the free list."""
        if not blocks:
            return
        # Blocks without a key are all alike, so these extend a run at the tail.
        if self._run_at_tail >= 0:
            self._freed[self._run_at_tail] += blocks
        else:
            self._run_at_tail = self._next_run
            self._next_run += 1
            self._freed[self._run_at_tail] = blocks

    def _append(self, block: Block) -> None:
        """Append a block with a key to the free list."""
        self._freed[block] = 1
        self._run_at_tail = -1

    def clear_cache(self) -> None:
        """Discard the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._append_run(free)

    def free_list_length(self) -> int:
        """Return the number of blocks on the free list; equals the free and the reserved blocks of the pool."""
        return self._blank + sum(self._freed.values())
