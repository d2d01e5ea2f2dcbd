import json
from pathlib import Path

import attrs
import pytest

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.errors import ScenarioError

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "kv_capacity.json").read_text())
MODELS = {figures["name"]: ModelSpec(**figures) for figures in RECORDED["models"]}
LLAMA_8B = Catalog.load().model("meta-llama/Llama-3.1-8B-Instruct")


def outcome(model, row):
    keys = ("gpu_memory_gib", "tp", "gpu_memory_utilization", "block_size", "dp")
    try:
        return reference_kv_blocks(model, *(row[key] for key in keys)), ""
    except ScenarioError as error:
        return 0, error.code


def row_id(row):
    return f"{row['model']}-tp{row['tp']}-u{row['gpu_memory_utilization']}-b{row['block_size']}-dp{row['dp']}"


@pytest.mark.parametrize("row", RECORDED["rows"], ids=row_id)
def test_capacity_is_as_recorded(row):
    assert outcome(MODELS[row["model"]], row) == (row["blocks"], row["error"])


@pytest.mark.parametrize("row", RECORDED["catalog_rows"], ids=row_id)
def test_capacity_of_catalog_models_with_head_dim_latent_attention_and_dense_prefix_is_as_recorded(row):
    assert outcome(Catalog.load().model(row["model"]), row) == (row["blocks"], row["error"])


@pytest.mark.parametrize(
    ("model", "tp", "blocks"),
    [("meta-llama/Llama-3.1-8B-Instruct", 1, 26312), ("qwen3-14b", 1, 15909), ("deepseek-v2-lite", 2, 227390 // 2)],
)
def test_worked_examples_on_h100(model, tp, blocks):
    spec = Catalog.load().model(model)
    assert reference_kv_blocks(spec, 80.0, tp) == blocks


def test_blocks_are_cut_from_the_memory_of_one_gpu_not_of_all():
    """A real vLLM server had 31357 blocks; without the division by tp it would be 124207."""
    llama_2_70b = ModelSpec(
        name="meta-llama/Llama-2-70b-hf",
        num_layers=80,
        hidden_size=8192,
        num_heads=64,
        num_kv_heads=8,
        intermediate_size=28672,
        vocab_size=32000,
        hidden_act="silu",
        bytes_per_param=2.0,
    )
    assert reference_kv_blocks(llama_2_70b, 80.0, tp=4) == 31051


def test_data_parallel_ranks_of_a_mixture_of_experts_add_their_blocks():
    mixture = Catalog.load().model("qwen3-30b-a3b")
    assert reference_kv_blocks(mixture, 80.0, 2, dp=2) == 2 * reference_kv_blocks(mixture, 80.0, 2)
    assert reference_kv_blocks(LLAMA_8B, 80.0, 2, dp=2) == reference_kv_blocks(LLAMA_8B, 80.0, 2)


def test_model_that_does_not_fit_says_how_many_gpus_it_takes():
    """141.1 GB of weights are 131.4 GiB; with 5.5 GiB on GPUs of 71.4 GiB each that takes two."""
    with pytest.raises(ScenarioError) as caught:
        reference_kv_blocks(Catalog.load().model("meta-llama/Llama-3.1-70B-Instruct"), 80.0, tp=1)
    assert caught.value.code == "insufficient_memory"
    assert str(caught.value) == (
        "tp is too small for meta-llama/Llama-3.1-70B-Instruct: 137.1 GiB for weights and activations, "
        "72.0 GiB usable, got 1; it takes at least 2 GPUs of this kind"
    )


def test_gpu_that_is_too_small_for_any_number_says_so():
    with pytest.raises(ScenarioError, match="too small for any number of them"):
        reference_kv_blocks(LLAMA_8B, 0.5, tp=1)


def test_missing_figure_is_one_clear_line():
    with pytest.raises(ScenarioError) as caught:
        reference_kv_blocks(Catalog.load().model("deepseek-v4-flash"), 80.0, tp=8)
    assert str(caught.value) == (
        "model.intermediate_size must be > 0, got 0; the KV capacity of deepseek-ai/DeepSeek-V4-Flash needs it: "
        "correct the figure or give kv.blocks"
    )


@pytest.mark.parametrize(
    ("changes", "arguments", "code"),
    [
        ({"num_shared_experts": 1}, {}, "moe_expert_count_missing"),
        ({}, {"gpu_memory_utilization": float("nan")}, "bad_gpu_memory_utilization"),
        ({}, {"gpu_memory_utilization": 1.01}, "bad_gpu_memory_utilization"),
        ({}, {"tp": 0}, "bad_tp"),
        ({}, {"block_size": 0}, "bad_block_size"),
        ({}, {"dp": 0}, "bad_dp"),
        ({"num_heads": 0, "num_layers": 0}, {}, "bad_heads"),
        ({"num_layers": 0}, {}, "bad_layers"),
        ({"hidden_size": 0}, {}, "bad_hidden"),
        ({"vocab_size": 0}, {}, "bad_vocab"),
        ({"bytes_per_param": 0.0}, {}, "bad_bytes_per_param"),
        ({}, {"gpu_memory_gib": 0.0}, "bad_gpu_memory"),
        ({"weight_bytes_per_param": -1.0}, {}, "bad_weight_bytes"),
        ({"hidden_size": 4100}, {}, "hidden_not_divisible_by_heads"),
        ({"hidden_act": "SiLU"}, {}, "unsupported_activation"),
        ({"num_kv_heads": -1}, {}, "negative_kv_heads"),
        ({}, {"tp": 3}, "kv_heads_not_divisible_by_tp"),
        ({}, {"gpu_memory_utilization": 0.2578, "block_size": 4096}, "zero_blocks"),
        ({"bytes_per_param": 1e-9}, {}, "zero_block_bytes"),
    ],
)
def test_each_unusable_figure_has_its_code(changes, arguments, code):
    arguments = {"gpu_memory_gib": 80.0, "tp": 1, **arguments}
    with pytest.raises(ScenarioError) as caught:
        reference_kv_blocks(attrs.evolve(LLAMA_8B, **changes), **arguments)
    assert caught.value.code == code


def test_explicit_head_dim_and_latent_attention_need_no_divisible_width():
    assert reference_kv_blocks(attrs.evolve(LLAMA_8B, hidden_size=4100, head_dim=128), 80.0, 1) > 0
    assert reference_kv_blocks(attrs.evolve(LLAMA_8B, kv_lora_rank=512, qk_rope_head_dim=64), 80.0, 3) > 0
