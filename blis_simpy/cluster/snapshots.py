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

    __slots__ = ("_load", "_replica", "_total_blocks", "_used_blocks", "in_flight", "model", "name", "replica")

    def __init__(self, replica: Replica, model: str) -> None:
        self._replica = replica
        self._load = replica.load
        self._used_blocks = replica.block_usage
        self._total_blocks = int(replica.kv_blocks.capacity)
        self.replica = replica.index
        self.name = f"instance_{replica.index}"
        self.model = model
        self.in_flight = 0

    def refresh(self, now: int) -> int:
        """Do nothing: it is fresh. Returns when to do so again: now."""
        return now

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
        return self._used_blocks() / self._total_blocks

    @property
    def free_kv_blocks(self) -> int:
        """KV blocks not in use."""
        return self._total_blocks - self._used_blocks()

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

    def refresh(self, now: int) -> int:
        """Read the replica if the last reading is too old; return the tick from which it is."""
        if now - self._read_at < self._interval_us:
            return self._read_at + self._interval_us
        self._read_at = now
        seen = self._replica.observe()
        self.queue_depth = seen.queue_depth
        self.batch_size = seen.batch_size
        self.kv_utilization = seen.kv_utilization
        self.free_kv_blocks = seen.free_blocks
        self.hit_rate = seen.hit_rate
        return now + self._interval_us

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
        # By model, the empty name being all: the open ones, and the tick up to which none of them is too old.
        self._open: dict[str, list[FreshSnapshot | StaleSnapshot]] = {"": []}
        self._fresh_until: dict[str, int] = {}

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
        self._open = {"": []}
        self._fresh_until = {}
        for snapshot in self._snapshots:
            if snapshot.replica not in self._closed:
                self._open[""].append(snapshot)
                self._open.setdefault(snapshot.model, []).append(snapshot)

    def look(self, now: int, model: str) -> Sequence[FreshSnapshot | StaleSnapshot]:
        """Return the snapshots of the replicas that serve a model, refreshed where due; an empty name is any model."""
        model = model.lower()
        snapshots = self._open.get(model, [])
        if self._interval_us and snapshots and now >= self._fresh_until.get(model, now):
            self._fresh_until[model] = min([snapshot.refresh(now) for snapshot in snapshots])
        return snapshots

    @property
    def num_replicas(self) -> int:
        """Number of replicas, shown or hidden."""
        return len(self._snapshots)

    def shows(self, replica: int, model: str) -> bool:
        """Whether a replica is among those that a look for a model finds."""
        if not 0 <= replica < len(self._snapshots) or replica in self._closed:
            return False
        return not model or self._snapshots[replica].model == model.lower()

    def sent(self, replica: int) -> None:
        """Count a request that went to a replica."""
        self._snapshots[replica].in_flight += 1

    def ended(self, replica: int, requests: int = 1) -> None:
        """Count requests that ended on a replica."""
        self._snapshots[replica].in_flight -= requests

    def in_flight(self, replica: int) -> int:
        """Count the requests that went to a replica and have not ended."""
        return self._snapshots[replica].in_flight
