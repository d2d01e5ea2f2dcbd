"""What a scenario resolves to, where each value comes from, and what a bad figure is called."""

import inspect
import json
import logging
from pathlib import Path

import attrs
import pytest

from blis_simpy import registry
from blis_simpy.deployment import UNMODELLED_BLOCKS, resolve
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.blackbox import Blackbox
from blis_simpy.latency.settings import COEFFICIENTS_BACKEND, DEFAULT_BACKEND
from blis_simpy.latency.trained_physics import MOE_COMM_BACKENDS, TrainedPhysics
from blis_simpy.scenario import Scenario

QWEN = "qwen/qwen3-14b"
TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
}
H100 = {"TFlopsPeak": 989.5, "BwPeakTBs": 3.35, "mfuPrefill": 0.45, "mfuDecode": 0.3, "MemoryGiB": 80}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Scenario of a tiny model in a folder and a GPU table beside it, both of which can be changed."""
    monkeypatch.chdir(tmp_path)

    def make(config=(), gpu=(), **settings):
        Path("tiny").mkdir(exist_ok=True)
        figures = {key: value for key, value in {**TINY, **dict(config)}.items() if value is not None}
        Path("tiny", "config.json").write_text(json.dumps(figures))
        Path("gpus.json").write_text(json.dumps({"G": {**H100, **dict(gpu)}}))
        given = {
            "model": "tiny",
            "hardware": "G",
            "hardware_config": "gpus.json",
            "tp": 1,
        }
        given |= settings
        changes = {path: given.pop(path) for path in list(given) if "." in path}
        return Scenario(**given).with_(**changes)

    return make


def origins(scenario):
    return {path: setting.origin for path, setting in resolve(scenario).settings.items()}


class Remembering(Blackbox):
    """Third-party latency model that keeps what it was built from, and takes nothing from the catalog."""

    coefficients_of_deployment = False

    def __init__(self, inputs: LatencyInputs) -> None:
        self.inputs = inputs
        super().__init__(attrs.evolve(inputs, alpha=inputs.alpha or (0, 0, 0), beta=inputs.beta or (1, 1, 1)))


def inputs_of(scenario, **attributes):
    with registry.added("latency", "remembering", type("R", (Remembering,), attributes)):
        return resolve(scenario.with_(**{"latency.backend": "remembering"})).latency.inputs


BLIS = {
    "engine.max_num_seqs": 256,
    "engine.max_num_batched_tokens": 2048,
    "engine.long_prefill_threshold_if_alone": True,
    "engine.over_length": "drop",
    "engine.step_effects": "start",
    "engine.async_scheduling": False,
    "engine.reserve_full_sequence": False,
    "engine.victim": "latest",
    "engine.resume": "restart",
    "kv.capacity_rules": "blis",
    "kv.reserved_blocks": 0,
    "kv.gpu_memory_utilization": 0.9,
    "kv.store": "single-tier",
}
"""What the profile blis sets."""
VLLM = {
    "engine.max_num_seqs": 1024,
    "engine.max_num_batched_tokens": 8192,
    "engine.long_prefill_threshold_if_alone": False,
    "engine.over_length": "clip",
    "engine.step_effects": "end",
    "engine.async_scheduling": True,
    "engine.reserve_full_sequence": True,
    "engine.victim": "latest",
    "engine.resume": "recompute",
    "kv.capacity_rules": "vllm",
    "kv.reserved_blocks": 1,
    "kv.gpu_memory_utilization": 0.92,
    "kv.store": "block-pool",
}
"""What the profile vllm sets on an H100."""
BY_GPU = ("engine.max_num_seqs", "engine.max_num_batched_tokens")


def test_scenario_of_a_model_alone_is_a_server_of_vllm():
    scenario = Scenario(model=QWEN)
    assert {path: setting.value for path, setting in resolve(scenario).settings.items()} == {
        "latency.backend": "kernels",
        "hardware": "H100",
        "tp": 1,
        "engine_version": "vllm/vllm-openai:v0.11.0",
        "latency.alpha": None,
        "latency.beta": None,
        "model_config": None,
        "kv.blocks": 16564,
        "engine.max_model_len": 40960,
        **VLLM,
    }
    assert origins(scenario) == {
        "latency.backend": "default",
        "hardware": "catalog: deployments",
        "tp": "catalog: deployments",
        "engine_version": "catalog: deployments",
        "latency.alpha": "this latency model takes none",
        "latency.beta": "this latency model takes none",
        "model_config": "catalog: models",
        "kv.blocks": "computed from the memory of 1 H100",
        "engine.max_model_len": "derived from max_position_embeddings of the model",
        **dict.fromkeys(VLLM, "profile vllm"),
        **dict.fromkeys(BY_GPU, "profile vllm, server on H100"),
    }


def test_profile_blis_sets_the_defaults_of_the_reference():
    scenario = Scenario(model=QWEN, engine={"profile": "blis"}).with_(**{"latency.backend": "roofline"})
    assert {path: setting.value for path, setting in resolve(scenario).settings.items()} == {
        "latency.backend": "roofline",
        "hardware": "H100",
        "tp": 1,
        "engine_version": "vllm/vllm-openai:v0.11.0",
        "latency.alpha": None,
        "latency.beta": None,
        "model_config": None,
        "kv.blocks": 15909,
        "engine.max_model_len": 40960,
        **BLIS,
    }
    assert origins(scenario) == {
        "latency.backend": "scenario",
        "hardware": "catalog: deployments",
        "tp": "catalog: deployments",
        "engine_version": "catalog: deployments",
        "latency.alpha": "this latency model takes none",
        "latency.beta": "this latency model takes none",
        "model_config": "catalog: models",
        "kv.blocks": "computed from the memory of 1 H100",
        "engine.max_model_len": "derived from max_position_embeddings of the model",
        **dict.fromkeys(BLIS, "profile blis"),
    }


def test_what_is_given_stays_and_says_so(tiny):
    assert origins(tiny(**{"kv.blocks": 500, "engine.max_model_len": 100, "engine_version": "v"})) == {
        "latency.backend": "default",
        "hardware": "scenario",
        "tp": "scenario",
        "engine_version": "scenario",
        "latency.alpha": "this latency model takes none",
        "latency.beta": "this latency model takes none",
        "model_config": "config.json of tiny",
        "kv.blocks": "scenario",
        "engine.max_model_len": "scenario",
        **dict.fromkeys(VLLM, "profile vllm"),
        **dict.fromkeys(BY_GPU, "profile vllm, server on G"),
    }


def test_a_defaults_file_of_ones_own_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f'deployments:\n  {QWEN}: {{gpu: L40S, tp: 2, engine_version: "v"}}\n')
    scenario = Scenario(model=QWEN, defaults=str(path))
    found = origins(scenario.with_(**{"latency.alpha": (1, 2, 3), "latency.beta": (1, 2, 3), "kv.blocks": 9}))
    assert found["tp"] == found["hardware"] == f"{path}: deployments"


@pytest.mark.parametrize("backend", ["crossmodel", "trained-roofline", "trained-physics"])
def test_models_with_one_set_of_coefficients_take_it_from_the_catalog(backend):
    scenario = Scenario(model=QWEN).with_(**{"latency.backend": backend})
    deployment = resolve(scenario)
    assert deployment.settings["latency.beta"].origin == f"catalog: global_coefficients.{backend}"
    assert (deployment.num_blocks, deployment.max_model_len) == (16564, 40960)
    pinned = {path: deployment.settings[path].value for path in ("latency.alpha", "latency.beta")}
    assert origins(scenario.with_(**pinned))["latency.beta"] == "scenario"


def test_global_coefficients_are_those_of_the_published_table():
    """Trained-physics: queueing 15563 µs, 45 µs a token, 777 µs at the end; crossmodel: 13732, 860 and 0 µs."""
    for backend, delays in (("trained-physics", (15563, 45, 777)), ("crossmodel", (13732, 860, 0))):
        latency = resolve(Scenario(model=QWEN).with_(**{"latency.backend": backend})).latency
        found = latency.queueing_time(0), latency.output_token_processing_time(), latency.post_decode_overhead()
        assert found == delays


def test_too_short_explicit_coefficients_are_refused_by_the_latency_model():
    given = {"latency.backend": "trained-physics", "latency.alpha": (1, 2, 3), "latency.beta": (1, 2)}
    with pytest.raises(ScenarioError) as caught:
        resolve(Scenario(model=QWEN).with_(**given))
    assert str(caught.value) == "latency.beta must have at least 7 coefficients, got [1, 2]"


def test_too_short_coefficients_of_a_file_are_named_by_file_and_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("global_coefficients:\n  crossmodel: {alpha: [1, 2, 3], beta: [1, 2]}\nmodels:\n  t: {a: 1}\n")
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    scenario = Scenario(model=str(tmp_path), defaults=str(path), hardware="H100", tp=1)
    with pytest.raises(ScenarioError) as caught:
        resolve(scenario.with_(**{"latency.backend": "crossmodel"}))
    where = "global_coefficients.crossmodel.beta"
    assert str(caught.value) == f"{path}: {where} must have at least 4 coefficients, got [1.0, 2.0]"


def test_blackbox_takes_the_row_that_was_measured():
    scenario = Scenario(model=QWEN).with_(**{"latency.backend": "blackbox"})
    assert origins(scenario)["latency.beta"] == "catalog: blackbox row of H100 tp 1 vllm/vllm-openai:v0.11.0"
    assert resolve(scenario).max_model_len == 0  # nothing is derived for a model without need of the architecture


def test_a_scenario_that_says_nothing_of_latency_gets_the_default_backend():
    found = resolve(Scenario(model=QWEN)).settings["latency.backend"]
    assert (found.value, found.origin) == (DEFAULT_BACKEND, "default")


def test_coefficients_alone_choose_their_backend():
    found = resolve(Scenario(model=QWEN).with_(**{"latency.alpha": (1, 2, 3), "latency.beta": (1, 2, 3)})).settings
    assert found["latency.backend"].value == COEFFICIENTS_BACKEND
    assert found["latency.backend"].origin == "default where coefficients are given"


def test_a_latency_model_of_others_gets_the_coefficients_that_are_given_or_none():
    assert (inputs_of(Scenario(model=QWEN)).alpha, inputs_of(Scenario(model=QWEN)).beta) == ((), ())
    given = inputs_of(Scenario(model=QWEN).with_(**{"latency.alpha": (4, 5, 6), "latency.beta": (7, 8, 9)}))
    assert (given.alpha, given.beta) == ((4, 5, 6), (7, 8, 9))


def test_a_latency_model_states_which_coefficients_it_takes():
    measured = resolve(Scenario(model=QWEN).with_(**{"latency.backend": "blackbox"})).settings["latency.beta"].value
    assert inputs_of(Scenario(model=QWEN), coefficients_of_deployment=True).beta == measured
    with registry.added("latency", "rigid", type("R", (Remembering,), {"takes_coefficients": False})):
        with pytest.raises(ScenarioError) as caught:
            Scenario(model=QWEN, latency={"backend": "rigid", "alpha": [1, 2, 3], "beta": [1, 2, 3]})
        assert resolve(Scenario(model=QWEN, latency="rigid")).latency.inputs.alpha == (0.0, 0.0, 0.0)
    assert str(caught.value) == "latency.alpha must not be given: the latency model takes no coefficients"


def test_options_of_a_latency_model_are_checked_where_they_are_given():
    with pytest.raises(ScenarioError) as caught:
        Scenario(model=QWEN, latency={"backend": "trained-physics", "dp": 0, "moe_comm_backend": "naif"})
    assert str(caught.value).splitlines() == [
        "latency.dp must be >= 1, got 0",
        f"latency.moe_comm_backend is unknown, got 'naif'; did you mean 'naive'? known: {', '.join(MOE_COMM_BACKENDS)}",
    ]
    with pytest.raises(ScenarioError) as caught:
        Scenario(model=QWEN, latency={"dp": 2})
    assert str(caught.value) == "latency.dp is not a setting; it is an option of 'trained-physics'"


def test_options_and_constructor_of_a_latency_model_have_the_same_defaults():
    parameters = inspect.signature(TrainedPhysics).parameters
    options = attrs.asdict(TrainedPhysics.Options())
    assert options == {name: parameters[name].default for name in options}


def test_a_latency_model_of_others_that_needs_the_architecture_gets_it():
    inputs = inputs_of(Scenario(model=QWEN).with_(**{"kv.blocks": 10_000}), needs_architecture=True)
    assert (inputs.model.num_layers, inputs.gpu.name, inputs.tp) == (40, "H100", 1)
    assert inputs_of(Scenario(model=QWEN).with_(**{"kv.blocks": 10_000})).model is None


def test_a_backend_with_options_is_resolved_like_its_bare_name():
    latency = {"backend": "trained-physics", "moe_comm_backend": "naive"}
    deployment = resolve(Scenario(model=QWEN, latency=latency))
    assert deployment.settings["latency.beta"].origin == "catalog: global_coefficients.trained-physics"
    assert deployment.max_model_len == 40960


def test_data_parallel_ranks_pool_their_blocks_by_the_rules_of_the_reference():
    mixtral = Scenario(model="mistralai/mixtral-8x7b-v0.1", hardware="H100", tp=2, engine={"profile": "blis"})
    blocks = [
        resolve(mixtral.with_(**{"latency.backend": "trained-physics", "latency.dp": dp})).num_blocks for dp in (1, 2)
    ]
    assert blocks[1] == 2 * blocks[0]


def test_data_parallel_ranks_share_the_experts_and_leave_more_memory_for_blocks():
    """With two ranks, a GPU has 13 GB of the experts' 27 GB less in its memory: 3.6 times the blocks, not 2 times."""
    mixtral = Scenario(model="mistralai/mixtral-8x7b-v0.1", hardware="H100", tp=2)
    assert [
        resolve(mixtral.with_(**{"latency.backend": {"type": "kernels", "dp": dp}})).num_blocks for dp in (1, 2)
    ] == [26115, 95239]


