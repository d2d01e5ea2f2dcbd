"""A KV tier: memory below that of the GPU, such as host memory, an NVMe drive or a shared store.

A tier holds *chunks* of consecutive KV blocks, by the key of the last block, which stands for all tokens up to there.
It knows nothing of transfers: a chunk is *arriving* until the transfer to the tier has ended, and it is *pinned* while
transfers read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from blis_simpy.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.replica.tier_eviction import EvictionPolicy

__all__ = ["KVTier", "TierTable"]


class KVTier:
    """Chunks of KV blocks in a memory.

    Parameters
    ----------
    name : str
        Name of the tier.
    endpoint : str
        Its endpoint in the network.
    capacity : int or None
        Most chunks; None = unlimited.
    eviction : EvictionPolicy
        Chooses the chunk to evict.
    chunk_bytes : int
        Size of a chunk.
    is_exclusive : bool
        Whether a chunk leaves the tier when it has been loaded.

    Attributes
    ----------
    num_chunks : int
        Number of chunks, including arriving ones.
    hits, written, evicted, rejected : int
        Number of chunks that were read, that began to arrive, that were evicted, and that found no room.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        capacity: int | None,
        eviction: EvictionPolicy,
        *,
        chunk_bytes: int,
        is_exclusive: bool,
    ) -> None:
        self.name = name
        self.chunk_bytes = chunk_bytes
        self.is_exclusive = is_exclusive
        self.endpoint = endpoint
        self.capacity = capacity
        self.hits = 0
        self.written = 0
        self.evicted = 0
        self.rejected = 0
        self._eviction = eviction
        self._present: set[int] = set()
        self._arriving: set[int] = set()
        # Number of readers of a pinned chunk; arriving chunks cannot be evicted either.
        self._pins: dict[int, int] = {}

    def __repr__(self) -> str:
        limit = "unlimited" if self.capacity is None else f"{self.capacity:,}"
        return f"<KVTier {self.endpoint}: {self.num_chunks:,} of {limit} chunks>"

    @property
    def num_chunks(self) -> int:
        """Number of chunks, including arriving ones."""
        return len(self._present) + len(self._arriving)

    @property
    def is_consistent(self) -> bool:
        """Whether no chunk is both present and arriving, and all that are read are present."""
        return not self._present & self._arriving and self._pins.keys() <= self._present

    def __contains__(self, key: int) -> bool:
        """Whether a chunk can be read."""
        return key in self._present

    def has(self, key: int) -> bool:
        """Whether a chunk can be read, or is arriving."""
        return key in self._present or key in self._arriving

    def expect(self, key: int) -> list[int] | None:
        """Make room for a new chunk, which is arriving from now on.

        Returns
        -------
        list of int or None
            Evicted chunks; None if there is no room, because all chunks are pinned or arriving.
        """
        evicted: list[int] = []
        if self.capacity is not None and self.num_chunks >= self.capacity:
            victim = self._eviction.victim(self._pins)
            if victim is None:
                self.rejected += 1
                return None
            self._drop(victim)
            self.evicted += 1
            evicted.append(victim)
        self.written += 1
        self._arriving.add(key)
        return evicted

    def arrived(self, key: int) -> None:
        """Let an arriving chunk be read; does nothing if the tier was cleared in the meantime."""
        if key in self._arriving:
            self._arriving.remove(key)
            self._present.add(key)
            self._eviction.add(key)

    def forget(self, key: int) -> None:
        """Give up an arriving chunk, whose transfer was cancelled."""
        self._arriving.discard(key)

    def pin(self, key: int) -> None:
        """Keep a chunk while it is read."""
        self.hits += 1
        self._pins[key] = self._pins.get(key, 0) + 1
        self._eviction.use(key)

    def unpin(self, key: int) -> None:
        """End a read."""
        left = self._pins[key] - 1
        if left:
            self._pins[key] = left
        else:
            del self._pins[key]

    def use(self, key: int) -> None:
        """Note that a chunk was asked for, found on the GPU or written again."""
        if key in self._present:
            self._eviction.use(key)

    def remove(self, key: int) -> None:
        """Remove a chunk that is not pinned; one that is stays."""
        if key in self._present and key not in self._pins:
            self._drop(key)

    def _drop(self, key: int) -> None:
        self._present.remove(key)
        self._eviction.remove(key)

    def clear(self) -> None:
        """Lose all chunks that are not pinned, and give up those that are arriving."""
        for key in self._present - self._pins.keys():
            self._drop(key)
        self._arriving.clear()


class TierTable(Table):
    """A row per KV tier.

    ``tier`` (name), ``endpoint`` (in the network), ``chunk_bytes``, ``capacity`` (chunks; missing if unlimited),
    ``chunks`` (at the end), and the numbers of chunks ``read``, ``written``, ``evicted``, and ``rejected`` because all
    others were in use.
    """

    _NEVER: ClassVar[frozenset[str]] = frozenset({"capacity"})

    @classmethod
    def of_tiers(cls, tiers: Sequence[KVTier]) -> TierTable:
        """Return the table of some tiers, in their order."""
        counts = {
            "chunk_bytes": [tier.chunk_bytes for tier in tiers],
            "capacity": [-1 if tier.capacity is None else tier.capacity for tier in tiers],
            "chunks": [tier.num_chunks for tier in tiers],
            "read": [tier.hits for tier in tiers],
            "written": [tier.written for tier in tiers],
            "evicted": [tier.evicted for tier in tiers],
            "rejected": [tier.rejected for tier in tiers],
        }
        return cls.of(
            {
                "tier": np.array([tier.name for tier in tiers], dtype=object),
                "endpoint": np.array([tier.endpoint for tier in tiers], dtype=object),
                **{name: np.array(column, dtype=np.int64) for name, column in counts.items()},
            }
        )
