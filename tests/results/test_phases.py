"""Where the time of requests went."""

import attrs
import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.results.phases import phase_bounds

NEVER = -1


def bounds_of(*, preempted_at=(), ended_at=1000, generated_tokens=0, **marks):
    """Bounds of one request that arrived at 100; what is not given has not come about."""
    names = ("admitted_at", "queued_at", "first_scheduled_at", "scheduled_at", "ttft", "e2e", "finished_at")
    columns = {f"{name}_us": np.array([marks.get(name, NEVER)]) for name in names}
    columns.update(id=np.array(["r"], dtype=object), arrived_at_us=np.array([100]))
    columns["generated_tokens"] = np.array([generated_tokens])
    return phase_bounds(columns, [("r", at) for at in preempted_at], ended_at)[0].tolist()


def test_phases_of_a_completed_request_meet():
    marks = {"admitted_at": 110, "queued_at": 130, "first_scheduled_at": 160, "scheduled_at": 160}
    assert bounds_of(**marks, ttft=100, e2e=400, finished_at=490) == [100, 110, 130, 160, 160, 200, 500]


def test_a_request_that_started_over_was_preempted_from_its_first_batch_to_its_last():
    marks = {"admitted_at": 100, "queued_at": 100, "first_scheduled_at": 120, "scheduled_at": 300}
    found = bounds_of(**marks, ttft=250, e2e=400, finished_at=500, preempted_at=[200])
    assert found == [100, 100, 100, 120, 300, 350, 500]


def test_a_request_that_waits_to_start_over_is_preempted_until_the_end():
    marks = {"admitted_at": 100, "queued_at": 100, "first_scheduled_at": 120, "scheduled_at": 120}
    assert bounds_of(**marks, ttft=50, preempted_at=[200]) == [100, 100, 100, 120, 1000, 1000, 1000]


def test_the_first_token_of_an_earlier_attempt_does_not_count():
    """It started over at 300, so that the token of 150 is lost, and it computes its prompt until the end."""
    marks = {"admitted_at": 100, "queued_at": 100, "first_scheduled_at": 120, "scheduled_at": 300}
    assert bounds_of(**marks, ttft=50, preempted_at=[200]) == [100, 100, 100, 120, 300, 1000, 1000]


def test_request_that_keeps_its_tokens_decodes_once_it_has_resumed():
    """Its first token is of 150; it is preempted at 200 and resumes at 300, and its last token is of 500."""
    marks = {"admitted_at": 100, "queued_at": 100, "first_scheduled_at": 120, "scheduled_at": 300}
    found = bounds_of(**marks, ttft=50, e2e=400, finished_at=500, preempted_at=[200], generated_tokens=9)
    assert found == [100, 100, 100, 120, 300, 300, 500]


def test_a_request_that_timed_out_in_the_queue_waited_until_then():
    assert bounds_of(admitted_at=100, queued_at=130, finished_at=700) == [100, 100, 130, 700, 700, 700, 700]


def test_a_request_that_was_refused_has_no_time():
    assert bounds_of(finished_at=100) == [100] * 7


def test_a_request_that_arrived_after_the_end_has_no_time():
    assert bounds_of(ended_at=50) == [100] * 7


def test_phases_of_all_requests_are_their_e2e(three, preempted, cluster):
    for result in (three, preempted, cluster):
        bounds = phase_bounds(result.requests, result.preemptions, result.aggregate.ended_at)
        assert np.array_equal(bounds[:, -1] - bounds[:, 0], result.requests["e2e_us"])
        assert (np.diff(bounds, axis=1) >= 0).all()


def test_explanation_of_a_request_that_waited(three):
    """request_1 arrives at 50, joins the batch at 110, has its first token at 240 and its last at 360."""
    explanation = three.explain("request_1")
    assert explanation.phases == {
        "admission": 0,
        "routing": 0,
        "queue": 60,
        "preempted": 0,
        "prefill": 130,
        "decode": 120,
    }
    assert explanation.total_us == 310


def test_a_request_that_is_not_there_is_refused(three):
    with pytest.raises(blis.ScenarioError) as caught:
        three.explain("request_9")
    assert str(caught.value) == "request_id must be one of the run, got 'request_9'"


def test_explanation_has_the_terms_of_the_decode_step_in_the_middle_of_the_output():
    """Two requests of 100 tokens, blackbox: 10 ms a step and 1 ms a token, so 12 ms; a third arrives after they end."""
    latency = blis.LatencySettings(alpha=(0, 0, 0), beta=(10_000, 0, 1000))
    scenario = blis.Scenario(model="any/model", kv=blis.KVSettings(blocks=1000), latency=latency)
    requests = [Request(f"r{i}", at, 100, 11, max_output_tokens=11) for i, at in enumerate((0, 0, 10**6))]
    explanation = blis.Simulation(scenario, requests=requests).run().explain("r1")
    step = explanation.decode_step
    assert (step.requests, step.context_tokens) == (2, 2 * 105)
    assert {term.name: term.value for term in step.terms} == {"step": 10_000, "prefill": 0, "decode": 2000}
    assert "decode step in the middle of its output: 2 requests, 210 tokens of context" in repr(explanation)


def test_explanation_without_decode_or_latency_model_has_no_decode_step(tmp_path):
    scenario = blis.Scenario(model="qwen/qwen3-14b")
    requests = [Request("one", 0, 100, 1, max_output_tokens=1), Request("two", 0, 100, 9, max_output_tokens=9)]
    result = blis.Simulation(scenario, requests=requests).run()
    assert result.explain("one").decode_step is None
    assert result.explain("two").decode_step is not None
    elsewhere = attrs.evolve(scenario, model_config=str(tmp_path / "gone"))
    result.scenario = elsewhere
    assert result.explain("two").decode_step is None
