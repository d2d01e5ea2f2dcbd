# ruff: noqa: E501 - the tables hold whole lines as users read them
import copy
import logging

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import arrivals, client, fixed, from_text, spec, turns

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrivals import GammaArrivals
from blis_simpy.workload.load_workload import load_workload, read_workload
from blis_simpy.workload.spec.arrival import Arrival
from blis_simpy.workload.spec.client import Client
from blis_simpy.workload.spec.length_distribution import LengthDistribution

GOOD = """\
version: "2"
seed: 7
category: language
aggregate_rate: 10.0
num_requests: 5
clients:
- id: a
  slo_class: batch
  rate_fraction: 1.0
  arrival: {process: gamma, cv: 2.0}
  input_distribution:
    type: gaussian
    params: {mean: 10, std_dev: 2, min: 1, max: 20}
  output_distribution:
    type: exponential
    params: {mean: 5}
  prefix_length: 3
  timeout: 100
  reasoning:
    multi_turn: {max_rounds: 2, think_time_us: 10}
  lifecycle:
    windows:
    - {start_us: 0, end_us: 10}
cohorts:
- id: c
  population: 2
  rate_fraction: 1.0
  arrival: {process: poisson}
  input_distribution: {type: empirical, params: {"5": 1}}
  output_distribution: {type: constant, params: {value: 5}}
  diurnal: {peak_hour: 3, peak_to_trough_ratio: 2.0}
  spike: {start_time_us: 0, duration_us: 10}
  drain: {start_time_us: 0, ramp_duration_us: 10}
"""
LAWS = "known: constant, empirical, exponential, gaussian, lognormal, pareto_lognormal, uniform"
SLO = "known: critical, standard, sheddable, batch, background"
PROCESSES = "known: constant, gamma, poisson, weibull"
PERF = """\
inference_perf:
  stages:
  - {rate: 5, duration: 10}
  shared_prefix: {num_unique_system_prompts: 2, num_users_per_system_prompt: 2, question_len: 3}
"""
MISTAKES = [
    # What is replaced in the text above, by what, and the whole line that the user reads.
    ("category: language", "category: poetry", "category is unknown, got 'poetry' (line 3); known: language, multimodal, reasoning"),
    ("seed: 7", "seed: seven", "seed must be an integer, got 'seven' (line 2)"),
    ("seed: 7", "seed: 7.5", "seed must be an integer, got 7.5 (line 2)"),
    ("seed: 7", "sed: 7", "sed is not a setting (line 2); did you mean seed?"),
    ("seed: 7", "seed: 7\nseed: 8", "seed is given twice (line 3); first on line 2"),
    ("seed: 7", "horizon: soon", "horizon must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'soon' (line 2)"),
    ("aggregate_rate: 10.0", "aggregate_rate: 0", "aggregate_rate must be > 0, got 0 (line 4); it has no default"),
    ("aggregate_rate: 10.0", "aggregate_rate: -1", "aggregate_rate must be >= 0, got -1 (line 4)"),
    ("aggregate_rate: 10.0", "aggregate_rate: .nan", "aggregate_rate must be a finite number, got nan (line 4)"),
    ("aggregate_rate: 10.0", "aggregate_rate: .inf", "aggregate_rate must be a finite number, got inf (line 4)"),
    ("aggregate_rate: 10.0\n", "", "aggregate_rate must be > 0, got 0.0; it has no default"),
    ("num_requests: 5", "num_requests: -5", "num_requests must be >= 0, got -5 (line 5)"),
    ("num_requests: 5", "num_requests: yes", "num_requests must be an integer, got 'yes' (line 5)"),
    ("num_requests: 5", "num_requests: true", "num_requests must be an integer, got True (line 5)"),
    ("clients:\n", "clients:\n- 5\n", "clients[0] must be a mapping of settings, got 5 (line 7)"),
    ("- id: a", "- id: [a]", "clients[0].id must be text, got ('a',) (line 7)"),
    ("- id: a", "- name: a", "clients[0].name is not a setting (line 7); known: id, tenant, slo_class, priority, model, rate_fraction, arrival, input_distribution, output_distribution, prefix_group, streaming, prefix_length, network, lifecycle, daily, rate_curve, multimodal, reasoning, timeout, closed_loop"),
    ("slo_class: batch", "slo_class: batches", f"clients[0].slo_class is unknown, got 'batches' (line 8); did you mean 'batch'? {SLO}"),
    ("slo_class: batch", "slo_class: realtime", f"clients[0].slo_class is unknown, got 'realtime' (line 8); {SLO}"),
    ("slo_class: batch", "streaming: 1", "clients[0].streaming must be true or false, got 1 (line 8)"),
    ("slo_class: batch", "streaming: 'true'", "clients[0].streaming must be true or false, got 'true' (line 8)"),
    ("slo_class: batch", "Streaming: true", "clients[0].Streaming is not a setting (line 8); did you mean streaming?"),
    ("slo_class: batch", "closed_loop: maybe", "clients[0].closed_loop must be true or false, got 'maybe' (line 8)"),
    ("slo_class: batch", "network: {rtt: 5}", "clients[0].network.rtt is not a setting (line 8); did you mean rtt_ms?"),
    ("slo_class: batch", "network: fast", "clients[0].network must be a mapping of settings, got 'fast' (line 8)"),
    ("  slo_class: batch\n  rate_fraction: 1.0\n", "", "clients[0].rate_fraction is required (line 7)"),
    ("  rate_fraction: 1.0\n  arrival: {process: gamma", "  rate_fraction: 0\n  arrival: {process: gamma", "clients[0].rate_fraction must be > 0, got 0 (line 9)"),
    ("  rate_fraction: 1.0\n  arrival: {process: gamma", "  rate_fraction: -.inf\n  arrival: {process: gamma", "clients[0].rate_fraction must be a finite number, got -inf (line 9)"),
    ("process: gamma", "process: gama", f"clients[0].arrival.process is unknown, got 'gama' (line 10); did you mean 'gamma'? {PROCESSES}"),
    ("process: gamma, ", "", "clients[0].arrival.process is required (line 10)"),
    ("{process: gamma, cv: 2.0}", "gama", f"clients[0].arrival is unknown, got 'gama' (line 10); did you mean 'gamma'? {PROCESSES}"),
    ("cv: 2.0", "cv: -1", "clients[0].arrival.cv must be > 0, got -1 (line 10)"),
    ("cv: 2.0", "cv: 0.0", "clients[0].arrival.cv must be > 0, got 0.0 (line 10)"),
    ("cv: 2.0", "cv: .nan", "clients[0].arrival.cv must be a finite number, got nan (line 10)"),
    ("cv: 2.0", "cv: high", "clients[0].arrival.cv must be a number, got 'high' (line 10)"),
    ("cv: 2.0", "rate: 2.0", "clients[0].arrival.rate is not a setting (line 10); known: cv"),
    ("process: gamma, cv: 2.0", "process: weibull, cv: 10.5", "clients[0].arrival.cv must be between 0.01 and 10.4 for this process, got 10.5 (line 10)"),
    ("process: gamma, cv: 2.0", "process: weibull, cv: 0.009", "clients[0].arrival.cv must be between 0.01 and 10.4 for this process, got 0.009 (line 10)"),
    ("type: gaussian", "type: gausian", f"clients[0].input_distribution.type is unknown, got 'gausian' (line 12); did you mean 'gaussian'? {LAWS}"),
    ("type: gaussian", "type: ''", "clients[0].input_distribution.type is required (line 12)"),
    ("type: gaussian", "kind: gaussian", "clients[0].input_distribution.kind is not a setting (line 12); known: type, params, file"),
    ("mean: 10, ", "", "clients[0].input_distribution.params.mean is required (line 13)"),
    ("{mean: 10, std_dev: 2, min: 1, max: 20}", "{max: 20}", "clients[0].input_distribution.params.mean is required (line 13)"),
    (", max: 20", "", "clients[0].input_distribution.params.max is required (line 13)"),
    ("mean: 10", "mean: .nan", "clients[0].input_distribution.params.mean must be a finite number, got nan (line 13)"),
    ("mean: 10", "mean: ten", "clients[0].input_distribution.params.mean must be a number, got 'ten' (line 13)"),
    ("mean: 10", "mean: true", "clients[0].input_distribution.params.mean must be a number, got True (line 13)"),
    ("min: 1, max: 20", "min: -4, max: -4", "clients[0].input_distribution.params.min must be >= 0, got -4 (line 13)"),
    ("params: {mean: 5}", "params: [5]", "clients[0].output_distribution.params must be of type Mapping, got (5,) (line 16)"),
    ("params: {mean: 5}", "file: x.csv", "clients[0].output_distribution.params.mean is required (line 14)"),
    ("params: {mean: 5}", "params: {mean: 1e12}", "clients[0].output_distribution.params.mean must be <= 2147483647, got 1000000000000.0 (line 16)"),
    ("prefix_length: 3", "prefix_length: -3", "clients[0].prefix_length must be >= 0, got -3 (line 17)"),
    ("prefix_length: 3", "prefix_length: '3'", "clients[0].prefix_length must be an integer, got '3' (line 17)"),
    ("timeout: 100", "timeout: -1", "clients[0].timeout must be >= 0, got -1 (line 18)"),
    ("max_rounds: 2", "max_rounds: 0", "clients[0].reasoning.multi_turn.max_rounds must be >= 1, got 0 (line 20)"),
    ("max_rounds: 2, ", "", "clients[0].reasoning.multi_turn.max_rounds is required (line 20)"),
    ("think_time_us: 10", "think_time_us: -1", "clients[0].reasoning.multi_turn.think_time_us must be >= 0, got -1 (line 20)"),
    ("think_time_us: 10", "single_session: 1", "clients[0].reasoning.multi_turn.single_session must be true or false, got 1 (line 20)"),
    ("- {start_us: 0, end_us: 10}", "- {from: 0}", "clients[0].lifecycle.windows[0].from is not a setting (line 23); known: start_us, end_us, rate"),
    ("- {start_us: 0, end_us: 10}", "  start_us: 0", "clients[0].lifecycle.windows must be a list, got {'start_us': 0} (line 22)"),
    ("start_us: 0, end_us", "start_us: x, end_us", "clients[0].lifecycle.windows[0].start_us must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'x' (line 23)"),
    ("population: 2", "population: 0", "cohorts[0].population must be >= 1, got 0 (line 26)"),
    ("population: 2", "population: 100001", "cohorts[0].population must be <= 100000, got 100001 (line 26)"),
    ("population: 2", "timeout: 2", "cohorts[0].timeout is not a setting (line 26); known: id, tenant, slo_class, priority, model, rate_fraction, arrival, input_distribution, output_distribution, prefix_group, streaming, population, diurnal, daily, rate_curve, spike, drain\ncohorts[0].population is required (line 25)"),
    ("  population: 2\n  rate_fraction: 1.0", "  population: 2\n  rate_fraction: 0", "cohorts[0].rate_fraction must be > 0, got 0 (line 27)"),
    ("population: 2", "population: 2\n  slo_class: gold", f"cohorts[0].slo_class is unknown, got 'gold' (line 27); {SLO}"),
    ("process: poisson", "process: none", f"cohorts[0].arrival.process is unknown, got 'none' (line 28); {PROCESSES}"),
    ('{"5": 1}', "{}", "cohorts[0].input_distribution.params must have at least one token count (line 29)"),
    ('{"5": 1}', "{five: 1}", "cohorts[0].input_distribution.params.five must be named by an integer token count (line 29)"),
    ('{"5": 1}', '{"-5": 1}', "cohorts[0].input_distribution.params.-5 must be named by a token count from 0 to 2147483647 (line 29)"),
    ('{"5": 1}', '{"5": 1, "05": 2}', "cohorts[0].input_distribution.params.05 repeats the token count 5 (line 29)"),
    ("params: {value: 5}", "params: {}", "cohorts[0].output_distribution.params.value is required (line 30)"),
    ("{type: constant, params: {value: 5}}", "{type: pareto_lognormal, params: {alpha: 1, xm: 1, mu: 1, sigma: 1}}", "cohorts[0].output_distribution.params.mix_weight is required (line 30)"),
    ("peak_hour: 3", "peak_hour: 24", "cohorts[0].diurnal.peak_hour must be <= 23, got 24 (line 31)"),
    ("peak_to_trough_ratio: 2.0", "peak_to_trough_ratio: 0.5", "cohorts[0].diurnal.peak_to_trough_ratio must be >= 1, got 0.5 (line 31)"),
    ("spike: {start_time_us: 0, duration_us: 10}", "spike: {start_time_us: -1, duration_us: 10}", "cohorts[0].spike.start_time_us must be >= 0, got -1 (line 32)"),
    ("duration_us: 10}\n  drain", "duration_us: 0}\n  drain", "cohorts[0].spike.duration_us must be > 0, got 0 (line 32)"),
    ("ramp_duration_us: 10", "ramp_duration_us: 0", "cohorts[0].drain.ramp_duration_us must be > 0, got 0 (line 33)"),
    ("seed: 7\n", PERF, "inference_perf must not be given beside clients (line 2)"),
    ("seed: 7\n", "servegen_data: {path: x}\n", "servegen_data must not be given beside clients (line 2)"),
    ("seed: 7\n", "servegen_data: {path: ''}\n", "servegen_data.path must not be empty, got '' (line 2)"),
    ("seed: 7\n", PERF.replace("rate: 5", "rate: 0"), "inference_perf.stages[0].rate must be > 0, got 0 (line 4)"),
    ("seed: 7\n", PERF.replace("duration: 10", "duration: 0"), "inference_perf.stages[0].duration must be > 0, got 0 (line 4)"),
    ("seed: 7\n", PERF.replace("\n  - {rate: 5, duration: 10}", " []"), "inference_perf.stages must have at least one stage (line 3)"),
    ("seed: 7\n", PERF.replace("system_prompts: 2", "system_prompts: 0"), "inference_perf.shared_prefix.num_unique_system_prompts must be > 0, got 0 (line 5)"),
    ("seed: 7\n", PERF.replace("question_len: 3", "question_len: -3"), "inference_perf.shared_prefix.question_len must be >= 0, got -3 (line 5)"),
    ("seed: 7\n", "inference_perf: {stages: [{rate: 1, duration: 1}]}\n", "inference_perf.shared_prefix is required (line 2)"),
]  # fmt: skip


