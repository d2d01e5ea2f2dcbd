"""Base class of KV stores with paged memory: free list, allocation and release of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING

from blis_simpy.core.token_spans import BlockHasher
from blis_simpy.replica.kv_block import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["PagedBlocks"]


class PagedBlocks(ABC):
    """Base class of the KV stores. Subclasses decide which blocks get a key, and the place of freed blocks.

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
        # and runs of blocks without a key (number of the run to its length). As most blocks have no key, most requests
        # take and put back a run in one operation.
        self._blank = pool.free
        self._freed: OrderedDict[Block | int, int] = OrderedDict()
        self._run_at_tail = -1
        self._next_run = 0
        self._keys = BlockHasher(block_size)

    @abstractmethod
    def _register(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the full blocks of the first `tokens` tokens, where they have none."""

    @abstractmethod
    def _evict(self, block: Block) -> None:
        """Remove a block that has left the free list from the cache."""

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Return the number of new blocks; an empty prompt takes one, for its first output token."""
        return -(-(end or 1) // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Return the number of new blocks, and of prefix blocks on the free list."""
        new = self.blocks_to_admit(leg, prefix, end)
        return new + sum(not block.num_holders for block in prefix) if prefix else new

    def stays_blocked(self, leg: RunningRequest, prefix: Sequence[Block], end: int, kept: int) -> bool:
        """Whether there are too few free blocks for the new ones alone."""
        # Prefix blocks on the free list are not counted: they may be evicted, and with a shorter prefix the first chunk
        # may be shorter and fit.
        return self.blocks_to_admit(leg, prefix, end) + kept > self.pool.free

    def admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix, and allocate blocks for the known tokens up to `end`."""
        new = self.blocks_to_admit(leg, prefix, end)
        # Prefix blocks on the free list leave it, so they need a free block like new ones.
        idle = [block for block in prefix if not block.num_holders]
        if not self.pool.take(new + len(idle)):
            return False
        for block in idle:
            del self._freed[block]
        for block in prefix:
            block.num_holders += 1
        self.hits += len(prefix)
        leg.blocks = list(prefix)
        leg.num_blocks = len(prefix)
        leg.extra_stored = 0 if end or not new else 1
        self._grow(leg, new, end)
        return True

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Return the number of new blocks for the known tokens up to `end`."""
        return -(-end // self.block_size) - leg.num_blocks

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate blocks for the known tokens up to `end`, without a cache lookup."""
        new = -(-end // self.block_size) - leg.num_blocks
        if not self.pool.take(new):
            return False
        self._grow(leg, new, end)
        return True

    def _grow(self, leg: RunningRequest, new: int, end: int) -> None:
        if new:
            self.misses += new
            self._pop(new)
            leg.num_blocks += new
        # A block gets its key at allocation, before its tokens are computed, so that a request admitted later in the
        # same step finds it, as in the reference and in vLLM.
        if leg.keys:
            self._register(leg, end)

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
                self._evict(item)

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

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to blocks filled with output; `tokens` tokens are stored."""
        if self.caches_prefixes:
            self._register(leg, tokens)

    @abstractmethod
    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first, so that the start of a prompt is evicted last."""

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a preempted request, with its blocks in the cache for its next admission."""
        if self.caches_prefixes:
            # Blocks of content without a name get unique keys: no other request can share them, but this one can.
            keys = leg.keys or ()
            missing = max(leg.input_tokens, findable) // self.block_size - len(keys)
            if missing > 0:
                leg.keys = [*keys, *self._keys.fresh(missing)]
            self._register(leg, findable)
        self.release(leg, tokens, hashed)

    def free_list_length(self) -> int:
        """Return the number of blocks on the free list; equals the free and the reserved blocks of the pool."""
        return self._blank + sum(self._freed.values())

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated blocks that came from the cache, since the start."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """0, because there is no second tier."""
        return 0.0
