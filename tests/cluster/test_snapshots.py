"""The table of snapshots."""

from __future__ import annotations

import pytest

from blis_simpy.cluster.snapshots import SnapshotTable
from blis_simpy.core.environment import FOREVER, Environment
from blis_simpy.replica.observation import Observation


class Replica:
    """As much of a replica as a snapshot needs."""

    def __init__(self, index, model="Any/Model"):
        self.index, self.model, self.depth = index, model, 0
        self.kv_blocks = self
        self.capacity = 10
        self.load = lambda: self.depth
        self.block_usage = lambda: 4
        self.blocks_unchanged_until = lambda: FOREVER

    @property
    def queue_depth(self):
        return self.depth

    def observe(self):
        return Observation(at=0, queue_depth=self.depth, batch_size=0, used_blocks=4, total_blocks=10, hit_rate=0.0)


@pytest.fixture
def table():
    return filled(0)


def filled(interval_us):
    table = SnapshotTable(Environment(), interval_us)
    for index, model in enumerate(("Any/Model", "other", "any/model")):
        table.add(Replica(index, model))
        table.set_routable(index, True)
    return table


def shown(table, model=""):
    return [snapshot.replica for snapshot in table.snapshots_for(0, model)]


def test_snapshots_are_grouped_by_model_whatever_its_case(table):
    assert (shown(table), shown(table, "ANY/model"), shown(table, "none")) == ([0, 1, 2], [0, 2], [])


def test_replica_that_is_not_routable_is_not_shown(table):
    table.set_routable(0, False)
    assert (shown(table), table.is_routable(0, ""), table.num_replicas) == ([1, 2], False, 3)
    table.set_routable(0, True)
    assert (shown(table), table.is_routable(0, "any/model"), table.is_routable(0, "other")) == ([0, 1, 2], True, False)


def test_new_replica_is_not_routable(table):
    table.add(Replica(3))
    assert shown(table) == [0, 1, 2]


def test_requests_in_flight_are_counted_by_the_table(table):
    table.sent(1)
    table.sent(1)
    table.finished(1)
    (_, snapshot, _) = table.snapshots_for(0, "")
    assert (table.in_flight(1), snapshot.in_flight, snapshot.effective_load) == (1, 1, 1)


def test_stale_snapshot_is_refreshed_when_it_is_as_old_as_the_interval():
    table = filled(100)
    replica = table._snapshots[0]._replica
    replica.depth = 5
    assert [table.snapshots_for(now, "")[0].queue_depth for now in (99, 100, 150)] == [0, 5, 5]
    replica.depth = 6
    assert [table.snapshots_for(now, "")[0].queue_depth for now in (199, 200)] == [5, 6]
