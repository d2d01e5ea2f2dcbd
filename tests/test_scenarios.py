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
    """Prompt tokens that were found in a cache, in per cent."""
    return round(100 * outcome.metric("prefix_hit_rate"))


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
    assert p99(result("quickstart")) == 0.19
    assert p99(result("quickstart", **{"workload.rate": 28.0})) == 7.61


def test_affinity_keeps_prompts_in_the_cache():
    outcome = result("prefix-affinity")
    assert (cache_hits(outcome), ttft(outcome)) == (93, 58)
    assert cache_hits(result("prefix-affinity", **{"router.scorers": "prefix-affinity:1,queue-depth:1"})) == 67
    outcome = result("prefix-affinity", router="round-robin")
    assert (cache_hits(outcome), ttft(outcome)) == (44, 210)


def test_conversations_are_forgotten_where_blocks_are_few():
    assert scenario("conversations").resolve().num_blocks == 16_564
    outcome = result("conversations")
    assert (cache_hits(outcome), ttft(outcome)) == (80, 51)
    outcome = result("conversations", **{"kv.blocks": 9000})
    assert (cache_hits(outcome), ttft(outcome)) == (14, 652)


def test_a_shared_store_finds_the_rounds_of_the_other_replica():
    tiers = scenario("kv-tiers").kv.tiers
    figures = {
        name: (cache_hits(outcome), ttft(outcome))
        for name, outcome in {
            "both": result("kv-tiers"),
            "host": result("kv-tiers", **{"kv.tiers": tiers[:1]}),
            "none": result("kv-tiers", **{"kv.tiers": ()}),
            "slow": result("kv-tiers", **{"network.nic_bandwidth": "1 GB/s"}),
        }.items()
    }
    assert figures == {"both": (76, 51), "host": (18, 69), "none": (12, 72), "slow": (18, 70)}


def test_host_memory_finds_more_and_costs_more():
    outcome = result("two-tier")
    assert (cache_hits(outcome), ttft(outcome)) == (10, 1863)
    outcome = result("two-tier", **{"kv.cpu_blocks": 0})
    assert (cache_hits(outcome), ttft(outcome)) == (3, 1437)


def test_second_replica_takes_the_bursts_of_the_jobs():
    jobs, chat = seconds(JOBS, 2), seconds(CHAT, 2)
    outcome = result("two-models")
    assert (jobs(outcome), chat(outcome)) == (1.04, 0.11)
    outcome = result("two-models", groups=[{"replicas": 2}, {"model": JOBS, "hardware": "A100-80"}])
    assert (jobs(outcome), chat(outcome)) == (3.45, 0.11)


def test_order_of_the_queue_decides_which_tenant_waits():
    outcome = result("multi-tenant")
    assert (p99(outcome, "critical"), p99(outcome, "batch")) == (1.12, 6.72)
    outcome = result("multi-tenant", **{"engine.scheduler": "fcfs"})
    assert (p99(outcome, "critical"), p99(outcome, "batch")) == (3.76, 4.00)


def test_bursts_make_a_queue_where_the_mean_rate_would_not():
    assert p99(result("bursts")) == 1.54
    assert p99(result("bursts", **{"workload.arrivals": "poisson"})) == 0.12
    assert p99(result("bursts", **{"workload.arrivals": "constant"})) == 0.07


def test_prefill_replicas_even_out_the_gaps_and_delay_the_first_token():
    def figures(outcome):
        return round(outcome.metric("longest_gap_p99_ms")), round(outcome.metric("ttft_mean_ms"))

    assert figures(result("prefill-decode")) == (10, 94)
    assert figures(result("prefill-decode", groups=(), replicas=8)) == (93, 66)


def test_the_split_into_prefill_and_decode_replicas_has_an_interior_optimum():
    """With one replica of either kind, it saturates."""
    e2e = [
        result("prefill-decode", **{"groups[0].replicas": prefill, "groups[1].replicas": 8 - prefill}).metric(
            "e2e_mean_ms"
        )
        for prefill in (1, 2, 4, 7)
    ]
    assert e2e[0] > 3 * e2e[1] < e2e[3]
    assert e2e[1] < e2e[2]


