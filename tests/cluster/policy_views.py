"""What policies are handed, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from blis_simpy.cluster.policies import PolicyContext, Snapshot
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span


@attrs.frozen
class View:
    """A replica as the router may see it."""

    replica: int
    effective_load: int = 0
    kv_utilization: float = 0.0
    queue_depth: int = 0
    batch_size: int = 0
    free_kv_blocks: int = 0
    hit_rate: float = 0.0
    in_flight: int = 0
    model: str = "any/model"

    @property
    def name(self) -> str:
        return f"instance_{self.replica}"


@attrs.frozen
class State:
    now: int
    snapshots: Sequence[Snapshot]


class Draws:
    """A stream whose numbers are known beforehand; notes how many candidates each was drawn for."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.asked: list[int] = []

    def integers(self, high: int, /) -> int:
        self.asked.append(high)
        return self.numbers.pop(0)


def state(loads: Iterable[int] = (0, 0), *, utilization: Sequence[float] = (), now: int = 0) -> State:
    """Replicas 0, 1, ... with these loads."""
    loads = list(loads)
    utilization = utilization or [0.0] * len(loads)
    return State(now, [View(i, load, used) for i, (load, used) in enumerate(zip(loads, utilization, strict=True))])


def request(name: str = "r", tokens: int = 16, *, shared: int = 0, stream: str = "group", **others: Any) -> Request:
    """A request whose first tokens others may have, too."""
    content = (Span(stream, 0, shared),) if shared else None
    return Request(id=name, arrived_at=0, input_tokens=tokens, output_tokens=1, content=content, **others)


def context(seed: int = 42, block_size: int = 16) -> PolicyContext:
    return PolicyContext(streams=RandomStreams(seed), num_replicas=2, block_size=block_size)
