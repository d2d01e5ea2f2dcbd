"""A scenario as a value: made in Python, read from YAML, changed by copy."""

from __future__ import annotations

import pickle
from pathlib import Path

import attrs
import pytest

from blis_simpy import registry
from blis_simpy.cluster.admission import AlwaysAdmit, TokenBucket
from blis_simpy.cluster.routing import LeastLoaded
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.load_files import load_scenario, shipped_scenarios
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.scenario import Scenario
from blis_simpy.workload.arrivals import ConstantArrivals
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian
from blis_simpy.workload.load_workload import read_workload
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.traffic import Traffic

TEXT = """
model: qwen/qwen3-14b
model_config: configs/qwen
hardware: H100
tp: 2
horizon: 10min
latency: {alpha: [1, 2, 3], beta: [4.5, 5, 6]}
engine:
  max_num_seqs: 8
  scheduler: {type: sjf}
kv: {blocks: 100, gpu_memory_utilization: 1}
workload:
  rate: 600/min
  arrivals: poisson
  prompt: {type: exponential, mean: 100}
  output: {type: constant, value: 7}
"""


def test_defaults_are_those_of_a_server_of_vllm():
    scenario = Scenario(model="qwen/qwen3-14b")
    resolved = scenario.resolve()
    assert attrs.asdict(resolved.engine) == {
        "profile": "vllm",
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "long_prefill_token_threshold": 0,
        "long_prefill_token_threshold_adaptive": False,
        "long_prefill_threshold_if_alone": False,
        "max_model_len": None,
        "over_length": "clip",
        "step_effects": "end",
        "async_scheduling": True,
        "idle_pause": 1000,
        "reserve_full_sequence": True,
        "watermark": 0.0,
        "victim": "latest",
        "resume": "recompute",
        "scheduler": "fcfs",
        "priority": "constant",
        "batching": "continuous",
        "macro_steps": True,
    }
    assert attrs.asdict(resolved.kv) == {
        "store": "block-pool",
        "blocks": None,
        "capacity_rules": "vllm",
        "reserved_blocks": 1,
        "prefix_caching": True,
        "block_size": 16,
        "gpu_memory_utilization": 0.92,
        "cpu_blocks": 0,
        "transfer_bandwidth": 100.0,
        "transfer_base_latency": 0,
        "offload_threshold": 0.9,
        "bytes_per_token": None,
        "tiers": (),
        "chunk": 1,
        "load_if": "faster",
        "max_loading": None,
        "prefetch": False,
        "prefetch_after": None,
    }
    assert (scenario.seed, scenario.replicas, scenario.horizon, scenario.workload) == (42, 1, None, None)
    workload = Workload()
    assert (workload.rate, workload.num_requests, workload.prefix_tokens) == (1.0, 100, 0)
    assert workload.arrivals == ConstantArrivals()
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
        engine=EngineSettings(max_num_seqs=8, scheduler={"type": "sjf"}),
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
        ({"engine": 3}, "engine must be a mapping of settings, got 3"),
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
        ({}, "kernels"),
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
            "alpha must not be given: the latency model takes no coefficients",
        ),
    ],
)
def test_coefficients_must_fit_together(settings, line):
    with pytest.raises(ScenarioError) as caught:
        LatencySettings(**settings)
    assert str(caught.value) == line


def test_plain_numbers_are_constant_lengths():
    assert Workload(rate="60/min", prompt=100, output=5) == Workload(rate=1.0, prompt=Constant(100), output=Constant(5))


def test_run_gives_a_result_and_takes_a_seed():
    scenario = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=50, num_requests=3))
    assert scenario.run().summary["completed_requests"] == 3
    assert scenario.run(seed=1).summary != scenario.run().summary


def read_back(scenario, path):
    path.write_text(scenario.to_yaml(), encoding="utf-8")
    return load_scenario(path)


