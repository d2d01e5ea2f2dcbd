import json

import attrs
import pytest

import blis_simpy as blis
from blis_simpy.catalog.checkpoint.reader import read_architecture
from blis_simpy.catalog.kv_blocks import growing_bytes_per_token, kv_blocks, sequence_bytes
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.catalog.models import ModelSpec, load_model_config
from blis_simpy.errors import ScenarioError

DENSE = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
WINDOWS = {"sliding_window": 1024, "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 8}


def architecture(**changes):
    return read_architecture({**DENSE, **changes}, "acme/model")


def blocks(tp=1, tokens=0, **changes):
    return kv_blocks(architecture(**changes), 80.0, tp, sequence_tokens=tokens)


def test_dense_model_has_as_many_blocks_as_by_the_rules_of_the_reference():
    reference = reference_kv_blocks(ModelSpec.from_hf_config(DENSE, "acme/model"), 80.0, 1)
    assert blocks() == blocks(tokens=32768) == reference == 26_314


@pytest.mark.parametrize(("tp", "expected"), [(2, 251_333), (4, 271_893), (8, 282_174)])
def test_each_gpu_keeps_a_kv_head_where_there_are_more_gpus_than_heads(tp, expected):
    assert blocks(tp=tp, num_key_value_heads=2) == expected


def test_growth_is_halved_by_each_doubling_of_gpus_down_to_one_head():
    few = architecture(num_key_value_heads=2)
    assert [growing_bytes_per_token(few, tp) for tp in (1, 2, 4)] == [32_768, 16_384, 16_384]


def test_every_gpu_keeps_the_whole_latent_cache():
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    assert [growing_bytes_per_token(architecture(**latent), tp) for tp in (1, 8)] == [32 * 576 * 2.0] * 2


def test_eight_bit_cache_has_room_for_twice_the_blocks():
    stated = {"quant_method": "modelopt", "quant_algo": "FP8"}
    wide = blocks(quantization_config=stated)
    narrow = blocks(quantization_config={**stated, "kv_cache_scheme": {"num_bits": 8, "type": "float"}})
    assert narrow - 2 * wide in (0, 1)


def test_fp8_of_modelopt_leaves_the_input_embedding_in_16_bits():
    """7,503,609,856 weights take one byte, 524,288,000 of the embedding and 262,144 of norms two: 7.965 GiB.

    80 * 0.9 - 5.5 - 0.15 - 7.965 GiB hold 29,892 blocks of 2 MiB. The output embedding is quantised unless the
    checkpoint excludes it, the input embedding never is: `get_quant_method` in `quantization/modelopt.py` of vLLM. With
    one byte for the input embedding, too, there would be 250 blocks more, 0.8 %.
    """
    assert blocks(quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"}) == 29_892


def test_side_file_of_modelopt_sets_the_types_of_weights_and_of_the_kv_cache(tmp_path):
    """NVFP4 has an 8-bit scale for 16 weights of 4 bits; both embeddings stay in 16 bits: 5.610 GiB of weights.

    vLLM takes the type of the KV cache from this file, too (vllm-project/vllm#29980), so 60.740 GiB hold blocks of
    1 MiB. A 16-bit cache has half of them. Without the scales of the weights there would be 416 blocks more, 0.7 %.
    """
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": ["lm_head"],
    }
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    (tmp_path / "hf_quant_config.json").write_text(
        json.dumps({"producer": {"name": "modelopt"}, "quantization": quantization})
    )
    eight_bit = load_model_config(tmp_path, "acme/model").architecture
    assert kv_blocks(eight_bit, 80.0, 1) == 62_197
    assert kv_blocks(attrs.evolve(eight_bit, kv_bytes=2.0), 80.0, 1) == 62_197 // 2


def test_blocks_hold_the_layers_whose_cache_grows():
    assert growing_bytes_per_token(architecture(**WINDOWS), 1) == 32_768
    assert blocks(**WINDOWS) == pytest.approx(4 * 26_314, abs=4)


def test_windows_of_a_sequence_are_spread_over_its_blocks():
    """24 layers keep 1,024 tokens of 4,096 bytes: as much as 3,072 tokens of the 8 others."""
    assert sequence_bytes(architecture(**WINDOWS), 1, 32_768) == 24 * 1024 * 4096
    assert blocks(tokens=32_768, **WINDOWS) == pytest.approx(4 * 26_314 / (1 + 3072 / 32_768), abs=4)


def test_short_sequences_keep_all_their_tokens_in_all_layers():
    assert blocks(tokens=1024, **WINDOWS) == 26_314


def test_window_that_all_layers_have_changes_nothing_as_in_vllm():
    assert blocks(sliding_window=1024) == 26_314


def test_states_of_recurrent_layers_are_spread_over_the_blocks_of_a_sequence():
    hybrid = {
        "model_type": "bamba",
        "attn_layer_indices": [7, 15, 23, 31],
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
    }
    found = architecture(**hybrid)
    state = 28 * 2.0 * (128 * 64 * 128 + 3 * (128 * 64 + 2 * 8 * 128))
    assert growing_bytes_per_token(found, 1) == 4 * 4096
    assert sequence_bytes(found, 1, 4096) == state
    assert sequence_bytes(found, 4, 4096) == state / 4
    assert blocks(tokens=4096, **hybrid) < blocks(**hybrid) / 1.5


def test_model_of_states_only_needs_the_length_of_its_sequences():
    recurrent = {
        key: DENSE[key] for key in ("hidden_size", "vocab_size", "num_hidden_layers", "torch_dtype", "hidden_act")
    }
    found = read_architecture({**recurrent, "model_type": "mamba2"}, "acme/model")
    free_bytes = (80.0 * 0.9 - 5.5 - 0.15) * 2**30 - found.weight_bytes
    sequences = free_bytes / sequence_bytes(found, 1, 2048)
    assert kv_blocks(found, 80.0, 1, sequence_tokens=2048) == pytest.approx(sequences * 2048 / 16, rel=1e-4)
    with pytest.raises(ScenarioError, match=r"engine\.max_model_len must be given"):
        kv_blocks(found, 80.0, 1)


def test_experts_are_divided_among_data_parallel_ranks():
    mixture = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    one = kv_blocks(architecture(**mixture), 80.0, 2)
    assert kv_blocks(architecture(**mixture), 80.0, 2, dp=2) > 2 * one


@pytest.mark.parametrize(
    ("changes", "arguments", "code"),
    [
        ({}, {"gpu_memory_utilization": 0.0}, "bad_gpu_memory_utilization"),
        ({}, {"tp": 0}, "bad_tp"),
        ({}, {"block_size": 0}, "bad_block_size"),
        ({}, {"dp": 0}, "bad_dp"),
        ({}, {"gpu_memory_gib": 0.0}, "bad_gpu_memory"),
        ({}, {"tp": 3}, "heads_not_divisible_by_tp"),
        ({"num_key_value_heads": 3, "head_dim": 128}, {"tp": 2}, "kv_heads_not_divisible_by_tp"),
        ({}, {"gpu_memory_gib": 20.0}, "insufficient_memory"),
    ],
)
def test_each_unusable_figure_has_its_code(changes, arguments, code):
    with pytest.raises(ScenarioError) as caught:
        kv_blocks(architecture(**changes), **{"gpu_memory_gib": 80.0, "tp": 1, **arguments})
    assert caught.value.code == code


def scenario(tmp_path, rules="vllm", tp=1, backend="roofline", **changes):
    config = {key: value for key, value in {**DENSE, **changes}.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return blis.Scenario(
        model="acme/model",
        model_config=str(tmp_path),
        hardware="H100",
        tp=tp,
        latency=blis.LatencySettings(backend=backend),
        engine=blis.EngineSettings(profile="blis"),
        kv=blis.KVSettings(capacity_rules=rules, gpu_memory_utilization=0.9),
    )


def test_rules_are_chosen_by_a_setting(tmp_path):
    mixture = {"model_type": "acme", "num_local_experts": 8, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2}
    found = {rules: scenario(tmp_path, rules, tp=4, **mixture).resolve().num_blocks for rules in ("blis", "vllm")}
    assert found["blis"] < found["vllm"]
    by_profile = scenario(tmp_path, None, tp=4, **mixture)
    assert by_profile.resolve().num_blocks == found["blis"]
    # The profile vllm uses more of the memory besides, and keeps a block back.
    given = {"engine.profile": "vllm", "kv.gpu_memory_utilization": 0.9, "kv.reserved_blocks": 0}
    assert by_profile.with_(**given).resolve().num_blocks == found["vllm"]


def test_length_of_the_sequences_is_the_maximum_length(tmp_path):
    chosen = scenario(tmp_path, **WINDOWS)
    assert chosen.resolve().num_blocks == blocks(tokens=32_768, **WINDOWS)
    shorter = chosen.with_(**{"engine.max_model_len": 2048})
    assert shorter.resolve().num_blocks == blocks(tokens=2048, **WINDOWS)


@pytest.mark.parametrize("backend", ["roofline", "trained-physics", "trained-roofline", "crossmodel"])
def test_latency_models_get_figures_that_stand_under_other_keys(tmp_path, backend):
    mixture = {
        "model_type": "acme",
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 512,
        "intermediate_size": None,
    }
    model = scenario(tmp_path, backend=backend, **mixture).resolve().model
    assert (model.experts_per_token, model.intermediate_size) == (2, 512)
    with pytest.raises(ScenarioError):
        scenario(tmp_path, "blis", backend=backend, **mixture).resolve()


def test_model_without_attention_is_refused_by_latency_models_that_need_heads(tmp_path):
    recurrent = {"model_type": "mamba2", "num_attention_heads": None, "num_key_value_heads": None}
    with pytest.raises(ScenarioError, match="num_attention_heads must be > 0, got 0"):
        scenario(tmp_path, tp=4, **recurrent).resolve()


def test_architecture_is_read_once(tmp_path, caplog):
    model = scenario(tmp_path, model_type="acme").resolve().model
    assert model.architecture.name == "acme/model"
    assert len([message for message in caplog.messages if "model_type" in message]) == 1


def test_latency_models_get_a_kv_head_for_each_gpu(tmp_path):
    few = {"num_key_value_heads": 2}
    assert scenario(tmp_path, tp=4, backend="trained-physics", **few).resolve().model.num_kv_heads == 4
    with pytest.raises(ScenarioError, match="must divide the 2 KV heads"):
        scenario(tmp_path, "blis", tp=4, backend="trained-physics", **few).resolve()


def test_figures_of_a_quantisation_that_is_not_understood_name_the_file(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        scenario(tmp_path, quantization_config={"quant_method": "spin"}).resolve()
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: quantization_config.quant_method must be one of ")


def test_quantisation_that_the_rules_of_blis_do_not_read_is_named(tmp_path, caplog):
    config = {"quantization_config": {"quant_method": "mxfp4"}}
    scenario(tmp_path, "blis", **config).resolve()
    scenario(tmp_path, "blis", quantization_config={"quant_method": "fp8"}).resolve()
    scenario(tmp_path, "vllm", **config).resolve()
    assert [message for message in caplog.messages if "quantisation" in message] == [
        (
            "the quantisation of acme/model is not understood by the rules of BLIS: all its weights count 2 bytes; "
            "kv.capacity_rules vllm (--kv-capacity-rules) reads it"
        )
    ]


def test_architecture_of_bare_figures_has_layers_that_are_alike():
    spec = ModelSpec.from_hf_config(DENSE, "acme/model")
    bare = attrs.evolve(spec, config=None)
    assert attrs.evolve(bare.architecture, layers=spec.architecture.layers) == spec.architecture
    assert bare.architecture.parameters == spec.architecture.parameters
