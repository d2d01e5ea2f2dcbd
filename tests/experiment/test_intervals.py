"""Confidence intervals of means and of ratios."""

import math

import numpy as np
import pytest
from scipy import stats

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import bootstrap_interval, one_sided_bounds, ratio_interval, t_interval
from blis_simpy.experiment.paired_tests import paired_test


def test_t_interval_by_hand():
    """Mean 10, standard deviation 1, n 3: half-width 4.3027 / √3 = 2.4841."""
    interval = t_interval([9.0, 10.0, 11.0])
    assert interval.estimate == 10
    assert interval.half_width == pytest.approx(2.4841, abs=1e-4)
    assert interval.relative_half_width == pytest.approx(0.24841, abs=1e-5)
    assert str(interval) == "10 ± 2.48 (95 %, n = 3)"


def test_t_interval_is_that_of_scipy():
    values = np.random.default_rng(1).normal(5, 2, 17)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    interval = t_interval(values, 0.9)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-12)


def test_intervals_hold_the_mean_as_often_as_they_say():
    """2000 samples of 8 normal values: at 90 %, between 1760 and 1840 of them (three standard deviations)."""
    rng = np.random.default_rng(2)
    samples = rng.normal(3, 1, (2000, 8))
    held = sum(3.0 in t_interval(sample, 0.9) for sample in samples)
    assert 1760 <= held <= 1840
    upper = sum(one_sided_bounds(sample, 0.9)[1] >= 3 for sample in samples)
    assert 1760 <= upper <= 1840


def test_one_value_says_nothing_of_its_spread():
    interval = t_interval([3.0])
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert bootstrap_interval([3.0]).high == math.inf
    lacking = bootstrap_interval([3.0, math.nan, 4.0])
    assert [math.isnan(end) for end in (lacking.estimate, lacking.low, lacking.high)] == [True, True, True]
    assert paired_test([1.0], [2.0]).p_value == 1


def test_equal_values_have_an_interval_of_no_width():
    """0.1 + 0.2 differs from 0.3 in the last bit, which is no spread."""
    assert t_interval([0.3, 0.1 + 0.2, 0.3]).half_width == 0
    interval = bootstrap_interval([2.0, 2.0, 2.0])
    assert (interval.low, interval.high) == (2, 2)


def test_bootstrap_interval_repeats_itself_and_is_near_that_of_t_for_normal_values():
    values = np.random.default_rng(3).normal(100, 5, 40)
    interval = bootstrap_interval(values)
    assert interval == bootstrap_interval(values)
    t = t_interval(values)
    assert (interval.low, interval.high) == pytest.approx((t.low, t.high), abs=0.3)


def test_bootstrap_interval_of_skewed_values_leans_their_way():
    values = np.random.default_rng(4).lognormal(0, 1, 40)
    interval = bootstrap_interval(values)
    assert interval.high - interval.estimate > 1.2 * (interval.estimate - interval.low)


def test_ratio_interval_holds_what_the_paired_test_does_not_reject():
    rng = np.random.default_rng(5)
    first = rng.normal(100, 8, 12)
    second = 0.8 * first + rng.normal(0, 4, 12)
    interval = ratio_interval(first, second)
    assert interval.low < 0.8 < interval.high
    for end in (interval.low, interval.high):
        assert stats.ttest_1samp(second - end * first, 0).pvalue == pytest.approx(0.05, abs=1e-9)


def test_ratio_interval_holds_the_ratio_as_often_as_it_says():
    """2000 samples of 6 pairs, ratio 0.5: at 90 %, between 1760 and 1840."""
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(2000):
        common = rng.normal(0, 2, 6)
        held += 0.5 in ratio_interval(20 + common + rng.normal(0, 1, 6), 10 + common + rng.normal(0, 1, 6), 0.9)
    assert 1760 <= held <= 1840


def test_ratio_to_a_mean_that_may_be_zero_is_unbounded():
    assert ratio_interval([-1.0, 1.2, -0.9, 1.1], [5.0, 5.1, 5.0, 5.2]).high == math.inf
    assert math.isnan(ratio_interval([-1.0, 1.0], [5.0, 5.1]).estimate)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_interval([1.0], 95), "confidence must be > 0 and < 1, got 95"),
        (lambda: t_interval([[1.0]]), "values must be one number per replication, got (1, 1)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ScenarioError) as raised:
        call()
    assert str(raised.value) == message
