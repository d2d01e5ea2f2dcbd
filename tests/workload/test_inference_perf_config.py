# ruff: noqa: E501 - the tables hold whole lines as users read them
"""Configurations of the inference-perf benchmark as workloads."""

from pathlib import Path

import pytest

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.units import SECOND
from blis_simpy.workload.compose import from_inference_perf
from blis_simpy.workload.lengths import Constant, Gaussian
from blis_simpy.workload.load_workload import load_workload

OTHER_SECTIONS = """
api: {type: completion, streaming: true}
server: {type: vllm, model_name: acme/m, base_url: "http://127.0.0.1:8000"}
metrics: {type: prometheus}
"""
GROUPS = """
data:
  type: shared_prefix
  shared_prefix: {num_groups: 2, num_prompts_per_group: 3, system_prompt_len: 100, question_len: 50, output_len: 20}
"""
LENGTHS = """
data:
  type: random
  input_distribution: {min: 10, max: 100, mean: 50, std: 10, total_count: 100}
  output_distribution: {type: uniform, min: 5, max: 8}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def config(stages, data, **load):
    settings = {
        "type": "constant",
        "stages": f"[{', '.join(f'{{rate: {rate}, duration: {s}}}' for rate, s in stages)}]",
    }
    lines = "".join(f"  {key}: {value}\n" for key, value in {**settings, **load}.items())
    Path("config.yml").write_text(f"load:\n{lines}{data}{OTHER_SECTIONS}")
    return "config.yml"


def requests(file, seed=1):
    return load_workload(file).generate(RandomStreams(seed)).requests


def test_groups_share_a_prefix_and_the_stage_ends():
    """20/s for 30 s, with a standard deviation of sqrt(600) = 24.5."""
    found = requests(config([(20, 30)], GROUPS))
    assert {(request.input_tokens, request.output_tokens) for request in found} == {(150, 20)}
    assert {request.prefix_group for request in found} == {"prompt-0", "prompt-1"}
    assert len({request.client for request in found}) == 6
    assert len(found) == pytest.approx(600, abs=100)
    assert found[-1].arrived_at < 30 * SECOND


@pytest.mark.parametrize(
    "names", [("num_groups", "num_prompts_per_group"), ("num_unique_system_prompts", "num_users_per_system_prompt")]
)
def test_groups_have_two_names(names):
    data = GROUPS.replace("num_groups", names[0]).replace("num_prompts_per_group", names[1])
    assert load_workload(config([(1, 1)], data)).inference_perf.num_users == 6


@pytest.mark.parametrize("data", [GROUPS, LENGTHS])
def test_stages_follow_after_an_interval(data):
    """10 s at 20/s, 5 s of nothing, 10 s at 40/s."""
    arrivals = [request.arrived_at / SECOND for request in requests(config([(20, 10), (40, 10)], data, interval=5))]
    counts = [sum(start <= arrival < end for arrival in arrivals) for start, end in ((0, 10), (10, 15), (15, 25))]
    assert counts == [pytest.approx(200, abs=75), 0, pytest.approx(400, abs=100)]
    assert sum(counts) == len(arrivals)


def test_lengths_are_those_of_the_distributions(caplog):
    spec = load_workload(config([(100, 10)], LENGTHS))
    assert spec.clients[0].input_distribution == Gaussian(50, 10, 10, 100)
    found = spec.generate(RandomStreams(1)).requests
    assert {request.output_tokens for request in found} == {5, 6, 7, 8}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("{type: fixed, mean: 7}", Constant(7)),
        ("{mean: 7, variance: 4}", Gaussian(7, 2.0, 10, 1024)),
        ("9", Constant(9)),
    ],
)
def test_question_may_have_a_distribution(distribution, expected):
    data = GROUPS.replace("question_len: 50", f"question_len: {distribution}")
    (client, *_) = load_workload(config([(1, 1)], data)).with_clients_listed().clients
    assert client.input_distribution == expected


def test_lognormal_has_the_mean_and_spread():
    data = LENGTHS.replace("mean: 50, std: 10", "mean: 50, std_dev: 10, type: lognormal")
    lengths = [request.input_tokens for request in requests(config([(1000, 10)], data))]
    mean = sum(lengths) / len(lengths)
    assert mean == pytest.approx(50, abs=0.6)
    assert (sum((length - mean) ** 2 for length in lengths) / len(lengths)) ** 0.5 == pytest.approx(10, abs=0.6)


def test_what_is_not_used_is_named(caplog):
    load_workload(
        config([(1, 1)], GROUPS + "  multimodal: {image: {}}\n", num_workers=4, lora_traffic_split="[{name: a}]")
    )
    assert caplog.messages == ["config.yml: load.lora_traffic_split, data.multimodal not used"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("rate: 1,", "rate: -1,"), "load.stages[0].rate must be > 0, got -1 (line 3)"),
        (("type: constant", "type: concurrent"), "load.type must be constant or poisson: arrivals of others depend on answers, got 'concurrent' (line 2)"),
        (("[{rate: 1, duration: 1}]", "[]"), "load.stages must have at least one stage; a sweep finds its rates on the server (line 3)"),
        (("type: random", "type: shareGPT"), "data.type must be random, synthetic or shared_prefix: lengths of others are in their files, got 'shareGPT' (line 6)"),
        (("mean: 50", "mean: many"), "data.input_distribution.mean must be a number, got 'many' (line 7)"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line(change, line):
    file = Path(config([(1, 1)], LENGTHS))
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(ScenarioError) as caught:
        load_workload(file)
    assert str(caught.value) == f"config.yml: {line}"


def test_conversion_keeps_the_end():
    assert from_inference_perf(config([(2, 30)], GROUPS)).horizon == 30 * SECOND
