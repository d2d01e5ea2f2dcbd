import math
import re

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import t_interval
from blis_simpy.experiment.replications import _next_count
from blis_simpy.experiment.seeds import replication_seeds


def test_a_replication_is_a_run_with_its_seed(small):
    found = blis.replicate(small, 3, seed=5, executor="serial")
    assert found.runs["seed"].tolist() == found.seeds == replication_seeds(5, 3)
    again = small.run(seed=found.seeds[1])
    assert found.values("ttft_p99_ms")[1] == again.metric("ttft_p99_ms")
    assert found.runs["replication"].tolist() == [0, 1, 2]


def test_mean_and_interval_are_those_of_the_runs(small):
    found = blis.replicate(small, 6, executor="serial")
    values = found.values("e2e_mean_ms")
    assert len(set(values)) == 6
    assert found.mean("e2e_mean_ms") == values.mean()
    assert found.interval("e2e_mean_ms") == t_interval(values)
    assert found.interval("e2e_mean_ms", confidence=0.5).half_width < found.interval("e2e_mean_ms").half_width
    assert found.interval("e2e_mean_ms", method="bootstrap").method == "bootstrap (BCa)"


def test_more_replications_begin_with_the_same_ones(small):
    few, more = (blis.replicate(small, n, executor="serial") for n in (2, 4))
    assert more.values("e2e_mean_ms")[:2].tolist() == few.values("e2e_mean_ms").tolist()


def test_it_goes_on_until_the_mean_is_known_well_enough(small):
    found = blis.replicate(small, 3, precision={"ttft_mean_ms": 0.01}, executor="serial")
    assert found.precise
    assert found.interval("ttft_mean_ms").relative_half_width <= 0.01
    assert len(found) > 3
    assert "ttft_mean_ms" in found.metrics


def test_it_gives_up_in_the_end_and_says_so(small):
    found = blis.replicate(small, precision={"ttft_mean_ms": 0.0001}, max_replications=12, executor="serial")
    assert (len(found), found.precise) == (12, False)
    assert "12 replications, 95 % confidence intervals; the precision was not reached" in repr(found)


def test_a_run_that_never_varies_is_known_at_once(small):
    steady = small.with_(**{"workload.arrivals": "constant", "workload.prompt": blis.Constant(100)})
    found = blis.replicate(steady, 2, precision={"e2e_mean_ms": 0.001}, executor="serial")
    assert (len(found), found.precise) == (2, True)


def test_the_next_number_is_what_the_half_width_asks_for():
    """Twice as wide as wanted: four times as many, but no more than double; 10 % too wide: 1.21 times as many."""
    assert _next_count(10, 2.0) == 20
    assert _next_count(100, 1.1) == 122
    assert _next_count(10, 1.0001) == 11
    assert _next_count(10, math.inf) == 20


def test_stopping_at_a_precision_costs_little_coverage():
    """1000 experiments of normal values, 5 % at first from 10: the guide says that 92 to 96 of 100 intervals hold."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        values = rng.normal(1, 0.2, 4000)
        count = 10
        while (excess := t_interval(values[:count]).relative_half_width / 0.05) > 1:
            count = _next_count(count, excess)
        held += 1.0 in t_interval(values[:count])
    assert 920 <= held <= 965


def test_it_shows_a_table_in_a_terminal_and_in_a_notebook(small):
    found = blis.replicate(small, 4, metrics=["ttft_p99_ms", "completed"], executor="serial")
    lines = repr(found).splitlines()
    assert lines[0] == "4 replications, 95 % confidence intervals"
    assert re.match(r" ttft_p99_ms +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ %", lines[3])
    assert re.match(r" completed +50 +0 +50 +50 +0 +0 %", lines[4])
    assert "<table" in found._repr_html_()
    assert found.to_pandas(runs=True).shape[0] == 4


def test_rows_have_the_figures_of_the_table(small):
    found = blis.replicate(small, 4, metrics=["ttft_p99_ms", "completed"], executor="serial")
    interval = found.interval("ttft_p99_ms")
    assert found.rows[0] == {
        "metric": "ttft_p99_ms",
        "replications": 4,
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "standard_deviation": found.values("ttft_p99_ms").std(ddof=1),
    }
    assert found.to_pandas()["metric"].tolist() == ["ttft_p99_ms", "completed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": True}, "n must be an integer >= 1, got True"),
        ({"n": 1, "precision": {"ttft_p99_ms": 0.1}}, "n must be an integer >= 2, got 1"),
        ({"precision": {"ttft_p99_ms": 2}}, "precision['ttft_p99_ms'] must be > 0 and < 1, got 2"),
        ({"precision": {"ttft": 0.1}}, "precision is unknown, got 'ttft'; 'blis list metrics' lists all of them"),
        ({"confidence": 95}, "confidence must be > 0 and < 1, got 95"),
        ({"workers": 0}, "workers must be an integer >= 1, got 0"),
        ({"warm_up": "-1s"}, "warm_up must be >= 0, got '-1s'"),
        (
            {"warm_up": "some"},
            "warm_up must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, or 'mser', got 'some'",
        ),
        (
            {"executor": "procs"},
            "executor is unknown, got 'procs'; known: loky, threads, serial, dask, ray",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_run(small, options, message):
    with pytest.raises(ScenarioError) as raised:
        blis.replicate(small, **options)
    assert str(raised.value) == message


def test_a_metric_that_was_not_measured_is_refused(small):
    found = blis.replicate(small, 1, executor="serial")
    with pytest.raises(ScenarioError, match=r"metric was not measured, got 'ttft_p98_ms'; did you mean"):
        found.mean("ttft_p98_ms")
    with pytest.raises(ScenarioError, match="method must be one of t, bootstrap, got 'z'"):
        found.interval("ttft_p99_ms", method="z")
