"""KV blocks of one replica as in vLLM: every full block can be found, and blocks without content are used first.

It differs from `blis_simpy.replica.kv_store.SingleTier` in three ways. Every full block has a hash, of output too, so
that a request which resumes finds its own. On the free list, blocks without a hash come before all others. Several
blocks may have the same content; the one that got its hash first is found.

Hashes that no other prompt can match are only counted: such blocks matter by their place on the free list alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.replica.kv_block import Segment
from blis_simpy.replica.paged_blocks import PagedBlocks

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_block import HeldBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["BlockPool"]


class BlockPool(PagedBlocks):
    """Paged KV memory on the GPU with the prefix cache of vLLM (registered as ``block-pool``).

    Parameters
    ----------
    pool : KVBlocks
        The blocks and the count of free ones.
    block_size : int
        Tokens a block.
    prefix_caching : bool, default True
        Whether blocks get hashes at all.
    """

    def __init__(self, pool: KVBlocks, block_size: int, *, prefix_caching: bool = True) -> None:
        super().__init__(pool, block_size)
        self.caches_prefixes = prefix_caching
        # Single blocks with a key that another block is found for, by line and position, the earliest first.
        self._copies: dict[tuple[int, int], list[Segment]] = {}

    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        request = leg.request
        content = request.content or ()
        if request.output_stream is None or self._keys.num_tokens(content) != request.input_tokens:
            return self._keys.shared(content, request.input_tokens)
        return self._keys.keys(content, (request.output_stream, 0, request.output_tokens))

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the new blocks."""
        return -(-end // self.block_size) - len(prefix)

    def _name(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        end = position + blocks
        for segment in self._overlapping(line, position, end):
            if position < segment.position:
                self._hold_new(held, line, position, segment.position - position)
                position = segment.position
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
        """Put blocks of another process, which have no hash, at the head of the free list."""
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
        """Put back all blocks, the deepest first, so that the start of a prompt is evicted last."""
        size = self.block_size
        held = -(-tokens // size)
        full = hashed // size if self.caches_prefixes else 0
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        named = len(leg.blocks)
        self._blank += held - full
        freed = held - named
        self._append_blocks(max(full - named, 0))
        freed += self._put_back_named(leg)
        # Last: a waiting process that gets blocks takes them off the free list at once.
        self.pool.put_back(freed)

    def clear_cache(self) -> None:
        """Forget the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._blank = free
