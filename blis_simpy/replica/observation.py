"""Observation of a replica by another process."""

from __future__ import annotations

import attrs

__all__ = ["Observation"]


@attrs.frozen
class Observation:
    """State of a replica at a tick position.

    Attributes
    ----------
    at : int, tick
        Time of the observation.
    queue_depth : int
        Number of requests in the wait queue.
    batch_size : int
        Number of requests in the running batch, without slots held by other processes.
    used_blocks : int
        Number of KV blocks in use, including those of other processes.
    total_blocks : int
        Number of all KV blocks.
    hit_rate : float
        Fraction of allocated KV blocks that came from the prefix cache, since the start.
    """

    at: int
    queue_depth: int
    batch_size: int
    used_blocks: int
    total_blocks: int
    hit_rate: float

    @property
    def free_blocks(self) -> int:
        """Number of KV blocks not in use; they may hold cached content."""
        return self.total_blocks - self.used_blocks

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use."""
        return self.used_blocks / self.total_blocks
