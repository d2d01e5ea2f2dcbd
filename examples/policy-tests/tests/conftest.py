"""The deployment and the traffic that the policies are tested with."""

import pytest

import blis_simpy as blis


def tenant(name, share):
    """Return one who sends short questions behind a long system prompt of its own."""
    question = {"mean": 100, "std_dev": 30, "min": 10, "max": 200}
    answer = {"mean": 60, "std_dev": 20, "min": 5, "max": 120}
    return blis.Client(
        id=name,
        tenant=name,
        rate_fraction=share,
        arrival=blis.Arrival(process="poisson"),
        input_distribution=blis.LengthDistribution(type="gaussian", params=question),
        output_distribution=blis.LengthDistribution(type="gaussian", params=answer),
        prefix_group=name,
        prefix_length=6000,
    )


@pytest.fixture
def scenario():
    """Four replicas, each with room for some of 16 system prompts; half of the requests are of one tenant."""
    return blis.Scenario(
        model="qwen/qwen3-14b",
        hardware="H100",
        tp=1,
        replicas=4,
        kv=blis.KVSettings(blocks=4000),
        workload=blis.WorkloadSpec(
            aggregate_rate=20.0,
            num_requests=400,
            clients=[tenant("big", 15.0), *(tenant(f"small-{i}", 1.0) for i in range(15))],
        ),
    )
