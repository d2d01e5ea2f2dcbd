"""The schema that `blis schema` prints, against files that are good and files that are not."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import blis_simpy as blis
from blis_simpy.cli.main import main
from blis_simpy.errors import ScenarioError
from blis_simpy.load_files import load_scenario, scenario_schema, shipped_scenarios
from blis_simpy.settings.loader import load, parse
from blis_simpy.workload.load_workload import load_workload, read_workload, workload_schema

SCENARIOS = shipped_scenarios()
WORKLOADS = sorted((Path(SCENARIOS["quickstart"]).parent / "workloads").glob("*.yaml"))
SCENARIO = Draft202012Validator(scenario_schema())
WORKLOAD = Draft202012Validator(workload_schema())

CLIENT = """
  - id: a
    rate_fraction: 1
    arrival: {process: gamma, cv: 2}
    input_distribution: {type: empirical, params: {100: 1, 200: 3}}
    output_distribution: {type: constant, params: {value: 5}}
"""
SPEC = f"aggregate_rate: 2/s\nnum_requests: 4\nclients:{CLIENT}"
GOOD = """
model: qwen/qwen3-14b
model_config: configs
tp: 2
horizon: 10min
admission: {policy: token-bucket, capacity: 10, delay: 1ms}
router: {policy: weighted, scorers: {queue-depth: 2}, snapshot_interval: 5ms}
latency: {alpha: [1, 2, 3], beta: [4.5, 5, 6]}
engine: {max_num_seqs: 8, scheduler: {type: sjf}, max_model_len: null}
kv: {blocks: 100, gpu_memory_utilization: 1}
workload:
  rate: 600/min
  arrivals: {type: gamma, cv: 2}
  prompt: {type: exponential, mean: 100}
  output: {type: empirical, lengths: [5, 9], weights: [1, 2.5]}
