import pytest
from call_counter import calls

import blis_simpy as blis
from blis_simpy.catalog.defaults import Catalog, CatalogEntry, Coefficients
from blis_simpy.errors import ScenarioError

TEXT = """\
deployments:
  acme/One: {gpu: H100, tp: 2, engine_version: "v1"}
blackbox:
  acme/one:
    - {gpu: H100, tp: 2, engine_version: "v1", alpha: [1e-05, 1.0e-05, 0], beta: [1, 2.5, 3]}
    - {gpu: H100, tp: 2, engine_version: "v1", alpha: [9, 9, 9], beta: [9, 9, 9]}
models:
  # a comment
  "acme/One":
    num_hidden_layers: 4
    hidden_size: 64
    torch_dtype: float16
  acme/wrong: [1]
"""


@pytest.fixture(scope="module")
def bundled():
    return Catalog.load()


@pytest.fixture
def small():
    return Catalog(TEXT, "own.yaml")


def test_bundled_file_has_the_published_entries(bundled):
    sizes = {s: len(bundled.names(s)) for s in ("deployments", "blackbox", "global_coefficients", "presets", "models")}
    assert sizes == {"deployments": 139, "blackbox": 31, "global_coefficients": 3, "presets": 4, "models": 139}


def test_every_bundled_entry_is_well_formed(bundled):
    for model in bundled.names("deployments"):
        assert bundled.deployment(model).tp > 0
    for backend in bundled.names("global_coefficients"):
        assert len(bundled.global_coefficients(backend).alpha) == 3
    for preset in bundled.names("presets"):
        assert bundled.preset(preset).prompt_tokens > 0


@pytest.mark.filterwarnings("ignore:.*no torch_dtype or dtype")
def test_every_bundled_architecture_has_the_figures_of_a_transformer(bundled):
    for name in bundled.names("models"):
        spec = bundled.model(name)
        assert min(spec.num_layers, spec.hidden_size, spec.num_heads, spec.vocab_size, spec.bytes_per_param) > 0


@pytest.mark.parametrize("name", ["qwen/qwen3-14b", "Qwen/Qwen3-14B", "qwen3-14b", "QWEN3-14B"])
def test_models_are_found_by_full_and_short_name_whatever_the_case(bundled, name):
    assert bundled.model(name).num_layers == 40
    assert bundled.deployment(name) == CatalogEntry("H100", 1, "vllm/vllm-openai:v0.11.0", "Qwen/Qwen3-14B")


def test_architecture_is_found_for_a_copy_in_another_organisation(bundled):
    assert bundled.model("acme/qwen3-14b").name == "acme/qwen3-14b"
    assert bundled.deployment("acme/qwen3-14b") is None


def test_unknown_model_has_neither_architecture_nor_deployment(bundled):
    assert bundled.model("acme/nope") is None
    assert bundled.deployment("nope") is None


def test_published_coefficients_of_llama_on_h100(bundled):
    found = bundled.blackbox_coefficients("meta-llama/llama-3.1-8b-instruct", "H100", 1, "vllm/vllm-openai:v0.11.0")
    assert found.beta == (6472.007648778123, 19.79721387814611, 304.4021040302657)


def test_global_coefficients_of_crossmodel(bundled):
    expected = Coefficients((13732.0, 0.0, 860.6), (116.11, 1226.868, 19.943, 9445.157))
    assert bundled.global_coefficients("crossmodel") == expected


def test_preset_gives_token_counts(bundled):
    preset = bundled.preset("chatbot")
    assert (preset.prompt_tokens, preset.prompt_tokens_max, preset.output_tokens_max) == (256, 800, 1024)


def test_model_without_dtype_warns_where_it_is_used(bundled, caplog):
    assert bundled.model("openai/gpt-oss-20b").bytes_per_param == 2.0
    assert "no torch_dtype or dtype; counting 2 bytes" in caplog.text


def test_exponents_without_a_point_are_numbers_and_the_first_row_counts(small):
    found = small.blackbox_coefficients("ACME/ONE", "H100", 2, "v1")
    assert found == Coefficients((1e-05, 1e-05, 0.0), (1.0, 2.5, 3.0))


def test_entries_may_span_lines(small):
    assert small.model("one").hidden_size == 64


