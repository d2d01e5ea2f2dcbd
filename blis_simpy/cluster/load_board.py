"""Loads of all replicas, kept for decisions that compare them.

Reading each snapshot for each request would make a decision as expensive as there are replicas. The board keeps the
values, and reads a snapshot again only if its replica has changed since: by an event of its own, by a request that was
sent to it or ended there, or by a planned step that takes KV blocks.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.core.environment import FOREVER, ReplicaEvent, event_priority, replica_actor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from blis_simpy.cluster.policies import Snapshot
    from blis_simpy.core.environment import Environment

__all__ = ["ARRAYS_FROM", "LoadBoard"]

ARRAYS_FROM = 40
"""Number of replicas from which the board is faster than reading each snapshot."""

_FIRST_STEP = event_priority(replica_actor(0), ReplicaEvent.STEP)


class LoadBoard:
    """Effective load and KV utilization of each replica.

    Parameters
    ----------
    env : Environment
        The simulation's environment.

    Attributes
    ----------
    changed : set of int
        Replicas whose queue, batch, KV blocks or requests in flight have changed. The replicas add themselves.
    num_reads : int
        Number of snapshots read so far.
    """

    def __init__(self, env: Environment) -> None:
        self.changed: set[int] = set()
        self.num_reads = 0
        self._env = env
        self._snapshots: list[Snapshot] = []
        self._unchanged_until: list[Callable[[], int]] = []
        self._loads = np.zeros(ARRAYS_FROM, np.int64)
        self._fractions = np.zeros(ARRAYS_FROM)
        # Replicas whose utilization may have changed, and when that of the others will: tick and replica.
        self._stale: set[int] = set()
        self._changes: list[tuple[int, int]] = []
        self._next_change: list[int] = []

    def add(self, snapshot: Snapshot, unchanged_until: Callable[[], int]) -> None:
        """Add a replica.

        Parameters
        ----------
        snapshot : Snapshot
            Its snapshot.
        unchanged_until : callable
            Returns the last tick for which the KV utilization of the snapshot holds, if no event changes the replica.
        """
        index = len(self._snapshots)
        self._snapshots.append(snapshot)
        self._unchanged_until.append(unchanged_until)
        self._next_change.append(FOREVER)
        self.changed.add(index)
        if index >= len(self._loads):
            # Twice as many, so that adding replicas one by one does not copy all of them each time.
            self._loads = np.concatenate((self._loads, np.zeros(index, np.int64)))
            self._fractions = np.concatenate((self._fractions, np.zeros(index)))

    def _read(self, replicas: Iterable[int]) -> None:
        for replica in replicas:
            self._loads[replica] = self._snapshots[replica].effective_load
            self.num_reads += 1

    def loads(self) -> NDArray[np.int64]:
        """Return the effective loads by index; must not be changed, and is valid until the next event."""
        changed = self.changed
        if changed:
            self._read(changed)
            self._stale |= changed
            changed.clear()
        return self._loads

    def fractions(self) -> NDArray[np.float64]:
        """Return the KV utilizations by index; must not be changed, and is valid until the next event."""
        env, changes, next_change = self._env, self._changes, self._next_change
        stale = self._stale
        if self.changed:
            self.loads()
        # Usually a decision precedes the steps of its tick.
        before = env.now + (env.tick_position >= _FIRST_STEP)
        while changes and changes[0][0] < before:
            tick, replica = heappop(changes)
            if next_change[replica] == tick:
                stale.add(replica)
        for replica in stale:
            self._fractions[replica] = self._snapshots[replica].kv_utilization
            self.num_reads += 1
            tick = self._unchanged_until[replica]()
            if tick != next_change[replica] or tick < before:
                next_change[replica] = tick
                if tick < FOREVER:
                    heappush(changes, (tick, replica))
        stale.clear()
        return self._fractions
