"""KV blocks of one replica: who holds them, what they contain, and which a new prompt can share.

A block that is full of prompt tokens has a *key* that stands for its content and everything before it. A free block
keeps its content until it is taken again, oldest first, so the free list is the prefix cache. No token is ever looked
at: keys come from the spans that a prompt is made of, and blocks that no other prompt can match have no key and are
only counted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from blis_simpy.core.token_spans import BlockHasher, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["Block", "HostTier", "KVStore", "SingleTier"]


class Block:
    """A block whose content others may share.

    Attributes
    ----------
    key : int
        Identity of its content and of everything before it.
    num_holders : int
        Sequences that hold it; 0 = it is on the free list.
    """

    __slots__ = ("key", "num_holders")

    def __init__(self, key: int) -> None:
        self.key = key
        self.num_holders = 1


class KVStore(Protocol):
    """What the engine asks of a KV store. Token ranges count from the start of the prompt.

    Each method that allocates checks first and changes nothing when it returns False.
    """

    hits: int
    misses: int

    def cached_prefix(self, sequence: RunningRequest) -> Sequence[Block]:
        """Leading prompt blocks found in the cache; at least the last prompt token is left to compute."""
        ...

    def stays_blocked(self, sequence: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Whether `admit` fails now and goes on failing as long as blocks are only taken, not given back."""
        ...

    def admit(self, sequence: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate the prompt up to `end`."""
        ...

    def blocks_to_extend(self, sequence: RunningRequest, end: int) -> int:
        """Count the new blocks that `extend` would take."""
        ...

    def extend(self, sequence: RunningRequest, end: int) -> bool:
        """Allocate the next prompt chunk, from what is computed up to `end`."""
        ...

    def take(self, blocks: int) -> bool:
        """Take blocks for decode tokens."""
        ...

    def lend(self, blocks: int) -> None:
        """Hand free blocks to another process; they count in no figure of the cache."""
        ...

    def give(self, blocks: int) -> None:
        """Put blocks without content on the free list."""
        ...

    def name_output(self, sequence: RunningRequest, tokens: int) -> None:
        """Take note of the blocks that output has filled, where a later prompt may contain it; `tokens` are stored."""
        ...

    def release(self, sequence: RunningRequest, tokens: int) -> None:
        """Give back everything, `tokens` being stored; the content stays findable while it is free."""
        ...

    def preempt(self, sequence: RunningRequest, tokens: int) -> None:
        """Release a sequence that will come back and look for its own prompt."""
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
    """What the engine asks, besides, of a KV store with a second tier."""

    def claim_transfer(self) -> int:
        """Return the time of all transfers since the last call, µs; the step under way pays it."""
        ...

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Take note of the blocks of the running requests after a step, in batch order."""
        ...

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Whether one call of `offload` after some decode steps does what one after each would do.

        Both counts may be too large: full blocks of the batch after the steps, and those that the steps fill.
        """
        ...


class SingleTier:
    """Paged KV memory on the GPU with prefix caching and least-recently-freed eviction.

    Parameters
    ----------
    pool : KVBlocks
        The blocks; its count of free ones is written here and nowhere else.
    block_size : int
        Tokens a block.
    """

    def __init__(self, pool: KVBlocks, block_size: int) -> None:
        self.pool = pool
        self.block_size = block_size
        self.hits = 0
        self.misses = 0
        # The free list, next to be taken first: blocks that were never used, then single blocks with a key and runs
        # of blocks without one (numbered, with their length).
        self._never_used = pool.free
        self._freed: OrderedDict[Block | int, int] = OrderedDict()
        self._run_at_tail = -1
        self._next_run = 0
        self._keys = BlockHasher(block_size)
        # Key to the newest block with it.
        self._found: dict[int, Block] = {}

    # ------------------------------------------------------------------------------------------------ lookups

    def cached_prefix(self, sequence: RunningRequest) -> Sequence[Block]:
        """Leading prompt blocks found in the cache, free or in use, for at most all but the last prompt token."""
        keys = sequence.keys
        if keys is None:
            keys = sequence.keys = self._shared_keys(sequence)
        if not keys:
            return ()
        found = self._found
        prefix: list[Block] = []
        for key in keys[: (sequence.input_tokens - 1) // self.block_size]:
            block = found.get(key)
            if block is None:
                break
            prefix.append(block)
        return prefix

    def _shared_keys(self, sequence: RunningRequest) -> list[int]:
        request = sequence.request
        content = request.content or ()
        # A block that a decode token opens and fills at once never has a key.
        if request.output_stream is None or self.block_size == 1:
            return self._keys.shared(content, sequence.input_tokens)
        if not 0 < sequence.input_tokens == sum(span.tokens for span in content):
            return self._keys.shared(content, sequence.input_tokens)
        return self._keys.chain((*content, Span(request.output_stream, 0, request.output_tokens)))

    # ------------------------------------------------------------------------------------------------ allocation

    def _needs(self, prefix: Sequence[Block], end: int) -> tuple[int, int]:
        """Count the new blocks, and the cached ones that are free, of an admission."""
        new = -(-end // self.block_size) - len(prefix)
        return new, sum(not block.num_holders for block in prefix)

    def stays_blocked(self, sequence: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Whether the new blocks alone do not fit.

        If only the cached blocks that are free make it too many, losing some of them may help: a prompt with a shorter
        prefix may be cut to a chunk that fits.
        """
        new, _ = self._needs(prefix, end or 1)
        return new > self.pool.free

    def admit(self, sequence: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate the prompt up to `end`; an empty prompt gets a block for its output."""
        new, idle = self._needs(prefix, end or 1)
        if new + idle > self.pool.free:
            return False
        for block in prefix:
            if not block.num_holders:
                self._remove(block)
            block.num_holders += 1
        self.hits += len(prefix)
        sequence.blocks = list(prefix)
        sequence.num_blocks = len(prefix)
        sequence.extra_stored = 0 if end else 1
        self._grow(sequence, new, end)
        return True

    def blocks_to_extend(self, sequence: RunningRequest, end: int) -> int:
        """Count the new blocks that the prompt up to `end` takes beyond those held."""
        return -(-end // self.block_size) - sequence.num_blocks

    def extend(self, sequence: RunningRequest, end: int) -> bool:
        """Allocate the prompt up to `end`; never looks into the cache."""
        new = -(-end // self.block_size) - sequence.num_blocks
        if new > self.pool.free:
            return False
        self._grow(sequence, new, end)
        return True

    def _grow(self, sequence: RunningRequest, new: int, end: int) -> None:
        if new:
            self.take(new)
            sequence.num_blocks += new
        keys = sequence.keys
        if keys:
            # A block gets its key when it is full, at allocation: whoever is admitted next finds it already.
            for key in keys[len(sequence.blocks) : end // self.block_size]:
                block = Block(key)
                self._found[key] = block
                sequence.blocks.append(block)

    def take(self, blocks: int) -> bool:
        """Take blocks from the head of the free list, dropping what they held."""
        if blocks > self.pool.free:
            return False
        self.misses += blocks
        self.lend(blocks)
        return True

    def lend(self, blocks: int) -> None:
        """Take free blocks that are no allocation of the cache."""
        self.pool.free -= blocks
        if self._never_used:
            unused = min(self._never_used, blocks)
            self._never_used -= unused
            blocks -= unused
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
                # A newer block with the same content stays findable.
                if self._found.get(item.key) is item:
                    del self._found[item.key]

    def _remove(self, block: Block) -> None:
        del self._freed[block]
        self.pool.free -= 1

    # ------------------------------------------------------------------------------------------------ release

    def give(self, blocks: int) -> None:
        """Append blocks without a key to the tail of the free list."""
        if not blocks:
            return
        self.pool.free += blocks
        if self._run_at_tail >= 0:
            self._freed[self._run_at_tail] += blocks
        else:
            self._run_at_tail = self._next_run
            self._next_run += 1
            self._freed[self._run_at_tail] = blocks

    def release(self, sequence: RunningRequest, tokens: int) -> None:
        """Give back all blocks, the deepest first, so that the start of a prompt is evicted last."""
        held = -(-tokens // self.block_size)
        if sequence.request.output_stream is not None:
            self.name_output(sequence, tokens)
        keyed = sequence.blocks
        self.give(held - len(keyed))
        for block in reversed(keyed):
            block.num_holders -= 1
            if not block.num_holders:
                self._freed[block] = 1
                self._run_at_tail = -1
                self.pool.free += 1
        sequence.blocks = []
        sequence.num_blocks = 0
        self.pool.wake_getters()

    def name_output(self, sequence: RunningRequest, tokens: int) -> None:
        """Give keys to the blocks that output has filled, `tokens` being stored."""
        for key in (sequence.keys or ())[len(sequence.blocks) : tokens // self.block_size]:
            block = Block(key)
            self._found[key] = block
            sequence.blocks.append(block)

    def preempt(self, sequence: RunningRequest, tokens: int) -> None:
        """Release a sequence so that it finds its own prompt blocks when it comes back."""
        keys = sequence.keys or []
        missing = sequence.input_tokens // self.block_size - len(keys)
        if missing > 0:
            sequence.keys = keys = [*keys, *self._keys.fresh(missing)]
        for key in keys[len(sequence.blocks) : min(tokens, sequence.input_tokens) // self.block_size]:
            block = Block(key)
            self._found[key] = block
            sequence.blocks.append(block)
        self.release(sequence, tokens)

    # ------------------------------------------------------------------------------------------------ figures

    def free_list_length(self) -> int:
        """Length of the free list, counted; equals the pool's level."""
        return self._never_used + sum(self._freed.values())

    @property
    def hit_rate(self) -> float:
        """Cached blocks claimed, over all blocks allocated."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """Always 0: there is no second tier."""
        return 0.0
