"""Which replica a request goes to: the built-in policies.

A random choice between equally good replicas takes one draw, and only where there are at least two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from blis_simpy.cluster.policies import RoutingDecision, broken, started
from blis_simpy.cluster.scorers import build_scorers
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.cluster.policies import PolicyContext, RouterState, Scorer, Snapshot
    from blis_simpy.core.request import Request

__all__ = ["AlwaysBusiest", "LeastLoaded", "RoundRobin", "Stream", "Weighted"]


class Stream(Protocol):
    """Source of random integers, such as a numpy generator."""

    def integers(self, high: int, /) -> Any:
        """Return an integer from 0 to `high` - 1, each as likely as the others."""
        ...


class RoundRobin:
    """One replica after the other, among those that may get the request (registered as ``round-robin``)."""

    _decisions = 0

    may_decide_on_arrival = True

    def start(self, context: PolicyContext) -> None:
        """Begin with the first replica."""
        self._decisions = 0

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the next replica."""
        turn = self._decisions
        self._decisions = turn + 1
        snapshots = state.snapshots
        return RoutingDecision(snapshots[turn % len(snapshots)].replica, f"round-robin[{turn}]")


class AlwaysBusiest:
    """The replica with the greatest effective load, the first of several; a bad idea, to compare others with."""

    may_decide_on_arrival = True

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the busiest replica."""
        loads = [snapshot.effective_load for snapshot in state.snapshots]
        most = max(loads)
        return RoutingDecision(state.snapshots[loads.index(most)].replica, f"always-busiest (load={most})")


class _Drawing:
    """Draws between equals, from a given stream or the run's own for this purpose."""

    _stream: Stream

    def __init__(self, stream: Stream | None = None) -> None:
        self._given = stream

    def start(self, context: PolicyContext) -> None:
        self._stream = context.streams.generator("router") if self._given is None else self._given

    def _one_of(self, values: Sequence[float], best: float) -> int:
        """Position of the best value; a random one of them if it stands there more than once."""
        if values.count(best) == 1:
            return values.index(best)
        tied = [position for position, value in enumerate(values) if value == best]
        return tied[int(self._stream.integers(len(tied)))]


class LeastLoaded(_Drawing):
    """The replica with the least effective load, a random one of several (registered as ``least-loaded``).

    Parameters
    ----------
    stream : Stream, optional
        Where ties are drawn from; the run's stream ``router`` if not given.
    """

    may_decide_on_arrival = True

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the least loaded replica."""
        loads = [snapshot.effective_load for snapshot in state.snapshots]
        least = min(loads)
        chosen = self._one_of(loads, least)
        return RoutingDecision(state.snapshots[chosen].replica, f"least-loaded (load={least})")


class Weighted(_Drawing):
    """The replica with the greatest weighted sum of scores, a random one of several (registered as ``weighted``).

    Parameters
    ----------
    scorers : str, mapping or list, optional
        The mix, see `blis_simpy.cluster.scorers`; that of the reference if not given.
    stream : Stream, optional
        Where ties are drawn from; the run's stream ``router`` if not given.

    Raises
    ------
    ScenarioError
        If the mix is wrong.
    """

    may_decide_on_arrival = True

    def __init__(self, scorers: Any = None, stream: Stream | None = None) -> None:
        super().__init__(stream)
        self._scorers: list[tuple[Scorer, float]] = build_scorers(scorers)
        self._observers = [scorer for scorer, _ in self._scorers if hasattr(scorer, "observe")]

    def start(self, context: PolicyContext) -> None:
        """Prepare for a run, with all scorers."""
        super().start(context)
        for scorer, _ in self._scorers:
            started(scorer, context)

    def route(self, request: Request, state: RouterState) -> RoutingDecision:
        """Choose the replica with the best score."""
        snapshots = state.snapshots
        totals = [0.0] * len(snapshots)
        for scorer, weight in self._scorers:
            try:
                scores = scorer.score(request, snapshots)
            except Exception as error:
                raise broken("scorer", scorer, "score", error) from error
            if isinstance(scores, dict):  # its keys might pass for scores
                raise _unscored(scorer, "number", scores, snapshots)
            # In the order of the scorers, each product added at once: equal scores must be equal to the last bit.
            try:
                totals = [
                    total + (score if 0.0 <= score <= 1.0 else _clipped(score, scorer)) * weight
                    for total, score in zip(totals, scores, strict=True)
                ]
            except TypeError:
                raise _unscored(scorer, "number", scores, snapshots) from None
            except ValueError:
                raise _unscored(scorer, "score", scores, snapshots) from None
        best = max(totals)
        replica = snapshots[self._one_of(totals, best)].replica
        for observer in self._observers:
            try:
                observer.observe(request, replica)
            except Exception as error:
                raise broken("scorer", observer, "observe", error) from error
        return RoutingDecision(replica, f"weighted-scoring (score={best:.3f})", totals)


def _unscored(scorer: Scorer, what: str, scores: object, snapshots: Sequence[Snapshot]) -> PluginError:
    rule = f"must give a {what} for each of the {len(snapshots)} replicas"
    return PluginError.at(f"scorer {type(scorer).__name__}", rule, scores)


def _clipped(score: float, scorer: Scorer) -> float:
    if score != score:  # NaN
        raise PluginError.at(f"scorer {type(scorer).__name__}", "must give scores that are numbers", score)
    return 0.0 if score < 0.0 else 1.0
