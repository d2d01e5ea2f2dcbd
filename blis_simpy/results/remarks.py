"""Remarks on a run: what a reader of its figures has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.results.legs import uncontended_transfers
from blis_simpy.results.stationarity import queue_grows, stationarity
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.results.result import Result

__all__ = ["remarks"]

_LONG_TAIL = 0.02
"""Share of a run behind the last arrival from which on it is worth a remark."""


def remarks(result: Result) -> list[str]:
    """Return remarks on a run, one clause each; empty if there is nothing to say."""
    transfers = uncontended_transfers(result.scenario, result.requests)
    return [*_emptiness(result), *_saturation(result), *_tail(result), *transfers]


def _emptiness(result: Result) -> Iterator[str]:
    """Say why a run has no requests, none that was accepted, or requests that have not ended."""
    end, outcomes = result.scenario.end, result.requests.outcomes
    num_requests = result.requests.num_rows
    num_open = sum(outcomes[name] for name in ("running", "queued", "pending"))
    if not result.record.is_over:
        have = "request has" if num_open == 1 else "requests have"
        yield f"the run is paused: {num_open:,} {have} not ended"
    elif not num_requests:
        yield "no request arrived" if end is None else f"no request arrived up to the horizon, {format_ticks(end)}"
    elif num_open and end is None:
        wait = "request waits for ever: what it needs" if num_open == 1 else "requests wait for ever: what they need"
        yield f"{num_open:,} {wait} is not released"
    elif num_open:
        some = f"{num_open:,} request{'s' if num_open > 1 else ''}"
        yield f"the horizon, {format_ticks(end or 0)}, cut off {some}, which count in no latency"
    if num_requests and outcomes["rejected"] == num_requests:
        unroutable = result.record.routing_rejections
        if not unroutable:
            yield "all requests were rejected at admission"
        elif unroutable == num_requests:
            yield "all requests were rejected because no replica was available"


def _saturation(result: Result) -> Iterator[str]:
    trend = stationarity(result.requests)
    if queue_grows([trend]):
        yield (
            f"beyond saturation: TTFT grows from arrival to arrival, and {trend.backlog:,} requests were left at the "
            "last one; latencies depend on the length of the run"
        )


def _tail(result: Result) -> Iterator[str]:
    """Say how much of the run comes after the last arrival, where the load falls and with it the throughput."""
    run = result.where()
    tail = run.duration_us - run.arriving_us
    if run.arriving_us and tail > _LONG_TAIL * run.duration_us:
        yield (
            f"{tail / run.duration_us:.1%} of the run lies after the last arrival: "
            f"{run.metric('offered_requests_per_s'):,.2f} requests/s arrived until then"
        )
