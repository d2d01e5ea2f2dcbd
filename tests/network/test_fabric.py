"""Links of replicas by nodes and racks."""

import math

import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError, SimulationError

GB = 10**9


def simulation(network=None, pools=(), **settings):
    """Four replicas on two GPUs each."""
    settings = {"replicas": 4, "tp": 2, **settings}
    scenario = blis.Scenario(
        model="qwen/qwen3-14b", hardware="H100", network=network, node_pools=list(pools), **settings
    )
    return blis.Simulation(scenario, requests=[])


def pool(nodes=2, gpus=4, **settings):
    return {"name": "p", "gpu_type": "H100", "gpus_per_node": gpus, "initial_nodes": nodes, **settings}


def time_ms(simulation, source, destination, num_bytes=GB):
    return simulation.network.time_alone(source, destination, num_bytes) / 1000


def test_without_settings_each_transfer_has_25_gb_per_second_of_its_own():
    run = simulation()
    flows = [run.network.send(0, 1, GB) for _ in range(3)]
    run.env.run()
    assert [flow.ended_at for flow in flows] == [40_000] * 3
    assert run.network.links == {}


def test_a_replica_has_a_network_interface_for_each_of_its_gpus():
    """2 interfaces of 10 GB/s: 1 GB takes 50 ms."""
    run = simulation({"nic_bandwidth": "10 GB/s", "nic_latency": "1ms"})
    assert time_ms(run, 0, 1) == 51
    assert list(run.network.links) == ["replica-0 nic out", "replica-1 nic in"]


def test_replicas_of_a_node_may_share_its_network_interface():
    """Replicas 0 and 1 are on node p-0, 2 and 3 on p-1: two flows of 1 GB share 10 GB/s."""
    run = simulation({"nic_bandwidth": "10 GB/s", "nic_per": "node"}, [pool()])
    flows = [run.network.send(source, source + 2, GB) for source in (0, 1)]
    run.env.run()
    assert [flow.ended_at for flow in flows] == [200_000, 200_000]
    assert list(run.network.links) == ["p-0 nic out", "p-1 nic in"]


def test_replicas_of_a_node_use_its_own_links():
    """2 GPUs of 100 GB/s each within the node, 2 interfaces of 10 GB/s to the other one."""
    network = {"nic_bandwidth": "10 GB/s", "intra_node_bandwidth": "100 GB/s", "intra_node_latency": 5}
    run = simulation(network, [pool()])
    assert (time_ms(run, 0, 1), time_ms(run, 0, 2)) == (5.005, 50)


def test_an_oversubscribed_spine_limits_transfers_between_racks():
    """Racks of one node: 4 interfaces of 10 GB/s, 10 GB/s to the spine; two flows between racks get 5 GB/s each."""
    network = {"nic_bandwidth": "10 GB/s", "nodes_per_rack": 1, "oversubscription": 4, "spine_latency": 7}
    run = simulation(network, [pool()])
    flows = [run.network.send(source, source + 2, GB) for source in (0, 1)]
    run.env.run()
    assert [flow.ended_at for flow in flows] == [200_007, 200_007]
    assert {name: link.bandwidth for name, link in run.network.links.items() if "spine" in name} == {
        "p rack 0 spine out": 10e9,
        "p rack 1 spine in": 10e9,
    }


def test_transfers_within_a_rack_do_not_use_the_spine():
    run = simulation({"nic_bandwidth": "10 GB/s", "nodes_per_rack": 2, "oversubscription": 100}, [pool()])
    assert time_ms(run, 0, 2) == 50


def test_a_pool_may_have_a_network_of_its_own():
    pools = [pool(nodes=1), {**pool(nodes=1), "name": "q", "network": {"nic_bandwidth": "5 GB/s"}}]
    run = simulation({"nic_bandwidth": "10 GB/s"}, pools)
    assert (time_ms(run, 0, 2), time_ms(run, 2, 0)) == (100, 100)
    assert time_ms(simulation({"nic_bandwidth": "10 GB/s"}, pools[:1], replicas=2), 0, 1) < 5


def test_flow_limit_and_infinite_bandwidth():
    run = simulation({"nic_bandwidth": math.inf, "flow_limit": "2 GB/s"})
    assert time_ms(run, 0, 1) == 500
    assert time_ms(simulation({"nic_bandwidth": "inf"}), 0, 1) == 0
    assert time_ms(run, 0, 0) == 0


def test_attached_endpoints_are_reached_over_the_interfaces_of_a_replica():
    run = simulation({"nic_bandwidth": "10 GB/s"})
    network = run.network
    network.attach("store", out=network.add_link("store read", 5e9, 3), into=network.add_link("store write", 2e9))
    assert (time_ms(run, "store", 0), time_ms(run, 0, "store")) == (200.003, 500)


def test_a_replica_without_gpus_has_no_path():
    run = simulation({}, [pool(nodes=1)])
    with pytest.raises(SimulationError, match="replica 2 has no GPUs now"):
        run.network.send(0, 2, 5)
    with pytest.raises(SimulationError, match="has no endpoint of this name, got 'replica-7'"):
        run.network.send(0, 7, 5)


def test_a_process_waits_for_its_transfer():
    run = simulation({"nic_bandwidth": "10 GB/s"})
    log = []

    def copy(env):
        flow = yield run.network.send(0, 1, 2 * GB, kind="copy")
        log.append((env.now, flow.kind))

    run.process(copy(run.env))
    run.run()
    assert log == [(100_000, "copy")]


def test_settings_that_need_others():
    with pytest.raises(ScenarioError, match=r"network\.nodes_per_rack needs node_pools"):
        simulation({"nodes_per_rack": 2})
    with pytest.raises(ScenarioError, match=r"node_pools\[0\]\.network needs the network of the scenario"):
        simulation(None, [pool(network={"nic_bandwidth": 5})])
    with pytest.raises(ScenarioError, match=r"network\.nic_bandwidth must be a bandwidth such as 25GB/s"):
        simulation({"nic_bandwidth": "25 GB"})
