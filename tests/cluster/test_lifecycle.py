"""Lives of replicas: loading, warm-up, draining. A request of 16 + 3 tokens alone takes 1160 + 2 * 1005 = 3170 µs."""

from __future__ import annotations

import pytest
from small_clusters import at, outcomes, prepare, requests

import blis_simpy as blis
from blis_simpy.cluster.lifecycle import ReplicaState
from blis_simpy.cluster.settings import NodePool
from blis_simpy.errors import ScenarioError, SimulationError


def e2e(simulation):
    return [request.e2e for request in simulation.requests]


def noted(simulation, *ticks, replica=0):
    """A list that will hold the state of a replica at some ticks."""
    seen = []
    for tick in ticks:
        at(simulation, tick, lambda: seen.append(str(simulation.cluster.state(replica))))
    return seen


def test_waiting_for_the_queue_serves_everybody():
    simulation = prepare()
    at(simulation, 500, simulation.cluster.drain, 0, "wait")
    simulation.run()
    # Requests 0, 2, 4 one after the other on replica 0, the others on replica 1.
    assert e2e(simulation) == [3170, 3170, 3170 * 2 - 20, 3170 * 2 - 20, 3170 * 3 - 40, 3170 * 3 - 40]
    assert simulation.cluster.state(0) is ReplicaState.TERMINATED


def test_redirected_requests_queue_up_behind_the_others():
    """Requests 2 and 4 move to replica 1 at 500, behind 1, 3 and 5: they are its fourth and fifth."""
    simulation = prepare()
    at(simulation, 500, simulation.cluster.drain, 0, "redirect")
    result = simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 6
    assert [e2e(simulation)[moved] for moved in (2, 4)] == [12_670, 15_820]
    assert [request.replica for request in simulation.requests] == [0, 1, 1, 1, 1, 1]
    assert [replica["total_input_tokens"] for replica in result.replicas] == [16, 80]
    assert [replica["injected_requests"] for replica in result.replicas] == [1, 5]


def test_an_immediate_drain_drops_the_queue_and_says_so():
    simulation = prepare()
    at(simulation, 500, simulation.cluster.drain, 0, "immediate")
    result = simulation.run()
    assert outcomes(simulation) == ["COMPLETED", "COMPLETED", "DROPPED", "COMPLETED", "DROPPED", "COMPLETED"]
    assert result.summary["completed_requests"] == 4
    assert result.summary["dropped_unservable"] == result.anomalies["dropped_unservable"] == 2
    assert result.summary["injected_requests"] == 6
    assert simulation.cluster.in_flight(0) == 0


def test_the_policy_of_the_scenario_holds_where_none_is_named():
    simulation = prepare(lifecycle={"drain_policy": "immediate"})
    at(simulation, 500, simulation.cluster.drain, 0)
    assert simulation.run().summary["dropped_unservable"] == 2


@pytest.mark.parametrize(("policy", "completed", "dropped"), [("wait", 6, 0), ("redirect", 6, 0), ("immediate", 3, 3)])
def test_requests_on_their_way_to_the_queue_share_its_fate(policy, completed, dropped):
    """Each needs 600 µs to the queue, so nobody waits yet when replica 0 is drained at 500."""
    simulation = prepare(alpha=(600.0, 0.0, 0.0))
    at(simulation, 500, simulation.cluster.drain, 0, policy)
    summary = simulation.run().summary
    assert (summary["completed_requests"], summary["dropped_unservable"]) == (completed, dropped)
    assert [simulation.cluster.in_flight(replica) for replica in (0, 1)] == [0, 0]


def test_a_replica_is_terminated_when_its_last_step_is_over():
    """Request 0 completes when its last step starts at 2165; the step takes until 3170."""
    simulation = prepare(requests(2, gap=4000))
    at(simulation, 500, simulation.cluster.drain, 0, "wait")
    seen = noted(simulation, 501, 2166, 3170, 3171)
    simulation.run()
    assert seen == ["draining", "draining", "draining", "terminated"]


