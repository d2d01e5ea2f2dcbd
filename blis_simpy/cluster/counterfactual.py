"""What else a router could have chosen, and what that would have been worth by its own measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.decision_records import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.cluster.policies import RoutingDecision, Snapshot

__all__ = ["alternatives"]


def alternatives(
    decision: RoutingDecision, snapshots: Sequence[Snapshot], num_candidates: int
) -> tuple[tuple[Candidate, ...], float]:
    """Rank the replicas that a request could have gone to.

    Parameters
    ----------
    decision : RoutingDecision
        What was decided. A policy without scores is measured by the effective load, negated: less is better.
    snapshots : sequence of Snapshot
        What it was decided on, the chosen replica among it.
    num_candidates : int
        How many to return, >= 1.

    Returns
    -------
    candidates : tuple of Candidate
        The best, by score and then by name; names compare as text, so ``instance_10`` comes before ``instance_2``.
    regret : float
        Best score over all replicas less that of the chosen one, >= 0.
    """
    scores = decision.scores
    if scores is None:
        scores = [-float(snapshot.effective_load) for snapshot in snapshots]
    ranked = sorted(zip(scores, snapshots, strict=True), key=lambda pair: (-pair[0], pair[1].name))
    chosen = next(score for score, snapshot in ranked if snapshot.replica == decision.replica)
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
