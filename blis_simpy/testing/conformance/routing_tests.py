"""Conformance suite for routing policies."""

from __future__ import annotations

import math
from operator import index
from typing import TYPE_CHECKING, Any

from blis_simpy.cluster.policies import RoutingDecision
from blis_simpy.cluster.policy_calls import started
from blis_simpy.testing.conformance.policy_suite import PolicySuite
from blis_simpy.testing.conformance.router_cases import policy_context, router_cases
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.core.request import Request
    from blis_simpy.testing.conformance.router_cases import StateView

__all__ = ["RoutingPolicyTests"]


class RoutingPolicyTests(PolicySuite):
    """Tests of the rules of `blis_simpy.cluster.policies.RoutingPolicy`.

    Examples
    --------
    >>> class First:
    ...     def route(self, request, state):
    ...         return state.snapshots[0].replica
    >>> class TestFirst(RoutingPolicyTests):
    ...     def make(self):
    ...         return First()
    """

    def ask(self, policy: Any, request: Request, state: StateView) -> Any:
        """Return the decision as a tuple."""
        decision = _decision(policy.route(request, state))
        return decision.replica, decision.reason, None if decision.scores is None else list(decision.scores)

    def _decisions(self, policy: Any) -> Iterator[tuple[RoutingDecision, dict[str, Any]]]:
        started(policy, policy_context(1))
        for request, state in router_cases(1):
            shown = [snapshot.replica for snapshot in state.snapshots]
            yield _decision(policy.route(request, state)), {"shown": shown, "request": request.id, "tick": state.now}

    def test_route_returns_the_index_of_a_shown_replica(self) -> None:
        """The answer is the index of a replica in `state.snapshots`, not a position in the list."""
        policy = self.make()
        for decision, asked in self._decisions(policy):
            rule = "route must return the index of a replica that it is shown, or a RoutingDecision with it"
            require(_as_index(decision.replica) in asked["shown"], policy, rule, returned=decision.replica, **asked)

    def test_scores_of_a_decision_are_one_number_a_snapshot(self) -> None:
        """Scores are None, or finite numbers in the order of the snapshots; the reason is text."""
        policy = self.make()
        for decision, asked in self._decisions(policy):
            require(isinstance(decision.reason, str), policy, "the reason must be text", returned=decision.reason)
            if decision.scores is not None:
                scores = list(decision.scores)
                rule = "the scores of a decision must be one finite number for each snapshot"
                good = len(scores) == len(asked["shown"]) and all(math.isfinite(score) for score in scores)
                require(good, policy, rule, returned=scores, **asked)


def _decision(answer: Any) -> RoutingDecision:
    return answer if isinstance(answer, RoutingDecision) else RoutingDecision(answer)


def _as_index(chosen: Any) -> int:
    try:
        return -1 if isinstance(chosen, bool) else index(chosen)
    except TypeError:
        return -1