def test_an_idle_replica_is_terminated_at_once():
    simulation = prepare()
    simulation.cluster.drain(1)
    assert simulation.cluster.state(1) is ReplicaState.TERMINATED


def test_requests_are_rejected_while_nothing_is_routable():
    simulation = prepare(requests(3, gap=1000), lifecycle={"loading_delay": 1500})
    for replica in (0, 1):
        simulation.cluster.fail(replica)
    simulation.cluster.restore(0)
    result = simulation.run()
    assert outcomes(simulation) == ["REJECTED", "REJECTED", "COMPLETED"]
    assert result.anomalies["rejected_requests_routing"] == 2
    assert result.rejected == []


def test_replicas_of_the_start_are_loaded_and_later_ones_load():
    simulation = prepare(lifecycle={"loading_delay": 5})
    assert simulation.cluster.state(0) is ReplicaState.ACTIVE
    assert simulation.cluster.add_replica() == 2
    assert simulation.cluster.state(2) is ReplicaState.LOADING
    simulation.run()
    assert simulation.cluster.state(2) is ReplicaState.ACTIVE
    assert [request.replica for request in simulation.requests] == [0, 1, 2, 0, 1, 2]


def test_a_replica_that_failed_while_it_loaded_does_not_come_up_with_its_earlier_life():
    simulation = prepare(requests(1, gap=0), lifecycle={"loading_delay": 1000})
    cluster = simulation.cluster
    cluster.add_replica()
    at(simulation, 400, cluster.fail, 2)
    at(simulation, 500, cluster.restore, 2)
    seen = noted(simulation, 1001, 1501, replica=2)
    simulation.run()
    assert seen == ["loading", "active"]


def test_loading_delays_scatter_from_a_stream_of_their_own():
    def first_looks_at_life(seed):
        lifecycle = {"loading_delay": 10_000, "loading_delay_stddev": 2_000}
        pool = NodePool(name="p", gpu_type="H100")
        late = requests(1)
        late[0].arrived_at = 30_000
        simulation = prepare(late, node_pools=(pool,), lifecycle=lifecycle, seed=seed)
        alive = [noted(simulation, *range(0, 20_000, 100), replica=replica) for replica in (0, 1)]
        simulation.run()
        return [seen.count("loading") for seen in alive]

    first = first_looks_at_life(seed=1)
    assert first == first_looks_at_life(seed=1) != first_looks_at_life(seed=2)
    assert first[0] != first[1]
    assert all(20 < looks < 180 for looks in first)


def test_first_requests_of_a_replica_have_a_longer_ttft_in_the_aggregate_alone():
    """Two replicas, one request marked on each: 1160 becomes 2900."""
    lifecycle = {"warm_up_requests": 1, "warm_up_ttft_factor": 2.5}
    simulation = prepare(requests(4, gap=0, output=1), lifecycle=lifecycle)
    assert simulation.cluster.state(0) is ReplicaState.WARMING_UP
    result = simulation.run()
    assert simulation.cluster.state(0) is ReplicaState.ACTIVE
    assert [request.ttft for request in simulation.requests] == [1160, 1160, 2320, 2320]
    assert result.aggregate.ttft.values.tolist() == [2320, 2320, 2900, 2900]
    assert result.aggregate.e2e.total == 2 * 1160 + 2 * 2320
    assert [replica["ttft_mean_ms"] for replica in result.replicas] == [1.74, 1.74]


def test_warm_up_ends_with_completions_and_marks_by_routing():
    simulation = prepare(requests(4, gap=0), replicas=1, lifecycle={"warm_up_requests": 2})
    seen = noted(simulation, 3165, 3175, 6345)
    simulation.run()
    assert seen == ["warming-up", "warming-up", "active"]
    assert {request.id for request in simulation.cluster.slowed} == {"request_0", "request_1"}


