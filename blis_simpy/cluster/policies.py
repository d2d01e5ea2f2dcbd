"""Protocols of the policies of a cluster, and their read-only views of it.

Values of a replica may be stale, as in a real router: they are as old as the last refresh. A policy is any object with
the method of its protocol; it needs no import from this module::

    class Coldest:
        def route(self, request, state):
            return min(state.snapshots, key=lambda snapshot: snapshot.kv_utilization).replica

Pass the class, an instance or a registered name: ``Scenario(router=Coldest, ...)``. The optional method
``start(context)`` is called once before each run, with random streams and the number of replicas. Each simulation
copies an instance, so that its state belongs to one run. Options are the parameters of the class; a class made with
`blis_simpy.settings.fields.settings_class` describes them.

The optional attribute ``may_decide_on_arrival = True`` of admission and routing policies states that with a single
replica the decision is independent of the state of that replica. If both policies have it and decisions take no time,
the router calls them at the arrival of a request, which makes the simulation faster. Otherwise it calls them at the
places of admission and routing in the tick, after all arrivals. The attribute applies to the method `admit` or `route`
of the class that sets it, not to an override in a subclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.random_streams import RandomStreams  # noqa: TC004 - a type only
    from blis_simpy.core.request import Request

__all__ = [
    "AdmissionDecision",
    "AdmissionPolicy",
    "Decider",
    "DecodeChoice",
    "MigrationPolicy",
    "MigrationState",
    "PolicyContext",
    "RouterState",
    "RoutingDecision",
    "RoutingPolicy",
    "Scorer",
    "Snapshot",
]


class Snapshot(Protocol):
    """State of one replica as the router sees it. Valid during the call only.

    Attributes
    ----------
    replica : int
        Index of the replica.
    name : str
        ``instance_<index>``.
    queue_depth, batch_size : int
        Requests in its wait queue and in its running batch, as of the last refresh.
    kv_utilization : float, fraction
        KV blocks in use / all KV blocks, as of the last refresh.
    free_kv_blocks : int
        KV blocks not in use, as of the last refresh.
    hit_rate : float, fraction
        Share of its allocated KV blocks that came from the prefix cache, as of the last refresh.
    in_flight : int
        Requests sent to it that have not ended; always current.
    effective_load : int
        ``queue_depth + batch_size + in_flight``: a request in queue or batch counts twice, as in the reference.
    model : str
        Name of its model, lower case.
    """

    @property
    def replica(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def queue_depth(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def kv_utilization(self) -> float: ...  # noqa: D102
    @property
    def free_kv_blocks(self) -> int: ...  # noqa: D102
    @property
    def hit_rate(self) -> float: ...  # noqa: D102
    @property
    def in_flight(self) -> int: ...  # noqa: D102
    @property
    def effective_load(self) -> int: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102


class RouterState(Protocol):
    """State of the router at a decision.

    Attributes
    ----------
    now : int, tick
        Time of the decision.
    snapshots : sequence of Snapshot
        Routable replicas with the model of the request, in the order of their indices.
    """

    @property
    def now(self) -> int: ...  # noqa: D102
    @property
    def snapshots(self) -> Sequence[Snapshot]: ...  # noqa: D102


@attrs.frozen
class AdmissionDecision:
    """Decision of an admission policy.

    Attributes
    ----------
    admitted : bool
        Whether the request is accepted.
    reason : str
        Reason, for the decision log; may be empty.
    """

    admitted: bool
    reason: str = ""


@attrs.frozen
class RoutingDecision:
    """Decision of a routing policy.

    Attributes
    ----------
    replica : int
        Index of the replica.
    reason : str
        Reason, for the decision log; may be empty.
    scores : sequence of float or None
        Score of each snapshot, in their order; None if the policy has no scores.
    """

    replica: int
    reason: str = ""
    scores: Sequence[float] | None = None


class AdmissionPolicy(Protocol):
    """Decides which requests are accepted."""

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision | bool:
        """Decide whether a request is accepted."""
        ...


class RoutingPolicy(Protocol):
    """Chooses the replica of each request."""

    def route(self, request: Request, state: RouterState) -> RoutingDecision | int:
        """Choose a replica; return its index or a decision. `state` has at least one snapshot."""
        ...


class Scorer(Protocol):
    """Rates replicas for the routing policy ``weighted``.

    The optional method ``observe(request, replica)`` is called after each decision, with the index of the chosen
    replica.
    """

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Sequence[float]:
        """Return a score for each snapshot, from 0 (avoid) to 1 (prefer); other values are clipped."""
        ...


class DecodeChoice(Protocol):
    """Decode replica of a request, as a decider sees it. Valid during the call only.

    Attributes
    ----------
    now : int, tick
        Time of the decision.
    decode : Snapshot
        The chosen decode replica.
    prefill : sequence of Snapshot
        Routable replicas that could compute the prompt; at least one.
    cached_tokens : int
        Leading prompt tokens in the prefix cache of the decode replica now.
    """

    @property
    def now(self) -> int: ...  # noqa: D102
    @property
    def decode(self) -> Snapshot: ...  # noqa: D102
    @property
    def prefill(self) -> Sequence[Snapshot]: ...  # noqa: D102
    @property
    def cached_tokens(self) -> int: ...  # noqa: D102


class Decider(Protocol):
    """Decides whether a prefill replica computes the prompt of a request."""

    def disaggregate(self, request: Request, choice: DecodeChoice) -> bool:
        """Decide whether the prompt is computed on another replica than the decode replica."""
        ...


class MigrationState(Protocol):
    """State of the cluster at a decision of a migration policy. Valid during the call only.

    Attributes
    ----------
    now : int, tick
        Time of the decision.
    snapshots : sequence of Snapshot
        Routable replicas that decode, of all models, in the order of their indices.
    """

    @property
    def now(self) -> int: ...  # noqa: D102
    @property
    def snapshots(self) -> Sequence[Snapshot]: ...  # noqa: D102

    def decoding(self, replica: int) -> list[Request]:
        """Return the requests that decode on a replica and can be migrated, in the order of their admission."""
        ...


class MigrationPolicy(Protocol):
    """Chooses requests to migrate."""

    def migrations(self, state: MigrationState) -> Iterable[tuple[Request, int]]:
        """Return requests to migrate, each with the index of its destination."""
        ...


@attrs.frozen(kw_only=True)
class PolicyContext:
    """Argument of the method ``start`` of a policy.

    Attributes
    ----------
    streams : RandomStreams
        Random streams of the run; a policy uses a stream with its own name.
    num_replicas : int
        Number of replicas at the start.
    block_size : int, tokens
        Size of a KV block.
    """

    streams: RandomStreams
    num_replicas: int
    block_size: int
