"""Jain's index of fairness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.results.fairness import jain_index


def test_jain_index_of_three_to_one_is_four_fifths():
    """(3 + 1)² / (2 * (9 + 1)) = 16 / 20."""
    assert jain_index({"a": 3, "b": 1}) == 0.8


def test_jain_index_of_nobody_is_zero_and_of_nothing_one():
    assert (jain_index({}), jain_index({"a": 0, "b": 0})) == (0.0, 1.0)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), min_size=1))
def test_jain_index_lies_between_one_takes_all_and_all_alike(shares):
    index = jain_index(shares)
    assert 1 / len(shares) - 1e-12 <= index <= 1 + 1e-12
    assert jain_index(dict.fromkeys(shares, 7)) == pytest.approx(1)
