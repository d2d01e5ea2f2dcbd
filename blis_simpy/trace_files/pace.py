"""Arrivals at a rate, for files without arrival times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.timestamps import check_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Paced"]


@settings_class
class Paced:
    """Options of formats with files that may have no arrival times."""

    rate: float | None = setting(
        default=None,
        help="Rate of the requests or sessions, instead of recorded arrivals: per second, text such as 30/min, or inf "
        "(all at once); required if the file has no arrivals.",
        unit="1/s",
        gt=0,
        finite=False,
        dimension="rate",
        flag="--rate",
    )
    arrivals: str = setting(
        default="constant", help="Gaps between arrivals at a rate.", choices=("constant", "poisson"), flag="--arrivals"
    )
    seed: int = setting(default=42, help="Seed of the arrivals at a rate.", ge=0, flag="--seed")

    @staticmethod
    def no_rate(why: str, hint: str = "") -> ScenarioError:
        """Return the error for a missing rate, with the reason."""
        return ScenarioError.at("rate", f"must be given: {why}", hint=hint)

    def arrivals_at(self, rate: float, number: int) -> NDArray[np.int64]:
        """Return arrivals at a rate, ticks; the first is at tick 0 unless they are random."""
        if math.isinf(rate):
            return np.zeros(number, np.int64)
        mean_gap_us = 1e6 / rate
        check_reach(number * mean_gap_us, "rate", rate)
        if self.arrivals == "constant":
            instants = np.arange(number) * mean_gap_us
        else:
            random = RandomStreams(self.seed).generator("trace/conversations")
            instants = np.cumsum(random.exponential(mean_gap_us, number))
        ticks: NDArray[np.int64] = np.rint(instants).astype(np.int64)
        return ticks
