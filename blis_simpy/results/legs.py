"""Legs of requests that were handed over from one replica to another, and the gaps between their tokens."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from blis_simpy.core.request import NEVER, Leg, Phase, Request
from blis_simpy.core.table import Table
from blis_simpy.network.fabric import UNCONTENDED_BANDWIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.core.request_log import RequestLog
    from blis_simpy.replica.log import StepLog
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["HANDOVER_COLUMNS", "LegTable", "carried_gaps", "handover_column", "leg_table", "uncontended_transfers"]

HANDOVER_COLUMNS = (
    "prefill_replica",
    "prefilled_at_us",
    "kv_reserved_at_us",
    "kv_received_at_us",
    "decode_scheduled_at_us",
    "kv_bytes",
    "kv_wait_us",
    "kv_transfer_us",
    "num_migrations",
)
"""Columns of the table of requests in a run with handovers."""

_COUNTED = ("kv_bytes", "num_migrations")
_LEG_COLUMNS = (
    "request",
    "leg",
    "replica",
    "phase",
    "outcome",
    "routed_at_us",
    "queued_at_us",
    "first_scheduled_at_us",
    "scheduled_at_us",
    "finished_at_us",
    "cached_tokens",
    "kv_source",
    "kv_tokens",
    "kv_bytes",
    "kv_reserved_at_us",
    "kv_received_at_us",
    "kv_released_at_us",
)
_TEXTS = ("request", "phase", "outcome")


class LegTable(Table):
    """One row per leg; see `Result.legs`."""

    _NEVER: ClassVar[frozenset[str]] = frozenset(_LEG_COLUMNS) - {*_TEXTS, "leg", "replica", "cached_tokens"}


def leg_table(requests: Sequence[Request]) -> LegTable:
    """Make the table of the legs of some requests, in their order."""
    rows = [(request.id, number, *_leg_row(leg)) for request in requests for number, leg in enumerate(request.legs)]
    columns = zip(*rows, strict=True) if rows else [()] * len(_LEG_COLUMNS)
    return LegTable.of(
        {
            name: np.array(values, dtype=object if name in _TEXTS else np.int64)
            for name, values in zip(_LEG_COLUMNS, columns, strict=True)
        }
    )


def _leg_row(leg: Leg) -> tuple[object, ...]:
    handover = leg.handover
    return (
        leg.replica,
        leg.phase.name.lower(),
        leg.outcome.name.lower(),
        leg.routed_at,
        leg.queued_at,
        leg.first_scheduled_at,
        leg.scheduled_at,
        leg.finished_at,
        leg.cached_tokens,
        NEVER if handover is None else handover.source.replica,
        NEVER if handover is None else handover.moved_tokens,
        NEVER if handover is None else handover.num_bytes,
        NEVER if handover is None else handover.reserved_at,
        NEVER if handover is None else handover.received_at,
        NEVER if handover is None else handover.released_at,
    )


def handover_column(requests: RequestLog, name: str) -> NDArray[np.int64]:
    """Return a column of `HANDOVER_COLUMNS`."""
    # Packed requests have a single leg.
    column = np.full(len(requests), 0 if name in _COUNTED else NEVER)
    for request in requests.objects():
        column[request.row] = _handover_figures(request)[name]
    return column


def _handover_figures(request: Request) -> dict[str, int]:
    """Figures of the handovers of a request on its way to its last replica."""
    figures = dict.fromkeys(HANDOVER_COLUMNS, NEVER)
    figures |= dict.fromkeys(_COUNTED, 0)
    prefill = next((leg for leg in request.earlier_legs[::-1] if leg.phase is Phase.PREFILL), None)
    leg = request.leg
    if leg is None:
        if prefill is not None and request.earlier_legs[-1] is prefill:
            figures |= {"prefill_replica": prefill.replica, "prefilled_at_us": prefill.finished_at}
        return figures
    if leg.phase is Phase.PREFILL:
        figures["prefill_replica"] = leg.replica
    while leg.handover is not None:
        handover = leg.handover
        figures["kv_bytes"] += handover.num_bytes
        if handover.source.phase is not Phase.PREFILL:
            figures["num_migrations"] += 1
            leg = handover.source
            continue
        ended, reserved, received = handover.source.finished_at, handover.reserved_at, handover.received_at
        figures |= {
            "prefill_replica": handover.source.replica,
            "prefilled_at_us": ended,
            "kv_reserved_at_us": reserved,
            "kv_received_at_us": received,
            "decode_scheduled_at_us": leg.first_scheduled_at,
            "kv_wait_us": max(reserved - ended, 0) if min(reserved, ended) >= 0 else NEVER,
            "kv_transfer_us": received - reserved if received >= 0 else NEVER,
        }
        leg = handover.source
    return figures


def uncontended_transfers(scenario: ScenarioSettings, requests: Mapping[str, NDArray[Any]]) -> list[str]:
    """Say that KV blocks of some requests were sent although the scenario has no network; empty if none were."""
    if scenario.network is not None or "kv_bytes" not in requests or not requests["kv_bytes"].any():
        return []
    rate = f"{UNCONTENDED_BANDWIDTH / 1e9:g} GB/s"
    return [f"without a network, each transfer between replicas has {rate} of its own, however many there are"]


def carried_gaps(legs: Sequence[Leg], steps: Sequence[StepLog]) -> list[tuple[Leg, int]]:
    """Return the gaps between tokens from before the last replica of some completed legs, in their order.

    Parameters
    ----------
    legs : sequence of Leg
        Completed legs that continue others with their outputs.
    steps : sequence of StepLog
        Steps of all replicas, by index.

    Returns
    -------
    list of (Leg, int)
        Leg and gap, µs without the processing time of tokens. The last gap of a leg is that between the last token on
        the replica before and the first one on its own.
    """

    @cache
    def ends(replica: int) -> NDArray[np.int64]:
        table = steps[replica].table()
        return np.asarray(table["start_us"] + table["duration_us"])

    gaps: list[tuple[Leg, int]] = []
    for leg in legs:
        chain = [leg]
        while chain[0].handover is not None and chain[0].handover.num_outputs:
            chain.insert(0, chain[0].handover.source)
        tokens: list[int] = []
        for part in chain[:-1]:
            for first, last in part.segments:
                tokens += ends(part.replica)[first : last + 1].tolist()
        if tokens:
            tokens.append(int(ends(leg.replica)[leg.segments[0][0]]))
        gaps += [(leg, gap) for gap in np.diff(tokens).tolist()]
    return gaps
