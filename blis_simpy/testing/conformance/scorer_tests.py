"""Conformance suite for scorers of the ``weighted`` routing policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cluster.policy_calls import started
from blis_simpy.testing.conformance.policy_suite import PolicySuite
from blis_simpy.testing.conformance.router_cases import policy_context, router_cases
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.core.request import Request
    from blis_simpy.testing.conformance.router_cases import StateView

__all__ = ["ScorerTests"]


class ScorerTests(PolicySuite):
    """Tests of the rules of `blis_simpy.cluster.policies.Scorer`."""

    def ask(self, policy: Any, request: Request, state: StateView) -> Any:
        """Return the scores as a list; then the scorer observes a decision for the best replica."""
        scores = list(policy.score(request, state.snapshots))
        if hasattr(policy, "observe"):
            best = scores.index(max(scores)) if scores else 0
            policy.observe(request, state.snapshots[min(best, len(state.snapshots) - 1)].replica)
        return scores

    def _answers(self, scorer: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
        started(scorer, policy_context(1))
        for request, state in router_cases(1):
            shown = [snapshot.replica for snapshot in state.snapshots]
            yield scorer.score(request, state.snapshots), {"shown": shown, "request": request.id}
            if hasattr(scorer, "observe"):
                scorer.observe(request, shown[0])

    def test_score_returns_one_number_for_each_snapshot(self) -> None:
        """The scores are numbers other than NaN, in the order of the snapshots."""
        scorer = self.make()
        for scores, asked in self._answers(scorer):
            good = not isinstance(scores, dict) and len(scores) == len(asked["shown"]) and all(map(_is_number, scores))
            rule = "score must return one number for each snapshot, in their order"
            require(good, scorer, rule, returned=scores, **asked)

    def test_scores_lie_between_0_and_1(self) -> None:
        """Scores lie between 0 (avoid) and 1 (prefer). Others are clipped, which can make different replicas equal."""
        scorer = self.make()
        for scores, asked in self._answers(scorer):
            good = not any(_is_number(score) and not 0 <= score <= 1 for score in scores)
            require(good, scorer, "scores must lie between 0 and 1", returned=scores, **asked)


def _is_number(score: Any) -> bool:
    try:
        return bool(score == score and score <= score + 1)
    except TypeError:
        return False
