"""What a client draws does not depend on anything around it, also through a simulation."""

import pytest
from workloads import client, spec, turns

import blis_simpy as blis

POISSON = {"process": "poisson"}
LENGTHS = {"type": "exponential", "params": {"mean": 40}}
SINGLE = client("single", arrival=POISSON, prompt=LENGTHS, output=LENGTHS)
CHAT = client("chat", arrival=POISSON, prompt=LENGTHS, output=LENGTHS, reasoning=turns(4, 50_000), timeout=0)
OTHER = client("other", arrival=POISSON, prompt=LENGTHS, output=LENGTHS, rate_fraction=2.0)
SCENARIO = blis.Scenario(
    model="any/model",
    seed=3,
    horizon=20 * blis.SECOND,
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 10)),
    kv=blis.KVSettings(blocks=1000),
    # 5 requests or sessions of each client in a second.
    workload=spec(SINGLE, CHAT, aggregate_rate=10.0),
)


def draws(scenario):
    """Arrivals and lengths by client, and lengths by session and round; when a further round comes is not drawn."""
    simulation = blis.Simulation(scenario)
    simulation.run()
    found = {"single": [], "chat": [], "other": [], "rounds": {}}
    for request in simulation.requests:
        lengths = (request.input_tokens, request.output_tokens)
        if request.round_index == 0:
            found[request.client].append((request.arrived_at, *lengths))
        else:
            found["rounds"][request.session, request.round_index] = lengths
    return found


@pytest.fixture(scope="module")
def before():
    found = draws(SCENARIO)
    assert len(found["single"]) > 50
    assert len(found["rounds"]) > 50
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": spec(OTHER, SINGLE, CHAT, aggregate_rate=20.0)},
        {"replicas": 3},
        {"replicas": 3, "router": "least-loaded"},
        {"replicas": 3, "router": "weighted"},
        {"engine.scheduler": "sjf"},
        {"engine.priority": "slo-based", "engine.scheduler": "priority-fcfs"},
        {"admission": {"policy": "token-bucket", "capacity": 1e9}},
        {"engine.profile": "blis"},
        {"engine.profile": "blis", "kv.cpu_blocks": 100},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_other_clients_replicas_and_policies_leave_the_draws_of_a_client_alone(changes, before):
    after = draws(SCENARIO.with_(**changes))
    assert (after["single"], after["chat"]) == (before["single"], before["chat"])
    # Conversations get further, or less far, with the speed of the answers; what is said is the same.
    both = after["rounds"].keys() & before["rounds"].keys()
    assert len(both) > 50
    assert {key: after["rounds"][key] for key in both} == {key: before["rounds"][key] for key in both}


def test_another_seed_draws_anew(before):
    assert draws(SCENARIO.with_(seed=4))["single"] != before["single"]
