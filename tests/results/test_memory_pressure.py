"""Metrics of runs with preemptions and with a prefix cache, in both engine profiles."""

import math

import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request

MS = 1000


def profile(name, *, asynchronous=False, **settings):
    """Settings of an engine profile with 8 usable KV blocks of 16 tokens."""
    if name == "blis":
        return {"profile": "blis", "blocks": 8, **settings}
    return {
        "profile": "vllm",
        "async_scheduling": asynchronous,
        "max_num_batched_tokens": 2048,
        "blocks": 8,
        **settings,
    }


@pytest.fixture
def two(serve):
    """Two requests of 32 + 40 tokens in 8 blocks of 16 tokens with steps of 1 ms, scheduled as vLLM does.

    Both are at 64 tokens after 33 steps, when the first one needs a fifth block: the second one is preempted with 33
    outputs. The first one ends at 40 ms. The second one finds 48 of its tokens, computes 17 in the step that ends at
    41 ms, and ends at 47 ms.
    """
    return serve((32, 40, 0), (32, 40, 0), beta=(1000.0, 0.0, 0.0), **profile("vllm")).result


def test_a_stall_after_a_preemption_is_a_gap(two):
    """39 gaps each, of 1 ms but for the one of 8 ms from the token at 33 ms to the one at 41 ms."""
    assert two.requests["num_preemptions"].tolist() == [0, 1]
    assert (two.where().itl.count, two.where().itl.total) == (78, (77 + 8) * MS)
    assert two.metric("itl_max_ms") == 8.0
    assert two.where().longest_gap.values.tolist() == [1 * MS, 8 * MS]


def test_tpot_includes_the_stall(two):
    """First tokens at 1 ms, last ones at 40 and 47 ms, 40 tokens each."""
    assert two.requests["tpot_us"].tolist() == [39 * MS / 39, 46 * MS / 39]
    assert two.requests["ntpot_us"].tolist() == [40 * MS / 40, 47 * MS / 40]


def test_ttft_is_that_of_the_first_token_ever(two):
    assert two.requests["ttft_us"].tolist() == two.requests["first_ttft_us"].tolist() == [1 * MS, 1 * MS]


def test_tokens_that_are_lost_and_not_found_are_recomputed(two):
    """Of 64 computed tokens, 48 are found; the 65 known ones include the last output, which was never computed."""
    assert two.metric("recomputed_tokens") == 64 - 48
    assert two.metric("resumed_hit_rate") == 48 / 65
    assert two.metric("prefix_hit_rate") == 0.0
    assert two.where(replica=0, outcome="completed").recomputed_tokens == 16


def test_a_request_that_starts_over_keeps_its_first_ttft(preempted):
    """In the profile blis its TTFT is that of its last prefill."""
    requests = preempted.requests
    assert requests["num_preemptions"].tolist() == [0, 9]
    first, last = requests["first_ttft_us"][1], requests["ttft_us"][1]
    assert (first, last) == (132, 4826)
    assert requests["tpot_us"][1] == (requests["e2e_us"][1] - last) / 39
    assert preempted.metric("first_ttft_max_ms") == 0.132


@pytest.mark.parametrize("name", ["blis", "vllm"])
def test_the_hit_rate_is_that_of_prompt_tokens(serve, name):
    """Of two prompts of 80 tokens, which share 64, the second one finds four blocks of 16."""
    shared = {"prefix": ("system", 64)}
    served = serve(
        (80, 1, 0, {**shared, "tenant": "a"}), (80, 1, 5000, {**shared, "tenant": "b"}), **profile(name, blocks=100)
    )
    result = served.result
    assert result.requests["cached_tokens"].tolist() == [0, 64]
    assert result.metric("cached_tokens") == 64
    assert result.metric("prefix_hit_rate") == 64 / 160
    assert result.where(tenant="b").metric("prefix_hit_rate") == 64 / 80
    assert math.isnan(result.metric("resumed_hit_rate"))


def test_without_a_prefix_cache_there_is_no_hit_rate(prepare):
    simulation = prepare((80, 1, 0), **profile("vllm", blocks=100))
    scenario = simulation.scenario.with_(**{"kv.prefix_caching": False})
    result = blis.Simulation(scenario, requests=[Request("r", 0, 80, 1)]).run()
    assert math.isnan(result.metric("prefix_hit_rate"))
    assert "no prefix cache" in result.render("text")


@pytest.mark.parametrize(
    ("name", "asynchronous"), [("blis", False), ("vllm", False), ("vllm", True)], ids=["blis", "vllm", "vllm-async"]
)
@pytest.mark.parametrize("chunk", [0, 7])
def test_every_computed_token_is_new_or_recomputed(serve, name, asynchronous, chunk):
    """Completed requests compute prompt and output but for the last token, less what is cached, plus what is lost."""
    rows = [(11 + 5 * i % 40, 30 + 7 * i % 23, 900 * i) for i in range(12)]
    settings = profile(name, asynchronous=asynchronous, long_prefill_token_threshold=chunk)
    result = serve(*rows, **settings).result
    assert result.metric("completed") == 12
    assert result.metric("preemptions") > 3
    computed = int(result.steps["prefill_tokens"].sum() + result.steps["decode_tokens"].sum())
    needed = sum(prompt + output - 1 for prompt, output, _ in rows)
    assert computed == needed - result.metric("cached_tokens") + result.metric("recomputed_tokens")
