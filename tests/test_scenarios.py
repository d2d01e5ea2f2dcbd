"""Each shipped scenario runs and shows what its first lines promise."""

import pytest

import blis_simpy as blis
from blis_simpy.scenario import shipped_scenarios

SCENARIOS = shipped_scenarios()
JOBS, CHAT = "meta-llama/llama-3.1-8b-instruct", "qwen/qwen3-14b"


def result(name, **changes):
    return blis.load_scenario(SCENARIOS[name]).with_(**changes).run()


def cache_hits(outcome):
    """Found KV blocks, in per cent."""
    return round(100 * outcome.kv_rates["cache_hit_rate"])


def ttft(outcome):
    """Mean in ms."""
    return round(outcome.summary["ttft_mean_ms"])


def seconds(name, digits):
    """p99 of a model's TTFT."""
    return lambda outcome: round(outcome.evaluation.models[name].ttft.percentile_ms(99) / 1000, digits)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_opens_with_question_command_and_outcome(name):
    first, second, third, *_ = SCENARIOS[name].read_text(encoding="utf-8").splitlines()
    assert first.startswith("# Question: ")
    assert second.startswith(f"# Run:      blis run {name}")
    assert third.startswith("# See:      ")


def test_quickstart_queues_beyond_its_limit():
    assert result("quickstart").summary["ttft_p99_ms"] < 100
    assert result("quickstart", **{"workload.rate": 36.0}).summary["ttft_p99_ms"] > 6000


def test_affinity_keeps_prompts_in_the_cache():
    outcome = result("prefix-affinity")
    assert (cache_hits(outcome), ttft(outcome)) == (90, 58)
    assert cache_hits(result("prefix-affinity", scorers="prefix-affinity:1,queue-depth:1")) == 65
    outcome = result("prefix-affinity", routing="round-robin")
    assert (cache_hits(outcome), ttft(outcome)) == (41, 109)


def test_conversations_are_forgotten_where_blocks_are_few():
    assert blis.load_scenario(SCENARIOS["conversations"]).resolve().num_blocks == 15_909
    assert cache_hits(result("conversations")) == 36
    assert cache_hits(result("conversations", **{"kv.blocks": 9000})) == 6


def test_host_memory_finds_more_and_costs_more():
    outcome = result("two-tier")
    assert (cache_hits(outcome), ttft(outcome)) == (12, 280)
    outcome = result("two-tier", **{"kv.cpu_blocks": 0})
    assert (cache_hits(outcome), ttft(outcome)) == (8, 186)


def test_second_replica_takes_the_bursts_of_the_jobs():
    jobs, chat = seconds(JOBS, 2), seconds(CHAT, 2)
    outcome = result("two-models")
    assert (jobs(outcome), chat(outcome)) == (0.11, 0.06)
    outcome = result("two-models", groups=[{"replicas": 2}, {"model": JOBS, "hardware": "A100-80"}])
    assert (jobs(outcome), chat(outcome)) == (0.28, 0.06)
