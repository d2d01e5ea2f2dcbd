"""Other replicas that a router could have chosen, and how it rated them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.decision_records import Candidate

if TYPE_CHECKING:
    from blis_simpy.core.request import Route

__all__ = ["alternatives"]


def alternatives(route: Route, num_candidates: int) -> tuple[tuple[Candidate, ...], float]:
    """Rank the replicas that a request could have gone to.

    Parameters
    ----------
    route : Route
        The decision, with the snapshots that it was based on. Without scores, the effective load is used, negated: less
        is better.
    num_candidates : int
        Number of candidates to return, >= 1.

    Returns
    -------
    candidates : tuple of Candidate
        The best, by score and then by name; names compare as text, so ``instance_10`` comes before ``instance_2``.
    regret : float
        Best score over all replicas less that of the chosen one, >= 0.
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
