"""Whether a queue grows over a run: the trend of TTFT, and the requests that are left at the last arrival."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from blis_simpy.results.requests import RequestTable

__all__ = ["Stationarity", "stationarity"]

_LEAST_REQUESTS = 30
_GROWTH = 0.3
_BACKLOG = 0.2


@attrs.frozen
class Stationarity:
    """Trend of a run.

    Attributes
    ----------
    growth : float, fraction
        Mean TTFT of the last third of the arrivals, relative to that of the middle third, minus 1. A queue that grows
        steadily from 0 has 2/3. NaN for fewer than 30 requests, or arrivals that are all at one tick.
    backlog : int, requests
        Requests that had arrived and not ended at the last arrival.
    backlog_share : float, fraction
        The same as a share of all requests.
    """

    growth: float
    backlog: int
    backlog_share: float

    @property
    def queue_grows(self) -> bool:
        """Whether this single run is far beyond saturation: TTFT grows, and many requests are left."""
        return self.growth > _GROWTH and self.backlog_share > _BACKLOG


def stationarity(requests: RequestTable) -> Stationarity:
    """Compute the trend of a run.

    Parameters
    ----------
    requests : RequestTable
        Requests of the run, or of a window of it.
    """
    arrived, ttft = requests["arrived_at_us"], requests["ttft_us"]
    count = len(arrived)
    if not count:
        return Stationarity(math.nan, 0, 0.0)
    last = int(arrived.max())
    completed = requests.completed
    ended = np.where(completed, arrived + requests["e2e_us"], requests["finished_at_us"])
    is_left = (ended < 0) | (ended > last)
    backlog = int(is_left.sum())
    if count < _LEAST_REQUESTS or last == int(arrived.min()):
        return Stationarity(math.nan, backlog, backlog / count)
    order = np.argsort(arrived, kind="stable")
    # Those that still wait would make the end look better than it is: they have waited since their arrival.
    waited = np.where(ttft >= 0, ttft, np.where(is_left, last - arrived, -1))[order]
    middle, end = waited[count // 3 : 2 * count // 3], waited[2 * count // 3 :]
    middle, end = middle[middle >= 0], end[end >= 0]
    if not len(middle) or not len(end) or not middle.mean():
        return Stationarity(math.nan, backlog, backlog / count)
    return Stationarity(float(end.mean() / middle.mean()) - 1, backlog, backlog / count)
