"""The figures: arithmetic by hand, and the corners."""

import numpy as np
import pytest

from blis_simpy.calibration.agreement import Agreement


def agreement(real, simulated):
    return Agreement.of(np.array(real), np.array(simulated))


def test_percentiles_lie_between_the_ranks():
    """Rank of p90 of two values: 0.9 of the way from the first to the second."""
    found = agreement([100, 200], [0, 10])
    assert found.real == {50: 150.0, 90: 190.0, 95: 195.0, 99: 199.0}
    assert found.simulated == {50: 5.0, 90: 9.0, 95: 9.5, 99: 9.9}


def test_error_and_bias_leave_out_pairs_whose_real_latency_is_zero():
    """(10 + 20) / 100 / 2 = 15 %; the surplus of the pair with 0 does not count either."""
    found = agreement([0, 100, 100], [1000, 90, 80])
    assert found.mape == pytest.approx(0.15, abs=1e-15)
    assert found.bias == "under-predict"
    assert found.count == 3


def test_without_a_real_latency_there_is_neither_error_nor_bias():
    found = agreement([0, 0], [1, 2])
    assert (found.mape, found.bias, found.quality) == (0.0, "", "poor")


def test_errors_that_cancel_are_neutral():
    assert agreement([100, 100], [90, 110]).bias == "neutral"


def test_two_pairs_have_no_correlation_and_are_poor_however_close():
    found = agreement([100, 200], [100, 200])
    assert (found.mape, found.pearson_r, found.quality) == (0.0, 0.0, "poor")


def test_equal_latencies_are_excellent():
    found = agreement([100, 200, 300], [100, 200, 300])
    assert (found.mape, found.pearson_r, found.quality) == (0.0, 1.0, "excellent")


@pytest.mark.parametrize(
    ("factor", "quality"), [(1.0999, "excellent"), (1.1001, "good"), (1.2001, "fair"), (1.3501, "poor")]
)
def test_quality_falls_with_the_error(factor, quality):
    """A common factor leaves the correlation at 1, and is the error itself."""
    assert agreement([100.0, 200.0, 300.0], [100 * factor, 200 * factor, 300 * factor]).quality == quality


@pytest.mark.parametrize(("last", "quality"), [(1.0, "excellent"), (0.95, "good"), (0.9, "fair"), (0.87, "poor")])
def test_quality_falls_with_the_correlation(last, quality):
    """Errors far below 10 % everywhere: only the order of the values around 1 tells the qualities apart."""
    real = np.array([0.98, 0.99, 1.0, 1.01, 1.02])
    noise = np.array([0.01, -0.02, 0.0, 0.02, -0.01])
    mixed = {1.0: 0.0, 0.95: 0.5, 0.9: 0.9, 0.87: 2.0}[last]
    found = Agreement.of(real, real + mixed * noise)
    assert found.mape < 0.05
    assert found.quality == quality


def test_a_latency_that_does_not_vary_but_for_roundings_has_no_correlation():
    """The sums of a constant with fractions of which none is exact; raw sums turn the variance negative here."""
    constant = np.full(10, 333.0) + np.array([40 / (333 * 1e6) * 1e6] * 10)
    constant[::2] = np.nextafter(constant[::2], np.inf)
    found = Agreement.of(np.arange(1, 11) * 100, constant)
    assert found.pearson_r == 0.0
    assert Agreement.of(constant, np.arange(10)).pearson_r == 0.0


def test_correlation_keeps_to_its_range_and_to_its_digits_far_from_zero():
    """A large offset, which raw sums of squares lose, changes nothing."""
    x, y = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 1.0, 4.0, 6.0])
    near, far = Agreement.of(x, y).pearson_r, Agreement.of(x + 1e9, y + 1e9).pearson_r
    assert far == pytest.approx(near, abs=1e-12)
    assert Agreement.of(x, -x).pearson_r == -1.0
