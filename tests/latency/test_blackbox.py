import json
from pathlib import Path

import pytest

from blis_simpy.latency.base import MAX_TICKS, DecodeRuns, LatencyInputs, LatencyModel, StepBatch, StepMember
from blis_simpy.latency.blackbox import Blackbox

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "latency_kernels.json").read_text())
DEPLOYMENTS = {d["id"]: d for d in RECORDED["deployments"]}


def blackbox(alpha=(10.0, 0.5, 1.7), beta=(1000.5, 3.3, 7.7)):
    return Blackbox(LatencyInputs(alpha=tuple(alpha), beta=tuple(beta)))


def batch_of(*rows):
    return StepBatch.of([StepMember(*row) for row in rows])


@pytest.mark.parametrize(
    "step", [s for s in RECORDED["steps"] if "blackbox" in s["step_time"]], ids=lambda step: step["deployment"]
)
def test_recorded_steps_are_exact(step):
    deployment = DEPLOYMENTS[step["deployment"]]
    model = blackbox(deployment["alpha"]["blackbox"], deployment["beta"]["blackbox"])
    assert model.step_time(batch_of(*step["batch"])) == step["step_time"]["blackbox"]
    if step["batch"]:
        assert model.queueing_time(step["batch"][0][0]) == step["queueing_time"]["blackbox"]


@pytest.mark.parametrize("run", RECORDED["decode_runs"], ids=lambda run: run["deployment"])
def test_recorded_runs_are_one_time_for_all_steps(run):
    deployment, context = DEPLOYMENTS[run["deployment"]], run["context"]
    model = blackbox(deployment["alpha"]["blackbox"], deployment["beta"]["blackbox"])
    batch = StepBatch((), len(context), sum(context), lambda: context)
    assert {model.decode_step_times(batch, run["k"])} == set(run["step_times"]["blackbox"])


def test_step_time_counts_prefill_and_decode_tokens():
    """1000.5 + 3.3 * (512 + 100) + 7.7 * 1 = 3027.8."""
    assert blackbox().step_time(batch_of((512, 0, 512, 9), (300, 200, 100, 9), (5, 6, 1, 9))) == 3027


def test_only_tokens_of_this_step_count():
    assert blackbox().step_time(batch_of((10, 11, 0, 4))) == 1000
    assert blackbox().step_time(batch_of((10, 10, 0, 0))) == 1000
    assert blackbox().step_time(batch_of()) == 1000


def test_step_takes_at_least_one_tick_and_at_most_the_largest():
    assert blackbox(beta=(0.0, 0.0, 0.0)).step_time(batch_of((1, 0, 1, 1))) == 1
    assert blackbox(beta=(1e300, 0.0, 0.0)).step_time(batch_of()) == MAX_TICKS


def test_it_is_a_latency_model_with_decode_runs():
    assert isinstance(blackbox(), LatencyModel)
    assert isinstance(blackbox(), DecodeRuns)