def message(text):
    with pytest.raises(ScenarioError) as caught:
        from_text(text)
    return str(caught.value)


def test_the_text_that_is_broken_below_is_right():
    assert from_text(GOOD).clients[0].arrival == GammaArrivals(2.0)


@pytest.mark.parametrize(("part", "instead", "line"), MISTAKES)
def test_mistake_is_told_in_one_line_with_its_place(part, instead, line):
    assert GOOD.count(part) >= 1
    expected = "\n".join(f"w.yaml: {one}" for one in line.split("\n"))
    assert sorted(message(GOOD.replace(part, instead, 1)).split("\n")) == sorted(expected.split("\n"))


@pytest.mark.parametrize("text", ["", "# nothing", "---\n"])
def test_empty_file_is_refused(text):
    assert message(text) == "w.yaml: is empty"


def test_specification_needs_a_source():
    assert message("aggregate_rate: 1\n") == "w.yaml: clients must not be empty, unless there is another source"


def test_all_mistakes_are_told_in_the_order_of_the_file():
    text = (
        GOOD.replace("seed: 7", "sed: 7")
        .replace("timeout: 100", "timeout: -1")
        .replace("population: 2", "population: 0")
    )
    assert message(text).split("\n") == [
        "w.yaml: sed is not a setting (line 2); did you mean seed?",
        "w.yaml: clients[0].timeout must be >= 0, got -1 (line 18)",
        "w.yaml: cohorts[0].population must be >= 1, got 0 (line 26)",
    ]


