"""Small specifications for the tests, as text and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.settings.loader import parse
from blis_simpy.workload.load_workload import read_workload

if TYPE_CHECKING:
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.workload_spec import WorkloadSpec

CONSTANT = {"process": "constant"}


def fixed(value: float) -> dict[str, Any]:
    return {"type": "constant", "params": {"value": value}}


def client(name: str = "a", /, *, prompt: Any = 10, output: Any = 5, **others: Any) -> dict[str, Any]:
    return {
        "id": name,
        "rate_fraction": 1.0,
        "arrival": CONSTANT,
        "input_distribution": prompt if isinstance(prompt, dict) else fixed(prompt),
        "output_distribution": output if isinstance(output, dict) else fixed(output),
        **others,
    }


def turns(max_rounds: int, think_time_us: int, growth: str = "", **others: Any) -> dict[str, Any]:
    return {
        "multi_turn": {"max_rounds": max_rounds, "think_time_us": think_time_us, "context_growth": growth, **others}
    }


def spec(*clients: dict[str, Any], **others: Any) -> WorkloadSpec:
    return read_workload({"version": "2", "clients": list(clients), "aggregate_rate": 1.0, **others})


def from_text(text: str) -> WorkloadSpec:
    return read_workload(parse(text, "w.yaml"))


def generated(*clients: dict[str, Any], seed: int = 1, **others: Any) -> GeneratedWorkload:
    return spec(*clients, **others).generate(RandomStreams(seed))


def arrivals(workload: GeneratedWorkload) -> list[int]:
    return [request.arrived_at for request in workload.requests]
