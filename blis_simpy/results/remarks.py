"""Remarks on a run: what a reader of its figures has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.results.result import Result

__all__ = ["remarks"]

_LONG_TAIL = 0.02
"""Share of a run behind the last arrival from which on it is worth a remark."""


def remarks(result: Result) -> list[str]:
    """Return remarks on a run, one clause each; empty if there is nothing to say."""
    return [*_tail(result)]


def _tail(result: Result) -> Iterator[str]:
    """Say how much of the run comes after the last arrival, where the load falls and with it the throughput."""
    run = result.where()
    tail = run.duration_us - run.arriving_us
    if run.arriving_us and tail > _LONG_TAIL * run.duration_us:
        yield (
            f"{tail / run.duration_us:.1%} of the run lies after the last arrival: "
            f"{run.metric('offered_requests_per_s'):,.2f} requests/s arrived until then"
        )
