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
        ("near-saturation", 1000, "blis", 5097, 3929),
        ("near-saturation", 1000, "vllm", 5033, 3931),
        ("decode-heavy", 200, "blis", 1102, 4004),
        ("decode-heavy", 200, "vllm", 1695, 4005),
        ("sparse-decode", 50, "blis", 2176, 27364),
        ("sparse-decode", 50, "vllm", 456, 27367),
    ],
)
def test_generated_loads(benchmarks, name, num_requests, profile, events, steps):
    """Busy and calm replicas: more events than steps in the first, 12 or 60 steps an event in the last."""
    loads, measure = benchmarks
    load = loads.generated(name, num_requests, profile)
    assert counts(load, measure) == (num_requests, num_requests, events, steps)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("key", "requests", "profile", "events", "steps"),
    [
        ("a", 20_000, "blis", 98_096, 59_882),
        ("a", 20_000, "vllm", 96_381, 59_810),
        ("b", 20_000, "blis", 175_313, 132_666),
        ("b", 20_000, "vllm", 170_049, 132_939),
        ("c", 5_000, "blis", 29_375, 45_467),
        ("c", 5_000, "vllm", 39_083, 45_468),
    ],
)
def test_recorded_loads(benchmarks, key, requests, profile, events, steps):
    """In the profile blis 4.90, 8.77 and 5.88 events a request; in vllm 4.82, 8.50 and 7.82."""
    loads, measure = benchmarks
    load = loads.recorded(key, profile)
    if load is None:
        pytest.skip("the recorded loads are not at hand")
    assert counts(load, measure) == (requests, requests, events, steps)
