"""Snapshots: states of the replicas as the policies of the router see them.

With a snapshot interval of 0, a snapshot shows the current state of its replica. Otherwise the replica is observed
again at a decision if the last observation is at least as old as the interval; before the first observation it counts
as empty. A value is computed when a policy reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.load_board import ARRAYS_FROM, LoadBoard
from blis_simpy.cluster.snapshot_values import SnapshotGroup
from blis_simpy.core.environment import FOREVER
from blis_simpy.replica.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.core.environment import Environment
    from blis_simpy.replica.replica import Replica

__all__ = ["FreshSnapshot", "SnapshotTable", "StaleSnapshot"]

# Before the name of a model: its replicas that compute prompts for others. No model name begins with it.
_PREFILL = "prefill\n"
_NOT_OBSERVED = Observation(at=0, queue_depth=0, batch_size=0, used_blocks=0, total_blocks=1, hit_rate=0.0)


class _Snapshot:
    """The part of a snapshot that is always current; read-only, because policies get it."""

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
        """Name of its model, lower case."""
        return self._model

    @property
    def in_flight(self) -> int:
        """Number of requests in flight on the replica."""
        return self._in_flight

    def __repr__(self) -> str:
        return f"<snapshot of {self._name}>"


class FreshSnapshot(_Snapshot):
    """Current state of a replica.

    Parameters
    ----------
    replica : Replica
        The replica.
    model : str
        Name of its model, lower case.
    """

    __slots__ = ("_load", "_total_blocks", "_used_blocks")

    def __init__(self, replica: Replica, model: str) -> None:
        super().__init__(replica, model)
        self._load = replica.load
        self._used_blocks = replica.block_usage
        self._total_blocks = int(replica.kv_blocks.capacity)

    def refresh(self, now: int) -> int:
        """Return the tick of the next refresh: now, because the snapshot is always fresh."""
        return now

    @property
    def queue_depth(self) -> int:
        """Number of requests in the wait queue."""
        return self._replica.queue_depth

    @property
    def batch_size(self) -> int:
        """Number of requests in the running batch."""
        return self._replica.batch_size

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use."""
        return self._used_blocks() / self._total_blocks

    @property
    def free_kv_blocks(self) -> int:
        """Number of KV blocks not in use."""
        return self._total_blocks - self._used_blocks()

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated KV blocks that came from the prefix cache."""
        return self._replica.hit_rate

    @property
    def effective_load(self) -> int:
        """Number of requests in queue, in batch and in flight."""
        return self._load() + self._in_flight


class StaleSnapshot(_Snapshot):
    """State of a replica at the last refresh, with current requests in flight.

    Parameters
    ----------
    replica : Replica
        The replica.
    model : str
        Name of its model, lower case.
    interval_us : int, µs
        Age from which a snapshot is refreshed.
    """

    __slots__ = ("_free_kv_blocks", "_interval_us", "_load", "_observed", "_observed_at")

    def __init__(self, replica: Replica, model: str, interval_us: int) -> None:
        super().__init__(replica, model)
        self._interval_us = interval_us
        self._observed_at = 0
        self._observed = _NOT_OBSERVED
        self._load = 0
        # As in the reference, a replica without an observation counts as empty, but has no free blocks.
        self._free_kv_blocks = 0

    def refresh(self, now: int) -> int:
        """Observe the replica if the last observation is too old; return the tick of the next refresh."""
        if now - self._observed_at < self._interval_us:
            return self._observed_at + self._interval_us
        self._observed_at = now
        self._observed = observed = self._replica.observe()
        self._load = observed.queue_depth + observed.batch_size
        self._free_kv_blocks = observed.free_blocks
        return now + self._interval_us

    @property
    def queue_depth(self) -> int:
        """Number of requests in the wait queue at the last refresh."""
        return self._observed.queue_depth

    @property
    def batch_size(self) -> int:
        """Number of requests in the running batch at the last refresh."""
        return self._observed.batch_size

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use at the last refresh."""
        return self._observed.kv_utilization

    @property
    def free_kv_blocks(self) -> int:
        """Number of KV blocks not in use at the last refresh."""
        return self._free_kv_blocks

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated KV blocks that came from the prefix cache, at the last refresh."""
        return self._observed.hit_rate

    @property
    def effective_load(self) -> int:
        """Number of requests in queue and batch at the last refresh, and in flight now."""
        return self._load + self._in_flight


class SnapshotTable:
    """Snapshots of all replicas, with requests in flight.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    interval_us : int, µs
        Age from which a snapshot is refreshed; 0 = always fresh.
    """

    def __init__(self, env: Environment, interval_us: int) -> None:
        self._board = LoadBoard(env)
        self._interval_us = interval_us
        self._snapshots: list[FreshSnapshot | StaleSnapshot] = []
        self._routable: set[int] = set()
        # Replicas that compute prompts only, and those that get KV blocks from others only.
        self._prefill_only: set[int] = set()
        self._decode_only: set[int] = set()
        # Snapshots of the routable replicas by model, with all of them under the empty name; None if they must be
        # grouped again. Tuples, because policies get them.
        self._by_model: dict[str, tuple[FreshSnapshot | StaleSnapshot, ...]] | None = None
        # By model: the tick of the first refresh of these snapshots.
        self._fresh_until: dict[str, int] = {}

    def add(self, replica: Replica, role: str = "both") -> None:
        """Add the replica of the next index, with its role; it is not routable at first."""
        if role == "prefill":
            self._prefill_only.add(replica.index)
        elif role == "decode":
            self._decode_only.add(replica.index)
        model = replica.model.lower()
        # Grouped at the next decision: to group at each added replica would cost the square of their number.
        self._by_model = None
        if self._interval_us:
            stale = StaleSnapshot(replica, model, self._interval_us)
            self._snapshots.append(stale)
            self._board.add(stale, lambda: FOREVER)
        else:
            fresh = FreshSnapshot(replica, model)
            self._snapshots.append(fresh)
            self._board.add(fresh, replica.blocks_unchanged_until)
            replica.changed = self._board.changed

    def set_routable(self, replica: int, routable: bool) -> None:
        """Set whether the policies see a replica."""
        if routable != (replica in self._routable):
            (self._routable.add if routable else self._routable.discard)(replica)
            self._by_model = None
            self._fresh_until = {}

    def _grouped(self) -> dict[str, tuple[FreshSnapshot | StaleSnapshot, ...]]:
        by_model: dict[str, list[FreshSnapshot | StaleSnapshot]] = {"": []}
        for snapshot in self._snapshots:
            if snapshot.replica in self._routable:
                if snapshot.replica not in self._prefill_only:
                    by_model[""].append(snapshot)
                    by_model.setdefault(snapshot.model, []).append(snapshot)
                if (self._prefill_only or self._decode_only) and snapshot.replica not in self._decode_only:
                    for name in ("", snapshot.model):
                        by_model.setdefault(_PREFILL + name, []).append(snapshot)
        if len(self._snapshots) < ARRAYS_FROM:
            return {model: tuple(snapshots) for model, snapshots in by_model.items()}
        board, count = self._board, len(self._snapshots)
        return {model: SnapshotGroup.of(snapshots, board, count) for model, snapshots in by_model.items()}

    def snapshots_for(self, now: int, model: str) -> Sequence[FreshSnapshot | StaleSnapshot]:
        """Return the snapshots of the routable replicas of a model, refreshed if due; an empty name means all.

        Those that compute prompts only are left out.
        """
        if self._by_model is None:
            self._by_model = self._grouped()
        model = model.lower()
        snapshots = self._by_model.get(model, ())
        if self._interval_us and snapshots and now >= self._fresh_until.get(model, now):
            self._fresh_until[model] = min([snapshot.refresh(now) for snapshot in snapshots])
            self._board.changed.update([snapshot.replica for snapshot in snapshots])
        return snapshots

    def prefill_snapshots_for(self, now: int, model: str) -> Sequence[FreshSnapshot | StaleSnapshot]:
        """Return the snapshots of the routable replicas of a model that compute prompts for others."""
        return self.snapshots_for(now, _PREFILL + model)

    def snapshot(self, replica: int) -> FreshSnapshot | StaleSnapshot:
        """Return the snapshot of a replica, as of its last refresh."""
        return self._snapshots[replica]

    @property
    def num_replicas(self) -> int:
        """Number of replicas, routable or not."""
        return len(self._snapshots)

    def is_routable(self, replica: int, model: str) -> bool:
        """Whether requests for a model may be sent to a replica that decodes."""
        if replica in self._prefill_only:
            return False
        return replica in self._routable and (not model or self._snapshots[replica].model == model.lower())

    def sent(self, replica: int) -> None:
        """Count a request sent to a replica as in flight."""
        self._snapshots[replica]._in_flight += 1
        self._board.changed.add(replica)

    def finished(self, replica: int) -> None:
        """Count a request of a replica as no longer in flight."""
        self._snapshots[replica]._in_flight -= 1
        self._board.changed.add(replica)

    def in_flight(self, replica: int) -> int:
        """Return the number of requests in flight on a replica."""
        return self._snapshots[replica].in_flight