def test_maximum_length_is_cut_to_the_cache_with_a_warning(caplog):
    deployment = resolve(Scenario(model=QWEN).with_(**{"kv.blocks": 100}))
    assert deployment.max_model_len == 1600
    assert deployment.settings["engine.max_model_len"].origin == "cut from 40960 to the KV cache"
    assert caplog.messages == ["max_model_len 40960 needs 2560 KV blocks, but the cache has 100: reduced to 1600"]


def test_a_chosen_latency_model_that_beats_the_hardware_is_warned_of(caplog):
    """Roofline counts two of the three matrices of an MLP, so decode steps read a third less than they must."""
    with caplog.at_level(logging.WARNING):
        resolve(Scenario(model=QWEN).with_(**{"latency.backend": "trained-physics"}))
        resolve(Scenario(model=QWEN).with_(**{"latency.backend": "roofline"}))
        resolve(Scenario(model=QWEN).with_(**{"latency.backend": "kernels"}))
    prompt, weights = (
        "computes a prompt of 2048 tokens at 265% of the peak rate",
        "reads the weights at 137% of the memory",
    )
    assert caplog.messages == [
        f"latency model trained-physics {prompt} of H100: too short a time",
        f"latency model roofline {weights} bandwidth of H100: too short a time",
    ]


