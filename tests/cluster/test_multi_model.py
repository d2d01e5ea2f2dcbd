"""Several models, or several kinds of GPU, in one cluster."""

from __future__ import annotations

from small_clusters import at, outcomes, prepare, requests, scenario

import blis_simpy as blis
from blis_simpy.cluster.settings import NodePool, ReplicaGroup

SMALL = ReplicaGroup(replicas=2)
LARGE = ReplicaGroup(
    model="any/Large",
    tp=4,
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 0.0, 0.0)),
    kv=blis.KVSettings(blocks=7),
)


def tagged(*models):
    served = requests(len(models), gap=0, output=1)
    for request, model in zip(served, models, strict=True):
        request.model = model
    return served


def test_a_request_goes_to_its_model_and_one_without_to_any():
    simulation = prepare(tagged("any/large", "ANY/MODEL", "any/model", "any/large", "", "", ""), groups=[SMALL, LARGE])
    simulation.run()
    replicas = [request.replica for request in simulation.requests]
    assert replicas[0] == replicas[3] == 2
    assert {replicas[1], replicas[2]} <= {0, 1}
    assert replicas[4:] == [1, 2, 0]


def test_each_group_has_figures_of_its_own():
    simulation = prepare(tagged("any/model", "any/large"), groups=[SMALL, LARGE])
    result = simulation.run()
    assert [int(replica.kv_blocks.capacity) for replica in simulation.replicas] == [100, 100, 7]
    assert [request.ttft for request in simulation.requests] == [1160, 5000]
    assert [deployment.tp for deployment in simulation.deployments] == [1, 4]
    assert {name: group.ttft.total for name, group in result.evaluation.models.items()} == {
        "any/large": 5000,
        "any/model": 1160,
    }


def test_a_model_that_nobody_serves_is_rejected_at_routing():
    simulation = prepare(tagged("any/other", "any/large"), groups=[SMALL, LARGE])
    assert simulation.run().anomalies["rejected_requests_routing"] == 1
    assert outcomes(simulation) == ["REJECTED", "COMPLETED"]


def test_a_model_whose_only_replica_is_down_is_rejected_while_others_are_served():
    simulation = prepare(tagged("any/model", "any/large"), groups=[SMALL, LARGE])
    at(simulation, 0, simulation.cluster.fail, 2)
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED", "REJECTED"]


def test_a_replica_is_added_to_a_group():
    simulation = prepare(tagged("any/large", "any/large"), groups=[SMALL, LARGE])
    assert simulation.cluster.add_replica(group=1) == 3
    simulation.run()
    assert [request.replica for request in simulation.requests] == [2, 3]


def test_groups_are_placed_on_the_gpus_they_name():
    pools = [NodePool(name="p", gpu_type="H100", gpus_per_node=8), NodePool(name="q", gpu_type="A100", gpus_per_node=8)]
    old = ReplicaGroup(hardware="A100", tp=2)
    simulation = prepare(groups=[SMALL, LARGE, old], node_pools=pools)
    assert [node.holders for node in simulation.cluster.placement.nodes] == [
        [0, 1, 2, 2, 2, 2, None, None],
        [3, 3, None, None, None, None, None, None],
    ]


def test_models_of_the_catalog_are_resolved_group_by_group():
    mixed = blis.Scenario(
        model="qwen/qwen3-14b",
        hardware="H100",
        tp=1,
        latency=blis.LatencySettings(backend="roofline"),
        groups=[{"replicas": 2}, {"hardware": "A100-80"}, {"model": "meta-llama/llama-3.1-8b-instruct"}],
    )
    first, second, third = [group.resolve() for group in mixed.by_group()]
    assert (first.gpu.name, second.gpu.name) == ("H100", "A100-80")
    assert first.model == second.model != third.model
    assert len({first.num_blocks, second.num_blocks, third.num_blocks}) >= 2


def test_a_scenario_file_may_have_groups(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "model: any/model\n"
        "groups:\n"
        "  - {replicas: 2}\n"
        "  - model: any/large\n"
        "    model_config: there\n"
        "    kv: {blocks: 7}\n"
        "lifecycle: {loading_delay: 30s, drain_policy: redirect}\n"
    )
    read = blis.load_scenario(tmp_path / "x.yaml")
    assert read.groups == (
        ReplicaGroup(replicas=2),
        ReplicaGroup(model="any/large", model_config=str(tmp_path / "there"), kv=blis.KVSettings(blocks=7)),
    )
    assert read.lifecycle.loading_delay == 30 * blis.SECOND


def test_a_group_with_its_own_model_has_no_architecture_of_another():
    mixed = scenario(groups=[SMALL, LARGE], model_config="here")
    assert [group.model_config for group in mixed.by_group()] == ["here", None]
