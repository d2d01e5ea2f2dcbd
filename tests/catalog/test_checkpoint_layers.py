"""Which layers a checkpoint has, and what they cost: small configurations of our own."""

import pytest

from blis_simpy.catalog.checkpoint.reader import _Reader, read_architecture
from blis_simpy.errors import ScenarioError

DENSE = {
    "model_type": "llama",
    "num_hidden_layers": 8,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 4096,
}
EMBEDDINGS = 2 * 1000 * 256
NORMS = 2 * 256
ATTENTION = 256 * (256 + 2 * 64) + 256 * 256
MLP = 3 * 256 * 512
CACHE = 2 * 2 * 32
"""Numbers that one layer of `DENSE` caches of a token: keys and values of 2 heads, 32 wide."""


def read(**changes):
    return read_architecture({**DENSE, **changes}, "acme/model", "config.json")


def kinds(architecture):
    """Layers by mixer and MLP, with their counts."""
    found = {}
    for group in architecture.layers:
        attention = group.attention and ("window" if group.attention.window else "full")
        mixer = attention or (group.recurrence and group.recurrence.kind)
        mlp = "+".join(name for name in ("mlp", "experts") if getattr(group, name))
        found[mixer, mlp] = found.get((mixer, mlp), 0) + group.num_layers
    return found


@pytest.fixture
def layers_read(monkeypatch):
    """Indices of the layers that are read."""
    indices = []
    read_layer = _Reader._layer

    def counted(self, plan, view, index, has_experts):
        indices.append(index)
        return read_layer(self, plan, view, index, has_experts)

    monkeypatch.setattr(_Reader, "_layer", counted)
    return indices


def problem(**changes):
    with pytest.raises(ScenarioError) as caught:
        read(**changes)
    return str(caught.value)


def test_weights_are_listed_by_part():
    weights = read().weights
    assert {part: found.parameters for part, found in weights.items() if found.parameters} == {
        "embedding": 1000 * 256,
        "attention": 8 * ATTENTION,
        "mlp": 8 * MLP,
        "other": 8 * NORMS,
        "lm_head": 1000 * 256,
    }
    assert read().parameters == EMBEDDINGS + 8 * (ATTENTION + MLP + NORMS)
    assert read().weight_bytes == 2.0 * read().parameters


def test_tied_embeddings_count_once():
    assert read().parameters - read(tie_word_embeddings=True).parameters == 1000 * 256


def test_stated_head_width_counts_in_queries_and_outputs():
    wide = read(head_dim=64)
    assert wide.weights["attention"].parameters == 8 * (2 * 256 * 8 * 64 + 2 * 256 * 2 * 64)
    assert wide.kv_numbers_per_token == 2 * read().kv_numbers_per_token


def test_cache_grows_in_all_layers_of_full_attention():
    assert read().kv_numbers_per_token == 8 * CACHE


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 4}, 4),
        ({"sliding_window_pattern": 4}, 2),
        ({"sliding_window_pattern": "LLLG"}, 2),
        ({"hybrid_layer_pattern": [0, 1, 1, 1, 1, 1, 1, 0]}, 2),
        ({"use_sliding_window": True, "max_window_layers": 6}, 6),
        ({"use_sliding_window": False}, 8),
        ({"attention_types": [[["global", "local"], 4]]}, 4),
    ],
)
def test_cache_grows_only_in_layers_without_a_window(changes, full):
    architecture = read(sliding_window=128, **changes)
    assert architecture.kv_numbers_per_token == full * CACHE
    assert kinds(architecture).get(("full", "mlp")) == full


def test_class_of_a_family_says_which_layers_have_a_window():
    assert kinds(read(model_type="gemma3_text", num_hidden_layers=12)) == {("window", "mlp"): 10, ("full", "mlp"): 2}


def test_cache_of_a_model_of_windows_only_grows_within_the_window():
    architecture = read(sliding_window=128)
    assert kinds(architecture) == {("window", "mlp"): 8}
    assert architecture.kv_numbers_per_token == 8 * CACHE


def test_global_layers_may_have_heads_of_their_own():
    architecture = read(
        layer_types=["sliding_attention"] * 6 + ["full_attention"] * 2,
        sliding_window=64,
        global_head_dim=128,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
    )
    assert architecture.kv_numbers_per_token == 2 * 2 * 1 * 128
    window, full = architecture.layers
    assert (window.attention.head_dim, full.attention.head_dim) == (32, 128)
    assert full.weights.attention.parameters == 256 * 8 * 128 * 2 + 256 * 128