def test_default_latency_model_is_not_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        resolve(Scenario(model=QWEN))
    assert caplog.messages == []


def test_capacity_is_assumed_where_nothing_is_known(caplog):
    scenario = Scenario(model="some/model").with_(**{"latency.alpha": (1, 2, 3), "latency.beta": (1, 2, 3)})
    with caplog.at_level(logging.WARNING):
        deployment = resolve(scenario)
    assert deployment.num_blocks == UNMODELLED_BLOCKS
    assert deployment.settings["kv.blocks"].origin == "assumed: too little is known to compute it"
    assert [message.partition(":")[0] for message in caplog.messages] == ["KV capacity is not modelled"]


BAD_FIGURES = [
    ("unknown hardware", {"hardware": "H9"}, "hardware is not a GPU of gpus.json, got 'H9'; known: G"),
    ("no bandwidth", {"gpu": {"BwPeakTBs": 0}}, "gpus.json: G.BwPeakTBs must be a finite number > 0, got 0.0"),
    (
        "bad kernel",
        {"gpu": {"kernels": {"all_reduce": {"fixed_us": 1}}}},
        (
            "gpus.json: G.kernels.all_reduce.per_gpu_us must be a finite number >= 0, got None\n"
            "gpus.json: G.kernels.all_reduce.pair_efficiency must be a finite number > 0, got None\n"
            "gpus.json: G.kernels.all_reduce.group_efficiency must be a finite number > 0, got None"
        ),
    ),
    ("no memory", {"gpu": {"MemoryGiB": 0}}, "gpus.json: G.MemoryGiB must be > 0, got 0.0"),
    (
        "impossible tp",
        {"tp": 3},
        (
            "tp must divide the 4 attention heads of tiny, got 3\n"
            "tp must divide the 2 KV heads of tiny, or be a multiple of them, got 3"
        ),
    ),
    (
        "KV heads that cannot be shared",
        {"tp": 2, "config": {"num_key_value_heads": 3}},
        "tp must divide the 3 KV heads of tiny, or be a multiple of them, got 2",
    ),
    (
        "too little memory",
        {"gpu": {"MemoryGiB": 5}},
        (
            "tp is too small for tiny: 5.7 GiB for weights and activations, 4.6 GiB usable, got 1; "
            "it takes at least 2 GPUs of this kind"
        ),
    ),
    ("zero heads", {"config": {"num_attention_heads": 0}}, "tiny/config.json: num_attention_heads must be > 0, got 0"),
    ("no layers", {"config": {"num_hidden_layers": None}}, "tiny/config.json: num_hidden_layers must be given"),
    ("no vocabulary", {"config": {"vocab_size": None}}, "tiny/config.json: vocab_size must be given"),
    (
        "unknown dtype",
        {"config": {"torch_dtype": "float7"}},
        (
            "tiny/config.json: torch_dtype must be one of bf16, bfloat16, float, float16, float32, float64, "
            "float8_e4m3fn, float8_e5m2, fp16, fp32, fp4, fp8, half, int4, int8, nf4, uint8, got 'float7'"
        ),
    ),
    (
        "layers that no formula describes",
        {"config": {"model_type": "zamba2"}},
        (
            "tiny/config.json: model_type is not supported: its layers share attention blocks, got 'zamba2'; set "
            "latency.backend (--latency-model) to roofline and kv.capacity_rules (--kv-capacity-rules) to blis to "
            "simulate it by its flat figures"
        ),
    ),
]

