"""Records of the decision log: one a decision, as of the moment it was taken."""

from collections.abc import Mapping

import attrs

__all__ = ["AdmissionRecord", "Candidate", "RoutingRecord"]


@attrs.frozen
class AdmissionRecord:
    """Admission accepted a request, or rejected it.

    Attributes
    ----------
    request : str
        Id of the request.
    at : int, tick
        When that was decided.
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
    """A replica that a request could have been sent to, with its snapshot.

    Attributes
    ----------
    name : str
        ``instance_<index>``.
    score : float
        Score of the policy; without scores the effective load, negated.
    queue_depth, batch_size : int
        Requests in its wait queue and in its running batch.
    in_flight : int
        Requests sent to it that had not ended, this one not included.
    kv_utilization : float, fraction
        KV blocks in use over all.
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
    """A request was sent to a replica.

    Attributes
    ----------
    request : str
        Id of the request.
    at : int, tick
        When that was decided.
    replica : int
        Index of the replica.
    reason : str
        Reason of the policy; may be empty.
    scores : mapping of str to float, or None
        Score of each candidate, by name; None if the policy has none.
    candidates : tuple of Candidate
        The best candidates, best first; as many as the log keeps.
    regret : float
        By how much the best score exceeds that of the chosen replica; 0 if the log keeps no candidates.
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
