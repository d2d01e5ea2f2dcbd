"""Fixtures: runs that can be checked by hand."""

import attrs
import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request


@pytest.fixture
def three(serve):
    """Three requests on one replica.

    A step takes 100 µs, and 1 more a prompt token and 10 a decode token: request_0 computes its prompt from 0 to 110;
    with it request_1 its own until 240; both decode until 360; request_2 computes its prompt from 2000 to 2105.
    """
    return serve((10, 3, 0), (20, 2, 50, {"slo_class": "batch"}), (5, 1, 2000)).result


@pytest.fixture
def preempted(serve):
    """Two requests of which the second one loses its place nine times, first at 2052, and starts over at 4710."""
    return serve((16, 40, 0), (16, 40, 0), blocks=4, block_size=16).result


@pytest.fixture
def cluster():
    """Four requests of two tenants, by turns to two replicas."""
    scenario = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        replicas=2,
        router="round-robin",
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(100.0, 1.0, 10.0)),
        kv=blis.KVSettings(blocks=100),
    )
    tenants = ("a", "<b>", "a", "a")
    requests = [
        Request(f"request_{i}", arrived_at=1000 * i, input_tokens=10, output_tokens=3, tenant=tenant)
        for i, tenant in enumerate(tenants)
    ]
    return blis.Simulation(scenario, requests=requests).run()


@pytest.fixture
def nothing(serve):
    """A run without requests."""
    return serve().result


@pytest.fixture
def alike(serve):
    """Requests that all have the same latencies."""
    return serve(*((10, 3, 1000 * i) for i in range(5))).result


@pytest.fixture
def unserved(prepare):
    """Requests that are all refused."""
    simulation = prepare((10, 3, 0), (10, 3, 500))
    scenario = attrs.evolve(simulation.scenario, admission="reject-all")
    requests = [Request(f"request_{i}", arrived_at=500 * i, input_tokens=10, output_tokens=3) for i in range(2)]
    return blis.Simulation(scenario, requests=requests).run()
