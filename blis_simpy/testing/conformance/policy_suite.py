"""Common rules of admission policies, routing policies and scorers: their answers depend only on their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cluster.policy_calls import started
from blis_simpy.testing.conformance.router_cases import Case, StateView, fields_of, policy_context, router_cases
from blis_simpy.testing.conformance.suite import ConformanceSuite, require, violated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.request import Request

__all__ = ["PolicySuite"]


class PolicySuite(ConformanceSuite):
    """Tests of the common rules of admission policies, routing policies and scorers.

    Attributes
    ----------
    knows_output_length : bool
        Whether the policy may read `Request.output_tokens`, which a real router does not know.
    """

    knows_output_length = False

    def ask(self, policy: Any, request: Request, state: StateView) -> Any:
        """Return the answer of the policy in a comparable form."""
        raise NotImplementedError

    def run(self, policy: Any, cases: Iterable[Case], seed: int = 1) -> list[Any]:
        """Start a run and return the answers to all cases."""
        started(policy, policy_context(seed))
        return [self.ask(policy, *case) for case in cases]

    def is_reproducible(self) -> bool:
        """Whether two new instances give equal answers; if not, some tests are skipped."""
        return _equal(self.run(self.make(), router_cases(1)), self.run(self.make(), router_cases(1)))

    def test_equal_runs_have_equal_answers(self) -> None:
        """New instances give equal answers to equal cases with equal random streams."""
        policy = self.make()
        first, second = self.run(policy, router_cases(1)), self.run(self.make(), router_cases(1))
        rule = "must draw random numbers from context.streams alone, so that equal runs are equal"
        _require_equal(policy, rule, first_run=first, second_run=second)

    def test_one_instance_can_serve_several_runs(self) -> None:
        """`start` resets the state of an instance."""
        if not self.is_reproducible():
            return
        policy = self.make()
        # A prime number of cases, so that a counter that is not reset does not fit by chance.
        self.run(policy, router_cases(2)[:37], seed=2)
        later, alone = self.run(policy, router_cases(1)), self.run(self.make(), router_cases(1))
        rule = "must begin each run anew: state that belongs to a run is made in start"
        _require_equal(policy, rule, in_a_new_instance=alone, after_another_run=later)

    def test_requests_are_left_unchanged(self) -> None:
        """A policy does not change requests."""
        policy = self.make()
        cases = router_cases(1)
        before = [fields_of(case.request) for case in cases]
        self.run(policy, cases)
        for case, fields in zip(cases, before, strict=True):
            for name, value in fields_of(case.request).items():
                require(
                    value == fields[name],
                    policy,
                    f"must leave request.{name} unchanged",
                    before=fields[name],
                    after=value,
                )

    def test_answers_do_not_depend_on_the_planned_output(self) -> None:
        """`output_tokens` is the planned output length, which a real router does not know."""
        if self.knows_output_length or not self.is_reproducible():
            return
        policy = self.make()
        others = router_cases(1)
        for case in others:
            case.request.output_tokens += 1 + case.request.input_tokens % 7 * 100
        expected, found = self.run(policy, router_cases(1)), self.run(self.make(), others)
        rule = "must not use request.output_tokens, which no real router knows (or set knows_output_length = True)"
        _require_equal(policy, rule, answer=expected, with_another_output=found)

    def test_snapshots_are_used_during_the_call_only(self) -> None:
        """A snapshot is valid only during the call that it is passed to."""
        policy = self.make()
        call = _Call()
        started(policy, policy_context(1))
        for request, state in router_cases(1):
            call.number += 1
            views = tuple(_ExpiringView(policy, call, snapshot) for snapshot in state.snapshots)
            self.ask(policy, request, StateView(state.now, views))  # type: ignore[arg-type]


def _require_equal(policy: object, rule: str, **answers: list[Any]) -> None:
    """Raise an error unless two lists of answers are equal; the message shows the first difference."""
    __tracebackhide__ = True
    for number, pair in enumerate(zip(*answers.values(), strict=True)):
        found = dict(zip(answers, pair, strict=True))
        require(_equal(*pair), policy, rule, request=f"request_{number}", **found)


def _equal(one: object, other: object) -> bool:
    """Whether two answers are equal; NaN equals NaN."""
    return one == other or repr(one) == repr(other)


class _Call:
    number = 0


class _ExpiringView:
    """A snapshot that reports accesses after the call."""

    def __init__(self, policy: object, call: _Call, view: object) -> None:
        self._policy = policy
        self._call = call
        self._made_in = call.number
        self._view = view

    def __getattr__(self, name: str) -> Any:
        if self._made_in != self._call.number:
            rule = "must not read a snapshot after the call that it was handed to"
            violated(self._policy, rule, attribute=name, handed_to_question=self._made_in, read_in=self._call.number)
        return getattr(self._view, name)
