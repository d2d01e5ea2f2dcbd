import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.results.percentiles import Percentiles, inter_token_latencies

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


@given(st.data())
def test_gaps_by_step_are_the_gaps_of_all_requests(data):
    durations = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=12))
    spans, skipped = [], []
    for _ in range(data.draw(st.integers(0, 6))):
        first = data.draw(st.integers(0, len(durations)))
        end = data.draw(st.integers(first, len(durations)))
        spans.append((first, end))
        skipped.append([step for step in range(first, end) if data.draw(st.booleans())])
    gaps = [
        durations[step] + 3
        for (first, end), without in zip(spans, skipped, strict=True)
        for step in range(first, end)
        if step not in without
    ]
    values, weights = inter_token_latencies(
        np.array(durations, dtype=np.int64),
        np.array([first for first, _ in spans], dtype=np.int64),
        np.array([end for _, end in spans], dtype=np.int64),
        np.array([step for steps in skipped for step in steps], dtype=np.int64),
        3,
    )
    assert sorted(np.repeat(values, weights).tolist()) == sorted(gaps)
