import logging

import pytest
from workloads import from_text

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrivals import PoissonArrivals
from blis_simpy.workload.spec.client import ActivityWindows, Window
from blis_simpy.workload.spec.inference_perf import InferencePerf, SharedPrefix, Stage

PREFIX = {
    "num_unique_system_prompts": 2,
    "num_users_per_system_prompt": 3,
    "system_prompt_len": 100,
    "question_len": 20,
    "output_len": 7,
}


def load(*stages, **others):
    return InferencePerf(
        stages=[Stage(rate=rate, duration=duration) for rate, duration in stages],
        shared_prefix=SharedPrefix(**{**PREFIX, **others}),
    )


def test_one_stage_has_a_client_for_each_user_and_no_end():
    found = load((12.0, 40))
    clients = found.clients()
    assert found.aggregate_rate == 12.0
    assert [client.id for client in clients] == [f"prompt-{p}-user-{u}" for p in (0, 1) for u in (0, 1, 2)]
    assert {client.rate_fraction for client in clients} == {1 / 6}
    last = clients[-1]
    assert (last.tenant, last.prefix_group, last.prefix_length, last.slo_class) == (
        "prompt-1",
        "prompt-1",
        100,
        "batch",
    )
    assert (last.arrival, last.lifecycle, last.timeout, last.reasoning) == (PoissonArrivals(), None, None, None)


def test_stages_follow_each_other_with_rates_of_their_own():
    found = load((10.0, 5), (40.0, 2))
    clients = found.clients()
    assert found.aggregate_rate == 50.0
    assert [client.id for client in clients[5:7]] == ["stage-0-prompt-1-user-2", "stage-1-prompt-0-user-0"]
    assert (clients[0].rate_fraction, clients[-1].rate_fraction) == (10 / 6, 40 / 6)
    assert clients[0].lifecycle == ActivityWindows(windows=[Window(0, 5_000_000)])
    assert clients[-1].lifecycle == ActivityWindows(windows=[Window(5_000_000, 7_000_000)])


def test_chat_is_one_session_a_user_that_fills_the_stage():
    """30 a second for 40 s over six users: 200 rounds each, one every 200 ms."""
    turns = load((30.0, 40), enable_multi_turn_chat=True).clients()[0].multi_turn
    assert (turns.max_rounds, turns.think_time_us, turns.single_session, turns.accumulates) == (
        200,
        200_000,
        True,
        False,
    )


def test_empty_prefix_and_lengths_fall_back():
    """As everywhere, a prefix of no stated length has 50 tokens and a constant length is at least 1."""
    text = """
inference_perf:
  stages: [{rate: 10, duration: 1}]
  shared_prefix: {num_unique_system_prompts: 1, num_users_per_system_prompt: 1}
num_requests: 1
"""
    (request,) = from_text(text).generate(RandomStreams(1)).requests
    assert (request.input_tokens, request.output_tokens, request.client) == (51, 1, "prompt-0-user-0")


@pytest.mark.parametrize(("chats", "category"), [("false", "language"), ("true", "reasoning")])
def test_expansion_sets_category_and_rate(chats, category, caplog):
    text = f"""
version: "2"
seed: 3
aggregate_rate: 5
inference_perf:
  stages: [{{rate: 10, duration: 1}}]
  shared_prefix: {{num_unique_system_prompts: 1, num_users_per_system_prompt: 2, enable_multi_turn_chat: {chats}}}
"""
    with caplog.at_level(logging.WARNING):
        found = from_text(text).with_clients_listed()
    assert (found.category, found.aggregate_rate, found.seed, len(found.clients)) == (category, 10.0, 3, 2)
    assert caplog.messages == ["aggregate_rate 5 is replaced by that of the stages"]


def test_too_many_users_are_refused():
    with pytest.raises(ScenarioError) as caught:
        load((1.0, 1), num_unique_system_prompts=100_000, num_users_per_system_prompt=11)
    assert str(caught.value) == "shared_prefix must have at most 1000000 users, over all stages, got 1100000"
