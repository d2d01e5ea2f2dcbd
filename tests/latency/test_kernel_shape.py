"""Sizes that kernel times are computed from, as they follow from the configuration of a checkpoint."""

import logging

import pytest

from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.kernel_shape import kernel_shape
from blis_simpy.latency.kernel_work import attention_products, mlp_products, recurrent_products
from blis_simpy.latency.kernels import Kernels

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 4096,
    "vocab_size": 1000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}
MIXTURE = {
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
}
MAMBA = {"mamba_num_heads": 8, "mamba_head_dim": 64, "ssm_state_size": 16, "n_groups": 1, "conv_kernel": 4}
LATENT = {
    "model_type": "deepseek_v3",
    "kv_lora_rank": 128,
    "q_lora_rank": 256,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 64,
}


def spec(*parts, name="m", **more):
    config = dict(LLAMA)
    for part in parts:
        config.update(part)
    return ModelSpec.from_hf_config({**config, **more}, name)


def weights_of(shape):
    """Weights of all layers, as the products count them."""
    hidden, total = shape.hidden, 0.0
    parts = [(block.layers, attention_products(block, hidden, 1)) for block in shape.attention]
    parts += [(block.layers, recurrent_products(block, hidden, 1)) for block in shape.recurrent]
    parts += [(block.layers, mlp_products(hidden, block.width, block.matrices, 1)) for block in shape.mlps]
    for block in shape.experts:
        parts.append((block.layers * block.experts, mlp_products(block.input_width, block.width, block.matrices, 1)))
        parts.append((block.layers, mlp_products(hidden, block.shared_width, block.shared_matrices, 1)))
        total += block.layers * hidden * block.experts
        if block.input_width != hidden:
            total += block.layers * 2 * hidden * block.input_width
    return total + sum(layers * of.columns * of.depth for layers, products in parts for of in products)


def stored_weights(architecture):
    parts = {name: weights.parameters for name, weights in architecture.weights.items()}
    return sum(parts.values()) - parts["embedding"] - parts["lm_head"] - parts["other"]


@pytest.mark.parametrize(
    "model",
    [
        spec(head_dim=192),
        spec(hidden_act="gelu"),
        spec(LATENT),
        spec(LATENT, index_n_heads=4, index_head_dim=32),
        spec(MIXTURE, shared_expert_intermediate_size=256, mlp_only_layers=[0]),
        spec(MIXTURE, MAMBA, moe_latent_size=256, model_type="nemotron_h", hybrid_override_pattern="M*E-"),
        spec(
            model_type="qwen3_next",
            layer_types=["linear_attention"] * 3 + ["full_attention"],
            linear_num_key_heads=4,
            linear_num_value_heads=8,
            linear_key_head_dim=32,
            linear_value_head_dim=32,
        ),
        spec(model_type="gemma3_text", layer_types=["sliding_attention"] * 3 + ["full_attention"], sliding_window=128),
        spec(model_type="gemma3n_text", num_kv_shared_layers=2, sliding_window=128),
    ],
    ids=[
        "head-dim",
        "two-matrices",
        "latent",
        "indexer",
        "shared-expert",
        "single-blocks",
        "linear",
        "window",
        "shared",
    ],
)
def test_products_count_every_weight_of_the_layers(model):
    assert weights_of(kernel_shape(model)) == pytest.approx(stored_weights(model.architecture), rel=1e-9)


def test_windows_are_those_of_their_layers():
    shape = kernel_shape(spec(layer_types=["sliding_attention"] * 3 + ["full_attention"], sliding_window=128))
    assert [(block.layers, block.window) for block in shape.attention] == [(3, 128), (1, 0)]


def test_layers_of_a_single_block_have_one_norm_and_one_all_reduce():
    shape = kernel_shape(spec(MIXTURE, MAMBA, model_type="nemotron_h", hybrid_override_pattern="M*E-"))
    blocks = (*shape.attention, *shape.recurrent, *shape.mlps, *shape.experts)
    assert [block.layers for block in blocks] == [1, 1, 1, 1]
    assert (shape.layers, shape.sublayers) == (4, 4)


