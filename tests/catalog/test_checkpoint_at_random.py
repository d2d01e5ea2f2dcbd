"""Whatever a configuration holds, it is read or refused by an error of the library."""

import logging
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blis_simpy.catalog.checkpoint.families import _families
from blis_simpy.catalog.checkpoint.reader import read_architecture
from blis_simpy.catalog.kv_blocks import kv_blocks
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len
from blis_simpy.errors import ScenarioError

MODEL = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "torch_dtype": "bfloat16",
}
KEYS = sorted(
    {key for defaults in _families().values() for key in defaults}
    | set(MODEL)
    | {
        "attention_types", "attn_config", "attn_layer_indices", "attn_type_list", "block_configs", "block_types",
        "compress_ratios", "dtype", "ffn_config", "hidden_act", "hybrid_layer_pattern", "hybrid_override_pattern",
        "indexer_types", "layer_types", "layers_block_type", "linear_attn_config", "llm_config", "mlp_layer_types",
        "mlp_only_layers", "moe_layer_freq", "moe_layers", "moe_layers_enum", "per_layer_config", "quantization_config",
        "rope_parameters", "rope_scaling", "sparse_attention_config", "text_config",
    }
)  # fmt: skip
WORDS = (
    "full_attention", "sliding_attention", "linear_attention", "mamba", "moe", "mlp", "M*E-", "silu", "gelu", "float32",
    "fp8", "gptq", "modelopt", "compressed-tensors", "NVFP4", "auto", "1,2", "LLG", "",
)  # fmt: skip
QUANTISATION_KEYS = (
    "attention", "bits", "config_groups", "dynamic", "extra_config", "factor", "ffn", "ffn_mult", "full_attn_layers",
    "group_size", "ignore", "kv_cache_scheme", "modules_to_not_convert", "n_heads_in_group", "num_bits", "quant_algo",
    "quant_config", "quant_method", "quant_type", "quantization", "quantized_layers", "targets", "type",
    "weight_block_size", "weights",
)  # fmt: skip
numbers = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([0.5, 1e308, math.inf, -math.inf, math.nan, 10**30, 10**400, 2**63, 4096]),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(WORDS), st.text(max_size=4))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(KEYS + list(QUANTISATION_KEYS)), inner, max_size=4),
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=8)


@pytest.fixture(autouse=True)
def silent():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def is_usable(architecture):
    assert architecture.parameters > 0
    assert architecture.weight_bytes > 0
    assert architecture.kv_numbers_per_token >= 0
    assert sum(found.parameters for found in architecture.weights.values()) == architecture.parameters


def refusal(action):
    """Do something, and return the error of the library that refuses it, if one does."""
    try:
        action()
    except ScenarioError as error:
        return error
    return None


def is_in_lines(error):
    """Whether each problem is one line."""
    return error is None or all("\n" not in str(problem) for problem in error.problems)


def use(document, name="acme/model"):
    """Do everything that is done with a configuration."""
    spec = ModelSpec.from_hf_config(document, name)
    derive_max_model_len(spec)
    is_usable(spec.architecture)
    spec.as_deployed(4)
    kv_blocks(spec.architecture, 80.0, 2, sequence_tokens=4096)


@settings(max_examples=400, deadline=None)
@given(documents, st.booleans())
def test_any_document_is_read_or_refused(document, complete):
    assert is_in_lines(refusal(lambda: use({**MODEL, **document} if complete else document)))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(QUANTISATION_KEYS), values, max_size=6))
def test_any_quantisation_is_read_or_refused(stated):
    assert is_in_lines(refusal(lambda: use({**MODEL, "quantization_config": stated})))


@settings(max_examples=100, deadline=None)
@given(documents)
def test_rules_of_the_reference_read_or_refuse_any_document(document):
    def count():
        reference_kv_blocks(ModelSpec.from_hf_config({**MODEL, **document}, "acme/model"), 80.0, 2)

    assert is_in_lines(refusal(count))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_name_is_taken(name):
    assert refusal(lambda: use(MODEL, name)) is None


@pytest.mark.parametrize("family", sorted(_families()))
def test_defaults_of_each_class_are_an_architecture_or_refused(family):
    assert is_in_lines(refusal(lambda: is_usable(read_architecture({"model_type": family}, "acme/model"))))
