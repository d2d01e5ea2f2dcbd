"""What the router knows of the replicas, and how old it is.

Without an interval every look is fresh. With one, a replica is read anew when somebody looks and the last reading is at
least that old; until the first such look the router believes it empty. Nothing is read that nobody looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.replica.replica import Replica

__all__ = ["FreshSnapshot", "SnapshotBook", "StaleSnapshot"]


class FreshSnapshot:
    """A replica as it is now.

    Parameters
    ----------
    replica : Replica
        Which one.
    model : str
        Name of the model that it serves, lower case.
    """

    __slots__ = ("_load", "_replica", "_total_blocks", "in_flight", "model", "name", "replica")

    def __init__(self, replica: Replica, model: str) -> None:
        self._replica = replica
        self._load = replica.load
        self._total_blocks = int(replica.kv_blocks.capacity)
        self.replica = replica.index
        self.name = f"instance_{replica.index}"
        self.model = model
        self.in_flight = 0

    def refresh(self, now: int) -> None:
        """Do nothing: it is fresh."""

    @property
    def queue_depth(self) -> int:
        """Requests in the wait queue."""
        return self._replica.queue_depth

    @property
    def batch_size(self) -> int:
        """Requests in the running batch."""
        return self._replica.batch_size

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use."""
        return self._replica.used_blocks / self._total_blocks

    @property
    def free_kv_blocks(self) -> int:
        """KV blocks not in use."""
        return self._total_blocks - self._replica.used_blocks

    @property
    def hit_rate(self) -> float:
        """Fraction of KV blocks that came from the prefix cache."""
        return self._replica.hit_rate

    @property
    def effective_load(self) -> int:
        """Queue, batch and requests in flight together."""
        return self._load() + self.in_flight


class StaleSnapshot:
    """A replica as it was at the last refresh, but for the requests in flight.

    Parameters
    ----------
    replica : Replica
        Which one.
    model : str
        Name of the model that it serves, lower case.
    interval_us : int, µs
        Age from which a look reads it anew.
    """

    __slots__ = (
        "_interval_us",
        "_read_at",
        "_replica",
        "batch_size",
        "free_kv_blocks",
        "hit_rate",
        "in_flight",
        "kv_utilization",
        "model",
        "name",
        "queue_depth",
        "replica",
    )

    def __init__(self, replica: Replica, model: str, interval_us: int) -> None:
        self._replica = replica
        self._interval_us = interval_us
        self._read_at = 0
        self.replica = replica.index
        self.name = f"instance_{replica.index}"
        self.model = model
        self.in_flight = 0
        self.queue_depth = 0
        self.batch_size = 0
        self.kv_utilization = 0.0
        self.free_kv_blocks = 0
        self.hit_rate = 0.0

    def refresh(self, now: int) -> None:
        """Read the replica if the last reading is too old."""
        if now - self._read_at < self._interval_us:
            return
        self._read_at = now
        seen = self._replica.observe()
        self.queue_depth = seen.queue_depth
        self.batch_size = seen.batch_size
        self.kv_utilization = seen.kv_utilization
        self.free_kv_blocks = seen.free_blocks
        self.hit_rate = seen.hit_rate

    @property
    def effective_load(self) -> int:
        """Queue, batch and requests in flight together."""
        return self.queue_depth + self.batch_size + self.in_flight


class SnapshotBook:
    """Snapshots of all replicas, and the ledger of requests in flight.

    Parameters
    ----------
    interval_us : int, µs
        Age from which a look reads a replica anew; 0 = always.
    """

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us
        self._snapshots: list[FreshSnapshot | StaleSnapshot] = []
        self._closed: set[int] = set()
        self._open: list[FreshSnapshot | StaleSnapshot] = []

    def add(self, replica: Replica, model: str) -> None:
        """Add a replica; its index must be the next."""
        snapshot = (
            StaleSnapshot(replica, model, self._interval_us) if self._interval_us else FreshSnapshot(replica, model)
        )
        self._snapshots.append(snapshot)
        self._sort_out()

    def set_routable(self, replica: int, routable: bool) -> None:
        """Show a replica to the policies, or hide it."""
        (self._closed.discard if routable else self._closed.add)(replica)
        self._sort_out()

    def _sort_out(self) -> None:
        self._open = [snapshot for snapshot in self._snapshots if snapshot.replica not in self._closed]

    def look(self, now: int, model: str) -> Sequence[FreshSnapshot | StaleSnapshot]:
        """Return the snapshots of the replicas that serve a model, refreshed where due; an empty name is any model."""
        snapshots = self._open
        if model:
            model = model.lower()
            snapshots = [snapshot for snapshot in snapshots if snapshot.model == model]
        if self._interval_us:
            for snapshot in snapshots:
                snapshot.refresh(now)
        return snapshots

    def sent(self, replica: int) -> None:
        """Count a request that went to a replica."""
        self._snapshots[replica].in_flight += 1

    def ended(self, replica: int, requests: int = 1) -> None:
        """Count requests that ended on a replica."""
        self._snapshots[replica].in_flight -= requests

    def in_flight(self, replica: int) -> int:
        """Count the requests that went to a replica and have not ended."""
        return self._snapshots[replica].in_flight
