"""Conformance suite for batch policies, which are checked in simulations of a replica."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blis_simpy.core.request import RequestOutcome
from blis_simpy.replica.batch_policies import SteadyBatchPolicy
from blis_simpy.testing.conformance.replica_cases import (
    ReplicaCase,
    ReplicaSuite,
    ViolationFoundError,
    Violations,
    outcomes,
    replica_cases,
)
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    from blis_simpy.replica.batch_builder import BatchBuilder
    from blis_simpy.replica.batch_policies import BatchPolicy
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.simulation import Simulation

__all__ = ["BatchPolicyTests"]

_MAX_STEPS = 5000
"""Maximum number of steps of a case; with one request at a time, a case takes at most 1,877."""


class BatchPolicyTests(ReplicaSuite):
    """Tests of the rules of `blis_simpy.replica.batch_policies.BatchPolicy` and `SteadyBatchPolicy`."""

    def watch(self, case: ReplicaCase) -> Violations:
        """Simulate a case with single steps, and return the violations of the policy."""
        return _watched(self.make(), case)[1]

    def test_the_token_budget_is_kept(self) -> None:
        """No token is granted and no request admitted with a `token_budget` of 0."""
        self.check("budget")

    def test_a_request_is_admitted_into_a_free_slot(self) -> None:
        """`admit` is called only with `num_waiting` > 0 and `free_slots` > 0."""
        self.check("slots")

    def test_tokens_are_granted_to_running_requests(self) -> None:
        """No tokens are granted to a request that was preempted in the same step (`batch_position` -1)."""
        self.check("running")

    def test_all_requests_are_served(self) -> None:
        """Every request completes or times out within a limited number of steps."""
        self.check("progress")

    def test_equal_runs_are_equal(self) -> None:
        """New instances take equal decisions in equal situations."""
        for case in replica_cases():
            policy = self.make()
            one, other = (_watched(instance, case)[0] for instance in (policy, self.make()))
            _require_equal_outcomes(policy, "must decide alike in equal situations", case, one, other)

    def test_steady_steps_need_no_decision(self) -> None:
        """After `is_steady` returns True, `form` only grants each decoding request its token."""
        self.check("steady")
        for case, violations in zip(replica_cases(), self.violations(), strict=True):
            policy = self.make()
            if violations or not isinstance(policy, SteadyBatchPolicy):
                continue
            one, other = (case.simulation(macro_steps=macro, batching=self.make()) for macro in (False, True))
            for simulation in (one, other):
                simulation.run()
            rule = "is_steady must be False before a step that needs a decision: single steps and macro-steps differ"
            _require_equal_outcomes(policy, rule, case, one, other)


def _require_equal_outcomes(policy: object, rule: str, case: ReplicaCase, one: Simulation, other: Simulation) -> None:
    __tracebackhide__ = True
    for first, second in zip(outcomes(one), outcomes(other), strict=True):
        require(first == second, policy, rule, case=case.name, first_run=first, second_run=second)


def _watched(policy: BatchPolicy, case: ReplicaCase) -> tuple[Simulation, Violations]:
    """Simulate a case with single steps; return the simulation and the violations of the policy."""
    violations = Violations(policy, case.name)
    steady = isinstance(policy, SteadyBatchPolicy)
    watched = (_WatchedSteadyPolicy if steady else _WatchedPolicy)(policy, case, violations)
    # Passed as a function, because the simulation copies an instance.
    simulation = case.simulation(macro_steps=False, batching=lambda: watched)
    with suppress(ViolationFoundError):
        simulation.run()
    unserved = [request.id for request in simulation.requests if request.outcome < RequestOutcome.COMPLETED]
    if unserved and not violations:
        with suppress(ViolationFoundError):
            rule = f"must serve all requests, within {_MAX_STEPS} steps"
            violations.add("progress", rule, not_served=unserved, steps=watched.num_steps)
    return simulation, violations


class _WatchedPolicy:
    """Batch policy that calls another one and checks its calls of the builder."""

    def __init__(self, policy: Any, case: ReplicaCase, violations: Violations) -> None:
        self.num_steps = 0
        self._policy = policy
        self._case = case
        self._violations = violations
        # Running requests and number of waiting ones for which `is_steady` returned True.
        self._steady_for: tuple[list[int], int] | None = None

    def form(self, step: BatchBuilder) -> None:
        self.num_steps += 1
        if self.num_steps > _MAX_STEPS:
            raise ViolationFoundError
        running = step.running()
        situation = [leg.batch_position for leg in running], step.num_waiting
        steady = self._is_steady_now(step, situation)
        watched = _WatchedStep(step, self._violations)
        self._policy.form(watched)
        # With few blocks, a step may have to preempt even after `is_steady`; the planner excludes such steps.
        if steady and self._case.has_ample_blocks:
            decodes = {leg.batch_position for leg in running if leg.decoding}
            if watched.granted != decodes or watched.others:
                self._violations.add(
                    "steady",
                    "form must only grant each decoding request its token after is_steady has returned True",
                    decoding=sorted(decodes),
                    granted=sorted(watched.granted),
                    other_calls=watched.others,
                    tick=step.now,
                )

    def _is_steady_now(self, step: BatchBuilder, situation: tuple[list[int], int]) -> bool:
        return False


class _WatchedSteadyPolicy(_WatchedPolicy):
    """The same for a policy with `is_steady`."""

    def is_steady(self, step: BatchBuilder) -> bool:
        return bool(self._policy.is_steady(step))

    def _is_steady_now(self, step: BatchBuilder, situation: tuple[list[int], int]) -> bool:
        # The answer is valid until a request arrives or leaves, which changes the situation.
        if situation != self._steady_for:
            self._steady_for = situation if self.is_steady(step) else None
        return self._steady_for is not None


class _WatchedStep:
    """Batch builder that checks the calls of a batch policy.

    Attributes
    ----------
    granted : set of int
        Batch positions of decoding requests with a granted token.
    others : list of str
        Other calls with an effect.
    """

    def __init__(self, step: BatchBuilder, violations: Violations) -> None:
        self.granted: set[int] = set()
        self.others: list[str] = []
        self._step = step
        self._violations = violations

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def _violated(self, test: str, rule: str, **found: object) -> None:
        self._violations.add(test, rule, **found, tick=self._step.now)

    def grant_all(self) -> bool:
        legs = self._step.running()
        granted = self._step.grant_all()
        if granted:
            for leg in legs:
                self._note(leg)
        return granted

    def grant(self, leg: RunningRequest) -> bool:
        self._check_grant(leg)
        return self._granted(leg, self._step.grant(leg))

    def try_grant(self, leg: RunningRequest) -> bool:
        self._check_grant(leg)
        return self._granted(leg, self._step.try_grant(leg))

    def _check_grant(self, leg: RunningRequest) -> None:
        if leg.batch_position < 0:
            rule = "must grant tokens to running requests only (batch_position >= 0)"
            self._violated("running", rule, request=leg.request.id)
        # A prefill chunk is cut to the remaining budget, and may be empty.
        left = self._step.token_budget
        if left < 0 or (leg.decoding and left == 0):
            rule = "must grant no token once token_budget is used up"
            self._violated("budget", rule, token_budget=left, request=leg.request.id)

    def _granted(self, leg: RunningRequest, granted: bool) -> bool:
        if granted:
            self._note(leg)
        return granted

    def _note(self, leg: RunningRequest) -> None:
        if leg.decoding:
            self.granted.add(leg.batch_position)
        else:
            self.others.append(f"grant({leg.request.id})")

    def preempt(self, victim: RunningRequest) -> None:
        if victim.batch_position < 0:
            rule = "must preempt running requests only (batch_position >= 0)"
            self._violated("running", rule, request=victim.request.id)
        self.others.append(f"preempt({victim.request.id})")
        self._step.preempt(victim)

    def admit(self) -> bool:
        step = self._step
        if not step.num_waiting or step.free_slots <= 0:
            rule = "must admit a request only while one waits and a slot is free"
            self._violated("slots", rule, num_waiting=step.num_waiting, free_slots=step.free_slots)
        if step.token_budget <= 0:
            rule = "must admit no request once token_budget is used up"
            self._violated("budget", rule, token_budget=step.token_budget)
        admitted = step.admit()
        if admitted:
            self.others.append("admit()")
        return admitted
