import math

import pytest

import blis_simpy as blis
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.experiment.measurement import DEFAULT_METRICS, Metrics, measure
from blis_simpy.results.metrics import known_metrics


def test_all_named_metrics_are_kept(small):
    result = small.run()
    found = measure(result, Metrics.of("ttft_p99.9_ms"))
    assert found.metrics.keys() == {*known_metrics(), "ttft_p99.9_ms"}
    assert found.metrics["e2e_mean_ms"] == result.metric("e2e_mean_ms")


def test_requests_of_the_warm_up_count_in_no_metric(small):
    result = small.run()
    found = measure(result, Metrics.of({"mine": lambda part: part.metric("completed")}), warm_up=1_000_000)
    late = int((result.requests["arrived_at_us"] >= 1_000_000).sum())
    assert 0 < late < 50
    assert found.metrics["requests"] == found.metrics["mine"] == late
    assert "cache_hit_rate" not in found.metrics


def test_warm_up_that_is_detected_ends_at_an_arrival(small):
    """The queue of an overloaded replica grows; what is left out are whole requests."""
    result = small.with_(**{"workload.rate": 300, "engine.max_num_seqs": 4, "workload.num_requests": 400}).run()
    found = measure(result, Metrics.of(None), warm_up="mser")
    assert found.warm_up_us in result.requests["arrived_at_us"].tolist()
    assert found.metrics["requests"] == (result.requests["arrived_at_us"] >= found.warm_up_us).sum()


def test_a_latency_that_no_request_has_is_nan(small):
    found = measure(small.with_(admission="reject-all").run(), Metrics.of(None))
    assert math.isnan(found.metrics["ttft_p99_ms"])
    assert found.metrics["rejected"] == 50
    assert measure(small.with_(admission="reject-all").run(), Metrics.of(None), "mser").warm_up_us == 0


def test_traffic_tells_what_was_sent_not_what_became_of_it(small):
    def traffic(scenario, seed=1):
        return measure(scenario.run(seed=seed), Metrics.of(None)).traffic

    same = traffic(small)
    assert traffic(small.with_(replicas=3, admission="reject-all")) == same
    assert traffic(small, seed=2) != same
    assert traffic(small.with_(**{"workload.rate": 21})) != same
    assert traffic(small.with_(**{"workload.output": blis.Constant(21)})) != same


def test_metrics_are_read_from_names_and_functions():
    def mine(result):
        return 1.0

    assert Metrics.of(None).names == DEFAULT_METRICS
    assert Metrics.of("completed").names == ("completed",)
    both = Metrics.of({"completed": None, "mine": mine})
    assert (both.names, both.functions) == (("completed", "mine"), {"mine": mine})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ((), "metrics must not be empty"),
        ({"mine": 3}, "metrics['mine'] must be a function of a result, got 3"),
    ],
)
def test_metrics_that_are_none_are_refused(wanted, message):
    with pytest.raises(ScenarioError) as raised:
        Metrics.of(wanted)
    assert str(raised.value) == message


def test_an_unknown_metric_is_refused_with_the_nearest_one():
    with pytest.raises(ScenarioError, match=r"metrics is unknown, got 'ttft_p99'; did you mean 'ttft_p99_ms'\?"):
        Metrics.of("ttft_p99")


@pytest.mark.parametrize("value", [None, "many", math.inf])
def test_a_function_that_returns_no_number_is_named(small, value):
    with pytest.raises(PluginError) as raised:
        measure(small.run(), Metrics.of({"mine": lambda result: value}))
    assert str(raised.value) == f"metric 'mine' must be a number or NaN, got {value!r}"
