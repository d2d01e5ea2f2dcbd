import pytest

import blis_simpy as blis


def test_same_inputs_give_the_same_integers(serve):
    rows = [(37 * i % 90 + 1, 13 * i % 40 + 1, 100 * i, {"prefix": ("p", 37 * i % 90 + 1)}) for i in range(30)]
    first, second = (serve(*rows, blocks=30, max_num_batched_tokens=64) for _ in range(2))
    assert first.column("e2e_us") == second.column("e2e_us")
    assert first.result.preemptions == second.result.preemptions


def test_nothing_to_serve_is_a_run_of_no_time(serve):
    summary = serve().result.summary
    assert (summary["injected_requests"], summary["vllm_estimated_duration_s"]) == (0, 0.0)


def test_request_for_another_model_is_turned_away(serve):
    served = serve((10, 1, 0, {"model": "some/other"}), (10, 1, 0, {"model": "ANY/Model"}))
    assert served.column("outcome") == ["rejected", "completed"]
    assert served.result.anomalies["rejected_requests_routing"] == 1


def test_unsorted_arrivals_are_sent_in_order_and_ties_in_list_order(serve):
    served = serve((10, 1, 900), (20, 1, 0), (30, 1, 0), max_num_seqs=1)
    assert served.column("scheduled_at_us") == [900, 0, 120]


def test_request_beyond_the_horizon_is_still_pending(serve):
    served = serve((10, 1, 0), (10, 1, 501), horizon=500)
    assert served.column("outcome") == ["completed", "pending"]
    assert served.result.summary["injected_requests"] == 1


def test_request_between_arrival_and_queue_at_the_horizon_is_in_no_counter(serve):
    served = serve((10, 1, 0), horizon=50, alpha=(100.0, 0.0, 0.0))
    assert served.result.summary["injected_requests"] == 0
    assert served.column("replica") == [0]


def test_progress_is_told_now_and_then(prepare):
    simulation = prepare(*[(1, 1, 10 * i) for i in range(600)])
    seen = []
    simulation.run(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (600, 600)
    assert all(total == 600 for _, total in seen)


def test_simulation_needs_something_to_serve():
    with pytest.raises(blis.ScenarioError, match="workload must be given, or requests to serve"):
        blis.Simulation(
            blis.Scenario(model="any/model", latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(1, 1, 1)), tp=1)
        )


def test_observation_shows_the_end_state_of_the_step_under_way(prepare):
    """At 50 the first step (0..120) has counted its prompts; at 120, before the next step, likewise."""
    simulation = prepare((20, 1, 0), (20, 9, 130), max_num_seqs=1, blocks=10)
    seen = []

    def watch():
        for tick in (50, 130, 135, 240, 250):
            yield simulation.env.timeout(tick - simulation.env.now)
            now = simulation.replicas[0].observe()
            seen.append((now.at, now.queue_depth, now.batch_size, now.used_blocks))

    simulation.env.process(watch())
    simulation.run()
    assert seen == [(50, 0, 0, 0), (130, 0, 0, 0), (135, 0, 1, 2), (240, 0, 1, 2), (250, 0, 1, 2)]


@pytest.mark.parametrize(("horizon", "warned"), [(10, True), ("1min", False), (None, False)])
def test_a_horizon_before_the_first_completion_is_warned_of(horizon, warned, caplog):
    scenario = blis.Scenario(
        model="qwen/qwen3-14b", horizon=horizon, workload=blis.Workload(rate=1, num_requests=2, output=2)
    )
    scenario.run()
    assert caplog.messages == (["no request completes up to the horizon, 10us"] if warned else [])
