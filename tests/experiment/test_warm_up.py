import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.warm_up import batch_means, mser


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


def test_independent_batches_are_rarely_doubted():
    """Of 500 series of independent values about one in twenty, at most 40 (three deviations above 25)."""
    from blis_simpy.experiment.warm_up import _lag_one

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
