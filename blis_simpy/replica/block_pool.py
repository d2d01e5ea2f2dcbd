"""KV store with the prefix cache of vLLM.

It differs from `blis_simpy.replica.kv_store.SingleTier` in three ways:

- every full block has a hash, those with output included, so that a preempted request finds its own blocks again;
- blocks without a hash come first on the free list;
- of several blocks with the same content, lookups find the one that got its hash first.

Blocks with a hash that no other prompt can match are only counted: nothing but their place on the free list matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.native import mypyc_attr
from blis_simpy.replica.kv_block import Segment
from blis_simpy.replica.paged_blocks import PagedBlocks

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_block import HeldBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["BlockPool"]


@mypyc_attr(allow_interpreted_subclasses=True)
class BlockPool(PagedBlocks):
    """Paged KV memory on the GPU with the prefix cache of vLLM (registered as ``block-pool``).

    Parameters
    ----------
    pool : KVBlocks
        The blocks, with the number of free ones.
    block_size : int
        Tokens per block.
    prefix_caching : bool, default True
        Whether blocks get hashes.
    """

    def __init__(self, pool: KVBlocks, block_size: int, *, prefix_caching: bool = True) -> None:
        super().__init__(pool, block_size)
        self.caches_prefixes = prefix_caching
        # Single blocks with the key of another block, in the order in which they got it, by line and position.
        self._copies: dict[tuple[int, int], list[Segment]] = {}

    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        request = leg.request
        content = request.content or ()
        if request.output_stream is None or self._keys.num_tokens(content) != request.input_tokens:
            return self._keys.shared(content, request.input_tokens)
        return self._keys.keys(content, (request.output_stream, 0, request.output_tokens))

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of new blocks."""
        return -(-end // self.block_size) - len(prefix)

    def _name(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        end = position + blocks
        # No key before those of a segment lacks a block: who holds a block holds those before it, and frees them later.
        for segment in self._overlapping(line, position, end):
            upto = min(end, segment.end)
            for at in range(position, upto):
                self._hold_copy(held, line, at)
            position = upto
        if position < end:
            self._hold_new(held, line, position, end - position)

    def _hold_copy(self, held: HeldBlocks, line: int, position: int) -> None:
        copy = Segment(line, position, 1)
        copy.num_holders = 1
        self._copies.setdefault((line, position), []).append(copy)
        held.append(copy, 1)

    def external_put(self, blocks: int) -> None:
        """Add blocks of another process to the head of the free list, because they have no hash."""
        self._blank += blocks

    def _evict(self, segment: Segment, blocks: int) -> None:
        was_found, line = segment.is_found, segment.line
        super()._evict(segment, blocks)
        if not self._copies:
            return
        for position in range(segment.end, segment.end + blocks):
            copies = self._copies.get((line, position))
            if copies is None:
                continue
            if was_found:
                self._show(copies.pop(0))
            else:
                copies.remove(segment)
            if not copies:
                del self._copies[line, position]

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first, so that the start of a prompt is evicted last."""
        size = self.block_size
        held = -(-tokens // size)
        full = hashed // size if self.caches_prefixes else 0
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        named = len(leg.blocks)
        # In the order of the free list: blocks without a hash go to its head. Those with a hash go to its tail, the
        # last ones first: full blocks that nothing can match, as a run, then the shareable ones before them.
        self._blank += held - full
        freed = held - named
        self._append_blocks(max(full - named, 0))
        freed += self._put_back_named(leg)
        # Last, because a waiting process takes blocks off the free list immediately.
        self.pool.put_back(freed)

    def clear_cache(self) -> None:
        """Discard the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._blank = free