def test_mistakes_in_python_name_the_setting():
    with pytest.raises(ScenarioError, match=r"^params\.mean is required$"):
        LengthDistribution("exponential", {})
    with pytest.raises(ScenarioError, match=r"^process is unknown, got 'often'; known: constant"):
        Arrival("often")
    with pytest.raises(ScenarioError, match=r"^timeout must be >= 0, got -1$"):
        Client(
            rate_fraction=1,
            arrival=Arrival("poisson"),
            input_distribution=LengthDistribution("constant", {"value": 1}),
            output_distribution=LengthDistribution("constant", {"value": 1}),
            timeout=-1,
        )


def test_words_of_existing_files_are_understood():
    """Whole numbers as floats, labels as numbers, nulls as nothing, times and rates in words."""
    found = from_text(
        GOOD.replace("seed: 7", "horizon: 1.2e9").replace("- id: a", "- id: 17").replace("timeout: 100", "timeout: null")
        .replace("think_time_us: 10", "think_time_us: 2s").replace("aggregate_rate: 10.0", "aggregate_rate: 600/min")
    )  # fmt: skip
    assert (found.horizon, found.clients[0].id, found.clients[0].timeout) == (1_200_000_000, "17", None)
    assert (found.clients[0].multi_turn.think_time_us, found.aggregate_rate) == (2_000_000, 10.0)


