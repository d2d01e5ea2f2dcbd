"""Gaps between tokens, against their definitions by loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.results.token_gaps import counted_gaps, longest_gaps

GAPS = st.lists(st.integers(1, 50), min_size=1, max_size=12)


@st.composite
def runs(draw, num_steps, min_length):
    """First step and step after the last one of some runs."""
    bounds = []
    for _ in range(draw(st.integers(0, 6))):
        first = draw(st.integers(0, num_steps - min_length))
        bounds.append((first, draw(st.integers(first + min_length, num_steps))))
    return bounds


def columns(bounds):
    return np.array(bounds, dtype=np.int64).reshape(-1, 2).T


@given(st.data(), GAPS)
def test_each_step_of_a_run_is_a_gap_of_one_request(data, gaps):
    bounds = data.draw(runs(len(gaps), 0))
    expected = [sum(first <= step < end for first, end in bounds) for step in range(len(gaps))]
    assert counted_gaps(len(gaps), *columns(bounds)).tolist() == expected


@given(st.data(), GAPS)
def test_the_longest_gap_of_a_run_is_that_of_its_longest_step(data, gaps):
    bounds = data.draw(runs(len(gaps), 1))
    found = longest_gaps(np.array(gaps, dtype=np.int64), *columns(bounds))
    assert found.tolist() == [max(gaps[first:end]) for first, end in bounds]
