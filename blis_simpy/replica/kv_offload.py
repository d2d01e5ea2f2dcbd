"""A second KV tier in host memory behind the GPU's.

After every step the full blocks of all running requests are *offloaded*: their keys are copied to the host tier, where
the oldest make room. When the GPU cannot serve an allocation, the leading blocks of the prompt that only the host has
are *reloaded*: each takes the place of the block that would be evicted next and becomes the newest of the free list,
and the step takes longer by the transfer time. Reloading saves no computation: it brings content back, so that a later
lookup may find it.

Here block identities matter, so every block that holds prompt tokens is kept one by one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.replica.single_blocks import Block, SingleBlocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["TwoTier"]

Piece = tuple[str, int, int]

_SLOWEST = 1e-12
"""Lowest bandwidth, blocks/µs: a block takes 11 days, and the sum over many blocks is still a valid tick."""


class _Layout:
    """How the tokens of a running request lie in its blocks.

    Attributes
    ----------
    blocks : list of Block
        Its blocks with an identity, in order.
    tail : list of Piece
        Content of the last block that holds prompt tokens, while it is not full.
    fill : int
        Tokens in that block, `block_size` once it is full.
    keys : list of int
        Keys of its full blocks in order.
    next_token : int
        Token of the request that is stored next.
    holes : int
        Blocks that were left partly filled when blocks with later tokens were claimed behind them.
    """

    __slots__ = ("blocks", "fill", "holes", "keys", "next_token", "tail")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.tail: list[Piece] = []
        self.fill = 0
        self.keys: list[int] = []
        self.next_token = 0
        self.holes = 0


class TwoTier(SingleBlocks):
    """GPU blocks as in `SingleTier`, offloaded to and reloaded from host memory (registered as ``two-tier``).

    Parameters
    ----------
    pool : KVBlocks
        The GPU's blocks and the count of free ones.
    block_size : int
        Tokens a block.
    cpu_blocks : int
        Blocks of the host tier, >= 1.
    bandwidth : float, blocks/µs
        Speed of reloading, finite and >= 1e-12; the reciprocal is rounded up to a whole tick.
    base_latency : int, µs
        Fixed part of reloading a block, >= 0.

    Attributes
    ----------
    cpu_misses : int
        Failed allocations for which nothing could be reloaded.
    offloaded, cpu_evictions : int
        Blocks stored in the host tier, and blocks that made room there.

    Raises
    ------
    ScenarioError
        If one of the figures is out of its range.
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
        self.offloaded = 0
        self.cpu_evictions = 0
        self._capacity = cpu_blocks
        self._reload_us = base_latency + math.ceil(1 / bandwidth)
        self._pending_us = 0
        self._host: OrderedDict[int, None] = OrderedDict()
        self._layouts: dict[RunningRequest, _Layout] = {}
        # Whether a request has left since the last offload: its blocks are in the host, but no offload refreshes them.
        self._batch_shrank = False

    def _pieces(self, leg: RunningRequest, start: int, end: int) -> list[Piece]:
        """Content of some tokens of a request, prompt and output being one line of tokens."""
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
            # Tokens that no other prompt contains still need an identity, as the request may come back for them. Its
            # position in the queue is unique, and a leg that starts over keeps it.
            pieces.append((f"#{leg.position}", own, end - own))
        return pieces

    def _keys_of(self, leg: RunningRequest) -> list[int]:
        """Keys of all full prompt blocks: a request that comes back finds its own, too."""
        keys: list[int] = []
        for block in range(leg.input_tokens // self.block_size):
            start = block * self.block_size
            parent = keys[-1] if keys else 0
            keys.append(self._keys.key(parent, self._pieces(leg, start, start + self.block_size)))
        return keys

    def stays_blocked(self, leg: RunningRequest, prefix: Sequence[Block], end: int, kept: int) -> bool:
        """Return False: every attempt counts in a figure and may reload something."""
        return False

    def admit(self, leg: RunningRequest, prefix: Sequence[Block], end: int) -> bool:
        """Claim the cached prefix and allocate the prompt up to `end`, reloading from the host if need be.

        A failed attempt gives back what it claimed, but what it reloaded stays reloaded and its time is charged.
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
                # With the same physical blocks, even if reloading has given some of them other content.
                if self._claim_and_store(leg, layout, prefix, start, end):
                    return True
            elif found >= end:
                # All of the chunk came back: whole blocks are claimed, so more tokens than the chunk may be stored.
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
        """Allocate the prompt up to `end`; blocks that a failed attempt reloaded and claimed stay with the request."""
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
        # The chunk before may have ended within a block. The blocks that were found are claimed behind it, and leave it
        # partly filled: a hole.
        first = -(-start // self.block_size)
        if found >= end:
            self._claim(leg, layout, again[first : -(-end // self.block_size)])
            self._finish(leg, layout, end)
            return True
        self._claim(leg, layout, again[first:])
        self._finish(leg, layout, start)
        return self._store(leg, layout, found, end)

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Count the new blocks of the next chunk, after the room in the last block."""
        return self._new_blocks(self._layouts[leg], end - leg.computed)

    def _new_blocks(self, layout: _Layout, tokens: int) -> int:
        room = self.block_size - layout.fill if 0 < layout.fill < self.block_size else 0
        return -(-max(tokens - room, 0) // self.block_size)

    def _claim_and_store(
        self, leg: RunningRequest, layout: _Layout, prefix: Sequence[Block], start: int, end: int
    ) -> bool:
        """Admit after a prefix, or change nothing."""
        new = -(-(end - start) // self.block_size) if end else 1
        if new + sum(not block.num_holders for block in prefix) > self.pool.free:
            return False
        self._claim(leg, layout, prefix)
        if end:
            return self._store(leg, layout, start, end)
        # The first output token of an empty prompt is stored with its admission.
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
        """Store prompt tokens, first into the room of the last block."""
        if self._new_blocks(layout, end - start) > self.pool.free:
            return False
        while start < end:
            if not 0 < layout.fill < self.block_size:
                self._open_block(leg, layout)
            stored = min(self.block_size - layout.fill, end - start)
            layout.tail += self._pieces(leg, start, start + stored)
            layout.fill += stored
            start += stored
            if layout.fill == self.block_size:
                block = layout.blocks[-1]
                parent = layout.blocks[-2].key if len(layout.blocks) > 1 else 0
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
        """Take blocks for decode tokens; nothing can be reloaded for them."""
        if super().take(blocks):
            return True
        self.cpu_misses += 1
        return False

    def _reload(self, leg: RunningRequest) -> bool:
        """Bring leading prompt blocks that only the host has into free blocks; return whether there were any."""
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
        """Take the next free block off the free list, to be put back at once: the count of free blocks stays."""
        # The block object itself is kept if there is one: a prefix that was looked up before the reload holds it, too.
        block = Block(0)
        if not self._blank:
            item = next(iter(self._freed))
            if isinstance(item, Block):
                block = item
        self._pop(1)
        block.num_holders = 0
        return block

    def claim_transfer(self) -> int:
        """Return the time of all reloads since the last call, µs."""
        pending, self._pending_us = self._pending_us, 0
        return pending

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Copy the full blocks of the running requests to the host, in batch order.

        Parameters
        ----------
        batch : iterable of RunningRequest
            The running requests.
        stored_tokens : callable
            Returns the tokens that are stored for one of them.
        """
        host = self._host
        for leg in batch:
            layout = self._layouts[leg]
            self._name_decoded(leg, layout, stored_tokens(leg))
            # Every block of the batch is touched after every step, so that the oldest are those of requests that left.
            for key in layout.keys:
                if key in host:
                    host.move_to_end(key)
                    continue
                if len(host) >= self._capacity:
                    host.popitem(last=False)
                    self.cpu_evictions += 1
                host[key] = None
                self.offloaded += 1
        self._batch_shrank = False

    def _name_decoded(self, leg: RunningRequest, layout: _Layout, stored: int) -> None:
        """Give keys to the blocks that decode tokens have filled since the last time."""
        size = self.block_size
        if size == 1 or leg.computed < leg.input_tokens:
            return  # a block that a decode token opens and fills at once never gets a key
        while len(layout.keys) + layout.holes < stored // size:
            parent, pieces, room = layout.keys[-1] if layout.keys else 0, [], size
            token = layout.next_token
            if 0 < layout.fill < size:
                parent = layout.blocks[-2].key if len(layout.blocks) > 1 else 0
                pieces, room = layout.tail, size - layout.fill
            key = self._keys.key(parent, [*pieces, *self._pieces(leg, token, token + room)])
            if pieces:
                layout.fill = size
                layout.blocks[-1].key = key
                self._found[key] = layout.blocks[-1]
            elif leg.request.output_stream is not None:
                self._found[key] = block = Block(key)
                layout.blocks.append(block)
            layout.keys.append(key)
            layout.next_token = token + room

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Give keys to the blocks that output has filled, `tokens` being stored."""
        self._name_decoded(leg, self._layouts[leg], tokens)

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Whether one offload pass after some decode steps of an unchanged batch does what one after each would do.

        Parameters
        ----------
        full_blocks : int
            Full blocks of the whole batch after these steps.
        new_full_blocks : int
            Those of them that the steps fill.
        """
        # Without an eviction the order in between does not matter: the last pass touches all blocks of the batch.
        if len(self._host) + new_full_blocks <= self._capacity:
            return True
        # If the host has room for the whole batch, and was refreshed since a request left, evictions hit only blocks of
        # others, in an order that the passes in between do not change.
        return not self._batch_shrank and full_blocks <= self._capacity

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Give back all blocks, the deepest first."""
        self._batch_shrank = True
        layout = self._layouts.pop(leg)
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
        # Last: a waiting process that gets blocks takes them off the free list at once.
        self.pool.put_back(freed)

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Release a leg; its blocks have their keys already."""
        self.release(leg, tokens, hashed)

    @property
    def hit_rate(self) -> float:
        """Cached blocks claimed, over blocks allocated and allocations that failed without a reload."""
        total = self.hits + self.misses + self.cpu_misses
        return self.hits / total if total else 0.0

    @property
    def thrashing_rate(self) -> float:
        """Evictions from the host tier per block stored there."""
        return self.cpu_evictions / self.offloaded if self.offloaded else 0.0