BAD_FIGURES_OF_THE_REFERENCE = [
    (
        "absent MFU figures",
        {"gpu": {"mfuPrefill": None, "mfuDecode": None}},
        (
            "gpus.json: G.mfuPrefill must be finite and > 0, got 0.0\n"
            "gpus.json: G.mfuDecode must be finite and > 0, got 0.0"
        ),
    ),
    ("no bandwidth", {"gpu": {"BwPeakTBs": 0}}, "gpus.json: G.BwPeakTBs must be finite and > 0, got 0.0"),
    (
        "impossible tp",
        {"tp": 3, "latency.backend": "trained-physics"},
        (
            "tp must divide the 4 attention heads of tiny, got 3; possible: 1, 2\n"
            "tp must divide the 2 KV heads of tiny, got 3; possible: 1, 2"
        ),
    ),
    ("tp of roofline", {"tp": 2, "config": {"num_key_value_heads": 3}}, "tp must divide the 3 KV heads of tiny, got 2"),
    (
        "too little memory",
        {"gpu": {"MemoryGiB": 5}},
        (
            "tp is too small for tiny: 5.7 GiB for weights and activations, 4.5 GiB usable, got 1; "
            "it takes at least 2 GPUs of this kind"
        ),
    ),
    (
        "zero heads",
        {"config": {"num_attention_heads": 0}},
        "tiny/config.json: num_attention_heads must be > 0, got 0; figures of tiny",
    ),
    (
        "no layers",
        {"config": {"num_hidden_layers": None}},
        "tiny/config.json: num_hidden_layers must be > 0, got 0; figures of tiny",
    ),
    (
        "no vocabulary",
        {"config": {"vocab_size": None}},
        (
            "tiny/config.json: vocab_size must be > 0, got 0; "
            "the KV capacity of tiny needs it: correct the figure or give kv.blocks"
        ),
    ),
    (
        "unknown dtype",
        {"config": {"torch_dtype": "float7"}},
        (
            "tiny/config.json: torch_dtype must be one of bfloat16, float16, float32, fp8, int4, int8, nf4, uint8, "
            "got 'float7'; figures of tiny"
        ),
    ),
    (
        "neither layers nor width",
        {"config": {"num_hidden_layers": None, "hidden_size": None}},
        "tiny/config.json: is no model configuration: it has neither num_hidden_layers nor hidden_size",
    ),
]


