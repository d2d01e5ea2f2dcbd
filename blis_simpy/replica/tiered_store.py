"""KV store with the prefix cache of vLLM, and with tiers below the memory of the GPU.

On the GPU it is a `BlockPool`. It tells the transfers which blocks the GPU gives up, and lets requests hold more blocks
than they have computed, because a load reserves blocks for all known tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blis_simpy.core.block_keys import NO_KEYS, BlockHasher, BlockKeys, block_key
from blis_simpy.replica.block_pool import BlockPool
from blis_simpy.replica.kv_block import NO_LINE, HeldBlocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_block import Segment
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.tier_transfers import TierTransfers

__all__ = ["TieredStore"]


class TieredStore(BlockPool):
    """Paged KV memory on the GPU with the prefix cache of vLLM, above other tiers.

    All full blocks have a key, those with content that no other request can share as well: they are written to the
    tiers, too, and take room there.

    Parameters
    ----------
    pool : KVBlocks
        The blocks, with the number of free ones.
    block_size : int
        Tokens per block.
    hasher : BlockHasher
        Computes keys, the same for all replicas that share tiers.
    transfers : TierTransfers
        Transfers to and from the tiers.
    writes_evicted : bool
        Whether blocks that the GPU gives up are written to the first tier.
    """

    def __init__(
        self, pool: KVBlocks, block_size: int, *, hasher: BlockHasher, transfers: TierTransfers, writes_evicted: bool
    ) -> None:
        super().__init__(pool, block_size)
        self._keys = hasher
        self._transfers = transfers
        self._writes_evicted = writes_evicted

    @property
    def blocks_without_content(self) -> int:
        """Number of free blocks that can be taken before one whose content must be written first."""
        if not self._writes_evicted:
            return self.pool.free
        blocks = self._blank
        for segment in self._free:
            if segment.line != NO_LINE:
                break
            blocks += segment.length
        return min(blocks, self.pool.free)

    def _keys_of(self, leg: RunningRequest) -> BlockKeys:
        return self._completed(super()._keys_of(leg), leg.input_tokens)

    def _completed(self, keys: BlockKeys, tokens: int) -> BlockKeys:
        """Return keys for all full blocks of some tokens, those of content without a name being unique."""
        missing = tokens // self.block_size - len(keys)
        return keys.followed_by(self._keys.fresh(missing)) if missing > 0 else keys

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Return the number of new blocks beyond those that are reserved."""
        return max(super().blocks_to_extend(leg, end), 0)

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Allocate blocks for the known tokens up to `end` that are not reserved."""
        if super().blocks_to_extend(leg, end) > 0:
            return super().extend(leg, end)
        if leg.keys:
            self._name_blocks(leg, end)
        return True

    def _evict(self, segment: Segment, blocks: int) -> None:
        was_found, line = segment.is_found, segment.line
        super()._evict(segment, blocks)
        if was_found and self._writes_evicted:
            positions = range(segment.end, segment.end + blocks)
            # A copy of the block may still be on the GPU.
            lost = [at for at in positions if not self._overlapping(line, at, at + 1)]
            self._transfers.evicted(block_key(line, at) for at in lost)

    def count_held(self, legs: Iterable[tuple[RunningRequest, int]]) -> int:
        """Count the different blocks of some legs, reserved ones included."""
        return super().count_held([(leg, max(tokens, leg.num_blocks * self.block_size)) for leg, tokens in legs])

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Put back all blocks, reserved ones as well, and let full ones be written."""
        full = hashed // self.block_size
        keys = cast("BlockKeys", leg.keys or NO_KEYS)
        if full > len(keys):
            leg.keys = self._completed(keys, hashed)
            if not leg.blocks:
                leg.blocks = HeldBlocks()
            self._name_blocks(leg, hashed)
        super().release(leg, max(tokens, leg.num_blocks * self.block_size), hashed)
        self._transfers.ended(leg, full)
