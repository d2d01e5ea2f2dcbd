"""A scenario that takes some milliseconds, and measurements made up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

import blis_simpy as blis
from blis_simpy.experiment.comparison import Comparison
from blis_simpy.experiment.measurement import Measurement
from blis_simpy.experiment.replications import Replications
from blis_simpy.results.stationarity import Stationarity

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def small() -> blis.Scenario:
    """Fifty requests at 20/s; a step takes 5 ms, and 0.1 ms more for each decode token."""
    return blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 1.0, 100.0)),
        engine={"profile": "blis"},
        kv=blis.KVSettings(blocks=10_000),
        workload=blis.Workload(
            rate=20,
            num_requests=50,
            arrivals="poisson",
            prompt=blis.Gaussian(100, 30, 10, 200),
            output=blis.Constant(20),
        ),
    )


@pytest.fixture
def made_up(small: blis.Scenario) -> Callable[..., Comparison]:
    """A comparison of values that are given: name -> metric -> one value a replication; the first is the baseline."""

    def made_up(values: dict[str, dict[str, Any]], traffic: str = "", **options: Any) -> Comparison:
        replications = {}
        for name, columns in values.items():
            rows = zip(*columns.values(), strict=True)
            found = [
                Measurement(
                    metrics=dict(zip(columns, map(float, row), strict=True)),
                    traffic=traffic,
                    warm_up_us=0,
                    stationarity=Stationarity(math.nan, math.nan, 0),
                )
                for row in rows
            ]
            replications[name] = Replications(small, range(len(found)), found, metrics=tuple(columns))
        first = next(iter(replications))
        return Comparison(replications, baseline=first, metrics=replications[first].metrics, **options)

    return made_up
