"""Service-level objectives: attainment, goodput and causes of misses.

The figures are over the *offered* requests: all that arrived in the window, except open ones. So rejecting requests, or
ending a run before they complete, does not improve them.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.core.slo_targets import DIMENSIONS
from blis_simpy.core.table import Table
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.units import ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.results.slo_judgement import Judgement

__all__ = ["SLOReport", "wilson_interval"]


class SLOReport(Rendered):
    """Attainment of the targets of some requests.

    A request is *good* if it completed and meets all targets of its SLO class. At the end of a run, a request in the
    system is *failed* if it has waited longer than one of its targets, else *open*.

    Parameters
    ----------
    judgement : Judgement
        The requests.
    start, end : int, tick
        Window of their arrivals, over which rates are computed.

    Attributes
    ----------
    offered, completed, good, open : int
        Numbers of requests: that arrived and are not open; of these, that completed; that are good; that are open. A
        length-capped request counts as completed only if the targets of its class say so.
    duration_us : int, µs
        Length of the window.
    """

    def __init__(self, judgement: Judgement, *, start: int, end: int) -> None:
        self.judgement = judgement
        self.duration_us = max(end - start, 0)
        self._start, self._end = start, end
        self.offered = int(judgement.offered.sum())
        self.completed = int(judgement.served.sum())
        self.good = int(judgement.good.sum())
        self.open = int(judgement.is_open.sum())

    @property
    def attainment(self) -> float:
        """Share of the offered requests that are good; NaN without any."""
        return _share(self.good, self.offered)

    @property
    def attainment_completed(self) -> float:
        """Share of the completed requests that are good; NaN without any. Rejections and timeouts do not lower it."""
        return _share(self.good, self.completed)

    @property
    def weighted_attainment(self) -> float:
        """Share of the offered requests that are good, each with the weight of its class; NaN without any."""
        weight, offered = self.judgement.weight, self.judgement.offered
        return _share(float(weight[self.judgement.good].sum()), float(weight[offered].sum()))

    @property
    def goodput_rps(self) -> float:
        """Good requests per second of the window."""
        return self._rate(self.good)

    @property
    def good_output_tokens_per_s(self) -> float:
        """Output tokens of good requests per second of the window."""
        return self._rate(int(self.judgement.output_tokens[self.judgement.good].sum()))

    @property
    def good_tokens_per_s(self) -> float:
        """Prompt and output tokens of good requests per second of the window."""
        good = self.judgement.good
        return self._rate(int((self.judgement.input_tokens + self.judgement.output_tokens)[good].sum()))

    @property
    def qoe(self) -> float:
        """Mean quality of experience of the offered requests that have a target of it, 0 for one not served."""
        qualities = self.judgement.qoe[self.judgement.offered]
        known = qualities[~np.isnan(qualities)]
        return float(known.mean()) if len(known) else math.nan

    @property
    def not_served(self) -> dict[str, int]:
        """Numbers of offered requests that ended without being served, by outcome, the most frequent first."""
        judged = self.judgement
        outcomes = judged.outcome[judged.offered & ~judged.served & (judged.num_missed == 0)]
        names, counts = np.unique(outcomes.astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return dict(zip(names[order].tolist(), counts[order].tolist(), strict=True))

    @property
    def misses(self) -> dict[str, int]:
        """Numbers of requests that miss the target of each dimension that has targets."""
        return {name: int(self.judgement.missed[name].sum()) for name in self._dimensions}

    @property
    def sole_misses(self) -> dict[str, int]:
        """Numbers of requests that miss the target of this dimension only: those that it alone would make good."""
        alone = self.judgement.num_missed == 1
        return {name: int((self.judgement.missed[name] & alone).sum()) for name in self._dimensions}

    @property
    def _dimensions(self) -> list[str]:
        return [name for name in DIMENSIONS if (self.judgement.limits[name] >= 0).any()]

    def attainment_of(self, dimension: str) -> float:
        """Return the share of the offered requests with a target of a dimension that completed and meet it.

        Parameters
        ----------
        dimension : {"ttft", "tpot", "itl", "ntpot", "e2e"}
            The dimension.

        Returns
        -------
        float
            NaN without such requests.

        Raises
        ------
        ScenarioError
            If there is no such dimension.
        """
        judged = self._checked(dimension)
        counted = judged.offered & (judged.limits[dimension] >= 0)
        return _share(int((counted & judged.served & ~judged.missed[dimension]).sum()), int(counted.sum()))

    def headroom(self, dimension: str) -> NDArray[np.float64]:
        """Return (target - latency) / target of each completed request with a target; negative = missed.

        Parameters
        ----------
        dimension : {"ttft", "tpot", "itl", "ntpot", "e2e"}
            The dimension.

        Raises
        ------
        ScenarioError
            If there is no such dimension.
        """
        judged = self._checked(dimension)
        limits, values = judged.limits[dimension], judged.values[dimension]
        known = judged.served & (limits >= 0) & ~np.isnan(values)
        return np.asarray(1 - values[known] / limits[known])

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the Wilson interval of `attainment`.

        It assumes that requests are independent. Those of one run are not, since they share queues: use replications
        for a comparison.

        Raises
        ------
        ScenarioError
            If the confidence is not between 0 and 1.
        """
        return wilson_interval(self.good, self.offered, confidence)

    @cached_property
    def classes(self) -> dict[str, SLOReport]:
        """Report of each SLO class, sorted; requests without one are in ``default``."""
        names = np.where(self.judgement.slo_class == "", "default", self.judgement.slo_class).astype(str)
        return {
            name: SLOReport(self.judgement.take(names == name), start=self._start, end=self._end)
            for name in np.unique(names).tolist()
        }

    def timeline(self, every: int | str) -> Table:
        """Return figures by time of arrival.

        Parameters
        ----------
        every : int, µs, or str
            Length of an interval; ``10s``. The last one may be shorter.

        Returns
        -------
        Table
            One row per interval of the window: ``start_us``, ``offered``, ``completed``, ``good``, ``open``,
            ``attainment`` (NaN if none is offered) and ``goodput_rps``.

        Raises
        ------
        ScenarioError
            If the interval is no duration > 0.
        """
        length = ticks("every", every)
        if length <= 0:
            raise ScenarioError.at("every", "must be > 0", every)
        judged = self.judgement
        starts = np.arange(self._start, max(self._end, self._start + 1), length, dtype=np.int64)
        # An arrival at the last tick belongs to the last interval.
        interval = np.clip((judged.arrived_at - self._start) // length, 0, len(starts) - 1)

        def count(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(interval[chosen], minlength=len(starts))

        offered, good = count(judged.offered), count(judged.good)
        seconds = (np.minimum(starts + length, max(self._end, self._start + 1)) - starts) / 1e6
        columns: dict[str, NDArray[Any]] = {
            "start_us": starts,
            "offered": offered,
            "completed": count(judged.served),
            "good": good,
            "open": count(judged.is_open),
            "attainment": np.where(offered > 0, good / np.maximum(offered, 1), math.nan),
            "goodput_rps": good / seconds,
        }
        return Table.of(columns)

    def _checked(self, dimension: str) -> Judgement:
        if dimension not in DIMENSIONS:
            raise ScenarioError.at("dimension", "is unknown", dimension, hint=nearest(str(dimension), DIMENSIONS))
        return self.judgement

    def _rate(self, count: float) -> float:
        return count / (self.duration_us / 1e6) if self.duration_us else 0.0

    def __repr__(self) -> str:
        return (
            f"<SLOReport: {self.good} of {self.offered} requests good ({self.attainment:.1%}), {self.open} open, "
            f"goodput {self.goodput_rps:.3f} requests/s>"
        )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def wilson_interval(part: int, whole: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the Wilson score interval of a share (Wilson, 1927); NaN of nothing.

    Parameters
    ----------
    part, whole : int
        Numbers of successes and of trials.
    confidence : float
        Between 0 and 1.

    Raises
    ------
    ScenarioError
        If the confidence is not between 0 and 1.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson_interval(990, 1000)]
    [0.9817, 0.9946]
    """
    if not 0 < confidence < 1:
        raise ScenarioError.at("confidence", "must be between 0 and 1", confidence)
    if not whole:
        return math.nan, math.nan
    from statistics import NormalDist  # few results need it

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = part / whole
    centre = share + z * z / (2 * whole)
    spread = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    scale = 1 + z * z / whole
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
