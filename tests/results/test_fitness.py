import attrs
import numpy as np
import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.results.fitness import COMPONENTS, parse_weights, score
from blis_simpy.results.percentiles import Percentiles

KNOWN = ", ".join(COMPONENTS)


def values(*values_us):
    return Percentiles.of(np.array(values_us, dtype=np.int64))


NONE = values()


@attrs.frozen
class Figures:
    """What a score is made from."""

    requests_per_s: float = 0.0
    tokens_per_s: float = 0.0
    ttft: Percentiles = NONE
    e2e: Percentiles = NONE


def problems(weights):
    with pytest.raises(ScenarioError) as caught:
        parse_weights(weights)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("key", ["p99_ttft", "p50_ttft", "mean_ttft", "p99_e2e", "p50_e2e", "mean_e2e"])
def test_latency_of_one_millisecond_is_worth_a_half(key):
    assert score(Figures(ttft=values(1000), e2e=values(1000)), {key: 1}).score == 0.5


def test_rates_are_worth_a_half_at_their_reference():
    figures = Figures(requests_per_s=100.0, tokens_per_s=10_000.0)
    assert score(figures, "throughput:1,tokens_per_sec:1").components == {"throughput": 0.5, "tokens_per_sec": 0.5}


def test_each_key_takes_its_own_figure():
    """TTFT 0, 1000, 5000: mean 2000, P50 1000, P99 4920. E2E ten times as much."""
    figures = Figures(ttft=values(0, 1000, 5000), e2e=values(0, 10_000, 50_000))
    components = score(figures, dict.fromkeys(COMPONENTS, 1)).components
    assert components == {
        "throughput": 0.0,
        "tokens_per_sec": 0.0,
        "mean_ttft": 1 / 3,
        "p50_ttft": 1 / 2,
        "p99_ttft": 1 / 5.92,
        "mean_e2e": 1 / 21,
        "p50_e2e": 1 / 11,
        "p99_e2e": 1 / 50.2,
    }


def test_score_is_the_one_that_the_reference_gives():
    """Measured: 118.2 requests/s, 2658.6 tokens/s, P99 TTFT 28.7371 ms, mean E2E 52.30905 ms give 0.618252."""
    figures = Figures(
        requests_per_s=118.15791805748383,
        tokens_per_s=2658.553156293386,
        ttft=values(*[0] * 9, 28729, 28738),  # P99 28737.1
        e2e=values(*[52309] * 19, 52310),  # mean 52309.05
    )
    fitness = score(figures, "throughput:1,p99_ttft:2,mean_e2e:0.5,tokens_per_sec:0")
    assert {key: f"{value:.6f}" for key, value in fitness.components.items()} == {
        "mean_e2e": "0.018759",
        "p99_ttft": "0.033628",
        "throughput": "0.541616",
        "tokens_per_sec": "0.210020",
    }
    assert f"{fitness.score:.6f}" == "0.618252"


def test_components_are_sorted_and_weights_kept():
    fitness = score(Figures(), {"throughput": 2, "mean_e2e": 0.5})
    assert list(fitness.components) == ["mean_e2e", "throughput"]
    assert fitness.weights == {"mean_e2e": 0.5, "throughput": 2.0}


def test_score_may_exceed_one_when_weights_do():
    """Where nothing completed a latency counts as 0: the component is 1."""
    assert score(Figures(), "mean_e2e:3").score == 3.0


def test_spaces_are_ignored_and_the_last_of_two_weights_counts():
    assert parse_weights(" throughput : 1 , p50_e2e:2,throughput:3") == {"throughput": 3.0, "p50_e2e": 2.0}


def test_weights_may_be_a_mapping():
    assert parse_weights({"throughput": 1, "p99_e2e": 0}) == {"throughput": 1.0, "p99_e2e": 0.0}


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("throughput", "fitness_weights must consist of key:weight, got 'throughput'"),
        ("throughput:1,", "fitness_weights must consist of key:weight, got ''"),
        ("throughput:", "fitness_weights must weigh throughput with a finite number >= 0, got ''"),
        ("throughput:a:1", "fitness_weights must weigh throughput with a finite number >= 0, got 'a:1'"),
        ("throughput:-1", "fitness_weights must weigh throughput with a finite number >= 0, got '-1'"),
        ("throughput:nan", "fitness_weights must weigh throughput with a finite number >= 0, got 'nan'"),
        ("throughput:1e400", "fitness_weights must weigh throughput with a finite number >= 0, got '1e400'"),
        ("throughput:1_0", "fitness_weights must weigh throughput with a finite number >= 0, got '1_0'"),
        ({"throughput": True}, "fitness_weights must weigh throughput with a finite number >= 0, got True"),
        (
            {"throughput": -float("inf")},
            "fitness_weights must weigh throughput with a finite number >= 0, got -inf",
        ),
        (
            "p99_tfft:1",
            f"fitness_weights must name fitness metrics, got 'p99_tfft'; did you mean 'p99_ttft'? known: {KNOWN}",
        ),
        ("", f"fitness_weights must name at least one metric, got ''; known: {KNOWN}"),
        ({}, f"fitness_weights must name at least one metric, got {{}}; known: {KNOWN}"),
    ],
)
def test_wrong_weights_are_named(weights, line):
    assert problems(weights) == [line]


def test_all_problems_come_at_once():
    assert len(problems("throughput,speed:1,p99_e2e:-1,mean_e2e:1")) == 3
