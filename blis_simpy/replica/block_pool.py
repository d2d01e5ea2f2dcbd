"""KV blocks of one replica as in vLLM: every full block can be found, and blocks without content are used first.

It differs from `blis_simpy.replica.kv_store.SingleTier` in three ways. Every full block has a hash, of output too, so
that a request which resumes finds its own. On the free list, blocks without a hash come before all others. Several
blocks may have the same content; the one that got its hash first is found.

Hashes that no other prompt can match are only counted: such blocks matter by their place on the free list alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from blis_simpy.core.token_spans import BlockHasher, Span
from blis_simpy.replica.kv_block import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["BlockPool"]


class BlockPool:
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
        self.pool = pool
        self.block_size = block_size
        self.caches_prefixes = prefix_caching
        self.hits = 0
        self.misses = 0
        # The free list: first the blocks without a hash, which are equal, then the others, next to be evicted first.
        # Of these, single blocks have a key, and runs of blocks with a hash that nobody looks for are numbered.
        self._unhashed = pool.free
        self._hashed: OrderedDict[Block | int, int] = OrderedDict()
        self._run_at_tail = -1
        self._next_run = 0
        self._keys = BlockHasher(block_size)
        # Key to the blocks that have it, the earliest first.
        self._found: dict[int, list[Block]] = {}

    def cached_prefix(self, leg: RunningRequest) -> Sequence[Block]:
        """Leading blocks found in the cache, free or in use, for at most all but the last known token."""
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
        """Keys of the leading blocks that others may look for."""
        request = leg.request
        content = request.content or ()
        if request.output_stream is None or sum(span.tokens for span in content) != request.input_tokens:
            return self._keys.shared(content, request.input_tokens)
        return self._keys.chain((*content, Span(request.output_stream, 0, request.output_tokens)))

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Count the new blocks."""
        return -(-end // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> int:
        """Count the new blocks, and the cached ones that are on the free list."""
        new = -(-end // self.block_size) - len(prefix)
        return new + sum(not block.num_holders for block in prefix) if prefix else new

    def stays_blocked(self, leg: RunningRequest, prefix: Sequence[Block], end: int, kept: int) -> bool:
        """Whether the new blocks alone do not fit; a chunk after a shorter prefix is not shorter."""
        return self.blocks_to_admit(leg, prefix, end) + kept > self.pool.free

    def admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate the known tokens up to `end`."""
        new = -(-end // self.block_size) - len(prefix)
        # Claimed blocks that are on the free list leave it, so they count like new ones.
        idle = [block for block in prefix if not block.num_holders]
        if not self.pool.take(new + len(idle)):
            return False
        for block in idle:
            del self._hashed[block]
        for block in prefix:
            block.num_holders += 1
        self.hits += len(prefix)
        leg.blocks = list(prefix)
        leg.num_blocks = len(prefix)
        self._grow(leg, new, end)
        return True

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Count the new blocks that the known tokens up to `end` take beyond those held."""
        return -(-end // self.block_size) - leg.num_blocks

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate the known tokens up to `end`."""
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
        # A block gets its hash with the step that fills it, before anything is computed: a request admitted later in
        # the same step finds it.
        if leg.keys:
            self._register(leg, end)

    def _register(self, leg: RunningRequest, tokens: int) -> None:
        """Let the full blocks of the first tokens be found, those that were not yet."""
        for key in (leg.keys or ())[len(leg.blocks) : tokens // self.block_size]:
            block = Block(key)
            self._found.setdefault(key, []).append(block)
            leg.blocks.append(block)

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

    def external_put(self, blocks: int) -> None:
        """Put blocks of another process, which have no hash, at the head of the free list."""
        self._unhashed += blocks

    def _pop(self, blocks: int) -> None:
        if blocks <= self._unhashed:
            self._unhashed -= blocks
            return
        blocks -= self._unhashed
        self._unhashed = 0
        hashed = self._hashed
        while blocks:
            item = next(iter(hashed))
            length = hashed[item]
            if length > blocks:
                hashed[item] = length - blocks
                return
            del hashed[item]
            blocks -= length
            if isinstance(item, Block):
                self._evict(item)
            elif item == self._run_at_tail:
                self._run_at_tail = -1

    def _evict(self, block: Block) -> None:
        same = self._found[block.key]
        same.remove(block)
        if not same:
            del self._found[block.key]

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Let the blocks be found that output has filled, up to some tokens."""
        if self.caches_prefixes:
            self._register(leg, tokens)

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the deepest first, so that the start of a prompt is evicted last."""
        size = self.block_size
        held = -(-tokens // size)
        full = hashed // size if self.caches_prefixes else 0
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        keyed = leg.blocks
        self._unhashed += held - full
        freed = held - len(keyed)
        if full > len(keyed):
            self._append_run(full - len(keyed))
        for block in reversed(keyed):
            block.num_holders -= 1
            if not block.num_holders:
                self._hashed[block] = 1
                self._run_at_tail = -1
                freed += 1
        leg.blocks = []
        leg.num_blocks = 0
        # Last: a waiting process that gets blocks takes them off the free list at once.
        self.pool.put_back(freed)

    def _append_run(self, blocks: int) -> None:
        """Append blocks with hashes that nobody looks for to the free list."""
        # They join the run that is at the tail, if there is one: blocks of a run are all alike.
        if self._run_at_tail < 0:
            self._run_at_tail = self._next_run
            self._next_run += 1
            self._hashed[self._run_at_tail] = blocks
        else:
            self._hashed[self._run_at_tail] += blocks

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a request so that it finds its own blocks when it comes back."""
        if self.caches_prefixes:
            keys = leg.keys or ()
            missing = max(leg.input_tokens, findable) // self.block_size - len(keys)
            if missing > 0:
                leg.keys = [*keys, *self._keys.fresh(missing)]
            self._register(leg, findable)
        self.release(leg, tokens, hashed)

    def clear_cache(self) -> None:
        """Forget the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._unhashed = free

    def free_list_length(self) -> int:
        """Length of the free list, counted; equals the free blocks of the pool, those set aside included."""
        return self._unhashed + sum(self._hashed.values())

    @property
    def hit_rate(self) -> float:
        """Cached blocks claimed, over all blocks allocated."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """Always 0: there is no second tier."""
        return 0.0
