import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.results.percentiles import Percentiles, ecdf, histogram

VALUES = st.lists(st.integers(0, 10**7), max_size=40)


def percentile_by_definition(values, percent):
    """The reference's order of operations, ms."""
    ranked = sorted(values)
    rank = percent / 100 * (len(ranked) - 1)
    low, high = math.floor(rank), math.ceil(rank)
    if low == high:
        return ranked[low] / 1000
    return ranked[low] / 1000 + (ranked[high] - ranked[low]) * (rank - low) / 1000


@given(VALUES, st.sampled_from([0, 50, 90, 95, 99, 100]))
def test_percentile_is_the_reference_s_bit_for_bit(values, percent):
    got = Percentiles.of(np.array(values, dtype=np.int64)).percentile_ms(percent)
    assert got == (percentile_by_definition(values, percent) if values else 0.0)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 5)), max_size=30))
def test_weighted_values_are_values_repeated(pairs):
    values, weights = (np.array(column, dtype=np.int64) for column in (zip(*pairs, strict=True) if pairs else ([], [])))
    weighted = Percentiles.of(values, weights)
    plain = Percentiles.of(np.repeat(values, weights))
    assert (weighted.count, weighted.total, weighted.mean) == (plain.count, plain.total, plain.mean)
    for percent in (0, 10, 50, 90, 99, 100):
        assert weighted.percentile(percent) == plain.percentile(percent)
        assert weighted.percentile_ms(percent) == plain.percentile_ms(percent)


@given(VALUES)
def test_mean_is_exact_and_0_without_values(values):
    distribution = Percentiles.of(np.array(values, dtype=np.int64))
    assert distribution.mean == (sum(values) / len(values) if values else 0.0)
    assert distribution.mean_ms == distribution.mean / 1000


def whole(*values):
    return np.array(values, dtype=np.int64)


def test_ecdf_has_a_point_for_each_distinct_value():
    values, shares = ecdf(Percentiles.of(whole(2000, 1000, 2000, 4000)))
    assert values.tolist() == [1.0, 2.0, 4.0]
    assert shares.tolist() == [0.25, 0.75, 1.0]


def test_ecdf_counts_weights():
    values, shares = ecdf(Percentiles.of(whole(1000, 3000), whole(3, 1)))
    assert (values.tolist(), shares.tolist()) == ([1.0, 3.0], [0.75, 1.0])


def test_ecdf_of_many_values_keeps_the_ends_and_stays_true():
    """Of 1..100,000 µs, the share of the values up to v µs is v / 100,000 at every point that is kept."""
    values, shares = ecdf(Percentiles.of(np.arange(1, 100_001)))
    assert len(values) <= 2000
    assert (values[0], values[-1], shares[-1]) == (0.001, 100.0, 1.0)
    assert np.allclose(shares, values / 100, rtol=0, atol=1e-12)


def test_histogram_counts_shares_in_common_bins():
    """0..10 ms in two bins; the last one holds its upper bound."""
    groups = {"a": Percentiles.of(whole(0, 4000, 6000, 10000)), "b": Percentiles.of(whole(9000), whole(7))}
    edges, shares = histogram(groups, bins=2)
    assert edges.tolist() == [0.0, 5.0, 10.0]
    assert {name: share.tolist() for name, share in shares.items()} == {"a": [0.5, 0.5], "b": [0.0, 1.0]}


def test_histogram_of_equal_values_has_them_in_the_middle():
    edges, shares = histogram({"": Percentiles.of(whole(1000, 1000))}, bins=5)
    assert np.allclose(edges, [0.9, 0.94, 0.98, 1.02, 1.06, 1.1])
    assert shares[""].tolist() == [0, 0, 1, 0, 0]


def test_the_deviation_is_that_of_the_values_and_not_of_a_sample():
    """2, 4, 4 and 6 µs: mean 4, squared deviations 4, 0, 0 and 4, so the variance is 8 / 4."""
    assert Percentiles.of(whole(2, 4, 4, 6)).std == math.sqrt(2)
    assert Percentiles.of(whole(2, 4, 6), whole(1, 2, 1)).std == math.sqrt(2)
    assert Percentiles.of(whole()).std == 0.0


def test_values_may_have_decimals():
    distribution = Percentiles.of(np.array([0.5, 1.25, 0.25]))
    assert distribution.total == 2.0
    assert distribution.percentile(50) == 0.5
    assert distribution.percentile(75) == 0.875


def test_the_sum_of_decimals_does_not_depend_on_the_order_of_addition():
    """Added one after the other, the three ones are lost beside 1e16."""
    assert Percentiles.of(np.array([1e16, 1.0, 1.0, 1.0])).total == 1e16 + 3
