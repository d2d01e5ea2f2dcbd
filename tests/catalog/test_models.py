import json
from pathlib import Path

import pytest

from blis_simpy.catalog.files import parse_json_object
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len, load_model_config
from blis_simpy.errors import ScenarioError

CASES = json.loads((Path(__file__).parents[1] / "data" / "hf_configs.json").read_text())["cases"]
CONFIG = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 8192,
}


def read(name="acme/model", **extra):
    return ModelSpec.from_hf_config({**CONFIG, **extra}, name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_figures_equal_those_the_reference_reads(case):
    spec = ModelSpec.from_hf_config(case["config"], case["name"])
    assert {field: getattr(spec, field) for field in case["model"]} == case["model"]
    assert derive_max_model_len(spec) == case["max_model_len"]


def test_kv_heads_default_to_attention_heads():
    assert read().num_kv_heads == 32
    assert ModelSpec(num_heads=8).kv_heads == 8


def test_text_config_overlays_the_top_level_entry_by_entry():
    spec = read(text_config={"hidden_size": 2048}, quantization_config={"quant_method": "FP8"})
    assert (spec.hidden_size, spec.num_layers, spec.weight_bytes) == (2048, 32, 1.0)


def test_missing_dtype_counts_two_bytes_with_a_warning(caplog):
    config = {key: value for key, value in CONFIG.items() if key != "torch_dtype"}
    spec = ModelSpec.from_hf_config(config, "acme/model")
    assert spec.bytes_per_param == 2.0
    assert caplog.messages == ["acme/model: no torch_dtype or dtype; counting 2 bytes a parameter"]


def test_unknown_dtype_is_left_to_whoever_needs_it():
    assert read(torch_dtype="float8_e4m3fn").bytes_per_param == 0.0


def test_newer_expert_key_is_read_when_the_older_ones_are_absent():
    assert read(moe_num_experts=64).num_experts == 64
    assert read(moe_num_experts=64, num_experts=8).num_experts == 8


def test_architecture_of_latent_attention_and_dense_prefix_is_read():
    spec = read(kv_lora_rank=512, qk_rope_head_dim=64, first_k_dense_replace=3, head_dim=192)
    assert (spec.kv_lora_rank, spec.qk_rope_head_dim, spec.first_k_dense_replace, spec.head_dim) == (512, 64, 3, 192)


def test_negative_width_is_refused():
    with pytest.raises(ScenarioError) as caught:
        ModelSpec.from_hf_config({**CONFIG, "head_dim": -1}, "acme/model", file="config.json")
    assert str(caught.value) == "config.json: head_dim must be >= 0, got -1"


@pytest.mark.parametrize(
    ("quantization", "bytes_per_weight"),
    [
        ({"bits": 4}, 0.5),
        ({"bits": "+8"}, 1.0),
        ({"bits": "4.0"}, 0.0),
        ({"bits": True, "quant_method": "fp8"}, 1.0),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_2": {}, "group_10": {}}}, 0.0),
        ({"quant_method": "mxfp4"}, 0.0),
        ("fp8", 0.0),
    ],
)
def test_weight_precision_of_a_quantisation(quantization, bytes_per_weight):
    assert read(quantization_config=quantization).weight_bytes_per_param == bytes_per_weight


@pytest.mark.parametrize(
    ("name", "bytes_per_weight"),
    [("acme/m-w4a16", 0.5), ("acme/m.W8A8-x", 1.0), ("acme/m-FP8-dynamic", 1.0), ("acme/mfp8", 0.0), ("w4a16/m", 0.0)],
)
def test_weight_precision_in_the_name(name, bytes_per_weight):
    assert read(name).weight_bytes_per_param == bytes_per_weight


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        (None, 8192),
        ({"type": "llama3", "factor": 8}, 8192),
        ({"rope_type": "linear", "factor": 2.5}, 20480),
        ({"type": "yarn", "factor": 4, "original_max_position_embeddings": 1000}, 4000),
        ({"type": "linear", "factor": True}, 8192),
    ],
)
def test_rotary_scaling_lengthens_the_context(rope, length):
    assert derive_max_model_len(read(rope_scaling=rope)) == length


def test_folder_and_file_give_the_same_figures(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    assert load_model_config(tmp_path, "acme/model") == load_model_config(file, "acme/model") == read()


def test_quantisation_of_a_file_beside_the_configuration_counts(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "intermediate_size": 11008, "vocab_size": 32000}))
    plain = load_model_config(tmp_path, "acme/model")
    stated = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(stated))
    quantised = load_model_config(tmp_path, "acme/model")
    assert plain.architecture.weights["attention"].bits == 16.0
    assert quantised.architecture.weights["attention"].bits == 8.0
    assert quantised == plain


def test_quantisation_of_the_configuration_itself_comes_first(tmp_path):
    inside = {"quantization_config": {"quant_method": "fp8"}, "intermediate_size": 11008, "vocab_size": 32000}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **inside}))
    (tmp_path / "hf_quant_config.json").write_text("broken")
    assert load_model_config(tmp_path, "acme/model").architecture.weights["attention"].bits == 8.0


def test_infinity_is_read_where_no_figure_is_meant(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "time_step_limit": [0.0, float("inf")]}))
    assert load_model_config(tmp_path, "acme/model") == read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": float("inf")}, "config.json: hidden_size must be within 64 bits, got inf"),
        ({"num_hidden_layers": 10**30}, f"config.json: num_hidden_layers must be within 64 bits, got {10**30}"),
        ({"rope_scaling": {"factor": 10**400}}, "config.json: rope_scaling.factor must be within 64 bits, got 1000"),
    ],
)
def test_figure_beyond_64_bits_is_refused(changes, message):
    with pytest.raises(ScenarioError) as caught:
        ModelSpec.from_hf_config({**CONFIG, **changes}, "acme/model", file="config.json")
    assert str(caught.value).startswith(message)


def test_rotary_parameters_count_in_the_architecture_only():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
    spec = read(rope_parameters=yarn, intermediate_size=11008, vocab_size=32000)
    assert (derive_max_model_len(spec), spec.architecture.max_model_len) == (8192, 8192)
    longer = read(rope_parameters={**yarn, "factor": 8.0}, intermediate_size=11008, vocab_size=32000)
    assert (derive_max_model_len(longer), longer.architecture.max_model_len) == (8192, 16384)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load_model_config(tmp_path, "acme/model")
    assert str(caught.value) == f"{tmp_path / 'config.json'}: cannot be read: No such file or directory"


def test_other_json_is_no_model_configuration(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("null")
    with pytest.raises(ScenarioError, match="neither num_hidden_layers nor hidden_size"):
        load_model_config(file, "acme/model")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": NaN}', '{"a": 1e999}', '{"a": 1} x', "\ufeff{}", "// c\n{}"])
def test_only_strict_json_objects_are_read(text):
    with pytest.raises(ScenarioError, match=r"config\.json: (is not valid JSON|must hold a JSON object)"):
        parse_json_object(text, "config.json")


def test_last_of_duplicate_json_keys_wins():
    assert parse_json_object('{"a": 1, "a": 2}') == {"a": 2}