@pytest.mark.parametrize(
    ("value", "lengths"),
    [
        ({"type": "constant", "params": {"value": 9.9}}, 9),
        ({"type": "constant", "params": {"value": -4}}, 1),
        ({"type": "gaussian", "params": {"mean": 15, "std_dev": 3, "min": 20, "max": 10}}, 10),
        ({"type": "gaussian", "params": {"mean": 15, "std_dev": 3, "min": 3.9, "max": 3.1}}, 3),
        ({"type": "gaussian", "params": {"mean": 10.5, "std_dev": 0, "min": 1, "max": 20}}, 11),
        ({"type": "gaussian", "params": {"mean": -5, "std_dev": 0, "min": -9, "max": 3}}, 1),
        ({"type": "gaussian", "params": {"mean": 5, "std_dev": 3, "min": 0, "max": 0}}, 0),
        ({"type": "gaussian", "params": {"mean": 5, "std_dev": 3, "min": 4, "max": -4}}, 1),
        ({"type": "exponential", "params": {"mean": -5}}, 1),
        ({"type": "empirical", "params": {"0": 1}}, 0),
        ({"type": "empirical", "params": {"7": -1}}, 1),
        ({"type": "empirical", "params": {"100.7": 1}}, 100),
        ({"type": "pareto_lognormal", "params": {"alpha": 1, "xm": 5, "mu": 3, "sigma": 0, "mix_weight": 0}}, 20),
    ],
)
def test_odd_parameters_mean_what_they_mean_to_the_reference(value, lengths):
    workload = spec(client(prompt=value), num_requests=3).generate(RandomStreams(1))
    assert [request.input_tokens for request in workload.requests] == [lengths] * 3