def test_yaml_says_what_differs_from_the_defaults():
    scenario = Scenario(
        model="qwen/qwen3-14b",
        groups=[{"replicas": 2}, {"hardware": "A100-80", "kv": KVSettings(blocks=9)}],
        engine=EngineSettings(scheduler={"type": "sjf"}),
        router={"policy": "weighted", "scorers": "queue-depth:1", "delay": "1ms"},
        workload=Workload(rate="20/s", prompt=Constant(7)),
        horizon="2s",
    )
    assert scenario.to_yaml() == (
        "model: qwen/qwen3-14b\n"
        "router:\n"
        "  policy: weighted\n"
        "  scorers:\n"
        "  - - queue-depth\n"
        "    - 1.0\n"
        "  delay: 1000\n"
        "horizon: 2000000\n"
        "engine:\n"
        "  scheduler: sjf\n"
        "workload:\n"
        "  rate: 20.0\n"
        "  prompt:\n"
        "    type: constant\n"
        "    value: 7\n"
        "groups:\n"
        "- replicas: 2\n"
        "- hardware: A100-80\n"
        "  kv:\n"
        "    blocks: 9\n"
    )


@pytest.mark.parametrize("name", shipped_scenarios())
def test_a_shipped_scenario_with_its_traffic_is_read_back(name, tmp_path):
    scenario = load_scenario(shipped_scenarios()[name])
    assert read_back(scenario, tmp_path / "x.yaml") == scenario


def test_a_policy_given_as_a_class_is_written_by_its_name(tmp_path):
    scenario = Scenario(model="m", router=LeastLoaded, admission=AlwaysAdmit())
    assert read_back(scenario, tmp_path / "x.yaml") == Scenario(model="m", router="least-loaded")


def test_what_has_no_name_cannot_be_written():
    class MyTraffic(Traffic):
        pass

    class MyRouter:
        pass

    scenario = Scenario(
        model="m",
        router=MyRouter(),
        admission=TokenBucket(5, 3),
        engine=EngineSettings(scheduler=MyRouter),
        groups=[{"latency": LatencySettings(backend=MyRouter)}],
        workload=MyTraffic(),
    )
    with pytest.raises(ScenarioError) as caught:
        scenario.to_yaml()
    assert str(caught.value).splitlines() == [
        "router.policy cannot be written: MyRouter is not registered under a name",
        "engine.scheduler cannot be written: MyRouter is not registered under a name",
        "workload cannot be written: a MyTraffic is no plain data",
        "groups[0].latency.backend cannot be written: MyRouter is not registered under a name",
    ]


def test_a_written_file_holds_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    scenario = Scenario(model="m", defaults="d.yaml", groups=[{"model_config": "configs"}])
    assert read_back(scenario, Path("x.yaml")) == scenario
    scenario.write("sub/x.yaml")
    found = load_scenario("sub/x.yaml")
    assert found.defaults == str(tmp_path / "d.yaml")
    assert found.groups[0].model_config == str(tmp_path / "configs")
    with pytest.raises(ScenarioError, match=r"^gone/x\.yaml: cannot be written: there is no directory gone$"):
        scenario.write("gone/x.yaml")


FIXED = {"type": "constant", "params": {"value": 10}}
CLIENT = {
    "rate_fraction": 1.0,
    "arrival": {"process": "gamma"},
    "input_distribution": FIXED,
    "output_distribution": FIXED,
}
SPEC = {
    "aggregate_rate": 2,
    "num_requests": 4,
    "clients": [{"id": "a", **CLIENT}, {"id": "b", "reasoning": {"multi_turn": {"max_rounds": 2}}, **CLIENT}],
}


