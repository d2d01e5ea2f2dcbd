"""State of a replica at one moment, as other processes see it."""

from __future__ import annotations

import attrs

__all__ = ["Observation"]


@attrs.frozen
class Observation:
    """State of a replica at a place in the total order of events.

    Attributes
    ----------
    at : int, tick
        When it was taken.
    queue_depth : int
        Requests in the wait queue.
    batch_size : int
        Requests in the running batch; taken slots are more if other processes hold some.
    used_blocks, total_blocks : int
        KV blocks in use, those of other processes included, and in all.
    hit_rate : float
        Fraction of KV blocks that came from the prefix cache, since the start.
    """

    at: int
    queue_depth: int
    batch_size: int
    used_blocks: int
    total_blocks: int
    hit_rate: float

    @property
    def free_blocks(self) -> int:
        """KV blocks that are not in use; they may hold cached content."""
        return self.total_blocks - self.used_blocks

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use."""
        return self.used_blocks / self.total_blocks