def test_token_counts_may_be_numbers_in_python():
    assert (
        LengthDistribution("empirical", {64: 3, 512: 1}).build()
        == LengthDistribution("empirical", {"64": 3, "512": 1}).build()
    )


@pytest.mark.parametrize("version", ["", 'version: "1"\n', "version: 1\n", "version: ''\n"])
def test_old_slo_classes_are_renamed_with_a_warning(version, caplog):
    text = version + GOOD.replace('version: "2"\n', "").replace("slo_class: batch", "slo_class: realtime")
    text = text.replace("population: 2", "population: 2\n  slo_class: interactive")
    with caplog.at_level(logging.WARNING):
        found = from_text(text)
    assert (found.version, found.clients[0].slo_class, found.cohorts[0].slo_class) == ("2", "critical", "standard")
    assert caplog.messages == [
        "clients[0].slo_class 'realtime' is now called 'critical'",
        "cohorts[0].slo_class 'interactive' is now called 'standard'",
    ]


def test_unknown_version_and_growth_are_taken_with_a_warning(caplog):
    text = GOOD.replace('version: "2"', "version: 1.0").replace(
        "max_rounds: 2", "max_rounds: 2, context_growth: acumulate"
    )
    with caplog.at_level(logging.WARNING):
        found = from_text(text)
    assert found.version == "1.0"
    assert caplog.messages == [
        "workload version 1.0 is not known; read as version 2",
        "context_growth 'acumulate' is not known; contexts do not grow",
    ]


