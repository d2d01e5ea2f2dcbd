"""Each shipped scenario runs and gives the figures of its first lines."""

import functools

import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main
from blis_simpy.load_files import shipped_scenarios

SCENARIOS = shipped_scenarios()
JOBS, CHAT = "meta-llama/llama-3.1-8b-instruct", "qwen/qwen3-14b"


@functools.cache
def scenario(name):
    return blis.load_scenario(SCENARIOS[name])


def result(name, **changes):
    return scenario(name).with_(**changes).run()


def cache_hits(outcome):
    """Found KV blocks, in per cent."""
    return round(100 * outcome.kv_rates["cache_hit_rate"])


def ttft(outcome):
    """Mean in ms."""
    return round(outcome.summary["ttft_mean_ms"])


def p99(outcome, slo_class=None):
    """p99 of the TTFT, in s."""
    if slo_class is None:
        return round(outcome.summary["ttft_p99_ms"] / 1000, 2)
    return round(outcome.slo_classes[slo_class]["ttft"].percentile_ms(99) / 1000, 2)


def seconds(name, digits):
    """p99 of a model's TTFT."""
    return lambda outcome: round(outcome.evaluation.models[name].ttft.percentile_ms(99) / 1000, digits)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_opens_with_question_command_and_outcome(name):
    first, second, third, *_ = SCENARIOS[name].read_text(encoding="utf-8").splitlines()
    assert first.startswith("# Question: ")
    assert second.startswith(f"# Run:      blis run {name}")
    assert third.startswith("# See:      ")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_commands_of_a_scenario_are_understood(name, capsys):
    line = SCENARIOS[name].read_text(encoding="utf-8").splitlines()[1]
    command, _, more = line.removeprefix("# Run:      ").partition("(then try: ")
    commands = [command.split()]
    if more.startswith("blis"):
        commands.append(more.removesuffix(")").split())
    elif more.startswith("--"):
        commands.append([*command.split(), *more.removesuffix(")").partition(",")[0].split()])
    for _, *words in commands:
        assert main([*words, "--show-config"]) == 0, capsys.readouterr().err


def test_quickstart_queues_beyond_its_limit():
    assert result("quickstart").summary["ttft_p99_ms"] < 100
    assert result("quickstart", **{"workload.rate": 36.0}).summary["ttft_p99_ms"] > 6000


def test_affinity_keeps_prompts_in_the_cache():
    outcome = result("prefix-affinity")
    assert (cache_hits(outcome), ttft(outcome)) == (90, 58)
    assert cache_hits(result("prefix-affinity", **{"router.scorers": "prefix-affinity:1,queue-depth:1"})) == 65
    outcome = result("prefix-affinity", router="round-robin")
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


def test_order_of_the_queue_decides_which_tenant_waits():
    outcome = result("multi-tenant")
    assert (p99(outcome, "critical"), p99(outcome, "batch")) == (0.38, 2.68)
    outcome = result("multi-tenant", **{"engine.scheduler": "fcfs"})
    assert (p99(outcome, "critical"), p99(outcome, "batch")) == (1.20, 1.33)


def test_bursts_make_a_queue_where_the_mean_rate_would_not():
    assert p99(result("bursts")) == 2.95
    assert p99(result("bursts", **{"workload.arrivals": "poisson"})) == 0.06
    assert p99(result("bursts", **{"workload.arrivals": "constant"})) == 0.06


def test_a_rush_is_over_sooner_with_more_replicas():
    outcome = result("spike")
    assert (p99(outcome), ttft(outcome)) == (7.83, 1498)
    outcome = result("spike", replicas=4)
    assert (p99(outcome), ttft(outcome)) == (2.34, 297)


def test_too_few_blocks_mean_preemptions():
    outcome = result("kv-pressure")
    assert (len(outcome.preemptions), p99(outcome)) == (292, 22.81)
    outcome = result("kv-pressure", **{"kv.blocks": 12_000})
    assert (len(outcome.preemptions), p99(outcome)) == (0, 0.07)
    assert scenario("kv-pressure").with_(**{"kv.blocks": None}).resolve().num_blocks == 15_909


def test_chunks_of_long_prompts_leave_room_for_the_others():
    outcome = result("long-prompts")
    assert (round(outcome.summary["itl_p99_ms"]), p99(outcome, "critical"), p99(outcome, "batch")) == (36, 0.08, 1.17)
    outcome = result("long-prompts", **{"engine.long_prefill_token_threshold": 0})
    assert (round(outcome.summary["itl_p99_ms"]), p99(outcome, "critical"), p99(outcome, "batch")) == (79, 0.25, 0.34)


def test_rejections_keep_the_latency_of_other_requests_low():
    outcome = result("token-bucket")
    assert (len(outcome.rejected), p99(outcome)) == (580, 0.08)
    assert p99(result("token-bucket", admission="always-admit")) == 16.36


def test_stale_snapshots_send_all_requests_to_one_replica():
    assert p99(result("stale-snapshots")) == 2.77
    assert p99(result("stale-snapshots", **{"router.snapshot_interval": 0})) == 0.27
    assert p99(result("stale-snapshots", **{"router.scorers": "kv-utilization:1,queue-depth:1"})) == 0.14


def test_work_on_requests_that_time_out_is_lost():
    outcome = result("deadlines")
    assert (outcome.summary["timed_out_requests"], outcome.summary["completed_requests"]) == (701, 1299)
    outcome = result("deadlines", admission={"policy": "token-bucket", "capacity": 8000, "refill_rate": 15500})
    assert (outcome.summary["timed_out_requests"], outcome.summary["completed_requests"]) == (4, 1549)
    assert len(outcome.rejected) == 447


def test_the_least_loaded_gpu_is_the_faster_one():
    assert p99(result("mixed-gpus")) == 0.10
    assert p99(result("mixed-gpus", router="round-robin")) == 0.67


def test_a_fleet_need_not_keep_every_prompt_everywhere():
    outcome = result("fleet")
    assert (cache_hits(outcome), ttft(outcome)) == (82, 64)
    outcome = result("fleet", router="least-loaded")
    assert (cache_hits(outcome), ttft(outcome)) == (14, 151)


def test_long_answers_fill_the_cache_for_all():
    outcome = result("reasoning")
    assert (p99(outcome, "critical"), len(outcome.preemptions)) == (48.10, 723)
    outcome = result("reasoning", replicas=2)
    assert (p99(outcome, "critical"), len(outcome.preemptions)) == (0.06, 0)


def test_pictures_cost_what_their_tokens_cost():
    outcome = result("images")
    assert (p99(outcome), round(outcome.summary["itl_mean_ms"])) == (0.15, 23)
    outcome = result("images", **{"workload.clients[0].multimodal.image_distribution.value": 250})
    assert (p99(outcome), round(outcome.summary["itl_mean_ms"])) == (0.05, 14)


def test_replicas_that_load_serve_no_requests():
    outcome = result("cold-start")
    assert (outcome.anomalies["rejected_requests_routing"], p99(outcome)) == (824, 17.35)
    outcome = result("cold-start", **{"node_pools[0].initial_nodes": 2})
    assert (outcome.anomalies["rejected_requests_routing"], p99(outcome)) == (824, 0.06)