groups:
- {replicas: 2, engine: {max_num_seqs: 4}}
- {hardware: A100-80, kv: {blocks: 9}}
node_pools: [{name: a, gpu_type: H100, provisioning_delay: 1.5s}]
lifecycle: {drain_policy: redirect}
"""
WRONG_SCENARIOS = [
    "tp: 1",
    "model: m\nhardwre: H100",
    "model: 3",
    "model: m\ntp: 0",
    "model: m\ntp: '2'",
    "model: m\nreplicas: true",
    "model: m\nhorizon: soon",
    "model: m\nhorizon: 0",
    "model: m\nrouter: weigthed",
    "model: m\nrouter: {scorers: queue-depth}",
    "model: m\nrouter: {policy: weighted, scorer: queue-depth}",
    "model: m\nadmission: {policy: token-bucket, capacity: 0}",
    "model: m\nrouter: {decision_log: all}",
    "model: m\nengine: fast",
    "model: m\nengine: {max_num_seqs: 0}",
    "model: m\nengine: {max_num_seq: 1}",
    "model: m\nkv: {gpu_memory_utilization: 1.5}",
    "model: m\nlatency: {alpha: [1, -2], beta: [1]}",
    "model: m\nlatency: {alpha: 1, beta: [1]}",
    "model: m\nworkload: {rate: 0}",
    "model: m\nworkload: {rate: fast}",
    "model: m\nworkload: {arrivals: gama}",
    "model: m\nworkload: {prompt: gaussian}",
    "model: m\nworkload: {prompt: {type: gausian, mean: 3}}",
    "model: m\nworkload: {prompt: {type: gaussian, mean: 3}}",
    "model: m\nworkload: {prompt: {type: gaussian, mean: 3, std_dev: -1}}",
    "model: m\nworkload: {prompt: {type: constant, value: 3, mean: 3}}",
    "model: m\nworkload: [1]",
    "model: m\nworkload: {clients: 3}",
    "model: m\nworkload: {clients: [{id: a}], aggregate_rate: 1}",
    "model: m\ngroups: {replicas: 2}",
    "model: m\ngroups: [{replica: 2}]",
    "model: m\ngroups: [{engine: {max_num_seqs: 0}}]",
    "model: m\nnode_pools: [{name: a}]",
    "model: m\nlifecycle: {drain_policy: slowly}",
]
WRONG_WORKLOADS = [
    "aggregate_rate: 2\nnum_requests: 4",
    SPEC + "sed: 7",
    SPEC + "seed: seven",
    SPEC + "category: poetry",
    SPEC.replace("2/s", "-1"),
    SPEC.replace("2/s", "fast"),
    SPEC.replace("rate_fraction: 1", "rate_fraction: 0"),
    SPEC.replace("    rate_fraction: 1\n", ""),
    SPEC.replace("process: gamma", "process: gama"),
    SPEC.replace("cv: 2", "cv: high"),
    SPEC.replace("type: constant", "type: constnt"),
    SPEC.replace("value: 5", "value: five"),
    SPEC.replace("- id: a", "- id: a\n    slo_class: gold"),
    SPEC.replace("- id: a", "- id: a\n    streaming: 1"),
    SPEC.replace("- id: a", "- id: a\n    reasoning: {multi_turn: {max_rounds: 0}}"),
    SPEC.replace("- id: a", "- id: a\n    lifecycle: {windows: [{start_us: x}]}"),
    SPEC.replace("clients", "cohorts"),
    "inference_perf: {stages: [{rate: 1, duration: 1}]}",
    "inference_perf: {stages: 3}",
    "aggregate_rate: 1\nservegen_data: {span_start: 3}",
]
FOR_THE_LOADER_ALONE = [
    "model: ''",
    "model: m\nlatency: {alpha: [1, 2, 3]}",
    "model: m\nreplicas: 2\ngroups: [{tp: 1}]",
    "model: m\nrouter: {policy: weighted, scorers: queue-dpth}",
    "model: m\nhorizon: 0.5us",
]


def is_read(text, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_scenario(path)
    except ScenarioError:
        return False
    return True


@pytest.mark.parametrize("kind", ["scenario", "workload"])
def test_what_is_printed_is_a_schema(kind, capsys):
    assert main(["schema", "--kind", kind]) == 0
    printed = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(printed)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert printed == {"scenario": blis.scenario_schema, "workload": blis.workload_schema}[kind]()


def test_scenario_files_are_described_unless_told_otherwise(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Scenario"


def test_schema_can_be_written_to_a_file(tmp_path, capsys):
    path = tmp_path / "s.json"
    assert main(["schema", "--output", str(path)]) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == scenario_schema()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--kind", "trace"], "--kind is unknown, got 'trace'; known: scenario, workload"),
        (["--output", "gone/s.json"], "gone/s.json: cannot be written: there is no directory gone"),
        (["--out=x"], "--out is not a flag; did you mean --output?"),
    ],
)
def test_a_mistake_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["schema", *words]) == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("name", SCENARIOS)
def test_shipped_scenarios_fit(name):
    SCENARIO.validate(load(SCENARIOS[name]).data)


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.stem)
def test_shipped_specifications_fit_by_themselves_and_in_a_scenario(path):
    data = load(path).data
    WORKLOAD.validate(data)
    SCENARIO.validate({"model": "m", "workload": data})
    WORKLOAD.validate(parse(load_workload(path).to_yaml()).data)


def test_a_file_that_says_much_fits(tmp_path):
    assert is_read(GOOD, tmp_path)
    SCENARIO.validate(parse(GOOD).data)
    for more in ("", "seed:\n", "category: null\n", "num_requests: 1e1\n"):
        data = parse(SPEC.replace("num_requests: 4\n", "") + more).data
        read_workload(data)
        WORKLOAD.validate(data)


@pytest.mark.parametrize("text", WRONG_SCENARIOS)
def test_a_wrong_scenario_is_refused_by_both(text, tmp_path):
    assert not is_read(text, tmp_path)
    assert not SCENARIO.is_valid(parse(text).data)


@pytest.mark.parametrize("text", WRONG_WORKLOADS)
def test_a_wrong_specification_is_refused_by_both(text):
    data = parse(text).data
    with pytest.raises(ScenarioError):
        read_workload(data)
    assert not WORKLOAD.is_valid(data)
    assert not SCENARIO.is_valid({"model": "m", "workload": data})


@pytest.mark.parametrize("text", FOR_THE_LOADER_ALONE)
def test_rules_between_settings_are_the_loaders(text, tmp_path):
    SCENARIO.validate(parse(text).data)
    assert not is_read(text, tmp_path)
