"""Decisions as the log keeps them, with replicas made up on the spot."""

import attrs
import pytest

from blis_simpy.cluster.decision_log import DecisionLog
from blis_simpy.core.request import Phase, Request, Route


@attrs.define
class Replica:
    """A snapshot that a test can change, as the simulation does behind a live view."""

    replica: int
    queue_depth: int = 0
    batch_size: int = 0
    in_flight: int = 0
    kv_utilization: float = 0.0
    free_kv_blocks: int = 100
    hit_rate: float = 0.0
    model: str = "any/model"

    @property
    def name(self):
        return f"instance_{self.replica}"

    @property
    def effective_load(self):
        return self.queue_depth + self.batch_size + self.in_flight


def request(index=0):
    return Request(f"request_{index}", 0, 64, 3)


def route(chosen, snapshots, *, at=0, index=0, reason="", scores=None):
    return Route(request(index), at, ((chosen, Phase.BOTH),), reason, scores, snapshots)


def admit(log, index, at):
    admitted = request(index)
    admitted.admitted_at = at
    log.admitted(admitted, "")


def reject(log, index, at, reason):
    rejected = request(index)
    rejected.rejected_at = at
    log.rejected(rejected, reason)


def routed(chosen, *loads, k=5, scores=None):
    """Record of one decision between replicas of these loads."""
    log = DecisionLog(k)
    snapshots = [Replica(index, in_flight=load) for index, load in enumerate(loads)]
    log.routed(route(chosen, snapshots, at=7, reason="because", scores=scores))
    return log.routings[0]


def test_admission_is_recorded_with_its_reason():
    log = DecisionLog()
    reject(log, 3, 250, "insufficient tokens")
    assert attrs.astuple(log.admissions[0]) == ("request_3", 250, False, "insufficient tokens")


def test_routing_is_recorded_with_its_reason():
    record = routed(1, 0, 0)
    assert (record.request, record.at, record.replica, record.name, record.reason) == (
        "request_0",
        7,
        1,
        "instance_1",
        "because",
    )


def test_scores_are_kept_by_name():
    assert routed(1, 0, 0, k=0, scores=[0.25, 0.5]).scores == {"instance_0": 0.25, "instance_1": 0.5}


def test_policy_without_scores_leaves_none():
    assert routed(1, 0, 0).scores is None


def test_without_counterfactual_there_are_neither_candidates_nor_regret():
    record = routed(0, 9, 0, k=0)
    assert (record.candidates, record.regret) == ((), 0.0)


@pytest.mark.parametrize(
    ("loads", "regret"), [((0, 0), 0.0), ((1, 0), 1.0), ((2, 0), 2.0), ((4, 0), 4.0), ((0, 3), 0.0)]
)
def test_regret_without_scores_is_the_load_that_the_best_replica_would_have_saved(loads, regret):
    assert routed(0, *loads).regret == regret


def test_regret_counts_the_best_of_all_replicas_whatever_is_kept():
    record = routed(0, 6, 2, 1, k=1)
    assert ([c.name for c in record.candidates], record.regret) == (["instance_2"], 5.0)


def test_regret_with_scores_is_measured_in_scores():
    assert routed(0, 0, 9, scores=[0.25, 0.75]).regret == 0.5


def test_effective_load_counts_queue_batch_and_in_flight():
    log = DecisionLog(1)
    log.routed(route(0, [Replica(0, queue_depth=2, batch_size=3, in_flight=5), Replica(1)]))
    assert log.routings[0].regret == 10.0


def test_candidates_of_one_score_are_sorted_by_name_as_text():
    names = [candidate.name for candidate in routed(0, *[0] * 11, k=4).candidates]
    assert names == ["instance_0", "instance_1", "instance_10", "instance_2"]


def test_there_are_no_more_candidates_than_replicas():
    assert len(routed(0, 1, 2, k=10).candidates) == 2


def test_records_do_not_follow_the_live_views():
    log = DecisionLog(1)
    snapshot = Replica(0, queue_depth=1, batch_size=2, in_flight=3, kv_utilization=0.5, free_kv_blocks=50)
    scores = [0.5]
    log.routed(route(0, [snapshot], scores=scores))
    snapshot.queue_depth = snapshot.batch_size = snapshot.in_flight = snapshot.free_kv_blocks = 99
    snapshot.kv_utilization = scores[0] = 0.9
    assert log.routings[0].scores == {"instance_0": 0.5}
    assert attrs.astuple(log.routings[0].candidates[0]) == ("instance_0", 0.5, 1, 2, 3, 0.5, 50)


def five_decisions():
    """Busiest of two replicas: regrets 0, 1, 2, 4, 2; a sixth request is refused."""
    log = DecisionLog(5)
    for index, load in enumerate((0, 1, 2, 4, 2)):
        admit(log, index, index)
        log.routed(route(0, [Replica(0, in_flight=load), Replica(1)], at=index, index=index))
    reject(log, 5, 5, "reject-all")
    return log


def test_summary_counts_decisions_and_averages_regret():
    """(0 + 1 + 2 + 4 + 2) / 5 = 1.8, as the reference prints for this load."""
    assert five_decisions().summary() == {
        "total_decisions": 6,
        "admitted": 5,
        "rejected": 1,
        "unique_targets": 1,
        "target_distribution": {"instance_0": 5},
        "mean_regret": 1.8,
        "max_regret": 4.0,
    }


def test_summary_of_an_empty_log_is_all_zero():
    assert DecisionLog().summary() == {
        "total_decisions": 0,
        "admitted": 0,
        "rejected": 0,
        "unique_targets": 0,
        "target_distribution": {},
        "mean_regret": 0.0,
        "max_regret": 0.0,
    }


def test_targets_of_the_summary_are_sorted_as_text():
    log = DecisionLog()
    snapshots = [Replica(index) for index in range(11)]
    for chosen in (2, 10, 2, 0):
        log.routed(route(chosen, snapshots))
    assert list(log.summary()["target_distribution"].items()) == [
        ("instance_0", 1),
        ("instance_10", 1),
        ("instance_2", 2),
    ]


def test_columns_hold_one_row_a_record_and_one_a_candidate():
    columns = five_decisions().to_columns()
    assert columns["admissions"]["admitted"].tolist() == [True] * 5 + [False]
    assert columns["routings"]["regret"].tolist() == [0, 1, 2, 4, 2]
    assert columns["candidates"]["routing"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert columns["candidates"]["rank"].tolist() == [0, 1] * 5
    assert columns["candidates"]["name"].tolist() == ["instance_0", "instance_1"] + ["instance_1", "instance_0"] * 4
    assert columns["candidates"]["score"].tolist() == [0, 0, 0, -1, 0, -2, 0, -4, 0, -2]


def test_columns_are_tables():
    frame = five_decisions().to_columns()["routings"].to_pandas()
    assert frame["regret"].tolist() == [0, 1, 2, 4, 2]
    assert DecisionLog().to_columns()["routings"].num_rows == 0


def test_columns_of_an_empty_log_have_types_and_no_rows():
    columns = DecisionLog().to_columns()
    assert {name: set(table) for name, table in columns.items()} == {
        "admissions": {"request", "at", "admitted", "reason"},
        "routings": {"request", "at", "replica", "reason", "regret"},
        "candidates": {
            "routing",
            "rank",
            "name",
            "score",
            "queue_depth",
            "batch_size",
            "in_flight",
            "kv_utilization",
            "free_kv_blocks",
        },
    }
    assert columns["routings"]["at"].dtype == "int64"
    assert columns["routings"]["regret"].dtype == "float64"
