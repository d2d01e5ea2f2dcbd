"""Conformance suite for admission policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.cluster.policies import AdmissionDecision
from blis_simpy.cluster.policy_calls import started
from blis_simpy.cluster.router import declares
from blis_simpy.testing.conformance.policy_suite import PolicySuite
from blis_simpy.testing.conformance.router_cases import Case, SnapshotView, StateView, policy_context, router_cases
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["AdmissionPolicyTests"]


class AdmissionPolicyTests(PolicySuite):
    """Tests of the rules of `blis_simpy.cluster.policies.AdmissionPolicy`."""

    def ask(self, policy: Any, request: Request, state: StateView) -> Any:
        """Return the decision as a tuple."""
        decision = _decision(policy.admit(request, state))
        return decision.admitted, decision.reason

    def test_admit_returns_a_decision_or_a_bool(self) -> None:
        """The answer is a bool or an `AdmissionDecision`; other truthy values are invalid."""
        policy = self.make()
        started(policy, policy_context(1))
        for request, state in router_cases(1):
            answer = policy.admit(request, state)
            decision = _decision(answer)
            good = isinstance(decision.admitted, bool | np.bool_) and isinstance(decision.reason, str)
            rule = "admit must return a bool, or an AdmissionDecision with a bool and a text"
            require(good, policy, rule, returned=answer, request=request.id, tick=state.now)

    def test_admit_answers_without_any_replica(self) -> None:
        """The policy answers without snapshots, because all replicas may have failed or may be loading."""
        policy = self.make()
        started(policy, policy_context(1))
        for request, state in router_cases(1):
            try:
                policy.admit(request, StateView(state.now, ()))
            except Exception as error:
                rule = "admit must answer when no replica is routable: state.snapshots may be empty"
                require(False, policy, rule, raised=error, request=request.id)

    def test_decisions_on_arrival_do_not_depend_on_the_replica(self) -> None:
        """With `may_decide_on_arrival`, a decision is independent of the state of a single replica."""
        policy = self.make()
        if not declares(policy, "may_decide_on_arrival", "admit") or not self.is_reproducible():
            return
        idle = [Case(request, StateView(state.now, (SnapshotView(0),))) for request, state in router_cases(1)]
        full = SnapshotView(0, queue_depth=500, batch_size=64, used_blocks=1000, hit_rate=0.5, in_flight=564)
        busy = [Case(request, StateView(state.now, (full,))) for request, state in router_cases(1)]
        for number, (one, other) in enumerate(zip(self.run(policy, idle), self.run(self.make(), busy), strict=True)):
            rule = (
                "has may_decide_on_arrival = True, so its decision must not depend on the figures of a single replica"
            )
            require(one[0] == other[0], policy, rule, question=number, idle_replica=one, busy_replica=other)


def _decision(answer: Any) -> AdmissionDecision:
    return answer if isinstance(answer, AdmissionDecision) else AdmissionDecision(answer)