def test_moves_that_make_no_sense_are_refused():
    simulation = prepare()
    cluster = simulation.cluster
    cluster.fail(0)
    for move, said in [
        (lambda: cluster.fail(0), "replica 0 is terminated and cannot become terminated"),
        (lambda: cluster.drain(0), "replica 0 is terminated and cannot become draining"),
        (lambda: cluster.restore(1), "replica 1 is active and cannot become scheduling"),
        (lambda: cluster.fail(7), "replica must be an index below 2, got 7"),
        (
            lambda: cluster.drain(1, "gently"),
            "policy is unknown, got 'gently'; known: wait, immediate, redirect, migrate",
        ),
    ]:
        with pytest.raises(SimulationError) as caught:
            move()
        assert str(caught.value) == said


WEIGHTS = {"weights_bandwidth": "1MB/s", "weights_size": "2kB"}
"""2,000 bytes at a byte a microsecond."""


def test_weights_are_transferred_before_the_loading_delay():
    """From 100 to 2,100; then the delay of 500."""
    simulation = prepare(lifecycle={**WEIGHTS, "loading_delay": 500})
    at(simulation, 100, simulation.cluster.add_replica)
    seen = noted(simulation, 101, 2099, 2599, 2601, replica=2)
    result = simulation.run()
    assert seen == ["loading", "loading", "loading", "active"]
    (row,) = result.transfers.rows()
    assert (row["source"], row["destination"], row["kind"]) == ("weights", "replica-2", "weights")
    assert (row["bytes"], row["started_at_us"], row["ended_at_us"]) == (2000, 100, 2100)


def test_replicas_that_load_at_once_share_the_store_and_their_interfaces():
    """Two from the store at 100: 4,000 us. On an interface of half the bandwidth, one alone takes 4,000 us as well."""
    simulation = prepare(lifecycle=WEIGHTS)
    for _ in range(2):
        at(simulation, 100, simulation.cluster.add_replica)
    assert simulation.run().transfers["ended_at_us"].tolist() == [4100, 4100]
    simulation = prepare(lifecycle=WEIGHTS, network={"nic_bandwidth": "0.5MB/s"})
    at(simulation, 100, simulation.cluster.add_replica)
    assert simulation.run().transfers["ended_at_us"].tolist() == [4100]


def test_replicas_on_nodes_get_their_weights_at_the_start():
    pools = [NodePool(name="pool", gpu_type="H100", initial_nodes=1, gpus_per_node=2)]
    simulation = prepare(requests(gap=1000), lifecycle={**WEIGHTS, "loading_delay": 500}, node_pools=pools)
    seen = noted(simulation, 4499, 4501)
    simulation.run()
    assert seen == ["loading", "active"]


def test_a_replica_that_is_terminated_does_not_get_the_rest_of_its_weights():
    simulation = prepare(lifecycle=WEIGHTS)
    at(simulation, 100, simulation.cluster.add_replica)
    at(simulation, 600, simulation.cluster.fail, 2)
    (row,) = simulation.run().transfers.rows()
    assert (row["state"], row["bytes_left"], row["ended_at_us"]) == ("cancelled", 1500, 600)


def test_weights_have_the_size_of_the_model():
    """Llama 3.1 8B: 8.030 billion parameters of 2 bytes."""
    settings = {"model": "meta-llama/llama-3.1-8b-instruct", "kv": blis.KVSettings(), "engine_version": None}
    simulation = prepare(requests(gap=1_000_000), lifecycle={"weights_bandwidth": "100GB/s"}, **settings)
    at(simulation, 100, simulation.cluster.add_replica)
    assert simulation.run().transfers["bytes"].tolist() == pytest.approx([16.060e9], abs=1e6)


def test_weights_of_an_unknown_size_must_be_given():
    simulation = prepare(lifecycle={"weights_bandwidth": "1GB/s"})
    at(simulation, 100, simulation.cluster.add_replica)
    with pytest.raises(ScenarioError, match="the architecture of any/model is not known"):
        simulation.run()
