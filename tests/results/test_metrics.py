"""Metrics by name: the library's own, those of plug-ins, and names that are wrong."""

import math

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.results.metrics import (
    LatencyFamily,
    Metric,
    find_metric,
    get_metric,
    higher_is_better,
    known_metrics,
    latency_families,
    metric_label,
)
from blis_simpy.results.percentiles import Percentiles


@pytest.fixture
def result(three):
    """TTFT 105, 110 and 190 µs; gaps of 120 | 120 and 130 µs; 35 + 6 tokens in 2105 µs, last arrival at 2000."""
    return three


def metric(name="mine", **options):
    given = {"label": "mine", "unit": "ms", "direction": "lower", "definition": "Mine.", "function": lambda _: 1.0}
    return Metric(name=name, **{**given, **options})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttft_mean_ms", 0.135),
        ("ttft_p0_ms", 0.105),
        ("ttft_p50_ms", 0.110),
        ("ttft_p100_ms", 0.190),
        ("ttft_min_ms", 0.105),
        ("ttft_max_ms", 0.190),
        ("ttft_std_ms", math.sqrt((30**2 + 25**2 + 55**2) / 3) / 1000),
        ("first_ttft_mean_ms", 0.135),
        ("tpot_mean_ms", 0.1225),
        ("tpot_max_ms", 0.125),
        ("ntpot_p0_ms", 0.105),
        ("ntpot_max_ms", 0.155),
        ("longest_gap_mean_ms", 0.125),
        ("longest_gap_max_ms", 0.130),
        ("itl_p100_ms", 0.130),
        ("e2e_p50_ms", 0.310),
        ("scheduling_delay_p100_ms", 0.060),
        ("requests", 3),
        ("completed", 3),
        ("rejected", 0),
        ("preemptions", 0),
        ("duration_s", 0.002105),
        ("requests_per_s", 3 / 0.002105),
        ("offered_requests_per_s", 3 / 0.002),
        ("input_tokens_per_s", 35 / 0.002105),
        ("output_tokens_per_s", 6 / 0.002105),
        ("total_tokens_per_s", 41 / 0.002105),
        ("input_tokens", 35),
        ("output_tokens", 6),
        ("cached_tokens", 0),
        ("prefix_hit_rate", 0),
        ("recomputed_tokens", 0),
        ("replica_seconds", 0.002105),
        ("gpu_seconds", 0.002105),
        ("preemption_rate", 0),
    ],
)
def test_a_metric_has_the_value_of_its_definition(result, name, value):
    assert result.metric(name) == pytest.approx(value, rel=1e-12)


def test_a_percentile_may_have_decimals(result):
    """Rank 0.999 x 2 of 105, 110, 190."""
    assert result.metric("ttft_p99.9_ms") == pytest.approx(0.110 + 0.998 * 0.080)


def test_every_known_metric_has_a_unit_a_definition_and_a_value(result):
    """But for those that need a setting of the scenario."""
    known = known_metrics()
    assert {"ttft_p99_ms", "requests_per_s", "kv_thrashing_rate"} <= known.keys()
    for name, found in known.items():
        assert found.name == name
        assert found.unit
        assert found.definition.endswith(".")
        assert found.needs or isinstance(result.metric(name), float)


def test_latencies_come_first_and_in_the_usual_order():
    names = ["ttft", "tpot", "itl", "e2e"]
    names += ["e2e_from_due", "first_ttft", "longest_gap", "ntpot", "scheduling_delay", "ttft_from_due"]
    assert [family.name for family in latency_families()] == names
    assert list(known_metrics())[:2] == ["ttft_mean_ms", "ttft_p50_ms"]


def test_a_summary_has_all_metrics_that_are_not_of_the_whole_run(result):
    whole = {"preemption_rate", "cache_hit_rate", "kv_thrashing_rate", "replica_seconds", "gpu_seconds"}
    assert set(result.where(slo_class="batch").summary) == set(known_metrics()) - whole


def test_a_metric_of_the_whole_run_is_none_of_some_requests(result):
    with pytest.raises(blis.ScenarioError) as caught:
        result.where(slo_class="batch").metric("cache_hit_rate")
    assert str(caught.value) == "metric is defined for a whole run only, got 'cache_hit_rate'"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ttft_p99", "metric is unknown, got 'ttft_p99'; did you mean 'ttft_p99_ms'?"),
        ("speed", "metric is unknown, got 'speed'; 'blis list metrics' lists all of them"),
        (5, "metric must be the name of a metric, got 5"),
        (
            "ttft_p99_ms{slo=chat}",
            "metric has an unknown label 'slo', got 'ttft_p99_ms{slo=chat}'; known: replica, prefill_replica",
        ),
        ("ttft_p99{tenant=a}", "metric is unknown, got 'ttft_p99'; did you mean 'ttft_p99_ms'?"),
        ("cache_hit_rate{replica=0}", "metric is defined for a whole run only, got 'cache_hit_rate{replica=0}'"),
        ("ttft", "metric is unknown, got 'ttft'; "),
        ("ttft_p101_ms", "metric is unknown, got 'ttft_p101_ms'; did you mean 'ttft_p"),
        ("completed_mean_ms", "metric is unknown, got 'completed_mean_ms'; "),
    ],
)
def test_an_unknown_metric_names_the_known_ones(result, name, message):
    with pytest.raises(blis.ScenarioError) as caught:
        result.metric(name)
    assert str(caught.value).startswith(message)
    assert find_metric(name) is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ttft_p99.9_ms", "TTFT p99.9 (ms)"),
        ("itl_mean_ms", "ITL mean (ms)"),
        ("scheduling_delay_mean_ms", "scheduling delay mean (ms)"),
        ("requests_per_s", "requests/s"),
        ("duration_s", "duration (s)"),
        ("timed_out", "timed-out requests"),
        ("my_metric", "my metric"),
    ],
)
def test_a_label_has_the_unit(name, label):
    assert metric_label(name) == label


