"""Records of the decision log: one per decision, with the state at its time."""

from collections.abc import Mapping

import attrs

__all__ = ["AdmissionRecord", "Candidate", "RoutingRecord"]


@attrs.frozen
class AdmissionRecord:
    """Record of an admission decision.

    Attributes
    ----------
    request : str
        Id of the request.
    at : int, tick
        Time of the decision.
    admitted : bool
        Whether it was accepted.
    reason : str
        Reason of the policy; may be empty.
    """

    request: str
    at: int
    admitted: bool
    reason: str


@attrs.frozen
class Candidate:
    """Snapshot and score of a replica at a routing decision.

    Attributes
    ----------
    name : str
        ``instance_<index>``.
    score : float
        Score of the policy; without scores, the negated effective load.
    queue_depth, batch_size : int
        Requests in its wait queue and in its running batch.
    in_flight : int
        Requests in flight, without this one.
    kv_utilization : float, fraction
        KV blocks in use / all KV blocks.
    free_kv_blocks : int
        KV blocks not in use.
    """

    name: str
    score: float
    queue_depth: int
    batch_size: int
    in_flight: int
    kv_utilization: float
    free_kv_blocks: int


@attrs.frozen
class RoutingRecord:
    """Record of a routing decision.

    Attributes
    ----------
    request : str
        Id of the request.
    at : int, tick
        Time of the decision.
    replica : int
        Index of the replica.
    reason : str
        Reason of the policy; may be empty.
    scores : mapping of str to float, or None
        Score of each replica, by name; None if the policy has no scores.
    candidates : tuple of Candidate
        Candidates, best first; as many as the log keeps.
    regret : float
        Best score - score of the chosen replica; 0 if the log keeps no candidates.
    """

    request: str
    at: int
    replica: int
    reason: str
    scores: Mapping[str, float] | None
    candidates: tuple[Candidate, ...]
    regret: float

    @property
    def name(self) -> str:
        """Name of the replica."""
        return f"instance_{self.replica}"
