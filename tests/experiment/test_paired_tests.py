"""Tests of paired replications."""

import math

import numpy as np
import pytest
from scipy import stats

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import ratio_interval, t_interval
from blis_simpy.experiment.paired_tests import adjusted, equivalence_test, outlook, paired_test, replications_needed


def test_paired_test_is_that_of_scipy():
    rng = np.random.default_rng(7)
    first = rng.normal(10, 1, 15)
    second = first - 0.3 + rng.normal(0, 0.5, 15)
    assert paired_test(first, second).p_value == pytest.approx(stats.ttest_rel(second, first).pvalue)
    for alternative, theirs in (("lower", "less"), ("higher", "greater")):
        expected = stats.ttest_rel(second, first, alternative=theirs).pvalue
        assert paired_test(first, second, alternative=alternative).p_value == pytest.approx(expected)
    expected = stats.ttest_1samp(second - 0.98 * first, 0, alternative="less").pvalue
    assert paired_test(first, second, by=0.02, alternative="lower").p_value == pytest.approx(expected)


def test_a_difference_that_never_varies_is_certain_and_none_is_no_difference():
    assert paired_test([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]).p_value == 0
    assert paired_test([1.0, 2.0, 3.0], [1.5, 2.5, 3.5], alternative="lower").p_value == 1
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p_value == 1
    assert paired_test([1.0, math.nan, 2.0], [2.0, 3.0, 3.0]).p_value == 1


def test_equivalence_is_found_within_the_margin_only():
    rng = np.random.default_rng(8)
    first = rng.normal(100, 5, 20)
    near, far = 1.01 * first + rng.normal(0, 1, 20), 1.06 * first + rng.normal(0, 1, 20)
    assert equivalence_test(first, near, by=0.05).holds(0.95)
    assert not equivalence_test(first, far, by=0.05).holds(0.95)
    assert equivalence_test(first, far, by=0.05).needed is None
    ratio = ratio_interval(first, near, 0.90)  # what two tests at 95 % each come to
    margin = max(abs(ratio.low - 1), abs(ratio.high - 1))
    assert equivalence_test(first, near, by=margin * 1.001).holds(0.95)
    assert not equivalence_test(first, near, by=margin * 0.999).holds(0.95)


def test_false_equivalence_at_the_margin_is_as_rare_as_stated():
    """1000 samples at the edge: at 95 %, at most 71 mistakes (three standard deviations above 50)."""
    rng = np.random.default_rng(9)
    mistakes = 0
    for _ in range(1000):
        first = rng.normal(100, 5, 10)
        mistakes += equivalence_test(first, 1.05 * first + rng.normal(0, 1, 10), by=0.05).holds(0.95)
    assert 20 <= mistakes <= 71


def test_so_many_replications_do_decide_eight_times_of_ten():
    """Mean 1, standard deviation 2: of 1000 experiments of that size, 720 to 880 decide."""
    needed = replications_needed(1.0, 2.0)
    samples = np.random.default_rng(10).normal(1, 2, (1000, needed))
    decided = sum(0.0 not in t_interval(sample) for sample in samples)
    assert 720 <= decided <= 880


@pytest.mark.parametrize(("difference", "spread", "expected"), [(0.0, 1.0, None), (1e-6, 1.0, None), (5.0, 0.0, 2)])
def test_replications_needed_at_the_extremes(difference, spread, expected):
    assert replications_needed(difference, spread) == expected


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("effect", [0.3, 0.7])
def test_the_number_predicted_from_a_few_decides_in_most_cases(count, effect):
    """A first experiment that does not decide predicts a number; a second one of that size decides, with luck 0.8."""
    rng = np.random.default_rng(5)
    decided = []
    while len(decided) < 300:
        first = paired_test(np.zeros(count), rng.normal(effect, 1, count))
        if first.holds() or first.needed is None:
            continue
        size = max(first.needed, count + 1)
        decided.append(paired_test(np.zeros(size), rng.normal(effect, 1, size)).holds())
    assert np.mean(decided) >= 0.65


def test_a_prediction_from_few_replications_is_worded_with_care():
    assert outlook(30, 4) == "perhaps 30 replications would decide"
    assert outlook(3, 5) == "about 6 replications would probably decide"
    assert outlook(None, 5) == "no reasonable number of replications would decide"


def test_adjustment_of_p_values_by_hand():
    """Holm: 3 * 0.01, 2 * 0.02, then 0.5, each at least the one before."""
    assert adjusted([0.5, 0.01, 0.02]) == [0.5, 0.03, 0.04]
    assert adjusted([0.5, 0.01, 0.02], "bonferroni") == [1.0, 0.03, 0.06]
    assert adjusted([0.5, 0.01, 0.02], None) == [0.5, 0.01, 0.02]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_test([1.0], [1.0, 2.0]), "candidate must have as many values as the baseline (1), got 2"),
        (lambda: paired_test([1.0], [2.0], by=0.1), "by must be >= 0, and 0 for the alternative 'different', got 0.1"),
        (lambda: equivalence_test([1.0], [2.0], by=0), "by must be > 0, got 0"),
        (lambda: adjusted([0.1], "sidak"), "correction must be one of 'holm', 'bonferroni', None, got 'sidak'"),
        (
            lambda: paired_test([1.0], [2.0], alternative="less"),
            "alternative must be one of lower, higher, different, got 'less'",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ScenarioError) as raised:
        call()
    assert str(raised.value) == message
