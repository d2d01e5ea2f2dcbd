import json
from pathlib import Path

import attrs
import pytest

from blis_simpy import registry
from blis_simpy.catalog.hardware import Gpu
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.blackbox import Blackbox
from blis_simpy.latency.roofline import Roofline

CASES = json.loads((Path(__file__).parents[1] / "data" / "latency_construction.json").read_text())["cases"]
MODELS = {"roofline": Roofline, "blackbox": Blackbox}
MODEL = ModelSpec(name="acme/m", num_layers=32, hidden_size=4096, num_heads=32, bytes_per_param=2.0)
GPU = Gpu("H100", 989.5, 1979.0, 3.35, 0.45, 0.3, 80.0)
INPUTS = LatencyInputs(alpha=(0.0, 0.0, 0.0), model=MODEL, gpu=GPU)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_construction_is_refused_as_recorded(case):
    inputs = LatencyInputs(
        alpha=tuple(case["alpha"]),
        beta=tuple(case["beta"]),
        model=ModelSpec(**case["model"]),
        gpu=Gpu(**case["gpu"]),
        tp=case["tp"],
    )
    if case["result"] == "ok":
        MODELS[case["backend"]](inputs)
        return
    with pytest.raises(ScenarioError) as caught:
        MODELS[case["backend"]](inputs)
    assert (caught.value.code, len(caught.value.problems)) == (case["result"], case["problems"])


def test_all_figures_that_a_roofline_lacks_are_reported_together():
    inputs = attrs.evolve(INPUTS, model=attrs.evolve(MODEL, bytes_per_param=0.0), gpu=attrs.evolve(GPU, tflops=0.0))
    with pytest.raises(ScenarioError) as caught:
        Roofline(inputs)
    assert str(caught.value).splitlines() == [
        "model.bytes_per_param must be > 0, got 0.0; figures of acme/m",
        "gpu.tflops must be finite and > 0, got 0.0",
    ]


def test_roofline_says_that_it_needs_a_model_and_a_gpu():
    with pytest.raises(ScenarioError) as caught:
        Roofline(LatencyInputs(alpha=(0.0, 0.0, 0.0)))
    assert [problem.path for problem in caught.value.problems] == ["model", "hardware"]


def test_bad_coefficient_is_named_with_its_place():
    with pytest.raises(ScenarioError) as caught:
        Blackbox(LatencyInputs(alpha=(1.0, 1.0, 1.0), beta=(1.0, float("nan"), 1.0)))
    assert str(caught.value) == "beta[1] must be finite and >= 0, got nan"


def test_latency_models_are_found_by_name():
    assert registry.get("latency", "roofline") is Roofline
    assert registry.get("latency", "blackbox") is Blackbox
    with pytest.raises(PluginError) as caught:
        registry.get("latency", "nope")
    assert caught.value.code == "unknown_latency"
