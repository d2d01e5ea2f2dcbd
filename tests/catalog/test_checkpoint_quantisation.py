"""Bits of the weights of a checkpoint, as quantisation tools describe them."""

import pytest

from blis_simpy.catalog.checkpoint.module_names import ModuleNames
from blis_simpy.catalog.checkpoint.reader import read_architecture
from blis_simpy.errors import ScenarioError

DENSE = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}
MIXTURE = {
    **DENSE,
    "model_type": "acme",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "n_shared_experts": 1,
}


def read(config, quantisation, name="acme/model", **changes):
    return read_architecture({**config, "quantization_config": quantisation, **changes}, name, "config.json")


def bits(config, quantisation, **changes):
    """Bits of each part that has weights."""
    weights = read(config, quantisation, **changes).weights
    return {part: found.bits for part, found in weights.items() if found.parameters and part != "other"}


def all_linear(width, lm_head=16.0):
    return {"embedding": 16.0, "attention": width, "mlp": width, "lm_head": lm_head}


@pytest.mark.parametrize(
    ("quantisation", "width"),
    [
        ({"quant_method": "fp8"}, 8.0),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8.0 + 32 / 128**2),
        ({"quant_method": "fbgemm_fp8"}, 8.0),
        ({"quant_method": "mxfp4"}, 4.25),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
        ({"quant_method": "bitsandbytes", "_load_in_8bit": True}, 8.0),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, 4 + 16 / 128),
        ({"quant_method": "gptq_marlin", "bits": "8"}, 8.0),
        ({"quant_method": "auto-round", "bits": 4, "group_size": -1}, 4.0),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}, 4.5),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, 4.25),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}}, 8.0),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, 8.0),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {
                    "weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
                },
            },
            4.25,
        ),
        ({"quant_method": "quanto", "weights": "int8"}, 8.0),
        ({"quant_method": "eetq"}, 8.0),
        ({"quant_method": "tool-of-tomorrow", "bits": 3}, 3.0),
    ],
)
def test_linear_layers_have_the_bits_of_the_method_and_embeddings_16(quantisation, width):
    assert bits(DENSE, quantisation) == pytest.approx(all_linear(width), abs=1e-12)


@pytest.mark.parametrize(
    ("quantisation", "width"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, 8.0),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4"}, 4.5),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}, 4.5),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8}}}}, 8.0),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "nvfp4-pack-quantized",
                "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float"}}},
            },
            4.5,
        ),
    ],
)
def test_some_tools_quantise_the_output_embedding_unless_it_is_skipped(quantisation, width):
    assert bits(DENSE, quantisation) == pytest.approx(all_linear(width, lm_head=width))
    inner = quantisation.get("quantization")
    skipped = {"ignore": ["lm_head"]} if inner is None else {"quantization": {**inner, "exclude_modules": ["lm_head"]}}
    assert bits(DENSE, {**quantisation, **skipped}) == pytest.approx(all_linear(width))


def test_only_the_experts_of_a_mixture_are_in_mxfp4():
    assert bits(MIXTURE, {"quant_method": "mxfp4"}) == {
        "embedding": 16.0,
        "attention": 16.0,
        "experts": 4.25,
        "shared_experts": 16.0,
        "router": 16.0,
        "lm_head": 16.0,
    }


def test_router_keeps_16_bits():
    assert bits(MIXTURE, {"quant_method": "fp8"})["router"] == 16.0


@pytest.mark.parametrize(
    "skip",
    [
        ["self_attn"],
        ["model.layers.*.self_attn"],
        ["model.layers.0.self_attn*", "model.layers.1.self_attn*", "model.layers.2.self_attn", "layers.3.attn"],
        ["re:.*self_attn.*"],
        [f"model.layers.{layer}.self_attn.{name}" for layer in range(4) for name in ("qkv_proj", "o_proj")],
    ],
)
def test_skipped_modules_keep_16_bits(skip):
    found = bits(DENSE, {"quant_method": "fp8", "modules_to_not_convert": skip})
    assert (found["attention"], found["mlp"]) == (16.0, 8.0)


def test_layers_that_are_skipped_keep_16_bits():
    found = bits(DENSE, {"quant_method": "fp8", "ignored_layers": ["model.layers.3"]})
    assert (found["attention"], found["mlp"]) == (10.0, 10.0)


def test_modules_may_have_bits_of_their_own():
    layers = {f"model.layers.{layer}.mlp.{name}_proj": "NVFP4" for layer in range(4) for name in ("gate", "up", "down")}
    layers |= {
        f"model.layers.{layer}.self_attn.{name}_proj": {"quant_algo": "FP8"} for layer in range(4) for name in "qkvo"
    }
    stated = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    assert bits(DENSE, stated) == {"embedding": 16.0, "attention": 8.0, "mlp": 4.5, "lm_head": 16.0}