def test_coefficients_that_were_not_measured_list_those_that_were(small):
    with pytest.raises(ScenarioError) as caught:
        small.blackbox_coefficients("acme/one", "L40S", 2, "v1")
    assert str(caught.value) == (
        "model has no blackbox coefficients for gpu L40S tp 2 engine v1, got 'acme/one'; "
        "measured: gpu H100 tp 2 engine v1; gpu H100 tp 2 engine v1"
    )


def test_unknown_preset_lists_the_known_ones(bundled):
    with pytest.raises(ScenarioError) as caught:
        bundled.preset("chatbots")
    assert str(caught.value) == (
        "workload.preset is not a preset of defaults.yaml, got 'chatbots'; "
        "did you mean 'chatbot'? known: chatbot, contentgen, summarization, multidoc"
    )


def test_faulty_entry_is_named_with_its_line_when_it_is_used(small):
    with pytest.raises(ScenarioError) as caught:
        small.model("acme/wrong")
    assert str(caught.value) == (
        "own.yaml: models.acme/wrong must be a mapping with the keys of a config.json, got [1] (line 13)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n  a: {}\n", "must be one of these sections, each once: .* got 'model:' \\(line 1\\)"),
        ("models: {a: {}}\n", "models must have its entries indented on lines of their own, got '{a: {}}'"),
        ("models:\n  a: {}\n  A: {}\n", r"models\.A is given twice \(line 3\)"),
        ("models:\nmodels:\n", "each once"),
    ],
)
def test_layout_is_checked_on_loading(text, message):
    with pytest.raises(ScenarioError, match=message):
        Catalog(text)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{gpu: H100, tp: 1.5, engine_version: v}", "tp must be a whole number >= 0, got 1.5"),
        ("{gpu: H100, engine_version: v}", "must have the key tp"),
        ("{gpu: H100, tp: 1, engine_version: v, tpp: 2}", "tpp is not a known key, got 2"),
        ("{gpu: 100, tp: 1, engine_version: v}", "gpu must be text, got 100"),
        ("{gpu: H100", r"is not valid YAML.*\(line 3\)"),
    ],
)
def test_fields_of_an_entry_are_checked_when_it_is_used(entry, message):
    catalog = Catalog(f"deployments:\n  a: {entry}\n")
    with pytest.raises(ScenarioError, match=message):
        catalog.deployment("a")


def test_own_file_is_read_in_place_of_the_bundled_one(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(TEXT)
    assert Catalog.load(file).names("models") == ("acme/One", "acme/wrong")


def test_own_file_is_parsed_once_until_it_changes(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(TEXT)
    first = calls(lambda: Catalog.load(file).deployment("one"))
    assert calls(lambda: Catalog.load(file).deployment("one")) < first / 2
    file.write_text(TEXT.replace("tp: 2, ", "tp: 4, "))
    assert Catalog.load(file).deployment("one").tp == 4


@pytest.mark.parametrize("name", Catalog.load().names("models"))
def test_every_model_of_the_catalog_has_an_architecture_with_all_its_layers(name):
    spec = Catalog.load().model(name)
    assert spec.architecture.num_layers == spec.num_layers
    assert spec.architecture.parameters > 100_000_000


@pytest.mark.parametrize("name", Catalog.load().names("models"))
def test_every_model_of_the_catalog_runs_at_its_own_deployment(name):
    scenario = blis.Scenario(
        model=name,
        latency=blis.LatencySettings(backend="kernels"),
        engine=blis.EngineSettings(profile="vllm"),
        workload=blis.Workload(rate=1, num_requests=1, prompt=100, output=2),
    )
    simulation = blis.Simulation(scenario)
    deployment = simulation.deployment
    assert deployment.num_blocks * 16 >= min(deployment.model.max_position_embeddings, 32_768)
    assert simulation.run().summary["completed_requests"] == 1


@pytest.mark.parametrize(
    ("name", "published_billions", "kv_bytes_per_token"),
    [
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 30.5, 98_304),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 80, 24_576),
        ("zai-org/GLM-4.5-Air", 106, 188_416),
        ("zai-org/GLM-4.6", 355, 376_832),
    ],
)
def test_sizes_of_the_catalog_are_those_of_the_model_card(bundled, name, published_billions, kv_bytes_per_token):
    architecture = bundled.model(name).architecture
    assert architecture.parameters / 1e9 == pytest.approx(published_billions, rel=0.01)
    assert architecture.kv_numbers_per_token * architecture.compute_bytes == kv_bytes_per_token


def test_every_deployment_is_that_of_a_model_of_the_catalog(bundled):
    assert [name for name in bundled.names("deployments") if bundled.model(name) is None] == []
