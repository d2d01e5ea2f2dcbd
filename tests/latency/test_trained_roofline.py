import attrs
import numpy as np
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
from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.latency.base import MAX_TICKS, DecodeRuns, LatencyInputs, LatencyModel, StepBatch, StepMember
from blis_simpy.latency.crossmodel import Crossmodel
from blis_simpy.latency.explain import total_time
from blis_simpy.latency.trained_physics import TrainedPhysics
from blis_simpy.latency.trained_roofline import TrainedRoofline

BACKENDS = ("trained-roofline", "trained-physics")


def llama(model="llama-3.1-8b-instruct", gpu="H100", tp=1):
    return published("trained-roofline", model, gpu, tp)


@pytest.mark.parametrize("step", of_backend("steps", "trained-roofline"), ids=lambda step: step["deployment"])
def test_recorded_steps_are_exact_and_explained(step):
    model = recorded_model("trained-roofline", step["deployment"])
    batch = batch_of(step["batch"])
    assert model.step_time(batch) == step["step_time"]["trained-roofline"]
    assert total_time(model.explain(batch)) == step["step_time"]["trained-roofline"]
    if step["batch"]:
        assert delays(model, step["batch"][0][0]) == recorded_delays(step, "trained-roofline")


@pytest.mark.parametrize("backend", BACKENDS)
def test_recorded_runs_are_exact_by_loop_and_by_vector(backend):
    for run in of_backend("decode_runs", backend):
        model, expected = recorded_model(backend, run["deployment"]), run["step_times"][backend]
        batch = decodes(run["context"])
        assert list(model.decode_step_times(batch, run["k"])) == expected
        assert list(model.decode_step_times(batch, 64))[: run["k"]] == expected[:64]
        assert list(model.decode_step_times(batch, 3)) == expected[:3]


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "times"),
    [
        ("llama-3.1-8b-instruct", "H100", 1, (11582, 5863, 11742, 9946, 32455)),
        ("qwen3-14b", "H100", 2, (11361, 5968, 11498, 10001, 30435)),
        ("mixtral-8x7b-v0.1", "H100", 2, (21203, 5432, 21333, 20080, 38401)),
        ("llama-4-scout-17b-16e-instruct-fp8-dynamic", "H100", 8, (10933, 2855, 11042, 13241, 14618)),
    ],
)
def test_worked_examples(model, gpu, tp, times):
    built_model = llama(model, gpu, tp)
    assert tuple(built_model.step_time(batch_of(rows)) for rows in (E1, E2, E3, E4, E5)) == times


def test_chunk_attends_to_the_whole_prompt_whatever_was_computed_before():
    model = llama()
    assert model.step_time(batch_of([(4096, 0, 512, 9)])) == model.step_time(batch_of([(4096, 3584, 512, 9)]))


def test_mixture_reads_only_the_experts_that_its_tokens_reach():
    """Each token reaches 2 of the 8 experts of Mixtral, so 4 tokens reach all of them and 5 no more."""
    loads = [
        next(term.value for term in llama("mixtral-8x7b-v0.1").explain(decodes([100] * tokens)) if "load" in term.name)
        for tokens in (1, 2, 3, 4, 5)
    ]
    assert loads[0] < loads[1] < loads[2] < loads[3] == loads[4]


def test_finished_member_without_output_counts_as_a_request_only():
    """One request is 48.8 µs: the same weights are read with and without it."""
    model = llama()
    alone, beside = decodes([300] * 8), batch_of([(300, 300, 1, 9)] * 8 + [(10, 10, 0, 0)])
    assert model.step_time(beside) - model.step_time(alone) in (48, 49)


def test_odd_batches():
    """A decode without a token costs as one with it; a prefill without one as a finished member: a request only."""
    model = recorded_model("trained-roofline", "llama-3.1-8b-instruct/H100/tp1")
    assert model.step_time(batch_of([])) == 1
    assert model.explain(batch_of([])) == []
    assert model.step_time(batch_of([(10, 11, 0, 4)])) == model.step_time(batch_of([(10, 11, 1, 4)]))
    assert model.step_time(batch_of([(10, 10, 0, 0)])) == model.step_time(batch_of([(10, 0, 0, 4)]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_answer_walks_the_decode_members(backend):
    def contexts():
        raise AssertionError("walked the batch")

    model = published(backend, "llama-3.1-8b-instruct")
    batch = StepBatch([StepMember(4000, 512, 1024, 9)], 200, 100_000, contexts)
    assert model.step_time(batch) == total_time(model.explain(batch))
    assert len(model.decode_step_times(StepBatch((), 200, 100_000, contexts), 100)) == 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_equals_its_steps_one_at_a_time(backend):
    for name, tp in (("mixtral-8x7b-v0.1", 2), ("qwen3-14b", 4), ("llama-4-scout-17b-16e-instruct", 8)):
        model = published(backend, name, tp=tp)
        for contexts, steps in (([7, 12_000, 300], 500), ([1], 20), ([5] * 256, 9)):
            expected = [model.step_time(decodes([context + j for context in contexts])) for j in range(steps)]
            times = model.decode_step_times(decodes(contexts), steps)
            assert list(times) == expected
            assert isinstance(times, np.ndarray) or steps < 500


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_without_decode_members_is_one_time_for_all_steps(backend):
    model = published(backend, "qwen3-14b")
    assert model.decode_step_times(batch_of([]), 5) == 1
    finished = batch_of([(10, 10, 0, 0)])
    assert model.decode_step_times(finished, 5) == model.step_time(finished)


@pytest.mark.parametrize("cls", [TrainedRoofline, TrainedPhysics])
def test_endless_steps_take_the_largest_tick(cls):
    gpu = attrs.evolve(load_gpus()["H100"], bandwidth_tb_s=1e-300)
    model = cls(LatencyInputs(alpha=(0.0,) * 3, beta=(1.0,) * 7, model=Catalog.load().model("qwen3-14b"), gpu=gpu))
    assert model.step_time(batch_of(E4)) == MAX_TICKS
    assert list(model.decode_step_times(decodes([300] * 64), 30)) == [MAX_TICKS] * 30


@pytest.mark.parametrize("cls", [TrainedRoofline, TrainedPhysics])
def test_they_are_latency_models_with_decode_runs_and_say_what_they_need(cls):
    model = published(cls.global_coefficients, "qwen3-14b")
    assert isinstance(model, cls)
    assert isinstance(model, LatencyModel)
    assert isinstance(model, DecodeRuns)
    assert cls.needs_architecture
    assert Crossmodel.needs_architecture
