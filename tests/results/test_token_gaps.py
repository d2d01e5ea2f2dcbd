"""Gaps between tokens, against their definitions by loops."""

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.replica import log
from blis_simpy.results.token_gaps import StepGaps

GAPS = st.lists(st.integers(1, 50), min_size=1, max_size=12)
BLOCKS = st.integers(1, 20)


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


def gaps_of(gaps, block_steps, pauses=None):
    """Steps of such durations, in blocks of a size; each starts a pause after the end of the one before."""
    start, steps = 0, log.StepLog()
    with patch.object(log, "BLOCK_STEPS", block_steps):
        for duration, pause in zip(gaps, pauses or [0] * len(gaps), strict=True):
            steps.step(start + pause, duration, 1, 0, 1, 0, 0)
            start += pause + duration
    return StepGaps(steps, includes_pauses=pauses is not None)


@given(st.data(), GAPS, BLOCKS)
def test_each_step_of_a_run_is_a_gap_of_one_request(data, gaps, block_steps):
    bounds = data.draw(runs(len(gaps), 0))
    found = np.repeat(*gaps_of(gaps, block_steps).counted(*columns(bounds)))
    assert sorted(found.tolist()) == sorted(gap for first, end in bounds for gap in gaps[first:end])


@given(st.data(), GAPS, BLOCKS)
def test_the_longest_gap_of_a_run_is_that_of_its_longest_step(data, gaps, block_steps):
    bounds = data.draw(runs(len(gaps), 1))
    found = gaps_of(gaps, block_steps).longest(*columns(bounds))
    assert found.tolist() == [max(gaps[first:end]) for first, end in bounds]


@given(st.data(), GAPS, BLOCKS)
def test_gaps_with_pauses_add_up_to_the_ends_of_the_steps(data, gaps, block_steps):
    """The first pause is before the first step, and part of no gap."""
    pauses = data.draw(st.lists(st.integers(0, 50), min_size=len(gaps), max_size=len(gaps)))
    steps = np.array(data.draw(st.lists(st.integers(0, len(gaps) - 1))), dtype=np.int64)
    ends = np.cumsum(gaps) + np.cumsum([0, *pauses[1:]])
    assert gaps_of(gaps, block_steps, pauses).ends(steps).tolist() == ends[steps].tolist()


def test_without_steps_there_are_no_gaps():
    nothing = np.empty(0, dtype=np.int64)
    gaps, counts = StepGaps(log.StepLog(), includes_pauses=True).counted(nothing, nothing)
    assert (len(gaps), len(counts)) == (0, 0)