def error_of(scenario):
    with pytest.raises(ScenarioError) as caught:
        resolve(scenario)
    return str(caught.value)


@pytest.mark.parametrize(("changes", "lines"), [row[1:] for row in BAD_FIGURES], ids=[row[0] for row in BAD_FIGURES])
def test_a_bad_figure_is_named_by_file_and_key(tiny, changes, lines):
    assert error_of(tiny(**changes)) == lines


@pytest.mark.parametrize(
    ("changes", "lines"),
    [row[1:] for row in BAD_FIGURES_OF_THE_REFERENCE],
    ids=[row[0] for row in BAD_FIGURES_OF_THE_REFERENCE],
)
def test_a_bad_figure_is_named_as_well_by_the_rules_of_the_reference(tiny, changes, lines):
    changes = {"latency.backend": "roofline", "engine.profile": "blis", **changes}
    assert error_of(tiny(**changes)) == lines


def test_layers_that_no_formula_describes_are_simulated_by_the_rules_of_the_reference(tiny):
    """The remedy that the error names."""
    scenario = tiny({"model_type": "zamba2"}, **{"latency.backend": "roofline", "kv.capacity_rules": "blis"})
    assert resolve(scenario).model.num_layers == 2


def test_the_files_of_the_table_are_otherwise_good(tiny):
    assert resolve(tiny()).max_model_len == 2048


