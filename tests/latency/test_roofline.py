import json
import random
from pathlib import Path

import numpy as np
import pytest

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import Gpu, load_gpus
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.latency.base import MAX_TICKS, DecodeRuns, LatencyInputs, LatencyModel, StepBatch, StepMember
from blis_simpy.latency.roofline import Roofline

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "latency_kernels.json").read_text())
GPUS = load_gpus()
ALPHA = (0.0, 0.0, 0.0)

E1 = [(512, 0, 512, 128)]
E2 = [(512, 512, 1, 128)]
E3 = [(512, 0, 512, 128), (300, 400, 1, 200), (1024, 1024, 1, 64)]
E4 = [(300 + i, 300 + i, 1, 64) for i in range(64)]
E5 = [(4096, 2048, 2048, 10)]


def roofline(model="llama-3.1-8b-instruct", gpu="H100", tp=1, alpha=ALPHA):
    return Roofline(LatencyInputs(alpha=alpha, model=Catalog.load().model(model), gpu=GPUS[gpu], tp=tp))


def batch_of(rows):
    return StepBatch.of([StepMember(*row) for row in rows])


def decodes(contexts):
    return StepBatch((), len(contexts), sum(contexts), lambda: contexts)


def recorded_model(deployment_id):
    deployment = next(d for d in RECORDED["deployments"] if d["id"] == deployment_id)
    return Roofline(
        LatencyInputs(
            alpha=tuple(deployment["alpha"]["roofline"]),
            model=ModelSpec(**deployment["model"]),
            gpu=Gpu(**deployment["gpu"]),
            tp=deployment["tp"],
        )
    )


@pytest.mark.parametrize("step", RECORDED["steps"], ids=lambda step: step["deployment"])
def test_recorded_steps_are_exact(step):
    model = recorded_model(step["deployment"])
    assert model.step_time(batch_of(step["batch"])) == step["step_time"]["roofline"]
    if step["batch"]:
        assert model.queueing_time(step["batch"][0][0]) == step["queueing_time"]["roofline"]


@pytest.mark.parametrize("run", RECORDED["decode_runs"], ids=lambda run: run["deployment"])
def test_recorded_runs_are_exact_by_loop_and_by_vector(run):
    model, expected = recorded_model(run["deployment"]), run["step_times"]["roofline"]
    assert list(model.decode_step_times(decodes(run["context"]), run["k"])) == expected
    assert list(model.decode_step_times(decodes(run["context"]), 64))[: run["k"]] == expected
    assert list(model.decode_step_times(decodes(run["context"]), 3)) == expected[:3]


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "times"),
    [
        ("llama-3.1-8b-instruct", "H100", 1, (11884, 3065, 11956, 3882, 54396)),
        ("llama-3.1-8b-instruct", "L40S", 1, (45677, 11884, 46408, 22927, 209065)),
        ("qwen3-14b", "H100", 2, (11214, 2892, 11281, 3403, 50213)),
        ("mixtral-8x7b-v0.1", "H100", 2, (10263, 9385, 10324, 9794, 44483)),
        ("llama-4-scout-17b-16e-instruct-fp8-dynamic", "H100", 8, (2529, 2520, 2540, 2673, 4927)),
    ],
)
def test_worked_examples(model, gpu, tp, times):
    built = roofline(model, gpu, tp)
    assert tuple(built.step_time(batch_of(rows)) for rows in (E1, E2, E3, E4, E5)) == times


def test_empty_batch_and_finished_members_take_one_tick():
    assert roofline().step_time(batch_of([])) == 1
    assert roofline().step_time(batch_of([(10, 10, 0, 0)])) == 1
    assert list(roofline().decode_step_times(decodes([]), 3)) == [1, 1, 1]


def test_decode_member_without_a_token_costs_as_much_as_one_with():
    assert roofline().step_time(batch_of([(10, 11, 0, 4)])) == roofline().step_time(batch_of([(10, 11, 1, 4)]))


def test_mixed_step_does_not_ask_for_single_decode_members():
    def contexts():
        raise AssertionError("walked the batch")

    batch = StepBatch([StepMember(4000, 512, 1024, 9)], 200, 100_000, contexts)
    assert roofline().step_time(batch) > 1
    assert len(roofline().decode_step_times(StepBatch((), 200, 100_000, contexts), 100)) == 100


def test_closed_forms_equal_the_definition_on_random_batches():
    """Includes tp that is no power of two, broken head widths, and round figures where exact integers are common."""
    rng = random.Random(20)
    round_gpu = Gpu("round", 512.0, 0.0, 1.0, 0.5, 0.25, 80.0)
    for _ in range(300):
        spec = ModelSpec(
            num_layers=rng.choice([1, 32]),
            hidden_size=rng.choice([1024, 3000, 4096]),
            num_heads=rng.choice([7, 16, 32]),
            num_kv_heads=rng.choice([0, 1, 8]),
            intermediate_size=rng.choice([0, 14336]),
            bytes_per_param=rng.choice([1.0, 2.0]),
            weight_bytes_per_param=rng.choice([0.0, 0.375, 0.4125]),
        )
        gpu = rng.choice([GPUS["H100"], GPUS["L40S"], round_gpu])
        model = Roofline(LatencyInputs(alpha=ALPHA, model=spec, gpu=gpu, tp=rng.choice([1, 2, 3, 8])))
        prefills = [
            StepMember(99_999, rng.randrange(5000), rng.choice([0, 1, rng.randrange(4096)]), 9)
            for _ in range(rng.randrange(3))
        ]
        contexts = [rng.randrange(1, rng.choice([10, 20_000])) for _ in range(rng.choice([1, 4, 120]))]
        mixed = StepBatch(prefills, len(contexts), sum(contexts), lambda contexts=contexts: contexts)
        assert model.step_time(mixed) == model._by_member(prefills, contexts)
        steps = rng.choice([2, 30])
        expected = [model._by_member((), [context + step for context in contexts]) for step in range(steps)]
        assert list(model.decode_step_times(decodes(contexts), steps)) == expected


def test_endless_steps_take_the_largest_tick():
    slow = Gpu("slow", 1e-18, 0.0, 3.35, 0.5, 0.5, 80.0)
    model = Roofline(LatencyInputs(alpha=ALPHA, model=Catalog.load().model("qwen3-14b"), gpu=slow))
    assert model.step_time(batch_of(E4)) == MAX_TICKS
    assert list(model.decode_step_times(decodes([300] * 64), 30)) == [MAX_TICKS] * 30


def test_long_runs_come_as_int64():
    times = roofline().decode_step_times(decodes([300, 400]), 1000)
    assert isinstance(times, np.ndarray)
    assert times.dtype == np.int64


def test_delays_are_truncated_one_by_one():
    model = roofline(alpha=(10.7, 0.5, 1.7))
    assert (model.queueing_time(3), model.output_token_processing_time(), model.post_decode_overhead()) == (12, 1, 0)


def test_it_is_a_latency_model_with_decode_runs():
    assert isinstance(roofline(), LatencyModel)
    assert isinstance(roofline(), DecodeRuns)
