"""Whole scenarios with the decisions of vLLM and our step times.

The expected figures come from the scheduler of vLLM 0.32, driven with the requests and the step times of these
scenarios. Every setting is written out, so that no default moves a figure.
"""

import pytest

import blis_simpy as blis

SWITCHES = {
    "profile": "vllm",
    "long_prefill_token_threshold_adaptive": False,
    "long_prefill_threshold_if_alone": False,
    "max_model_len": 40_960,
    "over_length": "clip",
    "step_effects": "end",
    "idle_pause": 1000,
    "reserve_full_sequence": True,
    "watermark": 0.0,
    "victim": "latest",
    "resume": "recompute",
    "scheduler": "fcfs",
    "priority": "constant",
    "batching": "continuous",
}
CHAT = (blis.Gaussian(512, 128, 32, 2048), blis.Gaussian(256, 64, 16, 1024))


def scenario(workload, *, asynchronous, blocks, max_num_batched_tokens=2048, long_prefill_token_threshold=0):
    return blis.Scenario(
        model="qwen/qwen3-14b",
        hardware="H100",
        tp=1,
        replicas=1,
        seed=42,
        latency=blis.LatencySettings(backend="trained-physics"),
        engine=blis.EngineSettings(
            **SWITCHES,
            max_num_seqs=256,
            max_num_batched_tokens=max_num_batched_tokens,
            long_prefill_token_threshold=long_prefill_token_threshold,
            async_scheduling=asynchronous,
        ),
        kv=blis.KVSettings(
            store="block-pool",
            prefix_caching=True,
            block_size=16,
            blocks=blocks,
            capacity_rules="blis",
            reserved_blocks=1,
            gpu_memory_utilization=0.9,
        ),
        workload=workload,
    )


def chat(rate, num_requests):
    prompt, output = CHAT
    return blis.Workload(rate=rate, num_requests=num_requests, arrivals="poisson", prompt=prompt, output=output)


def client(name, fraction, prompt, output):
    return blis.Client(
        id=name, rate_fraction=fraction, arrival="poisson", input_distribution=prompt, output_distribution=output
    )


QUICKSTART = {"workload": chat(30.0, 2000), "blocks": None}
QUIET = {"workload": chat(5.0, 600), "blocks": None}
LONG_PROMPTS = {
    "workload": blis.WorkloadSpec(
        aggregate_rate=10.0,
        num_requests=800,
        clients=[
            client("chat", 9, blis.Gaussian(256, 64, 16, 1024), blis.Gaussian(256, 64, 16, 1024)),
            client("papers", 1, 16_000, 200),
        ],
    ),
    "blocks": None,
    "max_num_batched_tokens": 8192,
    "long_prefill_token_threshold": 512,
}
KV_PRESSURE = {
    "workload": blis.Workload(
        rate=4.0,
        num_requests=400,
        arrivals="poisson",
        prompt=blis.Gaussian(512, 128, 32, 2048),
        output=blis.Exponential(1024),
    ),
    "blocks": 6000,
}


@pytest.mark.parametrize("macro_steps", [True, False], ids=["macro-steps", "single steps"])
@pytest.mark.parametrize(
    ("options", "asynchronous", "ttft_mean_ms", "ttft_p99_ms"),
    [
        (QUIET, False, 38.01, 45.87),
        (QUIET, True, 51.68, 59.80),
        (QUICKSTART, False, 59.05, 81.59),
        (QUICKSTART, True, 86.49, 111.05),
        (LONG_PROMPTS, False, 132.53, 1089.73),
        (LONG_PROMPTS, True, 156.84, 1115.48),
    ],
)
def test_times_to_the_first_token_are_those_of_vllms_scheduler(
    options, asynchronous, ttft_mean_ms, ttft_p99_ms, macro_steps
):
    result = scenario(**options, asynchronous=asynchronous).with_(**{"engine.macro_steps": macro_steps}).run()
    assert round(result.summary["ttft_mean_ms"], 2) == ttft_mean_ms
    assert round(result.summary["ttft_p99_ms"], 2) == ttft_p99_ms
    assert result.preemptions == []


@pytest.mark.parametrize(("asynchronous", "ttft_mean_ms"), [(False, 3506.7), (True, 3540.0)])
def test_preemptions_and_their_gaps_are_those_of_vllms_scheduler(asynchronous, ttft_mean_ms):
    """6000 blocks for outputs of 1024 tokens on the average: requests wait up to 14.42 s between two tokens."""
    result = scenario(**KV_PRESSURE, asynchronous=asynchronous).run()
    assert len(result.preemptions) == 231
    assert round(result.summary["ttft_mean_ms"], 1) == ttft_mean_ms
    assert round(result.aggregate.itl.values.max() / blis.SECOND, 2) == 14.42
