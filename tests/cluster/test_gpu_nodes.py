"""Which replica gets which GPUs, and which wait."""

from __future__ import annotations

import pytest
from small_clusters import at, outcomes, prepare, requests, scenario

import blis_simpy as blis
from blis_simpy.cluster.gpu_nodes import OTHER_PROCESS, GpuNodes, NodeState
from blis_simpy.cluster.lifecycle import ReplicaState
from blis_simpy.cluster.settings import NodePool, ReplicaGroup
from blis_simpy.core.environment import Environment
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError, SimulationError


def placement(*pools, env=None):
    return GpuNodes(env or Environment(), pools, RandomStreams(42))


def place(nodes, *gpus):
    """Requests of replicas 0, 1, ... for so many GPUs."""
    return [nodes.gpus.get(number, "A100", replica) for replica, number in enumerate(gpus)]


def granted(requests):
    return [request.triggered for request in requests]


def pool(name="a", gpus=4, **settings):
    return NodePool(name=name, gpu_type=settings.pop("gpu_type", "A100"), gpus_per_node=gpus, **settings)


def test_the_first_node_with_room_and_its_first_gpus():
    nodes = placement(pool("small", gpus=2), pool("h", gpu_type="H100"), pool("big", gpus=4, initial_nodes=2))
    assert all(granted(place(nodes, 1, 2, 1, 2, 4 - 2)))
    assert {node.name: node.holders for node in nodes.nodes} == {
        "small-0": [0, 2],
        "h-0": [None] * 4,
        "big-0": [1, 1, 3, 3],
        "big-1": [4, 4, None, None],
    }
    assert nodes.nodes[2].gpus_of(3) == ["big-0-gpu-2", "big-0-gpu-3"]
    assert nodes.gpus.level == 4 + 2


def test_a_replica_never_spans_nodes():
    nodes = placement(pool(gpus=2, initial_nodes=2))
    assert granted(place(nodes, 4)) == [False]
    assert nodes.waiting == [0]


def test_waiting_replicas_are_tried_in_the_order_of_the_reference():
    """4 GPUs, needs 4, 1, 2, 4: the last takes the place of one that was placed."""
    nodes = placement(pool(initial_nodes=0))
    requests = place(nodes, 4, 1, 2, 4)
    assert granted(requests) == [False] * 4
    nodes.provision("a")
    assert (granted(requests), nodes.waiting) == ([True, False, False, False], [3, 1, 2])
    nodes.gpus.put_back(requests[0])
    assert (granted(requests), nodes.waiting) == ([True, False, False, True], [2, 1])
    nodes.gpus.put_back(requests[3])
    assert (granted(requests), nodes.waiting) == ([True] * 4, [])
    assert nodes.nodes[0].holders == [2, 2, 1, None]


def test_a_waiting_request_can_be_cancelled():
    nodes = placement(pool(initial_nodes=0))
    (request,) = place(nodes, 1)
    nodes.gpus.put_back(request)
    nodes.provision("a")
    assert (request.triggered, nodes.waiting) == (False, [])


def test_a_process_waits_for_a_node_to_be_provisioned():
    env = Environment()
    nodes = placement(pool(initial_nodes=0, provisioning_delay="2ms"), env=env)
    log = []

    def hold():
        request = nodes.gpus.get(1, "A100")
        node = yield request
        log.append((env.now, node.name, node.holders[:]))
        yield nodes.gpus.put(request)

    env.process(hold())
    env.run(until=1)
    node = nodes.provision("a")
    env.run(until=2001)
    assert (node.state, log) == (NodeState.PROVISIONING, [])
    env.run(until=2002)
    assert (node.state, log) == (NodeState.READY, [(2001, "a-0", [OTHER_PROCESS, None, None, None])])
    assert nodes.gpus.level == 4


def test_a_drained_node_goes_with_its_last_replica():
    nodes = placement(pool(initial_nodes=2))
    (request,) = place(nodes, 2)
    first, second = nodes.nodes
    nodes.drain(first)
    nodes.drain(second)
    assert (first.state, second.state) == (NodeState.DRAINING, NodeState.TERMINATED)
    assert granted(place(nodes, 1)) == [False]
    nodes.gpus.put_back(request)
    assert (first.state, nodes.waiting) == (NodeState.TERMINATED, [0])


def test_a_node_that_is_drained_while_it_is_provisioned_never_becomes_ready():
    env = Environment()
    nodes = placement(pool(initial_nodes=0, provisioning_delay=5), env=env)
    node = nodes.provision("a")
    nodes.drain(node)
    env.run(until=10)
    assert node.state is NodeState.TERMINATED


def test_pools_keep_their_limits():
    nodes = placement(pool(min_nodes=1, max_nodes=2))
    nodes.provision("a")
    for move, said in [
        (lambda: nodes.provision("a"), "pool a must not have more than 2 nodes"),
        (lambda: nodes.provision("b"), "pool is unknown, got 'b'; known: a"),
        (lambda: [nodes.drain(node) for node in nodes.nodes], "pool a must keep 1 nodes"),
        (lambda: nodes.drain(nodes.nodes[0]), "node a-0 must be ready or provisioning to be drained, got 'terminated'"),
    ]:
        with pytest.raises(SimulationError) as caught:
            move()
        assert str(caught.value) == said


def test_the_case_of_the_gpu_of_a_pool_does_not_matter():
    simulation = prepare(requests(2), tp=2, node_pools=(NodePool(name="p", gpu_type="h100", gpus_per_node=4),))
    assert [simulation.cluster.state(replica) for replica in (0, 1)] == [ReplicaState.ACTIVE] * 2


