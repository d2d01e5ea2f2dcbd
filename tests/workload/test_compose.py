import pytest
from workloads import client, from_text, spec

from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrivals import ConstantArrivals
from blis_simpy.workload.compose import compose, from_inference_perf, from_preset, from_servegen
from blis_simpy.workload.lengths import Gaussian


def test_composed_fractions_are_weighted_by_rate():
    half, whole = spec(client("a", rate_fraction=0.5), aggregate_rate=5.0), spec(client("b"), aggregate_rate=10.0)
    found = compose([half, whole])
    assert found.aggregate_rate == 15.0
    assert [(c.id, c.rate_fraction) for c in found.clients] == [("a", 0.16666666666666666), ("b", 0.6666666666666666)]


def test_composition_keeps_the_first_category_and_drops_bounds():
    first = spec(client(), category="reasoning", seed=9, horizon=5, num_requests=7)
    found = compose([first, spec(client("b"), category="language")])
    assert (found.version, found.category, found.seed, found.horizon, found.num_requests) == ("2", "reasoning", 0, 0, 0)


def test_nothing_cannot_be_composed():
    with pytest.raises(ScenarioError, match=r"^specs must not be empty$"):
        compose([])


def test_preset_is_spelled_out():
    found = from_preset("chatbot", rate=2.5, num_requests=30)
    (only,) = found.clients
    assert (found.category, found.aggregate_rate, found.num_requests) == ("language", 2.5, 30)
    assert (only.id, only.arrival, only.prefix_group) == ("preset-chatbot", ConstantArrivals(), "")
    assert only.input_distribution == Gaussian(256, 100, 2, 800)
    assert from_text(found.to_yaml()) == found


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rate": 0}, "aggregate_rate must be > 0, got 0; it has no default"),
        ({"rate": float("nan")}, "aggregate_rate must be a finite number, got nan"),
        ({"num_requests": 0}, "num_requests must be > 0, got 0"),
    ],
)
def test_preset_needs_a_rate_and_a_number(options, line):
    with pytest.raises(ScenarioError) as caught:
        from_preset("chatbot", **options)
    assert str(caught.value) == line


def test_unknown_preset_is_refused():
    with pytest.raises(ScenarioError, match="chatbott"):
        from_preset("chatbott")


def test_servegen_folder_is_spelled_out(tmp_path):
    (tmp_path / "chunk-0-trace.csv").write_text("0,5,1,\n")
    (tmp_path / "chunk-0-dataset.json").write_text('{"0": {"input_tokens": "{1: 1}", "output_tokens": "{2: 1}"}}')
    found = from_servegen(tmp_path)
    assert (found.aggregate_rate, found.category, found.servegen_data) == (0.0, "", None)
    assert [(c.id, c.lifecycle.windows[0].rate) for c in found.clients] == [("servegen-chunk-0", 5.0)]
    assert from_text(found.to_yaml()) == found


def test_inference_perf_is_spelled_out(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text("""
seed: 4
num_requests: 9
inference_perf:
  stages: [{rate: 3, duration: 1}]
  shared_prefix: {num_unique_system_prompts: 1, num_users_per_system_prompt: 2}
""")
    found = from_inference_perf(path)
    assert (found.seed, found.num_requests, found.aggregate_rate, len(found.clients)) == (4, 0, 3.0, 2)
    path.write_text(spec(client()).to_yaml())
    with pytest.raises(ScenarioError) as caught:
        from_inference_perf(path)
    assert str(caught.value) == f"{path}: inference_perf is required"
