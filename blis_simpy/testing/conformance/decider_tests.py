"""Conformance suite for deciders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cluster.policy_calls import started
from blis_simpy.testing.conformance.policy_suite import PolicySuite
from blis_simpy.testing.conformance.router_cases import SnapshotView, policy_context, router_cases
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    from blis_simpy.core.request import Request
    from blis_simpy.testing.conformance.router_cases import StateView

__all__ = ["DeciderTests"]


@attrs.frozen
class _Choice:
    """A decode replica and the prefill replicas, see `blis_simpy.cluster.policies.DecodeChoice`."""

    now: int
    decode: SnapshotView
    prefill: Sequence[SnapshotView]
    cached_tokens: int


class DeciderTests(PolicySuite):
    """Tests of the rules of `blis_simpy.cluster.policies.Decider`.

    Examples
    --------
    >>> class LongPrompts:
    ...     def disaggregate(self, request, choice):
    ...         return request.input_tokens > 4000
    >>> class TestLongPrompts(DeciderTests):
    ...     def make(self):
    ...         return LongPrompts()
    """

    def ask(self, policy: Any, request: Request, state: StateView) -> Any:
        """Return the answer for the first snapshot as decode replica, and all of them as prefill replicas."""
        # Any share of the prompt may be cached; the tick makes it vary from case to case.
        cached = state.now % (request.input_tokens + 1)
        return policy.disaggregate(request, _Choice(state.now, state.snapshots[0], state.snapshots, cached))

    def test_disaggregate_returns_a_bool(self) -> None:
        """The answer is True or False: a number or None would hide a mistake."""
        policy = self.make()
        started(policy, policy_context(1))
        for request, state in router_cases(1):
            answer = self.ask(policy, request, state)
            rule = "disaggregate must return True or False"
            good = answer is True or answer is False
            require(good, policy, rule, returned=answer, request=request.id, tick=state.now)
