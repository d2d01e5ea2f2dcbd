"""Kinds of faults that public reports tell of, each with an input of our own and its right value."""

import json

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.catalog.models import load_model_config
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.workload_spec import WorkloadSpec

SECOND = 1_000_000

WIDTH, DENSE, LAYERS, VOCABULARY, HEAD = 1024, 4096, 4, 10_000, 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "intermediate_size": DENSE,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
}
EMBEDDINGS = 2 * VOCABULARY * WIDTH
ATTENTION = 2 * WIDTH * 8 * HEAD + 2 * WIDTH * 2 * HEAD
MLP = 3 * WIDTH * DENSE
PLAIN = EMBEDDINGS + LAYERS * (ATTENTION + MLP)
KV = 2 * 2 * HEAD  # numbers per token and layer
EXPERT = 3 * WIDTH * 512
MIXTURE = {"model_type": "qwen3_moe", "moe_intermediate_size": 512, "num_experts": 8, "num_experts_per_tok": 2}
MOE = EMBEDDINGS + LAYERS * (ATTENTION + 8 * EXPERT + 8 * WIDTH)
WITHOUT_DENSE = {key: value for key, value in CONFIG.items() if key != "intermediate_size"}
FALCON = {
    "model_type": "falcon",
    "architectures": ["FalconForCausalLM"],
    "activation": "gelu",
    "multi_query": True,
    "new_decoder_architecture": False,
    "parallel_attn": True,
    "bias": False,
    "ffn_hidden_size": DENSE,
    "hidden_size": WIDTH,
    "num_attention_heads": 8,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "dtype": "bfloat16",
    "max_position_embeddings": 2048,
}
NEMOTRON = {
    "model_type": "nemotron_h",
    "hybrid_override_pattern": "M*-M",
    "mamba_num_heads": 8,
    "mamba_head_dim": 64,
    "ssm_state_size": 16,
    "conv_kernel": 4,
    "n_groups": 1,
    "mlp_hidden_act": "relu2",
    "head_dim": HEAD,
}


def quantised(method, **options):
    return {"quantization_config": {"quant_method": method, **options}}


def linear(bits, parameters=LAYERS * (ATTENTION + MLP)):
    """Bytes with this width in all linear layers, and 16 bits elsewhere."""
    return (PLAIN - parameters) * 2 + parameters * bits / 8


