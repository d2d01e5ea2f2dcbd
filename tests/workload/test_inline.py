"""A workload specification inside a scenario file."""

import pytest
from workloads import client, spec

from blis_simpy.errors import ScenarioError
from blis_simpy.load_files import load_scenario
from blis_simpy.settings.loader import load

INLINE = """model: any/model
workload:
  version: '2'
  aggregate_rate: 2
  num_requests: 4
  clients:
    - id: a
      rate_fraction: 1
      arrival: {process: constant}
      input_distribution:
        type: empirical
        params: {100: 1, 200: 3}
      output_distribution: {type: constant, params: {value: 5}}
horizon: 10s
"""


@pytest.fixture
def lines_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def lines_of(text):
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(ScenarioError) as caught:
            load_scenario("s.yaml")
        return str(caught.value).splitlines()

    return lines_of


def test_specification_in_place_is_the_one_in_a_file_of_its_own(tmp_path):
    (tmp_path / "s.yaml").write_text(INLINE)
    weights = {"type": "empirical", "params": {"100": 1, "200": 3}}
    scenario = load_scenario(tmp_path / "s.yaml")
    assert scenario.workload == spec(client("a", prompt=weights), aggregate_rate=2, num_requests=4)
    (tmp_path / "w.yaml").write_text(scenario.workload.to_yaml())
    (tmp_path / "t.yaml").write_text("model: any/model\nhorizon: 10s\nworkload: w.yaml\n")
    assert load_scenario(tmp_path / "t.yaml") == scenario


@pytest.mark.parametrize("key", ["cohorts", "servegen_data", "inference_perf"])
def test_every_source_of_traffic_marks_a_specification(key, lines_of):
    (line, *_) = lines_of(f"model: any/model\nworkload:\n  {key}: 3\n")
    assert line.startswith(f"s.yaml: workload.{key} must be a ")
    assert "(line 3)" in line


def test_mistakes_of_scenario_and_specification_come_at_once_in_file_order(lines_of):
    text = INLINE.replace("process: constant", "process: constnt").replace("10s", "-1").replace("200: 3", "x: 3")
    assert lines_of(text.replace("num_requests", "num_request")) == [
        "s.yaml: workload.num_request is not a setting (line 5); did you mean num_requests?",
        (
            "s.yaml: workload.clients[0].arrival.process is unknown, got 'constnt' (line 9); "
            "did you mean 'constant'? known: constant, gamma, poisson, weibull"
        ),
        ("s.yaml: workload.clients[0].input_distribution.params.x must be named by an integer token count (line 12)"),
        "s.yaml: horizon must be > 0, got -1 (line 14)",
    ]


def test_a_rule_for_the_whole_specification_names_its_place(lines_of):
    assert lines_of(INLINE.replace("aggregate_rate: 2", "aggregate_rate: 0")) == [
        "s.yaml: workload.aggregate_rate must be > 0, got 0 (line 4); it has no default"
    ]


def test_a_token_count_as_key_has_its_line(tmp_path):
    (tmp_path / "s.yaml").write_text(INLINE)
    path = ("workload", "clients", 0, "input_distribution", "params", 200)
    assert load(tmp_path / "s.yaml").line_of(path) == 12
