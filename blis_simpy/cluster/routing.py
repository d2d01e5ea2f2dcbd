"""Routing policies: they choose the replica of a request.

Ties are broken at random, with one draw per tie.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from blis_simpy.cluster.policies import RoutingDecision
from blis_simpy.cluster.policy_calls import broken, started
from blis_simpy.cluster.scorers import DEFAULT_MIX, Scorers, build_scorers, parse_scorers
from blis_simpy.cluster.snapshot_values import effective_loads
from blis_simpy.core.request_view import shown_to
from blis_simpy.errors import PluginError
from blis_simpy.settings.field_types import Accepts
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.cluster.policies import PolicyContext, RouterState, Scorer, Snapshot
    from blis_simpy.cluster.snapshot_values import Fractions, Loads
    from blis_simpy.core.request import Request

__all__ = ["AlwaysBusiest", "LeastLoaded", "RoundRobin", "Stream", "Weighted"]

_log = logging.getLogger("blis_simpy")

_STREAM_HELP = "Source of random integers that break ties; unset means the random stream router of the run."


class Stream(Protocol):
    """Source of random integers, such as a numpy generator."""

    def integers(self, high: int, /) -> Any:
        """Return an integer from 0 to `high` - 1, uniformly distributed."""
        ...


class RoundRobin:
    """Choose the replicas in turn (registered as ``round-robin``)."""

    _decisions = 0

    may_decide_on_arrival = True

    def __repr__(self) -> str:
        return "RoundRobin()"

    def start(self, context: PolicyContext) -> None:
        """Start with the first replica."""
        self._decisions = 0

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the next replica."""
        turn = self._decisions
        self._decisions = turn + 1
        snapshots = state.snapshots
        return RoutingDecision(snapshots[turn % len(snapshots)].replica, f"round-robin[{turn}]")


class AlwaysBusiest:
    """Choose the replica with the greatest effective load; a bad policy for comparisons (``always-busiest``)."""

    may_decide_on_arrival = True

    def __repr__(self) -> str:
        return "AlwaysBusiest()"

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the busiest replica."""
        loads = list(effective_loads(state.snapshots))
        most = max(loads)
        return RoutingDecision(state.snapshots[loads.index(most)].replica, f"always-busiest (load={most})")


class _TieBreaking:
    """Base class of policies that break ties at random, with a given stream or the stream ``router`` of the run."""

    stream: Any
    _stream: Stream

    def start(self, context: PolicyContext) -> None:
        self._stream = context.streams.generator("router") if self.stream is None else self.stream

    def _one_of(self, values: Loads | Fractions, best: float) -> int:
        """Position of the best value, at random among equal ones."""
        if isinstance(values, list):
            if values.count(best) == 1:  # type: ignore[arg-type]
                return values.index(best)  # type: ignore[arg-type]
            tied = [position for position, value in enumerate(values) if value == best]
        else:
            tied = (values == best).nonzero()[0].tolist()
            if len(tied) == 1:
                return int(tied[0])
        return tied[int(self._stream.integers(len(tied)))]


@settings_class(frozen=False, kw_only=False)
class LeastLoaded(_TieBreaking):
    """Choose the replica with the least effective load (registered as ``least-loaded``)."""

    stream: Any = setting(default=None, help=_STREAM_HELP)

    may_decide_on_arrival = True

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the least loaded replica."""
        loads = effective_loads(state.snapshots)
        least = min(loads) if isinstance(loads, list) else int(loads.min())
        chosen = self._one_of(loads, least)
        return RoutingDecision(state.snapshots[chosen].replica, f"least-loaded (load={least})")


@settings_class(frozen=False, kw_only=False)
class Weighted(_TieBreaking):
    """Choose the replica with the greatest weighted sum of scores (registered as ``weighted``).

    Raises
    ------
    ScenarioError
        If the scorers or their weights are wrong.
    """

    may_decide_on_arrival = True
    # Each score is checked as it comes from its scorer.
    gives_finite_scores = True

    scorers: Accepts[Any, Scorers] = setting(
        default=DEFAULT_MIX,
        help="Scorers and their weights, as name:weight,..., a mapping or a list of pairs; only the ratios count.",
        convert=parse_scorers,
        flag="--routing-scorers",
    )
    stream: Any = setting(default=None, help=_STREAM_HELP)

    def __attrs_post_init__(self) -> None:
        self._scorers = build_scorers(self.scorers)
        self._views = [shown_to(scorer) for scorer, _ in self._scorers]
        self._observers = [
            (scorer, view)
            for (scorer, _), view in zip(self._scorers, self._views, strict=True)
            if hasattr(scorer, "observe")
        ]
        self._clipped: set[int] = set()

    def start(self, context: PolicyContext) -> None:
        """Prepare for a run, with all scorers."""
        super().start(context)
        for scorer, _ in self._scorers:
            started(scorer, context)

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the replica with the best score."""
        snapshots = state.snapshots
        totals: Fractions = [0.0] * len(snapshots)
        for (scorer, weight), view in zip(self._scorers, self._views, strict=False):
            try:
                scores = scorer.score(view(request) if view else request, snapshots)
            except Exception as error:
                raise broken("scorer", scorer, "score", error, request, state.now) from error
            if isinstance(scores, dict):  # `zip` would take its keys for scores
                raise _unscored(scorer, "number", scores, snapshots)
            # Always added in the order of the scorers: float addition is not associative, and ties need equal totals.
            if type(scores) is not list and _are_fractions(scores, len(snapshots)):
                totals = totals + scores * weight
                continue
            try:
                totals = [
                    total + (score if 0.0 <= score <= 1.0 else _clipped(score, scorer, self._clipped)) * weight
                    for total, score in zip(totals, scores, strict=True)
                ]
            except TypeError:
                raise _unscored(scorer, "number", scores, snapshots) from None
            except ValueError:
                raise _unscored(scorer, "score", scores, snapshots) from None
        best = max(totals) if isinstance(totals, list) else float(totals.max())
        replica = snapshots[self._one_of(totals, best)].replica
        for observer, view in self._observers:
            try:
                observer.observe(view(request) if view else request, replica)
            except Exception as error:
                raise broken("scorer", observer, "observe", error, request, state.now) from error
        return RoutingDecision(
            replica, f"weighted-scoring (score={best:.3f})", totals if isinstance(totals, list) else totals.tolist()
        )


def _are_fractions(scores: object, count: int) -> TypeGuard[NDArray[np.float64]]:
    """Whether scores are an array of numbers from 0 to 1, which need no check one by one."""
    import numpy as np

    return (
        isinstance(scores, np.ndarray)
        and scores.dtype == np.float64
        and scores.shape == (count,)
        and bool(scores.min() >= 0.0 and scores.max() <= 1.0)
    )


def _unscored(scorer: Scorer, what: str, scores: object, snapshots: Sequence[Snapshot]) -> PluginError:
    rule = f"must give a {what} for each of the {len(snapshots)} replicas"
    return PluginError.at(f"scorer {type(scorer).__name__}", rule, scores)


def _clipped(score: float, scorer: Scorer, reported: set[int]) -> float:
    """Move a score into the range, with a warning the first time that a scorer of this run is outside."""
    if score != score:  # NaN
        raise PluginError.at(f"scorer {type(scorer).__name__}", "must give scores that are numbers", score)
    if id(scorer) not in reported:
        reported.add(id(scorer))
        _log.warning("scorer %s gives %g: scores below 0 count as 0, those above 1 as 1", type(scorer).__name__, score)
    return 0.0 if score < 0.0 else 1.0
