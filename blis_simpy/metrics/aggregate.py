"""The aggregate figures of a run, with the keys and values of the reference's metrics block."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import numpy as np

from blis_simpy.core.request import Outcome, Request
from blis_simpy.metrics.distributions import Distribution, inter_token_latencies

__all__ = ["Aggregate", "ReplicaOutcome"]


@attrs.frozen(eq=False, kw_only=True)
class ReplicaOutcome:
    """What one replica has to say at the end.

    Attributes
    ----------
    name : str
        ``instance_<index>``.
    requests : list of Request
        Requests that were handed to it.
    durations : ndarray of int64, shape (num_steps,), µs
        Duration of each step.
    skipped_tokens : sequence of (Request, int, int)
        Steps in which a decoding request got no token: request, number of its preemptions so far, step.
    token_processing_us : int, µs
        Added to each gap between tokens.
    ended_at : int, tick
        Last tick up to the horizon at which something happened.
    input_tokens, output_tokens, completed, timed_out, dropped, length_capped, kv_allocation_failures : int
        Counters of the replica.
    preemptions : int
        How many there were.
    still_queued, still_running : int
        Requests in the queue and in the batch.
    hit_rate, thrashing_rate : float
        Figures of the KV store.
    queue_depth_mean : float
        Mean over all steps of the requests that waited.
    """

    name: str
    requests: list[Request]
    durations: Any
    skipped_tokens: Sequence[tuple[Request, int, int]]
    token_processing_us: int
    ended_at: int
    input_tokens: int
    output_tokens: int
    completed: int
    timed_out: int
    dropped: int
    length_capped: int
    kv_allocation_failures: int
    preemptions: int
    still_queued: int
    still_running: int
    hit_rate: float
    thrashing_rate: float
    queue_depth_mean: float

    def inter_token_latencies(self) -> tuple[Any, Any]:
        """Gaps between tokens of its completed requests and how often each occurred."""
        completed = [r for r in self.requests if r.outcome is Outcome.COMPLETED and r.itl_count]
        skips: dict[int, int] = {}
        skipped_steps = []
        for request, attempt, step in self.skipped_tokens:
            if request.outcome is Outcome.COMPLETED and attempt == request.num_preemptions:
                skips[id(request)] = skips.get(id(request), 0) + 1
                skipped_steps.append(step)
        first = np.array([r.itl_first_step - skips.get(id(r), 0) for r in completed], dtype=np.int64)
        end = np.array([r.itl_first_step + r.itl_count for r in completed], dtype=np.int64)
        return inter_token_latencies(
            self.durations, first, end, np.array(skipped_steps, dtype=np.int64), self.token_processing_us
        )


class Aggregate:
    """Figures of one replica, or of several together.

    Parameters
    ----------
    name : str
        ``cluster``, or the name of the replica.
    replicas : sequence of ReplicaOutcome
        Whose figures they are.
    slowed : collection of Request
        Requests whose TTFT counts `slowed_ttft_factor` times, rounded down: the first of a replica that warms up.
    slowed_ttft_factor : float
        At least 1.
    """

    def __init__(
        self,
        name: str,
        replicas: Sequence[ReplicaOutcome],
        slowed: Collection[Request] = (),
        slowed_ttft_factor: float = 1.0,
    ) -> None:
        self.name = name
        self.replicas = replicas
        requests = [request for replica in replicas for request in replica.requests]
        self.ttft = Distribution.of(
            np.array(
                [int(r.ttft * slowed_ttft_factor) if r in slowed else r.ttft for r in requests if r.ttft >= 0],
                dtype=np.int64,
            )
        )
        self.e2e = Distribution.of(
            np.array([r.e2e for r in requests if r.outcome is Outcome.COMPLETED], dtype=np.int64)
        )
        self.scheduling_delay = Distribution.of(
            np.array([r.scheduled_at - r.arrived_at for r in requests if r.scheduled_at >= 0], dtype=np.int64)
        )
        gaps = [replica.inter_token_latencies() for replica in replicas]
        self.itl = Distribution.of(
            np.concatenate([values for values, _ in gaps]), np.concatenate([weights for _, weights in gaps])
        )

    def sum(self, counter: str) -> int:
        """Sum of a counter over the replicas."""
        return sum(getattr(replica, counter) for replica in self.replicas)

    @property
    def ended_at(self) -> int:
        """Last tick at which something happened."""
        return max(replica.ended_at for replica in self.replicas)

    def blis(self) -> dict[str, Any]:
        """Return the reference's metrics block: its keys in its order, times in ms and s."""
        completed = self.sum("completed")
        seconds = self.ended_at / 1e6
        rated = completed > 0 and seconds > 0
        counts = {
            "completed_requests": completed,
            "still_queued": self.sum("still_queued"),
            "still_running": self.sum("still_running"),
        }
        dropped, timed_out = self.sum("dropped"), self.sum("timed_out")
        block: dict[str, Any] = {
            "instance_id": self.name,
            **counts,
            "injected_requests": sum(counts.values()) + dropped + timed_out,
            "total_input_tokens": self.sum("input_tokens"),
            "total_output_tokens": self.sum("output_tokens"),
            "vllm_estimated_duration_s": seconds,
            "responses_per_sec": completed / seconds if rated else 0.0,
            "tokens_per_sec": self.sum("output_tokens") / seconds if rated else 0.0,
        }
        for label, distribution in (("e2e", self.e2e), ("ttft", self.ttft), ("itl", self.itl)):
            block[f"{label}_mean_ms"] = distribution.mean_ms if completed else 0.0
            for percent in (90, 95, 99):
                block[f"{label}_p{percent}_ms"] = distribution.percentile_ms(percent) if completed else 0.0
        block["scheduling_delay_p99_ms"] = self.scheduling_delay.percentile_ms(99) if completed else 0.0
        if failures := self.sum("kv_allocation_failures"):
            block["kv_allocation_failures"] = failures
        block["preemption_count"] = self.sum("preemptions")
        block["dropped_unservable"] = dropped
        block["length_capped_requests"] = self.sum("length_capped")
        block["timed_out_requests"] = timed_out
        return block
