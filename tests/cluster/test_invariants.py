"""Each invariant is broken on purpose; the checker names tick, replica and request."""

import pytest

import blis_simpy as blis
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import SimulationError

SCENARIO = blis.Scenario(
    model="my/model",
    hardware="H100",
    tp=1,
    engine={"profile": "blis", "max_num_seqs": 2, "max_num_batched_tokens": 64},
    kv=blis.KVSettings(blocks=200),
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 1)),
    workload=blis.Workload(rate=100, num_requests=12),
)


def lose_a_block(simulation):
    simulation.replicas[0].kv_blocks.free -= 1


def lose_a_slot(simulation):
    simulation.replicas[0].slots.free -= 1


def forget_the_queue(simulation):
    simulation.replicas[0]._queue.waiting.clear()


def turn_the_clock_back(simulation):
    simulation.env._now = 3
    simulation._observers.admitted(simulation.requests[0], "")


def end_twice(simulation):
    ended = next(request for request in simulation.requests if request.outcome is RequestOutcome.COMPLETED)
    simulation._observers.ended(ended)


def plan_more_outputs(simulation):
    for request in simulation.requests:
        request.output_tokens += 1


BREACHES = {
    lose_a_block: r"\d+ KV blocks are in use, but requests hold \d+ and other processes 0; tick .*, replica 0",
    lose_a_slot: "3 of 2 slots|2 of 2 slots are taken by 1 requests and 0 other processes; tick .*, replica 0",
    forget_the_queue: r"\d+ requests wait and \d run, but the replica has 0 and \d; tick .*, replica 0",
    turn_the_clock_back: "the clock went back from tick .*; tick .*, request request_",
    plan_more_outputs: r"\d+ of \d+ output tokens were generated; tick .*, replica 0, request request_",
    end_twice: "a request that is ended became one that is ended; tick .*, request request_",
}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.__name__)
def test_a_breach_is_named(breach):
    def process(simulation):
        yield simulation.env.timeout(6_000_000)
        breach(simulation)

    simulation = blis.Simulation(SCENARIO.with_(processes=[process]), check="full")
    with pytest.raises(SimulationError, match=BREACHES[breach]):
        simulation.run()


def test_steps_beyond_the_budget_are_named():
    simulation = blis.Simulation(SCENARIO, check="full")
    simulation.replicas[0].token_budget = 63
    with pytest.raises(
        SimulationError, match=r"a step computes more tokens than its budget \(step at \d+\); .*replica 0"
    ):
        simulation.run()


@pytest.mark.parametrize(
    ("name", "horizon"),
    [(name, "3s") for name in ("cold-start", "conversations", "deadlines", "kv-pressure", "two-models")]
    + [("two-tier", "60s")],
)
def test_checked_runs_have_the_same_figures(name, horizon):
    scenario = blis.load_scenario(name).with_(horizon=horizon)
    plain, checked = scenario.run(), scenario.run(check="full")
    assert plain.requests == checked.requests
    assert plain.steps == checked.steps


def test_an_unknown_check_is_refused():
    with pytest.raises(blis.ScenarioError, match="check is unknown, got 'some'; known: full"):
        blis.Simulation(SCENARIO, check="some")


@pytest.mark.parametrize(("planned", "budget", "generated"), [(0, 0, 1), (2, 1, 1), (2, 0, 2), (2, 5, 2)])
def test_an_output_may_end_at_its_budget_and_has_a_token_at_least(planned, budget, generated):
    request = blis.Request("a", 0, input_tokens=4, output_tokens=planned, max_output_tokens=budget)
    result = SCENARIO.with_(engine={"profile": "vllm"}, workload=[request]).run(check="full")
    assert result.requests["generated_tokens"].tolist() == [generated]
