"""Arrays over time, on runs that can be checked by hand."""

import numpy as np
import pytest

from blis_simpy.results.over_time import peaks, throughput, time_edges


def whole(*values):
    return np.array(values, dtype=np.int64)


def test_few_steps_are_cut_at_their_bounds():
    """Steps from 0 to 10 and from 10 to 30, a pause, and one from 50 to 60."""
    starts, durations, values = whole(0, 10, 50), whole(10, 20, 10), whole(3, 7, 5)
    edges, exact = time_edges(starts, durations)
    assert exact
    assert edges.tolist() == [0, 10, 30, 50, 60]
    assert np.array_equal(peaks(starts, durations, values, edges), [3, 7, np.nan, 5], equal_nan=True)


def test_parts_longer_than_steps_keep_the_largest_value():
    starts, durations, values = whole(0, 10, 50), whole(10, 20, 10), whole(3, 7, 5)
    edges, exact = time_edges(starts, durations, most=2)
    assert not exact
    assert edges.tolist() == [0, 30, 60]
    assert peaks(starts, durations, values, edges).tolist() == [7, 5]


def test_a_step_counts_in_every_part_that_it_reaches_into():
    found = peaks(whole(0), whole(60), whole(4), np.array([-30.0, 0.0, 20.0, 40.0, 60.0, 80.0]))
    assert np.array_equal(found, [np.nan, 4, 4, 4, np.nan], equal_nan=True)


def test_no_peak_is_lost_in_a_long_run():
    """One hundred thousand steps of 7 µs, of which one has a queue."""
    starts = np.arange(100_000) * 7
    values = np.where(starts == 7 * 61_803, 99, 0)
    edges, exact = time_edges(starts, np.full(100_000, 7))
    found = peaks(starts, np.full(100_000, 7), values, edges)
    assert not exact
    assert len(found) == 1000
    assert np.flatnonzero(found).tolist() == [618]
    assert found.max() == 99


def test_without_steps_there_are_no_parts():
    assert len(time_edges(whole(), whole())[0]) == 0


def test_throughput_counts_arrivals_completions_and_tokens_in_their_time(three):
    """The run ends at 2105: three parts of 701.667 µs.

    In the first arrive two requests and both end (360), with 3 + 2 tokens; the third has one request of one token.
    """
    rates = throughput(three, bins=3)
    seconds = 2105e-6 / 3
    assert np.allclose(rates.edges, [0, 2105 / 3, 2 * 2105 / 3, 2105])
    assert np.allclose(rates.arrived * seconds, [2, 0, 1])
    assert np.allclose(rates.completed * seconds, [2, 0, 1])
    assert np.allclose(rates.generated * seconds, [5, 0, 1])


def test_generated_tokens_add_up_to_the_total_where_nothing_is_lost(cluster):
    rates = throughput(cluster, bins=7)
    seconds = cluster.aggregate.ended_at / 7 / 1e6
    assert rates.generated.sum() * seconds == pytest.approx(cluster.summary["total_output_tokens"])