def test_state_of_a_recurrent_layer_is_that_of_the_checkpoint():
    model = spec(MIXTURE, MAMBA, model_type="nemotron_h", hybrid_override_pattern="M*E-")
    [block] = kernel_shape(model).recurrent
    [recurrence] = [group.recurrence for group in model.architecture.layers if group.recurrence]
    assert (block.state_bytes, block.state_numbers) == (recurrence.state_bytes, 8 * 64 * 16)


@pytest.mark.parametrize(
    ("quantisation", "attention", "experts"),
    [
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "bf16", "mxfp4"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", "fp8"),
        ({"quant_method": "fp8", "moe_quant_algo": "NVFP4"}, "fp8", "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4", "nvfp4"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4", "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "int4", "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "int4", "int4"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int4", "int4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32, "type": "int"}}},
            },
            "int4",
            "int4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "g": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}
                },
            },
            "fp8",
            "fp8",
        ),
        (None, "bf16", "bf16"),
    ],
)
def test_weight_types_follow_from_the_quantisation_of_each_part(quantisation, attention, experts):
    """Integers that stay beside 16-bit activations are expanded, whatever their size: they have no kernel of 8 bits."""
    shape = kernel_shape(spec(MIXTURE, quantization_config=quantisation))
    assert {block.weights.name for block in shape.attention} == {attention}
    assert {block.weights.name for block in shape.experts} == {experts}
    assert shape.output_weights.name in ("bf16", "int4", attention)


def test_eight_bit_integers_of_groups_take_their_own_bytes():
    quantisation = {"quant_method": "gptq", "bits": 8, "group_size": 128}
    [block] = kernel_shape(spec(quantization_config=quantisation)).attention
    assert block.weights.weight_bytes == (8 + 16 / 128) / 8


def test_eight_bit_cache_of_the_checkpoint_halves_what_decode_reads():
    plain = {"quant_method": "fp8"}
    assert kernel_shape(spec(quantization_config=plain)).kv_bytes == 2.0
    assert kernel_shape(spec(quantization_config={**plain, "kv_cache_scheme": {"num_bits": 8}})).kv_bytes == 1.0


def test_an_architecture_that_cannot_be_read_falls_back_to_flat_figures_with_a_warning(caplog):
    model = spec(quantization_config={"quant_method": "unheard-of"})
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        times = Kernels(LatencyInputs(model=model, gpu=load_gpus()["H100"], tp=1))
    [message] = [record.getMessage() for record in caplog.records if "alike" in record.getMessage()]
    assert "quantization_config.quant_method must be one of" in message
    assert "sizes of a model whose layers are all alike" in times.shape.estimates
    assert weights_of(times.shape) == stored_weights(spec().architecture)


def test_what_neither_architecture_nor_flat_figures_know_is_an_error_about_the_configuration():
    config = {key: value for key, value in LLAMA.items() if key != "num_attention_heads"}
    with pytest.raises(ScenarioError, match=r"^c.json: num_attention_heads must be given"):
        kernel_shape(ModelSpec.from_hf_config({**config, "model_type": "acme"}, "m", "c.json"))


def test_a_model_that_is_not_supported_is_not_taken_for_a_decoder():
    with pytest.raises(ScenarioError, match="is_encoder_decoder must be false"):
        kernel_shape(spec(is_encoder_decoder=True))


def test_mxfp4_experts_are_computed_in_16_bits_before_blackwell_and_in_8_bits_on_it():
    model = spec(MIXTURE, quantization_config={"quant_method": "mxfp4"})
    [block] = kernel_shape(model).experts
    kinds = [
        Kernels(LatencyInputs(model=model, gpu=load_gpus()[gpu], tp=1)).coefficients.experts[block.weights.name]
        for gpu in ("H100", "B200")
    ]
    assert [kernel.arithmetic for kernel in kinds] == ["bf16", "fp8"]
