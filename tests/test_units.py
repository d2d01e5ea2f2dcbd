"""Time and rates in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.units import HOUR, MICROSECOND, MINUTE, MS, SECOND, format_ticks, parse_duration, parse_rate


def test_units_are_whole_microseconds():
    assert (MICROSECOND, MS, SECOND, MINUTE, HOUR) == (1, 1_000, 1_000_000, 60_000_000, 3_600_000_000)
    assert all(type(unit) is int for unit in (MICROSECOND, MS, SECOND, MINUTE, HOUR))


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("50ms", 50_000),
        ("2s", 2_000_000),
        ("1.5s", 1_500_000),
        ("100us", 100),
        ("100\N{MICRO SIGN}s", 100),
        ("100\N{GREEK SMALL LETTER MU}s", 100),
        ("3min", 180_000_000),
        ("1h", 3_600_000_000),
        ("0.1s", 100_000),
        ("1e-3s", 1_000),
        (" 7 ms ", 7_000),
        ("-2s", -2_000_000),
        ("250", 250),
        (250, 250),
        (250.0, 250),
    ],
)
def test_a_duration_becomes_exact_ticks(text, ticks):
    assert parse_duration(text) == ticks
    assert type(parse_duration(text)) is int


@pytest.mark.parametrize("text", ["1.5us", "0.0001ms", 0.5, "1e-9s"])
def test_a_duration_between_two_ticks_is_refused(text):
    with pytest.raises(ValueError, match=r"^must be a whole number of microseconds$"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "s", "2x", "2 3s", "1:30", "nan", "inf", "1e999s", "0x10", "1_000", "2s3", float("inf")]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"^must be a duration such as 50ms, 2s, 1.5s, 3min or 1h$"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "rate"), [("20/s", 20.0), ("600/min", 10.0), ("36/h", 0.01), ("2.5", 2.5), (3, 3.0)])
def test_a_rate_is_per_second(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "/s", "20/x", "20 s", "s", "nan"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match=r"^must be a rate such as"):
        parse_rate(text)


@given(st.integers(-(2**63), 2**63))
def test_formatted_ticks_read_back_as_the_same_ticks(ticks):
    assert parse_duration(format_ticks(ticks)) == ticks


@pytest.mark.parametrize(
    ("ticks", "text"),
    [(0, "0us"), (999, "999us"), (1_000, "1ms"), (-1_500, "-1.5ms"), (1_000_001, "1.000001s"), (HOUR, "3600s")],
)
def test_ticks_are_written_with_the_largest_fitting_unit(ticks, text):
    assert format_ticks(ticks) == text
