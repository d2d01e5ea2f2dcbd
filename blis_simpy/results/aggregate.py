"""Aggregate figures of one or several replicas, with the keys and values of the reference's metrics block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.results.percentiles import Percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blis_simpy.results.requests import RequestTable
    from blis_simpy.results.run_record import ReplicaOutcome

__all__ = ["Aggregate"]


class Aggregate:
    """Figures of one replica or of several.

    Parameters
    ----------
    name : str
        ``cluster``, or the name of the replica.
    requests : RequestTable
        All requests of the run.
    replicas : sequence of ReplicaOutcome
        The replicas.
    ttft : ndarray of int64, shape (num_requests,), µs, optional
        TTFT of each request, in place of that in the table.
    """

    def __init__(
        self,
        name: str,
        requests: RequestTable,
        replicas: Sequence[ReplicaOutcome],
        ttft: NDArray[np.int64] | None = None,
    ) -> None:
        self.name = name
        self.replicas = replicas
        rows = np.concatenate([replica.rows for replica in replicas])
        self.ttft = Percentiles.known((requests["ttft_us"] if ttft is None else ttft)[rows])
        self.e2e = Percentiles.of(requests["e2e_us"][rows[requests.completed[rows]]])
        self.scheduling_delay = Percentiles.known(requests["scheduling_delay_us"][rows])
        gaps = [replica.inter_token_latencies(requests, replica.rows) for replica in replicas]
        self.itl = Percentiles.of(
            np.concatenate([values for values, _ in gaps]), np.concatenate([weights for _, weights in gaps])
        )

    def __repr__(self) -> str:
        return f"<Aggregate {self.name} of {len(self.replicas):,} replicas>"

    def sum(self, counter: str) -> int:
        """Return the sum of a counter over the replicas."""
        return sum(getattr(replica, counter) for replica in self.replicas)

    @property
    def num_preemptions(self) -> int:
        """Number of preemptions."""
        return sum(len(replica.preemptions) for replica in self.replicas)

    @property
    def ended_at(self) -> int:
        """Last tick of activity on any replica."""
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
        block["preemption_count"] = self.num_preemptions
        block["dropped_unservable"] = dropped
        block["length_capped_requests"] = self.sum("length_capped")
        block["timed_out_requests"] = timed_out
        return block
