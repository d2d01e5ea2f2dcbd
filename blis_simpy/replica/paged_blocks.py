"""Base class of KV stores with paged memory: free list, allocation and release of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import NO_KEYS, BlockHasher, BlockKeys
from blis_simpy.native import mypyc_attr
from blis_simpy.replica.kv_block import FreeList, HeldBlocks, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["PagedBlocks"]

_NO_BLOCKS = HeldBlocks()
_position = attrgetter("position")


@mypyc_attr(allow_interpreted_subclasses=True)
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
        # The free list, in the order of allocation: first a number of blank blocks, then segments. As most blocks have
        # no key, most requests take and put back a segment in one operation.
        self._blank = pool.free
        self._free = FreeList()
        # Lookup table: segments of each line, in the order of their positions.
        self._found: dict[int, list[Segment]] = {}
        self._keys = BlockHasher(block_size)

    @abstractmethod
    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        """Keys of the leading blocks that other requests may share."""

    @abstractmethod
    def _name(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        """Give consecutive keys of a line to the next blocks of a request."""

    def cached_prefix(self, leg: RunningRequest) -> Sized:
        """Return the leading blocks in the cache, free or in use, at most up to the last known token."""
        if not self.caches_prefixes:
            return _NO_BLOCKS
        keys = leg.keys
        if keys is None:
            keys = leg.keys = self._keys_of(leg)
        if not keys:
            return _NO_BLOCKS
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
        """Return the number of new blocks; an empty prompt takes one, for its first output token."""
        return -(-(end or 1) // self.block_size) - len(prefix)

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of new blocks, and of prefix blocks on the free list."""
        return self.blocks_to_admit(leg, prefix, end) + _num_idle(prefix)

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether there are too few free blocks for the new ones alone."""
        # Prefix blocks on the free list are not counted: they may be evicted, and with a shorter prefix the first chunk
        # may be shorter and fit.
        return self.blocks_to_admit(leg, prefix, end) + kept > self.pool.free

    def admit(self, leg: RunningRequest, prefix: Sized, end: int) -> bool:
        """Claim the cached prefix, and allocate blocks for the known tokens up to `end`."""
        new = self.blocks_to_admit(leg, prefix, end)
        # Prefix blocks on the free list leave it, so they need a free block like new ones.
        if not self.pool.take(new + _num_idle(prefix) if prefix else new):
            return False
        self._hold_prefix(leg, prefix)
        leg.extra_stored = 0 if end or not new else 1
        self._grow(leg, new, end)
        return True

    def reserve(self, leg: RunningRequest, prefix: Sized, tokens: int) -> bool:
        """Claim the cached prefix, and allocate blocks for `tokens` tokens, which get their keys in `receive`."""
        new = -(-tokens // self.block_size) - len(prefix)
        if not self.pool.take(new + _num_idle(prefix)):
            return False
        self._hold_prefix(leg, prefix)
        # Neither hits nor misses: these blocks are computed elsewhere.
        self._pop(new)
        leg.num_blocks += new
        return True

    def receive(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the full blocks of the first `tokens` tokens, which have arrived."""
        if leg.keys:
            self._name_blocks(leg, tokens)

    def _hold_prefix(self, leg: RunningRequest, prefix: Sized) -> None:
        held = HeldBlocks() if leg.keys else _NO_BLOCKS
        if prefix:
            assert isinstance(prefix, HeldBlocks)
            for segment, blocks in prefix.parts:
                self._claim(segment, blocks)
                held.append(segment, blocks)
            self.hits += held.num_blocks
        leg.blocks = held
        leg.num_blocks = held.num_blocks

    def _claim(self, segment: Segment, blocks: int) -> None:
        """Add a holder to the first blocks of a segment."""
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
        """Add a segment to the lookup table, which must not contain any of its keys."""
        segment.is_found = True
        found = self._found.setdefault(segment.line, [])
        if found and found[-1].position > segment.position:
            found.insert(bisect_left(found, segment.position, key=_position), segment)
        else:
            found.append(segment)

    def _hide(self, segment: Segment) -> None:
        """Remove a segment from the lookup table."""
        segment.is_found = False
        found = self._found[segment.line]
        if len(found) == 1:
            del self._found[segment.line]
        else:
            del found[bisect_left(found, segment.position, key=_position)]

    def _overlapping(self, line: int, position: int, end: int) -> list[Segment]:
        """Return the segments in the lookup table with keys in a range of a line."""
        found = self._found.get(line)
        if not found or found[-1].end <= position:
            return []
        return [segment for segment in found if segment.position < end and segment.end > position]

    def _hold_new(self, held: HeldBlocks, line: int, position: int, blocks: int) -> None:
        """Add new blocks to those of a request, and to the lookup table."""
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
            self._name_blocks(leg, end)

    def _name_blocks(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the full blocks of the first `tokens` tokens, where they have none."""
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
        blank = self._blank
        if blank:
            if blank >= blocks:
                self._blank = blank - blocks
                return
            self._blank = 0
            blocks -= blank
        anchor = self._free.anchor
        while blocks:
            segment = anchor.after
            assert segment is not anchor
            taken = segment.length
            if taken > blocks:
                taken = blocks
                segment.length -= blocks
            else:
                segment.length = 0
                self._free.remove(segment)
            blocks -= taken
            if segment.line:
                self._evict(segment, taken)

    def _evict(self, segment: Segment, blocks: int) -> None:
        """Remove the blocks that a segment has just lost at its end from the lookup table."""
        if segment.is_found and not segment.length:
            self._hide(segment)

    def _append_blocks(self, blocks: int) -> None:
        """Append blocks without a key to the free list."""
        if blocks:
            self._free.append_blocks(blocks)

    def _put_back_named(self, leg: RunningRequest) -> int:
        """Append blocks with keys that no request holds to the free list, last one first; return their number."""
        held = leg.blocks
        leg.num_blocks = 0
        if not held:
            return 0
        assert isinstance(held, HeldBlocks)
        freed = 0
        for segment in held.backwards():
            segment.num_holders -= 1
            if not segment.num_holders:
                segment.rest = None
                self._free.append(segment)
                freed += segment.length
        leg.blocks = _NO_BLOCKS
        return freed

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to blocks filled with output; `tokens` tokens are stored."""
        if self.caches_prefixes:
            self._name_blocks(leg, tokens)

    @abstractmethod
    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first, so that the start of a prompt is evicted last."""

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a preempted request, with its blocks in the cache for its next admission."""
        if self.caches_prefixes:
            keys = leg.keys or NO_KEYS
            assert isinstance(keys, BlockKeys)
            # Blocks of content without a name get unique keys: no other request can share them, but this one can.
            missing = max(leg.input_tokens, findable) // self.block_size - len(keys)
            if missing > 0:
                leg.keys = keys.followed_by(self._keys.fresh(missing))
                if not leg.blocks:
                    leg.blocks = HeldBlocks()
            self._name_blocks(leg, findable)
        self.release(leg, tokens, hashed)

    def count_held(self, legs: Iterable[tuple[RunningRequest, int]]) -> int:
        """Count the different blocks of some legs; each with the number of tokens in its blocks."""
        without_key = 0
        segments: dict[Segment, None] = {}
        for leg, tokens in legs:
            without_key += -(-tokens // self.block_size) - len(leg.blocks)
            if isinstance(leg.blocks, HeldBlocks):
                segments.update(dict.fromkeys(leg.blocks.backwards()))
        return without_key + sum(segment.length for segment in segments)

    def free_list_length(self) -> int:
        """Return the number of blocks on the free list; equals the free and the reserved blocks of the pool."""
        return self._blank + sum(segment.length for segment in self._free)

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated blocks that came from the cache, since the start."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """0, because there is no second tier."""
        return 0.0


def _num_idle(prefix: Sized) -> int:
    """Return the number of blocks of a cached prefix on the free list."""
    if not prefix:
        return 0
    assert isinstance(prefix, HeldBlocks)
    return sum(blocks for segment, blocks in prefix.parts if not segment.num_holders)
