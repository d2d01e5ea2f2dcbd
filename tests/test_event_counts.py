"""How many SimPy events and engine steps a load takes, exactly: what a simulation costs before any clock is read.

A change of these numbers needs a reason, and an entry in docs/speed.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules `loads` and `measure` of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import loads
    import measure

    return loads, measure


def counts(load, measure):
    found = measure.count(load.simulation())
    return found.requests, found.completed, found.events, found.steps


@pytest.mark.parametrize(
    ("name", "num_requests", "profile", "events", "steps"),
    [
        ("near-saturation", 1000, "blis", 2897, 3929),
        ("near-saturation", 1000, "vllm", 2881, 3931),
        ("decode-heavy", 200, "blis", 780, 4004),
        ("decode-heavy", 200, "vllm", 1062, 4005),
        ("sparse-decode", 50, "blis", 222, 27364),
        ("sparse-decode", 50, "vllm", 288, 27367),
    ],
)
def test_generated_loads(benchmarks, name, num_requests, profile, events, steps):
    """Steps need no event of their own where nothing else happens: 95 or more steps an event in the last load."""
    loads, measure = benchmarks
    load = loads.generated(name, num_requests, profile)
    assert counts(load, measure) == (num_requests, num_requests, events, steps)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("key", "requests", "profile", "events", "steps"),
    [
        ("a", 20_000, "blis", 56_831, 59_882),
        ("a", 20_000, "vllm", 56_858, 59_810),
        ("b", 20_000, "blis", 116_846, 132_666),
        ("b", 20_000, "vllm", 122_925, 132_939),
        ("c", 5_000, "blis", 19_156, 45_467),
        ("c", 5_000, "vllm", 25_953, 45_468),
    ],
)
def test_recorded_loads(benchmarks, key, requests, profile, events, steps):
    """In the profile blis 2.84, 5.84 and 3.83 events a request; in vllm 2.84, 6.15 and 5.19."""
    loads, measure = benchmarks
    load = loads.recorded(key, profile)
    if load is None:
        pytest.skip("the recorded loads are not at hand")
    assert counts(load, measure) == (requests, requests, events, steps)
