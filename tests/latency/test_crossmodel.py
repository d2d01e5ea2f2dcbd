import pytest
from trained_vectors import (
    E1,
    E2,
    E3,
    E4,
    E5,
    batch_of,
    decodes,
    delays,
    of_backend,
    published,
    recorded_delays,
    recorded_model,
)

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import MAX_TICKS, DecodeRuns, LatencyInputs, LatencyModel
from blis_simpy.latency.crossmodel import Crossmodel
from blis_simpy.latency.explain import total_time


@pytest.mark.parametrize("step", of_backend("steps", "crossmodel"), ids=lambda step: step["deployment"])
def test_recorded_steps_are_exact_and_explained(step):
    model = recorded_model("crossmodel", step["deployment"])
    batch = batch_of(step["batch"])
    assert model.step_time(batch) == step["step_time"]["crossmodel"]
    assert total_time(model.explain(batch)) == step["step_time"]["crossmodel"]
    if step["batch"]:
        assert delays(model, step["batch"][0][0]) == recorded_delays(step, "crossmodel")


@pytest.mark.parametrize("run", of_backend("decode_runs", "crossmodel"), ids=lambda run: run["deployment"])
def test_recorded_runs_are_one_time_for_all_steps(run):
    model = recorded_model("crossmodel", run["deployment"])
    assert [model.decode_step_times(decodes(run["context"]), run["k"])] == run["step_times"]["crossmodel"]


@pytest.mark.parametrize(
    ("model", "tp", "times"),
    [
        ("llama-3.1-8b-instruct", 1, (3715, 3755, 3795, 6288, 3715)),
        ("mixtral-8x7b-v0.1", 2, (23371, 13200, 23451, 15723, 54003)),
    ],
)
def test_worked_examples(model, tp, times):
    built = published("crossmodel", model, tp=tp)
    assert tuple(built.step_time(batch_of(rows)) for rows in (E1, E2, E3, E4, E5)) == times


def test_empty_batch_pays_for_layers_and_synchronisation():
    """32 layers * 116.11 µs = 3715.52 µs; tensor parallelism adds 9445.157 µs."""
    assert published("crossmodel", "llama-3.1-8b-instruct").step_time(batch_of([])) == 3715
    assert published("crossmodel", "llama-3.1-8b-instruct", tp=2).step_time(batch_of([])) == 13160


def test_prompts_of_dense_models_are_free_but_not_those_of_a_mixture():
    terms = {
        name: {term.name: term.value for term in published("crossmodel", name).explain(batch_of(E1))}
        for name in ("llama-3.1-8b-instruct", "mixtral-8x7b-v0.1")
    }
    assert terms["llama-3.1-8b-instruct"]["expert routing"] == 0.0
    assert terms["mixtral-8x7b-v0.1"]["expert routing"] == 19.943 * 512


def test_no_gpu_is_needed_but_a_model_is():
    with pytest.raises(ScenarioError) as caught:
        Crossmodel(LatencyInputs(alpha=(0.0,) * 3, beta=(1.0,) * 4))
    assert str(caught.value) == "model must be known: its architecture figures are needed, got None"


def test_step_takes_at_least_one_tick_and_at_most_the_largest():
    spec = Catalog.load().model("qwen3-14b")
    for beta, time in (((0.0,) * 4, 1), ((1e300, 0.0, 0.0, 0.0), MAX_TICKS)):
        model = Crossmodel(LatencyInputs(alpha=(0.0,) * 3, beta=beta, model=spec))
        assert model.step_time(batch_of(E1)) == time


def test_it_is_a_latency_model_with_decode_runs():
    model = published("crossmodel", "qwen3-14b")
    assert isinstance(model, LatencyModel)
    assert isinstance(model, DecodeRuns)
