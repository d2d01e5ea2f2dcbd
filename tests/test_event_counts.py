"""How many SimPy events and engine steps a load takes, exactly: what a simulation costs before any clock is read.

A change of these numbers needs a reason, and an entry in docs/speed.md.
"""

from __future__ import annotations

import json
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
    ("name", "num_requests", "events", "steps"),
    [
        ("near-saturation", 1000, 2865, 3931),
        ("decode-heavy", 200, 1030, 4005),
        ("sparse-decode", 50, 288, 27367),
    ],
)
def test_generated_loads(benchmarks, name, num_requests, events, steps):
    """Steps need no event of their own where nothing else happens: 95 steps an event in the last load."""
    loads, measure = benchmarks
    assert counts(loads.generated(name, num_requests), measure) == (num_requests, num_requests, events, steps)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("key", "requests", "events", "steps"),
    [("a", 20_000, 56_831, 59_882), ("b", 20_000, 116_846, 132_666), ("c", 5_000, 19_156, 45_467)],
)
def test_recorded_loads(benchmarks, key, requests, events, steps):
    """2.84, 5.84 and 3.83 events a request."""
    loads, measure = benchmarks
    index = loads.CORPUS / "perf" / "perf.json"
    if not index.is_file():
        pytest.skip("the recorded loads are not at hand")
    load = loads._recorded(key, json.loads(index.read_text())[key])
    assert counts(load, measure) == (requests, requests, events, steps)
