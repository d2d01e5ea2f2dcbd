"""Quality of experience, with the examples worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.slo_targets import QoETarget
from blis_simpy.results.qoe import quality_of_experience

READER = QoETarget(ttft="1s", tokens_per_s=2)


def qoe(*seconds, reader=READER):
    return quality_of_experience(np.array([round(at * 1e6) for at in seconds], dtype=np.int64), reader)


def test_a_late_output_delivered_at_once():
    """Read from 3 to 5 s: the integrals up to 5 s are 4 and 12 token-seconds."""
    assert qoe(3, 3, 3, 3) == pytest.approx(4 / 12, rel=1e-15)


def test_tokens_at_the_pace_of_the_reader():
    assert qoe(1, 1.5, 2, 2.5) == 1


def test_tokens_earlier_than_the_reader_are_no_better():
    assert qoe(0.1, 0.1, 0.1, 0.1) == 1


def test_a_pause_that_the_buffered_tokens_bridge_costs_nothing():
    """The reader reaches the fourth token at 2.5 s."""
    assert qoe(1, 1, 1, 2.5) == 1


def test_a_pause_in_the_middle():
    """Tokens are read until 1.5, 2, 4.5 and 5 s in place of 1.5, 2, 2.5 and 3: areas up to 5 s are 8 and 12."""
    assert qoe(1, 1.5, 4, 4) == pytest.approx((4 * 5 - 13 + 1) / 12, rel=1e-15)


def test_one_token():
    """Read from 2 to 2.5 s: areas up to 2.5 s are 0.25 and 1.25."""
    assert qoe(2) == pytest.approx(0.2, rel=1e-15)


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=30), st.floats(0.1, 100), st.integers(0, 5_000_000))
def test_it_is_the_ratio_of_the_integrals(delivered, pace, expected):
    """The integrals of the two curves, token by token, with the reader simulated."""
    delivered.sort()
    now, finished = expected / 1e6, []
    for at in delivered:
        now = max(now, at / 1e6) + 1 / pace
        finished.append(now)
    ideal = [expected / 1e6 + (i + 1) / pace for i in range(len(delivered))]
    area = sum(now - end + 0.5 / pace for end in finished)
    ideal_area = sum(now - end + 0.5 / pace for end in ideal)
    found = quality_of_experience(np.array(delivered), QoETarget(ttft=expected, tokens_per_s=pace))
    assert found == pytest.approx(area / ideal_area, rel=1e-9)
    assert 0 < found <= 1