def test_groups_may_target_modules():
    groups = {
        "group_0": {"targets": ["re:.*mlp.*"], "weights": {"num_bits": 4, "group_size": 32}},
        "group_1": {"targets": ["Linear"], "weights": {"num_bits": 8}},
    }
    stated = {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["lm_head"]}
    assert bits(DENSE, stated) == {"embedding": 16.0, "attention": 8.0, "mlp": 4.5, "lm_head": 16.0}


def test_regular_expressions_of_gptq_change_or_keep_modules():
    stated = {"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*self_attn.*": {}, "+:.*mlp\\.down.*": {"bits": 8}}}
    found = bits(DENSE, stated)
    assert (found["attention"], found["mlp"]) == (16.0, pytest.approx((4 + 4 + 8) / 3))


def test_experts_may_have_another_type_than_the_rest():
    found = bits(MIXTURE, {"quant_method": "fp8"}, expert_dtype="fp4")
    assert (found["experts"], found["attention"]) == (4.25, 8.0)


@pytest.mark.parametrize(
    ("name", "width"), [("acme/m-w4a16", 4.0), ("acme/m-FP8-dynamic", 8.0), ("acme/m-w8a8", 8.0), ("acme/mfp8", 16.0)]
)
def test_name_tells_the_bits_where_the_configuration_does_not(name, width):
    found = read_architecture(DENSE, name).weights
    assert (found["mlp"].bits, found["embedding"].bits, found["lm_head"].bits) == (width, 16.0, 16.0)


@pytest.mark.parametrize(
    ("scheme", "kv_bytes"),
    [
        ({}, 2.0),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, 1.0),
        ({"kv_cache_scheme": "FP8"}, 1.0),
        ({"kv_cache_quant_algo": "FP8"}, 1.0),
        ({"kv_cache_quant_algo": None}, 2.0),
        ({"kv_cache_scheme": None}, 2.0),
    ],
)
def test_checkpoint_says_the_type_of_its_kv_cache(scheme, kv_bytes):
    assert read(DENSE, {"quant_method": "modelopt", "quant_algo": "FP8", **scheme}).kv_bytes == kv_bytes


@pytest.mark.parametrize(
    ("quantisation", "message"),
    [
        ("int4", "config.json: quantization_config must be an object, got 'int4'"),
        ({"quant_method": "spin"}, "config.json: quantization_config.quant_method must be one of aqlm, "),
        ({"quant_method": "gptq"}, "config.json: quantization_config.bits must be a number of bits from 1 to 32"),
        ({"quant_method": "modelopt", "quant_algo": "FP1"}, "config.json: quantization_config.quant_algo must be "),
        ({"quant_method": "bitsandbytes"}, "config.json: quantization_config.load_in_4bit or load_in_8bit must be"),
        ({"quant_method": "compressed-tensors"}, "config.json: quantization_config.config_groups must be an object"),
        (
            {"quant_method": "fp8", "kv_cache_scheme": "FP2"},
            "config.json: quantization_config.kv_cache_scheme must be one of ",
        ),
    ],
)  # fmt: skip
def test_quantisation_that_is_not_understood_is_named(quantisation, message):
    with pytest.raises(ScenarioError) as caught:
        read(DENSE, quantisation)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("dtype", ["float32", "float16", "torch.bfloat16", None])
def test_engines_compute_in_16_bits(dtype):
    architecture = read(DENSE, None, torch_dtype=dtype)
    assert (architecture.weight_bytes / architecture.parameters, architecture.kv_bytes) == (2.0, 2.0)


def test_type_of_weights_that_nothing_is_computed_in_is_named(caplog):
    architecture = read(DENSE, None, torch_dtype="float8_e4m3fn")
    assert (architecture.weight_bytes / architecture.parameters, architecture.kv_bytes) == (1.0, 2.0)
    assert caplog.messages == [
        (
            "config.json: torch_dtype float8_e4m3fn is no type to compute in; weights take 1 bytes, activations and KV "
            "cache 2"
        )
    ]


@pytest.mark.parametrize(
    ("names", "module", "inside"),
    [
        (["mlp.gate"], "layers.1.mlp.gate_proj", False),
        (["lm_head"], "lm_head", True),
        (["head"], "lm_head", True),
        (["model.layers.1*"], "layers.12.mlp.up_proj", True),
        (["model.layers.1.*"], "layers.12.mlp.up_proj", False),
        (["re:^model\\.layers\\.1\\."], "layers.1.mlp.up_proj", True),
        (["re:["], "layers.1.mlp.up_proj", False),
        (["language_model.model.layers.1.mlp.shared_experts"], "layers.1.mlp.shared_expert.down_proj", True),
        (["model.layers.1.block_sparse_moe.experts"], "layers.1.mlp.experts.0.down_proj", True),
        ([], "lm_head", False),
    ],
)
def test_names_of_modules_match_across_spellings(names, module, inside):
    assert (module in ModuleNames(names)) is inside