def test_a_bad_figure_of_the_catalog_is_named_by_its_entry(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("models:\n  acme/tiny: {num_hidden_layers: 2, hidden_size: 256, torch_dtype: bfloat16}\n")
    scenario = Scenario(model="acme/tiny", defaults=str(path), hardware="H100", tp=1)
    line = f"{path}: models.acme/tiny: vocab_size must be given"
    assert error_of(scenario) == line
    line = f"{path}: models.acme/tiny.num_attention_heads must be > 0, got 0; figures of acme/tiny"
    blis = {"latency.backend": "roofline", "engine.profile": "blis"}
    assert error_of(scenario.with_(**blis)) == line


@pytest.mark.parametrize("path", ["hardware", "tp"])
def test_gpu_and_degree_must_be_known_where_the_architecture_is_needed(tiny, path):
    with pytest.raises(ScenarioError) as caught:
        resolve(tiny(**{path: None}))
    assert str(caught.value) == f"{path} must be given: the model has no usual deployment"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("qwen/qwen3-14", "did you mean 'Qwen/Qwen3-14B'? for another model"), ("gpt-4o", "for another model")],
)
def test_a_mistyped_model_is_named_before_what_depends_on_it(name, hint):
    with pytest.raises(ScenarioError) as caught:
        Scenario(model=name).resolve()
    assert str(caught.value).startswith(f"model is not in the catalog, got {name!r}; {hint}")


def test_a_scenario_resolves_itself():
    assert Scenario(model=QWEN).resolve().num_blocks == 16564


@pytest.mark.parametrize("name", ["h100", "H100"])
def test_the_case_of_a_gpu_does_not_matter(name):
    scenario = Scenario(model="qwen/qwen3-14b", hardware=name, tp=1)
    assert resolve(scenario).settings["hardware"].value == "H100"
