"""Paged KV memory: the free list of a replica's blocks, and their way from it to the requests and back."""

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
    """What the KV stores have in common; they differ in which blocks get a key, and where freed blocks queue.

    Parameters
    ----------
    pool : KVBlocks
        The blocks and the count of free ones.
    block_size : int
        Tokens a block.
    """

    caches_prefixes = True

    def __init__(self, pool: KVBlocks, block_size: int) -> None:
        self.pool = pool
        self.block_size = block_size
        self.hits = 0
        self.misses = 0
        # The free list, next to be taken first: blocks without content, which are equal and only counted, then single
        # blocks with a key and runs of blocks without one (numbered, with their length). Most blocks have no key, so
        # that most requests take and put back a run in one operation.
        self._blank = pool.free
        self._freed: OrderedDict[Block | int, int] = OrderedDict()
        self._run_at_tail = -1
        self._next_run = 0
        self._keys = BlockHasher(block_size)

    @abstractmethod
    def _register(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the full blocks of the first tokens that have none yet."""

    @abstractmethod
    def _evict(self, block: Block) -> None:
        """Let a block that was taken off the free list be found no more."""

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Count the new blocks; an empty prompt gets one for its first output token."""
        return -(-(end or 1) // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Count the new blocks, and the cached ones that are on the free list."""
        new = self.blocks_to_admit(leg, prefix, end)
        return new + sum(not block.num_holders for block in prefix) if prefix else new

    def stays_blocked(self, leg: RunningRequest, prefix: Sequence[Block], end: int, kept: int) -> bool:
        """Whether the new blocks alone do not fit.

        If only the cached blocks that are free make it too many, losing some of them may help: a prompt with a shorter
        prefix may be cut to a chunk that fits.
        """
        return self.blocks_to_admit(leg, prefix, end) + kept > self.pool.free

    def admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate the known tokens up to `end`."""
        new = self.blocks_to_admit(leg, prefix, end)
        # Claimed blocks that are on the free list leave it, so they count like new ones.
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
        """Count the new blocks that the known tokens up to `end` take beyond those held."""
        return -(-end // self.block_size) - leg.num_blocks

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate the known tokens up to `end`; never looks into the cache."""
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
        # A block gets its key when it is full, at allocation, before anything is computed: a request admitted later in
        # the same step finds it. The reference does so, and vLLM too.
        if leg.keys:
            self._register(leg, end)

    def take(self, blocks: int) -> bool:
        """Take blocks for decode tokens from the head of the free list, dropping their content."""
        if not self.pool.take(blocks):
            return False
        self.misses += blocks
        self._pop(blocks)
        return True

    def external_get(self, blocks: int) -> None:
        """Take blocks off the head of the free list for another process."""
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
        # Blocks without a key at the tail are all alike, so they join the run that is there.
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
        """Give keys to the blocks that output has filled, `tokens` being stored."""
        if self.caches_prefixes:
            self._register(leg, tokens)

    @abstractmethod
    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the deepest first, so that the start of a prompt is evicted last."""

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a request so that it finds its own blocks when it comes back."""
        if self.caches_prefixes:
            keys = leg.keys or ()
            missing = max(leg.input_tokens, findable) // self.block_size - len(keys)
            if missing > 0:
                leg.keys = [*keys, *self._keys.fresh(missing)]
            self._register(leg, findable)
        self.release(leg, tokens, hashed)

    def free_list_length(self) -> int:
        """Length of the free list, counted; equals the free blocks of the pool, those set aside included."""
        return self._blank + sum(self._freed.values())

    @property
    def hit_rate(self) -> float:
        """Cached blocks claimed, over all blocks allocated."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """Always 0: there is no second tier."""
        return 0.0
