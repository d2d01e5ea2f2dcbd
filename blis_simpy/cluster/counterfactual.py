"""Counterfactuals: scores of the other replicas at a routing decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.decision_records import Candidate

if TYPE_CHECKING:
    from blis_simpy.core.request import Route

__all__ = ["alternatives"]


def alternatives(route: Route, num_candidates: int) -> tuple[tuple[Candidate, ...], float]:
    """Rank the replicas of a routing decision.

    Parameters
    ----------
    route : Route
        The decision. Without scores, the score of a replica is its negated effective load.
    num_candidates : int
        Number of candidates to return, >= 1.

    Returns
    -------
    candidates : tuple of Candidate
        Best replicas, by score and then by name; names compare as text, so ``instance_10`` comes before ``instance_2``.
    regret : float
        Best score - score of the chosen replica, >= 0.
    """
    scores = route.scores
    if scores is None:
        scores = [-float(snapshot.effective_load) for snapshot in route.snapshots]
    ranked = sorted(zip(scores, route.snapshots, strict=True), key=lambda pair: (-pair[0], pair[1].name))
    chosen = next(score for score, snapshot in ranked if snapshot.replica == route.replica)
    candidates = tuple(
        Candidate(
            name=snapshot.name,
            score=score,
            queue_depth=snapshot.queue_depth,
            batch_size=snapshot.batch_size,
            in_flight=snapshot.in_flight,
            kv_utilization=snapshot.kv_utilization,
            free_kv_blocks=snapshot.free_kv_blocks,
        )
        for score, snapshot in ranked[:num_candidates]
    )
    return candidates, ranked[0][0] - chosen
