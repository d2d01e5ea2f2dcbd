"""Metrics: Prometheus' own parser takes them, and they are vLLM's names, labels, buckets and the run's figures."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.export.prometheus import EngineState, prometheus_text

parser = pytest.importorskip("prometheus_client.parser")

KINDS = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
    "vllm:iteration_tokens_total": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:request_time_per_output_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_inference_time_seconds": "histogram",
    "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram",
}
REQUEST_LATENCY = "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0 1920.0"


class Scrape:
    def __init__(self, text):
        assert text.endswith("\n")
        self.families = {family.name: family for family in parser.text_string_to_metric_families(text)}

    def value(self, name, engine=0, **labels):
        (found,) = self.samples(name, engine, **labels)
        return found.value

    def samples(self, name, engine=0, **labels):
        wanted = {"engine": str(engine), **labels}
        return [
            sample
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and wanted.items() <= sample.labels.items()
        ]

    def buckets(self, name, engine=0):
        return {sample.labels["le"]: sample.value for sample in self.samples(f"{name}_bucket", engine)}


@pytest.fixture
def scrape(tmp_path):
    def scrape(result):
        result.write_prometheus(tmp_path / "metrics.prom")
        return Scrape((tmp_path / "metrics.prom").read_text())

    return scrape


def test_names_kinds_and_labels_are_those_of_vllm(serve, scrape):
    seen = scrape(serve((10, 2, 0)).result)
    assert {name: family.type for name, family in seen.families.items()} == KINDS
    for family in seen.families.values():
        assert family.documentation
        for sample in family.samples:
            labels = set(sample.labels) - {"le", "finished_reason"}
            assert labels == {"engine", "model_name"}
            assert sample.labels["model_name"] == "any/model"


def test_one_request_by_hand(serve, scrape):
    """Prompt of 400 in 500 µs, five decodes of 110 µs: TTFT 500, E2E 1050 µs; 25 full blocks and one more of 10,000."""
    seen = scrape(serve((400, 6, 0)).result)
    for name, value in {
        "vllm:prompt_tokens_total": 400,
        "vllm:generation_tokens_total": 6,
        "vllm:prefix_cache_queries_total": 400,
        "vllm:prefix_cache_hits_total": 0,
        "vllm:num_preemptions_total": 0,
        "vllm:iteration_tokens_total_sum": 405,
        "vllm:iteration_tokens_total_count": 6,
        "vllm:time_to_first_token_seconds_sum": 0.0005,
        "vllm:inter_token_latency_seconds_sum": 0.00055,
        "vllm:inter_token_latency_seconds_count": 5,
        "vllm:request_time_per_output_token_seconds_sum": 0.00011,
        "vllm:e2e_request_latency_seconds_sum": 0.00105,
        "vllm:request_queue_time_seconds_sum": 0,
        "vllm:request_inference_time_seconds_sum": 0.00105,
        "vllm:request_prefill_time_seconds_sum": 0.0005,
        "vllm:request_decode_time_seconds_sum": 0.00055,
    }.items():
        assert seen.value(name) == value, name
    assert seen.buckets("vllm:iteration_tokens_total")["1.0"] == 5
    assert seen.buckets("vllm:iteration_tokens_total")["256.0"] == 5
    assert seen.buckets("vllm:iteration_tokens_total")["512.0"] == 6
    assert seen.buckets("vllm:time_to_first_token_seconds")["0.001"] == 1


def test_a_value_on_a_limit_belongs_below_it(serve, scrape):
    """A first step of exactly 1 ms: 100 + 900."""
    seen = scrape(serve((900, 1, 0), (901, 1, 10_000)).result)
    first, *others = seen.buckets("vllm:time_to_first_token_seconds").items()
    assert first == ("0.001", 1)
    assert {count for _, count in others} == {2}


def test_buckets_are_those_of_vllm_and_only_grow(serve, scrape):
    seen = scrape(serve((700, 20, 0), (300, 5, 50)).result)
    for name in ("e2e_request_latency", "request_queue_time", "request_prefill_time", "request_decode_time"):
        assert list(seen.buckets(f"vllm:{name}_seconds")) == [*REQUEST_LATENCY.split(), "7680.0", "+Inf"]
    limits = list(seen.buckets("vllm:time_to_first_token_seconds"))
    assert (limits[:4], limits[-3:], len(limits)) == (
        ["0.001", "0.005", "0.01", "0.02"],
        ["640.0", "2560.0", "+Inf"],
        23,
    )
    limits = list(seen.buckets("vllm:inter_token_latency_seconds"))
    assert (limits[:3], limits[-2:], len(limits)) == (["0.01", "0.025", "0.05"], ["80.0", "+Inf"], 20)
    assert list(seen.buckets("vllm:request_prompt_tokens")) == [
        *("1.0", "2.0", "5.0", "10.0", "20.0", "50.0", "100.0", "200.0", "500.0", "+Inf")
    ]
    for name, kind in KINDS.items():
        if kind == "histogram":
            counts = list(seen.buckets(name).values())
            assert counts == sorted(counts)
            assert counts[-1] == seen.value(f"{name}_count")


def test_final_state_of_an_unfinished_run(serve, scrape):
    """One slot: at tick 300 one request of 10 + 50 tokens holds one of 8 blocks, two wait, one gave up at 150."""
    rows = ((10, 50, 0), (10, 50, 0, {"deadline": 150}), (10, 50, 0), (10, 50, 0))
    seen = scrape(serve(*rows, blocks=8, horizon=300, max_num_seqs=1).result)
    assert seen.value("vllm:num_requests_running") == 1
    assert seen.value("vllm:num_requests_waiting") == 2
    assert seen.value("vllm:kv_cache_usage_perc") == 1 / 8
    success = {reason: seen.value("vllm:request_success_total", finished_reason=reason) for reason in ("stop", "abort")}
    assert success == {"stop": 0, "abort": 1}
    assert seen.value("vllm:time_to_first_token_seconds_count") == 1
    assert seen.value("vllm:e2e_request_latency_seconds_count") == 0
    assert seen.value("vllm:generation_tokens_total") == 0


def test_a_capped_request_finished_by_length(serve, scrape):
    seen = scrape(serve((10, 50, 0, {"max_output_tokens": 0}), (10, 2, 0), max_model_len=20).result)
    success = {
        reason: seen.value("vllm:request_success_total", finished_reason=reason) for reason in ("stop", "length")
    }
    assert success == {"stop": 1, "length": 1}


def test_cached_tokens_are_hits(serve, scrape):
    """Both prompts of 80 tokens share 64, four blocks, which the second one finds."""
    shared = {"prefix": ("system", 64)}
    seen = scrape(serve((80, 1, 0, shared), (80, 1, 5000, shared)).result)
    assert seen.value("vllm:prefix_cache_queries_total") == 160
    assert seen.value("vllm:prefix_cache_hits_total") == 64


def test_lookups_after_a_preemption_do_not_count(serve, scrape):
    """Three requests of 30 + 40 tokens in 8 blocks of 16 with seven preemptions: 3 first admissions of 30 tokens."""
    result = serve((30, 40, 0), (30, 40, 0), (30, 40, 0), blocks=8).result
    seen = scrape(result)
    assert seen.value("vllm:num_preemptions_total") == len(result.preemptions) == 7
    assert seen.value("vllm:prefix_cache_queries_total") == 3 * 30
    assert seen.value("vllm:prefix_cache_hits_total") == 0


def test_sums_and_counts_are_those_of_the_result(scrape):
    """On a cluster, over all engines: the very figures of the summary."""
    workload = blis.Workload(rate="40/s", num_requests=200, arrivals="poisson")
    result = blis.Scenario(model="qwen/qwen3-14b", hardware="H100", tp=1, replicas=3, workload=workload).run()
    seen, summary = scrape(result), result.summary

    def total(name):
        return sum(seen.value(name, engine) for engine in range(3))

    assert total("vllm:generation_tokens_total") == summary["total_output_tokens"]
    assert total("vllm:prompt_tokens_total") == summary["total_input_tokens"]
    assert total("vllm:e2e_request_latency_seconds_count") == summary["completed_requests"] == 200
    for kind, name in (("ttft", "time_to_first_token"), ("e2e", "e2e_request_latency"), ("itl", "inter_token_latency")):
        mean_s = total(f"vllm:{name}_seconds_sum") / total(f"vllm:{name}_seconds_count")
        assert mean_s * 1000 == pytest.approx(summary[f"{kind}_mean_ms"], rel=1e-12)
    assert [seen.value("vllm:request_success_total", engine, finished_reason="stop") for engine in range(3)] == (
        np.bincount(result.requests["replica"]).tolist()
    )


def test_special_characters_of_model_names_are_escaped():
    columns = dict.fromkeys(
        (
            *("replica", "input_tokens", "output_tokens", "num_preemptions", "generated_tokens", "ttft_us", "e2e_us"),
            *(
                "cached_tokens",
                "itl_count",
                "itl_mean_us",
                "arrived_at_us",
                "queued_at_us",
                "first_scheduled_at_us",
                "finished_at_us",
            ),
        ),
        np.empty(0, np.int64),
    )
    columns |= {"outcome": np.empty(0, object), "length_capped": np.empty(0, bool)}
    steps = dict.fromkeys(("replica", "prefill_tokens", "decode_tokens", "used_blocks"), np.empty(0, np.int64))
    nothing = np.empty(0, np.int64)
    name = 'a"b\\c\nd'
    engine = EngineState(model_name=name, total_blocks=5, caches_prefixes=True, gaps_us=nothing, gap_counts=nothing)
    (sample,) = Scrape(prometheus_text(columns, steps, [engine])).samples("vllm:kv_cache_usage_perc")
    assert (sample.labels["model_name"], sample.value) == (name, 0)
