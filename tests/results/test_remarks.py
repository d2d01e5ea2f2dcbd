"""What a run says about its own figures."""

from blis_simpy.results.remarks import remarks


def test_a_long_tail_is_named(serve):
    """A request every second up to 9 s, each of which takes 1 s: the last tenth of the run has no arrivals."""
    result = serve(*((1, 1, i * 1_000_000) for i in range(10)), beta=(1_000_000.0, 0.0, 0.0)).result
    assert result.metric("requests_per_s") == 1.0
    assert remarks(result) == ["10.0% of the run lies after the last arrival: 1.11 requests/s arrived until then"]


def test_a_short_tail_is_not(serve):
    result = serve(*((1, 1, i * 1_000_000) for i in range(10))).result
    assert remarks(result) == []


def test_a_single_arrival_has_no_rate(serve):
    assert remarks(serve((1, 1, 0)).result) == []
