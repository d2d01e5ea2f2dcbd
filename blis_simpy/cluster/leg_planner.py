"""Legs of a request whose prompt another replica may compute.

The router has chosen the replica that decodes. The planner asks the decider, and chooses the prefill replica.
"""

from __future__ import annotations

from functools import cached_property
from operator import index
from typing import TYPE_CHECKING

from blis_simpy.cluster.policies import RoutingDecision
from blis_simpy.cluster.policy_calls import broken
from blis_simpy.core.plugin_faults import place_of
from blis_simpy.core.request_view import shown_to
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blis_simpy.cluster.policies import Decider, RouterState, RoutingPolicy, Snapshot
    from blis_simpy.core.request import Request

__all__ = ["LegPlanner"]


class _Choice:
    """The decode replica of a request, for the decider."""

    def __init__(
        self, now: int, decode: Snapshot, prefill: Sequence[Snapshot], count_cached: Callable[[], int]
    ) -> None:
        self.now = now
        self.decode = decode
        self.prefill = prefill
        self._count_cached = count_cached

    @cached_property
    def cached_tokens(self) -> int:
        return self._count_cached()


class LegPlanner:
    """Plans the legs of requests.

    Parameters
    ----------
    decider : Decider
        Decides whether a prefill replica computes the prompt.
    routing : RoutingPolicy
        Chooses the prefill replica.
    count_cached : callable
        Returns the leading prompt tokens of a request in the prefix cache of a replica.
    is_prefilled : callable
        Returns whether a replica holds the KV blocks of a request, which only needs a replica to decode it.
    is_undivided : callable
        Returns whether one replica has to serve both phases of a request.
    """

    def __init__(
        self,
        decider: Decider,
        routing: RoutingPolicy,
        *,
        count_cached: Callable[[Request, int], int],
        is_prefilled: Callable[[Request], bool],
        is_undivided: Callable[[Request], bool],
    ) -> None:
        self._is_undivided = is_undivided
        self.is_prefilled = is_prefilled
        self._decider = decider
        self._decider_view = shown_to(decider)
        self._routing = routing
        self._routing_view = shown_to(routing)
        self._count_cached = count_cached

    def prefill_replica(self, request: Request, decode: Snapshot, state: RouterState) -> RoutingDecision | None:
        """Choose the prefill replica of a request; None if its decode replica computes the prompt.

        Parameters
        ----------
        request : Request
            The request.
        decode : Snapshot
            The replica that decodes.
        state : RouterState
            Replicas that could compute the prompt.

        Raises
        ------
        PluginError
            If decider or policy raise an exception or return no proper answer.
        """
        if not state.snapshots or self._is_undivided(request) or not self._is_disaggregated(request, decode, state):
            return None
        decision = self._route(request, state)
        return None if decision.replica == decode.replica else decision

    def _is_disaggregated(self, request: Request, decode: Snapshot, state: RouterState) -> bool:
        choice = _Choice(state.now, decode, state.snapshots, lambda: self._count_cached(request, decode.replica))
        try:
            answer = self._decider.disaggregate(self._decider_view(request) if self._decider_view else request, choice)
        except Exception as error:
            raise broken("decider", self._decider, "disaggregate", error, request, state.now) from error
        if answer is not True and answer is not False:
            raise PluginError.at(
                f"decider {type(self._decider).__name__}",
                "disaggregate must return True or False",
                answer,
                hint=place_of(request, state.now).strip(" ()"),
            )
        return answer

    def _route(self, request: Request, state: RouterState) -> RoutingDecision:
        try:
            answer = self._routing.route(self._routing_view(request) if self._routing_view else request, state)
        except Exception as error:
            raise broken("policy", self._routing, "route", error, request, state.now) from error
        decision = answer if isinstance(answer, RoutingDecision) else RoutingDecision(answer)
        shown = [snapshot.replica for snapshot in state.snapshots]
        try:
            chosen = index(decision.replica)
        except TypeError:
            chosen = -1
        if chosen not in shown:
            raise PluginError.at(
                f"policy {type(self._routing).__name__}",
                f"route must return the index of a replica it was shown ({', '.join(map(str, shown))})",
                decision.replica,
                hint=place_of(request, state.now).strip(" ()"),
            )
        return RoutingDecision(chosen, decision.reason, decision.scores)
