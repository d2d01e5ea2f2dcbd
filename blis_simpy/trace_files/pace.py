"""Arrivals at a rate, for files that have none."""

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
    """Options of formats whose files may have no arrivals."""

    rate: float | None = setting(
        default=None,
        help="Requests, or conversations, that arrive each second, or text like 30/min or inf (all at once), "
        "in place of recorded arrivals; required if the file has none.",
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
        """Make the error that a rate is needed, and say why."""
        return ScenarioError.at("rate", f"must be given: {why}", hint=hint)

    def arrivals_at(self, rate: float, number: int) -> NDArray[np.int64]:
        """Return so many arrivals at a rate, ticks; the first one at tick 0 unless they are random."""
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
