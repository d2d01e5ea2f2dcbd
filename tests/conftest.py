"""One small replica for tests that can be checked by hand."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, settings

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["pytester"]

# Limits on the time of an example, or of its generation, fail on a busy machine.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For an occasional search that takes minutes: pytest --hypothesis-profile thorough -m equivalence
settings.register_profile("thorough", settings.get_profile("any-machine"), max_examples=3000)
settings.load_profile("any-machine")

BETA = (100.0, 1.0, 10.0)
"""A step takes 100 µs, and 1 more for each prompt token and 10 for each decode token."""


@pytest.fixture(autouse=True)
def _no_open_figures() -> Iterator[None]:
    """Close the figures of a test; pyplot warns where more than 20 stay open."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a live llama.cpp server with the tiny model ``tiny``; see `realserver/llama_server.py`."""
    for package in ("gguf", "xllamacpp"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    helpers = runpy.run_path(str(Path(__file__).parent / "realserver" / "llama_server.py"))
    with helpers["llama_server"](tmp_path_factory.mktemp("llama")) as url:
        yield url


@attrs.frozen
class Served:
    """A run that is over."""

    simulation: blis.Simulation
    result: blis.Result

    @property
    def replica(self) -> Any:
        return self.simulation.replicas[0]

    @property
    def hits(self) -> int:
        return self.replica._kv.hits

    @property
    def misses(self) -> int:
        return self.replica._kv.misses

    def column(self, name: str) -> list[Any]:
        return self.result.requests[name].tolist()

    def steps(self, *names: str) -> list[tuple[int, ...]]:
        return list(zip(*(self.result.steps[name].tolist() for name in names), strict=True))


def make_request(index: int, row: tuple[Any, ...]) -> Request:
    """(input, output, arrival) and a mapping of what else; `prefix` names the stream of the prompt's first tokens."""
    options = dict(row[3]) if len(row) > 3 else {}
    stream, tokens = options.pop("prefix", (None, 0))
    options.setdefault("id", f"request_{index}")
    if stream is not None:
        options["content"] = (Span(stream, 0, tokens),)
    options.setdefault("max_output_tokens", row[1])
    return Request(input_tokens=row[0], output_tokens=row[1], arrived_at=row[2], **options)


@pytest.fixture
def prepare() -> Callable[..., blis.Simulation]:
    """Set up a simulation of `(input, output, arrival[, options])` rows; settings by dotted path or short name.

    The engine profile is ``blis`` unless it is given: its step times are the easiest to follow by hand.
    """

    def prepare(*rows: tuple[Any, ...], alpha=(0.0, 0.0, 0.0), beta=BETA, backend="blackbox", **settings: Any):
        kv = {name: settings.pop(name) for name in ("blocks", "block_size", "store") if name in settings}
        horizon = settings.pop("horizon", None)
        scenario = blis.Scenario(
            model="any/model",
            hardware="H100",
            tp=1,
            engine_version="any",
            horizon=horizon,
            latency=blis.LatencySettings(backend=backend, alpha=alpha, beta=beta),
            engine=blis.EngineSettings(**{"profile": "blis", "max_model_len": 0, **settings}),
            kv=blis.KVSettings(**{"blocks": 10_000, **kv}),
        )
        requests = [make_request(index, row) for index, row in enumerate(rows)]
        return blis.Simulation(scenario, requests=requests)

    return prepare


@pytest.fixture
def serve(prepare: Callable[..., blis.Simulation]) -> Callable[..., Served]:
    """Run what `prepare` sets up."""

    def serve(*rows: tuple[Any, ...], **settings: Any) -> Served:
        simulation = prepare(*rows, **settings)
        return Served(simulation, simulation.run())

    return serve
