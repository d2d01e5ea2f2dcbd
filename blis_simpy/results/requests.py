"""The table of requests of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from blis_simpy.core.request import NEVER, RequestOutcome
from blis_simpy.core.table import Table
from blis_simpy.results.legs import HANDOVER_COLUMNS, handover_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.core.request_log import RequestLog
    from blis_simpy.replica.tier_transfers import LoadRecord

__all__ = ["KV_LOAD_COLUMNS", "RequestTable"]

_INTEGERS = {
    "arrived_at_us": "arrived_at",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "deadline_us": "deadline",
    "admitted_at_us": "admitted_at",
    "routed_at_us": "routed_at",
    "queued_at_us": "queued_at",
    "first_scheduled_at_us": "first_scheduled_at",
    "scheduled_at_us": "scheduled_at",
    "ttft_us": "ttft",
    "first_ttft_us": "first_ttft",
    "e2e_us": "e2e",
    "itl_sum_us": "itl_sum",
    "itl_count": "itl_count",
    "itl_first_step": "itl_first_step",
    "generated_tokens": "generated_tokens",
    "cached_tokens": "cached_tokens",
    "num_preemptions": "num_preemptions",
    "finished_at_us": "finished_at",
    "replica": "replica",
    "round_index": "round_index",
    "priority": "priority",
    "due_at_us": "due_at",
}
_FLAGS = ("length_capped", "streaming")
_DERIVED = ("scheduling_delay_us", "itl_mean_us", "tpot_us", "ntpot_us")
_LABELS = ("slo_class", "tenant", "model", "client", "session", "prefix_group")
_NAMES = ("id", "outcome", *_INTEGERS, *_DERIVED, *_FLAGS, *_LABELS)
KV_LOAD_COLUMNS = ("kv_load_started_at_us", "kv_load_us", "kv_loaded_tokens")
"""Columns of the table of requests in a run with KV tiers."""
_FINAL_FIRST = (
    RequestOutcome.COMPLETED,
    RequestOutcome.TIMED_OUT,
    RequestOutcome.DROPPED,
    RequestOutcome.REJECTED,
    RequestOutcome.RUNNING,
    RequestOutcome.QUEUED,
    RequestOutcome.PENDING,
)
_OUTCOMES = np.array([outcome.name.lower() for outcome in RequestOutcome], dtype=object)


class RequestTable(Table):
    """One row per request, in the order of the workload.

    Times are µs. In the arrays, -1 means that there is no value; rows, data frames, Arrow tables and files have a
    missing value instead. Columns: ``id``, ``outcome`` (its name), ``arrived_at_us``,
    ``input_tokens``, ``output_tokens`` (planned), ``deadline_us`` (0 = none), ``admitted_at_us``, ``routed_at_us``
    (handed to its replica), ``queued_at_us`` (entered the wait queue there), ``first_scheduled_at_us`` and
    ``scheduled_at_us`` (first and last time it joined a batch), ``scheduling_delay_us`` (arrival to the last time),
    ``ttft_us``, ``first_ttft_us`` (arrival to the first token of any attempt, those that were lost included),
    ``e2e_us``, ``itl_mean_us`` (0 without gaps), ``tpot_us`` and ``ntpot_us`` (time per output token without and with
    the first one), ``itl_sum_us``, ``itl_count`` (of requests that have not completed, the gaps so far),
    ``itl_first_step``, ``generated_tokens``, ``cached_tokens`` (prompt tokens found in the prefix cache at the first
    admission), ``num_preemptions``, ``finished_at_us``, ``replica``, ``length_capped``, ``streaming``,
    ``round_index``, ``priority``, ``due_at_us`` (planned arrival, if a cap on the requests in flight delayed it), and
    the labels ``slo_class``, ``tenant``, ``model``, ``client``, ``session``, ``prefix_group``.

    In a run with handovers, ``replica`` is the last replica, and timestamps up to ``scheduled_at_us`` and
    ``cached_tokens`` are those of the replica that computed the prompt. Further columns: ``prefill_replica``,
    ``prefilled_at_us`` (end of the prefill there), ``kv_reserved_at_us`` and ``kv_received_at_us`` (blocks allocated
    and filled at the decode replica), ``decode_scheduled_at_us`` (first joined a batch there), ``kv_bytes`` (of all
    transfers), ``kv_wait_us`` (end of the prefill to the allocation), ``kv_transfer_us`` (allocation to the last byte)
    and ``num_migrations``.

    In a run with KV tiers: ``kv_load_started_at_us`` (first left the wait queue for blocks from a tier), ``kv_load_us``
    (time in which it waited for them, on all replicas) and ``kv_loaded_tokens`` (in blocks that it loaded itself).
    """

    _NEVER: ClassVar[frozenset[str]] = frozenset(
        {
            "admitted_at_us",
            "routed_at_us",
            "queued_at_us",
            "first_scheduled_at_us",
            "scheduled_at_us",
            "scheduling_delay_us",
            "ttft_us",
            "first_ttft_us",
            "tpot_us",
            "ntpot_us",
            "e2e_us",
            "itl_first_step",
            "finished_at_us",
            "due_at_us",
            "replica",
            "kv_load_started_at_us",
            *HANDOVER_COLUMNS,
        }
        - {"kv_bytes", "num_migrations"}
    )

    @classmethod
    def of_requests(
        cls,
        requests: RequestLog,
        *,
        with_handovers: bool = False,
        loads: Sequence[Mapping[int, LoadRecord]] = (),
    ) -> Self:
        """Make the table of the requests of a run; a column is computed when it is first accessed.

        Parameters
        ----------
        requests : RequestLog
            The requests.
        with_handovers : bool, default False
            Whether to add the columns of handovers.
        loads : sequence of mapping, optional
            What each replica with KV tiers has loaded, by row; adds the columns of it.
        """
        handovers = HANDOVER_COLUMNS if with_handovers else ()
        names = (*_NAMES, *handovers, *(KV_LOAD_COLUMNS if loads else ()))
        return cls(
            names,
            len(requests),
            lambda name: (
                _load_column(len(requests), loads, name) if name in KV_LOAD_COLUMNS else _column(requests, name)
            ),
        )

    def _compute(self, name: str) -> NDArray[Any]:
        return self._derived(name) if name in _DERIVED else self._make(name)

    def _derived(self, name: str) -> NDArray[Any]:
        if name == "scheduling_delay_us":
            scheduled = self["scheduled_at_us"]
            return np.where(scheduled == NEVER, NEVER, scheduled - self["arrived_at_us"])
        if name == "itl_mean_us":
            return np.asarray(self["itl_sum_us"] / np.maximum(self["itl_count"], 1))
        e2e, tokens = self["e2e_us"], self["generated_tokens"]
        if name == "ntpot_us":
            return np.where((e2e == NEVER) | (tokens < 1), float(NEVER), e2e / np.maximum(tokens, 1))
        gaps = tokens - 1
        return np.where((e2e == NEVER) | (gaps < 1), float(NEVER), (e2e - self["ttft_us"]) / np.maximum(gaps, 1))

    def with_outcome(self, outcome: RequestOutcome) -> NDArray[np.bool_]:
        """Return which requests have an outcome; shape (num_rows,)."""
        return np.asarray(self["outcome"] == outcome.name.lower(), dtype=np.bool_)

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of requests by outcome, all outcomes of a request included; they add up to the number of rows."""
        counts = {outcome.name.lower(): 0 for outcome in _FINAL_FIRST}
        found, numbers = np.unique(self["outcome"].astype(str), return_counts=True)
        return counts | dict(zip(found.tolist(), numbers.tolist(), strict=True))

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Which requests completed; shape (num_rows,)."""
        return self.with_outcome(RequestOutcome.COMPLETED)


def _load_column(num_rows: int, loads: Sequence[Mapping[int, LoadRecord]], name: str) -> NDArray[np.int64]:
    """Return a column of `KV_LOAD_COLUMNS`."""
    values = np.full(num_rows, NEVER if name == "kv_load_started_at_us" else 0)
    for of_replica in loads:
        for row, record in of_replica.items():
            if name != "kv_load_started_at_us":
                values[row] += record.wait_us if name == "kv_load_us" else record.tokens
            elif values[row] == NEVER or record.started_at < values[row]:
                values[row] = record.started_at
    return values


def _column(requests: RequestLog, name: str) -> NDArray[Any]:
    if name in HANDOVER_COLUMNS:
        return handover_column(requests, name)
    column = requests.column(_INTEGERS.get(name, name))
    return np.asarray(_OUTCOMES[column]) if name == "outcome" else column
