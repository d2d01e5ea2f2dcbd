"""When routers, sessions, deadlines and samplers see what a step has done: at its end in the profile ``vllm``.

Two replicas, a step takes 1000 + 10 x prompt tokens + 5 x decode tokens (µs); a request of 16 tokens and one output is
served in one step of 1160. In the profile ``blis`` it has left at the start of that step.
"""

import numpy as np
import pytest
from small_clusters import at, prepare, requests, scenario

import blis_simpy as blis
from blis_simpy.core.request import RequestOutcome

PROFILES = pytest.mark.parametrize("profile", ["blis", "vllm"])
VLLM = pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous", "asynchronous"])


def engine(profile, **options):
    return blis.EngineSettings(
        **{"profile": profile, "max_num_seqs": 4, "max_num_batched_tokens": 1000, "max_model_len": 0, **options}
    )


def states_at(simulation, *ticks):
    """Load, requests in flight and KV blocks in use of replica 0 as a router would see them."""
    seen = []

    def look():
        replica = simulation.replicas[0]
        seen.append((replica.load(), simulation.cluster.in_flight(0), replica.used_blocks))

    for tick in ticks:
        at(simulation, tick, look)
    simulation.run()
    return seen


@PROFILES
def test_router_counts_a_request_until_its_recorded_end_in_the_profile_vllm(profile):
    """One step from 0 to 1160. The last request keeps the simulation going."""
    served = [*requests(1, output=1), *requests(1, output=1, gap=5000)]
    served[1] = blis.Request("later", 5000, 16, 1)
    simulation = prepare(served, engine=engine(profile), replicas=1)
    assert served[0].arrived_at == 0
    before, after = (0, 0, 0), (0, 0, 0)
    if profile == "vllm":
        before = (1, 1, 1)
    assert states_at(simulation, 1, 1159, 1161) == [before, before, after]
    assert served[0].finished_at == 1160


@VLLM
def test_response_that_is_still_processed_counts_as_in_flight_alone(asynchronous):
    """The output takes 300 µs to process after the step: the engine has forgotten the request, its client has not."""
    served = [*requests(1, output=1), blis.Request("later", 5000, 16, 1)]
    simulation = prepare(
        served, engine=engine("vllm", async_scheduling=asynchronous), replicas=1, alpha=(0.0, 0.0, 300.0)
    )
    assert states_at(simulation, 1159, 1161, 1459, 1461) == [(1, 1, 1), (0, 1, 0), (0, 1, 0), (0, 0, 0)]
    assert served[0].finished_at == 1460


@PROFILES
def test_least_loaded_router_avoids_a_replica_in_its_last_step_in_the_profile_vllm(profile):
    """The first request runs on one replica until 1160. Another one at 500 finds that replica busy, or not."""
    chosen = []
    for seed in range(20):
        simulation = prepare(requests(2, gap=500, output=1), engine=engine(profile), router="least-loaded", seed=seed)
        simulation.run()
        first, second = simulation.requests
        chosen.append(first.replica == second.replica)
    # Random ties: in the profile blis both replicas look idle.
    assert any(chosen) is (profile == "blis")


@VLLM
@pytest.mark.parametrize("alpha", [(0.0, 0.0, 0.0), (200.0, 1.0, 30.0)])
def test_session_thinks_from_the_recorded_end_of_the_answer(asynchronous, alpha):
    client = blis.Client(
        id="chat",
        rate_fraction=1,
        arrival="poisson",
        input_distribution=blis.Gaussian(40, 10, 1, 90),
        output_distribution=blis.Gaussian(5, 3, 1, 9),
        reasoning=blis.Reasoning(multi_turn=blis.MultiTurn(max_rounds=4, think_time_us=777)),
    )
    workload = blis.WorkloadSpec(clients=[client], aggregate_rate=300.0, num_requests=30)
    simulation = blis.Simulation(
        scenario(engine=engine("vllm", async_scheduling=asynchronous), alpha=alpha, workload=workload)
    )
    heard = {}
    simulation.on_end(lambda request: heard.setdefault(request.id, simulation.env.now))
    table = simulation.run().requests
    assert (table.num_rows, len(set(table["session"]))) == (32, 8)
    assert table["finished_at_us"].tolist() == [heard[name] for name in table["id"]]
    for session in set(table["session"]):
        own = table.take(np.flatnonzero(table["session"] == session))
        order = own["round_index"].argsort()
        ends, arrivals = own["finished_at_us"][order], own["arrived_at_us"][order]
        assert arrivals[1:].tolist() == (ends[:-1] + 777).tolist()


@VLLM
def test_no_request_completes_after_its_deadline(asynchronous):
    served = requests(200, gap=1200, tokens=30, output=6)
    for number, request in enumerate(served):
        request.deadline = request.arrived_at + 5000 + 137 * (number % 60)
    simulation = prepare(
        served,
        engine=engine("vllm", async_scheduling=asynchronous),
        alpha=(0.0, 0.0, 40.0),
    )
    simulation.run()
    by_outcome = {
        outcome: [request for request in served if request.outcome is outcome]
        for outcome in (RequestOutcome.COMPLETED, RequestOutcome.TIMED_OUT)
    }
    assert all(by_outcome.values())
    assert sum(map(len, by_outcome.values())) == 200
    assert all(request.finished_at <= request.deadline for request in by_outcome[RequestOutcome.COMPLETED])
    assert all(request.finished_at >= request.deadline for request in by_outcome[RequestOutcome.TIMED_OUT])


@VLLM
def test_samples_count_each_request_from_its_arrival_to_its_end(asynchronous):
    """Little's law, sample by sample: a request is present at a tick if it has arrived and its end is not over."""
    served = requests(150, gap=700, tokens=20, output=1)
    simulation = prepare(served, engine=engine("vllm", async_scheduling=asynchronous))
    sampler = simulation.sample("137us", present=lambda now: sum(replica.load() for replica in now.replicas))
    simulation.run()
    table = sampler.table()
    present = [
        sum(request.arrived_at <= tick < request.finished_at for request in served) for tick in table["at_us"].tolist()
    ]
    # Samples at the very tick of an arrival or an end may be taken before it.
    instants = {tick for request in served for tick in (request.arrived_at, request.finished_at)}
    apart = [tick not in instants for tick in table["at_us"].tolist()]
    assert sum(apart) > 500
    assert np.array(present)[apart].tolist() == table["present"][apart].tolist()
    assert max(present) > 1