def test_a_rush_is_over_sooner_with_more_replicas():
    outcome = result("spike")
    assert (p99(outcome), ttft(outcome)) == (5.14, 567)
    outcome = result("spike", replicas=4)
    assert (p99(outcome), ttft(outcome)) == (0.2, 78)


def test_too_few_blocks_mean_preemptions():
    outcome = result("kv-pressure")
    assert (len(outcome.preemptions), p99(outcome)) == (124, 9.44)
    outcome = result("kv-pressure", **{"kv.blocks": 12_000})
    assert (len(outcome.preemptions), p99(outcome)) == (0, 0.1)
    assert scenario("kv-pressure").with_(**{"kv.blocks": None}).resolve().num_blocks == 16_564


def test_chunks_of_long_prompts_leave_room_for_the_others():
    outcome = result("long-prompts")
    assert (round(outcome.summary["itl_p99_ms"]), p99(outcome, "critical"), p99(outcome, "batch")) == (70, 0.23, 2.77)
    outcome = result("long-prompts", **{"engine.long_prefill_token_threshold": 0})
    assert (round(outcome.summary["itl_p99_ms"]), p99(outcome, "critical"), p99(outcome, "batch")) == (399, 1.57, 2.05)


def test_rejections_keep_the_latency_of_other_requests_low():
    outcome = result("token-bucket")
    assert (len(outcome.rejected), p99(outcome)) == (542, 0.21)
    assert p99(result("token-bucket", admission="always-admit")) == 16.18


def test_stale_snapshots_send_all_requests_to_one_replica():
    assert p99(result("stale-snapshots")) == 2.74
    assert p99(result("stale-snapshots", **{"router.snapshot_interval": 0})) == 0.54
    assert p99(result("stale-snapshots", **{"router.scorers": "kv-utilization:1,queue-depth:1"})) == 0.37


def test_work_on_requests_that_time_out_is_lost():
    outcome = result("deadlines")
    assert (outcome.summary["timed_out_requests"], outcome.summary["completed_requests"]) == (1034, 966)
    outcome = result("deadlines", admission={"policy": "token-bucket", "capacity": 8000, "refill_rate": 11300})
    assert (outcome.summary["timed_out_requests"], outcome.summary["completed_requests"]) == (4, 1611)
    assert len(outcome.rejected) == 385


def test_the_least_loaded_gpu_is_the_faster_one():
    assert p99(result("mixed-gpus")) == 0.27
    assert p99(result("mixed-gpus", router="round-robin")) == 2.27


def test_a_fleet_need_not_keep_every_prompt_everywhere():
    outcome = result("fleet")
    assert (cache_hits(outcome), ttft(outcome)) == (85, 78)
    outcome = result("fleet", router="least-loaded")
    assert (cache_hits(outcome), ttft(outcome)) == (15, 341)


def test_long_answers_fill_the_cache_for_all():
    outcome = result("reasoning")
    assert (p99(outcome, "critical"), len(outcome.preemptions)) == (18.58, 507)
    outcome = result("reasoning", replicas=2)
    assert (p99(outcome, "critical"), len(outcome.preemptions)) == (0.06, 0)


def test_pictures_cost_what_their_tokens_cost():
    outcome = result("images")
    assert (p99(outcome), round(outcome.summary["itl_mean_ms"])) == (0.46, 25)
    outcome = result("images", **{"workload.clients[0].multimodal.image_distribution.value": 250})
    assert (p99(outcome), round(outcome.summary["itl_mean_ms"])) == (0.09, 13)


def test_replicas_that_load_serve_no_requests():
    outcome = result("cold-start")
    assert (outcome.anomalies["rejected_requests_routing"], p99(outcome)) == (586, 14.06)
    outcome = result("cold-start", **{"node_pools[0].initial_nodes": 2})
    assert (outcome.anomalies["rejected_requests_routing"], p99(outcome)) == (586, 0.11)