def test_window_layers_may_have_heads_of_their_own():
    (full, window) = read(
        hybrid_layer_pattern=[0, 1] * 4,
        sliding_window=64,
        v_head_dim=16,
        swa_num_key_value_heads=4,
        swa_head_dim=32,
        swa_v_head_dim=16,
    ).layers
    assert (full.attention.cache_width, window.attention.cache_width) == (2 * (32 + 16), 4 * (32 + 16))


def test_layers_that_share_a_cache_keep_none():
    architecture = read(
        model_type="gemma4_text",
        num_kv_shared_layers=4,
        hidden_size_per_layer_input=0,
        layer_types=["full_attention"] * 8,
    )
    assert architecture.kv_numbers_per_token == 4 * 2 * 2 * 512


def test_latent_attention_caches_its_compressed_entry():
    architecture = read(
        kv_lora_rank=64, q_lora_rank=32, qk_rope_head_dim=16, qk_nope_head_dim=24, v_head_dim=40, index_n_heads=4,
        index_head_dim=8,
    )  # fmt: skip
    assert architecture.kv_numbers_per_token == 8 * (64 + 16)
    assert architecture.weights["attention"].parameters == 8 * (
        256 * 32 + 32 * 8 * 40 + 256 * 80 + 64 * 8 * 64 + 8 * 40 * 256 + 32 * 4 * 8 + 256 * 8 + 256 * 4
    )


def test_only_layers_with_an_indexer_of_their_own_count_it():
    latent = {"kv_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 24, "v_head_dim": 40}
    indexer = {"index_n_heads": 4, "index_head_dim": 8}
    with_all = read(**latent, **indexer).parameters
    with_half = read(**latent, **indexer, indexer_types=["full", "shared"] * 4).parameters
    assert with_all - with_half == 4 * (256 * 4 * 8 + 256 * 8 + 256 * 4)


def test_compressed_attention_keeps_a_window_and_one_entry_of_several_tokens():
    architecture = read(
        model_type="deepseek_v4", num_hidden_layers=4, compress_ratios=[0, 128, 4, 4], head_dim=64, q_lora_rank=32,
        o_lora_rank=16, o_groups=2, num_key_value_heads=1, n_routed_experts=0,
    )  # fmt: skip
    assert architecture.kv_numbers_per_token == 64 / 128 + 2 * 64 / 4
    assert sum(group.num_layers * group.attention.window_numbers for group in architecture.layers) == 4 * 64


MAMBA2 = {
    "mamba_num_heads": 4,
    "mamba_head_dim": 32,
    "ssm_state_size": 16,
    "n_groups": 2,
    "conv_kernel": 4,
}


@pytest.mark.parametrize(
    "pattern",
    [
        {"hybrid_override_pattern": "M*E-M*E-"},
        {"layers_block_type": ["mamba", "attention", "moe", "mlp"] * 2},
        {"layers_block_type": ["linear_attention", "full_attention", "moe", "mlp"] * 2},
    ],
)
def test_layers_with_a_single_block(pattern):
    architecture = read(
        model_type="nemotron_h", mlp_hidden_act="relu2", n_routed_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=64, n_shared_experts=1, moe_shared_expert_intermediate_size=128, **MAMBA2, **pattern
    )  # fmt: skip
    assert kinds(architecture) == {("mamba2", ""): 2, ("full", ""): 2, (None, "experts"): 2, (None, "mlp"): 2}
    assert architecture.kv_numbers_per_token == 2 * 2 * 2 * 32
    assert architecture.weights["mlp"].parameters == 2 * 2 * 256 * 512
    assert architecture.weights["shared_experts"].parameters == 2 * 2 * 256 * 128


def test_state_of_a_recurrent_layer_has_a_fixed_size():
    (group,) = (
        group for group in read(model_type="bamba", attn_layer_indices=[3], **MAMBA2).layers if group.recurrence
    )
    inner, channels = 4 * 32, 4 * 32 + 2 * 2 * 16
    assert group.num_layers == 7
    assert group.recurrence.state_bytes == 2.0 * (4 * 16 * 32 + 3 * channels)
    assert group.weights.recurrence.parameters == 256 * (inner + channels + 4) + inner * 256


def test_linear_attention_alternates_with_full_attention():
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    }
    architecture = read(full_attention_interval=4, attn_output_gate=True, **linear)
    assert kinds(architecture) == {("gated-delta", "mlp"): 6, ("full", "mlp"): 2}
    assert architecture.kv_numbers_per_token == 2 * CACHE
    assert architecture.weights["attention"].parameters == 2 * (ATTENTION + 256 * 256)


def test_period_says_which_layers_have_attention_and_experts():
    architecture = read(
        model_type="jamba", attn_layer_period=4, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=4, num_experts_per_tok=2, mamba_d_state=8, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=16,
    )  # fmt: skip
    assert kinds(architecture) == {("mamba", "mlp"): 4, ("full", "experts"): 2, ("mamba", "experts"): 2}


