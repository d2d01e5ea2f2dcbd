"""KV blocks of one replica: which request holds them, what they contain, and which a new prompt can share.

A block that is full of prompt tokens has a *key* that stands for its content and everything before it. A free block
keeps its content until it is taken again, oldest first, so the free list is the prefix cache. Tokens themselves are
never compared: keys come from the spans that a prompt consists of, and blocks that no other prompt can match have no
key and are only counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from blis_simpy.replica.paged_blocks import PagedBlocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_block import HeldBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["HostTier", "KVStore", "SingleTier"]


class KVStore(Protocol):
    """What the engine needs of a KV store. Token ranges count from the start of the prompt.

    A store takes and puts back blocks of its `KVBlocks`, which count the free ones. Each method that allocates checks
    first and changes nothing when it returns False.
    """

    pool: KVBlocks
    block_size: int
    caches_prefixes: bool
    hits: int
    misses: int

    def cached_prefix(self, leg: RunningRequest) -> Sized:
        """Leading prompt blocks found in the cache; at least the last prompt token is left to compute.

        The engine reads their number, and hands them back to the store.
        """
        ...

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether `admit` cannot leave `kept` blocks free now, nor as long as blocks are only taken, not put back."""
        ...

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Fewest free blocks with which `admit` can succeed."""
        ...

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the blocks that leave the free list with `admit`: new ones, and cached ones that are free."""
        ...

    def admit(self, leg: RunningRequest, prefix: Sized, end: int) -> bool:
        """Claim the cached prefix and allocate the prompt up to `end`."""
        ...

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Count the new blocks that `extend` would take."""
        ...

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate the next prompt chunk, from what is computed up to `end`."""
        ...

    def take(self, blocks: int) -> bool:
        """Take blocks for decode tokens."""
        ...

    def external_get(self, blocks: int) -> None:
        """Take blocks off the free list for another process; they are counted already and count in no cache figure."""
        ...

    def external_put(self, blocks: int) -> None:
        """Put blocks without content on the free list for another process, which counts them."""
        ...

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Record the blocks that output has filled, where a later prompt may contain it; `tokens` are stored."""
        ...

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, `tokens` being stored; full blocks of the first `hashed` stay findable while free."""
        ...

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a request that will come back and look for the blocks of its first `findable` tokens."""
        ...

    def clear_cache(self) -> None:
        """Forget the content of all free blocks."""
        ...

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated blocks that came from the cache, since the start."""
        ...

    @property
    def thrashing_rate(self) -> float:
        """Pressure on a second tier; 0 without one."""
        ...


@runtime_checkable
class HostTier(Protocol):
    """What the engine needs, besides, of a KV store with a second tier."""

    def claim_transfer(self) -> int:
        """Return the time of all transfers since the last call, µs; the current step takes so much longer."""
        ...

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Copy the full blocks of the running requests to the host after a step, in batch order."""
        ...

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Whether one call of `offload` after some decode steps does what one after each would do.

        Both counts may be too large: full blocks of the batch after the steps, and those that the steps fill.
        """
        ...


class SingleTier(PagedBlocks):
    """Paged KV memory on the GPU with prefix caching and least-recently-freed eviction.

    Of several blocks with one key, the newest is found.

    Parameters
    ----------
    pool : KVBlocks
        The blocks and the count of free ones.
    block_size : int
        Tokens a block.
    """

    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        request = leg.request
        content = request.content or ()
        # A block that a decode token opens and fills at once never has a key.
        if request.output_stream is None or self.block_size == 1:
            return self._keys.shared(content, leg.input_tokens)
        if not 0 < leg.input_tokens == self._keys.num_tokens(content):
            return self._keys.shared(content, leg.input_tokens)
        return self._keys.keys(content, (request.output_stream, 0, request.output_tokens))

    def _name(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        end = position + blocks
        for segment in self._overlapping(line, position, end):
            hidden = segment if segment.position >= position else self._split(segment, position - segment.position)
            if hidden.end > end:
                self._split(hidden, end - hidden.position)
            self._hide(hidden)
        self._hold_new(held, line, position, blocks)

    def external_put(self, blocks: int) -> None:
        """Put blocks of another process at the tail of the free list."""
        self._append_blocks(blocks)

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the deepest first, so that the start of a prompt is evicted last."""
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        freed = -(-tokens // self.block_size) - len(leg.blocks)
        self._append_blocks(freed)
        freed += self._put_back_named(leg)
        # Last: a waiting process that gets blocks takes them off the free list at once.
        self.pool.put_back(freed)

    def clear_cache(self) -> None:
        """Forget the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._append_blocks(free)
