"""Cases for policies of the router: arriving requests, with snapshots of the replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from blis_simpy.cluster.policies import PolicyContext
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span
from blis_simpy.testing.conformance.suite import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["NUM_REPLICAS", "Case", "SnapshotView", "StateView", "fields_of", "policy_context", "router_cases"]

NUM_REPLICAS = 5
_BLOCK_SIZE = 16
_BLOCKS = 1000
_NUM_CASES = 61
_TENANTS = ("", "a", "b")
_SLO_CLASSES = ("", "critical", "batch")


@attrs.frozen
class SnapshotView:
    """A snapshot with given values; see `blis_simpy.cluster.policies.Snapshot`."""

    replica: int
    queue_depth: int = 0
    batch_size: int = 0
    used_blocks: int = 0
    hit_rate: float = 0.0
    in_flight: int = 0
    model: str = "any/model"

    @property
    def name(self) -> str:
        """``instance_<index>``."""
        return f"instance_{self.replica}"

    @property
    def kv_utilization(self) -> float:
        """Fraction of KV blocks in use."""
        return self.used_blocks / _BLOCKS

    @property
    def free_kv_blocks(self) -> int:
        """KV blocks not in use."""
        return _BLOCKS - self.used_blocks

    @property
    def effective_load(self) -> int:
        """Number of requests in queue, in batch and in flight."""
        return self.queue_depth + self.batch_size + self.in_flight


class StateView(NamedTuple):
    """Tick, and snapshots of the replicas that can serve the request."""

    now: int
    snapshots: Sequence[SnapshotView]


class Case(NamedTuple):
    """Request and state of one decision."""

    request: Request
    state: StateView


def policy_context(seed: int) -> PolicyContext:
    """Return the argument of the method ``start`` of a policy."""
    return PolicyContext(streams=RandomStreams(seed), num_replicas=NUM_REPLICAS, block_size=_BLOCK_SIZE)


def router_cases(seed: int) -> list[Case]:
    """Draw the cases of one run: several requests per tick, hidden replicas, equal loads, shared prefixes."""
    random = seeded(f"router/{seed}")
    now = 0
    cases = []
    for number in range(_NUM_CASES):
        if number and random.random() < 0.7:
            now += random.choice((1, 500, 20_000, 1_000_000))
        shared = random.choice((0, 0, 24, 64))
        own = random.randint(0 if shared else 1, 200)
        session = random.choice(("", "s1", "s2", "s3"))
        request = Request(
            id=f"request_{number}",
            arrived_at=now,
            input_tokens=shared + own,
            output_tokens=random.randint(1, 300),
            content=(Span(random.choice("xyz"), 0, shared),) if shared else None,
            session=session,
            round_index=number if session else 0,
            tenant=random.choice(_TENANTS),
            slo_class=random.choice(_SLO_CLASSES),
            client=random.choice(("", "c1", "c2")),
        )
        shown = sorted(random.sample(range(NUM_REPLICAS), random.choice((1, 2, 3, NUM_REPLICAS, NUM_REPLICAS))))
        cases.append(Case(request, StateView(now, tuple(_snapshots(random, shown)))))
    return cases


def _snapshots(random: Random, replicas: list[int]) -> list[SnapshotView]:
    if random.random() < 0.3:  # an idle cluster: a tie of all replicas
        return [SnapshotView(replica) for replica in replicas]
    return [
        SnapshotView(
            replica,
            queue_depth=random.choice((0, 0, 1, 7)),
            batch_size=random.randint(0, 8),
            used_blocks=random.choice((0, 250, 999, _BLOCKS)),
            hit_rate=random.choice((0.0, 0.25, 1.0)),
            in_flight=random.randint(0, 8),
        )
        for replica in replicas
    ]


def fields_of(request: Request) -> dict[str, object]:
    """Return the fields of a request, which a policy must not change."""
    return {field.name: getattr(request, field.name) for field in attrs.fields(Request)}
