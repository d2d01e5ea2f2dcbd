"""What an admission policy, a routing policy and a scorer are asked, and what they may see.

Policies see read-only views. What a view tells of a replica may be stale, as in a real router: it is as old as the
last refresh. A policy is any object with the one method of its protocol; it needs to import nothing from here::

    class Coldest:
        def route(self, request, state):
            return min(state.snapshots, key=lambda snapshot: snapshot.kv_utilization).replica

Pass the class, an instance or a registered name: ``Scenario(routing=Coldest, ...)``. A policy that keeps state or needs
random numbers has a method ``start(context)``, called once before each run: state that is made there belongs to one
run, and one instance can serve many.

Optional attribute of admission and routing policies: ``may_decide_on_arrival = True`` says that on a cluster of a
single replica the decision does not depend on the figures of that replica. If both policies say so and decisions take
no time, the router asks them as soon as a request arrives, which makes the simulation faster; otherwise it asks at the
places of admission and routing in the tick, after all arrivals. The attribute counts for the method `admit` or `route`
of the class that sets it, not for one that a subclass puts in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = [
    "AdmissionDecision",
    "AdmissionPolicy",
    "PolicyContext",
    "RouterState",
    "RoutingDecision",
    "RoutingPolicy",
    "Scorer",
    "Snapshot",
    "broken",
    "started",
]


class Snapshot(Protocol):
    """What the router believes about one replica. Valid during the call that it was handed to.

    Attributes
    ----------
    replica : int
        Index of the replica.
    name : str
        ``instance_<index>``.
    queue_depth, batch_size : int
        Requests in its wait queue and in its running batch, as of the last refresh.
    kv_utilization : float, fraction
        KV blocks in use over all, as of the last refresh.
    free_kv_blocks : int
        KV blocks not in use, as of the last refresh.
    hit_rate : float, fraction
        Share of its KV blocks that came from the prefix cache, as of the last refresh.
    in_flight : int
        Requests sent to it that have not ended; always up to date.
    effective_load : int
        ``queue_depth + batch_size + in_flight``: a request that it knows of counts twice, as in the reference.
    model : str
        Name of the model that it serves, lower case.
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
    """What there is to decide on.

    Attributes
    ----------
    now : int, tick
        When the decision is taken.
    snapshots : sequence of Snapshot
        The replicas that may get the request, by index: those that run and serve its model.
    """

    @property
    def now(self) -> int: ...  # noqa: D102
    @property
    def snapshots(self) -> Sequence[Snapshot]: ...  # noqa: D102


@attrs.frozen
class AdmissionDecision:
    """Whether a request is let in.

    Attributes
    ----------
    admitted : bool
        Whether it is.
    reason : str
        Why, for the decision log; may be empty.
    """

    admitted: bool
    reason: str = ""


@attrs.frozen
class RoutingDecision:
    """Where a request goes.

    Attributes
    ----------
    replica : int
        Index of the replica.
    reason : str
        Why, for the decision log; may be empty.
    scores : sequence of float or None
        Score of each snapshot, in their order, where the policy has any.
    """

    replica: int
    reason: str = ""
    scores: Sequence[float] | None = None


class AdmissionPolicy(Protocol):
    """Lets requests into the cluster, or not."""

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision | bool:
        """Decide whether a request is let in."""
        ...


class RoutingPolicy(Protocol):
    """Chooses a replica for each request."""

    def route(self, request: Request, state: RouterState) -> RoutingDecision | int:
        """Choose a replica; return its index or a decision. There is at least one snapshot."""
        ...


class Scorer(Protocol):
    """Rates replicas for the `weighted` policy.

    A scorer that learns from decisions has a method ``observe(request, replica)`` besides, called with the index of
    the replica that was chosen.
    """

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Sequence[float]:
        """Return a score for each snapshot, from 0 (avoid) to 1 (prefer); what lies outside is clipped."""
        ...


@attrs.frozen(kw_only=True)
class PolicyContext:
    """What a policy may know when a run starts.

    Attributes
    ----------
    streams : RandomStreams
        Random streams of the run; a policy draws from one of its own name.
    num_replicas : int
        Replicas at the start.
    block_size : int, tokens
        Size of a KV block.
    """

    streams: RandomStreams
    num_replicas: int
    block_size: int


def started(policy: Any, context: PolicyContext) -> Any:
    """Tell a policy that a run starts, if it wants to know, and return it.

    Raises
    ------
    PluginError
        If the policy raises anything.
    """
    start = getattr(policy, "start", None)
    if start is not None:
        try:
            start(context)
        except Exception as error:
            raise broken("policy", policy, "start", error) from error
    return policy


def broken(kind: str, policy: object, method: str, error: Exception) -> PluginError:
    """Make the error that says which policy raised what, to be raised from it; a `PluginError` stays what it is."""
    if isinstance(error, PluginError):
        return PluginError(error.problems)
    return PluginError.at(f"{kind} {type(policy).__name__}", f"raised {error!r} in {method}", code="policy_raised")
