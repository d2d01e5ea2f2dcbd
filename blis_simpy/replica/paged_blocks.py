"""Paged KV memory: the free list of a replica's blocks, and their way from it to the requests and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import NO_KEYS, BlockHasher, BlockKeys
from blis_simpy.replica.kv_block import FreeList, HeldBlocks, Segment

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["PagedBlocks"]

_NO_BLOCKS = HeldBlocks()
_position = attrgetter("position")


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
        # The free list, next to be taken first: blocks without content, which are only counted, then segments.
        # Most blocks have no key, so that most requests take and put back a run in one operation.
        self._blank = pool.free
        self._free = FreeList()
        # Segments that lookups find, by line and in the order of their positions.
        self._found: dict[int, list[Segment]] = {}
        self._keys = BlockHasher(block_size)

    @abstractmethod
    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        """Keys of the leading blocks that others may look for."""

    @abstractmethod
    def _name(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        """Give consecutive keys of a line to blocks that a request has just filled."""

    def cached_prefix(self, leg: RunningRequest) -> Sized:
        """Leading blocks found in the cache, free or in use, for at most all but the last known token."""
        if not self.caches_prefixes:
            return _NO_BLOCKS
        keys = leg.keys
        if keys is None:
            keys = leg.keys = self._keys_of(leg)
        assert isinstance(keys, BlockKeys)
        prefix = HeldBlocks()
        left = (leg.input_tokens - 1) // self.block_size
        for line, length in keys.runs:
            wanted = min(length, left)
            left -= wanted
            position = 0
            for segment in self._found.get(line, ()):
                if segment.position != position or not wanted:
                    break
                taken = min(segment.length, wanted)
                prefix.append(segment, taken)
                position += taken
                wanted -= taken
            if wanted or not left:
                break
        return prefix

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the new blocks; an empty prompt gets one for its first output token."""
        return -(-(end or 1) // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the new blocks, and the cached ones that are on the free list."""
        return self.blocks_to_admit(leg, prefix, end) + _num_idle(prefix)

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether the new blocks alone do not fit.

        If only the cached blocks that are free make it too many, losing some of them may help: a prompt with a shorter
        prefix may be cut to a chunk that fits.
        """
        return self.blocks_to_admit(leg, prefix, end) + kept > self.pool.free

    def admit(self, leg: RunningRequest, prefix: Sized, end: int) -> bool:
        """Claim the cached prefix and allocate the known tokens up to `end`."""
        new = self.blocks_to_admit(leg, prefix, end)
        # Claimed blocks that are on the free list leave it, so they count like new ones.
        if not self.pool.take(new + _num_idle(prefix)):
            return False
        held = HeldBlocks()
        if prefix:
            assert isinstance(prefix, HeldBlocks)
            for segment, blocks in prefix.parts:
                self._claim(segment, blocks)
                held.append(segment, blocks)
        self.hits += held.num_blocks
        leg.blocks = held
        leg.num_blocks = held.num_blocks
        leg.extra_stored = 0 if end else 1
        self._grow(leg, new, end)
        return True

    def _claim(self, segment: Segment, blocks: int) -> None:
        """Let one more request hold the first blocks of a segment."""
        if blocks < segment.length:
            self._split(segment, blocks)
        if not segment.num_holders:
            self._free.remove(segment)
        segment.num_holders += 1

    def _split(self, segment: Segment, length: int) -> Segment:
        rest = segment.split(length)
        if segment.is_found:
            self._show(rest)
        if not segment.num_holders:
            self._free.insert(rest, segment)
        return rest

    def _show(self, segment: Segment) -> None:
        """Let lookups find the blocks of a segment; none of their keys must be found so far."""
        segment.is_found = True
        found = self._found.setdefault(segment.line, [])
        if found and found[-1].position > segment.position:
            found.insert(bisect_left(found, segment.position, key=_position), segment)
        else:
            found.append(segment)

    def _hide(self, segment: Segment) -> None:
        """Let lookups no longer find a segment."""
        segment.is_found = False
        found = self._found[segment.line]
        if len(found) == 1:
            del self._found[segment.line]
        else:
            del found[bisect_left(found, segment.position, key=_position)]

    def _overlapping(self, line: int, position: int, end: int) -> list[Segment]:
        """Segments that are found, with keys in a range of a line."""
        found = self._found.get(line)
        if not found or found[-1].end <= position:
            return []
        return [segment for segment in found if segment.position < end and segment.end > position]

    def _hold_new(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        """Let a request hold new blocks, which lookups find."""
        last = held.last
        if last is not None and last.num_holders == 1 and last.is_found and last.line == line and last.end == position:
            last.length += blocks
            held.lengthen(blocks)
            return
        segment = Segment(line, position, blocks)
        segment.num_holders = 1
        self._show(segment)
        held.append(segment, blocks)

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
            self._name_blocks(leg, end)

    def _name_blocks(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the full blocks of the first tokens that have none yet."""
        keys, held = leg.keys or NO_KEYS, leg.blocks
        assert isinstance(keys, BlockKeys)
        assert isinstance(held, HeldBlocks)
        named, upto = held.num_blocks, min(tokens // self.block_size, keys.num_blocks)
        if named >= upto:
            return
        start = 0
        for line, blocks in keys.runs:
            first, end = max(named, start), min(upto, start + blocks)
            if first < end:
                self._name(held, line, first - start, end - first)
            start += blocks
            if start >= upto:
                break

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
        while blocks:
            segment = self._free.first
            taken = min(segment.length, blocks)
            blocks -= taken
            segment.length -= taken
            if not segment.length:
                self._free.remove(segment)
            if segment.line:
                self._evict(segment, taken)

    def _evict(self, segment: Segment, blocks: int) -> None:
        """Let lookups no longer find the blocks that a segment has just lost at its end."""
        if segment.is_found and not segment.length:
            self._hide(segment)

    def _append_blocks(self, blocks: int) -> None:
        """Append blocks without a key to the free list."""
        if blocks:
            self._free.append_blocks(blocks)

    def _put_back_named(self, leg: RunningRequest) -> int:
        """Append the blocks with keys that nobody holds any more to the free list, the deepest first; count them."""
        held = leg.blocks
        assert isinstance(held, HeldBlocks)
        freed = 0
        for segment in held.backwards():
            segment.num_holders -= 1
            if not segment.num_holders:
                segment.rest = None
                self._free.append(segment)
                freed += segment.length
        leg.blocks = _NO_BLOCKS
        leg.num_blocks = 0
        return freed

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the blocks that output has filled, `tokens` being stored."""
        if self.caches_prefixes:
            self._name_blocks(leg, tokens)

    @abstractmethod
    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the deepest first, so that the start of a prompt is evicted last."""

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a request so that it finds its own blocks when it comes back."""
        if self.caches_prefixes:
            keys = leg.keys or NO_KEYS
            assert isinstance(keys, BlockKeys)
            missing = max(leg.input_tokens, findable) // self.block_size - len(keys)
            if missing > 0:
                leg.keys = keys.followed_by(self._keys.fresh(missing))
            self._name_blocks(leg, findable)
        self.release(leg, tokens, hashed)

    def free_list_length(self) -> int:
        """Length of the free list, counted; equals the free blocks of the pool, those set aside included."""
        return self._blank + sum(segment.length for segment in self._free)

    @property
    def hit_rate(self) -> float:
        """Cached blocks claimed, over all blocks allocated."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """Always 0: there is no second tier."""
        return 0.0


def _num_idle(prefix: Sized) -> int:
    """Count the blocks of a cached prefix that are on the free list."""
    if not prefix:
        return 0
    assert isinstance(prefix, HeldBlocks)
    return sum(blocks for segment, blocks in prefix.parts if not segment.num_holders)
