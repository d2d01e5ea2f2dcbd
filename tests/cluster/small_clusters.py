"""Clusters small enough to be followed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import blis_simpy as blis
from blis_simpy.cluster.settings import LifecycleSettings
from blis_simpy.core.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

BETA = (1000.0, 10.0, 5.0)
"""A step takes 1000 µs, 10 more for each prompt token and 5 for each decode token."""


def requests(count: int = 6, *, gap: int = 10, tokens: int = 16, output: int = 3, **others: Any) -> list[Request]:
    """Alike requests, one every `gap` µs."""
    return [
        Request(id=f"request_{i}", arrived_at=i * gap, input_tokens=tokens, output_tokens=output, **others)
        for i in range(count)
    ]


def scenario(*, max_num_seqs: int = 1, lifecycle: dict[str, Any] | None = None, **settings: Any) -> blis.Scenario:
    """Two replicas that take one request at a time, unless said otherwise."""
    latency = blis.LatencySettings(backend="blackbox", alpha=settings.pop("alpha", (0.0, 0.0, 0.0)), beta=BETA)
    settings.setdefault("replicas", 1 if settings.get("groups") else 2)
    return blis.Scenario(
        **{
            "model": "any/model",
            "hardware": "H100",
            "tp": 1,
            "engine_version": "any",
            "latency": latency,
            "engine": blis.EngineSettings(profile="blis", max_num_seqs=max_num_seqs, max_model_len=0),
            "kv": blis.KVSettings(blocks=100),
            "lifecycle": LifecycleSettings(**(lifecycle or {})),
            **settings,
        }
    )


def prepare(served: Sequence[Request] | None = None, **settings: Any) -> blis.Simulation:
    """Set up a simulation of alike requests on a small cluster."""
    return blis.Simulation(scenario(**settings), requests=requests() if served is None else served)


def at(simulation: blis.Simulation, tick: int, action: Any, *arguments: Any) -> None:
    """Let a process of the user act at a tick."""

    def act():
        yield simulation.env.timeout(tick)
        action(*arguments)

    simulation.env.process(act())


def outcomes(simulation: blis.Simulation) -> list[str]:
    return [request.outcome.name for request in simulation.requests]
