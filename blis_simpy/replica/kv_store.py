"""KV stores: allocation of the KV blocks of a replica, and its prefix cache.

A block full of prompt tokens has a *key*, which stands for its content and that of all blocks before it. A free block
keeps its content until it is allocated again, the oldest first: the free list is the prefix cache. Tokens are never
compared: keys are made from the token spans of a prompt. Blocks that no other prompt can share have no key and are only
counted.
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

__all__ = ["HostTier", "KVStore", "ReceivingKVStore", "SingleTier"]


class KVStore(Protocol):
    """Interface of a KV store. Token positions count from the start of the prompt.

    A store takes blocks from its `KVBlocks` and puts them back. A method that allocates and returns False has changed
    nothing.
    """

    pool: KVBlocks
    block_size: int
    caches_prefixes: bool
    hits: int
    misses: int

    def cached_prefix(self, leg: RunningRequest) -> Sized:
        """Return the leading prompt blocks in the cache, at most up to the last prompt token, which is computed."""
        ...

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether `admit` leaves fewer than `kept` blocks free, now and as long as no blocks are put back."""
        ...

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the minimum number of free blocks for `admit`."""
        ...

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of blocks that `admit` takes off the free list: new ones, and free ones of the prefix."""
        ...

    def admit(self, leg: RunningRequest, prefix: Sized, end: int) -> bool:
        """Claim the cached prefix, and allocate blocks for the prompt up to `end`."""
        ...

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Return the number of blocks that `extend` allocates."""
        ...

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate blocks for the next prompt chunk, which ends at `end`."""
        ...

    def take(self, blocks: int) -> bool:
        """Allocate blocks for decode tokens."""
        ...

    def external_get(self, blocks: int) -> None:
        """Remove blocks from the free list for another process; `KVBlocks` has counted them, cache metrics do not."""
        ...

    def external_put(self, blocks: int) -> None:
        """Add blocks of another process, without content, to the free list; `KVBlocks` counts them."""
        ...

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Register the blocks filled with output that later prompts may share; `tokens` tokens are stored."""
        ...

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back the blocks of `tokens` tokens; full ones of the first `hashed` tokens stay in the cache."""
        ...

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a preempted request; its first `findable` tokens stay in the cache for its next admission."""
        ...

    def clear_cache(self) -> None:
        """Discard the content of all free blocks."""
        ...

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated blocks that came from the cache, since the start."""
        ...

    @property
    def thrashing_rate(self) -> float:
        """Evictions from a second tier per block stored there; 0 without one."""
        ...


@runtime_checkable
class ReceivingKVStore(Protocol):
    """Additional interface of a KV store that can receive blocks from other replicas."""

    def reserve(self, leg: RunningRequest, prefix: Sized, tokens: int) -> bool:
        """Claim the cached prefix, and allocate blocks for `tokens` tokens, whose content arrives later.

        Lookups do not find the new blocks before `receive`. `KVStore.release` puts all of them back.
        """
        ...

    def receive(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the reserved blocks, whose first `tokens` tokens have arrived."""
        ...


@runtime_checkable
class HostTier(Protocol):
    """Additional interface of a KV store with a second tier."""

    def claim_transfer(self) -> int:
        """Return the duration of all transfers since the last call, µs; it is added to the current step."""
        ...

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Copy the full blocks of the running requests to the host, in batch order."""
        ...

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Whether one `offload` after several decode steps has the effect of one after each step.

        Parameters
        ----------
        full_blocks : int
            Upper bound of the full blocks of the batch after the steps.
        new_full_blocks : int
            Upper bound of the blocks filled in the steps.
        """
        ...


class SingleTier(PagedBlocks):
    """Paged KV memory on the GPU with prefix caching (registered as ``single-tier``).

    Eviction takes the block that was freed first. Of several blocks with the same key, the newest is found.

    Parameters
    ----------
    pool : KVBlocks
        The blocks, with the number of free ones.
    block_size : int
        Tokens per block.
    """

    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        request = leg.request
        content = request.content or ()
        # As in the reference, a block filled by a single decode token gets no key.
        if request.output_stream is None or self.block_size == 1:
            return self._keys.shared(content, leg.input_tokens)
        # The keys of output blocks depend on all tokens before them, so every prompt token must have a name.
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
        """Append blocks of another process to the free list."""
        # At the tail, like those of requests: the store does not know that they have no content.
        self._append_blocks(blocks)

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first, so that the start of a prompt is evicted last."""
        if leg.request.output_stream is not None:
            self.name_output(leg, hashed)
        # Blocks without a name hold the end of the sequence, so they go first.
        freed = -(-tokens // self.block_size) - len(leg.blocks)
        self._append_blocks(freed)
        freed += self._put_back_named(leg)
        # Last, because a waiting process takes blocks off the free list immediately.
        self.pool.put_back(freed)

    def clear_cache(self) -> None:
        """Discard the content of all free blocks."""
        free = self.free_list_length()
        self._pop(free)
        self._append_blocks(free)
