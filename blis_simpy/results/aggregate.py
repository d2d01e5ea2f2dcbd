"""The aggregate figures of a run, with the keys and values of the reference's metrics block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.results.percentiles import Percentiles, inter_token_latencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.results.requests import RequestTable

__all__ = ["Aggregate", "ReplicaOutcome"]


@attrs.frozen(eq=False, kw_only=True)
class ReplicaOutcome:
    """What one replica has to say at the end, or when a result is made in between.

    Attributes
    ----------
    name : str
        ``instance_<index>``.
    model : str
        Name of the model that it serves.
    rows : ndarray of int64
        Requests that were handed to it and not dropped, as rows of the table of all requests.
    durations : ndarray of int64, shape (num_steps,), µs
        Duration of each step.
    skipped_tokens : ndarray of int64, shape (num_skipped, 3)
        Steps in which a decoding request got no token: row of the request, number of its preemptions so far, step.
    token_processing_us : int, µs
        Added to each gap between tokens.
    total_blocks : int
        Its KV blocks.
    block_size : int
        Tokens a KV block.
    ended_at : int, tick
        Last tick up to the horizon at which something happened.
    input_tokens, output_tokens, completed, timed_out, dropped, length_capped, kv_allocation_failures : int
        Counters of the replica.
    preemptions : ndarray of int64, shape (num_preemptions, 2)
        Row of the request and tick of each, in order.
    still_queued, still_running : int
        Requests in the queue and in the batch.
    hit_blocks, missed_blocks : int
        KV blocks that came from the prefix cache, and that did not, since the start.
    hit_rate, thrashing_rate : float
        Figures of the KV store.
    queue_depth_mean : float
        Mean over all steps of the requests that waited.
    """

    name: str
    model: str
    rows: NDArray[np.int64]
    durations: NDArray[np.int64]
    skipped_tokens: NDArray[np.int64]
    token_processing_us: int
    total_blocks: int
    block_size: int
    ended_at: int
    input_tokens: int
    output_tokens: int
    completed: int
    timed_out: int
    dropped: int
    length_capped: int
    kv_allocation_failures: int
    preemptions: NDArray[np.int64]
    still_queued: int
    still_running: int
    hit_blocks: int
    missed_blocks: int
    hit_rate: float
    thrashing_rate: float
    queue_depth_mean: float

    def inter_token_latencies(
        self, requests: RequestTable, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Gaps between tokens of some of its requests that completed, and how often each occurred.

        Parameters
        ----------
        requests : RequestTable
            All requests of the run.
        rows : ndarray of int64
            Rows of requests of this replica.
        """
        counts = requests["itl_count"]
        rows = rows[requests.completed[rows] & (counts[rows] > 0)]
        first = requests["itl_first_step"][rows]
        end = first + counts[rows]
        skipped_steps = np.empty(0, dtype=np.int64)
        if len(self.skipped_tokens):
            row, attempt, step = self.skipped_tokens.T
            counted = np.isin(row, rows) & (attempt == requests["num_preemptions"][row])
            skipped_steps = step[counted]
            skips = np.zeros(requests.num_rows, dtype=np.int64)
            np.add.at(skips, row[counted], 1)
            first = first - skips[rows]
        return inter_token_latencies(self.durations, first, end, skipped_steps, self.token_processing_us)


class Aggregate:
    """Figures of one replica, or of several together.

    Parameters
    ----------
    name : str
        ``cluster``, or the name of the replica.
    requests : RequestTable
        All requests of the run.
    replicas : sequence of ReplicaOutcome
        Whose figures they are.
    ttft : ndarray of int64, shape (num_requests,), µs, optional
        TTFT of each request in place of that in the table.
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

    def sum(self, counter: str) -> int:
        """Sum of a counter over the replicas."""
        return sum(getattr(replica, counter) for replica in self.replicas)

    @property
    def num_preemptions(self) -> int:
        """How often a request lost its place in a batch."""
        return sum(len(replica.preemptions) for replica in self.replicas)

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
        block["preemption_count"] = self.num_preemptions
        block["dropped_unservable"] = dropped
        block["length_capped_requests"] = self.sum("length_capped")
        block["timed_out_requests"] = timed_out
        return block
