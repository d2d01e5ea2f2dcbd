"""What a run leaves behind: requests, steps and replicas, from which all figures follow.

A record refers to no part of the simulation, so it can be copied, sent to another process, saved and loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.core.table import Table
from blis_simpy.network.record import NetworkRecord
from blis_simpy.replica.kv_tier import TierTable
from blis_simpy.replica.log import StepLog
from blis_simpy.results.legs import LegTable
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.token_gaps import StepGaps, steps_of_runs
from blis_simpy.scenario_settings import ScenarioSettings

if TYPE_CHECKING:
    # Names only: few runs have either of them.
    from blis_simpy.cluster.decision_log import DecisionLog  # noqa: TC004
    from blis_simpy.workload.request_builders import RequestDetails  # noqa: TC004

__all__ = ["ReplicaOutcome", "RunRecord"]

_STEP_COLUMNS = (
    "replica",
    "start_us",
    "duration_us",
    "decode_tokens",
    "prefill_tokens",
    "batch_size",
    "queue_depth",
    "used_blocks",
)


@attrs.frozen(eq=False, kw_only=True)
class ReplicaOutcome:
    """Data of one replica at the end of a run, or when a partial result is made.

    Attributes
    ----------
    name : str
        ``instance_<index>``.
    model : str
        Name of the model that it serves.
    rows : ndarray of int64
        Rows, in the table of all requests, of those that were routed to it and not dropped.
    step_gaps : StepGaps
        Gap between tokens that each step makes.
    skipped_tokens : ndarray of int64, shape (num_skipped, 3)
        Steps in which a decoding request got no token: row of the request, number of its preemptions so far, step. They
        are left out of its gaps.
    segments : ndarray of int64, shape (num_segments, 3)
        Runs of steps that gave a request an output each, of requests with more than one: row of the request, first and
        last step. The time between two of them is a gap between its tokens.
    carried_gaps : ndarray of int64, shape (num_gaps, 2)
        Gaps between tokens of requests from before they came here, the one up to the first token here included: row of
        the request and gap, µs, in order.
    token_processing_us : int, µs
        Delay added to each gap between tokens.
    total_blocks : int
        Number of its KV blocks.
    block_size : int
        Tokens per KV block.
    ended_at : int, tick
        Last tick of activity, at most the horizon.
    input_tokens, output_tokens, completed, timed_out, dropped, length_capped, kv_allocation_failures : int
        Counters of the replica.
    preemptions : ndarray of int64, shape (num_preemptions, 2)
        Row of the request and tick of each preemption, in order.
    resumptions : ndarray of int64, shape (num_resumptions, 4)
        Each admission after a preemption, in order: row of the request, tokens looked up in the prefix cache, those
        found there, and tokens that were computed before and are computed again.
    caches_prefixes : bool
        Whether its KV store has a prefix cache.
    num_gpus : int
        Number of its GPUs.
    placed : ndarray of int64, shape (num_periods, 2), ticks
        Start and end of each period in which it had its GPUs, up to the end of the run.
    still_queued, still_running : int
        Numbers of requests in the wait queue and in the batch.
    hit_blocks, missed_blocks : int
        Allocated KV blocks that were taken from the prefix cache, and that were not.
    hit_rate, thrashing_rate : float
        Rates of the KV store.
    queue_depth_mean : float
        Mean queue depth over all steps.
    """

    name: str
    model: str
    rows: NDArray[np.int64]
    step_gaps: StepGaps
    skipped_tokens: NDArray[np.int64]
    segments: NDArray[np.int64]
    carried_gaps: NDArray[np.int64]
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
    resumptions: NDArray[np.int64]
    caches_prefixes: bool
    num_gpus: int
    placed: NDArray[np.int64]
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
        """Return the gaps between tokens of some of its completed requests, and the number of each.

        Parameters
        ----------
        requests : RequestTable
            All requests of the run.
        rows : ndarray of int64
            Rows of the requests, all of this replica.
        """
        rows = self._with_gaps(requests, rows)
        _, first, end = self._runs(requests, rows)
        gaps, counts = self.step_gaps.counted(first, end)
        between = np.concatenate((self._stalls(rows)[1], self._carried(rows)[1]))
        values = np.concatenate((gaps, between)) + self.token_processing_us
        return values, np.concatenate((counts, np.ones_like(between)))

    def longest_gaps(self, requests: RequestTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the longest gap between tokens of some of its completed requests, of those that have any, µs.

        Parameters
        ----------
        requests, rows
            As for `inter_token_latencies`.
        """
        rows = self._with_gaps(requests, rows)
        owners, first, end = self._runs(requests, rows)
        some = end > first
        stalled, between = self._stalls(rows)
        longest = np.zeros(requests.num_rows, dtype=np.int64)
        np.maximum.at(longest, owners[some], self.step_gaps.longest(first[some], end[some]))
        np.maximum.at(longest, stalled, between)
        np.maximum.at(longest, *self._carried(rows))
        return longest[rows] + self.token_processing_us

    def gaps_by_request(
        self, requests: RequestTable, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the gaps between tokens of some of its completed requests: row and gap, µs, sorted by row.

        Parameters
        ----------
        requests, rows
            As for `inter_token_latencies`.
        """
        rows = self._with_gaps(requests, rows)
        owners, first, end = self._runs(requests, rows)
        stalled, between = self._stalls(rows)
        carried, before = self._carried(rows)
        owners = np.concatenate((np.repeat(owners, end - first), stalled, carried))
        gaps = (self.step_gaps.values()[steps_of_runs(first, end)], between, before)
        values = np.concatenate(gaps) + self.token_processing_us
        order = np.argsort(owners, kind="stable")
        return owners[order], values[order]

    def token_times(
        self, requests: RequestTable, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the delivery of each output token of some of its completed requests.

        Parameters
        ----------
        requests, rows
            As for `inter_token_latencies`.

        Returns
        -------
        rows, times : ndarray of int64, µs
            Row of the request, and time from its arrival to the token; sorted by row and time.
        """
        with_gaps = self._with_gaps(requests, rows)
        runs, first, end = self._runs(requests, with_gaps)
        segments = self._segments_of(with_gaps)
        # The first step of a run has the gap after the token of the step before, and that of a segment has a token.
        resumed = segments[1:][segments[1:, 0] == segments[:-1, 0]]
        owners = np.concatenate((np.repeat(runs, end - first), resumed[:, 0]))
        ends = np.append(0, np.cumsum(self.step_gaps.values()))
        ended = ends[np.concatenate((steps_of_runs(first, end), resumed[:, 1])) + 1]
        base = np.full(requests.num_rows, np.iinfo(np.int64).max)
        np.minimum.at(base, runs, ends[first])
        ttft = requests["ttft_us"]
        carried, before = self._carried(with_gaps)
        first_here = ttft.copy()
        np.add.at(first_here, carried, before)
        # The gaps of a request are consecutive, so their sums start again at each of its first ones.
        sums = np.cumsum(before)
        is_first = np.diff(carried, prepend=-1) != 0
        since = np.repeat((sums - before)[is_first], np.diff(np.append(np.flatnonzero(is_first), len(carried))))
        owners, times = (
            np.concatenate((rows, owners, carried)),
            np.concatenate((ttft[rows], first_here[owners] + ended - base[owners], ttft[carried] + sums - since)),
        )
        order = np.lexsort((times, owners))
        owners, times = owners[order], times[order]
        position = np.arange(len(owners)) - np.searchsorted(owners, owners)
        return owners, times + position * self.token_processing_us

    @staticmethod
    def _with_gaps(requests: RequestTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[requests.completed[rows] & (requests["itl_count"][rows] > 0)]

    def _segments_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.segments[np.isin(self.segments[:, 0], rows)]

    def _runs(
        self, requests: RequestTable, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return runs of steps in each of which a request has a gap: row, first step, step after the last one."""
        segments = self._segments_of(rows)
        plain = rows[~np.isin(rows, segments[:, 0])]
        first = requests["itl_first_step"][plain]
        end = first + requests["itl_count"][plain]
        owners = plain
        if len(self.skipped_tokens):
            row, attempt, step = self.skipped_tokens.T
            counted = np.isin(row, plain) & (attempt == requests["num_preemptions"][row])
            row, step = row[counted], step[counted]
            skips = np.zeros(requests.num_rows, dtype=np.int64)
            np.add.at(skips, row, 1)
            # Each skipped step ends a run, and the next one begins behind it.
            owners = np.concatenate((plain, row))
            first = np.concatenate((first - skips[plain], step + 1))
            end = np.concatenate((end, step))
            by_first, by_end = np.lexsort((first, owners)), np.lexsort((end, owners))
            owners, first, end = owners[by_first], first[by_first], end[by_end]
        return (
            np.concatenate((owners, segments[:, 0])),
            np.concatenate((first, segments[:, 1] + 1)),
            np.concatenate((end, segments[:, 2] + 1)),
        )

    def _carried(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the gaps of requests from before they came here: row and gap, µs."""
        row, gap = self.carried_gaps[np.isin(self.carried_gaps[:, 0], rows)].T
        return row, gap

    def _stalls(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the times between the segments of requests: row, and time to the first token of the next one, µs."""
        segments = self._segments_of(rows)
        before, after = segments[:-1], segments[1:]
        same = before[:, 0] == after[:, 0]
        if not same.any():
            return after[same, 0], after[same, 1]
        return after[same, 0], self.step_gaps.ends(after[same, 1]) - self.step_gaps.ends(before[same, 2])


@attrs.frozen(eq=False, kw_only=True, repr=False)
class RunRecord:
    """Data of one run.

    Attributes
    ----------
    scenario : ScenarioSettings
        What was simulated.
    seed : int
        Seed of its random streams.
    requests : RequestTable
        One row a request, in the order of the workload.
    replicas : sequence of ReplicaOutcome
        Each replica, by index.
    steps : sequence of StepLog
        Steps of each replica.
    rejected : ndarray of int64
        Rows of the requests that admission rejected, in order.
    slowed : ndarray of int64
        Rows of the requests whose replica was warming up, ascending.
    off_critical_path : ndarray of int64
        Rows of the requests of sessions that did not decide when their session ended, ascending.
    routing_rejections : int
        Number of requests that routing rejected because no replica serves their model.
    details : mapping of str to RequestDetails
        Modalities of the requests that have any, by id.
    slo_targets : mapping of int to SLOTargets
        Targets of the requests that have some of their own, by row.
    decisions : DecisionLog or None
        Decisions of admission and routing, if the scenario logs them.
    legs : LegTable
        Legs of all requests, in a run with handovers; else empty.
    restarts : ndarray of int64
        Rows of the requests that started over because their KV blocks were lost between two replicas, in order.
    samples : sequence of Table
        What the samplers of the simulation recorded, in their order.
    network : NetworkRecord
        Transfers and links; empty tables without transfers.
    kv_tiers : TierTable
        KV tiers below the memory of the GPUs.
    observed_at : int, tick
        Time up to which the run was simulated: its horizon, or when all requests had ended, or the pause.
    wall_clock_s : float, s
        Real time that the simulation took.
    is_over : bool
        Whether the run has ended; False at a pause.
    """

    scenario: ScenarioSettings
    seed: int
    requests: RequestTable
    replicas: Sequence[ReplicaOutcome]
    steps: Sequence[StepLog]
    rejected: NDArray[np.int64]
    slowed: NDArray[np.int64]
    off_critical_path: NDArray[np.int64]
    routing_rejections: int
    details: Mapping[str, RequestDetails]
    slo_targets: Mapping[int, SLOTargets]
    decisions: DecisionLog | None
    legs: LegTable
    restarts: NDArray[np.int64]
    samples: Sequence[Table] = ()
    network: NetworkRecord
    kv_tiers: TierTable
    observed_at: int
    wall_clock_s: float
    is_over: bool = True

    def __repr__(self) -> str:
        return f"<RunRecord of {self.requests.num_rows:,} requests on {len(self.replicas):,} replicas>"

    def ttft(self) -> NDArray[np.int64]:
        """Return the TTFT of each request, µs; shape (num_requests,). That of a warming-up replica is multiplied."""
        ttft = self.requests["ttft_us"]
        if len(self.slowed):
            slowed = self.slowed[ttft[self.slowed] >= 0]
            ttft = ttft.copy()
            ttft[slowed] = ttft[slowed] * self.scenario.lifecycle.warm_up_ttft_factor
        return ttft

    def served(self) -> RequestTable:
        """Return the requests that reached a replica and were not dropped, replica by replica."""
        return self.requests.take(np.concatenate([replica.rows for replica in self.replicas]))

    def step_table(self) -> Table:
        """Return all steps, replica by replica; see `Result.steps`."""
        tables = [log.table() for log in self.steps]

        def column(name: str) -> NDArray[np.int64]:
            if name == "replica":
                return np.repeat(np.arange(len(tables)), [len(log) for log in self.steps])
            return np.concatenate([table[name] for table in tables])

        return Table(_STEP_COLUMNS, sum(map(len, self.steps)), column)

    def preemptions(self) -> list[tuple[str, int]]:
        """Return the id of the request and the tick of each preemption, in the order in which they happened."""
        happened = np.concatenate([replica.preemptions for replica in self.replicas])
        # At one tick, replicas take their steps in the order of their index.
        happened = happened[np.argsort(happened[:, 1], kind="stable")]
        return list(zip(self.requests["id"][happened[:, 0]].tolist(), happened[:, 1].tolist(), strict=True))