def test_with_reaches_into_a_specification_and_into_lists():
    scenario = Scenario(model="m", workload=read_workload(SPEC), groups=[{}, {"tp": 2}])
    other = scenario.with_(
        **{
            "workload.aggregate_rate": "600/min",
            "workload.clients[1].rate_fraction": 3,
            "workload.clients[1].reasoning.multi_turn.max_rounds": 5,
            "workload.clients[0].input_distribution.value": 7,
            "groups[1].replicas": 2,
            "groups[1].engine.max_num_seqs": 9,
        }
    )
    assert other.workload.aggregate_rate == 10.0
    assert [client.rate_fraction for client in other.workload.clients] == [1.0, 3]
    assert other.workload.clients[1].reasoning.multi_turn.max_rounds == 5
    assert other.workload.clients[0].input_distribution == Constant(7)
    assert (other.groups[1].replicas, other.groups[1].tp, other.groups[1].engine.max_num_seqs) == (2, 2, 9)
    assert scenario.workload == read_workload(SPEC)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("workload.agregate_rate", 2, "workload.agregate_rate is not a setting; did you mean aggregate_rate?"),
        ("workload.num_requests", -1, "workload.num_requests must be >= 0, got -1"),
        ("workload.clients[0].arrival.cv", 0, "workload.clients[0].arrival.cv must be > 0, got 0"),
        ("workload.clients[7].id", "x", "workload.clients[7].id does not exist; there are 2 items, from [0]"),
        (
            "workload.clients[0].input_distribution.mean",
            5,
            "workload.clients[0].input_distribution.mean is not a setting; known: value",
        ),
        ("groups[1].tp", 0, "groups[1].tp must be >= 1, got 0"),
        ("groups[1]", {"tp": 0}, "groups[1].tp must be >= 1, got 0"),
        ("groups", [{"replica": 1}], "groups[0].replica is not a setting; did you mean replicas?"),
    ],
)
def test_a_bad_path_into_a_specification_or_a_list_is_named(path, value, line):
    scenario = Scenario(model="m", workload=read_workload(SPEC), groups=[{}, {"tp": 2}])
    with pytest.raises(ScenarioError) as caught:
        scenario.with_(**{path: value})
    assert str(caught.value) == line


def test_options_of_a_policy_are_changed_by_their_path():
    scenario = Scenario(model="m", admission={"policy": "token-bucket", "capacity": 5})
    assert scenario.with_(**{"admission.capacity": 7, "admission.refill_rate": 3}) == Scenario(
        model="m", admission={"policy": "token-bucket", "capacity": 7, "refill_rate": 3}
    )


def test_a_length_law_may_be_a_mapping_in_python_too():
    assert Workload(prompt={"type": "constant", "value": 3}) == Workload(prompt=Constant(3))
    changed = Scenario(model="m").with_(**{"workload.prompt": {"type": "gaussian", "mean": 9, "std_dev": 1}})
    assert changed.workload.prompt == Gaussian(9, 1)


@pytest.mark.parametrize(
    ("law", "line"),
    [
        ({"type": "mean"}, f"prompt.type is unknown, got 'mean'; known: {', '.join(registry.names('lengths'))}"),
        ({"type": "constant", "value": 0}, "prompt.value must be >= 1, got 0"),
        ({"type": "constant"}, "prompt.value is required"),
        ({"value": 3}, "prompt must name its plug-in under 'type', got {'value': 3}"),
        ({"type": ["x"]}, "prompt.type must be text, got ('x',)"),
    ],
)
def test_a_wrong_length_law_is_told_by_its_path(law, line):
    with pytest.raises(ScenarioError) as caught:
        Workload(prompt=law)
    assert str(caught.value) == line
    with pytest.raises(ScenarioError) as caught:
        Scenario(model="m").with_(**{"workload.prompt": law})
    assert str(caught.value) == f"workload.{line}"


def test_name_that_no_scenario_has_is_told_with_those_that_are_shipped():
    with pytest.raises(ScenarioError) as caught:
        load_scenario("quickstrat")
    assert str(caught.value).startswith(
        "quickstrat: is neither a file nor a shipped scenario; did you mean 'quickstart'? known: bursts, "
    )


def test_every_scenario_can_be_a_key():
    """Also those that hold mappings, such as options of a policy or the parameters of a length law."""
    results = {load_scenario(name): name for name in shipped_scenarios()}
    assert {load_scenario(name): name for name in shipped_scenarios()} == results
    options = {"engine.scheduler": {"type": "sjf"}}
    scenario = load_scenario("quickstart")
    assert len({scenario, scenario.with_(), scenario.with_(**options), scenario.with_(**options)}) == 2
