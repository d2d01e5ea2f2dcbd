"""A scenario as a value: made in Python, read from YAML, changed by copy."""

from __future__ import annotations

import pickle
from pathlib import Path

import attrs
import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.scenario import Scenario, load_scenario, shipped_scenarios
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian
from blis_simpy.workload.settings import Workload

TEXT = """
model: qwen/qwen3-14b
model_config: configs/qwen
hardware: H100
tp: 2
horizon: 10min
latency: {alpha: [1, 2, 3], beta: [4.5, 5, 6]}
engine:
  max_num_seqs: 8
  scheduler: {policy: sjf}
kv: {blocks: 100, gpu_memory_utilization: 1}
workload:
  rate: 600/min
  arrivals: poisson
  prompt: {type: exponential, mean: 100}
  output: {type: constant, value: 7}
"""


def test_defaults_are_those_of_the_reference():
    scenario = Scenario(model="m")
    assert attrs.asdict(scenario.engine) == {
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "long_prefill_token_threshold": 0,
        "max_model_len": None,
        "scheduler": "fcfs",
        "priority": "constant",
        "batching": "continuous",
        "macro_steps": True,
    }
    assert attrs.asdict(scenario.kv) == {
        "store": "single-tier",
        "blocks": None,
        "block_size": 16,
        "gpu_memory_utilization": 0.9,
        "cpu_blocks": 0,
        "transfer_bandwidth": 100.0,
        "transfer_base_latency": 0,
        "offload_threshold": 0.9,
    }
    assert (scenario.seed, scenario.replicas, scenario.horizon, scenario.workload) == (42, 1, None, None)
    workload = Workload()
    assert (workload.rate, workload.num_requests, workload.arrivals, workload.prefix_tokens) == (
        1.0,
        100,
        "constant",
        0,
    )
    assert workload.prompt == workload.output == Gaussian(512, 256, 2, 7000)


def test_a_yaml_file_becomes_the_scenario_it_says(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
    assert load_scenario(path) == Scenario(
        model="qwen/qwen3-14b",
        model_config=str(tmp_path / "configs" / "qwen"),
        hardware="H100",
        tp=2,
        horizon=600_000_000,
        latency=LatencySettings(alpha=(1, 2, 3), beta=(4.5, 5, 6)),
        engine=EngineSettings(max_num_seqs=8, scheduler={"policy": "sjf"}),
        kv=KVSettings(blocks=100, gpu_memory_utilization=1),
        workload=Workload(rate=10.0, arrivals="poisson", prompt=Exponential(100), output=Constant(7)),
    )


def test_an_absolute_path_in_a_file_stays_as_it_is(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: m\ndefaults: /some/where.yaml\n")
    assert load_scenario(path).defaults == "/some/where.yaml"


def test_every_shipped_scenario_loads_and_says_what_to_expect():
    shipped = shipped_scenarios()
    assert "quickstart" in shipped
    for path in shipped.values():
        assert isinstance(load_scenario(path), Scenario)
        heads = [line.split(":")[0] for line in Path(path).read_text().splitlines()[:3]]
        assert heads == ["# Question", "# Run", "# See"]


def test_a_scenario_is_equal_by_value_and_picklable(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
    scenario = load_scenario(path)
    assert pickle.loads(pickle.dumps(scenario)) == scenario == load_scenario(path)
    assert scenario != scenario.with_(seed=1)


def test_with_makes_a_changed_copy():
    scenario = Scenario(model="m")
    other = scenario.with_(replicas=8, **{"engine.max_num_seqs": 8, "workload.rate": "5/s", "kv.blocks": 9})
    assert (other.replicas, other.engine.max_num_seqs, other.workload.rate, other.kv.blocks) == (8, 8, 5.0, 9)
    assert scenario == Scenario(model="m")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"replica": 2}, "replica is not a setting; did you mean replicas?"),
        ({"engine.max_seqs": 2}, "engine.max_seqs is not a setting; did you mean max_num_seqs?"),
        ({"engine.max_num_seqs": 0}, "engine.max_num_seqs must be >= 1, got 0"),
        ({"engine": 3}, "engine must be of type EngineSettings, got 3"),
        ({"workload.rate": "x"}, "workload.rate must be a rate such as 20/s, 600/min or a number per second, got 'x'"),
        ({"latency.alpha": [1]}, "latency.alpha must come with beta coefficients"),
        ({"model": ""}, "model must not be empty"),
        ({"horizon": "-1s"}, "horizon must be > 0, got -1000000"),
    ],
)
def test_a_bad_change_is_refused_by_its_path(changes, line):
    with pytest.raises(ScenarioError) as caught:
        Scenario(model="m").with_(**changes)
    assert str(caught.value) == line


def test_unlimited_requests_need_a_horizon():
    with pytest.raises(ScenarioError) as caught:
        Scenario(model="m", workload=Workload(num_requests=0))
    assert str(caught.value) == "workload.num_requests must be > 0 unless there is a horizon, got 0"
    assert Scenario(model="m", horizon="1s", workload=Workload(num_requests=0)).horizon == 1_000_000


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, "trained-physics"),
        ({"alpha": (1, 2, 3), "beta": (1, 2, 3)}, "blackbox"),
        ({"backend": "blackbox"}, "blackbox"),
    ],
)
def test_coefficients_alone_choose_the_blackbox_model(settings, chosen):
    assert LatencySettings(**settings).chosen == chosen


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"alpha": (1, 2, 3)}, "alpha must come with beta coefficients"),
        ({"beta": (1, 2, 3)}, "beta must come with alpha coefficients"),
        (
            {"alpha": (1, 2, 3), "beta": (1, 2, 3), "backend": "roofline"},
            "alpha must not be given with the roofline model, which has none",
        ),
    ],
)
def test_coefficients_must_fit_together(settings, line):
    with pytest.raises(ScenarioError) as caught:
        LatencySettings(**settings)
    assert str(caught.value) == line


def test_single_takes_plain_numbers_as_lengths():
    assert Workload.single(rate="60/min", prompt=100, output=Gaussian(5, 1), num_requests=3) == Workload(
        rate=1.0, prompt=Constant(100), output=Gaussian(5, 1), num_requests=3
    )


def test_run_gives_a_result_and_takes_a_seed():
    scenario = Scenario(model="qwen/qwen3-14b", workload=Workload.single(rate=50, num_requests=3))
    assert scenario.run().summary["completed_requests"] == 3
    assert scenario.run(seed=1).summary != scenario.run().summary