def test_higher_is_better_where_the_metric_says_so():
    better = {name for name in known_metrics() if higher_is_better(name)}
    tokens = {"input_tokens_per_s", "output_tokens_per_s", "total_tokens_per_s", "cached_tokens"}
    rates = {"requests_per_s", "cache_hit_rate", "prefix_hit_rate", "resumed_hit_rate"}
    of_slo = {name for name, found in known_metrics().items() if found.needs == "slo"} - {"open_requests"}
    assert better == {"completed"} | tokens | rates | of_slo
    assert not higher_is_better("unknown")


def test_a_metric_of_requests_is_computed_from_those_that_are_chosen(result):
    mine = metric(function=lambda subset: subset.requests["input_tokens"].sum(), unit="tokens", direction="higher")
    with registry.added("metric", "mine", mine):
        assert result.metric("mine") == 35.0
        assert result.where(slo_class="batch").metric("mine") == 20.0
        assert result.where(slo_class="batch").summary["mine"] == 20.0
        assert higher_is_better("mine")
        assert metric_label("mine") == "mine (tokens)"


def test_a_metric_of_a_run_is_computed_from_the_result(result):
    with registry.added("metric", "mine", metric(scope="run", function=lambda run: run.steps.num_rows)):
        assert result.metric("mine") == result.steps.num_rows
        assert "mine" not in result.where().summary


def test_a_latency_adds_its_mean_and_all_percentiles(result):
    def waiting(subset):
        queued, scheduled = (subset.requests[name] for name in ("queued_at_us", "scheduled_at_us"))
        return Percentiles.of(scheduled - queued)

    family = LatencyFamily(name="wait", label="wait", definition="Time in the wait queue.", function=waiting)
    with registry.added("metric", "wait", family):
        assert result.metric("wait_mean_ms") == 0.02
        assert result.metric("wait_p100_ms") == 0.06
        assert get_metric("wait_p99.9_ms").title == "wait p99.9 (ms)"
        assert get_metric("wait_mean_ms").definition == "Mean of: Time in the wait queue."
        assert "wait" in result.render("text")
        assert result.plot.ecdf("wait").get_xlabel() == "wait (ms)"


def test_a_latency_without_values_is_not_a_number(result):
    family = LatencyFamily(
        name="none", label="none", definition="None.", function=lambda _: Percentiles.of(np.array([], dtype=np.int64))
    )
    with registry.added("metric", "none", family):
        assert math.isnan(result.metric("none_p50_ms"))


@pytest.mark.parametrize("value", [None, "fast", float("inf"), [1, 2]])
def test_a_metric_that_is_no_number_is_an_error(result, value):
    with registry.added("metric", "mine", metric(function=lambda _: value)), pytest.raises(blis.PluginError) as caught:
        result.metric("mine")
    assert str(caught.value) == f"metric 'mine' must be a number or NaN, got {value!r}"


@pytest.mark.parametrize("registered", [lambda result: 1.0, metric(name="yours")])
def test_what_is_registered_must_be_a_metric_of_that_name(result, registered):
    with registry.added("metric", "mine", registered), pytest.raises(blis.PluginError) as caught:
        result.metric("mine")
    assert str(caught.value).startswith("metric 'mine' must be a Metric or LatencyFamily of this name, got ")


def test_experiments_measure_a_registered_metric():
    scenario = blis.Scenario(
        model="any/model",
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(1000, 10, 5)),
        kv=blis.KVSettings(blocks=1000),
        workload=blis.Workload(rate=50, num_requests=5, prompt=blis.Constant(40), output=blis.Constant(5)),
    )
    longest = metric(function=lambda subset: subset.e2e.values[-1] / 1000, direction="higher")
    with registry.added("metric", "mine", longest):
        swept = blis.sweep(scenario, {"replicas": [1, 2]}, metrics="mine", executor="serial")
        limit = blis.capacity(
            scenario, {"mine": 1}, vary="replicas", low=1, high=2, replications=2, executor="serial"
        ).limits[0]
    assert str(limit) == "mine >= 1"
    assert swept.plot("mine").get_xlabel() == "replicas"
