import numpy as np
import pytest
from scipy.signal import lfilter

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import t_interval
from blis_simpy.experiment.warm_up import BatchMeans, _lag_one, autocorrelation_time, batch_means, mser


def test_mser_cuts_what_is_unlike_the_rest():
    """Ten values of 100, then ones and twos: the two batches of 100 go."""
    assert mser([100] * 10 + [1, 2] * 50) == 10


def test_mser_leaves_a_steady_series_and_a_short_one_as_they_are():
    assert mser(np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 20)) == 0
    assert mser([9, 1, 1, 1, 1]) == 0


def test_mser_finds_where_a_decay_is_lost_in_the_noise():
    """50 exp(-i / 40) falls below the noise, 1, after about 160 values."""
    steps = np.arange(2000)
    values = 50 * np.exp(-steps / 40) + np.random.default_rng(1).normal(0, 1, 2000)
    assert 100 <= mser(values) <= 320


@pytest.fixture
def long_run(small):
    return small.with_(**{"workload.num_requests": 2000}).run(seed=1)


def test_batches_of_requests_are_of_one_size_and_leave_the_oldest_out(long_run):
    """2000 requests in 30 batches: 66 each, and the first 20 are left out."""
    found = batch_means(long_run, "ttft_us", batches=30)
    ttft = long_run.requests["ttft_us"]
    assert found.batches[0] == ttft[20:86].mean()
    assert found.batches[-1] == ttft[-66:].mean()
    assert found.interval.count == 30
    assert found.interval.estimate == pytest.approx(ttft[20:].mean())


def test_batches_of_time_have_any_metric(long_run):
    found = batch_means(long_run, "ttft_p99_ms", batches=5, warm_up="10s")
    end = int(long_run.requests["arrived_at_us"].max()) + 1
    last = long_run.where(start=10_000_000 + int((end - 10_000_000) * 0.8), end=end)
    assert found.batches[-1] == last.metric("ttft_p99_ms")


def test_the_mean_of_one_long_run_is_that_of_many(small, long_run):
    interval = batch_means(long_run, "ttft_us", confidence=0.999).interval
    others = [
        small.with_(**{"workload.num_requests": 500}).run(seed=seed).requests["ttft_us"].mean() for seed in range(8)
    ]
    assert np.mean(others) in interval


def test_batches_that_depend_on_each_other_are_reported(small):
    """Ten requests a second more than are served: each waits longer than the one before."""
    overloaded = small.with_(**{"workload.rate": 400, "workload.num_requests": 1000, "engine.max_num_seqs": 4}).run()
    found = batch_means(overloaded, "ttft_us")
    assert found.correlation > 0.5
    assert not found.reliable
    assert "too narrow: neighbouring batches correlate by" in str(found)


def waits(seed, num_requests, utilisation):
    """Waiting times of an M/M/1 queue with one arrival a second, by Lindley's recursion."""
    rng = np.random.default_rng(seed)
    changes = rng.exponential(utilisation, num_requests - 1) - rng.exponential(1, num_requests - 1)
    walk = np.concatenate(([0.0], np.cumsum(changes)))
    return walk - np.minimum.accumulate(walk)


def judged(series, batches=20):
    size = len(series) // batches
    means = series[len(series) - size * batches :].reshape(batches, size).mean(axis=1)
    return BatchMeans(
        name="wait",
        interval=t_interval(means),
        batches=means,
        correlation=_lag_one(means),
        batch_length=size,
        autocorrelation_time=autocorrelation_time(series, batches),
    )


def test_the_autocorrelation_time_is_one_for_independent_values_and_that_of_an_autoregression():
    """x' = 0.8 x + noise has (1 + 0.8) / (1 - 0.8) = 9."""
    noise = np.random.default_rng(5).normal(size=400_000)
    assert autocorrelation_time(noise, 400) == pytest.approx(1, rel=0.2)
    values = lfilter([1.0], [1.0, -0.8], noise)
    assert autocorrelation_time(values, 400) == pytest.approx(9, rel=0.2)


@pytest.mark.parametrize(
    ("num_requests", "utilisation", "most_reliable"),
    [(4000, 0.9, 0.01), (1000, 0.5, 0.15), (40_000, 0.9, 0.15)],
)
def test_intervals_of_runs_that_are_too_short_are_called_unreliable(num_requests, utilisation, most_reliable):
    """They contain the mean wait, u² / (1 - u), in 73, 87 and 91 of 100 cases instead of 95."""
    found = [judged(waits(seed, num_requests, utilisation)) for seed in range(200)]
    assert np.mean([one.reliable for one in found]) <= most_reliable


def test_intervals_of_runs_that_are_long_enough_are_called_reliable_and_hold():
    """Batches of 10,000 requests beside a time of 300; 95 % of 60 with three deviations: at least 52."""
    found = [judged(waits(seed, 200_000, 0.9)) for seed in range(60)]
    assert np.mean([one.reliable for one in found]) >= 0.85
    assert sum(0.81 / 0.1 in one.interval for one in found if one.reliable) >= 0.867 * sum(
        one.reliable for one in found
    )


def test_a_run_that_is_too_short_is_told_how_long_it_should_be():
    values = np.repeat(np.random.default_rng(1).normal(size=100), 20)
    found = judged(values)
    assert found.autocorrelation_time == pytest.approx(20, rel=0.5)
    assert str(found).endswith("; too narrow: the run is too short; it would have to be at least 3 times as long")


def test_independent_batches_are_rarely_doubted():
    """Of 500 series of independent values about one in twenty, at most 40 (three deviations above 25)."""
    series = np.random.default_rng(2).normal(size=(500, 20))
    assert sum(_lag_one(values) > 1.645 / np.sqrt(20) for values in series) <= 40


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ttft_us", {"batches": 4}, "batches must be an integer >= 5, got 4"),
        ("ttft_us", {"batches": 3000}, "batches must be <= 2000, the number of values, got 3000"),
        ("outcome", {}, "outcome is not a column of numbers"),
        ("ttft_p99_ms", {"batches": 1990}, "batches is too many: ttft_p99_ms has no value in some of them, got 1990"),
        ("ttft_us", {"warm_up": "soon"}, "warm_up must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'soon'"),
    ],
)
def test_mistakes_are_named(long_run, name, options, message):
    with pytest.raises(ScenarioError) as raised:
        batch_means(long_run, name, **options)
    assert str(raised.value) == message


def test_it_is_public():
    assert blis.batch_means is batch_means