EXPERTS = {"model_type": "acme", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
EXPERT_LAYER = 8 * 3 * 256 * 64


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, 8),
        ({"first_k_dense_replace": 3}, 5),
        ({"interleave_moe_layer_step": 2}, 4),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [1]}, 3),
        ({"moe_layer_freq": [0, 0, 1, 1, 1, 1, 1, 1]}, 6),
        ({"moe_layers": [1, 5]}, 2),
        ({"moe_layers_enum": "1,5,6"}, 3),
        ({"mlp_layer_types": ["dense", "sparse"] * 4}, 4),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 6}, 6),
    ],
)
def test_experts_count_only_in_their_layers(changes, layers):
    architecture = read(**EXPERTS, **changes)
    assert architecture.weights["experts"].parameters == layers * EXPERT_LAYER
    assert architecture.weights["mlp"].parameters == (8 - layers) * MLP
    assert architecture.weights["router"].parameters == layers * 8 * 256


@pytest.mark.parametrize(
    "keys",
    [
        ("num_local_experts", "num_experts_per_tok", "n_shared_experts"),
        ("n_routed_experts", "num_experts_per_token", "num_shared_experts"),
        ("moe_num_experts", "top_k_experts", "moe_num_shared_experts"),
        ("num_experts", "moe_topk", "num_shared_expert"),
    ],
)
def test_keys_of_experts_have_many_spellings(keys):
    count, per_token, shared = keys
    (group,) = read(model_type="acme", moe_intermediate_size=64, **{count: 8, per_token: 2, shared: 1}).layers
    assert (group.experts.num_experts, group.experts.experts_per_token, group.experts.shared_width) == (8, 2, 64)


def test_mixture_needs_no_dense_width():
    assert read(**EXPERTS, intermediate_size=None).weights["mlp"].parameters == 0


def test_dense_layers_of_a_mixture_may_have_a_width_of_their_own():
    architecture = read(**EXPERTS, interleave_moe_layer_step=2, intermediate_size_mlp=1024)
    assert architecture.weights["mlp"].parameters == 4 * 3 * 256 * 1024


def test_latent_experts_work_on_a_narrower_stream():
    (group,) = read(**EXPERTS, moe_latent_size=32).layers
    assert group.weights.experts.parameters == 8 * 3 * 32 * 64
    assert group.weights.mlp.parameters == 2 * 256 * 32


def test_experts_may_stand_beside_a_dense_mlp():
    (group,) = read(**EXPERTS, enable_moe_block=True).layers
    assert (group.mlp.width, group.experts.width) == (512, 64)


@pytest.mark.parametrize(
    ("changes", "matrices"),
    [
        ({"model_type": "acme", "hidden_act": "gelu"}, 2),
        ({"model_type": "acme", "hidden_act": "relu2"}, 2),
        ({"model_type": "acme", "hidden_act": "swigluoai"}, 3),
        ({"model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh"}, 3),
        ({"model_type": "falcon", "hidden_act": None, "activation": "gelu", "ffn_hidden_size": 512}, 2),
    ],
)
def test_matrices_of_the_mlp_follow_from_family_and_activation(changes, matrices):
    assert read(**changes).layers[0].mlp.num_matrices == matrices


