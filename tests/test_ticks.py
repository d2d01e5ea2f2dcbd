import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.units import ticks


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (-3, -3), (np.int32(7), 7), ("1.5ms", 1500), ("5", 5)])
def test_whole_numbers_and_text_are_ticks(value, expected):
    assert ticks("until", value) == expected
    assert type(ticks("until", value)) is int


@pytest.mark.parametrize("value", [5.0, True, None, np.float64(2)])
def test_anything_else_is_refused(value):
    with pytest.raises(blis.ScenarioError, match="until must be a whole number of microseconds or text such as 50ms"):
        ticks("until", value)


def test_bad_text_is_refused_with_its_name():
    with pytest.raises(blis.ScenarioError, match=r"every must be a duration such as .*, got 'soon'"):
        ticks("every", "soon")
