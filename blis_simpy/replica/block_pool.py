"""KV store with the prefix cache of vLLM.

It differs from `blis_simpy.replica.kv_store.SingleTier` in three ways:

- every full block has a hash, those with output included, so that a preempted request finds its own blocks again;
- blocks without a hash come first on the free list;
- of several blocks with the same content, lookups find the one that got its hash first.

Blocks with a hash that no other prompt can match are only counted: nothing but their place on the free list matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.token_spans import Span
from blis_simpy.replica.kv_block import Block
from blis_simpy.replica.paged_blocks import PagedBlocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["BlockPool"]


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
        # Blocks of each key, in the order in which they got it.
        self._found: dict[int, list[Block]] = {}

    def cached_prefix(self, leg: RunningRequest) -> Sequence[Block]:
        """Return the leading blocks in the cache, free or in use, at most up to the last known token."""
        if not self.caches_prefixes:
            return ()
        keys = leg.keys
        if keys is None:
            keys = leg.keys = self._keys_of(leg)
        prefix: list[Block] = []
        for key in keys[: (leg.input_tokens - 1) // self.block_size]:
            same = self._found.get(key)
            if same is None:
                break
            prefix.append(same[0])
        return prefix

    def _keys_of(self, leg: RunningRequest) -> list[int]:
        """Keys of the leading blocks that other requests may share."""
        request = leg.request
        content = request.content or ()
        if request.output_stream is None or sum(span.tokens for span in content) != request.input_tokens:
            return self._keys.shared(content, request.input_tokens)
        return self._keys.chain((*content, Span(request.output_stream, 0, request.output_tokens)))

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Return the number of new blocks."""
        return -(-end // self.block_size) - len(prefix)

    def _register(self, leg: RunningRequest, tokens: int) -> None:
        for key in (leg.keys or ())[len(leg.blocks) : tokens // self.block_size]:
            block = Block(key)
            self._found.setdefault(key, []).append(block)
            leg.blocks.append(block)

    def external_put(self, blocks: int) -> None:
        """Add blocks of another process to the head of the free list, because they have no hash."""
        self._blank += blocks

    def _evict(self, block: Block) -> None:
        same = self._found[block.key]
        same.remove(block)
        if not same:
            del self._found[block.key]

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first, so that the start of a prompt is evicted last."""
        size = self.block_size
        held = -(-tokens // size)
        full = hashed // size if self.caches_prefixes else 0
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        keyed = leg.blocks
        # In the order of the free list: blocks without a hash go to its head. Those with a hash go to its tail, the
        # last ones first: full blocks that nothing can match, as a run, then the shareable ones before them.
        self._blank += held - full
        freed = held - len(keyed)
        self._append_run(max(full - len(keyed), 0))
        for block in reversed(keyed):
            block.num_holders -= 1
            if not block.num_holders:
                self._append(block)
                freed += 1
        leg.blocks = []
        leg.num_blocks = 0
        # Last, because a waiting process takes blocks off the free list immediately.
        self.pool.put_back(freed)

    def clear_cache(self) -> None:
        """Discard the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._blank = free
