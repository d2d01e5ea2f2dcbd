"""What crossmodel, trained-roofline and trained-physics refuse, and how they say so."""

import attrs
import pytest
from trained_vectors import RECORDED, built, published

from blis_simpy import registry
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import Gpu
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.trained_roofline import TrainedRoofline

PUBLISHED = Catalog.load().global_coefficients("trained-roofline")


@pytest.mark.parametrize("case", RECORDED["construction"], ids=lambda case: f"{case['backend']}-{case['id']}")
def test_construction_is_refused_as_recorded(case):
    """Of trained-physics only whether it is refused is recorded, not why."""
    if case["result"] == "ok":
        built(case["backend"], case, case)
        return
    with pytest.raises(ScenarioError) as caught:
        built(case["backend"], case, case)
    assert case["result"] in (caught.value.code, "rejected")


def test_degree_that_does_not_divide_the_heads_is_refused_with_those_that_do():
    with pytest.raises(ScenarioError) as caught:
        published("trained-roofline", "qwen/qwen3-14b", tp=3)
    assert str(caught.value).splitlines() == [
        "tp must divide the 40 attention heads of qwen/qwen3-14b, got 3; possible: 1, 2, 4, 8",
        "tp must divide the 8 KV heads of qwen/qwen3-14b, got 3; possible: 1, 2, 4, 8",
    ]


def test_all_figures_that_are_wrong_are_reported_together():
    model = attrs.evolve(Catalog.load().model("qwen3-14b"), num_layers=0, intermediate_size=0)
    gpu = Gpu("slow", tflops=float("nan"), bandwidth_tb_s=1.0)
    with pytest.raises(ScenarioError) as caught:
        TrainedRoofline(LatencyInputs(alpha=PUBLISHED.alpha, beta=PUBLISHED.beta, model=model, gpu=gpu))
    assert [problem.code for problem in caught.value.problems] == ["bad_layers", "bad_intermediate", "bad_tflops"]


@pytest.mark.parametrize("backend", ["trained-roofline", "trained-physics"])
def test_model_and_gpu_are_needed(backend):
    found = Catalog.load().global_coefficients(backend)
    with pytest.raises(ScenarioError) as caught:
        registry.get("latency", backend)(LatencyInputs(alpha=found.alpha, beta=found.beta))
    assert [problem.path for problem in caught.value.problems] == ["model", "hardware"]