@pytest.mark.parametrize(
    ("changes", "kv_heads"),
    [
        ({"multi_query": True, "new_decoder_architecture": False, "num_kv_heads": 8}, 1),
        ({"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 4}, 4),
        ({"multi_query": False, "num_kv_heads": 4}, 8),
    ],
)
def test_falcon_says_its_kv_heads_by_flags(changes, kv_heads):
    stated = {key: value for key, value in DENSE.items() if key != "num_key_value_heads"}
    (group,) = read_architecture({**stated, "model_type": "falcon", **changes}, "acme/model").layers
    assert group.attention.num_kv_heads == kv_heads


def test_language_model_of_a_multimodal_one_may_be_nested_anywhere():
    outer = {"model_type": "acme_vl", "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 64}}
    for key in ("text_config", "llm_config", "language_config"):
        assert read_architecture({**outer, key: DENSE}, "acme/model").parameters == read().parameters
    deep = {"thinker_config": {"text_config": DENSE}}
    assert read_architecture(deep, "acme/model").parameters == read().parameters


def test_nested_configuration_leaves_out_defaults_of_its_class():
    config = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    (group,) = read_architecture(config, "acme/model").layers
    assert (group.num_layers, group.attention.num_heads, group.mlp.width) == (32, 32, 11008)


def test_class_is_found_by_its_architecture_where_the_type_is_not_known():
    config = {"model_type": "acme", "architectures": ["LlamaForCausalLM"]}
    assert read_architecture(config, "acme/model").num_layers == 32


def test_null_turns_a_default_of_the_class_off():
    assert kinds(read(model_type="mistral")) == {("window", "mlp"): 8}
    assert kinds(read(model_type="mistral", sliding_window=None)) == {("full", "mlp"): 8}


def test_older_families_have_keys_of_their_own():
    config = {
        "model_type": "gptj",
        "n_layer": 2,
        "n_embd": 64,
        "n_head": 4,
        "vocab_size": 100,
        "tie_word_embeddings": False,
    }
    assert read_architecture(config, "acme/model").parameters == 2 * 100 * 64 + 2 * (4 * 64 * 64 + 8 * 64 * 64 + 2 * 64)


def test_searched_layers_differ_in_heads_and_width():
    blocks = [
        {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 1.5}},
        {"attention": {"no_op": True}, "ffn": {"ffn_mult": 3.0}},
        {"attention": {"n_heads_in_group": 8}, "ffn": {"no_op": True}},
    ]
    architecture = read(model_type="nemotron-nas", num_hidden_layers=3, block_configs=blocks)
    assert [group.mlp and group.mlp.width for group in architecture.layers] == [256, 512, None]
    assert architecture.kv_numbers_per_token == 2 * 32 * (2 + 1)


def test_layers_may_override_figures_one_by_one():
    architecture = read(per_layer_config={"03": {"head_dim": 64}, "7": {"num_key_value_heads": 1}})
    assert architecture.kv_numbers_per_token == 6 * CACHE + 2 * CACHE + CACHE / 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": None}, "config.json: num_hidden_layers must be given"),
        ({"num_hidden_layers": 0}, "config.json: num_hidden_layers must be > 0, got 0"),
        ({"hidden_size": "wide"}, "config.json: hidden_size must be a whole number >= 0, got 'wide'"),
        ({"num_hidden_layers": 10**6}, "config.json: num_hidden_layers must be at most 10000, got 1000000"),
        ({"head_dim": -1}, "config.json: head_dim must be a whole number >= 0, got -1"),
        ({"layer_types": ["full_attention"] * 7 + ["spectral"]}, "config.json: layer_types[7] must be one of "),
        ({"layer_types": ["full_attention"]}, "config.json: layer_types must have an entry for each of the 8 layers"),
        ({"model_type": "acme", "hidden_act": "sine"}, "config.json: hidden_act must be one of "),
        ({"num_attention_heads": 7}, "config.json: head_dim must be given where 7 heads do not divide the hidden size"),
        ({"num_experts": 8, "num_experts_per_tok": 9}, "config.json: num_experts_per_tok must be from 1 to the 8 exp"),
        ({"model_type": "zamba2"}, "config.json: model_type is not supported: its layers share attention blocks"),
        ({"is_encoder_decoder": True}, "config.json: is_encoder_decoder must be false: only decoders are simulated"),
        ({"torch_dtype": "float7"}, "config.json: torch_dtype must be one of "),
        ({"layer_types": ["mamba"] * 8}, "config.json: layer_types names layers that are no attention"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_one_line_that_names_the_key(changes, message):
    text = problem(**changes)
    assert text.startswith(message)
    assert "\n" not in text


def test_key_that_looks_structural_and_is_not_read_is_named(caplog):
    read(moe_wiring="ring", router_aux_loss_coef=0.1, mamba_extra=3)
    assert caplog.messages == ["config.json: not understood, sizes may be wrong: mamba_extra, moe_wiring"]


def test_unknown_family_is_named(caplog):
    read(model_type="acme")
    assert caplog.messages == ["config.json: model_type 'acme' is not known; it is read by its keys alone"]


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, 8192),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}}, 8192),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}}}, 32768),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, 4096),
        ({"max_position_embeddings": None, "n_positions": 1024}, 1024),
    ],
)
def test_rotary_scaling_lengthens_the_context(changes, length):
    assert read(**changes).max_model_len == length


def test_equal_layers_are_read_once(layers_read):
    architecture = read(sliding_window=128, layer_types=["full_attention", "sliding_attention"] * 4)
    assert layers_read == [0, 1]
    assert [group.num_layers for group in architecture.layers] == [4, 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_kv_shared_layers": 2},
        {"use_cla": True, "cla_share_factor": 2},
        {"per_layer_config": {"3": {"intermediate_size": 1024}}},
        {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["layers.3"]}},
    ],
)
def test_layers_that_may_differ_by_their_position_are_read_one_by_one(layers_read, changes):
    read(**changes)
    assert layers_read == list(range(8))
