"""KV store with a second tier in host memory.

After every step the full blocks of all running requests are *offloaded*: their keys are copied to the host tier, which
evicts its oldest keys when it is full. If an allocation on the GPU fails, the leading blocks of the prompt that are
only in the host tier are *reloaded*: each replaces the next free block and moves to the tail of the free list, and the
transfer time is added to the step. A reload saves no computation by itself; a later lookup may find the blocks.

The order of single blocks matters here, so every block with prompt tokens is an object of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.replica.host_blocks import HostBlocks
from blis_simpy.replica.single_blocks import Block, SingleBlocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["TwoTier"]

Piece = tuple[str, int, int]

_SLOWEST = 1e-12
"""Minimum bandwidth, blocks/µs: 11 days per block, so that the sum over many blocks is still a valid tick."""


class _Layout:
    """Placement of the tokens of a running request in its blocks.

    Attributes
    ----------
    blocks : list of Block
        Its blocks with an identity, in order.
    tail : list of Piece
        Content of the last block with prompt tokens, while it is not full.
    fill : int
        Tokens in that block; `block_size` if it is full.
    keys : list of int
        Keys of the full blocks, in order.
    next_token : int
        Position of the next token to store.
    holes : int
        Blocks that stay partly filled, because blocks with later tokens were claimed after them.
    num_offloaded, has_left
        See `OffloadedKeys`.
    """

    __slots__ = ("blocks", "fill", "has_left", "holes", "keys", "next_token", "num_offloaded", "tail")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.tail: list[Piece] = []
        self.fill = 0
        self.keys: list[int] = []
        self.next_token = 0
        self.holes = 0
        self.num_offloaded = 0
        self.has_left = False


class TwoTier(SingleBlocks):
    """Paged KV memory as in `SingleTier`, with a second tier in host memory (registered as ``two-tier``).

    Parameters
    ----------
    pool : KVBlocks
        The blocks of the GPU, with the number of free ones.
    block_size : int
        Tokens per block.
    cpu_blocks : int
        Blocks of the host tier, >= 1.
    bandwidth : float, blocks/µs
        Bandwidth of reloads, finite and >= 1e-12; the time per block is rounded up to a whole tick.
    base_latency : int, µs
        Fixed time to reload a block, >= 0.

    Attributes
    ----------
    cpu_misses : int
        Number of failed allocations without a reload.

    Raises
    ------
    ScenarioError
        If a value is out of its range.
    """

    def __init__(
        self, pool: KVBlocks, block_size: int, *, cpu_blocks: int, bandwidth: float = 100.0, base_latency: int = 0
    ) -> None:
        super().__init__(pool, block_size)
        if cpu_blocks < 1:
            raise ScenarioError.at("kv.cpu_blocks", "must be >= 1 for the two-tier store", cpu_blocks)
        if not _SLOWEST <= bandwidth < math.inf:
            raise ScenarioError.at("kv.transfer_bandwidth", f"must be finite and >= {_SLOWEST:g}", bandwidth)
        if base_latency < 0:
            raise ScenarioError.at("kv.transfer_base_latency", "must be >= 0", base_latency)
        self.cpu_misses = 0
        self._capacity = cpu_blocks
        self._reload_us = base_latency + math.ceil(1 / bandwidth)
        self._pending_us = 0
        self._host = HostBlocks(cpu_blocks)
        self._layouts: dict[RunningRequest, _Layout] = {}
        # Whether a request has left since the last offload. Its blocks in the host tier then age: an offload renews
        # only blocks of running requests.
        self._batch_shrank = False

    def _pieces(self, leg: RunningRequest, start: int, end: int) -> list[Piece]:
        """Content of the tokens from `start` to `end` of a request; output positions follow those of the prompt."""
        request = leg.request
        pieces: list[Piece] = []
        offset = 0
        for stream, first, tokens in request.content or ():
            low, high = max(start, offset), min(end, offset + tokens)
            if low < high:
                pieces.append((stream, first + low - offset, high - low))
            offset += tokens
        own = max(start, offset)
        if own < end and request.output_stream is not None and own >= request.input_tokens:
            pieces.append((request.output_stream, own - request.input_tokens, end - own))
        elif own < end:
            # Tokens without a name get a stream of their own: the request may look for them after a preemption. Its
            # position is unique, and a preemption does not change it.
            pieces.append((f"#{leg.position}", own, end - own))
        return pieces

    def _keys_of(self, leg: RunningRequest) -> list[int]:
        """Keys of all full prompt blocks, so that a preempted request finds its own blocks."""
        keys: list[int] = []
        for block in range(leg.input_tokens // self.block_size):
            start = block * self.block_size
            parent = keys[-1] if keys else 0
            keys.append(self._keys.key(parent, self._pieces(leg, start, start + self.block_size)))
        return keys

    def stays_blocked(self, leg: RunningRequest, prefix: Sequence[Block], end: int, kept: int) -> bool:
        """Return False, because every attempt counts in `cpu_misses` or reloads blocks."""
        return False

    def admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate blocks for the prompt up to `end`, after a reload if necessary.

        A failed attempt puts back the claimed blocks. Reloaded blocks stay on the GPU, and their transfer time counts.
        """
        layout = self._layouts[leg] = _Layout()
        leg.blocks = layout.blocks
        start = len(prefix) * self.block_size
        if self._claim_and_store(leg, layout, prefix, start, end):
            return True
        if self._reload(leg):
            again = self.cached_prefix(leg)
            found = len(again) * self.block_size
            if found <= start:
                # As in the reference, the same block objects are claimed, even if the reload replaced their content.
                if self._claim_and_store(leg, layout, prefix, start, end):
                    return True
            elif found >= end:
                # The whole chunk was reloaded. Whole blocks are claimed, which may hold more tokens than the chunk.
                self._claim(leg, layout, again[: -(-end // self.block_size)])
                self._finish(leg, layout, end)
                return True
            else:
                idle = {block for block in again if not block.num_holders}
                self._claim(leg, layout, again)
                if self._store(leg, layout, found, end):
                    return True
                self._give_back(leg, again, idle)
        else:
            self.cpu_misses += 1
        del self._layouts[leg]
        return False

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate blocks for the prompt up to `end`; reloaded blocks of a failed attempt stay with the request."""
        layout = self._layouts[leg]
        start = leg.computed
        if self._store(leg, layout, start, end):
            return True
        if not self._reload(leg):
            self.cpu_misses += 1
            return False
        again = self.cached_prefix(leg)
        found = len(again) * self.block_size
        if found <= start:
            return self._store(leg, layout, start, end)
        # The previous chunk may end within a block. Blocks claimed after that block leave it partly filled: a hole.
        first = -(-start // self.block_size)
        if found >= end:
            self._claim(leg, layout, again[first : -(-end // self.block_size)])
            self._finish(leg, layout, end)
            return True
        self._claim(leg, layout, again[first:])
        self._finish(leg, layout, start)
        return self._store(leg, layout, found, end)

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Return the number of new blocks for the next chunk, beyond the room in the last block."""
        return self._new_blocks(self._layouts[leg], end - leg.computed)

    def _new_blocks(self, layout: _Layout, tokens: int) -> int:
        room = self.block_size - layout.fill if 0 < layout.fill < self.block_size else 0
        return -(-max(tokens - room, 0) // self.block_size)

    def _claim_and_store(
        self, leg: RunningRequest, layout: _Layout, prefix: Sequence[Block], start: int, end: int
    ) -> bool:
        """Claim a prefix and allocate blocks for the tokens after it; return False and change nothing if they lack."""
        new = -(-(end - start) // self.block_size) if end else 1
        if new + sum(not block.num_holders for block in prefix) > self.pool.free:
            return False
        self._claim(leg, layout, prefix)
        if end:
            return self._store(leg, layout, start, end)
        # An empty prompt stores its first output token at admission.
        self._open_block(leg, layout)
        layout.fill = 1
        layout.tail = self._pieces(leg, 0, 1)
        self._finish(leg, layout, 0)
        return True

    def _claim(self, leg: RunningRequest, layout: _Layout, blocks: Sequence[Block]) -> None:
        idle = [block for block in blocks if not block.num_holders]
        self.pool.take(len(idle))
        for block in idle:
            del self._freed[block]
        for block in blocks:
            block.num_holders += 1
            layout.blocks.append(block)
            layout.keys.append(block.key)
        if blocks:
            layout.fill = self.block_size
        self.hits += len(blocks)

    def _give_back(self, leg: RunningRequest, claimed: Sequence[Block], were_idle: set[Block]) -> None:
        for block in reversed(claimed):
            block.num_holders -= 1
            if block in were_idle:
                self._append(block)
        self.pool.put_back(len(were_idle))
        self._layouts[leg].blocks.clear()
        self.hits -= len(claimed)

    def _store(self, leg: RunningRequest, layout: _Layout, start: int, end: int) -> bool:
        """Store prompt tokens, first in the room of the last block."""
        if self._new_blocks(layout, end - start) > self.pool.free:
            return False
        size, keys = self.block_size, leg.keys or []
        assert isinstance(keys, list)  # by `_keys_of`
        while start < end:
            if not 0 < layout.fill < size:
                self._open_block(leg, layout)
            number = len(layout.blocks) - 1
            block, parent = layout.blocks[number], layout.blocks[number - 1].key if number else 0
            if (
                start + size <= end
                and start == number * size
                and number < len(keys)
                and (not number or parent == keys[number - 1])
            ):
                # A whole block after those of the prompt so far: its key is known from the lookup.
                start += size
                layout.fill = size
                block.key = keys[number]
            else:
                stored = min(size - layout.fill, end - start)
                layout.tail += self._pieces(leg, start, start + stored)
                layout.fill += stored
                start += stored
                if layout.fill < size:
                    break
                block.key = self._keys.key(parent, layout.tail)
            self._found[block.key] = block
            layout.keys.append(block.key)
        self._finish(leg, layout, end)
        return True

    def _open_block(self, leg: RunningRequest, layout: _Layout) -> None:
        self.take(1)
        layout.blocks.append(Block(0))
        layout.fill = 0
        layout.tail = []

    def _finish(self, leg: RunningRequest, layout: _Layout, end: int) -> None:
        layout.next_token = end
        layout.holes = len(layout.blocks) - len(layout.keys) - (0 < layout.fill < self.block_size)
        leg.num_blocks = len(layout.blocks)
        stored = (leg.num_blocks - 1) * self.block_size + layout.fill if layout.blocks else 0
        leg.extra_stored = stored - end

    def take(self, blocks: int) -> bool:
        """Allocate blocks for decode tokens, without a reload."""
        if super().take(blocks):
            return True
        self.cpu_misses += 1
        return False

    def _reload(self, leg: RunningRequest) -> bool:
        """Reload leading prompt blocks that are only in the host tier; return whether there were any."""
        room = self.pool.free
        keys = leg.keys or ()
        reloaded = 0
        for key in keys:
            if key in self._found:
                continue
            if key not in self._host or reloaded == room:
                break
            block = self._take_head()
            block.key = key
            self._found[key] = block
            self._append(block)
            self._host.move_to_end(key)
            self._pending_us += self._reload_us
            reloaded += 1
        return reloaded > 0

    def _take_head(self) -> Block:
        """Remove the next block from the free list; the caller appends it again, so the number of free ones stays."""
        # An existing block object is reused, because a prefix that was looked up before the reload may contain it.
        block = Block(0)
        if not self._blank:
            item = next(iter(self._freed))
            if isinstance(item, Block):
                block = item
        self._pop(1)
        block.num_holders = 0
        return block

    def claim_transfer(self) -> int:
        """Return the duration of all reloads since the last call, µs."""
        pending, self._pending_us = self._pending_us, 0
        return pending

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Copy the full blocks of the running requests to the host, in batch order.

        Parameters
        ----------
        batch : iterable of RunningRequest
            The running requests.
        stored_tokens : callable
            Returns the number of stored tokens of a request.
        """
        layouts = []
        for leg in batch:
            layout = self._layouts[leg]
            self._name_decoded(leg, layout, stored_tokens(leg))
            layouts.append(layout)
        self._host.offload(layouts)
        self._batch_shrank = False

    def _name_decoded(self, leg: RunningRequest, layout: _Layout, stored: int) -> None:
        """Give keys to blocks that decode tokens have filled since the last call."""
        size = self.block_size
        if size == 1 or leg.computed < leg.input_tokens:
            return  # as in the reference, a block filled by a single decode token gets no key
        while len(layout.keys) + layout.holes < stored // size:
            parent, pieces = self._next_block(leg, layout)
            key = self._keys.key(parent, pieces)
            if 0 < layout.fill < size:
                layout.next_token += size - layout.fill
                layout.fill = size
                layout.blocks[-1].key = key
                self._found[key] = layout.blocks[-1]
            else:
                layout.next_token += size
                if leg.request.output_stream is not None:
                    self._found[key] = block = Block(key)
                    layout.blocks.append(block)
            layout.keys.append(key)

    def _next_block(self, leg: RunningRequest, layout: _Layout) -> tuple[int, list[Piece]]:
        """Return the parent and the content of the block that decode tokens fill next."""
        token = layout.next_token
        if 0 < layout.fill < self.block_size:
            parent = layout.blocks[-2].key if len(layout.blocks) > 1 else 0
            return parent, [*layout.tail, *self._pieces(leg, token, token + self.block_size - layout.fill)]
        parent = layout.keys[-1] if layout.keys else 0
        return parent, self._pieces(leg, token, token + self.block_size)

    def _refills_blocks(self) -> bool:
        """Whether a running request may fill a block that the host has already: one of its own or of a quotation."""
        return any(
            self._keys.has_key(*self._next_block(leg, layout))
            for leg, layout in self._layouts.items()
            if leg.num_preemptions or leg.request.output_stream is not None
        )

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to blocks filled with output; `tokens` tokens are stored."""
        self._name_decoded(leg, self._layouts[leg], tokens)

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Whether one offload after several decode steps of a batch has the effect of one after each step.

        Parameters
        ----------
        full_blocks : int
            Full blocks of the batch after the steps.
        new_full_blocks : int
            Blocks filled in the steps.
        """
        # Without an eviction only the last offload matters, which renews all blocks of the batch.
        if len(self._host) + new_full_blocks <= self._capacity:
            return True
        # If the host tier has room for the whole batch, and an offload has followed the last leave, evictions take only
        # blocks of former requests, in an order that offloads in between do not change. An exception: a request that
        # starts over fills such a block again, and an offload in between would renew it before its eviction.
        return not self._batch_shrank and full_blocks <= self._capacity and not self._refills_blocks()

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, the last one first."""
        self._batch_shrank = True
        layout = self._layouts.pop(leg)
        layout.has_left = True
        self._name_decoded(leg, layout, hashed)
        freed = -(-tokens // self.block_size) - len(layout.blocks)
        self._append_run(freed)
        for block in reversed(layout.blocks):
            block.num_holders -= 1
            if block.num_holders:
                continue
            if block.key:
                self._append(block)
            else:
                self._append_run(1)
            freed += 1
        leg.blocks = ()
        leg.num_blocks = 0
        # Last, because a waiting process takes blocks off the free list immediately.
        self.pool.put_back(freed)

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a preempted request; its blocks already have keys."""
        self.release(leg, tokens, hashed)

    @property
    def hit_rate(self) -> float:
        """Blocks from the cache / (allocated blocks + failed allocations without a reload), since the start."""
        total = self.hits + self.misses + self.cpu_misses
        return self.hits / total if total else 0.0

    @property
    def offloaded(self) -> int:
        """Number of blocks stored in the host tier."""
        return self._host.stored

    @property
    def cpu_evictions(self) -> int:
        """Number of blocks evicted from the host tier."""
        return self._host.evicted

    @property
    def thrashing_rate(self) -> float:
        """Evictions from the host tier per block stored there."""
        return self.cpu_evictions / self.offloaded if self.offloaded else 0.0
