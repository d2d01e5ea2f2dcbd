"""The plain model takes the recorded decisions, and keeps the laws of an engine on random cases."""

import pytest
from plain_adapter import plain_requests, plain_settings, vllm_case
from plain_model import BlockPool, PlainEngine
from random_cases import random_case
from recordings import NAMES, VARIANTS, recorded
from timeline import summary


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_recorded_decisions_are_reproduced(name, variant):
    case = recorded(name)
    assert summary(vllm_case(case, variant)) == case[variant]


def test_timeline_notices_a_token_more():
    steps = vllm_case(recorded("two"), "sync")["steps"]
    steps[20]["tokens"]["r1"] += 1
    assert summary({**vllm_case(recorded("two"), "sync"), "steps": steps})["steps"] != recorded("two")["sync"]["steps"]


def test_preempted_request_keeps_its_outputs_and_finds_its_blocks():
    """Eight blocks of 16; both requests need a fifth one at 33,000.

    The second holds 33 outputs by then. It comes back at 40,000, when the first has ended, finds three of its blocks
    and computes 65 - 48 = 17 tokens.
    """
    case = recorded("two")
    outcome = vllm_case(case, "sync")
    assert outcome["first_token_at"]["r1"] == 1000
    assert outcome["finished_at"] == {"r0": 40_000, "r1": 47_000}
    resumed = next(step for step in outcome["steps"] if step["resumed"])
    assert (resumed["start"], resumed["resumed"], resumed["tokens"]) == (40_000, {"r1": 48}, {"r1": 17})
    assert outcome["computed_tokens"] == 64 + 2 * 32 + 7 + 17 + 6


def test_asynchronous_engine_pauses_while_its_last_step_drains():
    """Nothing can run until the first request ends at 40,000; the engine sleeps 1 ms before it resumes the second."""
    assert vllm_case(recorded("two"), "async")["finished_at"] == {"r0": 40_000, "r1": 48_000}


@pytest.fixture(params=range(40))
def served(request):
    """A random case in each variant, with the engine that served it."""
    case = random_case(request.param)
    runs = []
    for variant in VARIANTS:
        settings = plain_settings(case, variant)
        engine = PlainEngine(settings, lambda entries: case["step_time"]["base_us"] + len(entries))
        requests = plain_requests(case)
        engine.run(requests)
        runs.append((settings, engine, requests))
    return runs


def test_requests_end_with_all_their_outputs_or_are_aborted(served):
    for settings, engine, requests in served:
        for request in requests:
            expected = min(request.max_tokens, settings.max_model_len - len(request.prompt))
            assert request.state in ("finished", "aborted")
            assert request.outputs == len(request.output_times) <= expected
            assert request.outputs == expected or request.state == "aborted"
            assert request.output_times == sorted(request.output_times)
        assert not engine.running + engine.waiting + list(engine.in_flight)


def test_all_blocks_come_back(served):
    for settings, engine, _ in served:
        pool: BlockPool = engine.pool
        assert len(pool.free) == settings.num_blocks
        assert all(block.holders == 0 for block in pool.free.values())


def test_steps_keep_the_limits_and_follow_each_other(served):
    for settings, engine, _ in served:
        device_free_at = 0
        for step in engine.steps:
            assert sum(entry.num_tokens for entry in step.entries) <= settings.max_num_batched_tokens
            assert len({entry.request for entry in step.entries}) == len(step.entries) <= settings.max_num_seqs
            assert step.running <= settings.max_num_seqs
            assert step.used_blocks <= settings.num_blocks
            assert step.scheduled_at <= step.start
            if step.entries:
                assert step.start >= device_free_at
                device_free_at = step.end
            assert not (step.preempted and (step.admitted or step.resumed))


def test_every_known_token_is_computed_or_found(served):
    """Without aborts: prompt and output less the last token, and once more what a preempted request comes back for."""
    for _, engine, requests in served:
        if any(request.state == "aborted" or request.preemptions for request in requests):
            continue
        computed = sum(entry.num_tokens for step in engine.steps for entry in step.entries)
        cached = sum(sum(step.admitted.values()) for step in engine.steps)
        assert computed + cached == sum(len(request.tokens) - 1 for request in requests)
