"""Verdict on one metric of one candidate in a comparison."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from blis_simpy.experiment.intervals import Interval
from blis_simpy.experiment.number_format import format_interval, format_number, format_percent
from blis_simpy.experiment.paired_tests import outlook

__all__ = ["Finding", "Verdict"]

Finding = Literal["lower", "higher", "the same", "not decided"]


@attrs.frozen(kw_only=True)
class Verdict:
    """Verdict on one metric of one candidate.

    Attributes
    ----------
    candidate, baseline : str
        Names of the scenarios.
    metric : str
        Name of the metric.
    finding : {"lower", "higher", "the same", "not decided"}
        The candidate's mean compared with the baseline's. ``the same``: all pairs of runs have equal values.
    means : (float, float)
        Means of baseline and candidate.
    difference, ratio : Interval
        Candidate minus baseline, and candidate divided by baseline; not adjusted for the number of verdicts.
    p_value : float, fraction
        Adjusted for the number of verdicts.
    needed : int or None
        Number of replications that would probably decide, see `PairedTest.needed`; None if it is too large to state,
        or there is nothing to decide.
    correlation : float
        Correlation of the values of the two scenarios; NaN where one of them does not vary.
    variance_reduction : float
        Factor by which pairing reduces the variance of the difference, compared with independent runs; infinite where
        the difference does not vary.
    """

    candidate: str
    baseline: str
    metric: str
    finding: Finding
    means: tuple[float, float]
    difference: Interval
    ratio: Interval
    p_value: float
    needed: int | None
    correlation: float
    variance_reduction: float

    @property
    def change(self) -> str:
        """Relative change with its interval, in percent."""
        ratio = self.ratio
        if not math.isfinite(ratio.estimate):
            difference = self.difference
            return format_interval(difference.estimate, difference.low, difference.high)
        low, high = (format_number(100 * (end - 1), 3) for end in (ratio.low, ratio.high))
        return f"{_signed(ratio.estimate - 1)} [{low}, {high}]"

    def __str__(self) -> str:
        level, count = format_percent(self.difference.confidence, 4), self.difference.count
        subject = f"{self.metric} of {self.candidate}"
        found = f"{self.change}, {level}, {count} replications"
        if self.finding == "the same":
            return f"{subject} is the same as that of {self.baseline} in all {count} replications"
        if self.finding != "not decided":
            return f"{subject} is {self.finding} than that of {self.baseline}: {found}"
        return f"{subject} against {self.baseline} is not decided: {found}; {self.outlook}"

    @property
    def outlook(self) -> str:
        """What would decide: a number of replications, if any."""
        if not math.isfinite(self.difference.estimate):
            return "some runs have no value"
        return outlook(self.needed, self.difference.count)


def _signed(change: float) -> str:
    return f"{'+' if change > 0 else ''}{format_percent(change)}"
