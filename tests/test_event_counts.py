"""How many SimPy events and engine steps a load takes, exactly: what a simulation costs before any clock is read.

A change of these numbers needs a reason, and an entry in docs/speed.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules `loads` and `measure` of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import loads
    import measure

    return loads, measure


def counts(load, measure):
    found = measure.count(load.simulation())
    return found.requests, found.completed, found.events, found.steps


@pytest.mark.parametrize(
    ("name", "num_requests", "profile", "events", "steps"),
    [
        ("near-saturation", 1000, "blis", 2897, 3929),
        ("near-saturation", 1000, "vllm", 2881, 3931),
        ("decode-heavy", 200, "blis", 780, 4004),
        ("decode-heavy", 200, "vllm", 1062, 4005),
        ("sparse-decode", 50, "blis", 222, 27364),
        ("sparse-decode", 50, "vllm", 288, 27367),
    ],
)
def test_generated_loads(benchmarks, name, num_requests, profile, events, steps):
    """Steps need no event of their own where nothing else happens: 95 or more steps an event in the last load."""
    loads, measure = benchmarks
    load = loads.generated(name, num_requests, profile)
    assert counts(load, measure) == (num_requests, num_requests, events, steps)


@pytest.mark.parametrize(
    ("transfer", "bandwidth", "events", "steps"),
    [
        ("", "25GB/s", 6_545, 25_987),
        ("pull", "25GB/s", 14_070, 15_403),
        ("layered", "25GB/s", 18_049, 15_355),
        ("pull", "4GB/s", 14_675, 15_419),
        ("layered", "4GB/s", 14_836, 15_539),
    ],
)
def test_prefill_and_decode_on_eight_replicas_each(benchmarks, transfer, bandwidth, events, steps):
    """Seven events a request more than on 16 replicas for both phases, which take more steps.

    Three are those of the flow, one is the second entry into a wait queue, the others are turns of two replicas. Layers
    wait for the first one, and those that have arrived before the last one is computed have a flow of their own.
    """
    loads, measure = benchmarks
    changes = {"workload.num_requests": 1000, "workload.rate": 80, "slo": {}}
    if transfer:
        changes |= {"groups[0].replicas": 8, "groups[1].replicas": 8}
        changes |= {"disaggregation.transfer": transfer, "network.nic_bandwidth": bandwidth}
    else:
        changes |= {"groups": [], "replicas": 16, "network": "null", "disaggregation": {}}
    load = loads.changed("disaggregation", BENCHMARKS.parent / "scenarios" / "prefill-decode.yaml", changes)
    assert counts(load, measure) == (1000, 1000, events, steps)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("key", "requests", "profile", "events", "steps"),
    [
        ("a", 20_000, "blis", 56_831, 59_882),
        ("a", 20_000, "vllm", 56_858, 59_810),
        ("b", 20_000, "blis", 116_846, 132_666),
        ("b", 20_000, "vllm", 122_925, 132_939),
        ("c", 5_000, "blis", 19_156, 45_467),
        ("c", 5_000, "vllm", 25_953, 45_468),
    ],
)
def test_recorded_loads(benchmarks, key, requests, profile, events, steps):
    """In the profile blis 2.84, 5.84 and 3.83 events a request; in vllm 2.84, 6.15 and 5.19."""
    loads, measure = benchmarks
    load = loads.recorded(key, profile)
    if load is None:
        pytest.skip("the recorded loads are not at hand")
    assert counts(load, measure) == (requests, requests, events, steps)
