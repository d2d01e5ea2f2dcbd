"""What the router knows of the replicas, and how old it is.

Without an interval every look is fresh. With one, a replica is read anew when somebody looks and the last reading is at
least that old; until the first such look the router believes it empty. Nothing is read that nobody looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.replica.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.replica.replica import Replica

__all__ = ["FreshSnapshot", "SnapshotTable", "StaleSnapshot"]

_NOTHING_SEEN = Observation(at=0, queue_depth=0, batch_size=0, used_blocks=0, total_blocks=1, hit_rate=0.0)


class _Snapshot:
    """What is always up to date. Policies hold it, so nothing of it can be set."""

    __slots__ = ("_in_flight", "_index", "_model", "_name", "_replica")

    def __init__(self, replica: Replica, model: str) -> None:
        self._replica = replica
        self._index = replica.index
        self._name = f"instance_{replica.index}"
        self._model = model
        self._in_flight = 0

    @property
    def replica(self) -> int:
        """Index of the replica."""
        return self._index

    @property
    def name(self) -> str:
        """``instance_<index>``."""
        return self._name

    @property
    def model(self) -> str:
        """Name of the model that it serves, lower case."""
        return self._model

    @property
    def in_flight(self) -> int:
        """Requests sent to it that have not ended."""
        return self._in_flight

    def __repr__(self) -> str:
        return f"<snapshot of {self._name}>"


class FreshSnapshot(_Snapshot):
    """A replica as it is now.

    Parameters
    ----------
    replica : Replica
        Which one.
    model : str
        Name of the model that it serves, lower case.
    """

    __slots__ = ("_load", "_total_blocks", "_used_blocks")

    def __init__(self, replica: Replica, model: str) -> None:
        super().__init__(replica, model)
        self._load = replica.load
        self._used_blocks = replica.block_usage
        self._total_blocks = int(replica.kv_blocks.capacity)

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
        return self._load() + self._in_flight


class StaleSnapshot(_Snapshot):
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

    __slots__ = ("_free_kv_blocks", "_interval_us", "_load", "_read_at", "_seen")

    def __init__(self, replica: Replica, model: str, interval_us: int) -> None:
        super().__init__(replica, model)
        self._interval_us = interval_us
        self._read_at = 0
        self._seen = _NOTHING_SEEN
        self._load = 0
        # Believed empty, and yet without free blocks: as in the reference.
        self._free_kv_blocks = 0

    def refresh(self, now: int) -> int:
        """Read the replica if the last reading is too old; return the tick from which it is."""
        if now - self._read_at < self._interval_us:
            return self._read_at + self._interval_us
        self._read_at = now
        self._seen = seen = self._replica.observe()
        self._load = seen.queue_depth + seen.batch_size
        self._free_kv_blocks = seen.free_blocks
        return now + self._interval_us

    @property
    def queue_depth(self) -> int:
        """Requests in the wait queue, then."""
        return self._seen.queue_depth

    @property
    def batch_size(self) -> int:
        """Requests in the running batch, then."""
        return self._seen.batch_size

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use, then."""
        return self._seen.kv_utilization

    @property
    def free_kv_blocks(self) -> int:
        """KV blocks not in use, then."""
        return self._free_kv_blocks

    @property
    def hit_rate(self) -> float:
        """Fraction of KV blocks that came from the prefix cache, then."""
        return self._seen.hit_rate

    @property
    def effective_load(self) -> int:
        """Queue and batch then, and requests in flight now."""
        return self._load + self._in_flight


class SnapshotTable:
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
        # By model, the empty name being all: the open ones, and the tick up to which none of them is too old. Policies
        # get these very tuples, which they cannot change.
        self._open: dict[str, tuple[FreshSnapshot | StaleSnapshot, ...]] = {"": ()}
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
        by_model: dict[str, list[FreshSnapshot | StaleSnapshot]] = {"": []}
        for snapshot in self._snapshots:
            if snapshot.replica not in self._closed:
                by_model[""].append(snapshot)
                by_model.setdefault(snapshot.model, []).append(snapshot)
        self._open = {model: tuple(snapshots) for model, snapshots in by_model.items()}
        self._fresh_until = {}

    def look(self, now: int, model: str) -> Sequence[FreshSnapshot | StaleSnapshot]:
        """Return the snapshots of the replicas that serve a model, refreshed where due; an empty name is any model."""
        model = model.lower()
        snapshots = self._open.get(model, ())
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
        self._snapshots[replica]._in_flight += 1

    def ended(self, replica: int, requests: int = 1) -> None:
        """Count requests that ended on a replica."""
        self._snapshots[replica]._in_flight -= requests

    def in_flight(self, replica: int) -> int:
        """Count the requests that went to a replica and have not ended."""
        return self._snapshots[replica].in_flight
