"""Make the `Result` of a simulation: a row a request, and the figures of each replica."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.core.request import RequestOutcome
from blis_simpy.network.record import NetworkRecord
from blis_simpy.replica.kv_tier import TierTable
from blis_simpy.results.legs import carried_gaps, leg_table
from blis_simpy.results.requests import RequestTable
from blis_simpy.results.result import Result
from blis_simpy.results.run_record import ReplicaOutcome, RunRecord
from blis_simpy.results.token_gaps import StepGaps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.cluster.cluster import Cluster
    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.core.leg import Leg
    from blis_simpy.core.request_log import RequestLog
    from blis_simpy.core.table import Table
    from blis_simpy.network.network import Network
    from blis_simpy.replica.kv_tier import KVTier
    from blis_simpy.replica.log import StepLog
    from blis_simpy.replica.replica import Replica
    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.workload.request_builders import RequestDetails

__all__ = ["collect"]


def collect(
    scenario: ScenarioSettings,
    seed: int,
    requests: RequestLog,
    cluster: Cluster,
    *,
    ended_at: Sequence[int],
    details: Mapping[str, RequestDetails],
    decisions: DecisionLog | None,
    samples: Sequence[Table],
    network: Network,
    kv_tiers: Sequence[KVTier],
    observed_at: int,
    off_critical_path: Sequence[int],
    wall_clock_s: float,
    is_over: bool,
) -> Result:
    """Make the result of a simulation as of now.

    Parameters
    ----------
    scenario, seed
        What was simulated.
    requests : RequestLog
        All requests so far.
    cluster : Cluster
        The replicas, brought up to date, and the router.
    ended_at : sequence of int, tick
        Last tick at which something happened, by replica.
    details : mapping of str to RequestDetails
        Modalities of the requests that have any, by id.
    decisions : DecisionLog or None
        The decisions, if they are logged.
    samples : sequence of Table
        What the samplers recorded.
    network : Network
        The network.
    kv_tiers : sequence of KVTier
        KV tiers below the memory of the GPUs.
    observed_at : int, tick
        Time up to which it was simulated.
    off_critical_path : sequence of int
        Rows of the requests of sessions that did not decide when their session ended.
    wall_clock_s : float, s
        Real time that it took.
    is_over : bool
        Whether nothing will change any more; else what changes must not show in the result.
    """
    loads = [replica.kv_loads for replica in cluster.replicas if replica.kv_loads is not None]
    table = RequestTable.of_requests(requests, with_handovers=cluster.has_handovers, loads=loads)
    if not is_over:
        table = table.frozen()
        decisions = decisions.copy() if decisions is not None else None
    queued = _queued_by_replica(requests) if cluster.has_handovers else None
    reached = table["replica"].copy()
    reached[table.with_outcome(RequestOutcome.DROPPED)] = -1
    order = np.argsort(reached, kind="stable")
    bounds = np.searchsorted(reached[order], np.arange(len(cluster.replicas) + 1))
    last = max(ended_at)
    logs = [replica.steps if is_over else replica.steps.copy() for replica in cluster.replicas]
    record = RunRecord(
        scenario=scenario,
        seed=seed,
        requests=table,
        replicas=[
            _outcome(
                replica,
                steps,
                order[bounds[replica.index] : bounds[replica.index + 1]],
                ended,
                carried=carried_gaps(replica.log.continuing, logs) if cluster.has_handovers else (),
                still_queued=replica.queue_depth if queued is None else queued[replica.index],
                num_gpus=cluster.num_gpus(replica.index),
                placed=cluster.placed(replica.index, last),
            )
            for replica, steps, ended in zip(cluster.replicas, logs, ended_at, strict=True)
        ],
        steps=logs,
        rejected=np.array(cluster.router.rejected, dtype=np.int64),
        slowed=np.array(sorted(request.row for request in cluster.slowed), dtype=np.int64),
        off_critical_path=np.sort(np.array(off_critical_path, dtype=np.int64)),
        routing_rejections=cluster.router.num_unroutable,
        details=dict(details),
        slo_targets=requests.slo_targets(),
        decisions=decisions,
        legs=leg_table(requests if cluster.has_handovers else ()),
        restarts=np.array([request.row for request in cluster.restarts], dtype=np.int64),
        samples=samples,
        network=NetworkRecord.of(network, observed_at),
        kv_tiers=TierTable.of_tiers(kv_tiers),
        observed_at=observed_at,
        wall_clock_s=wall_clock_s,
        is_over=is_over,
    )
    return Result(record)


def _queued_by_replica(requests: RequestLog) -> Counter[int]:
    """Count waiting requests once, although two replicas may have them, or neither while they are handed over."""
    waiting = (request for request in requests.objects() if request.outcome is RequestOutcome.QUEUED)
    return Counter((request.leg or request.earlier_legs[-1]).replica for request in waiting)


def _outcome(
    replica: Replica,
    steps: StepLog,
    served: NDArray[np.int64],
    ended_at: int,
    *,
    carried: Sequence[tuple[Leg, int]],
    still_queued: int,
    num_gpus: int,
    placed: list[tuple[int, int]],
) -> ReplicaOutcome:
    log, kv = replica.log, replica.kv_store
    return ReplicaOutcome(
        name=f"instance_{replica.index}",
        model=replica.model,
        rows=served,
        step_gaps=StepGaps(steps, replica.gaps_include_pauses),
        skipped_tokens=np.array(log.skipped_tokens, dtype=np.int64).reshape(-1, 3),
        carried_gaps=np.array([(leg.request.row, gap) for leg, gap in carried], dtype=np.int64).reshape(-1, 2),
        segments=np.array(log.segments, dtype=np.int64).reshape(-1, 3),
        token_processing_us=replica.token_processing_us,
        total_blocks=int(replica.kv_blocks.capacity),
        block_size=replica.block_size,
        ended_at=ended_at,
        input_tokens=log.input_tokens,
        output_tokens=log.output_tokens,
        completed=log.completed,
        timed_out=log.timed_out,
        dropped=log.dropped,
        length_capped=log.length_capped,
        kv_allocation_failures=log.kv_allocation_failures,
        preemptions=np.array(log.preemptions, dtype=np.int64).reshape(-1, 2),
        resumptions=np.array(log.resumptions, dtype=np.int64).reshape(-1, 4),
        caches_prefixes=kv.caches_prefixes,
        num_gpus=num_gpus,
        placed=np.array(placed, dtype=np.int64).reshape(-1, 2),
        still_queued=still_queued,
        still_running=replica.batch_size,
        hit_blocks=kv.hits,
        missed_blocks=kv.misses,
        hit_rate=float(kv.hit_rate),
        thrashing_rate=float(kv.thrashing_rate),
        queue_depth_mean=steps.queue_depth_mean(),
    )