def test_replicas_without_gpus_wait_and_come_up_when_a_node_does():
    """One node of 2 GPUs for two replicas of 2; the second node takes 1 ms, loading another."""
    pools = (NodePool(name="p", gpu_type="H100", gpus_per_node=2, provisioning_delay=1000),)
    served = requests(4, gap=1500)
    simulation = prepare(served, tp=2, node_pools=pools, lifecycle={"loading_delay": 1000})
    cluster = simulation.cluster
    assert [cluster.state(0), cluster.state(1)] == [ReplicaState.LOADING, ReplicaState.SCHEDULING]
    at(simulation, 1600, cluster.placement.provision, "p")
    simulation.run()
    # Rejected at 0, replica 0 alone at 1500 and 3000, both at 4500 (the second decision of round-robin was 1).
    assert outcomes(simulation) == ["REJECTED", "COMPLETED", "COMPLETED", "COMPLETED"]
    assert cluster.state(1) is ReplicaState.ACTIVE
    assert cluster.placement.nodes[1].holders == [1, 1]


def test_a_failed_replica_leaves_its_gpus_to_one_that_waits():
    simulation = prepare(tp=2, node_pools=(NodePool(name="p", gpu_type="H100", gpus_per_node=2),))
    at(simulation, 500, simulation.cluster.fail, 0)
    at(simulation, 600, simulation.cluster.restore, 0)
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 6
    assert [request.replica for request in simulation.requests] == [1] * 6
    assert simulation.cluster.state(0) is ReplicaState.SCHEDULING
    assert simulation.cluster.placement.waiting == [0]


def test_gpus_of_another_process_are_not_available_to_replicas():
    """One node of 4 GPUs; a process has 2 of them from 100 to 900, so that a second replica waits until then."""
    simulation = prepare(replicas=1, tp=2, node_pools=(NodePool(name="p", gpu_type="H100", gpus_per_node=4),))
    cluster, gpus = simulation.cluster, simulation.cluster.placement.gpus
    seen = []

    def other_job():
        yield simulation.env.timeout(100)
        request = gpus.get(2, "H100")
        yield request
        cluster.add_replica()
        seen.append((simulation.env.now, str(cluster.state(1)), gpus.level))
        yield simulation.env.timeout(800)
        yield gpus.put(request)
        yield simulation.env.timeout(0)
        seen.append((simulation.env.now, str(cluster.state(1)), gpus.level))

    simulation.env.process(other_job())
    simulation.run()
    assert seen == [(100, "scheduling", 0), (900, "active", 0)]


def test_replica_that_is_terminated_while_it_waits_for_gpus_gets_none():
    simulation = prepare(replicas=2, tp=2, node_pools=(NodePool(name="p", gpu_type="H100", gpus_per_node=2),))
    cluster = simulation.cluster
    at(simulation, 500, cluster.fail, 1)
    at(simulation, 600, cluster.fail, 0)
    simulation.run()
    assert cluster.placement.nodes[0].is_empty
    assert [str(cluster.state(replica)) for replica in (0, 1)] == ["terminated"] * 2


def test_replica_that_is_terminated_when_it_has_just_been_granted_its_gpus_gives_them_back():
    """Within one process step: the grant of replica 1 is an event that has not happened yet."""
    simulation = prepare(replicas=2, tp=2, node_pools=(NodePool(name="p", gpu_type="H100", gpus_per_node=2),))
    cluster = simulation.cluster

    def both():
        yield simulation.env.timeout(500)
        cluster.fail(0)
        assert cluster.placement.nodes[0].holders == [1, 1]
        assert cluster.state(1) is ReplicaState.SCHEDULING
        cluster.fail(1)
        assert cluster.placement.nodes[0].is_empty
        cluster.restore(0)

    simulation.env.process(both())
    simulation.run()
    assert (cluster.state(0), cluster.state(1)) == (ReplicaState.ACTIVE, ReplicaState.TERMINATED)
    assert cluster.placement.nodes[0].holders == [0, 0]


def test_mistakes_in_a_scenario_file_are_named_by_line(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(
        "model: m\n"
        "node_pools:\n"
        "  - {name: a, gpu_type: H100, gpus_per_node: 0}\n"
        "  - name: b\n"
        "    gpu_typ: H100\n"
        "  - 3\n"
        "groups:\n"
        "  - {tp: 2}\n"
        "replicas: 1\n"
    )
    with pytest.raises(ScenarioError) as caught:
        blis.load_scenario(file)
    assert str(caught.value).replace(f"{file}: ", "").splitlines() == [
        "node_pools[0].gpus_per_node must be >= 1, got 0 (line 3)",
        "node_pools[1].gpu_type is required (line 4)",
        "node_pools[1].gpu_typ is not a setting (line 5); did you mean gpu_type?",
        "node_pools[2] must be a mapping of settings, got 3 (line 6)",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_nodes": 0}, "node_pools[0].max_nodes must be >= initial_nodes (1), got 0"),
        ({"min_nodes": 3, "max_nodes": 2}, "node_pools[0].max_nodes must be >= min_nodes (3), got 2"),
        ({"name": ""}, "node_pools[0].name must not be empty"),
        ({"provisioning_delay": -1}, "node_pools[0].provisioning_delay must be >= 0, got -1"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(settings, said):
    with pytest.raises(ScenarioError) as caught:
        scenario(node_pools=[{"name": "a", "gpu_type": "H100", **settings}])
    assert str(caught.value) == said


def test_pools_have_names_of_their_own():
    with pytest.raises(ScenarioError) as caught:
        scenario(node_pools=[pool(), pool()])
    assert str(caught.value) == "node_pools[1].name must be unique, got 'a'"


def test_groups_and_replicas_are_not_given_together():
    with pytest.raises(ScenarioError) as caught:
        scenario(groups=[ReplicaGroup()], replicas=2)
    assert str(caught.value) == "replicas must be left out where groups are given, got 2"