def test_file_is_read_and_named(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(GOOD)
    assert load_workload(path) == from_text(GOOD)
    path.write_text("seed: 1\n")
    with pytest.raises(ScenarioError, match=r"w\.yaml: clients must not be empty"):
        load_workload(path)
    with pytest.raises(ScenarioError, match=r"gone\.yaml: cannot be read: No such file or directory"):
        load_workload(tmp_path / "gone.yaml")


def test_what_is_written_is_read_back():
    media = {"image_distribution": fixed(3), "image_count_distribution": fixed(2)}
    rich = client(
        "ü", timeout=0, closed_loop=False, multimodal=media, network={"rtt_ms": 2.5}, lifecycle={"windows": [{}]}
    )
    for found in (from_text(GOOD), spec(rich, client("b", reasoning=turns(2, 0))), from_text(PERF)):
        assert from_text(found.to_yaml()) == found


def test_what_is_empty_is_not_written():
    written = yaml.safe_load(spec(client(), num_requests=3).to_yaml())
    assert list(written) == ["version", "seed", "category", "clients", "aggregate_rate", "num_requests"]
    assert written["clients"] == [
        {
            "id": "a",
            "tenant_id": "",
            "slo_class": "",
            "rate_fraction": 1.0,
            "arrival": {"process": "constant"},
            "input_distribution": {"type": "constant", "params": {"value": 10}},
            "output_distribution": {"type": "constant", "params": {"value": 5}},
            "streaming": False,
        }
    ]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DATA = yaml.safe_load(GOOD)


def places(value, path=()):
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([place for place in places(DATA) if place]), JUNK), min_size=1, max_size=3))
def test_no_specification_fails_but_with_a_scenario_error(changes):
    data = copy.deepcopy(DATA)
    for place, junk in changes:
        inner = data
        for part in place[:-1]:
            if not isinstance(inner, dict | list) or (isinstance(inner, list) and part not in range(len(inner))):
                break
            inner = inner.get(part) if isinstance(inner, dict) else inner[part]
        if isinstance(inner, dict) or (isinstance(inner, list) and place[-1] in range(len(inner))):
            inner[place[-1]] = junk
    try:
        found = read_workload(data)
    except ScenarioError:
        return
    if 0 < found.num_requests < 1000 and all(
        c.multi_turn is None or c.multi_turn.max_rounds < 99 for c in found.clients
    ):
        assert arrivals(found.generate(RandomStreams(1))) == sorted(arrivals(found.generate(RandomStreams(1))))
