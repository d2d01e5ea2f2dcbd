"""Many replicas. ``python tests/cluster/test_scale.py`` measures what docs/speed.md says of them."""

from __future__ import annotations

import subprocess
import sys
from time import process_time

import pytest

import blis_simpy as blis

SETTINGS = {
    "round-robin": {"router": "round-robin"},
    "least-loaded": {"router": "least-loaded"},
    "weighted": {"router": "weighted"},
    "weighted, snapshots 100 ms old": {"router": {"policy": "weighted", "snapshot_interval": "100ms"}},
}


def scenario(*, replicas, num_requests, **settings):
    """15 requests a second for each replica, of 512 tokens in and 256 out on average."""
    return blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        replicas=replicas,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(9_000.0, 20.0, 40.0)),
        engine=blis.EngineSettings(max_model_len=0),
        kv=blis.KVSettings(blocks=20_000),
        workload=blis.Workload(
            rate=15.0 * replicas,
            num_requests=num_requests,
            arrivals="poisson",
            prompt=blis.Gaussian(512, 128, 32, 2048),
            output=blis.Gaussian(256, 64, 16, 1024),
        ),
        **settings,
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_hundreds_of_replicas_share_the_work(name):
    """A quarter of the replicas may be without work, where each is sent two requests on average."""
    simulation = blis.Simulation(scenario(replicas=256, num_requests=512, **SETTINGS[name]))
    result = simulation.run()
    assert result.summary["completed_requests"] == 512
    assert len(set(result.requests["replica"].tolist())) > 192
    assert not any(simulation.cluster.in_flight(replica) for replica in range(256))


def test_events_of_a_request_do_not_grow_with_the_number_of_replicas():
    """Nearly: a decision needs events of its own if another replica has an event at its tick."""
    events = []
    for replicas in (4, 64):
        simulation = blis.Simulation(scenario(replicas=replicas, num_requests=100 * replicas))
        simulation.run()
        events.append(next(simulation.env._eid) / (100 * replicas))
    assert events[1] < 1.12 * events[0]


def measure(name):
    """Print a row of the table: one run of 100 000 requests on 256 replicas."""
    import resource

    num_requests = 100_000
    simulation = blis.Simulation(scenario(replicas=256, num_requests=num_requests, **SETTINGS[name]))
    begun = process_time()
    simulation.run()
    cpu = process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {cpu:.1f} | {cpu / num_requests * 1e6:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        print("| routing | CPU s | CPU µs a request | peak MiB |\n|---|--:|--:|--:|")
        for row in SETTINGS:  # each in a process of its own, for its peak memory
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, row], check=True)