CHECKPOINTS = {
    # name: changes of the configuration, side file, what is right
    "16 bits": ({}, None, {"parameters": PLAIN, "weight_bytes": 2 * PLAIN, "growth": LAYERS * KV, "kv_bytes": 2}),
    "MXFP4 has the experts in 4.25 bits": (
        MIXTURE | quantised("mxfp4", modules_to_not_convert=["lm_head"]),
        None,
        {"parameters": MOE, "weight_bytes": 2 * (MOE - LAYERS * 8 * EXPERT) + LAYERS * 8 * EXPERT * 4.25 / 8},
    ),
    "NVFP4 in a side file, with an 8-bit cache": (
        {},
        {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}},
        {"weight_bytes": linear(4.5), "kv_bytes": 1},
    ),
    "ModelOpt's FP8": (
        quantised("modelopt", quant_algo="FP8", exclude_modules=["lm_head"]),
        None,
        {"weight_bytes": linear(8)},
    ),
    "bitsandbytes": (quantised("bitsandbytes", load_in_8bit=True), None, {"weight_bytes": linear(8)}),
    "windows in three of four layers": (
        {"sliding_window": 512, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
        None,
        {"growth": KV},
    ),
    "linear attention in three of four layers": (
        {
            "model_type": "qwen3_next",
            "full_attention_interval": 4,
            "linear_num_key_heads": 4,
            "linear_num_value_heads": 8,
            "linear_key_head_dim": 64,
            "linear_value_head_dim": 64,
            "linear_conv_kernel_dim": 4,
            "head_dim": HEAD,
        },
        None,
        {"growth": KV},
    ),
    "a hybrid of states and attention": (NEMOTRON, None, {"growth": KV}),
    "experts in every second layer": (
        {
            "model_type": "llama4_text",
            "intermediate_size": 512,
            "intermediate_size_mlp": DENSE,
            "num_local_experts": 8,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
        },
        None,
        # Llama 4 has a shared expert beside those that are chosen.
        {"parameters": EMBEDDINGS + LAYERS * ATTENTION + 2 * (9 * EXPERT + 8 * WIDTH) + 2 * MLP},
    ),
    "a mixture without a dense width": (MIXTURE | {"intermediate_size": None}, None, {"parameters": MOE}),
    "experts under other keys": (
        {
            "model_type": "kimi_k2",
            "moe_intermediate_size": 512,
            "num_experts": 8,
            "num_experts_per_token": 2,
            "num_shared_experts": 1,
        },
        None,
        {"parameters": EMBEDDINGS + LAYERS * (ATTENTION + 9 * EXPERT + 8 * WIDTH)},
    ),
    "one KV head and two matrices by flags": (
        FALCON,
        None,
        {
            "growth": LAYERS * 2 * HEAD,
            "parameters": VOCABULARY * WIDTH + LAYERS * (2 * WIDTH * 8 * HEAD + 2 * WIDTH * HEAD + 2 * WIDTH * DENSE),
        },
    ),
    "heads wider than the model": (
        {"head_dim": 256},
        None,
        {"parameters": PLAIN + LAYERS * ATTENTION, "growth": 2 * LAYERS * KV},
    ),
    "a language model in llm_config": (
        {"architectures": ["AcmeVLChat"], "model_type": "internvl_chat", "llm_config": CONFIG},
        None,
        {"parameters": PLAIN, "growth": LAYERS * KV},
    ),
    "rope_parameters of transformers 5": (
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}},
        None,
        {"max_model_len": 16384},
    ),
    "a cache of 8 bits": (
        quantised("fp8", kv_cache_scheme={"num_bits": 8, "type": "float"}),
        None,
        {"kv_bytes": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_has_its_right_size(name, tmp_path):
    changes, side, right = CHECKPOINTS[name]
    config = changes if name.startswith("one KV head") else CONFIG | changes
    if "llm_config" in changes:
        config = changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    if side is not None:
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(side))
    found = load_model_config(tmp_path, "acme/model").architecture
    values = {
        "parameters": found.parameters,
        "weight_bytes": found.weight_bytes,
        "growth": found.kv_numbers_per_token,
        "kv_bytes": found.kv_bytes,
        "max_model_len": found.max_model_len,
    }
    for key, value in right.items():
        # Norms and biases are a few thousandths.
        assert values[key] == pytest.approx(value, rel=2e-3 if key in ("parameters", "weight_bytes") else 0), key


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


PROFILING = {"timestamp_ns": 1_760_000_000 * 10**9, "benchmark_phase": "profiling"}
RESULT = {"backend": "vllm", "model_id": "a/m", "input_lens": [30, 40], "output_lens": [4, 2], "ttfts": [0.1, 0.3]}
RESULT |= {"itls": [[0.02, 0.02, 0.02], [0.04]], "errors": ["", ""], "duration": 3.0, "completed": 2, "num_prompts": 2}
RECORD = {
    "input_sequence_length": {"value": 77, "unit": "tokens"},
    "output_sequence_length": {"value": 9, "unit": "tokens"},
}
RECORD |= {"ttft": {"value": 80.0, "unit": "ms"}, "request_latency": {"value": 300.0, "unit": "ms"}}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"

TRACES = {
    # name: file, content, options, requests as (arrival, prompt, output)
    "a burst has all its requests at once": (
        "burst.json",
        json.dumps(RESULT | {"request_rate": "inf"}),
        {},
        [(0, 30, 4), (0, 40, 2)],
    ),
    "sessions with a delay": (
        "sessions.jsonl",
        lines(
            {"session_id": "x", "timestamp": 500.0, "input_length": 300, "output_length": 8, "hash_ids": [1]},
            {"session_id": "x", "delay": 250, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]},
        ),
        {},
        [(0, 300, 8), (250_000, 600, 3)],
    ),
    "JSON lines with nanoseconds": (
        "log.jsonl",
        lines(*({"arrival_time_ns": 10**9 + n * 2 * 10**6, "input_toks": 7 + n, "output_toks": 3} for n in range(2))),
        {},
        [(0, 7, 3), (2000, 8, 3)],
    ),
    "several runs of SGLang in one file": (
        "runs.jsonl",
        lines(*[{"dataset_name": "random", **RESULT, "backend": "sglang", "request_rate": 2.0}] * 2),
        {},
        [(0, 30, 4), (SECOND // 2, 40, 2), (3 * SECOND, 30, 4), (7 * SECOND // 2, 40, 2)],
    ),
    "a result without start times keeps its rate": (
        "result.json",
        json.dumps(RESULT | {"request_rate": 4.0}),
        {},
        [(0, 30, 4), (SECOND // 4, 40, 2)],
    ),
    "another rate in its place": (
        "result.json",
        json.dumps(RESULT | {"request_rate": 4.0}),
        {"rate": 1},
        [(0, 30, 4), (SECOND, 40, 2)],
    ),
    "counts with a fraction": ("azure.csv", AZURE + "2024-01-01 00:00:00.0,12.0,3.0\n", {}, [(0, 12, 3)]),
    "spaces after commas": (
        "azure.csv",
        AZURE.replace(",", ", ") + "2024-01-01 00:00:00.25, 12, 3\n2024-01-01 00:00:01.0, 13, 4\n",
        {},
        [(0, 12, 3), (750_000, 13, 4)],
    ),
    "tabs": (
        "table.tsv",
        "arrival\tprompt_tokens\toutput_tokens\n5\t12\t3\n6\t1\t1\n",
        {},
        [(0, 12, 3), (SECOND, 1, 1)],
    ),
    "records of aiperf without the cancelled": (
        "profile_export.jsonl",
        lines(
            {"metadata": PROFILING, "metrics": RECORD, "error": None},
            {"metadata": PROFILING, "metrics": {}, "error": {"code": 499}},
        ),
        {},
        [(0, 77, 9)],
    ),
    "lengths without arrivals": (
        "lengths.csv",
        "num_prefill_tokens,num_decode_tokens\n9,1\n8,2\n",
        {"rate": "30/min"},
        [(0, 9, 1), (2 * SECOND, 8, 2)],
    ),
    "a prompt of no tokens has one": ("empty.csv", "arrival,input_tokens,output_tokens\n0,0,5\n", {}, [(0, 1, 5)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_trace_has_its_right_requests(name, tmp_path):
    file, content, options, right = TRACES[name]
    (tmp_path / file).write_text(content)
    trace = blis.load_trace(tmp_path / file, **options)
    columns = (trace.columns[key].tolist() for key in ("arrival_time_us", "input_tokens", "output_tokens"))
    assert list(zip(*columns, strict=True)) == right


def test_nothing_is_reported_lost_that_was_not_there(tmp_path):
    (tmp_path / "three.csv").write_text("when,in,out\n0,5,2\n1,6,3\n")
    columns = {"arrival": "when", "input_tokens": "in", "output_tokens": "out"}
    assert not blis.load_trace(tmp_path / "three.csv", format="table", columns=columns).not_kept


@pytest.mark.parametrize("arrival", ["4611686018427387904", "9223372036854775807", "1e40"])
def test_arrival_beyond_the_clock_is_one_line_with_its_place(arrival, tmp_path):
    (tmp_path / "late.csv").write_text(f"arrival_us,input_tokens,output_tokens\n0,5,2\n{arrival},6,3\n")
    with pytest.raises(blis.WorkloadTraceError) as caught:
        blis.load_trace(tmp_path / "late.csv")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "late.csv"), 3)
    assert arrival in str(problem)


def folder(tmp_path, *clients):
    """Write clients as ServeGen does: rows of start, rate, cv and pattern, and tables by start."""
    for number, (rows, tables) in enumerate(clients):
        text = "".join(f"{','.join(map(str, row))},1,1\n" for row in rows)
        (tmp_path / f"chunk-{number}-trace.csv").write_text(text)
        (tmp_path / f"chunk-{number}-dataset.json").write_text(json.dumps(tables))
    return ServegenData(path=str(tmp_path))


LENGTHS = {"input_tokens": "{100: 1.0}", "output_tokens": "{7: 1.0}"}
EMPTY = {"input_tokens": "{}", "output_tokens": "{}"}


def lengths_and_counts(data, seconds):
    workload = WorkloadSpec(servegen_data=data).generate(RandomStreams(3), horizon=seconds * SECOND)
    windows = np.bincount([r.arrived_at // (600 * SECOND) for r in workload.requests], minlength=seconds // 600)
    return {(r.input_tokens, r.output_tokens) for r in workload.requests}, windows / 600


def test_window_without_requests_is_left_out(tmp_path):
    rows = [(0, 1.0, 1.0, "Gamma"), (600, 1.0, 1.0, "Gamma")]
    data = folder(tmp_path, (rows, {"0": EMPTY, "600": LENGTHS}), (rows, {"0": EMPTY, "600": EMPTY}))
    lengths, rates = lengths_and_counts(data, 1200)
    assert lengths == {(100, 7)}
    assert rates == pytest.approx([1, 1], rel=0.15)


@pytest.mark.parametrize("pattern", ["Gamma", "Weibull"])
def test_coefficient_of_variation_beyond_the_table_is_read(tmp_path, pattern, caplog):
    """A gamma process is as bursty as measured; a Weibull process as bursty as one can be."""
    data = folder(tmp_path, ([(0, 50.0, 14.0, pattern)], {"0": LENGTHS}))
    (client,) = data.measured_clients()
    assert client.arrival.cv == (14.0 if pattern == "Gamma" else 10.4)
    assert bool(caplog.messages) is (pattern == "Weibull")


def test_multimodal_layout_is_read(tmp_path):
    """80 tokens of text, and two images of 300 each."""
    tables = {"text_tokens": "{80: 1.0}", "image_tokens": "{300: 1.0}", "image_count": "{2: 1.0}"}
    data = folder(tmp_path, ([(0, 1.0, 1.0, "Gamma")], {"0": {**tables, "output_tokens": "{7: 1.0}"}}))
    assert lengths_and_counts(data, 600)[0] == {(680, 7)}


def test_load_of_a_folder_is_not_the_sum_of_the_peaks(tmp_path):
    """Two clients with 6/s in one window each, and 0.5/s in the others."""
    first, second = ([(600 * n, 6.0 if n == peak else 0.5, 1.0, "") for n in range(4)] for peak in (0, 2))
    data = folder(tmp_path, *((rows, {"0": LENGTHS}) for rows in (first, second)))
    _, rates = lengths_and_counts(data, 2400)
    assert rates == pytest.approx([6.5, 1.0, 6.5, 1.0], rel=0.15)


def test_configuration_of_inference_perf_is_a_workload(tmp_path):
    """3/s for 20 s and 6/s for 10 s, after a pause of 5 s; prompts of 64 shared and 32 own tokens."""
    (tmp_path / "config.yml").write_text("""\
load: {type: poisson, interval: 5, stages: [{rate: 3, duration: 20}, {rate: 6, duration: 10}]}
api: {type: completion}
data:
  type: shared_prefix
  shared_prefix: {num_groups: 2, num_prompts_per_group: 4, system_prompt_len: 64, question_len: 32, output_len: 16}
""")
    spec = blis.load_workload(tmp_path / "config.yml")
    requests = spec.generate(RandomStreams(5), horizon=spec.ends_at).requests
    assert {(r.input_tokens, r.output_tokens) for r in requests} == {(96, 16)}
    assert len({r.prefix_group for r in requests}) == 2
    ticks = np.array([r.arrived_at for r in requests])
    assert len(ticks) == pytest.approx(120, rel=0.3)
    assert not np.any((ticks > 20 * SECOND) & (ticks < 25 * SECOND))
