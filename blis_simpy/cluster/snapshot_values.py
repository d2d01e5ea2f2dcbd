"""Values of the snapshots of a decision, one by one or as arrays from the load board.

Policies and scorers read loads through these functions, so that a decision among many replicas costs one operation on
an array. numpy is imported where an array is made: the flags of the policies are known without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.cluster.load_board import LoadBoard
    from blis_simpy.cluster.policies import Snapshot

__all__ = ["Fractions", "Loads", "SnapshotGroup", "effective_loads", "kv_utilizations", "replica_values"]

Loads: TypeAlias = "list[int] | NDArray[np.int64]"
Fractions: TypeAlias = "list[float] | NDArray[np.float64]"

S = TypeVar("S", bound="Snapshot")


class SnapshotGroup(tuple[S, ...]):  # noqa: SLOT001 - a tuple subclass cannot have slots
    """Snapshots of the replicas of a model, with their values on the board.

    Attributes
    ----------
    replicas : list of int
        Index of each replica.
    """

    replicas: list[int]
    _board: LoadBoard
    _indices: NDArray[np.int64] | None

    @classmethod
    def of(cls, snapshots: Sequence[S], board: LoadBoard, num_replicas: int) -> SnapshotGroup[S]:
        """Group some of the snapshots of a board, in the order of their replicas."""
        import numpy as np

        group = cls(snapshots)
        group.replicas = [snapshot.replica for snapshot in snapshots]
        group._board = board
        group._indices = None if len(group) == num_replicas else np.array(group.replicas, np.int64)
        return group

    def effective_loads(self) -> NDArray[np.int64]:
        """Return the effective load of each snapshot."""
        loads = self._board.loads()
        return loads[: len(self)] if self._indices is None else loads[self._indices]

    def kv_utilizations(self) -> NDArray[np.float64]:
        """Return the KV utilization of each snapshot."""
        fractions = self._board.fractions()
        return fractions[: len(self)] if self._indices is None else fractions[self._indices]

    def values_of(self, by_replica: dict[int, int]) -> Loads:
        """Return a number for each snapshot; 0 where the mapping by replica has none."""
        if self._indices is not None:
            return [by_replica.get(replica, 0) for replica in self.replicas]
        import numpy as np

        values = np.zeros(len(self), np.int64)
        values[list(by_replica)] = list(by_replica.values())
        return values


def effective_loads(snapshots: Sequence[Snapshot]) -> Loads:
    """Return the effective load of each snapshot; must not be changed."""
    if isinstance(snapshots, SnapshotGroup):
        return snapshots.effective_loads()
    return [snapshot.effective_load for snapshot in snapshots]


def kv_utilizations(snapshots: Sequence[Snapshot]) -> Fractions:
    """Return the KV utilization of each snapshot; must not be changed."""
    if isinstance(snapshots, SnapshotGroup):
        return snapshots.kv_utilizations()
    return [snapshot.kv_utilization for snapshot in snapshots]


def replica_values(snapshots: Sequence[Snapshot], by_replica: dict[int, int]) -> Loads:
    """Return a number for each snapshot; 0 where the mapping by replica has none."""
    if isinstance(snapshots, SnapshotGroup):
        return snapshots.values_of(by_replica)
    return [by_replica.get(snapshot.replica, 0) for snapshot in snapshots]
